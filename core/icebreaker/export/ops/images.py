"""Converters of what cuts pictures and changes their colours."""

from __future__ import annotations

from onnx import TensorProto

from icebreaker.export.ops.writer import Handlers, Writer

HANDLERS = Handlers()


@HANDLERS.of("CropAndResize")
def _crop_and_resize(to: Writer) -> None:
    """Takes the four pixels (nearest: the one) around each point of each box, by their places."""
    picture, boxes, which = to.inputs[:3]
    kind = TensorProto.FLOAT
    picture = to.cast(picture, kind, to.dtypes[0])
    crop = to.cast(to.inputs[3], TensorProto.INT64, to.dtypes[3])
    tall, wide = to.add("Split", [crop], 2, axis=0, num_outputs=2)
    shape = to.add("Shape", [picture])
    y1, x1, y2, x2 = to.add("Split", [boxes], 4, axis=1, num_outputs=4)
    ys, y_last = _points(to, y1, y2, shape, 1, tall)
    xs, x_last = _points(to, x1, x2, shape, 2, wide)
    is_nearest = to.attribute("method", b"bilinear") == b"nearest"
    size = to.add("Concat", [to.add("Shape", [which]), crop], axis=0)
    rows = to.add("Reshape", [to.cast(which, TensorProto.INT64, to.dtypes[2]), to.whole([-1, 1, 1])])
    row = [to.add("Unsqueeze", [item, to.whole([2])]) for item in _neighbours(to, ys, y_last, is_nearest)]
    column = [to.add("Unsqueeze", [item, to.whole([1])]) for item in _neighbours(to, xs, x_last, is_nearest)]

    def pixels(y: str, x: str) -> str:
        whole = [to.cast(item, TensorProto.INT64) for item in (y, x)]
        parts = [to.add("Unsqueeze", [to.add("Expand", [item, size]), to.whole([-1])]) for item in (rows, *whole)]
        return to.add("GatherND", [picture, to.add("Concat", parts, axis=-1)])

    if is_nearest:
        found = pixels(row[0], column[0])
    else:
        x_share = to.add("Unsqueeze", [to.add("Sub", [xs, to.add("Floor", [xs])]), to.whole([1, 3])])
        y_share = to.add("Unsqueeze", [to.add("Sub", [ys, to.add("Floor", [ys])]), to.whole([2, 3])])
        upper = _between(to, pixels(row[0], column[0]), pixels(row[0], column[1]), x_share)
        lower = _between(to, pixels(row[1], column[0]), pixels(row[1], column[1]), x_share)
        found = _between(to, upper, lower, y_share)
    is_out = to.add("Or", [
        to.add("Unsqueeze", [_outside(to, ys, y_last), to.whole([2, 3])]),
        to.add("Unsqueeze", [_outside(to, xs, x_last), to.whole([1, 3])]),
    ])  # fmt: skip
    to.end("Where", [is_out, to.constant(to.attribute("extrapolation_value", 0.0), kind), found])


def _points(to: Writer, low: str, high: str, shape: str, axis: int, count: str) -> tuple[str, str]:
    """Where the crop's points are along an axis, for each box; and the last place of that axis."""
    size = to.add("Gather", [shape, to.whole([axis])], axis=0)
    last = to.cast(to.add("Sub", [size, to.whole([1])]), TensorProto.FLOAT)
    begin, end = to.add("Mul", [low, last]), to.add("Mul", [high, last])
    middle = to.add("Mul", [to.constant(0.5, TensorProto.FLOAT), to.add("Add", [begin, end])])
    begin = to.add("Where", [to.add("Equal", [count, to.whole([1])]), middle, begin])
    steps = to.cast(to.add("Max", [to.add("Sub", [count, to.whole([1])]), to.whole([1])]), TensorProto.FLOAT)
    step = to.add("Div", [to.add("Mul", [to.add("Sub", [high, low]), last]), steps])
    end_of_numbers = to.add("Reshape", [count, to.whole([])])
    numbers = to.cast(to.add("Range", [to.whole(0), end_of_numbers, to.whole(1)]), TensorProto.FLOAT)
    return to.add("Add", [begin, to.add("Mul", [to.add("Unsqueeze", [numbers, to.whole([0])]), step])]), last


def _neighbours(to: Writer, points: str, last: str, is_nearest: bool) -> list[str]:
    """The places before and after points, or the nearest (halves go up), kept within the picture."""
    if is_nearest:
        found = [to.add("Floor", [to.add("Add", [points, to.constant(0.5, TensorProto.FLOAT)])])]
    else:
        found = [to.add("Floor", [points]), to.add("Ceil", [points])]
    zero = to.constant(0, TensorProto.FLOAT)
    return [to.add("Min", [to.add("Max", [item, zero]), last]) for item in found]


def _between(to: Writer, first: str, second: str, share: str) -> str:
    return to.add("Add", [first, to.add("Mul", [to.add("Sub", [second, first]), share])])


def _outside(to: Writer, points: str, last: str) -> str:
    return to.add("Or", [
        to.add("Less", [points, to.constant(0, TensorProto.FLOAT)]), to.add("Greater", [points, last])
    ])  # fmt: skip


@HANDLERS.of("AdjustSaturation")
def _adjust_saturation(to: Writer) -> None:
    """Each channel's distance from the brightest one is scaled as the saturation is, which ends at 1."""
    picture, one = to.inputs[0], to.constant(1)
    brightest = to.add("ReduceMax", [picture, to.whole([-1])], keepdims=1)
    darkest = to.add("ReduceMin", [picture, to.whole([-1])], keepdims=1)
    has_colour = to.add("Greater", [brightest, darkest])
    divisor = to.add("Where", [to.add("Equal", [brightest, to.constant(0)]), one, brightest])
    saturation = to.add("Where", [
        has_colour, to.add("Div", [to.add("Sub", [brightest, darkest]), divisor]), one
    ])  # fmt: skip
    factor = to.cast(to.inputs[1], to.dtype, to.dtypes[1])
    wanted = to.add("Clip", [to.add("Mul", [saturation, factor]), to.constant(0), one])
    distance = to.add("Sub", [brightest, picture])
    to.end("Sub", [brightest, to.add("Mul", [distance, to.add("Div", [wanted, saturation])])])
