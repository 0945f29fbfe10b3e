"""What may be in a Keras file from a stranger: judged on its configuration, before a Keras sees it.

Keras 3 has a safe mode of its own. Keras 2 has none worth the name, so of what goes to it all classes and functions
are known by name: those that only make ops of a graph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError

_PROGRAMS = frozenset({"TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})  # layers of Keras's own
# Where the classes of an ordinary model come from; "builtins" names functions and numpy values by their name only.
_KNOWN_MODULES = ("keras.", "builtins.", "tensorflow.keras.", "tf_keras.")
# TensorFlow's functions that Keras 2 keeps in a model as layers, and that make ops of what they are given.
_FUNCTIONS = re.compile(
    r"(compat\.v1\.)?((math|nn|linalg|signal|image|bitwise|strings|__operators__)\.\w+"
    r"|abs|add|argmax|broadcast_to|cast|clip_by_value|concat|expand_dims|fill|gather|gather_nd|identity|maximum|minimum"
    r"|matmul|multiply|one_hot|ones_like|pad|pow|range|repeat|reshape|reverse|shape|sigmoid|size|slice|split|sqrt"
    r"|square|squeeze|stack|stop_gradient|strided_slice|subtract|tanh|tensordot|tile|transpose|unstack|where|zeros_like"
    r"|reduce_\w+)"
)
_CALLS = frozenset({"TFOpLambda", "ClassMethod"})
# What else has a class's name in a configuration of Keras 2.
_PLAIN = frozenset({
    "Sequential", "Functional", "Model", "InputLayer", "Policy", "DTypePolicy", "TensorShape", "TypeSpec", "__tuple__",
    "__tensor__", "__numpy__", "function", "SlicingOpLambda", *_CALLS,
})  # fmt: skip


def refuse_code(path: Path, config: Any) -> None:
    """Refuses a model with a layer that is code, or an object of a module that is not Keras's.

    Raises:
        IcebreakerError: It has one.
    """
    for layer in _objects(config):
        class_name, module = layer.get("class_name"), layer.get("module")
        if class_name in ("Lambda", "__lambda__"):
            raise IcebreakerError(
                "keras_lambda", "{subject} has a Lambda layer, which is Python code", "refused_export_saved_model",
                subject=path,
            )  # fmt: skip
        if class_name in _PROGRAMS:
            raise IcebreakerError(
                "keras_program", "{subject} has a {layer}, which runs a program of another kind",
                "refused_export_saved_model", subject=path, layer=str(class_name),
            )  # fmt: skip
        if isinstance(module, str) and not f"{module}.".startswith(_KNOWN_MODULES):
            raise IcebreakerError(
                "keras_custom_object",
                "{subject} has the custom object {object!r} of the module {module!r}, which is Python code",
                "refused_export_saved_model",
                subject=path, object=str(class_name), module=module,
            )  # fmt: skip


def refuse_unknown(path: Path, config: Any) -> None:
    """Refuses what is not known to be harmless in Keras 2, for which this process has loaded `tf_keras`.

    Raises:
        IcebreakerError: There is a class or a function that is no layer of Keras, or one that reads a file.
    """
    import tf_keras

    places = (tf_keras.layers, tf_keras.layers.experimental, tf_keras.initializers, tf_keras.regularizers,
              tf_keras.constraints)  # fmt: skip
    classes = {name for place in places for name, item in vars(place).items() if isinstance(item, type)}
    for layer in _objects(config):
        class_name, inner = str(layer.get("class_name")), layer.get("config")
        settings = inner if isinstance(inner, dict) else {}
        odd = "" if class_name in classes | _PLAIN else class_name
        if class_name == "function" and not _is_activation(inner):
            odd = str(inner)
        elif class_name in _CALLS and not _FUNCTIONS.fullmatch(str(settings.get("function"))):
            odd = str(settings.get("function"))
        if odd:
            raise IcebreakerError(
                "keras_class_unknown", "{subject} has the custom object {object!r}, which is Python code",
                "refused_export_saved_model", subject=path, object=odd,
            )  # fmt: skip
        if any(isinstance(settings.get(key), str) for key in ("vocabulary", "idf_weights")):
            raise IcebreakerError(
                "keras_reads_file", "{subject} has a {layer} that reads a file", "refused_export_saved_model",
                subject=path, layer=class_name,
            )  # fmt: skip


def _is_activation(name: Any) -> bool:
    import tf_keras

    found = getattr(tf_keras.activations, name, None) if isinstance(name, str) else None
    return callable(found) and name not in ("get", "serialize", "deserialize")


def refuse_links(path: Path, file: Any) -> None:
    """Refuses an HDF5 file that takes data from other files, which Keras 2 would follow.

    Raises:
        IcebreakerError: It does.
    """
    import h5py

    groups = [file]
    while groups:
        group = groups.pop()
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.ExternalLink | h5py.SoftLink):
                item, apart = None, True
            else:
                item = group[name]
                apart = isinstance(item, h5py.Dataset) and (bool(item.external) or item.is_virtual)
            if apart:
                raise IcebreakerError(
                    "keras_reads_other_file", "{subject} takes {name!r} from elsewhere, which no Keras file does",
                    "not_what_it_seems", subject=path, name=name,
                )  # fmt: skip
            if isinstance(item, h5py.Group):
                groups.append(item)


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """All layers and other objects in a configuration, at any depth."""
    stack = [config]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            if "class_name" in part:
                yield part
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)
