"""What puts many values together: sums, largest ones, sorting, segments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from op_conformance.graphs import Variant, op_def
from op_conformance.recipes.registry import allowed, recipe
from op_conformance.values import FLOATS, hard, is_float, numpy_type, small


@recipe("Max", "Min", "Sum", "Prod", "Mean", "All", "Any", "EuclideanNorm")
def _reduction(op: str, dtype: str) -> Iterator[Variant]:
    is_truth = op in ("All", "Any")
    if is_truth != (dtype == "bool") or (not is_truth and not allowed(op, dtype, "T")):
        return
    tables = [np.resize(values, (3, 4)) for values in [small(dtype), small(dtype)[2:], *hard(dtype)]]
    if is_float(dtype) and op not in ("Max", "Min"):  # what overflows on the way depends on the order
        tables = tables[:2] if op == "Prod" else [*tables[:4], *tables[5:]]
    name = op_def(op).input_arg[0].name
    calls = [{name: table} for table in tables]
    atol = 1e-5 if is_float(dtype) else 0.0
    for axis in (0, 1, -1):
        yield Variant(f"axis {axis}", calls, {"reduction_indices": np.int32(axis)}, atol=atol)
    yield Variant("kept", calls, {"reduction_indices": np.int64([0, -1])}, {"keep_dims": True}, atol=atol)
    yield Variant("no axis", calls[:2], {"reduction_indices": np.zeros(0, np.int32)}, atol=atol)
    empty = [{name: tables[0]}, {name: tables[0][:0]}, {name: tables[0][:, :0]}]
    yield Variant("of nothing", empty, {"reduction_indices": np.int32([1])}, atol=atol)
    cube = np.resize(small(dtype), (2, 3, 1, 2, 2))
    yield Variant("rank 5", [{name: cube}], {"reduction_indices": np.int32([1, -1])}, atol=atol)
    yield Variant(
        "computed axis", [{name: tables[0], "reduction_indices": np.int32([axis])} for axis in (0, 1)], atol=atol
    )


@recipe("ArgMax", "ArgMin")
def _arg(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype, "T"):
        return
    tables = [np.resize(values, (3, 4)) for values in [small(dtype), *hard(dtype)]]
    twice = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]]).astype(numpy_type(dtype))
    for axis in (0, 1, -1):
        yield Variant(f"axis {axis}", [{"input": table} for table in [*tables, twice]], {"dimension": np.int32(axis)})
    import tensorflow as tf

    for kind in (tf.int32,):
        yield Variant("int32", [{"input": tables[0]}], {"dimension": np.int64(0)}, {"output_type": kind})


@recipe("TopKV2")
def _top_k(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype, "T"):
        return
    tables = [np.resize(values, (3, 6)) for values in [small(dtype), *hard(dtype)]]
    twice = np.resize(np.array([1, 2, 2, 1, 2, 0, 1]).astype(numpy_type(dtype)), (3, 40))
    yield Variant("3", [{"input": table} for table in [*tables, twice]], {"k": np.int32(3)})
    yield Variant("all", [{"input": table} for table in tables], {"k": np.int32(6)})
    yield Variant("vector", [{"input": twice[0]}], {"k": np.int32(30)})
    yield Variant("computed", [{"input": tables[0], "k": np.int32(k)} for k in (1, 2, 0)])


@recipe("Cumsum", "Cumprod")
def _cumulative(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype, "T"):
        return
    tables = [np.resize(values, (3, 4)) for values in [small(dtype)[1:], *(hard(dtype) if op == "Cumsum" else [])]]
    for exclusive in (False, True):
        for reverse in (False, True):
            yield Variant(
                f"{'exclusive ' * exclusive}{'reverse' * reverse}", [{"x": table} for table in tables],
                {"axis": np.int32(-1)}, {"exclusive": exclusive, "reverse": reverse}, atol=1e-5,
            )  # fmt: skip


@recipe("SegmentSum", "SegmentMean", "SegmentProd", "SegmentMax", "SegmentMin")
def _segment(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype, "T"):
        return
    table = np.resize(small(dtype), (5, 2))
    for kind in ("int32", "int64"):
        full, gaps = np.array([0, 0, 1, 1, 2], kind), np.array([0, 2, 2, 2, 5], kind)
        calls = [{"data": table, "segment_ids": full}, {"data": table, "segment_ids": gaps}]
        calls += [{"data": np.resize(values, (5, 2)), "segment_ids": gaps} for values in hard(dtype)]
        calls.append({"data": table[:0], "segment_ids": full[:0]})
        yield Variant(kind, calls, atol=1e-5)
    yield Variant("vector", [{"data": table[:, 0], "segment_ids": np.int32([0, 0, 3, 3, 4])}], atol=1e-6)
    calls = [{"data": table, "segment_ids": np.int32([0, 0, 3, 3, 4])}]
    yield Variant("unknown rank", calls, atol=1e-6, unknown_rank=frozenset({"data"}))


@recipe("UnsortedSegmentSum", "UnsortedSegmentProd", "UnsortedSegmentMax", "UnsortedSegmentMin")
def _unsorted(op: str, dtype: str) -> Iterator[Variant]:
    if not allowed(op, dtype, "T"):
        return
    table = np.resize(small(dtype), (5, 2))
    full: Any = np.int32([2, 0, 1, 0, 2])
    gaps, dropped = np.int32([5, 0, 3, 3, 0]), np.int32([-1, 0, -1, 3, 0])
    calls = [{"data": table, "segment_ids": ids} for ids in (full, gaps, dropped)]
    calls += [{"data": np.resize(values, (5, 2)), "segment_ids": gaps} for values in hard(dtype)]
    calls += [{"data": table[:0], "segment_ids": full[:0]}, {"data": table, "segment_ids": np.int32([6, 0, 1, 0, 2])}]
    yield Variant("rows", calls, {"num_segments": np.int32(6)}, atol=1e-5)
    flat = {"data": np.resize(small(dtype), (2, 3, 2)), "segment_ids": np.array([[0, 1, 1], [3, 0, -1]], np.int32)}
    yield Variant("ids of rank 2", [flat], {"num_segments": np.int64(4)}, atol=1e-6)


@recipe("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN", of=FLOATS)
def _sparse(op: str, dtype: str) -> Iterator[Variant]:
    table = np.resize(small(dtype), (5, 2))
    calls = [
        {"data": table, "indices": np.int32([4, 0, 0, 2]), "segment_ids": np.int32(ids)}
        for ids in ([0, 0, 1, 2], [0, 2, 2, 4])
    ]
    yield Variant("rows", calls, atol=1e-6)


@recipe(
    "SparseSegmentSumWithNumSegments",
    "SparseSegmentMeanWithNumSegments",
    "SparseSegmentSqrtNWithNumSegments",
    of=FLOATS,
)
def _sparse_counted(op: str, dtype: str) -> Iterator[Variant]:
    for variant in _sparse(op, dtype):
        yield Variant("rows", variant.calls, {"num_segments": np.int32(6)}, atol=1e-6)


@recipe("Unique", "UniqueWithCounts")
def _unique(op: str, dtype: str) -> Iterator[Variant]:
    sets = [
        small(dtype),
        np.concatenate([small(dtype)[::-1], small(dtype)]),
        small(dtype)[:1],
        small(dtype)[:0],
        *hard(dtype),
    ]
    yield Variant("vectors", [{"x": values} for values in sets])


@recipe("Bincount", of=("int32", "int64", "float32", "float64"))
def _bincount(op: str, dtype: str) -> Iterator[Variant]:
    values = [np.int32([1, 1, 2, 0, 5]), np.int32([9, 1, 1]), np.int32([])]
    yield Variant("numbers", [{"arr": item} for item in values], {"size": np.int32(6), "weights": np.zeros(0, dtype)})
