"""FakeQuant in floats gives what TensorFlow's kernels give, between two steps too, in FP32 and in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.onnx_models import run
from icebreaker.conversion.pipeline import convert
from icebreaker.engine import registry
from icebreaker.engine.numbers.fp16 import to_half
from icebreaker.engine.segment_model import SegmentModel
from icebreaker.export import exporter, fake_quant
from icebreaker.runtime import loader
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor

OPS = ("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")


def quantized(op: str, x: Any, low: np.ndarray, high: np.ndarray, bits: int, narrow: bool) -> Any:
    import tensorflow as tf

    if op == "FakeQuantWithMinMaxArgs":
        return tf.quantization.fake_quant_with_min_max_args(x, float(low[0]), float(high[0]), bits, narrow)
    if op == "FakeQuantWithMinMaxVars":
        return tf.quantization.fake_quant_with_min_max_vars(x, low[0], high[0], bits, narrow)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(x, low, high, bits, narrow)


def exported(op: str, low: np.ndarray, high: np.ndarray, bits: int, narrow: bool) -> bytes:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, len(low)], "x")
        tf.identity(quantized(op, x, low, high, bits, narrow), "y")
    made = exporter.export(graph.as_graph_def(), [Tensor("x")], [Tensor("y")], fake_quant.IN_FLOAT)
    return made.model


def hard_values(low: float, high: float, bits: int, narrow: bool) -> np.ndarray:
    """On each step, right between two, next to that, outside, and what is no number."""
    step = (np.float32(high) - np.float32(low)) / (2**bits - 1 - narrow)
    numbers = np.arange(-2, 2 ** min(bits, 8) + 2)
    start = np.float32(np.round(low / step)) * step
    between = (start + (numbers + 0.5) * step).astype(np.float32)
    return np.concatenate([
        start + numbers * step, between, np.nextafter(between, np.float32(np.inf)),
        np.nextafter(between, np.float32(-np.inf)), [0.0, -0.0, 1e-8, 1e30, -1e30, np.inf, -np.inf, np.nan],
    ]).astype(np.float32)  # fmt: skip


def check(op: str, low: np.ndarray, high: np.ndarray, bits: int, narrow: bool) -> None:
    x = np.stack([hard_values(a, b, bits, narrow) for a, b in zip(low, high, strict=True)], axis=1)
    want = quantized(op, x, low, high, bits, narrow).numpy()
    model = exported(op, low, high, bits, narrow)
    np.testing.assert_array_equal(run(model, x)[0], want)
    for name in ("onnxruntime", "openvino"):
        engine = registry.get(name)
        if why := engine.refusals(SegmentModel.of_onnx(model)):
            assert name == "openvino" and op == "FakeQuantWithMinMaxVars"
            (said,) = set(map(str, why.values()))
            assert "the last digit decides" in said or "a NaN that Div may make" in said
            continue
        runner: Any = engine.load(model, "fp32")
        fed = slice(None) if name == "onnxruntime" else slice(-1)  # OpenVINO gives way to TensorFlow where there is NaN
        np.testing.assert_array_equal(runner([x[fed]])[0], want[fed], name)
    (half,) = run(to_half(model), x)  # the steps themselves may be rounded, but not which it is
    np.testing.assert_allclose(half, want, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("bits", "narrow"), [(2, False), (4, True), (8, False), (16, True)])
@pytest.mark.parametrize("op", OPS)
def test_every_value_goes_to_tensorflows_step(op: str, bits: int, narrow: bool) -> None:
    low, high = np.array([-1.7, -6.0, 0.0], np.float32), np.array([3.1, 6.0, 2.5], np.float32)
    check(op, low, high, bits, narrow) if op.endswith("Channel") else check(op, low[:1], high[:1], bits, narrow)


RANGES = st.floats(0.0078125, 64, width=32)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(OPS), st.sampled_from([4, 8]), st.booleans(), st.floats(-8, 8, width=32), RANGES)
def test_ranges_of_all_kinds(op: str, bits: int, narrow: bool, low: float, width: float) -> None:
    ends = np.array([low], np.float32), np.array([low + width], np.float32)
    check(op, *ends, bits, narrow)


def test_channels_without_a_range_give_nothing() -> None:
    low, high = np.array([0.0, -1.0], np.float32), np.array([0.0, 1.0], np.float32)
    x = np.array([[3.0, 0.4], [-1.0, -9.0]], np.float32)
    want = quantized(OPS[2], x, low, high, 4, False).numpy()
    assert not want[:, 0].any()
    np.testing.assert_array_equal(run(exported(OPS[2], low, high, 4, False), x)[0], want)


@pytest.mark.parametrize("op", OPS)
def test_weights_are_rounded_beforehand(op: str) -> None:
    import onnx
    import tensorflow as tf

    low, high = np.array([-1.0, -0.7, 0.0], np.float32), np.array([1.0, 1.3, 2.0], np.float32)
    if not op.endswith("Channel"):
        low, high = low[:1], high[:1]
    values = np.random.default_rng(0).normal(size=(40, len(low))).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 40], "x")
        tf.linalg.matmul(x, quantized(op, values, low, high, 4, True), name="y")
    model = exporter.export(graph.as_graph_def(), [Tensor("x")], [Tensor("y")], fake_quant.IN_FLOAT).model
    assert [node.op_type for node in onnx.load_from_string(model).graph.node] == ["MatMul"]
    want = quantized(op, values, low, high, 4, True).numpy()
    np.testing.assert_allclose(run(model, np.eye(40, dtype=np.float32))[0], want, rtol=1e-6)


def test_a_range_that_is_computed_is_refused_in_words() -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [4], "x")
        tf.quantization.fake_quant_with_min_max_vars(x, tf.reduce_min(x), tf.reduce_max(x), name="y")
    with pytest.raises(exporter.Refused, match="its range is computed while the graph runs"):
        exporter.export(graph.as_graph_def(), [Tensor("x")], [Tensor("y")], fake_quant.IN_FLOAT)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_trained_graph_converts_whole(tmp_path: Path, engine: str, precision: str) -> None:
    """Weights by channel in 4 bits, activations in 8."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = h = tf.compat.v1.placeholder(tf.float32, [None, 12, 12, 3], "x")
        for name, size in (("a", (3, 3, 3, 8)), ("b", (3, 3, 8, 8))):
            weights = random.normal(size=size).astype(np.float32)
            low, high = weights.min((0, 1, 2)), weights.max((0, 1, 2))
            filters = tf.quantization.fake_quant_with_min_max_vars_per_channel(weights, low, high, 4, True)
            h = tf.nn.relu(tf.nn.conv2d(h, filters, 1, "SAME", name=name))
            h = tf.quantization.fake_quant_with_min_max_vars(h, 0.0, 6.0)
        y = tf.reduce_mean(h, [1, 2], name="y")
    path = tmp_path / "trained.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    done = convert(path, tmp_path / "fast.pb", ConvertSettings.of(engine=engine, precision=precision))
    assert done.coverage == 1, [(item.node, str(item.reason)) for item in done.left_in_tensorflow]
    values = random.normal(size=(4, 12, 12, 3)).astype(np.float32)
    with tf.compat.v1.Session(graph=graph) as session:
        want = session.run(y, {x: values})
    np.testing.assert_allclose(loader.load(tmp_path / "fast.pb")(values)["y"], want, atol=0.03)
