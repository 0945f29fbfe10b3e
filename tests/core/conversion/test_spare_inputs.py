"""Inputs that the outputs do not need stay in the optimized graph: a program that feeds them runs on it as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker.conversion.pipeline import convert
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.settings import ConvertSettings

FEEDS = {
    "x": np.ones((2, 8), np.float32), "labels": np.array([1, 2]), "keep_prob": np.float32(0.5),
    "is_training": np.array(False), "names": np.array([b"a", b"b"], object),
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph as it was frozen after training: the loss, dropout's probability and a switch are still in it."""
    import tensorflow as tf

    tf1, random = tf.compat.v1, np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 8], "x")
        labels = tf1.placeholder(tf.int64, [None], "labels")
        keep = tf1.placeholder_with_default(tf.sqrt(tf.constant(1.0)), [], "keep_prob")
        training = tf1.placeholder(tf.bool, [], "is_training")
        tf1.placeholder(tf.string, [None], "names")
        hidden = tf.nn.relu(tf.matmul(x, tf.constant(random.normal(size=(8, 16)).astype(np.float32))))
        scores = tf.matmul(hidden, tf.constant(random.normal(size=(16, 4)).astype(np.float32)))
        tf.nn.softmax(scores * 2.0, name="o")
        losses = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
        tf.where(training, tf.reduce_mean(losses) * keep, 0.0, name="loss")
    path = tmp_path_factory.mktemp("trained") / "trained.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


@pytest.fixture(scope="module", params=["one engine", "with TensorFlow"])
def optimized(trained: Path, request: pytest.FixtureRequest) -> Path:
    path = trained.with_name(f"{request.param}.pb")
    exclude = ("o",) if request.param == "with TensorFlow" else ()
    report = convert(trained, path, ConvertSettings.of(outputs=("o",), engine="openvino", exclude=exclude))
    assert report.segments
    assert {item.node for item in report.left_in_tensorflow}.isdisjoint(FEEDS.keys() - {"x"}), "it tells of what is run"
    return path


def test_a_session_may_feed_them(trained: Path, optimized: Path) -> None:
    feeds = {f"{name}:0": value for name, value in FEEDS.items()}
    want, have = (icebreaker.load(path).session.run("o:0", feeds) for path in (trained, optimized))
    np.testing.assert_allclose(have, want, rtol=1e-4)


def test_plain_tensorflow_may_feed_them(optimized: Path) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        definition = tf.compat.v1.GraphDef.FromString(optimized.read_bytes())
        tf.import_graph_def(definition, name="")
    assert not any(graph.get_tensor_by_name(f"{name}:0").consumers() for name in FEEDS.keys() - {"x"})
    with tf.compat.v1.Session(graph=graph) as session:
        assert session.run("o:0", {f"{name}:0": value for name, value in FEEDS.items()}).shape == (2, 4)


def test_a_call_takes_them_by_name_and_does_not_ask_for_them(optimized: Path) -> None:
    model = icebreaker.load(optimized)
    assert [item.name for item in model.inputs] == ["x"]
    want = model(FEEDS["x"])["o"]
    np.testing.assert_array_equal(model(FEEDS)["o"], want)
    np.testing.assert_array_equal(model(x=FEEDS["x"], labels=FEEDS["labels"])["o"], want)
    with pytest.raises(IcebreakerError, match="is no input"):
        model(x=FEEDS["x"], colour=1)
    with pytest.raises(IcebreakerError, match="no value given for the input 'x'"):
        model(labels=FEEDS["labels"])


def test_they_are_told_of_and_outlast_another_conversion(trained: Path, optimized: Path) -> None:
    for path in (trained, optimized):
        assert {item.name for item in graph_files.read_graph(path, False).placeholders} == FEEDS.keys()
    assert graph_files.read_graph(optimized, False).candidate_outputs == ("o",)
    again = optimized.with_suffix(".again.pb")
    convert(optimized, again, ConvertSettings.of(engine="openvino"))
    assert {item.name for item in graph_files.read_graph(again, False).placeholders} == FEEDS.keys()


def test_inputs_that_were_named_are_all_there_are(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "named.pb"
    settings = ConvertSettings.of(outputs=("o",), engine="openvino", inputs=("x", "labels"))
    convert(trained, path, settings)
    assert {item.name for item in graph_files.read_graph(path, False).placeholders} == {"x", "labels"}


def test_tf_trts_call_keeps_them(trained: Path) -> None:
    import tensorflow as tf

    definition: Any = tf.compat.v1.GraphDef.FromString(trained.read_bytes())
    made = icebreaker.create_inference_graph(definition, ["o"], minimum_segment_size=3)
    assert {node.name for node in made.node if node.op == "Placeholder"} == FEEDS.keys()


def test_a_saved_models_signature_keeps_its_inputs(tmp_path: Path) -> None:
    import tensorflow as tf

    module: Any = tf.Module()
    module.weight = tf.Variable(np.ones((8, 4), np.float32))
    module.call = tf.function(lambda x, labels: {"o": tf.nn.relu(x @ module.weight)})
    specs = tf.TensorSpec([None, 8], tf.float32, "x"), tf.TensorSpec([None], tf.int64, "labels")
    tf.saved_model.save(module, str(tmp_path), signatures=module.call.get_concrete_function(*specs))
    assert {item.name for item in graph_files.read_graph(tmp_path, False).placeholders} == {"x", "labels"}
