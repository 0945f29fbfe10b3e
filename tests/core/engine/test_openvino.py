"""OpenVINO as an engine: shapes, types, devices, and its words when it refuses."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from icebreaker.engine import openvino
from icebreaker.engine.protocol import BuildOptions
from icebreaker.engine.segment_model import SegmentModel
from icebreaker.errors import IcebreakerError

WEIGHT = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)


def model() -> bytes:
    """y = relu(x · w) · s, with an open batch and a scalar input."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"], "matmul"),
        helper.make_node("Relu", ["xw"], ["r"], "relu"),
        helper.make_node("Mul", ["r", "s"], ["y"], "scale"),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6]),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 7])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(WEIGHT, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 5e-2)])
@pytest.mark.parametrize("devices", [["CPU"], ["CPU", "CPU"]], ids=["one device", "the fastest of two"])
def test_every_batch_is_right(
    precision: str, tolerance: float, devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "_devices", lambda core: devices)
    engine = openvino.OpenVINO()
    assert not engine.refusals(SegmentModel.of_onnx(model()))
    built = engine.build(SegmentModel.of_onnx(model()), BuildOptions(precision))
    assert built.runs_here and built.precision == engine.status().precisions[precision]
    run = engine.load(built.payload, built.precision)
    for batch in (1, 5, 2, 8, 3, 1):  # more shapes than are kept
        x = np.random.default_rng(batch).normal(size=(batch, 6)).astype(np.float32)
        (y,) = run([x, np.array(2, np.float32)])
        expected = np.maximum(x @ WEIGHT, 0) * 2
        np.testing.assert_allclose(y, expected, atol=tolerance * expected.max())


def test_threads_with_shapes_of_their_own_get_their_own_results() -> None:
    run = openvino.OpenVINO().load(model(), "fp32")
    wrong: list[int] = []

    def work(batch: int) -> None:
        random = np.random.default_rng(batch)
        for turn in range(40):
            x = random.normal(size=(1 + (batch + turn) % 9, 6)).astype(np.float32)
            (y,) = run([x, np.array(batch, np.float32)])
            expected = np.maximum(x @ WEIGHT, 0) * batch
            if not np.allclose(y, expected, atol=1e-5 * max(1, expected.max())):
                wrong.append(batch)

    threads = [threading.Thread(target=work, args=(batch,)) for batch in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_outputs_outlive_the_next_call() -> None:
    engine = openvino.OpenVINO()
    run = engine.load(model(), "fp32")
    one = np.ones((1, 6), np.float32)
    (first,) = run([one, np.array(1, np.float32)])
    kept = first.copy()
    run([one, np.array(3, np.float32)])
    np.testing.assert_array_equal(first, kept)


def test_its_words_are_passed_on() -> None:
    engine = openvino.OpenVINO()
    with pytest.raises(IcebreakerError, match="OpenVINO refuses"):
        engine.load(b"no model at all", "fp32")
    assert engine.refusals(SegmentModel.of_onnx(b"no model at all"))
    run = engine.load(model(), "fp32")
    with pytest.raises(IcebreakerError, match="OpenVINO"):
        run([np.ones((1, 5), np.float32), np.array(1, np.float32)])
