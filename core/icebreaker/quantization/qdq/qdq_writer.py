"""Writes a calibrated model with Q/DQ nodes, and has the arithmetic of its int8 values.

The scheme: symmetric int8, zero point 0, weights per channel, Q/DQ on the inputs of convolutions and matrix products,
everything else (biases too) in float. It is the one that strongly typed TensorRT accepts.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from icebreaker.engine.onnx_nodes import reads
from icebreaker.quantization.calibration_table import Range, Table
from icebreaker.quantization.qdq.quantizable_model import QuantizableModel
from icebreaker.quantization.qdq.quantization_rules import Layer, is_never_negative

_LEAST_CHANNEL = 1e-4  # of a layer's largest weight


def quantize(model: bytes, table: Table, *, keep: Collection[str] = (), unsigned: bool = False) -> bytes:
    """Writes the model with Q/DQ nodes.

    Args:
        model: The float ONNX model that was calibrated.
        table: Its calibration.
        keep: Further layers and tensors that stay float, by ONNX name; so does a layer whose input has no range.
        unsigned: Write activations that are never negative as uint8 with the same thresholds: OpenVINO runs that
            faster, TensorRT does not take it.

    Raises:
        IcebreakerError: The table belongs to another model.
    """
    prepared = QuantizableModel(model)
    ranges, shifts, kept = prepared.match(table)
    return write(prepared, ranges, shifts, {*keep, *kept}, unsigned=unsigned)


def write(
    model: QuantizableModel,
    ranges: Mapping[str, Range],
    shifts: Mapping[str, Sequence[float]],
    keep: Collection[str],
    *,
    unsigned: bool,
) -> bytes:
    """The model with Q/DQ around every layer that is not kept.

    Args:
        model: The float model.
        ranges: Tensor → range; a layer with an input that has none stays float.
        shifts: Layer → what is added to its output, per channel.
        keep: Layers and tensors that stay float.
        unsigned: As in `quantize`.
    """
    return _Writer(model, ranges, unsigned).write(shifts, model.layers_to_quantize(ranges, keep))


class _Writer:
    """One model being written: the nodes so far, and the constants added for them."""

    def __init__(self, model: QuantizableModel, ranges: Mapping[str, Range], unsigned: bool) -> None:
        self._model, self._ranges, self._unsigned = model, ranges, unsigned
        self._proto: Any = copy.deepcopy(model.proto)
        self._nodes: list[Any] = []
        self._done: set[str] = set()  # constants and tensors that are there already

    def write(self, shifts: Mapping[str, Sequence[float]], layers: Mapping[int, Layer]) -> bytes:
        graph = self._proto.graph
        for index, node in enumerate(graph.node):
            layer = layers.get(index)
            if layer is None:
                self._nodes.append(node)
                continue
            self._quantize(node, layer)
            self._nodes.append(node)
            shift = np.asarray(shifts.get(layer.name, ()), np.float32)
            if shift.any():
                self._add_shift(node, layer, shift)
        if self._unsigned:
            self._make_unsigned()
        del graph.node[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in reads(node)} | set(self._model.outputs)
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:], graph.value_info[:]
        graph.initializer.extend(kept)
        return self._proto.SerializeToString()

    def _constant(self, name: str, value: np.ndarray) -> str:
        """Adds a constant, once; gives its name."""
        from onnx import numpy_helper

        if name not in self._done:
            self._proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
            self._done.add(name)
        return name

    def _quantize(self, node: Any, layer: Layer) -> None:
        """Lets a layer read its activations and weights through Q/DQ."""
        for name in layer.activations:
            if f"{name}/dequantized" not in self._done:
                self._done.add(f"{name}/dequantized")
                scale, zero = activation_scale(self._ranges[name], self._unsigned)
                self._nodes.extend(
                    pair(name, self._constant(f"{name}/scale", scale), self._constant(f"{name}/zero", zero))
                )
        for slot, name in enumerate(node.input):
            if name in layer.activations:
                node.input[slot] = f"{name}/dequantized"
            elif name == layer.weights:
                node.input[slot] = self._dequantized_weights(layer)

    def _dequantized_weights(self, layer: Layer) -> str:
        """Adds a layer's weights as int8 with a node that scales them; gives that node's output."""
        from onnx import helper

        whole, scale = weights_int8(self._model.constant(layer.weights), layer.weight_axis)
        stem = f"{layer.weights}/axis{layer.weight_axis}"
        operands = [
            self._constant(f"{stem}/int8", whole),
            self._constant(f"{stem}/scale", scale),
            self._constant(f"{stem}/zero", np.zeros(scale.shape, np.int8)),
        ]
        # One per layer, as builders look for a layer's own.
        output = f"{layer.name}/weights"
        axis: dict[str, Any] = {} if layer.weight_axis is None else {"axis": layer.weight_axis}
        self._nodes.append(
            helper.make_node("DequantizeLinear", operands, [output], f"{layer.name}/DequantizeLinear", **axis)
        )
        return output

    def _add_shift(self, node: Any, layer: Layer, shift: np.ndarray) -> None:
        """Adds `shift` to the layer's bias, or gives it one."""
        from onnx import helper

        if layer.op in ("Conv", "ConvTranspose"):
            old = self._model.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
            value = shift if old is None else old + shift
            del node.input[2:]
            node.input.append(self._constant(f"{layer.name}/bias", value.astype(np.float32)))
            return
        # After a matrix product the Add that follows anyway would do, but it may be shared or of another shape.
        bare = f"{layer.output}/uncorrected"
        node.output[0] = bare
        bias = self._constant(f"{layer.name}/bias", shift)
        self._nodes.append(helper.make_node("Add", [bare, bias], [layer.output], f"{layer.name}/correction"))

    def _make_unsigned(self) -> None:
        """Writes the graph's own int8 pairs as uint8 where no value is negative: the same range in twice the steps."""
        readers: dict[str, list[Any]] = {}
        for node in self._nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        for node in self._nodes:
            if node.op_type != "QuantizeLinear" or len(node.input) < 3 or node.output[0] in self._model.outputs:
                continue
            scale, zero = (self._model.number(name) for name in node.input[1:3])
            pairs = readers.get(node.output[0], [])
            if scale is None or zero is None or zero.dtype != np.int8 or zero.any():
                continue
            if is_never_negative(self._model, node.input[0]) and all(n.op_type == "DequantizeLinear" for n in pairs):
                finer = self._constant(f"{node.name}/scale", np.array(scale.item() * 127 / 255, np.float32))
                for item in (node, *pairs):
                    item.input[1], item.input[2] = finer, self._constant(f"{node.name}/zero", np.array(0, np.uint8))


def pair(name: str, scale: str, zero: str) -> list[Any]:
    """QuantizeLinear and DequantizeLinear of a tensor, as `NAME/dequantized`; `scale` and `zero` name constants."""
    from onnx import helper

    whole, back = f"{name}/quantized", f"{name}/dequantized"
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [whole], f"{name}/QuantizeLinear"),
        helper.make_node("DequantizeLinear", [whole, scale, zero], [back], f"{name}/DequantizeLinear"),
    ]


def activation_scale(values: Range, unsigned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scale (float32) and zero point (int8; uint8 for `unsigned` and values that are never negative), both scalars."""
    positive = unsigned and values.low >= 0
    threshold = values.threshold or 1.0  # 0: a tensor that was always 0
    scale = np.array(threshold / (255 if positive else 127), np.float32)
    return scale, np.array(0, np.uint8 if positive else np.int8)


def weights_int8(value: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Weights as int8 and their float32 scale: a scalar, or one per entry of `axis`.

    A channel without weights to speak of gets the scale of a small one: ONNX Runtime counts biases in 32 bits as
    multiples of weights' scale times input's, and a bias that is more than these hold would be cut off.
    """
    others = None if axis is None else tuple(a for a in range(value.ndim) if a != axis)
    largest = np.abs(value)
    least = (float(largest.max()) or 1.0) * _LEAST_CHANNEL
    scale = np.maximum(largest.max(axis=others), least).astype(np.float32) / np.float32(127)
    return np.clip(np.rint(value / along(scale, value.ndim, axis)), -127, 127).astype(np.int8), scale


def times(whole: np.ndarray, scale: np.ndarray, axis: int | None) -> np.ndarray:
    """The values that int8 weights stand for."""
    return whole.astype(np.float32) * along(scale, whole.ndim, axis)


def along(scale: np.ndarray, rank: int, axis: int | None) -> np.ndarray:
    """One value per entry of an axis, in a shape that spreads over the others; a scalar for None."""
    return scale if axis is None else scale.reshape([-1 if a == axis else 1 for a in range(rank)])
