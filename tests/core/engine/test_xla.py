"""XLA: its engine is a function of the written graph, which plain TensorFlow runs with no Icebreaker there."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import icebreaker
from helpers.graph_maker import Maker
from icebreaker.conversion.pipeline import convert
from icebreaker.engine.segment_model import Port, SegmentModel
from icebreaker.engine.xla import engine, function, half, ops
from icebreaker.errors import ConsentNeeded, IcebreakerError
from icebreaker.graph.protos import GraphDef
from icebreaker.runtime.artifact_reader import NATIVE
from icebreaker.runtime.engine_node import EngineWarning
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor

FLOAT, HALF = 1, 19
ROWS = np.random.default_rng(3).random((3, 12, 12, 3), np.float32)


def _network() -> Any:
    """Two convolutions with a norm, a head, and a table that is looked up in TensorFlow."""
    made = Maker(-1, 12, 12, 3)
    made.add("Conv2D", made.weight(3, 3, 3, 8), strides=[1, 1, 1, 1], padding=b"SAME")
    made.add("BiasAdd", made.weight(8))
    scale, shift = made.constant(np.linspace(0.5, 1.5, 8, dtype=np.float32)), made.weight(8)
    made.add("Mul", scale)
    made.add("AddV2", shift)
    made.add("Relu")
    made.add("Reshape", made.constant(np.array([-1, 1152], np.int32)), Tshape=3)
    made.dense(1152, 10)
    made.add("Softmax")
    return made.definition


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("xla") / "network.pb"
    path.write_bytes(_network().SerializeToString())
    return path


@pytest.fixture(scope="module")
def converted(original: Path) -> tuple[Path, Any]:
    """The file, and the report."""
    output = original.with_name("faster.pb")
    return output, convert(original, output, ConvertSettings(engine="xla"))


@pytest.fixture(scope="module")
def for_gpu(converted: tuple[Path, Any], original: Path) -> Path:
    """The same as it leaves a machine with a GPU: in half precision, and marked."""
    definition = GraphDef.FromString(converted[0].read_bytes())
    source = tf.compat.v1.GraphDef.FromString(original.read_bytes())
    last = source.node[-1].name
    segment = SegmentModel(
        [Port("x:0", "float32", (None, 12, 12, 3))], [Port(f"{last}:0", "float32", (None, 10))], bytes, lambda: source
    )
    made = engine.function_of(segment, [[ROWS]], "fp16", "GPU")
    (call,) = (node for node in definition.node if node.op == "PartitionedCall")
    kept = [item for item in definition.library.function if item.signature.name == call.attr[NATIVE].func.name]
    del definition.library.function[:]
    definition.library.function.extend(kept)
    data = made.SerializeToString(deterministic=True)
    definition.library.function.add().MergeFromString(data)
    call.attr["f"].func.name = made.signature.name
    call.attr["_icebreaker_sha256"].s = function.digest(data).encode()
    path = original.with_name("for_gpu.pb")
    path.write_bytes(definition.SerializeToString())
    return path


def test_it_converts_by_name_and_says_so(converted: tuple[Path, Any], original: Path) -> None:
    path, report = converted
    (segment,) = report.segments
    assert (segment.engine, segment.precision) == ("xla", "fp32") and segment.deviation < 1e-5
    want = icebreaker.load(original)(ROWS)
    model = icebreaker.load(path)
    assert model.engines == {"TRTEngineOp_000": "xla"}
    for have in (model(ROWS), model.function(tf.constant(ROWS))[0], model(ROWS[:1])):
        values = next(iter(have.values())) if isinstance(have, dict) else have.numpy()
        np.testing.assert_allclose(values, next(iter(want.values()))[: len(values)], atol=1e-6)


PLAIN = """
import json, sys
import numpy as np
import tensorflow as tf

path, rows, folder = sys.argv[1:]
rows = np.load(rows)
definition = tf.compat.v1.GraphDef.FromString(open(path, "rb").read())
output = definition.node[-1].name + ":0"
found = {}
with tf.Graph().as_default() as graph:
    tf.import_graph_def(definition, name="")
with tf.compat.v1.Session(graph=graph) as session:
    found["session"] = session.run(output, {"x:0": rows})
    tf.compat.v1.saved_model.simple_save(
        session, folder, {"x": graph.get_tensor_by_name("x:0")}, {"y": graph.get_tensor_by_name(output)}
    )
body = tf.compat.v1.wrap_function(
    lambda x: tf.import_graph_def(definition, input_map={"x:0": x}, return_elements=[output]),
    [tf.TensorSpec([None, 12, 12, 3])],
)
found["function"] = tf.function(body)(tf.constant(rows))[0].numpy()
found["SavedModel"] = tf.saved_model.load(folder).signatures["serving_default"](x=tf.constant(rows))["y"].numpy()
assert not [name for name in sys.modules if name.startswith("icebreaker")]
print(json.dumps({key: value.tolist() for key, value in found.items()}))
"""


def test_plain_tensorflow_runs_the_compiled_function(for_gpu: Path, original: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(for_gpu), str(tmp_path / "rows.npy"), str(tmp_path / "saved")],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    want = next(iter(icebreaker.load(original)(ROWS).values()))
    found = {key: np.array(value) for key, value in json.loads(done.stdout).items()}
    assert set(found) == {"session", "function", "SavedModel"}
    for values in found.values():
        assert 0 < np.abs(values - want).max() < 2e-3, "half precision, so it was the compiled one"
    np.testing.assert_array_equal(found["session"], found["SavedModel"])


def test_without_a_gpu_the_original_nodes_run(for_gpu: Path, original: Path) -> None:
    want = next(iter(icebreaker.load(original)(ROWS).values()))
    with pytest.warns(EngineWarning, match="made for an NVIDIA GPU, and there is none"):
        model = icebreaker.load(for_gpu)
    assert not model.engines
    np.testing.assert_allclose(next(iter(model(ROWS).values())), want, atol=1e-6)
    np.testing.assert_allclose(model.function(tf.constant(ROWS))[0], want, atol=1e-6)
    with pytest.raises(IcebreakerError, match="there is none"):
        icebreaker.load(for_gpu, fallback=False)


def test_auto_does_not_try_it_on_a_cpu(original: Path, tmp_path: Path) -> None:
    if engine._sees_gpu():
        pytest.skip("this machine has a GPU")
    report = convert(original, tmp_path / "auto.pb", ConvertSettings())
    assert "xla" not in {tried.engine for segment in report.segments for tried in segment.candidates}


def test_what_xla_would_get_wrong_stays_with_its_reason(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], "x")
        places = tf.compat.v1.placeholder(tf.int32, [None], "places")
        table = tf.nn.relu(tf.matmul(x, tf.ones([4, 4]), name="MatMul"), name="Relu")
        tf.gather(table, tf.clip_by_value(places, 0, 0), name="looked_up")
        tf.math.floordiv(places, places * 0 + 1, name="divided")
        tf.unique(places, name="once")
        tf.linalg.det(tf.eye(2) * tf.reduce_sum(x), name="odd")
    (tmp_path / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    settings = ConvertSettings(engine="xla", minimum_segment_size=1)
    report = convert(tmp_path / "model.pb", tmp_path / "faster.pb", settings)
    reasons = {item.node: str(item.reason) for item in report.left_in_tensorflow}
    assert "TensorFlow raises at a place that is not there" in reasons["looked_up"]
    assert "whole numbers are divided by zero" in reasons["divided"]
    assert "how much Unique gives depends on values" in reasons["once"]
    assert "XLA is not asked to compile MatrixDeterminant" in reasons["odd"]
    inside = {name for segment in report.segments for name in segment.nodes}
    assert {"MatMul", "Relu"} <= inside


def test_the_table_has_ops_that_only_compute_and_that_xla_has() -> None:
    from tensorflow.python.framework import kernels

    half._register_kernels()
    have = {kernel.op for kernel in kernels.get_all_registered_kernels().kernel if kernel.device_type == "XLA_GPU_JIT"}
    assert not [op for op in ops.SUPPORTED - {"Const", "NoOp"} if op not in have]
    assert not [op for op in ops.SUPPORTED if ops.definition_of(op).is_stateful]


# -- half precision ---------------------------------------------------------------------------------------------------


def _in_half(graph: tf.Graph, output: str, feeds: dict[str, np.ndarray]) -> tuple[dict[str, int], np.ndarray]:
    """Node → the type that it computes in; and what XLA makes of the function."""
    definition = graph.as_graph_def()
    given = [graph.get_tensor_by_name(f"{name}:0") for name in feeds]
    made = graph.get_tensor_by_name(f"{output}:0")
    segment = SegmentModel(
        [Port(item.name, item.dtype.name, tuple(item.shape.as_list())) for item in given],
        [Port(made.name, made.dtype.name, ())], bytes, lambda: definition,
    )  # fmt: skip
    compiled = engine.function_of(segment, [list(feeds.values())], "fp16", "GPU")
    kinds = {node.name: node.attr["T"].type for node in compiled.node_def if "T" in node.attr}
    return kinds, engine._Runner(compiled)(list(feeds.values()))[0]


def test_layers_are_in_half_and_inputs_and_outputs_are_not() -> None:
    rng = np.random.default_rng(5)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 6], "x")
        y = tf.nn.relu(tf.matmul(x, rng.normal(size=(6, 6)).astype("f"), name="layer"), name="y")
        tf.reduce_sum(tf.exp(y, name="exp"), axis=1, name="sum")
    feeds = {"x": rng.random((4, 6), np.float32)}
    kinds, values = _in_half(graph, "sum", feeds)
    assert {name: kinds[name] for name in ("layer", "y", "exp", "sum")} == {
        "layer": HALF, "y": HALF, "exp": FLOAT, "sum": FLOAT
    }  # fmt: skip
    assert values.dtype == np.float32
    with tf.compat.v1.Session(graph=graph) as session:
        np.testing.assert_allclose(values, session.run("sum:0", {"x:0": feeds["x"]}), rtol=2e-2)


def test_names_and_places_stay_exact() -> None:
    """Ids of words beyond 2048, which FP16 has not, through a step and a table to a layer."""
    rng = np.random.default_rng(6)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 5], "x")
        ids = tf.cast(tf.floor(x * 1.0, name="step"), tf.int32, name="ids")
        found = tf.gather(rng.normal(size=(30000, 8)).astype("f"), ids, name="found")
        tf.nn.relu(tf.matmul(tf.reshape(found, [-1, 40]), rng.normal(size=(40, 4)).astype("f"), name="layer"), name="y")
    feeds = {"x": rng.integers(0, 30000, (6, 5)).astype("f")}
    kinds, values = _in_half(graph, "y", feeds)
    assert (kinds["step"], kinds["layer"]) == (FLOAT, HALF)
    with tf.compat.v1.Session(graph=graph) as session:
        want = session.run("y:0", {"x:0": feeds["x"]})
    assert np.abs(values - want).max() < 1e-2 * np.ptp(want)


def test_what_leaves_the_range_of_half_stays_in_fp32() -> None:
    rng = np.random.default_rng(7)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], "x")
        wide = tf.matmul(x, np.full((4, 4), 3e4, "f"), name="wide")
        tf.nn.tanh(tf.multiply(wide, np.float32(1e-5), name="back"), name="y")
    feeds = {"x": rng.random((3, 4), np.float32) * 9}
    kinds, values = _in_half(graph, "y", feeds)
    assert kinds["wide"] == FLOAT
    with tf.compat.v1.Session(graph=graph) as session:
        np.testing.assert_allclose(values, session.run("y:0", {"x:0": feeds["x"]}), atol=1e-2)


# -- from strangers ---------------------------------------------------------------------------------------------------


def _reads_a_file() -> Any:
    """x → y, and a file is read on the way."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 12, 12, 3], "x")
        with tf.control_dependencies([tf.io.read_file("/etc/hostname")]):
            tf.ones([1, 10]) * tf.reduce_sum(x, name="s")
    definition = graph.as_graph_def()
    return function.made_from(
        definition, [Port("x:0", "float32", (None, 12, 12, 3))], [Tensor(definition.node[-1].name)], "CPU"
    )


def test_a_function_that_acts_needs_consent(converted: tuple[Path, Any], tmp_path: Path) -> None:
    definition = GraphDef.FromString(converted[0].read_bytes())
    made = _reads_a_file()
    definition.library.function.add().MergeFromString(made.SerializeToString())
    (call,) = (node for node in definition.node if node.op == "PartitionedCall")
    call.attr["f"].func.name = made.signature.name
    (tmp_path / "odd.pb").write_bytes(definition.SerializeToString())
    with pytest.raises(ConsentNeeded, match="ReadFile"):
        icebreaker.load(tmp_path / "odd.pb")


@pytest.mark.parametrize("named", ["xla", "openvino"])
def test_what_is_not_as_it_was_written_runs_natively(
    converted: tuple[Path, Any], original: Path, tmp_path: Path, named: str
) -> None:
    """A function that hides in a payload, where nobody judged it; a function that is to be read as a model."""
    definition = GraphDef.FromString(converted[0].read_bytes())
    (call,) = (node for node in definition.node if node.op == "PartitionedCall")
    call.attr["_icebreaker_engine"].s = named.encode()
    if named == "xla":
        data = _reads_a_file().SerializeToString()
        call.attr["f"].func.name = call.attr[NATIVE].func.name
        del call.attr[NATIVE]
        call.attr["_icebreaker_payload"].s = data
        call.attr["_icebreaker_sha256"].s = function.digest(data).encode()
    (tmp_path / "odd.pb").write_bytes(definition.SerializeToString())
    with pytest.warns(EngineWarning, match="not as it was written"):
        model = icebreaker.load(tmp_path / "odd.pb", trust=True)
    assert not model.engines
    want = next(iter(icebreaker.load(original)(ROWS).values()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(next(iter(model(ROWS).values())), want, atol=1e-6)
