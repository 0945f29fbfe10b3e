"""A segment as a graph of its own: for the converter, for engines that start from TensorFlow, and to run it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import DTYPES
from icebreaker.partitioning.partition import Segment
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

ENUMS = {name: number for number, name in DTYPES.items()}


def complete_outputs(segment: Segment, wanted: Sequence[Tensor]) -> Segment:
    """Adds the lower ports of a wanted `node:1`, which the node that keeps the name must have too."""
    inside = set(segment.nodes)
    outputs = list(segment.outputs)
    for tensor in wanted:
        if tensor.node in inside:
            outputs += [
                Tensor(tensor.node, port) for port in range(tensor.port) if Tensor(tensor.node, port) not in outputs
            ]
    return replace(segment, outputs=tuple(outputs))


def stand_ins_of(segment: Segment) -> tuple[Tensor, ...]:
    """The placeholders `input_0`, `input_1` … that stand for a segment's inputs in a graph of its own."""
    taken = {*segment.nodes, *segment.constants}
    names = []
    for index in range(len(segment.inputs)):
        name = f"input_{index}"
        while name in taken:
            name = "_" + name
        taken.add(name)
        names.append(name)
    return tuple(map(Tensor, names))


def segment_definition(
    graph: Graph, segment: Segment, original: GraphSession, shapes: Mapping[Tensor, Any]
) -> tuple[Any, Any]:
    """A segment as a graph of its own, for the converter and for running it alone.

    Args:
        graph: The whole graph (TensorFlow's message).
        segment: The segment.
        original: The whole graph in TensorFlow, for dtypes.
        shapes: Input tensor → shape with None for open dimensions, or None for an unknown rank.

    Returns:
        The GraphDef, and the placeholders that stand for `segment.inputs`, in their order.
    """
    whole = graph.definition
    definition = type(whole)(versions=whole.versions)
    stand_ins = dict(zip(segment.inputs, stand_ins_of(segment), strict=True))
    for tensor, stand_in in stand_ins.items():
        node = definition.node.add(name=stand_in.node, op="Placeholder")
        node.attr["dtype"].type = ENUMS[original.dtype(tensor)]
        shape = shapes.get(tensor)
        if shape is None:
            node.attr["shape"].shape.unknown_rank = True
        else:
            node.attr["shape"].shape.SetInParent()
            for dim in shape:
                node.attr["shape"].shape.dim.add(size=-1 if dim is None else dim)
    for name in (*segment.constants, *segment.nodes):
        node = definition.node.add()
        copy_inside(graph, name, segment, node, lambda tensor: str(stand_ins.get(tensor, tensor)))
    if any(graph[name].functions for name in segment.nodes):
        definition.library.CopyFrom(whole.library)
    return definition, tuple(stand_ins[tensor] for tensor in segment.inputs)


def copy_inside(
    graph: Graph,
    name: str,
    segment: Segment,
    node: Any,
    spelled: Callable[[Tensor], str],
    names: Mapping[str, str] | None = None,
) -> None:
    """Copies a node into a segment; controls from outside are left to the engine node.

    Args:
        graph: The graph that has it.
        name: Its name there.
        segment: The segment.
        node: The NodeDef to fill.
        spelled: How the copy names a tensor that it reads.
        names: New names of the segment's nodes; None: they keep theirs.
    """
    source = graph[name]
    members = names or dict.fromkeys((*segment.nodes, *segment.constants))
    node.CopyFrom(source.definition)
    node.ClearField("input")
    node.input.extend(spelled(tensor) for tensor in source.inputs)
    node.input.extend(f"^{names[item] if names else item}" for item in source.controls if item in members)
    if names:
        node.name = names[name]
    node.attr.pop("_class", None)
