"""What INT8 may do to a graph: the place for a new rule.

Which layers can be quantized (`quantizable_layer`), which ranges follow from the graph without data (`known_range`),
where no value is negative (`is_never_negative`), and which nodes after a layer are its activation (`activation_after`).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.quantization.calibration_table import Range
from icebreaker.quantization.qdq.indexed_model import IndexedModel

_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Neg", "Identity", "Min", "Max"})
_ACTIVATIONS = frozenset({
    "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Selu", "Celu",
    "Softplus", "Softsign", "Gelu", "Mish", "ThresholdedRelu", "Erf",
})  # fmt: skip
_MOST_ACTIVATION_NODES = 10
# They move values or average them, so that a range of the input holds for the output too.
_RANGE_KEEPING = frozenset({
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "Reshape", "Transpose",
    "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Split", "DepthToSpace", "SpaceToDepth",
})  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product that can be quantized.

    Attributes:
        name: ONNX node name.
        op: ONNX op.
        index: Place among the prepared model's nodes.
        activations: Tensors that get Q/DQ.
        weights: Name of the constant operand; empty if both operands are computed.
        weight_axis: The weights' axis that has a scale of its own per entry; None: one scale for all.
        channel_axis: The output's axis that a bias runs along; None: there is no place for a bias.
        output: The tensor it gives.
    """

    name: str
    op: str
    index: int
    activations: tuple[str, ...]
    weights: str
    weight_axis: int | None
    channel_axis: int | None
    output: str


def quantizable_layer(model: IndexedModel, index: int) -> Layer | None:
    """The node at `index` as a layer that INT8 can compute; None if it is none."""
    from onnx import TensorProto

    node = model.nodes[index]
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
        return None
    first, second = node.input[0], node.input[1]
    if node.op_type == "MatMul":
        weights = second if second in model.constants else first if first in model.constants else ""
    else:
        weights = second
        bias = node.input[2] if len(node.input) > 2 else ""
        if second not in model.constants or (node.op_type != "Gemm" and bias and bias not in model.constants):
            return None  # no weights, or nowhere to put a correction
    if weights and model.constants[weights].data_type != TensorProto.FLOAT:
        return None
    computed = [name for name in dict.fromkeys((first, second)) if name != weights]
    activations = tuple(name for name in computed if not _is_dequantized(model, name))
    if not all(name in model.floats for name in computed) or not (weights or activations):
        return None
    weight_axis, channel_axis = _axes(model, node, weights)
    return Layer(node.name, node.op_type, index, activations, weights, weight_axis, channel_axis, node.output[0])


def _axes(model: IndexedModel, node: Any, weights: str) -> tuple[int | None, int | None]:
    """A layer's `weight_axis` and `channel_axis`."""
    number = {attribute.name: attribute.i for attribute in node.attribute}
    match node.op_type:
        case "Conv":
            return 0, 1
        case "ConvTranspose":
            return (1 if number.get("group", 1) == 1 else None), 1
        case "Gemm":
            return (0 if number.get("transB") else 1), 1
    if weights != node.input[1]:  # a matrix product with weights on the left, or without any
        return None, None
    rank = len(model.constants[weights].dims)
    return (1 if rank == 2 else None), (-1 if rank > 1 else None)


def _is_dequantized(model: IndexedModel, name: str) -> bool:
    """Whether the graph itself has quantized a tensor already."""
    node = model.producer_of(name)
    return node is not None and node.op_type == "DequantizeLinear"


def known_range(model: IndexedModel, name: str, trained_only: bool = False) -> Range | None:
    """The range that follows from what makes a tensor, without data; None where nothing bounds it.

    Args:
        model: The model.
        name: The tensor.
        trained_only: Only a range that stems from Q/DQ nodes in the graph.
    """
    bounds = _bounds(model, name)
    if bounds is None or (trained_only and not bounds[2]):
        return None
    return Range(bounds[0], bounds[1], max(-bounds[0], bounds[1], 0.0), "graph")


def _bounds(model: IndexedModel, name: str) -> tuple[float, float, bool] | None:
    """Lowest and highest value, and whether Q/DQ nodes say so."""
    node = model.producer_of(name)
    if node is None:
        return None
    if node.op_type == "DequantizeLinear":
        scale, zero = (model.number(operand) for operand in (*node.input[1:3], "", "")[:2])
        if scale is None or zero is None or zero.item() != 0:
            return None
        low = 0.0 if zero.dtype == np.uint8 else -127.0
        return low * scale.item(), float(np.iinfo(zero.dtype).max * scale.item()), True
    if node.op_type in ("Sigmoid", "Softmax", "HardSigmoid", "Tanh"):
        return (-1.0 if node.op_type == "Tanh" else 0.0), 1.0, False
    if node.op_type in ("Clip", "Relu"):
        lowest, highest = (model.number(operand) for operand in (*node.input[1:3], "", "")[:2])
        low, high, trained = _bounds(model, node.input[0]) or (-math.inf, math.inf, False)
        low = max(low, 0.0 if node.op_type == "Relu" else -math.inf if lowest is None else float(lowest.item()))
        high = min(high, math.inf if highest is None else float(highest.item()))
        return (low, high, trained) if math.isfinite(low) and math.isfinite(high) else None
    if node.op_type in _RANGE_KEEPING:
        return _bounds(model, node.input[0])
    return None


def is_never_negative(model: IndexedModel, name: str) -> bool:
    """Whether what makes a tensor gives no negative values."""
    node = model.producer_of(name)
    while node is not None and node.op_type in _RANGE_KEEPING:
        node = model.producer_of(node.input[0])
    if node is None or node.op_type in ("Relu", "Sigmoid", "Softmax"):
        return node is not None
    lowest = model.number(node.input[1]) if node.op_type == "Clip" and len(node.input) > 1 else None
    return lowest is not None and lowest.item() >= 0


def activation_after(model: IndexedModel, layer: Layer) -> tuple[list[Any], str] | None:
    """The activation that follows a layer, as nodes and their output: Relu, or x·sigmoid(x) in its parts.

    It ends where everything that the layer's output led to has come together in one tensor; None if nothing does.
    """
    inside: dict[int, Any] = {}
    made = {layer.output}
    waiting = sorted(set(model.readers.get(layer.output, ())))
    curved = False
    while waiting and len(inside) < _MOST_ACTIVATION_NODES:
        index = heapq.heappop(waiting)
        if index in inside:
            continue
        node = model.nodes[index]
        plain = all(not name or name in made or name in model.constants for name in node.input)
        if node.op_type not in _ELEMENTWISE | _ACTIVATIONS or not plain or len(node.output) != 1:
            return None
        inside[index] = node
        curved |= node.op_type in _ACTIVATIONS
        made.add(node.output[0])
        for reader in model.readers.get(node.output[0], ()):
            heapq.heappush(waiting, reader)
        open_ends = [
            name
            for name in made
            if name in model.outputs or any(reader not in inside for reader in model.readers.get(name, ()))
        ]
        if curved and open_ends == [node.output[0]]:
            return list(inside.values()), node.output[0]
    return None
