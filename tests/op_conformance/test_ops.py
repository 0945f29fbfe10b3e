"""The kinds of ops that engines go wrong on, in a few types: `make op-conformance` tries all of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from op_conformance.graphs import graph
from op_conformance.recipes import variants
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
    "MaxPool": ("int32",), "LeakyRelu": ("float32",), "LogSoftmax": ("float32",), "Round": ("int32",),
    "ReverseV2": ("int32",), "Einsum": ("int32",), "MatrixDiagPartV3": ("float32",),
    "DynamicStitch": ("float32",), "MatrixBandPart": ("int32",),
}  # fmt: skip


@pytest.mark.parametrize("op", KINDS)
def test_engines_compute_what_tensorflow_does(op: str) -> None:
    results = run([op], dtypes=KINDS[op], most=2)
    assert results
    assert not bad(results)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_transposed_convolutions_of_open_and_computed_sizes_are_converted(engine: str) -> None:
    op = "Conv2DBackpropInput"
    chosen = [item for item in variants(op, "float32") if item.label in ("SAME 2", "VALID 2, computed")]
    assert len(chosen) == 2
    for variant in chosen:
        definition, outputs, calls = graph(op, variant)
        trial = try_engine(Original(definition, outputs), engine, calls[0], calls, variant.atol)
        assert trial.coverage == 1
        assert {outcome.kind for outcome in trial.outcomes} <= {"right", "gave way"}


def test_small_whole_numbers_come_through_in_the_threads_of_tensorflow() -> None:
    """Which flush what would be no normal float, and OpenVINO chooses among whole numbers in registers of floats."""
    with tf.Graph().as_default() as made:
        x = tf.compat.v1.placeholder(tf.int32, [10, 15], "x")
        for name, low, high in (("lower", -1, 0), ("upper", 0, -1)):  # two engines: TensorFlow runs them
            tf.identity(tf.linalg.band_part(x, low, high), name)
    values = {"x": np.arange(150, dtype=np.int32).reshape(10, 15)}
    trial = try_engine(Original(made.as_graph_def(), ["lower", "upper"]), "openvino", values, [values])
    assert trial.coverage == 1
    assert [outcome.kind for outcome in trial.outcomes] == ["right"]


# What makes a NaN of numbers, and what engines may lose it in.
MAKERS = {
    "0 / 0": lambda x, z: x / z,
    "∞ - ∞": lambda x, z: 1 / x - 1 / z,
    "log": lambda x, z: tf.math.log(x),
    "sqrt": lambda x, z: tf.sqrt(z),
}
LOSERS = {
    "relu": tf.nn.relu,
    "maximum": lambda a: tf.maximum(a, 1.0),
    "minimum": lambda a: tf.minimum(a, 1.0),
    "softmax": tf.nn.softmax,
    "clip": lambda a: tf.clip_by_value(a, -1.0, 1.0),
    "largest": lambda a: tf.reduce_max(a, 1),
    "place": lambda a: tf.argmax(a, 1),
    "comparison": lambda a: a > 0.5,
}


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_tensorflow_and_engines_agree_on_nans_that_arise_within(engine: str) -> None:
    with tf.Graph().as_default() as whole:
        x, z = (tf.compat.v1.placeholder(tf.float32, [None, 4], name) for name in "xz")
        names = []
        for make in MAKERS.values():
            made = make(x, z)
            names += [tf.identity(lose(made), f"y{len(names)}_{what}").op.name for what, lose in LOSERS.items()]
    friendly = {"x": np.float32([[1, 2, 3, 4]]), "z": np.float32([[4, 3, 2, 1]])}
    hard = {"x": np.float32([[0, 2, -3, np.inf], [0, 0, 0, 0]]), "z": np.float32([[0, 3, np.inf, -1], [0, 0, 0, 0]])}
    trial = try_engine(Original(whole.as_graph_def(), names), engine, friendly, [friendly, hard])
    assert {outcome.kind for outcome in trial.outcomes} <= {"right", "gave way"}
    assert trial.coverage > 0.5
