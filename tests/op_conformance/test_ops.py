"""The kinds of ops that engines go wrong on, in a few types: `make op-conformance` tries all of them."""

from __future__ import annotations

import pytest

from op_conformance.run import bad, run

# Division of negatives, places out of range or twice the same, functions near zero, whole numbers beyond 2^24, shifts,
# empty segments, NaNs.
KINDS = {
    "FloorDiv": ("int32",), "FloorMod": ("int32", "float32"), "OneHot": ("float32",), "ScatterNd": ("float32",),
    "LessEqual": ("int32",),
    "Log1p": ("float32",), "Expm1": ("float32",), "TopKV2": ("int32",), "Max": ("int32", "float32"),
    "Sum": ("int32", "int64"), "RightShift": ("int32",), "SegmentMax": ("float32",), "UnsortedSegmentSum": ("float32",),
    "Relu": ("float32", "int32"), "Maximum": ("float32",), "Greater": ("int32", "int64"), "SelectV2": ("float32",),
    "CropAndResize": ("float32",), "GatherV2": ("float32",), "Sub": ("uint8", "int64"), "AddV2": ("float64",),
    "MatrixDiagPartV3": ("float32",), "DynamicStitch": ("float32",), "MatrixBandPart": ("int32",),
}  # fmt: skip


@pytest.mark.parametrize("op", KINDS)
def test_engines_compute_what_tensorflow_does(op: str) -> None:
    results = run([op], dtypes=KINDS[op], most=2)
    assert results
    assert not bad(results)
