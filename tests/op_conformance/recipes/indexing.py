"""What takes or puts values by their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from op_conformance.graphs import Variant
from op_conformance.recipes.registry import recipe
from op_conformance.values import FLOATS, WHOLE, hard, numpy_type, small


@recipe("OneHot", of=(*FLOATS, *WHOLE, "bool"))
def _one_hot(op: str, dtype: str) -> Iterator[Variant]:
    ends = {"on_value": np.array(1, numpy_type(dtype)), "off_value": np.array(0, numpy_type(dtype))}
    for kind in ("int32", "int64", "uint8", "int8"):
        values = [np.array([[0, 1, 2], [3, 4, 1]]), np.array([[-1, 5, 100], [2, -5, -6]]), np.zeros((0, 2), int)]
        if kind == "uint8":
            values[1] = np.abs(values[1])
        for axis in (-1, 0, 1):
            calls = [{"indices": value.astype(kind)} for value in values]
            if kind == "int64":
                calls.append({"indices": np.array([[2**32 + 1, 2**40, -(2**33)]])})
            yield Variant(f"{kind}, axis {axis}", calls, {**ends, "depth": np.int32(5)}, {"axis": axis})
    scalars = [{"indices": np.int32(value)} for value in (2, -1, 7)]
    yield Variant("scalar", scalars, {**ends, "depth": np.int32(5)})
    yield Variant(
        "computed depth", [{"indices": np.int32([1, -1, 3]), "depth": np.int32(depth)} for depth in (4, 2)], ends
    )


@recipe("ScatterNd")
def _scatter_nd(op: str, dtype: str) -> Iterator[Variant]:
    rows = np.resize(small(dtype), (5, 2))
    for kind in ("int32", "int64"):
        twice, apart = np.array([[1], [3], [1], [1], [0]], kind), np.array([[4], [3], [2], [1], [0]], kind)
        calls = [{"indices": apart, "updates": rows}, {"indices": twice, "updates": rows}]
        calls += [{"indices": twice, "updates": np.resize(values, (5, 2))} for values in hard(dtype)]
        calls.append({"indices": np.array([[9], [0], [0], [0], [0]], kind), "updates": rows})
        calls.append({"indices": np.array([[-1], [0], [0], [0], [0]], kind), "updates": rows})
        yield Variant(kind, calls, {"shape": np.array([5, 2], kind)}, atol=1e-6)
    places: Any = np.int32([[0, 1], [0, 1], [2, 2]])
    yield Variant("places of rank 2", [{"indices": places, "updates": small(dtype)[1:4]}], {"shape": np.int32([3, 3])})
    yield Variant(
        "computed shape",
        [{"indices": places, "updates": small(dtype)[1:4], "shape": np.int32([3, size])} for size in (3, 5)],
    )


@recipe("TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin", "TensorScatterUpdate")
def _tensor_scatter(op: str, dtype: str) -> Iterator[Variant]:
    table, rows = np.resize(small(dtype), (5, 2)), np.resize(small(dtype)[2:], (3, 2))
    apart, twice = np.int32([[4], [1], [0]]), np.int32([[1], [1], [0]])
    calls = [{"tensor": table, "indices": apart, "updates": rows}]
    if op != "TensorScatterUpdate":
        calls.append({"tensor": table, "indices": twice, "updates": rows})
        calls += [
            {"tensor": np.resize(values, (5, 2)), "indices": twice, "updates": np.resize(values[1:], (3, 2))}
            for values in hard(dtype)
        ]
    yield Variant("rows", calls, atol=1e-6)


@recipe("GatherV2", "Gather")
def _gather(op: str, dtype: str) -> Iterator[Variant]:
    table = np.resize(small(dtype), (4, 3))
    for kind in ("int32", "int64"):
        indices = [
            np.array([[0, 2], [1, 1]], kind),
            np.zeros((0, 2), kind),
            np.array([[0, 9]], kind),
            np.array([[0, -1]], kind),
        ]
        constants: Mapping[str, Any] = {"axis": np.int32(0)} if op == "GatherV2" else {}
        yield Variant(f"{kind}, constant", [{"indices": item} for item in indices], {**constants, "params": table})
        yield Variant(kind, [{"params": table, "indices": item} for item in indices], constants)
    if op == "GatherV2":
        yield Variant("axis -1", [{"params": table, "indices": np.int32([2, 0])}], {"axis": np.int32(-1)})
        yield Variant("scalar", [{"params": table, "indices": np.int32(2)}], {"axis": np.int32(1)})
        call = {"params": table, "indices": np.array([[2, 0]] * 4, np.int32)}
        yield Variant("batch", [call], {"axis": np.int32(1)}, {"batch_dims": 1})


@recipe("GatherNd")
def _gather_nd(op: str, dtype: str) -> Iterator[Variant]:
    table = np.resize(small(dtype), (4, 3))
    indices = [np.int32([[0, 2], [3, 1]]), np.zeros((0, 2), np.int32), np.int32([[9, 0]]), np.int32([[-1, 0]])]
    yield Variant("places", [{"params": table, "indices": item} for item in indices])
    yield Variant("rows", [{"params": table, "indices": np.int64([[[0], [2]]])}])


@recipe("InvertPermutation", of=("int32", "int64"))
def _invert(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("vectors", [{"x": np.array(values, dtype)} for values in ([2, 0, 1, 3], [0], [])])


@recipe("DynamicStitch", "ParallelDynamicStitch")
def _stitch(op: str, dtype: str) -> Iterator[Variant]:
    rows = np.resize(small(dtype), (5, 2))
    calls = [
        {"indices": [np.int32([0, 2]), np.int32([1, 4, 3])], "data": [rows[:2], rows[2:]]},
        {"indices": [np.int32([0, 2]), np.int32([1, 2, 0])], "data": [rows[:2], rows[2:]]},
    ]
    yield Variant("rows", calls[: 1 if op.startswith("Parallel") else 2])
    yield Variant(
        "mixed ranks",
        [{"indices": [np.int32(1), np.int32([[0, 2], [3, 4]])], "data": [rows[0], np.resize(rows, (2, 2, 2))]}],
    )


@recipe("Where")
def _where(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("places", [{"input": np.resize(values, (3, 4))} for values in [small(dtype), *hard(dtype)]])
