"""Lookup tables in a frozen graph: filled from constants in the graph itself, before anybody reads them.

TensorFlow fills a table in a step of its own, once for each session. A frozen graph has no such step: here every reader
of a table waits for the node that fills it, which does nothing when the table is full already. So a vocabulary works
wherever the graph runs, in plain TensorFlow too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from icebreaker.errors import IcebreakerError
from icebreaker.formats.saved_model.signatures import Table
from icebreaker.graph.graph import Graph, Node
from icebreaker.storage.files import file_beside
from icebreaker.tensors import Tensor

FILLED_ONCE = frozenset({"HashTable", "HashTableV2"})
_CHANGING = frozenset({"MutableHashTable", "MutableHashTableV2"})
FILLERS = frozenset({"InitializeTable", "InitializeTableV2", "LookupTableImport", "LookupTableImportV2"})
FILLERS_FROM_FILE = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_MOST_VOCABULARY_BYTES = 1 << 30

# Gives what a checkpoint has, from the RestoreV2 node that reads it and the port.
Restored = Callable[[Node, int], Any]


class _Entries(NamedTuple):
    """What a table is filled with: nodes that give keys and values."""

    nodes: Sequence[Any]
    keys: str
    values: str
    size: int
    asset: str = ""


def wait_for_tables(graph: Graph) -> Graph:
    """A frozen graph of TensorFlow 1 in which readers of a table wait for the node that fills it from constants.

    What fills a table from a file is left to whoever runs the graph.
    """
    fed = {node.name for node in graph if node.op.startswith("Placeholder")}
    fills = {
        node.inputs[0].node: node.name
        for node in graph if node.op in FILLERS and node.inputs and fed.isdisjoint(graph.ancestors([node.name]))
    }  # fmt: skip
    waiting = {
        node.name: fills[tensor.node]
        for node in graph if node.op not in FILLERS | FILLERS_FROM_FILE
        for tensor in node.inputs if tensor.node in fills and graph[tensor.node].op in FILLED_ONCE
    }  # fmt: skip
    waiting = {name: fill for name, fill in waiting.items() if fill not in graph[name].controls}
    if not waiting:
        return graph
    definition = type(graph.definition)()
    definition.CopyFrom(graph.definition)
    for node in definition.node:
        if node.name in waiting:
            node.input.append(f"^{waiting[node.name]}")
    return Graph(definition, graph.store)


def spare_initializers(graph: Graph, cut: Graph) -> tuple[Any, ...]:
    """The nodes that fill the tables of a part of a graph, and groups of them such as `init_all_tables`.

    A program that runs them first, as TensorFlow 1 wants it, shall go on doing so on the part.

    Args:
        graph: The whole.
        cut: The part, which has tables and their readers.

    Returns:
        What is not in the part already.
    """
    fillers = {
        node.name for node in graph
        if node.op in FILLERS | FILLERS_FROM_FILE and node.inputs and node.inputs[0].node in cut
    }  # fmt: skip
    groups = [
        node for node in graph if node.op == "NoOp" and not node.inputs and not fillers.isdisjoint(node.controls)
    ]  # fmt: skip
    wanted = {*graph.ancestors(fillers), *(node.name for node in groups)}
    found = []
    for node in graph:
        if node.name in wanted and node.name not in cut:
            made = type(cut.definition)().node.add()
            made.MergeFromString(node.definition.SerializeToString())
            if node in groups:
                made.input[:] = [f"^{name}" for name in node.controls if name in fillers]
            made.attr.pop("_class", None)
            found.append(made)
    return tuple(found)


def fill(
    graph: Graph, start: Graph, assets: Mapping[str, Path], restored: Restored, source: str
) -> tuple[Graph, tuple[Table, ...]]:
    """A part of a SavedModel's graph in which its tables fill themselves.

    Args:
        graph: The part.
        start: What TensorFlow would run first: initializers, and the nodes that restore from the checkpoint.
        assets: Node that gives a file's name → the file, in the SavedModel.
        restored: Reads the checkpoint.
        source: What to name in errors.

    Raises:
        IcebreakerError: A table is filled by something else, or changes.
    """
    tables = [node for node in graph if node.op in FILLED_ONCE | _CHANGING]
    if not tables:
        return graph, ()
    fillers = {_resource(start[_behind(start, node.inputs[0]).node]): node for node in _fillers(start)}
    definition = type(graph.definition)()
    definition.CopyFrom(graph.definition)
    taken = {node.name for node in definition.node}
    told: list[Table] = []
    fills: dict[str, str] = {}
    for table in tables:
        filler = fillers.get(_resource(table))
        entries = None if filler is None else _entries(table, filler, start, assets, restored, source)
        if entries is None:
            raise IcebreakerError(
                "keeps_state",
                "{subject} keeps state that cannot be frozen in {tensor!r} (a table or a variable that changes)",
                "export_signature_without", subject=source, tensor=table.name,
            )  # fmt: skip
        definition.node.extend(node for node in entries.nodes if node.name not in taken)
        taken.update(node.name for node in entries.nodes)
        fills[table.name] = _add_filler(definition, table, entries)
        told.append(Table(table.name, fills[table.name], entries.size, entries.asset))
    for node in definition.node:
        wanted = {fills[name] for text in node.input if (name := Tensor.parse(text).node) in fills}
        node.input.extend(f"^{name}" for name in sorted(wanted - {node.name}))
    return Graph(definition, graph.store), tuple(told)


def _fillers(start: Graph) -> Iterator[Node]:
    """The nodes that fill tables; those that restore a checkpoint last, since they have the last word."""
    found = [node for node in start if node.op in FILLERS | FILLERS_FROM_FILE and node.inputs]
    yield from sorted(
        found, key=lambda node: any(start[_behind(start, item).node].op == "RestoreV2" for item in node.inputs[1:])
    )


def _resource(node: Node) -> str:
    """What TensorFlow knows a table by."""
    return str(node.attrs.get("shared_name") or node.name)


def _behind(graph: Graph, tensor: Tensor) -> Tensor:
    """What Identity nodes pass on, and what variables that are read begin with."""
    for _ in graph:  # a stranger's graph may go in circles
        node = graph[tensor.node]
        if node.op == "ReadVariableOp" and node.inputs:
            handle = _behind(graph, node.inputs[0]).node
            readers = (graph[name] for name in graph.consumers[handle])
            given = next((item for item in readers if item.op == "AssignVariableOp" and len(item.inputs) > 1), None)
            if given is None:
                break
            tensor = given.inputs[1]
        elif node.op == "Identity":
            tensor = node.inputs[0]
        else:
            break
    return tensor


def _entries(
    table: Node, filler: Node, start: Graph, assets: Mapping[str, Path], restored: Restored, source: str
) -> _Entries | None:
    """What fills a table; None: what nobody can tell without running it."""
    inputs = [_behind(start, tensor) for tensor in filler.inputs]
    if filler.op in FILLERS_FROM_FILE:
        file = assets.get(inputs[1].node)
        if file is None:
            raise IcebreakerError(
                "vocabulary_elsewhere", "{file}: the table {subject!r} is filled from a file that is not in its assets",
                "export_signature_without", subject=table.name, file=source,
            )  # fmt: skip
        return _constants(table, *_read_vocabulary(table, filler, file), file.name)
    restores = [start[tensor.node] for tensor in inputs[1:3]]
    if all(node.op == "RestoreV2" for node in restores):
        return _constants(table, *(restored(start[tensor.node], tensor.port) for tensor in inputs[1:3]))
    if table.op in _CHANGING:
        return None
    needed = start.ancestors(tensor.node for tensor in filler.inputs[1:3])
    if not all(_is_pure(start[name].op) for name in needed):
        return None
    nodes = [node.definition for node in start if node.name in needed]
    keys = restores[0].value
    names = [_spelled(tensor) for tensor in filler.inputs[1:3]]
    return _Entries(nodes, names[0], names[1], keys.size if keys else 0)


def _spelled(tensor: Tensor) -> str:
    return f"{tensor.node}:{tensor.port}" if tensor.port else tensor.node


def _is_pure(op: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(op)
    return definition is not None and not definition.is_stateful and not op.startswith("Placeholder")


def _read_vocabulary(table: Node, filler: Node, file: Path) -> tuple[Any, Any]:
    """Keys and values from a text file, as TensorFlow reads it.

    Raises:
        IcebreakerError: It cannot be read, or is not what the table takes.
    """
    import tensorflow as tf

    try:
        file_beside(file.parent.parent, f"assets/{file.name}", _MOST_VOCABULARY_BYTES)
        with tf.device("CPU:0"):
            types = {key: tf.as_dtype(table.definition.attr[key].type) for key in ("key_dtype", "value_dtype")}
            handle = tf.raw_ops.AnonymousHashTable(**types)
            settings = {key: value for key, value in filler.attrs.items() if not key.startswith("_")}
            tf.raw_ops.InitializeTableFromTextFileV2(table_handle=handle, filename=str(file), **settings)
            keys, values = tf.raw_ops.LookupTableExportV2(
                table_handle=handle, Tkeys=types["key_dtype"], Tvalues=types["value_dtype"]
            )
    except (OSError, tf.errors.OpError, TypeError, ValueError) as error:
        raise IcebreakerError(
            "vocabulary_not_read", "the table {subject!r} cannot be filled from {file}: {reason}", "copy_again",
            subject=table.name, file=str(file), reason=str(error),
        ) from error  # fmt: skip
    return keys.numpy(), values.numpy()


def _constants(table: Node, keys: Any, values: Any, asset: str = "") -> _Entries:
    """Keys and values as constants of the graph."""
    import tensorflow as tf

    nodes = []
    for name, key, value in (("keys", "key_dtype", keys), ("values", "value_dtype", values)):
        node = type(table.definition)(name=f"{table.name}/{name}", op="Const")
        kind = table.definition.attr[key].type
        node.attr["dtype"].type = kind
        made = tf.make_tensor_proto(value, tf.as_dtype(kind), value.shape)
        node.attr["value"].tensor.ParseFromString(made.SerializeToString())
        nodes.append(node)
    return _Entries(nodes, nodes[0].name, nodes[1].name, len(keys), asset)


def _add_filler(definition: Any, table: Node, entries: _Entries) -> str:
    """Adds the node that fills a table, which gets a name after what is in it; returns the name of the node.

    TensorFlow knows a table by name in the whole process: two models with tables of the same name would share one.
    """
    v2 = "V2" if table.op.endswith("V2") else ""
    types = {key: table.definition.attr[key].type for key in ("key_dtype", "value_dtype")}
    content = hashlib.sha256(f"{sorted(types.items())}".encode())
    for node in entries.nodes:
        content.update(node.SerializeToString(deterministic=True))
    for node in definition.node:
        if node.name == table.name:
            node.op = f"HashTable{v2}"
            node.attr.clear()
            for key, kind in types.items():
                node.attr[key].type = kind
            node.attr["container"].s = b""
            node.attr["shared_name"].s = f"table_{content.hexdigest()[:32]}".encode()
            node.attr["use_node_name_sharing"].b = False
    made = definition.node.add(name=f"{table.name}/fill", op=f"LookupTableImport{v2}")
    made.input.extend([table.name, entries.keys, entries.values])
    made.attr["Tin"].type, made.attr["Tout"].type = types["key_dtype"], types["value_dtype"]
    return made.name
