"""Sizes of inputs that a graph leaves open, read off the weights that meet them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import FORWARDING
from icebreaker.tensors import Tensor

# Ops that give as many numbers in as many dimensions as they read.
_SAME_NAMES = """
    Cast Abs Neg Exp Log Log1p Sqrt Rsqrt Square Relu Relu6 LeakyRelu Elu Selu Tanh Sigmoid Softmax Softplus Sign Floor
    Round ClipByValue Maximum Minimum Add AddV2 Sub Mul Div RealDiv DivNoNan Pow IdentityN PlaceholderWithDefault
    CheckNumerics ReverseV2 Reverse PreventGradient
"""
_SAME = frozenset(_SAME_NAMES.split()) | FORWARDING
_BROADCASTS = frozenset({"Add", "AddV2", "Sub", "Mul", "Div", "RealDiv", "Maximum", "Minimum"})
_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_DENSE = frozenset({"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"})
# Convolutions → how many dimensions their input has.
_CONVOLUTIONS = {"Conv2D": 4, "DepthwiseConv2dNative": 4, "Conv3D": 5}


@dataclass(frozen=True)
class Meeting:
    """What a weight says of the input that it meets.

    Attributes:
        axis: The dimension, from the end: -1 is the last one.
        size: How many numbers the weight has for it.
        rank: How many dimensions the input has; None if the weight does not tell.
    """

    axis: int
    size: int
    rank: int | None = None


def meetings(graph: Graph, name: str) -> list[Meeting]:
    """What the first weights that meet an input say of it; the surest first."""
    found: list[Meeting] = []
    seen = {Tensor.parse(name)}
    queue = [(Tensor.parse(name), 0)]  # with the dimensions that were added on the way
    for here, added in queue:  # grows as it goes
        for reader in graph.consumers[here.node]:
            node = graph[reader]
            for slot, tensor in enumerate(node.inputs):
                if tensor != here:
                    continue
                found += _of_reader(graph, node, slot, added)
                more = added + (node.op == "ExpandDims" and slot == 0)
                passes = node.op in _SAME or node.op in _NORMS or node.op == "BiasAdd" or node.op == "ExpandDims"
                given = Tensor(node.name)
                if slot == 0 and passes and given not in seen:
                    seen.add(given)
                    queue.append((given, more))
    return sorted(found, key=lambda item: item.rank is None)


def _of_reader(graph: Graph, node: Node, slot: int, added: int) -> Iterator[Meeting]:
    other = _shape(graph, node.inputs[1 - slot]) if len(node.inputs) > 1 and slot < 2 else None
    if not other:
        return
    if node.op in _BROADCASTS and len(node.inputs) == 2 and other[-1] > 1:
        yield Meeting(-1, other[-1])
    if slot:
        return
    if node.op in _CONVOLUTIONS and len(other) == _CONVOLUTIONS[node.op]:
        rank, layout = len(other), str(node.attrs.get("data_format") or "NHWC")
        if layout.endswith("C"):  # of a sequence, dimensions were put in on the way
            yield Meeting(-1, other[-2], rank - added)
        elif not added:
            yield Meeting(1 - rank, other[-2], rank)
    elif node.op == "MatMul" and len(other) == 2 and not node.attrs.get("transpose_a"):
        yield Meeting(-1, other[1 if node.attrs.get("transpose_b") else 0], 2 - added)
    elif node.op in _DENSE and len(other) == 2:
        yield Meeting(-1, other[1 if node.attrs.get("adj_y") else 0])
    elif node.op in _NORMS | {"BiasAdd"} and str(node.attrs.get("data_format") or "NHWC").endswith("C"):
        yield Meeting(-1, other[0], 4 - added if node.op in _NORMS else None)


def filled(shape: Sequence[int | None], found: Sequence[Meeting]) -> tuple[int | None, ...]:
    """A shape with what weights say of its open dimensions; the first one is the batch, and stays."""
    sizes = list(shape)
    for item in found:
        place = len(sizes) + item.axis
        if place > 0 and sizes[place] is None and item.rank in (None, len(sizes)):
            sizes[place] = item.size
    return tuple(sizes)


def _shape(graph: Graph, tensor: Tensor) -> tuple[int, ...] | None:
    """The shape of a constant, handed on or not; None of anything else."""
    node = graph[tensor.node]
    if node.op in FORWARDING and node.inputs:
        return _shape(graph, node.inputs[0])
    if node.op == "ExpandDims" and node.inputs:  # the kernel of a sequence, in front
        return (1, *shape) if (shape := _shape(graph, node.inputs[0])) else None
    return node.value.shape if node.value is not None else None
