"""Converters of what puts many values together: sums, largest ones, sorting, segments."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from icebreaker.export.ops.writer import FLOATS, WIDER, Handlers, Unfit, Writer

HANDLERS = Handlers()


def _axes(to: Writer) -> str:
    """The axes of a reduction as a vector of int64; where they are constant, ONNX Runtime sees them as such."""
    axes = to.value(1)
    if axes is not None:
        return to.whole(np.reshape(axes, -1))
    axes, shape = to.cast(to.inputs[1], TensorProto.INT64, to.dtypes[1]), to.shapes[1]
    if shape is not None and len(shape) == 1:
        return axes
    count = -1 if shape is None or -1 in shape else int(np.prod(shape))  # OpenVINO has to know how many there are
    return to.add("Reshape", [axes, to.whole([count])])


def _reduced(to: Writer, op: str, tensor: str) -> str:
    keep = int(bool(to.attribute("keep_dims", 0)))
    return to.add(op, [tensor, _axes(to)], keepdims=keep, noop_with_empty_axes=1)


@HANDLERS.of("Sum", "Prod")
def _sum(to: Writer) -> None:
    """Whole numbers as int64, so that they wrap around in the end as TensorFlow's do."""
    op = {"Sum": "ReduceSum", "Prod": "ReduceProd"}[to.op]
    kind = to.dtype if to.dtype in FLOATS else TensorProto.INT64
    to.end_as(_reduced(to, op, to.cast(to.inputs[0], kind, to.dtype)), kind)


@HANDLERS.of("Max", "Min")
def _extreme(to: Writer) -> None:
    kept = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64}
    kind = to.dtype if to.dtype in kept | {TensorProto.FLOAT16} else WIDER.get(to.dtype)
    if kind is None:
        raise Unfit("engines have no largest or smallest of uint64")
    to.end_as(_reduced(to, f"Reduce{to.op}", to.cast(to.inputs[0], kind, to.dtype)), kind)


@HANDLERS.of("All", "Any")
def _truth(to: Writer) -> None:
    """Counts, so that of nothing all are true and none is."""
    seen = to.add("Not", to.inputs[:1]) if to.op == "All" else to.inputs[0]
    count = _reduced(to, "ReduceSum", to.cast(seen, TensorProto.INT64))
    to.end("Equal" if to.op == "All" else "Greater", [count, to.whole(0)])


@HANDLERS.of("TopKV2")
def _top_k(to: Writer) -> None:
    """In a type that keeps whole numbers: tf2onnx sorts all as float32."""
    kept = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64}
    kind = to.dtype if to.dtype in kept else WIDER.get(to.dtype)
    if kind is None:
        raise Unfit("engines do not sort uint64")
    count = to.value(1)
    if count is None:
        many = to.add("Reshape", [to.cast(to.inputs[1], TensorProto.INT64, to.dtypes[1]), to.whole([1])])
    else:
        many = to.whole(np.reshape(count, 1))
    values, places = to.add("TopK", [to.cast(to.inputs[0], kind, to.dtype), many], 2, axis=-1)
    to.end_as(values, kind)
    to.end_as(places, TensorProto.INT64, port=1)


_SEGMENTS = ("SegmentSum", "SegmentMean", "SegmentProd", "SegmentMax", "SegmentMin")
_SPARSE = ("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN")


@HANDLERS.of(
    *_SEGMENTS, *_SPARSE, *(f"{name}WithNumSegments" for name in _SPARSE),
    "UnsortedSegmentSum", "UnsortedSegmentProd", "UnsortedSegmentMax", "UnsortedSegmentMin",
)  # fmt: skip
def _segments(to: Writer) -> None:
    """Scatters rows onto what an empty segment is, with the reduction that the op is named after."""
    is_sparse, is_unsorted = to.op.startswith("Sparse"), to.op.startswith("Unsorted")
    kind = (
        to.dtype if to.dtype in FLOATS - {TensorProto.FLOAT16, TensorProto.BFLOAT16} else WIDER.get(to.dtype, to.dtype)
    )
    if kind == TensorProto.UINT64:
        raise Unfit("engines do not scatter uint64")
    data, ids = to.cast(to.inputs[0], kind, to.dtype), to.inputs[2 if is_sparse else 1]
    ids_rank = 1 if not is_unsorted else to.rank(1)
    ids = to.cast(ids, TensorProto.INT64, to.dtypes[2 if is_sparse else 1])
    if is_sparse:
        data = to.add("Gather", [data, to.inputs[1]], axis=0)
    if is_unsorted or to.op.endswith("WithNumSegments"):
        count = to.add("Reshape", [to.cast(to.inputs[-1], TensorProto.INT64, to.dtypes[-1]), to.whole([1])])
    else:  # as many as the last one says
        last = to.add("ReduceMax", [to.add("Concat", [to.whole([-1]), ids], axis=0), to.whole([0])], keepdims=1)
        count = to.add("Add", [last, to.whole([1])])
    rows = to.add("Add", [count, to.whole([1])]) if is_unsorted else count
    if is_unsorted:  # negative ones are dropped: into a row after the last, which is cut off
        beyond = to.add("Where", [to.add("Less", [ids, count]), ids, rows])
        ids = to.add("Where", [to.add("Less", [ids, to.whole(0)]), count, beyond])
    shape = to.add("Concat", [rows, to.add("Slice", [
        to.add("Shape", [data]), to.whole([ids_rank]), to.whole([1 << 31]), to.whole([0])
    ])], axis=0)  # fmt: skip
    places = to.add("Unsqueeze", [ids, to.whole([-1])])
    what = next(
        name for name in ("Sum", "Mean", "SqrtN", "Prod", "Max", "Min") if name in to.op.removesuffix("WithNumSegments")
    )
    reduction = {"Prod": "mul", "Max": "max", "Min": "min"}.get(what, "add")
    begin = to.add("Expand", [to.constant(_identity(reduction, kind), kind), shape])
    found = to.add("ScatterND", [begin, places, data], reduction=reduction)
    if what in ("Mean", "SqrtN", "Max", "Min") and not is_unsorted:
        found = _by_count(to, found, shape, (places, data), kind, what)
    if is_unsorted:
        found = to.add("Slice", [found, to.whole([0]), count, to.whole([0])])
    to.end_as(found, kind)


def _identity(reduction: str, kind: int) -> float:
    """What leaves any value as it is."""
    from tf2onnx import utils

    if reduction in ("add", "mul"):
        return int(reduction == "mul")
    dtype = np.dtype(utils.map_onnx_to_numpy_type(kind))
    held = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return held.min if reduction == "max" else held.max


def _by_count(to: Writer, found: str, shape: str, scattered: tuple[str, str], kind: int, what: str) -> str:
    """Divides by how many rows a segment has; the largest and the smallest of none are zero."""
    places, data = scattered
    nothing = to.add("Expand", [to.constant(0, TensorProto.FLOAT), shape])
    ones = to.add("Expand", [to.constant(1, TensorProto.FLOAT), to.add("Shape", [data])])
    counts = to.add("ScatterND", [nothing, places, ones], reduction="add")
    if what in ("Max", "Min"):
        is_empty = to.add("Equal", [counts, to.constant(0, TensorProto.FLOAT)])
        return to.add("Where", [is_empty, to.constant(0, kind), found])
    divisor = to.cast(to.add("Max", [counts, to.constant(1, TensorProto.FLOAT)]), kind, TensorProto.FLOAT)
    return to.add("Div", [found, divisor if what == "Mean" else to.add("Sqrt", [divisor])])


@HANDLERS.of("Unique", "UniqueWithCounts")
def _unique(to: Writer) -> None:
    """In the order in which values first come: engines have their own, or sort them."""
    kept = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64}
    kind = to.dtype if to.dtype in kept else TensorProto.FLOAT if to.dtype in FLOATS else TensorProto.INT64
    x = to.inputs[0]
    _, first, which, counts = to.add("Unique", [to.cast(x, kind, to.dtype)], 4, sorted=1)
    size = to.add("Shape", [first])
    first, order = to.add("TopK", [first, size], 2, axis=-1, largest=0)
    to.end("Gather", [x, first])
    number = to.add("Range", [to.whole(0), to.add("Reshape", [size, to.whole([])]), to.whole(1)])
    places = to.add("ScatterElements", [order, order, number], axis=0)
    to.end_as(to.add("Gather", [places, which]), TensorProto.INT64, port=1)
    if to.op == "UniqueWithCounts":
        to.end_as(to.add("Gather", [counts, order]), TensorProto.INT64, port=2)
