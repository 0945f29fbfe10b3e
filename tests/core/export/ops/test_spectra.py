"""Fourier transforms and complex numbers in engines: TensorFlow's values, in real numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker.conversion.pipeline import convert
from icebreaker.export.constants import constant, evaluated
from icebreaker.export.exporter import export
from icebreaker.export.ops.spectra import in_real_numbers
from icebreaker.graph.graph import Graph
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession


def graph_of(function: Callable[[Any], Any], shape: Any, dtype: str = "float32") -> Graph:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.identity(function(tf.compat.v1.placeholder(dtype, shape, "x")), name="y")
    return Graph(graph.as_graph_def())


def in_engines(graph: Graph) -> list[Callable[[np.ndarray], np.ndarray]]:
    """A graph in ONNX Runtime and in OpenVINO."""
    import onnxruntime
    import openvino

    original = GraphSession(graph.definition)
    real, refused = in_real_numbers(
        graph.definition, original.shape, lambda tensor: evaluated(graph, tensor, lambda item: constant(graph, item))
    )
    assert not refused, refused
    model = export(real, [Tensor("x")], [Tensor("y")]).model
    session = onnxruntime.InferenceSession(model)
    compiled = openvino.compile_model(openvino.Core().read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [lambda x: session.run(None, {"x:0": x})[0], lambda x: compiled([x])[0]]


def assert_same(function: Callable[[Any], Any], shape: Any, values: list[np.ndarray], *, at: float = 2e-6) -> None:
    graph = graph_of(function, shape)
    original = GraphSession(graph.definition, reference=True)
    for run in in_engines(graph):
        for value in values:
            want = original.run([Tensor("y")], {"x": value})[0]
            np.testing.assert_allclose(run(value), want, rtol=1e-4, atol=at * max(np.abs(want).max(initial=0), 1e-30))


def signals(*shape: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    value = random.normal(size=shape).astype(np.float32)
    return [value, value * np.float32(1e25), np.zeros_like(value), -np.abs(value) - 100]


@pytest.mark.parametrize("length", [1, 2, 7, 16, 25])
@pytest.mark.parametrize("frame", [1, 7, 16])
def test_rfft_of_frames_that_are_longer_or_shorter(frame: int, length: int) -> None:
    import tensorflow as tf

    def both(x: Any) -> Any:
        bins = tf.signal.rfft(x, [length])
        return tf.concat([tf.math.real(bins), tf.math.imag(bins)], -1)

    assert_same(both, (None, frame), signals(3, frame))


@pytest.mark.parametrize("length", [1, 2, 7, 16, 25])
def test_back_again(length: int) -> None:
    """What the imaginary parts of the first and the middle bin are, counts for nothing."""
    import tensorflow as tf

    def back(x: Any) -> Any:
        return tf.signal.irfft(tf.complex(x[..., :9], x[..., 9:]), [length])

    assert_same(back, (None, 2, 18), signals(3, 2, 18))


def test_transforms_of_complex_numbers_pictures_and_single_rows() -> None:
    import tensorflow as tf

    def there(x: Any) -> Any:
        bins = tf.signal.fft(tf.complex(x, tf.reverse(x, [-1])))
        again = tf.signal.ifft(bins * tf.complex(0.5, 2.0))
        return tf.math.real(bins) + tf.math.imag(again)

    def picture(x: Any) -> Any:
        bins = tf.signal.rfft2d(x, [6, 5])
        return tf.signal.irfft2d(bins * tf.math.conj(bins), [5, 6])

    def whole(x: Any) -> Any:
        return tf.abs(tf.signal.ifft2d(tf.signal.fft2d(tf.cast(x, tf.complex64)))) + tf.math.angle(tf.complex(x, x - 1))

    assert_same(there, (None, 6), signals(2, 6))
    assert_same(picture, (None, 4, 7), signals(2, 4, 7)[:1])
    assert_same(whole, (4, 3), signals(4, 3), at=1e-5)
    assert_same(lambda x: tf.abs(tf.signal.rfft(x)), (9,), signals(9))


def test_an_open_frame_is_filled_up_and_cut() -> None:
    import tensorflow as tf

    def size(x: Any) -> Any:
        return tf.abs(tf.signal.rfft(x, [8]))

    assert_same(size, (None, None), [*signals(2, 5), *signals(3, 8), *signals(1, 12), *signals(2, 1)])


def test_arithmetic_of_complex_numbers() -> None:
    import tensorflow as tf

    def computes(x: Any) -> Any:
        a, b = tf.complex(x, 2 * x + 1), tf.complex(x - 1, tf.constant(0.5))
        c = tf.stack([a * b, a / b, a - b, -a, tf.square(b), tf.exp(b * tf.complex(0.0, 1.0))])
        c = tf.transpose(tf.reshape(c, [6, -1]))[:, 1:]
        return tf.stack([tf.abs(c), tf.math.angle(c), tf.cast(c, tf.float32), tf.math.imag(tf.math.conj(c))])

    assert_same(computes, (2, 3), [np.float32([[0.5, -2, 3], [1e-3, 1, 2]])], at=1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_audio_front_end_is_in_engines(engine: str, tmp_path: Path) -> None:
    """The sizes of an STFT, as all such networks begin; complex numbers stay inside of one segment."""
    import tensorflow as tf

    mel = np.random.default_rng(0).random((17, 6), np.float32)

    def front(x: Any) -> Any:
        bins = tf.signal.stft(x, 32, 16, 32)
        return tf.math.log(tf.abs(bins) @ mel + 1e-6)

    graph = graph_of(front, (None, 160))
    (tmp_path / "front.pb").write_bytes(graph.definition.SerializeToString())
    report = convert(tmp_path / "front.pb", tmp_path / "out.pb", ConvertSettings.of(engine=engine))
    assert report.coverage == 1
    original, model = GraphSession(graph.definition, reference=True), icebreaker.load(tmp_path / "out.pb")
    odd = signals(2, 160)[0]
    odd[0, 3] = np.nan
    for value in [*signals(1, 160)[:3], *signals(3, 160)[:1], odd]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it gives way to TensorFlow
            have = model({"x": value})["y"]
        np.testing.assert_allclose(have, original.run([Tensor("y")], {"x": value})[0], rtol=1e-3, atol=1e-3)


def test_complex_numbers_that_go_in_or_out_stay(tmp_path: Path) -> None:
    import tensorflow as tf

    graph = graph_of(lambda x: tf.signal.rfft(tf.nn.relu(x * 2.0 + 1.0)), (None, 8))
    (tmp_path / "out.pb").write_bytes(graph.definition.SerializeToString())
    report = convert(tmp_path / "out.pb", tmp_path / "fast.pb", ConvertSettings.of(engine="onnxruntime"))
    assert {item.op for item in report.left_in_tensorflow if item.code == "unsupported_attribute"} == {
        "Identity",
        "RFFT",
    }
    assert len(report.segments) == 1
