"""Keras models (`.keras`, `.h5`), frozen on the way in. Needs TensorFlow, so it runs in the worker.

A model with a Lambda layer or a custom object is code from a stranger. Its configuration is read as plain JSON first,
and such a model is refused before Keras sees it; then it is loaded in Keras's safe mode.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.formats.saved_model import freeze
from icebreaker.storage.files import check_unpacked
from icebreaker.storage.weight_store import Store

_MOST_CONFIG_BYTES = 64 << 20
_PROGRAMS = frozenset({"TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})  # layers of Keras's own
# Where the classes of an ordinary model come from; "builtins" names functions and numpy values by their name only.
_KNOWN_MODULES = ("keras.", "builtins.", "tensorflow.keras.", "tf_keras.")


NEEDS_TENSORFLOW = True
PATTERNS = ("*.keras", "*.h5")


def matches(path: Path) -> bool:
    """By its suffix: .keras, .h5 or .hdf5."""
    return path.suffix.lower() in (".keras", ".h5", ".hdf5")


def read(path: Path, allow_side_effects: bool = False) -> Any:
    """Freezes the model's inference function.

    Raises:
        IcebreakerError: It cannot be loaded or frozen, or it has Python code in it, which is refused.
    """
    _refuse_code(path, _config(path))
    import tensorflow as tf

    try:
        model = tf.keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise IcebreakerError(
            "keras_not_loaded",
            "{subject} could not be loaded as a Keras model: {reason}", "export_saved_model_yourself",
            subject=path, reason=str(error),
        ) from error  # fmt: skip
    specs = [tf.TensorSpec(item.shape, item.dtype, name=item.name.split(":")[0]) for item in model.inputs]
    # A Sequential model does not name its output.
    names = list(getattr(model, "output_names", [])) or [f"output_{i}" for i in range(len(model.outputs))]

    @tf.function(autograph=False)
    def infer(*inputs: Any) -> dict[str, Any]:
        result = model(list(inputs) if len(inputs) > 1 else next(iter(inputs)), training=False)
        return dict(zip(names, tf.nest.flatten(result), strict=True))

    return freeze(infer.get_concrete_function(*specs), str(path))  # pyright: ignore[reportFunctionMemberAccess]


def read_apart(path: Path, store: Store, big: int, allow_side_effects: bool = False) -> Any | None:
    """None: Keras has all weights in memory anyway."""
    return None


def _config(path: Path) -> Any:
    """The model's configuration as plain JSON."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_unpacked(path, sum(entry.file_size for entry in archive.infolist()), path.stat().st_size)
                if archive.getinfo("config.json").file_size > _MOST_CONFIG_BYTES:
                    raise ValueError("its configuration is too big")
                return json.loads(archive.read("config.json"))
        import h5py

        with h5py.File(path, "r") as file:
            config: Any = file.attrs["model_config"]
            return json.loads(config if isinstance(config, str) else bytes(config).decode())
    except IcebreakerError:
        raise
    except Exception as error:  # h5py and zipfile raise what they like on a damaged file
        raise IcebreakerError(
            "keras_damaged", "{subject} is not a Keras model, or is damaged ({reason})", "save_whole_model_again",
            subject=path, reason=str(error),
        ) from error  # fmt: skip


def _refuse_code(path: Path, config: Any) -> None:
    """Raises for a model with a layer that is code, or an object of a module that is not Keras's."""
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
