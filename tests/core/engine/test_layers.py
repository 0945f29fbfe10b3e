"""What an engine tells of its own layers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from icebreaker.engine.onnxruntime import OnnxRuntime
from icebreaker.engine.openvino import OpenVINO


def model() -> bytes:
    """A convolution with what can be fused into it, then a softmax, which cannot."""
    weights = numpy_helper.from_array(np.ones((64, 64, 3, 3), np.float32), "weights")
    nodes = [
        helper.make_node("Conv", ["x", "weights"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Softmax", ["b"], ["y"], name="softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64, 32, 32])],
        [weights],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


INPUT = np.ones((1, 64, 32, 32), np.float32)


@pytest.mark.parametrize(
    ("engine", "kind", "precision"), [(OpenVINO(), "Convolution", "f32"), (OnnxRuntime(), "Conv", "float32")]
)
def test_engines_tell_their_fused_layers_once_they_ran(engine, kind, precision) -> None:
    runner = engine.load(model(), "fp32")
    assert runner.layers == ()
    runner([INPUT])
    layers = runner.layers
    conv = next(item for item in layers if item.type.startswith(kind))
    assert conv.name.split(",") == ["conv", "relu"]
    assert conv.precision == precision
    softmax = next(item for item in layers if item.type.lower() == "softmax")
    names = [item.name for item in layers]
    assert softmax.inputs
    assert all(name in names for item in layers for name in item.inputs)
    assert not any("weights" in name for name in names)


@pytest.mark.parametrize("engine", [OpenVINO(), OnnxRuntime()])
def test_engines_time_their_layers(engine) -> None:
    runner = engine.load(model(), "fp32")
    expected = runner([INPUT])
    timed = runner.layer_times([INPUT], 5)
    assert [item.name for item in timed] == [item.name for item in runner.layers]
    more = runner.layer_times([np.repeat(INPUT, 12, 0)], 5)
    once, often = (next(item.ms for item in found if item.name == "conv,relu") for found in (timed, more))
    assert often > 2 * once > 0  # twelve times the work, on a machine that may be busy
    np.testing.assert_array_equal(runner([INPUT])[0], expected[0])  # asking has changed nothing
