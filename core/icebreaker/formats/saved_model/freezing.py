"""Signatures of SavedModels as frozen graphs, from the messages and the checkpoint alone: nothing of the model runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.formats.saved_model import lookup_tables
from icebreaker.formats.saved_model.signatures import Signature, SignatureTensor, Table, node_name
from icebreaker.formats.saved_model.traced_calls import bound_variables
from icebreaker.graph import external_weights, functions
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import CONTROL_FLOW, DTYPES
from icebreaker.storage.weight_store import Store, rows
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import inline_functions, prune

_RESOURCE = 20  # among TensorFlow's dtypes
_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_READS = frozenset({"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"})
_CHANGES = re.compile(
    r"(Assign(Add|Sub)?VariableOp|Resource(Sparse)?Apply\w+|Resource(Scatter|Strided)\w+"
    r"|LookupTable(Insert|Remove)\w*)"
)
# What gives a handle that lasts no longer than a run.
_PASSING = frozenset({"TensorArrayV3", "TensorArrayGradV3", "StackV2"}) | CONTROL_FLOW | lookup_tables.FILLED_ONCE


@dataclass(frozen=True)
class Source:
    """A SavedModel that has been read and judged.

    Attributes:
        folder: Where it lies.
        meta: The MetaGraphDef that is taken.
        assets: Node that gives a file's name → the file.
        weight_bytes: Of a weight that is worth a file.
        apart: A variable whose name could not be told from the nodes that restore it → its key in the checkpoint.
    """

    folder: Path
    meta: Any
    assets: Mapping[str, Path]
    weight_bytes: int
    apart: Mapping[str, str]


class _Saved(NamedTuple):
    """Where a variable's value is in the checkpoint."""

    key: str
    part: str = ""  # of a bigger one: TensorFlow's spelling of a slice


class _Captured(Exception):
    """A variable is handed to a function or through a loop."""


def freeze_signature(source: Source, name: str, store: Store | None) -> tuple[Any, Signature, tuple[Table, ...]] | None:
    """A signature as a graph without variables, in which tables fill themselves.

    Args:
        source: The SavedModel.
        name: The signature.
        store: Where big weights shall lie, one by one; None: in the graph.

    Returns:
        The GraphDef; the signature by the names of this graph; its tables. None: with a `store` it cannot be had.

    Raises:
        IcebreakerError: It keeps state, or its variables are not in the checkpoint or not as they should be.
    """
    described = source.meta.signature_def[name]
    inputs, outputs = (list(_tensors(part)) for part in (described.inputs, described.outputs))
    whole = _with_inputs(Graph(source.meta.graph_def), inputs, source)
    kept = [tensor.node for _, tensor, _ in inputs]
    wanted = [tensor for _, tensor, _ in outputs]
    for tensor in wanted:
        if tensor.node not in whole:
            raise IcebreakerError(
                "signature_broken", "{file}: the signature {subject!r} gives {tensor}, which is not in its graph",
                "export_again", subject=name, file=str(source.folder), tensor=str(tensor),
            )  # fmt: skip
    graph = prune(inline_functions(prune(whole, wanted, kept)), wanted, kept)
    start, restore = _start(source, whole)
    saved = {**_initial(start), **_saved(restore), **{node: _Saved(key) for node, key in source.apart.items()}}
    if any(node.op in _VARIABLES and node.name not in saved for node in graph):
        told = bound_variables(source.meta, source.folder)
        saved = {**{node: _Saved(key) for node, key in told.items()}, **saved}
    checkpoint = _Checkpoint(source.folder)

    def restored(node: Node, port: int) -> Any:
        where = _saved_at(restore, node, port)
        return None if where is None else checkpoint.read(where, node.definition.attr["dtypes"].list.type[port])

    graph, tables = lookup_tables.fill(graph, start, source.assets, restored, str(source.folder))
    frozen = _without_variables(graph, saved, checkpoint, store, source)
    if frozen is None:
        return None
    for body in (frozen.node, *(function.node_def for function in frozen.library.function)):
        for node in body:
            node.attr.pop("_output_shapes", None)  # a note from when handles of variables were passed on
    _refuse_state(frozen, source)
    signature = _named(frozen, name, described.method_name, inputs, outputs)
    return frozen, signature, tables


def state_of(source: Source, name: str, others: list[str]) -> tuple[str, str] | None:
    """A variable that a signature reads and another one changes, and that other one; None if there is none."""
    whole = Graph(source.meta.graph_def)

    def part(name: str) -> Graph:
        outputs = [tensor for _, tensor, _ in _tensors(source.meta.signature_def[name].outputs)]
        return inline_functions(prune(whole, [tensor for tensor in outputs if tensor.node in whole]))

    read = {node.name for node in part(name) if node.op in _VARIABLES}
    for other in others if read else ():
        graph = part(other)
        for node in graph:
            if "Assign" in node.op and node.inputs and (found := _behind(graph, node.inputs[0]).node) in read:
                return found, other
    return None


def _tensors(part: Mapping[str, Any]) -> Iterator[tuple[str, Tensor, Any]]:
    """The tensors of a signature's inputs or outputs, by key: key, tensor, and the TensorInfo that describes it."""
    for key, info in sorted(part.items()):
        if info.name:
            yield key, Tensor.parse(info.name), info
        elif info.WhichOneof("encoding") == "coo_sparse":
            sparse = info.coo_sparse
            for word, name, kind in (
                ("indices", sparse.indices_tensor_name, 9),
                ("values", sparse.values_tensor_name, info.dtype),
                ("dense_shape", sparse.dense_shape_tensor_name, 9),
            ):
                made = type(info)(name=name, dtype=kind)
                made.tensor_shape.unknown_rank = True
                yield f"{key}/{word}", Tensor.parse(name), made
        else:
            for number, component in enumerate(info.composite_tensor.components):
                yield f"{key}/{number}", Tensor.parse(component.name), component


def _with_inputs(whole: Graph, inputs: list[tuple[str, Tensor, Any]], source: Source) -> Graph:
    """The graph with a placeholder in the place of each input that is computed, and names of files as constants."""
    cut = {}
    for key, tensor, info in inputs:
        if tensor.node not in whole or tensor.port:
            raise IcebreakerError(
                "signature_input_missing", "{file}: the input {subject!r} is no tensor of its graph", "export_again",
                subject=key, file=str(source.folder),
            )  # fmt: skip
        if not whole[tensor.node].op.startswith("Placeholder"):
            cut[tensor.node] = info
    files = {name: file for name, file in source.assets.items() if name in whole}
    if not cut and not files:
        return whole
    definition = type(whole.definition)()
    definition.CopyFrom(whole.definition)
    for node in definition.node:
        if node.name in cut:
            node.op = "Placeholder"
            del node.input[:]
            node.attr.clear()
            node.attr["dtype"].type = cut[node.name].dtype
            node.attr["shape"].shape.CopyFrom(cut[node.name].tensor_shape)
        elif node.name in files:
            node.op = "Const"
            del node.input[:]
            node.attr.clear()
            node.attr["dtype"].type = node.attr["value"].tensor.dtype = 7
            node.attr["value"].tensor.tensor_shape.SetInParent()
            node.attr["value"].tensor.string_val.append(str(files[node.name]).encode())
    return Graph(definition)


def _start(source: Source, whole: Graph) -> tuple[Graph, Graph]:
    """What TensorFlow would run before a signature, and the part of it that reads the checkpoint."""
    meta = source.meta
    restoring = [Tensor.parse(meta.saver_def.restore_op_name)] if meta.saver_def.restore_op_name else []
    names = [info.name for key, item in meta.signature_def.items() for info in item.outputs.values() if key[:2] == "__"]
    for key in ("saved_model_main_op", "legacy_init_op", "table_initializer"):
        names += meta.collection_def[key].node_list.value if key in meta.collection_def else ()
    running = [node.name for node in whole if node.op in lookup_tables.FILLERS | lookup_tables.FILLERS_FROM_FILE]
    starting = [Tensor.parse(name) for name in [*names, *running] if Tensor.parse(name).node in whole]
    restoring = [tensor for tensor in restoring if tensor.node in whole]
    return (
        inline_functions(prune(whole, [*starting, *restoring])),
        inline_functions(prune(whole, restoring)),
    )


def _behind(graph: Graph, tensor: Tensor) -> Tensor:
    """What Identity nodes pass on."""
    for _ in graph:  # a stranger's graph may go in circles
        if graph[tensor.node].op not in ("Identity", "RefIdentity"):
            break
        tensor = graph[tensor.node].inputs[0]
    return tensor


def _saved(restore: Graph) -> dict[str, _Saved | np.ndarray]:
    """Variable → where its value is in the checkpoint, as the nodes that restore it say."""
    found = {}
    for node in restore:
        if node.op in ("AssignVariableOp", "Assign") and len(node.inputs) >= 2:
            variable, value = (_behind(restore, tensor) for tensor in node.inputs[:2])
            where = _saved_at(restore, restore[value.node], value.port)
            if where is not None and restore[variable.node].op in _VARIABLES:
                found[variable.node] = where
    return found


def _initial(start: Graph) -> dict[str, np.ndarray]:
    """Variable → the constant that it begins with, such as the name of a file."""
    import tensorflow as tf

    found = {}
    for node in start:
        if node.op in ("AssignVariableOp", "Assign") and len(node.inputs) >= 2:
            variable, value = (start[_behind(start, tensor).node] for tensor in node.inputs[:2])
            if variable.op in _VARIABLES and value.op == "Const":
                found[variable.name] = tf.make_ndarray(value.definition.attr["value"].tensor)
    return found


def _saved_at(restore: Graph, node: Node, port: int) -> _Saved | None:
    """What an output of a RestoreV2 node is called in the checkpoint."""
    import tensorflow as tf

    if node.op != "RestoreV2" or len(node.inputs) < 3:
        return None
    given = [restore[_behind(restore, tensor).node] for tensor in node.inputs[1:3]]
    if any(item.op != "Const" for item in given):
        return None
    names, parts = (tf.make_ndarray(item.definition.attr["value"].tensor).reshape(-1) for item in given)
    if port >= min(len(names), len(parts)):
        return None
    return _Saved(names[port].decode("utf-8", "replace"), parts[port].decode("utf-8", "replace"))


class _Checkpoint:
    """Reads the values of variables, one by one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, where: _Saved, kind: int) -> np.ndarray:
        """A value; `kind` is its TensorFlow dtype.

        Raises:
            IcebreakerError: It is not there, of another dtype, or cannot be read.
        """
        import tensorflow as tf

        try:
            with tf.device("CPU:0"):
                (value,) = tf.raw_ops.RestoreV2(
                    prefix=str(self._folder / "variables" / "variables"), tensor_names=[where.key],
                    shape_and_slices=[where.part], dtypes=[tf.as_dtype(kind % 100)],
                )  # fmt: skip
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise IcebreakerError(
                "variable_not_read", "{file}: the variable {subject!r} could not be read from the checkpoint: {reason}",
                "copy_again", subject=where.key, file=str(self._folder), reason=_first_line(error),
            ) from error  # fmt: skip
        return np.asarray(value)


def _first_line(error: Exception) -> str:
    """What TensorFlow says, without its notes on where."""
    return str(getattr(error, "message", error)).split("\n")[0].removesuffix(" [Op:RestoreV2]")


def _without_variables(
    graph: Graph, saved: Mapping[str, _Saved | np.ndarray], checkpoint: _Checkpoint, store: Store | None, source: Source
) -> Any | None:
    """A graph in which variables are constants; None if with a `store` that cannot be."""
    for node in graph:
        if node.op in _VARIABLES and node.name not in saved:
            raise IcebreakerError(
                "variable_not_saved", "{file}: the variable {subject!r} is not in its checkpoint", "export_again",
                subject=node.name, file=str(source.folder),
            )  # fmt: skip
    try:
        definition = _as_constants(graph)
    except _Captured:
        if store is not None:
            return None
        return _frozen_by_tensorflow(graph, saved, checkpoint, source)
    weights = Graph(definition).weights if store is not None else ()
    if store is None:
        _check_size(graph, source)
    import tensorflow as tf

    for node in definition.node:
        if node.name not in graph or graph[node.name].op not in _VARIABLES:
            continue
        value = _value(graph[node.name], saved, checkpoint, source)
        tensor = node.attr["value"].tensor
        if store is not None and node.name in weights and value.nbytes >= source.weight_bytes:
            for size in value.shape:
                tensor.tensor_shape.dim.add(size=size)
            tensor.tensor_content = store.mark(store.keep(rows(value)))
        else:
            tensor.CopyFrom(tf.make_tensor_proto(value, tf.as_dtype(tensor.dtype)))
    return definition


def _value(node: Node, saved: Mapping[str, _Saved | np.ndarray], checkpoint: _Checkpoint, source: Source) -> np.ndarray:
    """A variable's value.

    Raises:
        IcebreakerError: It is not as the graph says.
    """
    shape, kind = node.definition.attr["shape"].shape, node.definition.attr["dtype"].type
    where = saved[node.name]
    value = checkpoint.read(where, kind) if isinstance(where, _Saved) else where
    wanted = None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
    if wanted is not None and (
        len(wanted) != value.ndim or any(want not in (-1, have) for want, have in zip(wanted, value.shape, strict=True))
    ):
        raise IcebreakerError(
            "variable_differs",
            "{file}: the variable {subject!r} has the shape {found} in the checkpoint, but {wanted} in the graph",
            "export_again", subject=node.name, file=str(source.folder), found=_shape_text(value.shape),
            wanted=_shape_text(wanted),
        )  # fmt: skip
    return value


def _shape_text(shape: tuple[int, ...]) -> str:
    return "×".join("?" if size < 0 else str(size) for size in shape) or "scalar"


def _check_size(graph: Graph, source: Source) -> None:
    """Refuses what protobuf cannot hold, before it is read.

    Raises:
        IcebreakerError: The variables have 2 GiB and more.
    """
    total = 0
    for node in graph:
        if node.op in _VARIABLES:
            sizes = [dim.size for dim in node.definition.attr["shape"].shape.dim]
            total += int(np.prod([max(size, 1) for size in sizes], dtype=np.int64)) * _item_bytes(node)
    if total > external_weights.MOST_BYTES:
        raise IcebreakerError(
            "frozen_too_big",
            "{subject} would be a graph of {gigabytes:.1f} GB, but protobuf ends at 2 GB", "export_part_or_saved_model",
            subject=str(source.folder), gigabytes=total / 1e9,
        )  # fmt: skip


def _item_bytes(node: Node) -> int:
    import tensorflow as tf

    return tf.as_dtype(node.definition.attr["dtype"].type).size or 1


def _as_constants(graph: Graph) -> Any:
    """A graph in which variables are constants, still without values.

    Raises:
        _Captured: A variable is handed on.
    """
    result = type(graph.definition)(versions=graph.definition.versions)
    for node in graph:
        made = result.node.add()
        made.CopyFrom(node.definition)
        reads = [tensor.node for tensor in node.inputs if graph[tensor.node].op == "VarHandleOp"]
        if node.op in _VARIABLES:
            dtype = made.attr["dtype"].type
            made.op = "Const"
            del made.input[:]
            made.attr.clear()
            made.attr["dtype"].type = made.attr["value"].tensor.dtype = dtype
        elif node.op in _READS and reads:
            _read_constant(made, result)
        elif reads or (node.op.startswith("Ref") and any(graph[t.node].op in _VARIABLES for t in node.inputs)):
            raise _Captured
    result.library.CopyFrom(_called(graph))
    return result


def _called(graph: Graph) -> Any:
    """The functions that a graph needs."""
    library = type(graph.definition.library)()
    called = set(functions.reachable_functions(graph.definition.node, graph.definition.library))
    library.function.extend(item for item in graph.definition.library.function if item.signature.name in called)
    return library


def _read_constant(node: Any, definition: Any) -> None:
    """Makes of an op that reads a variable the one that reads a tensor."""
    dtype, indices, batch = node.attr["dtype"].type, node.attr["Tindices"].type, node.attr["batch_dims"].i
    shape = node.attr["out_type"].type
    op = node.op
    node.attr.clear()
    match op:
        case "ReadVariableOp":
            node.op = "Identity"
            node.attr["T"].type = dtype
        case "VariableShape":
            node.op = "Shape"
            node.attr["T"].type, node.attr["out_type"].type = dtype, shape or 3
        case "ResourceGatherNd":
            node.op = "GatherNd"
            node.attr["Tparams"].type, node.attr["Tindices"].type = dtype, indices
        case _:
            axis = definition.node.add(name=f"{node.name}/axis", op="Const")
            axis.attr["dtype"].type = axis.attr["value"].tensor.dtype = 3
            axis.attr["value"].tensor.int_val.append(batch)
            axis.attr["value"].tensor.tensor_shape.SetInParent()
            node.op = "GatherV2"
            for key, kind in {"Tparams": dtype, "Tindices": indices, "Taxis": 3}.items():
                node.attr[key].type = kind
            node.attr["batch_dims"].i = batch
            node.input.insert(2, axis.name)


def _frozen_by_tensorflow(
    graph: Graph, saved: Mapping[str, _Saved | np.ndarray], checkpoint: _Checkpoint, source: Source
) -> Any:
    """The same where variables are handed to functions, which takes TensorFlow's own freezing, in memory."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph

    _check_size(graph, source)

    class Values:
        """In the place of a session: gives the values of the variables whose names it is asked for."""

        def run(self, names: list[str]) -> list[np.ndarray]:
            nodes = [graph[name.removesuffix(":0").removesuffix("/Read/ReadVariableOp")] for name in names]
            return [_value(node, saved, checkpoint, source) for node in nodes]

    definition = type(graph.definition)(versions=graph.definition.versions, library=_called(graph))
    definition.node.extend(graph.definition.node)
    try:
        return convert_variables_to_constants_from_session_graph(Values(), definition, [node.name for node in graph])
    except IcebreakerError:
        raise
    except Exception as error:
        raise IcebreakerError(
            "not_freezable", "{subject} could not be frozen: {reason}", subject=str(source.folder), reason=str(error)
        ) from error


def _refuse_state(definition: Any, source: Source) -> None:
    """Refuses what is left of state: variables and tables that change, queues, iterators.

    Raises:
        IcebreakerError: There is some.
    """
    from tensorflow.python.framework import op_def_registry

    library = {function.signature.name: function for function in definition.library.function}
    called = functions.reachable_functions(definition.node, definition.library)
    for body in (definition.node, *(library[name].node_def for name in called)):
        for node in body:
            known = op_def_registry.get(node.op)
            changes = _CHANGES.fullmatch(node.op) or (
                known is not None and node.op.startswith(("Assign", "Scatter")) and known.input_arg[0].is_ref
            )
            handle = known is not None and any(item.type == _RESOURCE for item in known.output_arg)
            if changes or (handle and node.op not in _PASSING):
                raise IcebreakerError(
                    "keeps_state",
                    "{subject} keeps state that cannot be frozen in {tensor!r} (a table or a variable that changes)",
                    "export_signature_without", subject=str(source.folder), tensor=node.name,
                )  # fmt: skip


def _named(
    definition: Any, name: str, method: str, inputs: list[tuple[str, Tensor, Any]],
    outputs: list[tuple[str, Tensor, Any]],
) -> Signature:  # fmt: skip
    """Gives inputs and outputs the names that the signature has for them, where nodes can bear these."""
    taken = {node.name for node in definition.node}
    read = {Tensor.parse(text).node for node in definition.node for text in node.input}
    names: dict[str, str] = {}
    for key, tensor, _ in inputs:
        wanted = node_name(key)
        if tensor.node not in names and (wanted == tensor.node or wanted not in taken):
            names[tensor.node] = wanted
            taken.add(wanted)
    for key, tensor, _ in outputs:  # what others read as well is no end of the graph: an Identity takes its name
        if tensor.node not in names and node_name(key) == tensor.node and tensor.node in read:
            names[tensor.node] = _fresh(f"{tensor.node}/value", taken)
            taken.remove(tensor.node)
    _rename(definition, names)
    given = []
    for key, tensor, info in outputs:
        source = tensor._replace(node=names.get(tensor.node, tensor.node))
        wanted = node_name(key)
        if wanted != str(source):
            wanted = _fresh(wanted, taken)
            made = definition.node.add(name=wanted, op="Identity", input=[str(source)])
            made.attr["T"].type = info.dtype % 100
            source = Tensor(wanted)
        given.append(_told(key, source, info))
    entries = [_told(key, Tensor(names.get(tensor.node, tensor.node)), info) for key, tensor, info in inputs]
    return Signature(name, tuple(entries), tuple(given), method or "tensorflow/serving/predict")


def _rename(definition: Any, names: Mapping[str, str]) -> None:
    """Gives nodes other names."""
    for node in definition.node:
        node.name = names.get(node.name, node.name)
        for slot, text in enumerate(node.input):
            base = Tensor.parse(text).node
            if base in names:
                node.input[slot] = text.replace(base, names[base], 1)
        if "_class" in node.attr:
            del node.attr["_class"]  # colocation with nodes that may have other names now


def _fresh(name: str, taken: set[str]) -> str:
    """A name that is not taken; from now on it is."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _told(key: str, tensor: Tensor, info: Any) -> SignatureTensor:
    shape = info.tensor_shape
    known = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return SignatureTensor(key, str(tensor), DTYPES.get(info.dtype % 100, "unknown"), known)
