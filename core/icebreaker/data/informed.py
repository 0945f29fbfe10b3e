"""Made-up whole numbers that say a shape or a place, from what the node that reads them can take.

An output shape of a transposed convolution follows from what it is a gradient for; the places that a stitch fills are
all places, each once. Ones or zeros in their stead make the graph fail, or compute nothing, or leave memory unwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import FORWARDING
from icebreaker.tensors import Tensor

# Takes the graph, the node that reads, the slot, the made-up values so far, and those that are to be replaced.
_Maker = Callable[[Graph, Node, int, Mapping[str, np.ndarray], np.ndarray], "np.ndarray | None"]


def informed_values(graph: Graph, made: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Better values for some whole-number inputs.

    Args:
        graph: The graph.
        made: Input name → value, of the shapes that are wanted.

    Returns:
        Input name → value of the same shape and type, for those inputs of which there is something to say.
    """
    found: dict[str, np.ndarray] = {}
    for name, value in made.items():
        if value.dtype.kind not in "iu" or not value.size:
            continue
        for node, slot in _readers(graph, Tensor.parse(name)):
            maker = _MAKERS.get((node.op, slot)) or (_stitch if node.op in _STITCHES else None)
            better = maker(graph, node, slot, made, value) if maker else None
            if better is not None and better.shape == value.shape:
                found[name] = better.astype(value.dtype)
                break
    return found


def _readers(graph: Graph, tensor: Tensor) -> list[tuple[Node, int]]:
    """Who reads a tensor, and in which slot; through nodes that hand it on."""
    found: list[tuple[Node, int]] = []
    for name in graph.consumers[tensor.node]:
        node = graph[name]
        for slot, read in enumerate(node.inputs):
            if read == tensor:
                passes = node.op in FORWARDING or node.op == "Cast"
                found += _readers(graph, Tensor(name)) if passes else [(node, slot)]
    return found


def _shape(graph: Graph, tensor: Tensor, made: Mapping[str, np.ndarray]) -> tuple[int, ...] | None:
    """The shape of an input or constant; None of anything else."""
    node = graph[tensor.node]
    while node.op in FORWARDING:
        node = graph[node.inputs[0].node]
    if node.name in made:
        return made[node.name].shape
    return node.value.shape if node.value is not None else None


def _transposed(
    graph: Graph, node: Node, slot: int, made: Mapping[str, np.ndarray], value: np.ndarray
) -> np.ndarray | None:
    """An output shape of a transposed convolution that fits what goes into it."""
    weights, given = _shape(graph, node.inputs[1], made), _shape(graph, node.inputs[2], made)
    strides, padding = node.attrs.get("strides"), node.attrs.get("padding")
    layout = node.attrs.get("data_format", b"NHWC")
    layout = layout.decode() if isinstance(layout, bytes) else str(layout)
    if weights is None or given is None or not isinstance(strides, list) or len(strides) != len(given):
        return None
    space = [axis for axis, letter in enumerate(layout) if letter not in "NC"]
    result = list(given)
    result[layout.index("C")] = weights[-2]
    for axis, kernel in zip(space, weights, strict=False):
        same = padding in (b"SAME", "SAME")
        result[axis] = given[axis] * strides[axis] if same else (given[axis] - 1) * strides[axis] + kernel
    return np.array(result if value.size == len(result) else [result[axis] for axis in space])


def _stitch(
    graph: Graph, node: Node, slot: int, made: Mapping[str, np.ndarray], value: np.ndarray
) -> np.ndarray | None:
    """Places that go on where those of the slot before end."""
    if slot >= len(node.inputs) // 2:
        return None
    begin = 0
    for other in node.inputs[:slot]:
        shape = _shape(graph, other, made)
        if shape is None:
            return None
        begin += int(np.prod(shape))
    return np.arange(begin, begin + value.size).reshape(value.shape)


def _like(graph: Graph, node: Node, slot: int, made: Mapping[str, np.ndarray], value: np.ndarray) -> np.ndarray | None:
    """The shape of the first input, with ones in front or with all that is left over in the last place."""
    shape = _shape(graph, node.inputs[0], made)
    if shape is None or value.ndim != 1:
        return None
    if len(shape) <= value.size:
        return np.array([1] * (value.size - len(shape)) + list(shape))
    if node.op != "Reshape" or not value.size:
        return None
    return np.array([*shape[: value.size - 1], int(np.prod(shape[value.size - 1 :]))])


def _counted(graph: Graph, node: Node, slot: int, made: Mapping[str, np.ndarray], value: np.ndarray) -> np.ndarray:
    return np.arange(value.size).reshape(value.shape)


def _groups(graph: Graph, node: Node, slot: int, made: Mapping[str, np.ndarray], value: np.ndarray) -> np.ndarray:
    """Two of each group, in order."""
    return (np.arange(value.size) // 2).reshape(value.shape)


def _all(number: int) -> _Maker:
    return lambda graph, node, slot, made, value: np.full(value.shape, number)


_STITCHES = frozenset({"DynamicStitch", "ParallelDynamicStitch"})
_MAKERS: Mapping[tuple[str, int], _Maker] = {
    **{(op, 0): _transposed for op in ("Conv2DBackpropInput", "Conv3DBackpropInputV2")},
    **{(op, 1): _like for op in ("Reshape", "BroadcastTo")},
    ("InvertPermutation", 0): _counted,
    ("Transpose", 1): _counted,
    **{(f"Segment{kind}", 1): _groups for kind in ("Sum", "Max", "Min", "Mean", "Prod")},
    **{(f"SparseSegment{kind}", 2): _groups for kind in ("Sum", "Mean", "SqrtN")},
    **{(f"SparseSegment{kind}", 1): _all(0) for kind in ("Sum", "Mean", "SqrtN")},
    ("Slice", 1): _all(0),
    ("Slice", 2): _all(2),
    ("StridedSlice", 1): _all(0),
    ("StridedSlice", 2): _all(1),
    ("StridedSlice", 3): _all(1),
    ("TopKV2", 1): _all(1),
    ("Fill", 0): _all(2),
    ("ScatterNd", 2): _all(8),
    ("CropAndResize", 2): _all(0),
    ("CropAndResize", 3): _all(4),
    **{(f"Resize{kind}", 1): _all(6) for kind in ("Bilinear", "NearestNeighbor", "Bicubic", "Area")},
}
