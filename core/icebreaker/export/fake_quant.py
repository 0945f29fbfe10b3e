"""Quantization that a graph carries itself (quantization-aware training): in floats, or as Q/DQ nodes for INT8.

In floats, FakeQuant is what TensorFlow's kernels compute, operation by operation (`IN_FLOAT`): any number of bits,
ranges for each channel, and values between two steps go to the same side.

For INT8, tf2onnx writes FakeQuant as uint8 with a zero point, and QuantizeAndDequantize as ranges found at run time.
Here both become symmetric int8 with zero point 0 and the graph's own fixed range, which TensorRT takes. That is for
INT8 only: FakeQuant's asymmetric ranges lose up to one bit that way, as they did in TF-TRT.

    graph_def = fake_quant.with_fixed_ranges(graph_def)
    tf2onnx.tfonnx.process_tf_graph(..., custom_op_handlers=fake_quant.HANDLERS)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError

_FAKE_QUANT = ("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
_QUANTIZE_AND_DEQUANTIZE = ("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4")
# What an INT8 conversion may put into a segment besides the converter's own ops.
OPS = frozenset(_FAKE_QUANT + _QUANTIZE_AND_DEQUANTIZE)


def with_fixed_ranges(graph_def: Any, calibrated: bool = False) -> Any:
    """A copy in which QuantizeAndDequantize nodes with constant ranges are FakeQuantWithMinMaxArgs of the same step.

    Where `range_given` is false, TensorFlow finds the range anew for every batch, which cannot be built into an engine.
    Calibration data tells it best: then the node just passes its value on. Without data the constant `input_min` and
    `input_max` count, as they did in TF-TRT. Nodes without such a range (both 0), with other than 8 bits, or with a
    range per channel stay as they are.

    Args:
        graph_def: TensorFlow's GraphDef; functions in its library are left alone.
        calibrated: Whether the model will be calibrated with data.
    """
    made = type(graph_def)()
    made.CopyFrom(graph_def)
    by_name = {node.name: node for node in made.node}
    for node in made.node:
        if node.op not in _QUANTIZE_AND_DEQUANTIZE:
            continue
        operands = [item for item in node.input if not item.startswith("^")]
        controls = [item for item in node.input if item.startswith("^")]
        if calibrated and not _attribute(node, "range_given", node.op == "QuantizeAndDequantizeV3"):
            _become(node, "Identity", [operands[0], *controls])
            continue
        low, high = (_constant(by_name, item) for item in operands[1:3])
        bits = _constant(by_name, operands[3]) if len(operands) > 3 else node.attr["num_bits"].i
        if low is None or high is None or bits is None or low.size != 1 or high.size != 1 or int(bits) != 8:
            continue
        # TensorFlow's step: signed values go from -128 (-127 if narrow) to 127. Unsigned ones keep their threshold.
        wide = _attribute(node, "signed_input", True) and not _attribute(node, "narrow_range", False)
        threshold = 127 * max(-float(low.item()) / (128 if wide else 127), float(high.item()) / 127)
        if not threshold > 0:
            continue
        _become(node, "FakeQuantWithMinMaxArgs", [operands[0], *controls])
        node.attr["min"].f, node.attr["max"].f = -threshold, threshold
        node.attr["num_bits"].i, node.attr["narrow_range"].b = 8, True
    return made


def _attribute(node: Any, name: str, default: bool) -> bool:
    """A truth value of a node; `default` where the node does not have it."""
    return node.attr[name].b if name in node.attr else default


def _become(node: Any, op: str, inputs: list[str]) -> None:
    """Makes a node another op; of its attributes only the type and those that begin with an underscore stay."""
    node.op = op
    del node.input[:]
    node.input.extend(inputs)
    for name in [key for key in node.attr if not key.startswith("_") and not (key == "T" and op == "Identity")]:
        del node.attr[name]


def _constant(by_name: Mapping[str, Any], name: str) -> np.ndarray | None:
    """The value behind a name, through Identity nodes; None if it is computed."""
    from tensorflow import make_ndarray

    node = by_name.get(name.removesuffix(":0"))
    while node is not None and node.op == "Identity":
        node = by_name.get(node.input[0].removesuffix(":0"))
    return make_ndarray(node.attr["value"].tensor) if node is not None and node.op == "Const" else None


def _fake_quant(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Replaces a FakeQuant node by QuantizeLinear and DequantizeLinear: int8, zero point 0."""
    from onnx import TensorProto

    low, high = _range(node, name)
    if (bits := node.get_attr_value("num_bits", 8)) != 8:
        raise IcebreakerError(
            "fake_quant_bits", "{subject}: it quantizes to {bits} bits: only 8 bits can be INT8",
            subject=name, bits=bits,
        )  # fmt: skip
    threshold = np.maximum(np.abs(low), np.abs(high))
    if not (np.isfinite(threshold).all() and (threshold > 0).all()):
        raise IcebreakerError(
            "fake_quant_range_empty", "{subject}: its range from {low} to {high} is empty",
            subject=name, low=str(low), high=str(high),
        )  # fmt: skip
    scale = (threshold / np.float32(127)).astype(np.float32)
    shape, dtype, attributes = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0]), {}
    if node.type == "FakeQuantWithMinMaxVarsPerChannel":
        if shape is None:
            raise IcebreakerError(
                "fake_quant_rank_unknown", "{subject}: the rank of its input is unknown", subject=name
            )
        attributes = {"axis": len(shape) - 1}
    else:
        scale = scale.reshape(())
    source, outputs = node.input[0], list(node.output)
    scale_name = ctx.make_const(f"{name}_scale", scale).output[0]
    zero_name = ctx.make_const(f"{name}_zero", np.zeros(scale.shape, np.int8)).output[0]
    ctx.remove_node(name)
    whole = ctx.make_node(
        "QuantizeLinear", [source, scale_name, zero_name], name=f"{name}_quantize", attr=attributes, shapes=[shape],
        dtypes=[TensorProto.INT8],
    )  # fmt: skip
    ctx.make_node(
        "DequantizeLinear", [whole.output[0], scale_name, zero_name], name=name, outputs=outputs, attr=attributes,
        shapes=[shape], dtypes=[dtype],
    )  # fmt: skip


def _range(node: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The constant ends of a FakeQuant node's range."""
    if node.type == "FakeQuantWithMinMaxArgs":
        ends = [node.get_attr_value("min", -6.0), node.get_attr_value("max", 6.0)]
    elif all(item is not None and item.is_const() for item in node.inputs[1:3]):
        ends = [item.get_tensor_value(as_list=False) for item in node.inputs[1:3]]
    else:
        raise IcebreakerError(
            "fake_quant_range_computed",
            "{subject}: its range is computed while the graph runs: only a constant one can be converted", subject=name,
        )  # fmt: skip
    low, high = (np.asarray(end, np.float32) for end in ends)
    return low, high


@dataclass(frozen=True)
class _Steps:
    """The steps of a FakeQuant node as TensorFlow's `Nudge` moves them: one of them is 0. In FP32, as there."""

    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray
    inverse: np.ndarray
    zero: np.ndarray

    @classmethod
    def between(cls, low: np.ndarray, high: np.ndarray, bits: int, narrow: bool) -> _Steps:
        one = np.float32
        least, most = one(1 if narrow else 0), one(2**bits - 1)
        scale, inverse = (high - low) / (most - least), (most - least) / (high - low)
        zero = np.clip(np.floor(least - low / scale + one(0.5)), least, most)
        start = (least - zero) * scale
        return cls(start, (most - zero) * scale, scale, inverse, np.floor(-start * inverse + one(0.5)))

    def rounded(self, values: np.ndarray, divides: bool) -> np.ndarray:
        """What becomes of values."""
        above = np.maximum(np.minimum(values, self.high), self.low) - self.low
        count = above / self.scale if divides else above * self.inverse
        return np.floor(count - self.zero + np.float32(0.5)) * self.scale


def _fake_quant_in_float(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Replaces a FakeQuant node by the operations of its kernel, each rounded as there.

    OpenVINO would put neighbouring ones together, divide by a constant by multiplying, and lose NaN in Min and Max.
    Hence the Max between them, which change nothing, and a step size that is NaN where the value is.
    """
    from onnx import TensorProto
    from tf2onnx import utils  # pyright: ignore[reportMissingImports]

    (low, high), bits = _range(node, name), int(node.get_attr_value("num_bits", 8))
    dead = (low == 0) & (high == 0)  # then the kernels give 0
    if not (np.isfinite(low) & np.isfinite(high) & ((low < high) | dead)).all():
        raise IcebreakerError(
            "fake_quant_range_empty", "{subject}: its range from {low} to {high} is empty",
            subject=name, low=str(low), high=str(high),
        )  # fmt: skip
    steps = _Steps.between(low, np.where(dead, np.float32(1), high), bits, bool(node.get_attr_value("narrow_range", 0)))
    source, outputs, given = node.input[0], list(node.output), node.inputs[0]
    divides = node.type == "FakeQuantWithMinMaxVars"  # the others multiply
    shape, dtype = ctx.get_shape(outputs[0]), ctx.get_dtype(outputs[0])
    ctx.remove_node(name)
    if given is not None and given.is_const():  # weights
        made = np.where(dead, 0, steps.rounded(given.get_tensor_value(as_list=False), divides)).astype(np.float32)
        ctx.make_node("Identity", [ctx.make_const(f"{name}_value", made).output[0]], name=name, outputs=outputs)
        return

    def constant(key: str, value: Any) -> str:
        return ctx.make_const(f"{name}_{key}", np.asarray(value, np.float32)).output[0]

    def add(op: str, *inputs: str, kind: int = dtype, **given: Any) -> str:
        given.setdefault("name", utils.make_name(name))
        return ctx.make_node(op, list(inputs), shapes=[shape], dtypes=[kind], **given).output[0]

    nothing = constant("nothing", 0)
    step = add("Where", add("IsNaN", source, kind=TensorProto.BOOL), source, constant("scale", steps.scale))
    inside = add("Max", add("Min", source, constant("high", steps.high)), constant("low", steps.low))
    above = add("Max", add("Sub", inside, constant("start", steps.low)), nothing)
    count = add("Div", above, step) if divides else add("Mul", above, constant("inverse", steps.inverse))
    from_zero = add("Sub", add("Max", count, nothing), constant("zero", steps.zero))
    least = constant("least", -(2.0**bits))
    nearest = add("Floor", add("Add", add("Max", from_zero, least), constant("half", 0.5)))
    last = {"name": name, "outputs": outputs}
    if not dead.any():
        add("Mul", nearest, step, **last)
    else:
        is_dead = ctx.make_const(f"{name}_dead", dead).output[0]
        add("Where", is_dead, nothing, add("Mul", nearest, step), **last)


# For tf2onnx's `custom_op_handlers`: for INT8, and for what computes in floats.
HANDLERS: Mapping[str, tuple[Callable[..., None], list[Any]]] = {name: (_fake_quant, []) for name in _FAKE_QUANT}
IN_FLOAT: Mapping[str, tuple[Callable[..., None], list[Any]]] = {
    name: (_fake_quant_in_float, []) for name in _FAKE_QUANT
}
