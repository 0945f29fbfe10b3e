"""Nothing is sent from the user's machine, and no engine forks our process in order to send it."""

import os
import subprocess
import sys

SCRIPT = """
import os, sys, threading
import icebreaker
os.register_at_fork(before=lambda: print("FORK"))
import onnx
from onnx import helper
from icebreaker.engine import openvino, registry
from icebreaker.engine.protocol import BuildOptions
from icebreaker.engine.segment_model import SegmentModel
value = lambda name: helper.make_tensor_value_info(name, 1, [1, 3])
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value("x")], [value("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
import numpy
for name in ("openvino", "onnxruntime"):
    engine = registry.get(name)
    options = BuildOptions(profiles={"x": ((1, 3),) * 3})
    payload = engine.build(SegmentModel.of_onnx(model), options).payload
    outputs = engine.load(payload, "fp32")([numpy.float32([[-1, 0, 2]])])
    print(name, outputs[0].tolist())
if openvino.nncf_version():
    convolution = helper.make_node("MatMul", ["x", "w"], ["y"])
    weights = helper.make_tensor("w", 1, [3, 3], [1.0] * 9)
    graph = helper.make_graph([convolution], "g", [value("x")], [value("y")], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
    openvino.quantized_by_nncf(model, [{"x": numpy.float32([[-1, 0, 2]])}] * 8)
print(sorted(name for name in sys.modules if "telemetry" in name and sys.modules[name]))
"""


def test_engines_do_not_phone_home(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment | {"HOME": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["openvino [[0.0, 0.0, 2.0]]", "onnxruntime [[0.0, 0.0, 2.0]]"]
    assert "openvino_telemetry" not in lines[2]
    assert not list(tmp_path.rglob("*")), "an identifier or a queue of events was stored"
