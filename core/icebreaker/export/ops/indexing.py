"""Converters of what takes or puts values by their place."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from icebreaker.export.ops.arithmetic import where
from icebreaker.export.ops.writer import FLOATS, WIDER, Handlers, Unfit, Writer

HANDLERS = Handlers()


@HANDLERS.of("OneHot")
def _one_hot(to: Writer) -> None:
    """By comparing: ONNX's own op counts negative indices from the end, where TensorFlow has no 1 at all."""
    rank, axis = to.rank(), to.attribute("axis", -1)
    axis = axis if axis >= 0 else rank
    kind = TensorProto.INT64 if to.dtypes[0] == TensorProto.INT64 else TensorProto.INT32
    depth = to.value(1)
    trailing = [1] * (rank - axis)
    if depth is not None:
        places = to.constant(np.arange(int(depth.item())).reshape(-1, *trailing), kind)
    else:
        end = to.add("Reshape", [to.cast(to.inputs[1], kind, to.dtypes[1]), to.whole([])])
        places = to.add("Range", [to.constant(0, kind), end, to.constant(1, kind)])
        places = to.add("Reshape", [places, to.whole([-1, *trailing])])
    indices = to.add("Unsqueeze", [to.cast(to.inputs[0], kind, to.dtypes[0]), to.whole([axis])])
    where(to, to.add("Equal", [indices, places]), to.inputs[2], to.inputs[3], to.dtype)


def _summing(dtype: int) -> int:
    if dtype in FLOATS and dtype not in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        return dtype
    if dtype == TensorProto.BOOL:
        raise Unfit("engines do not add truth values")
    return WIDER.get(dtype, dtype) if dtype != TensorProto.UINT64 else TensorProto.INT64


@HANDLERS.of("ScatterNd")
def _scatter_nd(to: Writer) -> None:
    """What falls on the same place is added up."""
    places, values, shape = to.inputs
    kind = _summing(to.dtype)
    size = to.cast(shape, TensorProto.INT64, to.dtypes[2])
    onto = to.add("Expand", [to.constant(0, kind), size])
    found = to.add(
        "ScatterND", [onto, to.cast(places, TensorProto.INT64, to.dtypes[0]), to.cast(values, kind, to.dtype)],
        reduction="add",
    )  # fmt: skip
    to.end_as(found, kind)


@HANDLERS.of("TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin", "TensorScatterUpdate")
def _tensor_scatter(to: Writer) -> None:
    onto, places, values = to.inputs
    places = to.cast(places, TensorProto.INT64, to.dtypes[1])
    if to.op == "TensorScatterUpdate":
        to.end("ScatterND", [onto, places, values])
        return
    kind = _summing(to.dtype)
    onto, values = to.cast(onto, kind, to.dtype), to.cast(values, kind, to.dtype)
    if to.op == "TensorScatterSub":
        values = to.add("Neg", [values])
    reduction = {"TensorScatterMax": "max", "TensorScatterMin": "min"}.get(to.op, "add")
    to.end_as(to.add("ScatterND", [onto, places, values], reduction=reduction), kind)


@HANDLERS.of("SplitV")
def _split(to: Writer) -> None:
    """Parts of said sizes, of which one may be -1: the rest, which ONNX has not."""
    data, sizes = to.inputs[0], to.cast(to.inputs[1], TensorProto.INT64, to.dtypes[1])
    axis = int(to.needed(2, "axis").item())
    known, count = to.value(1), len(to.output_dtypes)
    if count == 1:
        to.end("Identity", [data])
        return
    if known is not None and (known >= 0).all():
        sizes = to.whole(known)
    else:
        total = to.add("Gather", [to.add("Shape", [data]), to.whole([axis])], axis=0)
        told = to.add("ReduceSum", [to.add("Max", [sizes, to.whole(0)]), to.whole([0])], keepdims=1)
        sizes = to.add("Where", [to.add("Less", [sizes, to.whole(0)]), to.add("Sub", [total, told]), sizes])
    for port, part in enumerate(to.add("Split", [data, sizes], count, axis=axis)):
        to.end("Identity", [part], port)


@HANDLERS.of("InvertPermutation")
def _invert_permutation(to: Writer) -> None:
    """Place i of what is put at place x[i]."""
    count = to.add("Shape", [to.inputs[0]])
    end = to.add("Reshape", [count, to.whole([])])
    numbers = to.cast(to.add("Range", [to.whole(0), end, to.whole(1)]), to.dtype)
    to.end("ScatterElements", [to.inputs[0], to.cast(to.inputs[0], TensorProto.INT64, to.dtype), numbers], axis=0)


@HANDLERS.of("DynamicStitch", "ParallelDynamicStitch")
def _dynamic_stitch(to: Writer) -> None:
    """Rows at the places that are said, the last one where two are for one place; as many as the largest says."""
    half = len(to.inputs) // 2
    ranks = [to.rank(index) for index in range(half)]
    places, rows = [], []
    for index, rank in enumerate(ranks):
        flat = to.add("Reshape", [to.inputs[index], to.whole([-1])])
        places.append(to.cast(flat, TensorProto.INT64, to.dtypes[index]))
        data = to.inputs[half + index]
        if rank != 1:
            rest = to.add("Slice", [
                to.add("Shape", [data]), to.whole([rank]), to.whole([1 << 31]), to.whole([0])
            ])  # fmt: skip
            data = to.add("Reshape", [data, to.add("Concat", [to.add("Shape", [flat]), rest], axis=0)], allowzero=1)
        rows.append(data)
    all_places, all_rows = to.add("Concat", places, axis=0), to.add("Concat", rows, axis=0)
    last = to.add("ReduceMax", [to.add("Concat", [to.whole([-1]), all_places], axis=0), to.whole([0])], keepdims=1)
    rest = to.add("Slice", [to.add("Shape", [all_rows]), to.whole([1]), to.whole([1 << 31]), to.whole([0])])
    shape = to.add("Concat", [to.add("Add", [last, to.whole([1])]), rest], axis=0)
    onto = to.add("Expand", [to.constant(0), shape])
    to.end("ScatterND", [onto, to.add("Unsqueeze", [all_places, to.whole([1])]), all_rows])
