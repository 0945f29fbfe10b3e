"""The kinds of ops that engines go wrong on, in a few types: `make op-conformance` tries all of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from op_conformance.run import bad, run
from op_conformance.trial import Original, try_engine

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


def test_small_whole_numbers_come_through_in_the_threads_of_tensorflow() -> None:
    """Which flush what would be no normal float, and OpenVINO chooses among whole numbers in registers of floats."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.int32, [10, 15], "x")
        for name, low, high in (("lower", -1, 0), ("upper", 0, -1)):  # two engines: TensorFlow runs them
            tf.identity(tf.linalg.band_part(x, low, high), name)
    values = {"x": np.arange(150, dtype=np.int32).reshape(10, 15)}
    trial = try_engine(Original(graph.as_graph_def(), ["lower", "upper"]), "openvino", values, [values])
    assert trial.coverage == 1
    assert [outcome.kind for outcome in trial.outcomes] == ["right"]
