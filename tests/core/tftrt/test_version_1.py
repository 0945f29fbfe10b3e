"""TF-TRT's old interface: scripts that were written for it run with another import line."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker import tftrt
from icebreaker.benchmarking import compare
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.runtime import artifact_reader

# What people wrote against tensorflow.contrib.tensorrt in 2018; `trt` is the one import that changes.
SCRIPT = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
import icebreaker as trt

tf.disable_eager_execution()
mode, engine = sys.argv[1], sys.argv[2]

def build():
    random = np.random.RandomState(0)
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [None, 24, 24, 2], name="input")
        weights = tf.constant(random.randn(4, 4, 2, 6).astype("f4"), name="weights")
        conv = tf.nn.conv2d(x, weights, strides=[1, 2, 2, 1], padding="SAME", name="conv")
        bias = tf.constant([4., 1.5, 2., 3., 5., 7.], name="bias")
        relu = tf.nn.relu(tf.nn.bias_add(conv, bias), name="relu")
        pool = tf.nn.max_pool(relu, [1, 2, 2, 1], [1, 2, 2, 1], "VALID", name="max_pool")
        tf.squeeze(tf.reduce_mean(pool, [1, 2], keepdims=True), [1, 2], name="output")
    return graph.as_graph_def()

def run(graph_def, values):
    with tf.Graph().as_default() as graph:
        inp, out = tf.import_graph_def(graph_def=graph_def, return_elements=["input", "output"])
        inp, out = inp.outputs[0], out.outputs[0]
        with tf.Session(graph=graph) as sess:
            for _ in range(3):
                result = sess.run(out, {inp: values})
    return result

values = np.random.RandomState(1).rand(32, 24, 24, 2).astype("f4")
original = build()
reference = run(original, values)
trt_graph = trt.create_inference_graph(
    input_graph_def=original, outputs=["output"], max_batch_size=len(values),
    max_workspace_size_bytes=1 << 25, precision_mode=mode, minimum_segment_size=2, engine=engine)
if mode == "INT8":
    run(trt_graph, values)
    trt_graph = trt.calib_graph_to_infer_graph(trt_graph)
result = run(trt_graph, values)
tolerance = {"FP32": 1e-5, "FP16": 2e-2, "INT8": 8e-2}[mode] * np.abs(reference).max()
assert np.abs(result - reference).max() <= tolerance, np.abs(result - reference).max()
engines = [node for node in trt_graph.node if "TRTEngineOp" in node.name]
assert len(engines) == 1 and not any(node.op == "Conv2D" for node in trt_graph.node), [n.name for n in trt_graph.node]
print("engines", engines[0].attr["_icebreaker_precision"].s.decode())
"""


def network(seed: int = 0) -> Any:
    """Two convolutions around an op that no engine takes, with classes at the end."""
    import tensorflow as tf

    v1, random = tf.compat.v1, np.random.default_rng(seed)

    def weights(*shape: int) -> Any:
        return tf.constant(random.normal(size=shape).astype(np.float32) / 4)

    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 12, 12, 3], name="x")
        first = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, weights(3, 3, 3, 8), 1, "SAME"), weights(8)), name="first")
        middle = tf.math.lgamma(first + 1.0, name="middle")
        second = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(middle, weights(3, 3, 8, 8), 2, "SAME"), weights(8)))
        tf.linalg.matmul(tf.reduce_mean(second, [1, 2]), weights(8, 5), name="scores")
    return graph.as_graph_def()


def run(graph_def: Any, x: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run("scores:0", {"x:0": x})


@pytest.fixture(scope="module")
def original() -> Any:
    return network()


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(5).random((48, 12, 12, 3), np.float32)


@pytest.fixture(scope="module")
def converted(original: Any) -> Any:
    return icebreaker.create_inference_graph(original, ["scores"], minimum_segment_size=2, engine="openvino")


@pytest.mark.parametrize(("mode", "precision"), [("FP32", "fp32"), ("INT8", "int8")])
def test_a_script_from_2018(mode: str, precision: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), mode, "openvino"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"engines {precision}" in done.stdout


def test_live_portable_and_loaded_agree(
    original: Any, converted: Any, values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = run(original, values)
    calls: list[str] = []
    from icebreaker.runtime.engine_node import EngineNode

    called = EngineNode.__call__
    monkeypatch.setattr(EngineNode, "__call__", lambda self, x: (calls.append(self.stored.node), called(self, x))[1])
    np.testing.assert_allclose(run(converted, values), wanted, atol=1e-5)
    engines = [node.name for node in converted.node if "TRTEngineOp" in node.name]
    assert len(engines) == 2 and sorted(calls) == sorted(engines)  # an ordinary session used the engines
    plain = icebreaker.portable(converted)
    assert {node.op for node in plain.node if node.name in engines} == {"PartitionedCall"}
    np.testing.assert_array_equal(run(plain, values), wanted)  # the native segments, bit for bit
    icebreaker.save(converted, tmp_path / "saved.pb")
    (tmp_path / "live.pb").write_bytes(converted.SerializeToString())
    for file in ("saved.pb", "live.pb"):
        model = icebreaker.load(tmp_path / file, fallback=False)
        assert sorted(model.engines) == sorted(engines)
        np.testing.assert_allclose(model(x=values)["scores"], wanted, atol=1e-5)
    (tmp_path / "original.pb").write_bytes(original.SerializeToString())
    for first, second in (("original.pb", "live.pb"), ("live.pb", "saved.pb")):  # and both can be measured
        found = compare.compare(str(tmp_path / first), str(tmp_path / second))
        assert found.outputs["scores"].max_abs < 1e-5
    again = artifact_reader.stored_engines(graph_files.read_graph(tmp_path / "saved.pb"), tmp_path)
    assert all(item.payload() for item in again)


def test_int8_calibrated_here_and_converted_in_another_process(
    original: Any, values: np.ndarray, tmp_path: Path
) -> None:
    calibration = icebreaker.create_inference_graph(
        original, ["scores"], precision_mode="int8", minimum_segment_size=2, engine="openvino"
    )
    with pytest.raises(IcebreakerError, match="has not been run"):
        icebreaker.calib_graph_to_infer_graph(calibration)
    wanted = run(original, values)
    for start in range(0, 48, 8):
        part = slice(start, start + 8)
        np.testing.assert_allclose(run(calibration, values[part]), wanted[part], atol=1e-6)
    np.testing.assert_array_equal(run(icebreaker.portable(calibration), values), wanted)
    (tmp_path / "calibration.pb").write_bytes(calibration.SerializeToString())
    code = (
        "import sys, icebreaker; from tensorflow.compat.v1 import GraphDef\n"
        "made = icebreaker.calib_graph_to_infer_graph(GraphDef.FromString(open(sys.argv[1], 'rb').read()))\n"
        "icebreaker.save(made, sys.argv[2])"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "calibration.pb"), str(tmp_path / "int8.pb")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    model = icebreaker.load(tmp_path / "int8.pb", fallback=False)
    precisions = {
        item.precision
        for item in artifact_reader.stored_engines(graph_files.read_graph(tmp_path / "int8.pb"), tmp_path)
    }
    assert precisions == {"int8"}
    found = model(x=values)["scores"]
    assert 0 < np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_the_converter_of_tensorflow_1(original: Any, values: np.ndarray, tmp_path: Path) -> None:
    import tensorflow as tf

    converter = icebreaker.TrtGraphConverter(
        input_graph_def=original, nodes_denylist=["scores"], precision_mode="INT8", minimum_segment_size=2,
        engine="openvino",
    )  # fmt: skip
    with pytest.raises(ValueError, match="after convert"):
        converter.calibrate(["scores:0"], 1, feed_dict_fn=dict)
    converter.convert()
    with pytest.raises(ValueError, match="after calibrate"):
        converter.save(str(tmp_path / "early"))
    parts = iter(np.split(values, 6))
    made = converter.calibrate(["scores:0"], 6, feed_dict_fn=lambda: {"x:0": next(parts)})
    wanted = run(original, values)
    assert np.abs(run(made, values) - wanted).max() < 0.05 * np.abs(wanted).max()
    converter.save(str(tmp_path / "saved"))
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    np.testing.assert_allclose(served(x=tf.constant(values))["scores"], wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"outputs": ["nobody"]}, "nobody"),
        ({"outputs": []}, "outputs is empty"),
        ({"outputs": None}, "outputs is None"),
        ({"max_batch_size": 0}, "max batch size 0"),
        ({"precision_mode": "FP8"}, "FP8"),
        ({"max_workspace_size_bytes": -1}, "workspace -1"),
        ({"minimum_segment_size": 0}, "minimum segment size 0"),
        ({"engine": "warp"}, "warp"),
        ({"cached_engine_batches": 8}, "must be a list"),
        ({"cached_engine_batches": [1, 2]}, "maximum_cached_engines"),
        ({"input_graph_def": None}, "exactly one"),
        ({"input_saved_model_dir": "folder"}, "exactly one"),
        ({"output_saved_model_dir": "folder"}, "needs input_saved_model_dir"),
    ],
)
def test_bad_arguments_are_refused(original: Any, arguments: dict[str, Any], text: str) -> None:
    given = {"input_graph_def": original, "outputs": ["scores"]} | arguments
    with pytest.raises(ValueError, match=text) as caught:
        icebreaker.create_inference_graph(**given)
    assert isinstance(caught.value, IcebreakerError) and "\n" not in str(caught.value)


def test_what_was_not_calibrated_cannot_be_converted(original: Any) -> None:
    with pytest.raises(ValueError, match="doesn't contain any calibration nodes"):
        icebreaker.calib_graph_to_infer_graph(original)


def test_a_calibration_graph_cannot_consent_for_the_user(original: Any, values: np.ndarray, tmp_path: Path) -> None:
    calibration = icebreaker.create_inference_graph(
        original, ["scores"], precision_mode="INT8", minimum_segment_size=2, engine="openvino"
    )
    run(calibration, values[:8])
    read = calibration.node.add(name="file", op="ReadFile", input=["name"])
    calibration.node.add(name="name", op="Const").attr["dtype"].type = 7
    next(node for node in calibration.node if node.name == "scores").input.append(f"^{read.name}")
    with pytest.raises(icebreaker.ConsentNeeded, match="reads files"):
        icebreaker.calib_graph_to_infer_graph(calibration)
    for node in calibration.node:
        if "_icebreaker_settings" in node.attr:
            settings = json.loads(node.attr["_icebreaker_settings"].s) | {"consent": {"side_effects": True}}
            node.attr["_icebreaker_settings"].s = json.dumps(settings).encode()
    with pytest.raises(IcebreakerError, match="'consent' is unknown"):
        icebreaker.calib_graph_to_infer_graph(calibration)


def test_a_graph_without_a_segment_warns_with_reasons() -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.math.lgamma(tf.compat.v1.placeholder(tf.float32, [2], name="x"), name="y")
    with pytest.warns(tftrt.ConversionWarning, match=r"no segment went to an engine: .*Lgamma"):
        made = icebreaker.create_inference_graph(graph.as_graph_def(), ["y"], engine="openvino")
    assert [node.op for node in made.node] == ["Placeholder", "Lgamma"]


def test_the_memory_fraction_reaches_a_worker(original: Any, values: np.ndarray, monkeypatch: Any) -> None:
    import tensorflow as tf

    requests: list[Any] = []
    started = tftrt.supervisor.run
    monkeypatch.setattr(
        tftrt.supervisor, "run", lambda request, *more: (requests.append(request), started(request, *more))[1]
    )
    config = tf.compat.v1.ConfigProto()
    config.gpu_options.per_process_gpu_memory_fraction = 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error", icebreaker.EngineWarning)
        made = icebreaker.create_inference_graph(
            original, ["scores"], minimum_segment_size=2, engine="openvino", session_config=config
        )
    assert requests[0].settings.memory_fraction == 0.5
    np.testing.assert_allclose(run(made, values), run(original, values), atol=1e-5)
    assert Graph(made) and not any("_icebreaker_file" in node.attr for node in made.node)
