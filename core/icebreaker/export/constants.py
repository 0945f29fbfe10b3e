"""Values of what a graph computes from constants alone, by few ops: weights on their way, limits, lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import DTYPES
from icebreaker.storage.weight_store import opened
from icebreaker.tensors import Tensor

_Evaluator = Callable[[Node, list[np.ndarray]], "np.ndarray | None"]
_MOST_VALUES = 1 << 20  # of what is computed, but for views


def evaluated(graph: Graph, tensor: Tensor, leaf: Callable[[Tensor], np.ndarray | None]) -> np.ndarray | None:
    """The value of a tensor, if it comes from constants by few simple ops; None otherwise.

    Args:
        graph: The graph, or the body of a function.
        tensor: One of its tensors.
        leaf: Gives the values of constants; None for anything else.
    """
    if (known := leaf(tensor)) is not None:
        return known
    node = graph[tensor.node]
    evaluate = _EVALUATORS.get(node.op)
    if evaluate is None or (tensor.port and node.op not in ("Split", "Unpack")):
        return None
    inputs = []
    for item in node.inputs:
        value = evaluated(graph, item, leaf)
        if value is None:
            return None
        inputs.append(value)
    try:
        return evaluate(node, inputs) if node.op not in _PORTS else _PORTS[node.op](node, inputs)[tensor.port]
    except (IndexError, ValueError, TypeError):  # shapes that do not go together: TensorFlow says so better
        return None


def constant(graph: Graph, tensor: Tensor) -> np.ndarray | None:
    """The value of a constant of a graph, wherever it lies; None of anything else."""
    node = graph[tensor.node]
    if node.op != "Const":
        return None
    import tensorflow as tf

    proto = node.definition.attr["value"].tensor
    file = graph.store.of(node.definition) if graph.store is not None else None
    if file:
        return opened(file, DTYPES[proto.dtype], [dim.size for dim in proto.tensor_shape.dim])
    return tf.make_ndarray(proto)


def sliced(node: Node, begin: Any, end: Any, strides: Any, shape: tuple[int, ...]) -> tuple[Any, ...] | None:
    """What a StridedSlice takes of an array, as numpy's index; None if it says more than plain slices and places."""
    masks = {key: int(node.attrs.get(key) or 0) for key in ("begin_mask", "end_mask", "shrink_axis_mask")}
    if node.attrs.get("ellipsis_mask") or node.attrs.get("new_axis_mask") or len(begin) > len(shape):
        return None
    found: list[Any] = []
    for axis, (low, high, step) in enumerate(zip(begin, end, strides, strict=True)):
        if masks["shrink_axis_mask"] >> axis & 1:
            found.append(int(low))
        else:
            found.append(slice(
                None if masks["begin_mask"] >> axis & 1 else int(low),
                None if masks["end_mask"] >> axis & 1 else int(high), int(step),
            ))  # fmt: skip
    return tuple(found)


def _strided_slice(node: Node, inputs: list[np.ndarray]) -> np.ndarray | None:
    place = sliced(node, *inputs[1:], inputs[0].shape)
    return None if place is None else inputs[0][place]


def _squeeze(node: Node, inputs: list[np.ndarray]) -> np.ndarray:
    axes = node.attrs.get("squeeze_dims") or None
    return np.squeeze(inputs[0], tuple(axes) if axes else None)


def _range(node: Node, inputs: list[np.ndarray]) -> np.ndarray | None:
    count = abs((int(inputs[1]) - int(inputs[0])) / (int(inputs[2]) or 1))
    return np.arange(*map(int, inputs)) if count < _MOST_VALUES else None


def _maximum(node: Node, inputs: list[np.ndarray]) -> np.ndarray:
    return np.max(inputs[0], tuple(np.ravel(inputs[1]).tolist()))


def _unpack(node: Node, inputs: list[np.ndarray]) -> list[np.ndarray]:
    return list(np.moveaxis(inputs[0], int(node.attrs.get("axis") or 0), 0))


_PORTS: Mapping[str, Callable[[Node, list[np.ndarray]], list[np.ndarray]]] = {
    "Split": lambda node, inputs: np.split(inputs[1], int(node.attrs["num_split"]), int(inputs[0])),
    "Unpack": _unpack,
}
_EVALUATORS: Mapping[str, _Evaluator] = {
    **{op: lambda node, inputs: inputs[0] for op in ("Identity", "Enter", "StopGradient", "Snapshot")},
    **{op: lambda node, inputs: None for op in _PORTS},
    "StridedSlice": _strided_slice,
    "Squeeze": _squeeze,
    "Reshape": lambda node, inputs: inputs[0].reshape(inputs[1]),
    "Transpose": lambda node, inputs: inputs[0].transpose(inputs[1]),
    "ExpandDims": lambda node, inputs: np.expand_dims(inputs[0], int(inputs[1])),
    "Range": _range,
    "Max": _maximum,
    "Rank": lambda node, inputs: np.asarray(inputs[0].ndim),
}
