"""Loops over sequences that are no cell that ONNX knows: an ONNX Scan, whose body is the loop's.

So are masked layers, stacked cells, cells that somebody wrote, `tf.scan` and `tf.map_fn`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.export import exporter
from icebreaker.export.exporter import Refused
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import DTYPES, PASSIVE
from icebreaker.tensors import Tensor

Shape = tuple[int | None, ...]
_RESULT = "scan_result_"
ENUMS = {name: number for number, name in DTYPES.items()}


@dataclass(frozen=True)
class Entry:
    """Something that a body reads: its node there, type and shape."""

    node: str
    dtype: str
    shape: Shape | None


@dataclass(frozen=True)
class Scan:
    """A loop as a Scan.

    Attributes:
        body: The body, a GraphProto. It takes `states`, `fixed`, steps of `sequences`, and the number of the step in
            each type of `counters`; it gives the new states, `fixed`, and the outputs.
        states: What the states are before, in the graph.
        fixed: Tensors of the graph that it reads and that stay the same.
        sequences: The tensors with all steps.
        limit: How many steps there are, if there is no sequence.
        counters: Types in which it reads the number of the step.
        dtypes: Types of states, `fixed` and outputs.
    """

    body: Any
    states: tuple[Tensor, ...]
    fixed: tuple[Tensor, ...]
    sequences: tuple[Tensor, ...]
    limit: Tensor | int | None
    counters: tuple[str, ...]
    dtypes: tuple[str, ...]


def exported_body(
    body: Graph, entries: Sequence[Entry], constants: Mapping[str, np.ndarray], results: Sequence[Tensor]
) -> tuple[Any, list[str]] | None:
    """The body of a loop in ONNX.

    Args:
        body: The body.
        entries: What it takes, in the order of the Scan.
        constants: Nodes of it that are always the same → their value.
        results: What it gives.

    Returns:
        The GraphProto and the types of what it gives; None if it cannot be converted.
    """
    import onnx
    import tensorflow as tf

    whole = body.definition
    definition = type(whole)(versions=whole.versions)
    taken = {entry.node: entry for entry in entries}
    needed = _needed(body, [tensor.node for tensor in results], {*taken, *constants})
    if any(body[name].op not in PASSIVE | exporter.supported_ops() for name in needed - set(taken) - set(constants)):
        return None
    for entry in entries:
        node = definition.node.add(name=entry.node, op="Placeholder")
        node.attr["dtype"].type = ENUMS[entry.dtype]
        if entry.shape is None:
            node.attr["shape"].shape.unknown_rank = True
        else:
            node.attr["shape"].shape.SetInParent()
            for size in entry.shape:
                node.attr["shape"].shape.dim.add(size=-1 if size is None else size)
    for name, value in constants.items():
        if name in needed:
            node = definition.node.add(name=name, op="Const")
            node.attr["dtype"].type = ENUMS[value.dtype.name]
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    for node in body:
        if node.name in needed and node.name not in taken and node.name not in constants:
            copy = definition.node.add()
            copy.CopyFrom(node.definition)
            del copy.input[:]
            copy.input.extend(map(str, node.inputs))
    ends = [*results, *(Tensor(entry.node) for entry in entries if entry.node not in needed)]
    try:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
        types = [graph.get_tensor_by_name(f"{tensor.node}:{tensor.port}").dtype for tensor in ends]
        outs = [Tensor(f"{_RESULT}{index}") for index in range(len(ends))]
        for out, tensor, kind in zip(outs, ends, types, strict=True):
            node = definition.node.add(name=out.node, op="Identity", input=[str(tensor)])
            node.attr["T"].type = kind.as_datatype_enum
        made = exporter.export(definition, [Tensor(entry.node) for entry in entries], outs)
    except (Refused, ValueError, KeyError):
        return None
    proto = onnx.load_from_string(made.model).graph
    del proto.output[len(results) :]  # the rest was there so that nothing that goes in was lost
    return proto, [kind.name for kind in types[: len(results)]]


def _needed(body: Graph, names: Sequence[str], ends: set[str]) -> set[str]:
    found: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            if name not in ends:
                stack += [tensor.node for tensor in body[name].inputs]
    return found


def renamed(body: Any, prefix: str) -> Any:
    """A GraphProto in which all names begin with `prefix`: those of the graph around it are others."""
    result = type(body)()
    result.CopyFrom(body)
    result.name = prefix
    for items in (result.input, result.output, result.initializer, result.value_info):
        for item in items:
            item.name = prefix + item.name
    for node in result.node:
        node.name = prefix + node.name
        for names in (node.input, node.output):
            spelled = [prefix + name if name else "" for name in names]
            del names[:]
            names.extend(spelled)
    return result
