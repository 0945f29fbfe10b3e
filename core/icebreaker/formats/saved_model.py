"""SavedModel folders, frozen on the way in. Needs TensorFlow, so it runs in the worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.formats.optimized_saved_model import optimized_signature
from icebreaker.formats.saved_model_effects import saved_model_effects
from icebreaker.graph import external_weights, functions, limits, side_effects
from icebreaker.graph.graph import Graph
from icebreaker.storage.files import exists
from icebreaker.storage.weight_store import Store, rows
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import inline_functions, prune

_RESOURCE = 20  # among TensorFlow's dtypes
BIG_WEIGHT_BYTES = 256 << 10  # of a weight that is worth a file
_MOST_FILE_BYTES = (1 << 31) - 1  # that protobuf reads


NEEDS_TENSORFLOW = True
PATTERNS = ("saved_model.pb",)


def matches(path: Path) -> bool:
    """A folder with a saved_model.pb in it, or that file itself."""
    return (path / "saved_model.pb").is_file() or path.name == "saved_model.pb"


def read(path: Path, allow_side_effects: bool = False) -> Any:
    """Freezes the serving signature (or the first by name).

    Raises:
        IcebreakerError: It cannot be loaded or frozen; ConsentNeeded: its initializers, which loading runs, act outside
            the graph.
    """
    folder = path.parent if path.name == "saved_model.pb" else path
    found = _optimized(_checked_message(folder, allow_side_effects))
    if found is not None:
        return found
    import tensorflow as tf

    try:
        model: Any = tf.saved_model.load(str(folder))
        signatures = dict(model.signatures)
    except Exception as error:
        raise IcebreakerError(
            "saved_model_not_loaded", "{subject} could not be loaded as a SavedModel: {reason}",
            subject=folder, reason=str(error),
        ) from error  # fmt: skip
    if not signatures:
        raise IcebreakerError("no_signature", "{subject} has no signature", "save_with_signatures", subject=folder)
    return freeze(signatures[_signature(signatures)], str(folder))


def _optimized(model: Any) -> Any | None:
    meta = next((item for item in model.meta_graphs if "serve" in item.meta_info_def.tags), None)
    if not meta or not meta.signature_def:
        return None
    found = optimized_signature(meta, _signature(dict(meta.signature_def)))
    return None if found is None else found[0]


def read_apart(path: Path, store: Store, big: int, allow_side_effects: bool = False) -> Any | None:
    """Freezes a SavedModel whose variables have at least `big` bytes, without loading or running it.

    Big weights go from the checkpoint to `store`, one by one. None: it is smaller, its variables are not only read, it
    is damaged, or the disk is full: then it takes `read`.
    """
    folder = path.parent if path.name == "saved_model.pb" else path
    variables = folder / "variables"
    if sum(file.stat().st_size for file in variables.glob("variables.data-*")) < big:
        return None
    model = _checked_message(folder, allow_side_effects)
    meta = next((item for item in model.meta_graphs if "serve" in item.meta_info_def.tags), None)
    if meta is None or not meta.signature_def:
        return None
    name = _signature(dict(meta.signature_def))
    if optimized_signature(meta, name) is not None:
        return None
    import tensorflow as tf

    try:
        definition, variable_of = _constants(meta, meta.signature_def[name])
        reader = tf.train.load_checkpoint(str(variables / "variables"))
        weights = Graph(definition).weights
        for node in definition.node:
            if node.name not in variable_of:
                continue
            value = np.asarray(reader.get_tensor(variable_of[node.name]))
            tensor = node.attr["value"].tensor
            if value.shape != tuple(dim.size for dim in tensor.tensor_shape.dim):
                return None
            if node.name in weights and value.nbytes >= BIG_WEIGHT_BYTES:
                tensor.tensor_content = store.mark(store.keep(rows(value)))
            else:
                tensor.CopyFrom(tf.make_tensor_proto(value, tf.as_dtype(tensor.dtype)))
    except (_Unsuited, OSError, tf.errors.OpError):
        return None
    except (IcebreakerError, ValueError, TypeError, LookupError, AttributeError, RuntimeError):
        return None  # no graph that anybody made: `read` has the words
    return definition


class _Unsuited(Exception):
    """A variable is not only read, or it cannot be told where its value lies."""


def _constants(meta: Any, signature: Any) -> tuple[Any, dict[str, str]]:
    """A signature as a graph in which variables are constants, still without values.

    Returns:
        The GraphDef, and constant → key of its value in the checkpoint.

    Raises:
        _Unsuited: A variable is not only read, or its key cannot be told.
    """
    whole = Graph(meta.graph_def)
    keys = _keys(meta, whole)
    outputs = {key: Tensor.parse(item.name) for key, item in signature.outputs.items() if item.name}
    if not outputs or len(outputs) != len(signature.outputs):
        raise _Unsuited
    inputs = {Tensor.parse(item.name).node: key for key, item in signature.inputs.items()}
    given = [name for name in inputs if name in whole and whole[name].op == "Placeholder"]  # fed, needed or not
    graph = prune(inline_functions(prune(whole, outputs.values(), given)), outputs.values(), given)
    taken = {node.name for node in graph}
    names = {node: key for node, key in inputs.items() if node in taken and key not in taken}
    result = type(graph.definition)(versions=graph.definition.versions)
    variable_of = {}
    for node in graph:
        made = result.node.add()
        made.CopyFrom(node.definition)
        made.name = names.get(node.name, node.name)
        for slot, text in enumerate(made.input):
            base = Tensor.parse(text).node
            if base in names:
                made.input[slot] = text.replace(base, names[base], 1)
        if node.op == "VarHandleOp":
            shape, dtype = made.attr["shape"].shape, made.attr["dtype"].type
            if node.name not in keys or shape.unknown_rank or any(dim.size < 0 for dim in shape.dim):
                raise _Unsuited
            variable_of[node.name] = keys[node.name]
            made.op = "Const"
            made.attr["value"].tensor.dtype = dtype
            made.attr["value"].tensor.tensor_shape.CopyFrom(shape)
            for key in [key for key in made.attr if key not in ("value", "dtype")]:
                del made.attr[key]
        elif node.op == "ReadVariableOp":
            dtype = made.attr["dtype"].type
            made.op = "Identity"
            made.attr.clear()
            made.attr["T"].type = dtype
        elif node.op == "ResourceGather":
            _as_gather(made, result)
        elif _keeps_state(node.op) or any(graph[tensor.node].op == "VarHandleOp" for tensor in node.inputs):
            raise _Unsuited
    called = set(functions.reachable_functions(graph.definition.node, graph.definition.library))
    result.library.function.extend(item for item in graph.definition.library.function if item.signature.name in called)
    for key, tensor in sorted(outputs.items()):
        if key not in taken:
            source = str(tensor._replace(node=names.get(tensor.node, tensor.node)))
            made = result.node.add(name=key, op="Identity", input=[source])
            made.attr["T"].type = signature.outputs[key].dtype
    return result, variable_of


def _keeps_state(op: str) -> bool:
    """Whether an op gives a handle, such as that of a table, which somebody would have to fill."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(op)
    return definition is not None and any(item.type == _RESOURCE for item in definition.output_arg)


def _as_gather(node: Any, definition: Any) -> None:
    """Makes a GatherV2 of a ResourceGather, whose variable is a constant now."""
    axis = definition.node.add(name=f"{node.name}/axis", op="Const")
    axis.attr["dtype"].type = axis.attr["value"].tensor.dtype = 3
    axis.attr["value"].tensor.int_val.append(node.attr["batch_dims"].i)
    axis.attr["value"].tensor.tensor_shape.SetInParent()
    values, indices, batch = node.attr["dtype"].type, node.attr["Tindices"].type, node.attr["batch_dims"].i
    node.op = "GatherV2"
    node.attr.clear()
    for key, kind in {"Tparams": values, "Tindices": indices, "Taxis": 3}.items():
        node.attr[key].type = kind
    node.attr["batch_dims"].i = batch
    node.input.insert(2, axis.name)


def _keys(meta: Any, graph: Graph) -> dict[str, str]:
    """VarHandleOp → the key of its value in the checkpoint, as the nodes that restore it say."""
    import tensorflow as tf

    if not meta.saver_def.restore_op_name:
        raise _Unsuited
    restore = inline_functions(prune(graph, [Tensor.parse(meta.saver_def.restore_op_name)]))

    def behind(tensor: Tensor) -> Tensor:
        for _ in restore:  # a stranger's graph may go in circles
            if restore[tensor.node].op != "Identity":
                return tensor
            tensor = restore[tensor.node].inputs[0]
        raise _Unsuited

    found = {}
    for node in restore:
        if node.op == "AssignVariableOp":
            handle, value = (behind(tensor) for tensor in node.inputs[:2])
            if restore[value.node].op == "RestoreV2":
                names = restore[behind(restore[value.node].inputs[1]).node]
                if names.op == "Const" and restore[handle.node].op == "VarHandleOp":
                    found[handle.node] = tf.make_ndarray(names.definition.attr["value"].tensor)[value.port].decode()
    return found


def _signature(signatures: Mapping[str, Any]) -> str:
    return "serving_default" if "serving_default" in signatures else sorted(signatures)[0]


def _checked_message(folder: Path, allow_side_effects: bool) -> Any:
    """Reads a SavedModel message and judges what TensorFlow would run while it loads it.

    Raises:
        IcebreakerError: It is no SavedModel, or passes a limit; ConsentNeeded: it acts outside itself.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / "saved_model.pb"
    try:
        _check_files(folder)
        model = SavedModel.FromString(file.read_bytes())
    except OSError as error:
        raise IcebreakerError(
            "file_not_read", "{subject} could not be read: {reason}", subject=file, reason=error.strerror or str(error)
        ) from error
    except DecodeError as error:
        raise IcebreakerError(
            "saved_model_damaged", "{subject} is no SavedModel, or is damaged or cut short", "copy_again", subject=file
        ) from error
    for meta in model.meta_graphs:
        limits.check_limits(meta.graph_def, str(folder))
        side_effects.require_consent(saved_model_effects(meta), allow_side_effects, str(folder))
    return model


def _check_files(folder: Path) -> None:
    """Refuses a SavedModel with a file that does not end, or that waits for somebody to write: a device, a pipe.

    Raises:
        IcebreakerError: There is one among what TensorFlow may read, or saved_model.pb is too big.
        OSError: A folder cannot be read.
    """
    parts = [folder / "variables", folder / "assets", folder / "debug"]
    inside = (path for part in parts for path in part.rglob("*"))
    for path in (folder / "saved_model.pb", folder / "fingerprint.pb", *inside):
        if exists(path) and not (path.is_file() or path.is_dir()):
            raise IcebreakerError("not_a_file", "{subject} is no file", "copy_again", subject=path)
    size = (folder / "saved_model.pb").stat().st_size
    if size > _MOST_FILE_BYTES:
        raise IcebreakerError(
            "saved_model_too_big", "{subject} has {gigabytes:.1f} GB, but protobuf ends at 2 GB", "not_what_it_seems",
            subject=folder / "saved_model.pb", gigabytes=size / 1e9,
        )  # fmt: skip


def freeze(function: Any, source: str) -> Any:
    """Turns the variables of a concrete function into constants.

    Args:
        function: A `tf.types.experimental.ConcreteFunction`.
        source: What to name in errors.

    Returns:
        The GraphDef, in which the outputs bear the names of the signature's outputs where these are free.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from icebreaker.graph.protos import GraphDef

    size = sum(item.dtype.size * int(np.prod(item.shape)) for item in function.variables)
    if size > external_weights.MOST_BYTES:
        raise IcebreakerError(
            "frozen_too_big",
            "{subject} would be a graph of {gigabytes:.1f} GB, but protobuf ends at 2 GB", "export_part_or_saved_model",
            subject=source, gigabytes=size / 1e9,
        )  # fmt: skip
    try:
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    except Exception as error:
        raise IcebreakerError(
            "not_freezable", "{subject} could not be frozen: {reason}", subject=source, reason=str(error)
        ) from error
    leftover = [item.name for item in frozen.inputs if item.dtype.name in ("resource", "variant")]
    if leftover:
        raise IcebreakerError(
            "keeps_state",
            "{subject} keeps state that cannot be frozen in {tensor!r} (a table or a variable that changes)",
            "export_signature_without",
            subject=source, tensor=leftover[0],
        )  # fmt: skip
    try:
        definition = GraphDef.FromString(frozen.graph.as_graph_def().SerializeToString())
    except Exception as error:  # protobuf's and TensorFlow's versions raise differently
        raise IcebreakerError(
            "frozen_not_readable", "{subject} could not be frozen ({reason})", "export_a_part",
            subject=source, reason=str(error),
        ) from error  # fmt: skip
    _name_outputs(definition, function.structured_outputs, frozen.outputs)
    return definition


def _name_outputs(definition: Any, structured: Any, outputs: Any) -> None:
    """Renames the final Identity nodes (`Identity`, `Identity_1` …) to what the signature calls them."""
    if not isinstance(structured, dict) or len(structured) != len(outputs):
        return
    taken = {node.name for node in definition.node}
    read = {text.removeprefix("^").split(":")[0] for node in definition.node for text in node.input}
    nodes = {node.name: node for node in definition.node}
    for name, tensor in zip(sorted(structured), outputs, strict=True):
        node = nodes.get(tensor.op.name)
        if node is not None and node.op == "Identity" and node.name not in read and name not in taken:
            node.name = name
            taken.add(name)
