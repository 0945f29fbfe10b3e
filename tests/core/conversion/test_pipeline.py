"""From a frozen graph to an optimized one and back to numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker.conversion.pipeline import convert
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.reports import Conversion
from icebreaker.runtime import artifact_reader, artifact_writer
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor


def freeze(build: Any, *specs: Any) -> Any:
    """A frozen GraphDef of a function of tensors."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(tf.function(build).get_concrete_function(*specs)).graph.as_graph_def()


@pytest.fixture(scope="module")
def sandwich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A in TensorFlow (Digamma has no converter), B a convolution block, C in TensorFlow (a look-up of words)."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    kernel = tf.constant(random.normal(size=(3, 3, 4, 8)).astype(np.float32))
    dense = tf.constant(random.normal(size=(8, 5)).astype(np.float32))

    def model(x: Any) -> Any:
        a = tf.math.digamma(x + 1.0, name="a/digamma")
        b = tf.nn.relu(tf.nn.conv2d(a, kernel, 1, "SAME", name="b/conv"), name="b/relu")
        b = tf.linalg.matmul(tf.reduce_mean(b, [1, 2]), dense, name="b/dense")
        scores = tf.nn.softmax(b, name="scores")
        words = tf.gather(tf.constant(["zero", "one", "two", "three", "four"]), tf.argmax(scores, 1), name="words")
        return tf.identity(words, name="label"), tf.identity(scores, name="probabilities")

    path = tmp_path_factory.mktemp("sandwich") / "sandwich.pb"
    definition = freeze(model, tf.TensorSpec((None, 16, 16, 4), tf.float32, "x"))
    path.write_bytes(definition.SerializeToString())
    return path


SETTINGS = ConvertSettings.of(outputs=("label", "probabilities:0"), engine="openvino")


@pytest.fixture(scope="module")
def converted(sandwich: Path) -> tuple[Path, Conversion]:
    path = sandwich.with_name("optimized.pb")
    return path, convert(sandwich, path, SETTINGS)


def plain(path: Path, names: list[str], feeds: dict[str, Any]) -> list[Any]:
    """Runs a file with nothing but TensorFlow."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run(names, feeds)


def test_the_middle_becomes_one_engine_and_the_rest_has_reasons(converted: tuple[Path, Conversion]) -> None:
    _, report = converted
    (segment,) = report.segments
    assert segment.engine == "openvino" and segment.precision == "fp32"
    assert {"b/conv", "b/relu", "b/dense", "scores"} <= set(segment.nodes)
    reasons = {item.node: item for item in report.left_in_tensorflow}
    assert reasons["a/digamma"].code == "unsupported_op" and "Digamma" in str(reasons["a/digamma"].reason)
    assert all(item.reason for item in report.left_in_tensorflow)
    assert 0.5 < report.coverage < 1
    assert set(report.to_json()) == {"output", "seconds", "coverage", "segments", "left_in_tensorflow"}


@pytest.mark.parametrize("batch", [1, 5])
def test_outputs_agree_in_plain_tensorflow_and_in_the_engine(
    sandwich: Path, converted: tuple[Path, Conversion], batch: int
) -> None:
    import tensorflow as tf

    path, _ = converted
    x = np.random.default_rng(batch).random((batch, 16, 16, 4), np.float32)
    words, scores = plain(sandwich, ["label:0", "probabilities:0"], {"x:0": x})
    native_words, native_scores = plain(path, ["label:0", "probabilities:0"], {"x:0": x})
    assert (native_words == words).all()
    np.testing.assert_array_equal(native_scores, scores)  # the native segment is the original, bit for bit
    model = icebreaker.load(path, fallback=False)
    assert model.engines == {"TRTEngineOp_000": "openvino"} and not model.is_direct
    for result in (model(x), model(x=x), model({"x:0": x})):
        assert (result["label"] == words).all()
        np.testing.assert_allclose(result["probabilities:0"], scores, atol=1e-5)
    from_session = model.session.run("probabilities:0", {"x:0": x})
    np.testing.assert_allclose(from_session, scores, atol=1e-5)
    tensors = model.function(tf.constant(x))
    assert (tensors[0].numpy() == words).all()
    np.testing.assert_array_equal(tensors[1], from_session)


def test_the_artifact_holds_what_it_promises(converted: tuple[Path, Conversion]) -> None:
    path, _ = converted
    graph = graph_files.read_graph(path)
    (stored,) = artifact_reader.stored_engines(graph, path.parent)
    node = graph[stored.node]
    assert node.op == "PartitionedCall" and stored.node == "TRTEngineOp_000"
    assert stored.function in graph.functions
    assert stored.payload() and stored.precision == "fp32" and stored.version.startswith("openvino ")
    assert all(key.startswith("_") for key in node.attrs if "icebreaker" in key)
    assert artifact_reader.stored_outputs(graph) == (Tensor("label"), Tensor("probabilities"))
    slim = artifact_reader.without_payloads(graph.definition)
    assert slim.ByteSize() < graph.definition.ByteSize() - len(stored.payload()) + 1000


def test_a_damaged_payload_is_found_and_the_native_segment_takes_over(
    converted: tuple[Path, Conversion], tmp_path: Path
) -> None:
    path, _ = converted
    graph = graph_files.read_graph(path)
    payload = artifact_reader.stored_engines(graph, path.parent)[0].payload()
    assert isinstance(payload, bytes)
    damaged = tmp_path / "damaged.pb"
    damaged.write_bytes(path.read_bytes().replace(payload, payload[:-1] + bytes([payload[-1] ^ 1])))
    with pytest.warns(icebreaker.EngineWarning, match="damaged"):
        model = icebreaker.load(damaged)
    x = np.random.default_rng(0).random((2, 16, 16, 4), np.float32)
    np.testing.assert_array_equal(model(x)["probabilities"], plain(path, ["probabilities:0"], {"x:0": x})[0])
    with pytest.raises(IcebreakerError, match="damaged"):
        icebreaker.load(damaged, fallback=False)


def test_an_engine_of_types_that_nobody_knows_is_left_alone(converted: tuple[Path, Conversion], tmp_path: Path) -> None:
    path, _ = converted
    definition = graph_files.read_definition(path)
    node = next(item for item in definition.node if item.op == "PartitionedCall")
    node.attr["Tout"].list.type[0] = 12  # quint8
    odd = tmp_path / "odd.pb"
    odd.write_bytes(definition.SerializeToString())
    with pytest.warns(icebreaker.EngineWarning, match="quint8"):
        assert not icebreaker.load(odd).engines
    with pytest.raises(IcebreakerError, match=r"cannot be used here.*quint8"):
        icebreaker.load(odd, fallback=False)


def test_big_payloads_go_beside_the_graph(
    converted: tuple[Path, Conversion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = converted
    definition = graph_files.read_definition(path)
    monkeypatch.setattr(artifact_writer, "INLINE_BYTES", 1000)
    target = tmp_path / "split.pb"
    artifact_writer.write(definition, target)
    (side,) = tmp_path.glob("split.pb.*.engine")
    x = np.random.default_rng(0).random((2, 16, 16, 4), np.float32)
    expected = icebreaker.load(path, fallback=False)(x)["probabilities"]
    np.testing.assert_array_equal(icebreaker.load(target, fallback=False)(x)["probabilities"], expected)
    side.unlink()
    with pytest.raises(IcebreakerError, match="copy it along"):
        icebreaker.load(target, fallback=False)
    hostile = graph_files.read_definition(target)
    node = next(item for item in hostile.node if item.op == "PartitionedCall")
    node.attr["_icebreaker_file"].s = b"../../etc/passwd"
    target.write_bytes(hostile.SerializeToString())
    with pytest.raises(IcebreakerError, match="not beside the graph"):
        icebreaker.load(target)


def test_a_graph_that_is_one_segment_calls_its_engine_directly(tmp_path: Path) -> None:
    import tensorflow as tf

    weight = tf.constant(np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32))
    definition = freeze(
        lambda x: tf.nn.relu(tf.matmul(tf.nn.tanh(x), weight) + 1.0, name="y"),
        tf.TensorSpec((None, 6), tf.float32, "x"),
    )
    source, target = tmp_path / "whole.pb", tmp_path / "whole optimized.pb"
    source.write_bytes(definition.SerializeToString())
    report = convert(source, target, ConvertSettings.of(outputs=("y",), engine="onnxruntime"))
    assert report.coverage == 1
    model = icebreaker.load(target, fallback=False)
    assert model.is_direct
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    expected = plain(source, ["y:0"], {"x:0": x})[0]
    np.testing.assert_allclose(model(x)["y"], expected, atol=1e-5)
    np.testing.assert_allclose(model.session.run("y:0", {"x:0": x}), expected, atol=1e-5)
    with pytest.raises(IcebreakerError, match="no input of the graph"):
        model(z=x)
    with pytest.raises(IcebreakerError, match="no value given for the input 'x'"):
        model()


def test_a_second_port_keeps_its_name(tmp_path: Path) -> None:
    import tensorflow as tf

    def model(x: Any) -> Any:
        parts = tf.split(tf.nn.tanh(x * 2.0) + 1.0, 3, axis=1, name="parts")
        return [tf.math.digamma(part) for part in parts]

    source, target = tmp_path / "ports.pb", tmp_path / "out.pb"
    source.write_bytes(freeze(model, tf.TensorSpec((None, 6), tf.float32, "x")).SerializeToString())
    convert(source, target, ConvertSettings.of(outputs=("parts:1",), engine="onnxruntime"))
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    expected = plain(source, ["parts:1"], {"x:0": x})[0]
    np.testing.assert_allclose(plain(target, ["parts:1"], {"x:0": x})[0], expected, atol=1e-6)
    np.testing.assert_allclose(icebreaker.load(target, fallback=False)(x)["parts:1"], expected, atol=1e-6)


def test_users_choices_are_kept(sandwich: Path, tmp_path: Path) -> None:
    excluded = convert(
        sandwich,
        tmp_path / "a.pb",
        ConvertSettings.of(outputs=("probabilities",), engine="openvino", exclude=("b/conv",)),
    )
    reasons = {item.node: item.code for item in excluded.left_in_tensorflow}
    assert reasons["b/conv"] == "excluded"
    small = convert(
        sandwich,
        tmp_path / "b.pb",
        ConvertSettings.of(outputs=("probabilities",), engine="openvino", minimum_segment_size=50),
    )
    assert not small.segments and small.warnings
    assert {"too_small"} <= {item.code for item in small.left_in_tensorflow}
    assert not Graph(graph_files.read_definition(tmp_path / "b.pb")).functions  # nothing of ours is left in it
    cut = convert(
        sandwich,
        tmp_path / "c.pb",
        ConvertSettings.of(outputs=("probabilities",), inputs=("a/digamma",), engine="openvino"),
    )
    assert cut.coverage == 1
    assert [item.name for item in icebreaker.load(tmp_path / "c.pb").inputs] == ["a/digamma"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"outputs": ("probabilites",)}, "did you mean probabilities"),
        ({"outputs": ("probabilities:3",)}, "has 1 outputs"),
        ({"exclude": ("nowhere",)}, "not in the graph"),
        ({"engine": "tensorrt"}, "tensorrt"),
        ({"inputs": ("b/conv",), "outputs": ("a/digamma",)}, "needs? the input 'x'"),
    ],
)
def test_wrong_settings_end_in_one_line_and_no_file(sandwich: Path, tmp_path: Path, settings: Any, words: str) -> None:
    with pytest.raises(IcebreakerError, match=words):
        convert(sandwich, tmp_path / "out.pb", ConvertSettings.of(**settings))
    assert not list(tmp_path.iterdir())


def wrong_by(load: Any) -> Any:
    """An engine's `load` whose runners are off by a thousandth."""

    def load_wrong(self: Any, payload: bytes, precision: str) -> Any:
        run = load(self, payload, precision)
        return lambda inputs: [item * 1.001 for item in run(inputs)]

    return load_wrong


def test_a_wrong_engine_is_caught_by_the_check(sandwich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose results are off by a little more than it may: the segment must stay in TensorFlow."""
    from icebreaker.engine.onnxruntime import OnnxRuntime

    monkeypatch.setattr(OnnxRuntime, "load", wrong_by(OnnxRuntime.load))
    report = convert(
        sandwich, tmp_path / "out.pb", ConvertSettings.of(outputs=("probabilities",), engine="onnxruntime")
    )
    assert not report.segments
    left = {item.node: item for item in report.left_in_tensorflow}["b/conv"]
    assert left.code == "deviates" and "of the output's range" in str(left.reason)


def test_an_engine_that_fails_when_it_is_checked_says_why(
    sandwich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from icebreaker.engine.onnxruntime import OnnxRuntime

    load = OnnxRuntime.load

    def load_fragile(self: Any, payload: Any, precision: str) -> Any:
        run, calls = load(self, payload, precision), iter(range(100))

        def fragile(inputs: Any) -> Any:
            if next(calls):
                raise RuntimeError("native words")
            return run(inputs)

        return fragile

    monkeypatch.setattr(OnnxRuntime, "load", load_fragile)
    report = convert(
        sandwich, tmp_path / "out.pb", ConvertSettings.of(outputs=("probabilities",), engine="onnxruntime")
    )
    left = {item.node: item for item in report.left_in_tensorflow}["b/conv"]
    assert (left.code, str(left.reason)) == ("engine_refused", "onnxruntime: native words")


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_a_graph_that_computes_in_half_precision_is_held_to_what_that_rounds(tmp_path: Path, kind: str) -> None:
    import tensorflow as tf

    def computes(x: Any, weights: Any) -> Any:
        y = tf.nn.relu(tf.linalg.matmul(tf.cast(x, kind), tf.cast(weights, kind)))
        return tf.identity(tf.cast(tf.nn.softmax(y), tf.float32), name="y")

    definition = freeze(
        computes, tf.TensorSpec((4, 64), tf.float32, "x"), tf.TensorSpec((64, 32), tf.float32, "weights")
    )
    (tmp_path / "half.pb").write_bytes(definition.SerializeToString())
    settings = ConvertSettings.of(outputs=("y",), engine="openvino")
    report = convert(tmp_path / "half.pb", tmp_path / "out.pb", settings)
    (segment,) = report.segments
    assert segment.precision == "fp32"
    assert 1e-4 < segment.deviation < 8e-2, "it differs by more than FP32 may, and that is the original's rounding"


def test_weights_that_are_only_stored_in_half_precision_excuse_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from icebreaker.engine.onnxruntime import OnnxRuntime

    weights = np.random.default_rng(3).normal(size=(64, 32)).astype(np.float16)

    def computes(x: Any) -> Any:
        return tf.identity(tf.nn.relu(x @ tf.cast(tf.identity(tf.constant(weights)), tf.float32)), name="y")

    definition = freeze(computes, tf.TensorSpec((4, 64), tf.float32, "x"))
    (tmp_path / "stored.pb").write_bytes(definition.SerializeToString())
    monkeypatch.setattr(OnnxRuntime, "load", wrong_by(OnnxRuntime.load))
    report = convert(tmp_path / "stored.pb", tmp_path / "out.pb", ConvertSettings.of(engine="onnxruntime"))
    assert [node.op for node in graph_files.read_graph(tmp_path / "stored.pb") if node.op == "Cast"]
    assert not report.segments
    assert {"deviates"} == {item.code for item in report.left_in_tensorflow if item.op in ("Cast", "MatMul")}


def test_branches_of_a_v1_conditional_stay_apart(tmp_path: Path) -> None:
    """A segment must not mix a branch that is not taken with what always runs."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.compat.v1.disable_control_flow_v2()
        x = tf.compat.v1.placeholder(tf.float32, (None, 4), "x")
        flag = tf.compat.v1.placeholder(tf.bool, (), "flag")
        always = tf.nn.tanh(x * 3.0) + 1.0
        y = tf.compat.v1.cond(
            flag, lambda: tf.nn.relu(tf.exp(always) * 2.0) - 1.0, lambda: tf.sqrt(tf.abs(always) + 2.0) * 3.0
        )
        tf.identity(tf.nn.softmax(y * always + 1.0), name="y")
        tf.compat.v1.enable_control_flow_v2()
    assert any(node.op == "Switch" for node in graph.as_graph_def().node)
    source, target = tmp_path / "cond.pb", tmp_path / "out.pb"
    source.write_bytes(graph.as_graph_def().SerializeToString())
    convert(source, target, ConvertSettings.of(outputs=("y",), engine="onnxruntime", minimum_segment_size=1))
    value = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    model = icebreaker.load(target, fallback=False)
    for flag_value in (True, False):
        feeds = {"x:0": value, "flag:0": flag_value}
        expected = plain(source, ["y:0"], feeds)[0]
        np.testing.assert_allclose(plain(target, ["y:0"], feeds)[0], expected, atol=1e-6)
        np.testing.assert_allclose(model(feeds)["y"], expected, atol=1e-5)


def test_many_outputs_nested_functions_a_and_a_v1_loop_under_a_path_in_any_script(tmp_path: Path) -> None:
    import tensorflow as tf

    @tf.function
    def inner(x: Any) -> Any:
        return tf.nn.relu(x * 2.0) + 1.0

    @tf.function
    def outer(x: Any) -> Any:
        return inner(x) * inner(x - 1.0)

    with tf.Graph().as_default() as graph:
        tf.compat.v1.disable_control_flow_v2()
        try:
            x = tf.compat.v1.placeholder(tf.float32, (None, 8), "in")
            looped = tf.compat.v1.while_loop(
                lambda i, _: i < 3, lambda i, y: (i + 1, tf.nn.tanh(y) + 0.1), [tf.constant(0), x], name="loop"
            )[1]
        finally:
            tf.compat.v1.enable_control_flow_v2()
        called = tf.identity(outer(looped), name="calls")
        names = [tf.nn.relu(called - float(i) / 100, name="o" * 150 + f"/{i}").op.name for i in range(500)]
    definition = graph.as_graph_def()
    assert any(node.op == "Enter" for node in definition.node) and len(definition.library.function) > 1
    folder = tmp_path / "머신 러닝 ☃ folder"
    folder.mkdir()
    source, target = folder / "그래프 1.pb", folder / "빠른 그래프.pb"
    source.write_bytes(definition.SerializeToString())
    settings = ConvertSettings.of(outputs=tuple(names), engine="onnxruntime", minimum_segment_size=1)
    report = convert(source, target, settings)
    assert sum(len(item.outputs) for item in report.segments) >= 500
    values = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    wanted = plain(source, [f"{name}:0" for name in names], {"in:0": values})
    for got in (
        plain(target, [f"{name}:0" for name in names], {"in:0": values}),
        list(icebreaker.load(target, fallback=False)(**{"in": values}).values()),
    ):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
