"""Where a dimension of a tensor comes from: two that come from the same one are surely of the same size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import FORWARDING
from icebreaker.tensors import Tensor

Dimension: TypeAlias = tuple[Tensor, int]
_Value: TypeAlias = Callable[[Tensor], "np.ndarray | None"]
_Rank: TypeAlias = Callable[[Tensor], "int | None"]

_SAME_NAMES = """
    Cast ReverseV2 Relu Relu6 Tanh Sigmoid Softmax Elu Exp Log Neg Abs Sqrt Square LogicalNot BiasAdd ZerosLike OnesLike
    LeakyRelu Softplus Erf
"""
_SAME = frozenset(_SAME_NAMES.split()) | FORWARDING
# Ops whose result has the shape of one operand if the other one is a number.
_WITH_NUMBERS = frozenset({
    "Add", "AddV2", "Sub", "Mul", "RealDiv", "NotEqual", "Equal", "Greater", "GreaterEqual", "Less", "LessEqual",
    "Maximum", "Minimum",
})  # fmt: skip
_REDUCTIONS = frozenset({"Any", "All", "Sum", "Mean", "Max", "Min", "Prod"})
_PRODUCTS = frozenset({"MatMul", "BatchMatMulV2", "BatchMatMulV3"})


def origin(graph: Graph, tensor: Tensor, axis: int, value: _Value, rank: _Rank) -> Dimension:
    """The earliest tensor and axis that a dimension surely comes from.

    Args:
        graph: The graph.
        tensor: One of its tensors.
        axis: Which of its dimensions, from 0.
        value: The value of a tensor that is constant.
        rank: How many dimensions a tensor has.
    """
    while (before := _before(graph, graph[tensor.node], tensor, axis, value, rank)) is not None:
        tensor, axis = before
    return tensor, axis


def counted(graph: Graph, tensor: Tensor, value: _Value) -> Dimension | None:
    """The dimension whose size a number is, if it is read off a shape: `tf.shape(x)[axis]`."""
    node = graph[tensor.node]
    while node.op in FORWARDING and node.inputs:
        node = graph[node.inputs[0].node]
    if node.op != "StridedSlice" or (shape := graph[node.inputs[0].node]).op != "Shape":
        return None
    begin, end = (value(item) for item in node.inputs[1:3])
    if begin is None or end is None or begin.size != 1 or node.attrs.get("shrink_axis_mask") != 1:
        return None
    place = int(begin.item())
    return (shape.inputs[0], place) if place >= 0 and not node.attrs.get("begin_mask") else None


def _before(
    graph: Graph, node: Node, tensor: Tensor, axis: int, value: _Value, rank: _Rank
) -> Dimension | None:  # fmt: skip
    """Where a dimension was one step earlier."""
    if not node.inputs or tensor.port:
        return None
    first = node.inputs[0]
    if node.op in _SAME:
        return first, axis
    if node.op in _WITH_NUMBERS:
        for one, other in (node.inputs, node.inputs[::-1]):
            if rank(other) == 0:
                return one, axis
        return None
    if node.op == "SelectV2":
        for one, other in (node.inputs[1:], node.inputs[:0:-1]):
            if rank(other) == 0 and (rank(first) == 0 or _are_alike(graph, first, one, axis, value, rank)):
                return one, axis
        return None
    if node.op == "Transpose":
        order = value(node.inputs[1])
        return None if order is None else (first, int(order[axis]))
    if node.op in ("GatherV2", "Gather"):
        read = node.inputs[1]
        places, along = rank(read), value(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1)
        is_row = along is not None and along.item() == 0 and places is not None and axis < places
        return (read, axis) if is_row else None
    if node.op in _PRODUCTS:
        whole = rank(first)
        return (first, axis) if whole == rank(tensor) and whole is not None and axis < whole - 2 else None
    if node.op == "ExpandDims":
        place, whole = value(node.inputs[1]), rank(tensor)
        if place is None or whole is None or (at := int(place) % whole) == axis:
            return None
        return first, axis - (at < axis)
    if node.op in _REDUCTIONS:
        return _before_reduction(node, axis, value(node.inputs[1]), rank(first))
    if node.op == "TensorListStack" and not axis:
        return _before_stack(graph, first, value)
    return None


def _are_alike(graph: Graph, one: Tensor, other: Tensor, axis: int, value: _Value, rank: _Rank) -> bool:
    """Whether neither of two tensors is stretched to the other along an axis."""
    ends = [origin(graph, tensor, axis, value, rank) for tensor in (one, other)]
    return rank(one) == rank(other) and ends[0] == ends[1]


def _before_reduction(node: Node, axis: int, axes: np.ndarray | None, rank: int | None) -> Dimension | None:
    if axes is None or rank is None:
        return None
    gone = {int(item) % rank for item in np.ravel(axes)}
    if node.attrs.get("keep_dims"):
        return None if axis in gone else (node.inputs[0], axis)
    return node.inputs[0], [item for item in range(rank) if item not in gone][axis]


def _before_stack(graph: Graph, tensor: Tensor, value: _Value) -> Dimension | None:
    """A list that a loop wrote is as long as it was made."""
    loop = graph[tensor.node]
    if loop.op not in ("While", "StatelessWhile"):
        return None
    made = graph[loop.inputs[tensor.port].node]
    return counted(graph, made.inputs[1], value) if made.op == "TensorListReserve" else None
