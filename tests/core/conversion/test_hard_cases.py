"""Never a wrong answer in silence: what an engine may err on is right in the optimized graph, in the engine or not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker.benchmarking.compare import compare
from icebreaker.conversion.pipeline import convert
from icebreaker.engine import registry
from icebreaker.engine.onnxruntime import OnnxRuntime
from icebreaker.engine.protocol import BuildOptions, Built, Runner
from icebreaker.engine.segment_model import SegmentModel
from icebreaker.reports import Conversion
from icebreaker.settings import ConvertSettings

ENGINES = ("onnxruntime", "openvino")


def frozen(path: Path, build: Any) -> Path:
    """Writes a graph whose outputs `build` names."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        build(tf, tf.compat.v1.placeholder)
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def original(path: Path, outputs: Sequence[str], feeds: dict[str, Any]) -> list[np.ndarray]:
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run([f"{name}:0" for name in outputs], {f"{name}:0": value for name, value in feeds.items()})


def check(path: Path, outputs: Sequence[str], feeds: dict[str, Any], engine: str, **settings: Any) -> Conversion:
    """Converts, and compares the loaded graph with TensorFlow."""
    target = path.with_suffix(f".{engine}.pb")
    report = convert(path, target, ConvertSettings.of(outputs=tuple(outputs), engine=engine, **settings))
    got = icebreaker.load(target)(feeds)
    for name, want in zip(outputs, original(path, outputs, feeds), strict=True):
        if want.dtype.kind in "iub":
            np.testing.assert_array_equal(got[name], want)
        else:
            scale = float(np.nanmax(np.abs(want))) or 1.0
            np.testing.assert_allclose(got[name], want, rtol=1e-3, atol=1e-3 * scale)
    return report


# What it is → the graph, its outputs, and values on which engines err.
CASES: dict[str, tuple[Any, tuple[str, ...], dict[str, Any]]] = {
    "whole numbers divided": (
        lambda tf, ph: tf.identity(tf.math.floordiv(ph("int32", [None, 3], "x") * 5, 4) - 1, "y"), ("y",),
        {"x": np.int32([[-1, -6, 7]])},
    ),
    "places twice": (
        lambda tf, ph: tf.identity(
            tf.scatter_nd(ph("int32", [None, 1], "at"), tf.nn.relu(ph("float32", [None, 3], "x") * 2) + 1, [9, 3]) * 2,
            "y",
        ), ("y",), {"at": np.int32([[4], [4], [1]]), "x": np.ones((3, 3), "f4")},
    ),
    "seconds since 1970": (
        lambda tf, ph: tf.identity(tf.reduce_max(ph("int32", [None, 3], "x") + 1, 1) - 1, "y"), ("y",),
        {"x": np.int32([[1700000187, 1700000001, 1700000123]])},
    ),
    "milliseconds since 1970": (
        lambda tf, ph: tf.identity((ph("int64", [None, 3], "x") + 5) * 3 - 5, "y"), ("y",),
        {"x": np.int64([[1650000000001, 1650000000002, 7]])},
    ),
    "small numbers": (
        lambda tf, ph: tf.identity(tf.math.log1p(ph("float32", [None, 3], "x") * 2) * 3, "y"), ("y",),
        {"x": np.float32([[1e-8, 3e-8, 2e-7]])},
    ),
    "a group with no members": (
        lambda tf, ph: tf.identity(
            tf.math.segment_max(ph("float32", [None, 2], "x") * 3 + 1, ph("int32", [None], "group")) * 2, "y"
        ), ("y",), {"x": np.ones((3, 2), "f4"), "group": np.int32([0, 3, 3])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES)
def test_an_engine_that_errs_on_hard_values_does_not_get_the_op(tmp_path: Path, case: str, engine: str) -> None:
    build, outputs, feeds = CASES[case]
    check(frozen(tmp_path / "hard.pb", build), outputs, feeds, engine)


class SwapsTanh(OnnxRuntime):
    """ONNX Runtime with one op wrong: Tanh is computed as Erf, which is near to it."""

    name = "swaps_tanh"
    title = "Swaps Tanh"
    wrong = "Erf"

    def load(self, payload: Any, precision: str) -> Runner:
        import onnx

        model = onnx.load_from_string(payload)
        for node in model.graph.node:
            if node.op_type == "Tanh":
                node.op_type = self.wrong
        return super().load(model.SerializeToString(), precision)


class FailsAtTanh(SwapsTanh):
    """An engine that fails when it loads a Tanh, and does not say at which node."""

    name = "fails_at_tanh"
    title = "Fails At Tanh"
    wrong = "Nonsense"


class RoundsTo16Bits(OnnxRuntime):
    """ONNX Runtime, which rounds what enters a segment to bfloat16 if it is asked for FP16."""

    name = "rounds"
    title = "Rounds"
    precisions = ("fp32", "fp16")

    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        precision = "bf16" if options.precision == "fp16" else "fp32"
        return replace(super().build(segment, replace(options, precision="fp32")), precision=precision)

    def load(self, payload: Any, precision: str) -> Runner:
        import ml_dtypes

        run = super().load(payload, "fp32")

        def rounded(value: np.ndarray) -> np.ndarray:
            return value.astype(ml_dtypes.bfloat16).astype(value.dtype) if value.dtype.kind == "f" else value

        return run if precision == "fp32" else lambda inputs: run([rounded(value) for value in inputs])


ADDED = (SwapsTanh, FailsAtTanh, RoundsTo16Bits)


@pytest.fixture(autouse=True, scope="module")
def _more_engines() -> Iterator[None]:
    for engine in ADDED:
        registry.register(engine)
    yield
    for engine in ADDED:
        registry.unregister(engine.name)


def layers(tf: Any, ph: Any) -> None:
    """Four layers, with a Tanh after the second and the third."""
    random = np.random.default_rng(0)
    h = ph("float32", [None, 16], "x")
    for index in range(4):
        h = tf.nn.relu(tf.matmul(h, random.normal(size=(16, 16)).astype("f4")) + 0.1, name=f"relu{index}")
        if index in (1, 2):
            h = tf.tanh(h * 0.1, name=f"tanh{index}")
    tf.identity(h, "y")


@pytest.mark.parametrize("engine, code", [("swaps_tanh", "deviates"), ("fails_at_tanh", "engine_refused")])
def test_one_bad_op_costs_that_op(tmp_path: Path, engine: str, code: str) -> None:
    x = np.random.default_rng(1).normal(size=(2, 16)).astype("f4")
    report = check(frozen(tmp_path / "layers.pb", layers), ("y",), {"x": x}, engine)
    left = {item.node: item for item in report.left_in_tensorflow if item.code != "passive"}
    assert set(left) == {"tanh1", "tanh2"} and {item.code for item in left.values()} == {code}
    assert "Tanh" in str(left["tanh1"].reason)
    if code == "deviates":
        assert "of its range in Swaps Tanh" in str(left["tanh1"].reason)
    assert len(report.segments) == 3


def test_one_bad_op_costs_that_op_in_int8_too(tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(1).normal(size=(96, 16)).astype("f4"))
    path = frozen(tmp_path / "layers.pb", layers)
    settings = ConvertSettings.of(
        outputs=("y",), engine="fails_at_tanh", precision="int8", calibration=str(data), minimum_segment_size=2
    )
    report = convert(path, tmp_path / "out.pb", settings)
    assert {item.node for item in report.left_in_tensorflow if item.code != "passive"} == {"tanh1", "tanh2"}
    assert {item.precision for item in report.segments} == {"int8"}
    tables = json.loads(Path(report.calibration_table).read_text())["segments"]
    assert {item["segment"] for item in tables} == {item.name for item in report.segments}


def test_what_every_engine_has_against_a_node_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "names", lambda: ("swaps_tanh", "fails_at_tanh"))
    path = frozen(tmp_path / "layers.pb", layers)
    report = convert(path, tmp_path / "out.pb", ConvertSettings.of(outputs=("y",), engine="auto"))
    reason = str({item.node: item for item in report.left_in_tensorflow}["tanh1"].reason)
    assert "Swaps Tanh" in reason and "Fails At Tanh" in reason


def test_ids_that_are_kept_in_floats_are_not_rounded(tmp_path: Path) -> None:
    """Words of a text as floats, as Keras has them: in 16 bits, others are looked up. FP32 takes over."""
    table = np.random.default_rng(0).normal(size=(20000, 4)).astype("f4")

    def build(tf: Any, ph: Any) -> None:
        ids = tf.cast(ph("float32", [None, 6], "x"), "int32")
        tf.nn.softmax(tf.reduce_mean(tf.gather(table, ids) * 3, 1), name="y")

    x = np.float32([[19997, 301, 12345, 5, 4099, 777]])
    report = check(frozen(tmp_path / "ids.pb", build), ("y",), {"x": x}, "rounds", precision="fp16")
    assert all(item.precision == "fp32" for item in report.segments)


def test_half_precision_that_is_honest_is_not_refused_for_its_ties(tmp_path: Path) -> None:
    """The class of a network's scores, some of which are as good as equal."""
    weights = np.random.default_rng(0).normal(size=(32, 50)).astype("f4")

    def build(tf: Any, ph: Any) -> None:
        scores = tf.nn.softmax(tf.matmul(ph("float32", [None, 32], "x"), weights))
        tf.argmax(scores, 1, name="class", output_type="int32")
        tf.identity(scores, "scores")

    path = frozen(tmp_path / "classes.pb", build)
    settings = ConvertSettings.of(outputs=("class", "scores"), engine="rounds", precision="fp16", max_batch_size=64)
    report = convert(path, tmp_path / "out.pb", settings)
    assert [item.precision for item in report.segments] == ["bf16"]


def test_random_ops_spoil_nothing(tmp_path: Path) -> None:
    """Dropout in the middle: what is before and after it goes to engines, judged on what was drawn."""
    random = np.random.default_rng(0)

    def build(tf: Any, ph: Any) -> None:
        h = ph("float32", [None, 16], "x")
        for index in range(3):
            h = tf.nn.relu(tf.matmul(h, random.normal(size=(16, 16)).astype("f4")) + 0.1, name=f"relu{index}")
            if index == 1:
                h = tf.nn.dropout(h, rate=0.5)
        tf.identity(h, "y")

    path = frozen(tmp_path / "random.pb", build)
    report = convert(path, tmp_path / "out.pb", ConvertSettings.of(outputs=("y",), engine="openvino"))
    left = {item.op for item in report.left_in_tensorflow if item.code != "passive"}
    assert left == {"RandomUniform"}
    found = compare(str(path), str(tmp_path / "out.pb"), ConvertSettings.of(outputs=("y",)))
    assert found.outputs["y"].max_rel < 1e-4


def test_draws_inside_of_a_loop_are_left_out_and_said_so(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def build(tf: Any, ph: Any) -> None:
        h = ph("float32", [None, 16], "x")
        for _ in range(2):
            h = tf.nn.relu(tf.matmul(h, random.normal(size=(16, 16)).astype("f4")) + 0.1)
        tf.identity(h, "sure")
        noise = tf.while_loop(lambda i, _: i < 3, lambda i, n: (i + 1, n + tf.random.normal([])), [0, 0.0])[1]
        tf.add(h, noise, "drawn")

    path = frozen(tmp_path / "loop.pb", build)
    settings = ConvertSettings.of(outputs=("sure", "drawn"), engine="openvino")
    report = convert(path, tmp_path / "out.pb", settings)
    assert report.segments and any("drawn is not compared" in str(item) for item in report.warnings)
    found = compare(str(path), str(tmp_path / "out.pb"), ConvertSettings.of(outputs=("sure", "drawn")))
    assert set(found.outputs) == {"sure"}


def test_rows_that_are_no_samples_are_asked_in_one_call(tmp_path: Path) -> None:
    """Each point minus the mean of all: row by row, everything is 0 in both graphs."""

    def cloud(factor: float) -> Any:
        def build(tf: Any, ph: Any) -> None:
            x = ph("float32", [None, 3], "x")
            tf.identity((x - tf.reduce_mean(x, 0, keepdims=True)) * factor, "y")

        return build

    one, two = frozen(tmp_path / "one.pb", cloud(1.0)), frozen(tmp_path / "two.pb", cloud(1.5))
    np.savez(tmp_path / "data.npz", x=np.arange(12, dtype="f4").reshape(4, 3))
    settings = ConvertSettings.of(outputs=("y",), data=str(tmp_path / "data.npz"))
    assert compare(str(one), str(two), settings).outputs["y"].max_rel == pytest.approx(0.5)


def test_an_output_that_stays_empty_is_not_taken_for_checked(tmp_path: Path) -> None:
    """What is left of a sequence when 80 steps are cut away: lengths are tried until something is."""

    def build(tf: Any, ph: Any) -> None:
        x = ph("float32", [None, None, 4], "x")
        tf.identity(tf.tanh(x[:, 40:-40] * 0.5) + 1, "y")

    path = frozen(tmp_path / "crop.pb", build)
    x = np.random.default_rng(0).normal(size=(1, 90, 4)).astype("f4")
    report = check(path, ("y",), {"x": x}, "swaps_tanh")
    assert "tanh" in {str(item.op).lower() for item in report.left_in_tensorflow}
