"""Converters of arithmetic: division of whole numbers, functions near zero, shifts, choices."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from icebreaker.export.ops.writer import FLOATS, UNSIGNED, WIDER, Handlers, Unfit, Writer

HANDLERS = Handlers()


@HANDLERS.of("Erfc")  # Keras's GELU
def _erfc(to: Writer) -> None:
    to.end("Sub", [to.constant(1), to.add("Erf", to.inputs)])


@HANDLERS.of("Expm1")
def _expm1(to: Writer) -> None:
    """tanh(x / 2) · (exp(x) + 1), which is the same and loses nothing near zero."""
    half = to.add("Tanh", [to.add("Mul", [to.inputs[0], to.constant(0.5)])])
    to.end("Mul", [half, to.add("Add", [to.add("Exp", to.inputs), to.constant(1)])])


@HANDLERS.of("Log1p")
def _log1p(to: Writer) -> None:
    """log(1 + x), near zero times what 1 + x was rounded by (Kahan)."""
    x, one = to.inputs[0], to.constant(1)
    whole = to.add("Add", [x, one])
    plain = to.add("Log", [whole])
    kept = to.add("Sub", [whole, one])
    is_lost = to.add("Equal", [kept, to.constant(0)])
    divisor = to.add("Where", [is_lost, one, kept])
    mended = to.add("Where", [is_lost, x, to.add("Mul", [plain, to.add("Div", [x, divisor])])])
    is_near = to.add("Less", [to.add("Abs", [x]), to.constant(0.5)])
    to.end("Where", [is_near, mended, plain])


def _zero_times(to: Writer, factor: str, other: str) -> None:
    """`factor` times `other`, but 0 wherever `factor` is 0, whatever `other` is there."""
    is_zero = to.add("Equal", [factor, to.constant(0)])
    to.end("Where", [is_zero, to.constant(0), to.add("Mul", [factor, other])])


@HANDLERS.of("Xlogy")
def _xlogy(to: Writer) -> None:
    _zero_times(to, to.inputs[0], to.add("Log", [to.inputs[1]]))


@HANDLERS.of("Xdivy")
def _xdivy(to: Writer) -> None:
    is_zero = to.add("Equal", [to.inputs[0], to.constant(0)])
    to.end("Where", [is_zero, to.constant(0), to.add("Div", to.inputs)])


@HANDLERS.of("DivNoNan")
def _div_no_nan(to: Writer) -> None:
    """Nothing is divided by zero, so that no NaN arises which an engine would have to keep."""
    is_zero = to.add("Equal", [to.inputs[1], to.constant(0)])
    divisor = to.add("Where", [is_zero, to.constant(1), to.inputs[1]])
    to.end("Where", [is_zero, to.constant(0), to.add("Div", [to.inputs[0], divisor])])


@HANDLERS.of("MulNoNan")
def _mul_no_nan(to: Writer) -> None:
    _zero_times(to, to.inputs[1], to.inputs[0])


@HANDLERS.of("Round")
def _round(to: Writer) -> None:
    to.end("Round" if to.dtype in FLOATS else "Identity", to.inputs)  # OpenVINO makes other whole numbers of them


@HANDLERS.of("Inv")
def _inv(to: Writer) -> None:
    to.end("Reciprocal", to.inputs)


@HANDLERS.of("Snapshot", "PreventGradient")
def _passed_on(to: Writer) -> None:
    to.end("Identity", to.inputs)


def _operands(to: Writer) -> tuple[str, str]:
    """What is divided by what. TensorFlow raises where a whole number is divided by zero, and so must an engine.

    ONNX Runtime would take the process with it; but it looks at places in arrays: zero becomes one that is not there.
    """
    x, y = to.inputs
    divisor = to.value(1)
    if to.dtype in FLOATS or (divisor is not None and np.all(divisor)):
        return x, y
    if divisor is not None:
        raise Unfit("it divides by zero")
    is_zero = to.add("Equal", [to.cast(y, TensorProto.INT64, to.dtype), to.whole(0)])
    none = to.add("Gather", [to.constant([0]), to.cast(is_zero, TensorProto.INT64)])
    return x, to.add("Add", [y, none])


@HANDLERS.of("FloorDiv")
def _floor_div(to: Writer) -> None:
    """ONNX divides whole numbers towards zero: where the remainder is not the divisor's way, it is one less."""
    x, y = _operands(to)
    if to.dtype in FLOATS:
        to.end("Floor", [to.add("Div", [x, y])])
        return
    quotient = to.add("Div", [x, y])
    if to.dtype in UNSIGNED:
        to.end("Identity", [quotient])
        return
    zero, divisor = to.constant(0), to.value(1)
    rest = to.add("Sub", [x, to.add("Mul", [quotient, y])])
    if divisor is not None and np.all(divisor > 0):
        is_off = to.add("Less", [rest, zero])
    else:
        goes_back = to.add("Xor", [to.add("Less", [rest, zero]), to.add("Less", [y, zero])])
        is_off = to.add("And", [goes_back, to.add("Not", [to.add("Equal", [rest, zero])])])
    to.end("Sub", [quotient, to.cast(is_off, to.dtype)])


@HANDLERS.of("FloorMod")
def _floor_mod(to: Writer) -> None:
    """The remainder with the divisor's sign: ONNX has it for whole numbers, for floats only C's `fmod`."""
    x, y = _operands(to)
    if to.dtype not in FLOATS:
        to.end("Mod", [x, y])
        return
    zero, rest = to.constant(0), to.add("Mod", [x, y], fmod=1)
    goes_back = to.add("Xor", [to.add("Less", [rest, zero]), to.add("Less", [y, zero])])
    is_off = to.add("And", [goes_back, to.add("Not", [to.add("Equal", [rest, zero])])])
    to.end("Where", [is_off, to.add("Add", [rest, y]), rest])


@HANDLERS.of("TruncateDiv", "Div")
def _truncate_div(to: Writer) -> None:
    if to.op == "Div" or to.dtype not in FLOATS:
        to.end("Div", _operands(to))
        return
    quotient = to.add("Div", to.inputs)
    is_negative = to.add("Less", [quotient, to.constant(0)])
    to.end("Where", [is_negative, to.add("Ceil", [quotient]), to.add("Floor", [quotient])])


@HANDLERS.of("Mod", "TruncateMod")
def _truncate_mod(to: Writer) -> None:
    to.end("Mod", _operands(to), fmod=1)


@HANDLERS.of("LeftShift", "RightShift")
def _shift(to: Writer) -> None:
    """ONNX shifts unsigned numbers alone. TensorFlow shifts by at most all bits but one."""
    size = {TensorProto.INT8: 8, TensorProto.INT16: 16, TensorProto.INT32: 32, TensorProto.INT64: 64}
    size |= {TensorProto.UINT8: 8, TensorProto.UINT16: 16, TensorProto.UINT32: 32, TensorProto.UINT64: 64}
    wide = TensorProto.INT64
    if to.dtype == TensorProto.UINT64:
        by = to.add("Min", [to.inputs[1], to.constant(63)])
        to.end("BitShift", [to.inputs[0], by], direction="LEFT" if to.op == "LeftShift" else "RIGHT")
        return
    x, by = (to.cast(tensor, wide, to.dtype) for tensor in to.inputs)
    by = to.add("Min", [to.add("Max", [by, to.whole(0)]), to.whole(size[to.dtype] - 1)])
    by = to.cast(by, TensorProto.UINT64)
    if to.op == "LeftShift":
        moved = to.add("BitShift", [to.cast(x, TensorProto.UINT64), by], direction="LEFT")
        to.end_as(moved, TensorProto.UINT64)
        return
    # The bits of a negative number turned over, shifted, and turned back: ones come in from the left.
    is_negative = to.add("Less", [x, to.whole(0)])
    turned = to.add("Where", [is_negative, to.add("Sub", [to.whole(-1), x]), x])
    moved = to.cast(to.add("BitShift", [to.cast(turned, TensorProto.UINT64), by], direction="RIGHT"), wide)
    to.end_as(to.add("Where", [is_negative, to.add("Sub", [to.whole(-1), moved]), moved]), wide)


@HANDLERS.of("Pow")
def _power(to: Writer) -> None:
    """Whole numbers to a constant power are multiplied; ONNX Runtime takes a power of floats."""
    if to.dtype in FLOATS:
        to.end("Pow", to.inputs)
        return
    exponent = to.value(1)
    if exponent is None or exponent.size != 1 or not 1 <= int(exponent.item()) <= 16:
        raise Unfit("its exponent is no constant from 1 to 16, and engines take powers of whole numbers in floats")
    left, square, result = int(exponent.item()), to.inputs[0], None
    while left:
        if left & 1:
            result = square if result is None else to.add("Mul", [result, square])
        left >>= 1
        square = to.add("Mul", [square, square]) if left else square
    assert result is not None  # noqa: S101 - the exponent is 1 at least
    if exponent.ndim:  # it may add dimensions
        result = to.add("Mul", [result, to.constant(np.ones(exponent.shape))])
    to.end("Identity", [result])


def where(to: Writer, condition: str, yes: str, no: str, dtype: int) -> None:
    """Ends with a choice, in types that ONNX Runtime chooses in."""
    if dtype == TensorProto.BOOL:
        other = to.add("And", [to.add("Not", [condition]), no])
        to.end("Or", [to.add("And", [condition, yes]), other])
        return
    kept = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8}
    kind = dtype if dtype in kept else WIDER.get(dtype, TensorProto.INT64)  # uint64 keeps its bits in int64
    yes, no = to.cast(yes, kind, dtype), to.cast(no, kind, dtype)
    to.end_as(to.add("Where", [condition, yes, no]), kind)


@HANDLERS.of("Select", "SelectV2")
def _select(to: Writer) -> None:
    """As a choice: tf2onnx multiplies by 0 and 1, and a NaN or infinity that is not chosen comes through."""
    condition = to.inputs[0]
    if to.op == "Select" and to.shapes[0] is not None and len(to.shapes[0]) == 1:
        rank = next((len(shape) for shape in to.shapes[1:] if shape is not None), None)
        if rank is None:
            raise Unfit("the rank of its input is unknown")
        if rank > 1:  # it chooses rows
            condition = to.add("Unsqueeze", [condition, to.whole(list(range(1, rank)))])
    where(to, condition, *to.inputs[1:], dtype=to.dtype)


@HANDLERS.of("ClipByValue")
def _clip(to: Writer) -> None:
    """ONNX's Clip takes scalars only."""
    to.end("Max", [to.add("Min", [to.inputs[0], to.inputs[2]]), to.inputs[1]])


@HANDLERS.of("LeakyRelu")
def _leaky_relu(to: Writer) -> None:
    """As a choice where what is negative becomes 0, for TensorFlow multiplies: of minus infinity comes a NaN."""
    alpha = to.attribute("alpha", 0.2)
    if alpha:
        to.end("LeakyRelu", to.inputs, alpha=alpha)
        return
    is_negative = to.add("Less", [to.inputs[0], to.constant(0)])
    to.end("Where", [is_negative, to.add("Mul", [to.inputs[0], to.constant(0)]), to.inputs[0]])


@HANDLERS.of("Atan2")
def _atan2(to: Writer) -> None:
    """The angle of y / x, turned where x is negative; of two infinities their signs count."""
    zero, pi = to.constant(0), to.constant(np.pi)
    both = to.add("And", [to.add("IsInf", [item]) for item in to.inputs])
    y, x = (to.add("Where", [both, to.add("Sign", [item]), item]) for item in to.inputs)
    divisor = to.add("Where", [to.add("Equal", [x, zero]), to.constant(1), x])
    angle = to.add("Atan", [to.add("Div", [y, divisor])])
    is_below = to.add("Or", [to.add("Less", [y, zero]), to.add("Less", [to.add("Reciprocal", [y]), zero])])
    turn = to.add("Where", [is_below, to.add("Neg", [pi]), pi])
    aside = to.add("Where", [to.add("Less", [x, zero]), to.add("Add", [angle, turn]), angle])
    up = to.add("Mul", [to.add("Sign", [y]), to.constant(np.pi / 2)])
    to.end("Where", [to.add("Equal", [x, zero]), up, aside])


@HANDLERS.of("BiasAdd", "BiasAddV1")
def _bias_add(to: Writer) -> None:
    """Along the last axis, or with channels first along the second."""
    picture, bias = to.inputs
    if to.attribute("data_format", b"NHWC") == b"NCHW" and to.rank() > 2:
        bias = to.add("Unsqueeze", [bias, to.whole(list(range(1, to.rank() - 1)))])
    to.end("Add", [picture, bias])


@HANDLERS.of("AddN")
def _add_n(to: Writer) -> None:
    total = to.inputs[0]
    for other in to.inputs[1:]:
        total = to.add("Add", [total, other])
    to.end("Identity", [total])


@HANDLERS.of("Greater", "Less", "GreaterEqual", "LessEqual")
def _comparison(to: Writer) -> None:
    """In the type that is given: tf2onnx compares all as float32."""
    halves = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    inputs = to.inputs
    if to.dtypes[0] in halves:
        inputs = [to.cast(tensor, TensorProto.FLOAT) for tensor in inputs]
    to.end(to.op.replace("Equal", "OrEqual"), inputs)
