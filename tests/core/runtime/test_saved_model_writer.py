"""What comes out as a SavedModel: plain TensorFlow takes it in a process that cannot import Icebreaker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from helpers.plain_tensorflow import answers
from icebreaker.benchmarking import compare
from icebreaker.conversion import pipeline
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.formats.saved_model.signatures import SignatureTensor
from icebreaker.runtime import artifact_writer
from icebreaker.runtime.saved_model_writer import signature_keys
from icebreaker.settings import Consent, ConvertSettings

SETTINGS = ConvertSettings.of(engine="openvino", minimum_segment_size=2)


def weights(seed: int, *shape: int) -> Any:
    import tensorflow as tf

    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32) / 4)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).random((count, 12, 12, 3), np.float32)


def test_a_frozen_graph_becomes_a_saved_model(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 12, 12, 3], name="class/image-in")
        scale = v1.placeholder(tf.float32, [], name="scale")
        spare = v1.placeholder_with_default(2.0, [], name="spare")
        first = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, weights(0, 3, 3, 3, 8), 1, "SAME"), weights(1, 8)))
        second = tf.nn.relu(tf.nn.conv2d(tf.math.lgamma(first + 1.0), weights(2, 3, 3, 8, 8), 2, "SAME"))
        scores = tf.linalg.matmul(tf.reduce_mean(second, [1, 2]), weights(3, 8, 6)) * scale * spare
        tf.split(scores, 2, axis=1, name="9split")
    (tmp_path / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    feeds = {"class/image-in": images(3), "scale": np.float32(2)}
    with v1.Session(graph=graph) as session:
        wanted = session.run(["9split:0", "9split:1"], {f"{name}:0": value for name, value in feeds.items()})
    folder = tmp_path / "made"
    settings = SETTINGS.changed(outputs=("9split", "9split:1"))
    made = pipeline.convert(tmp_path / "model.pb", folder, settings, form="saved_model")
    assert len(made.segments) == 2

    (found,), shown = answers([folder], {"serving_default": {"class_image_in": images(3), "scale": np.float32(2)}})
    for loader in ("v1", "v2", "cli"):
        outputs = found[loader]["serving_default"]
        np.testing.assert_allclose(outputs["_9split"], wanted[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(outputs["_9split_1"], wanted[1], rtol=1e-5, atol=1e-6)
    assert "Method name is: tensorflow/serving/predict" in shown and "shape: (-1, 12, 12, 3)" in shown

    model = icebreaker.load(folder, fallback=False)
    assert len(model.engines) == 2
    for output, value in zip(("9split", "9split:1"), wanted, strict=True):
        np.testing.assert_allclose(model(feeds)[output], value, rtol=1e-4, atol=1e-5)
    inspected = graph_files.inspect(folder)
    assert inspected.engines == {"openvino": True} and inspected.inputs[0].name == "class/image-in"
    assert compare.compare(str(tmp_path / "model.pb"), str(folder), settings).outputs["9split"].max_abs < 1e-4


def test_engines_lie_beside_it_where_it_would_get_too_big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8], name="x")
        tf.nn.relu(tf.linalg.matmul(tf.nn.relu(tf.linalg.matmul(x, weights(0, 8, 8))), weights(1, 8, 4)), name="y")
    (tmp_path / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    monkeypatch.setattr("icebreaker.runtime.saved_model_writer.INLINE_BYTES", 100)
    pipeline.convert(tmp_path / "model.pb", tmp_path / "made", SETTINGS, form="saved_model")
    sides = list((tmp_path / "made").glob("saved_model.pb.TRTEngineOp_000.*.engine"))
    assert len(sides) == 1 and not list(tmp_path.glob("*.engine"))
    (tmp_path / "made").rename(tmp_path / "moved")
    model = icebreaker.load(tmp_path / "moved", fallback=False)
    assert model(x=np.ones((2, 8), np.float32))["y"].shape == (2, 4)
    with pytest.raises(IcebreakerError, match="side files of its engines would stay behind"):
        pipeline.convert(tmp_path / "moved", tmp_path / "again.pb", SETTINGS)
    (tmp_path / "moved" / sides[0].name).write_bytes(b"something else")
    with pytest.raises(IcebreakerError, match="damaged"):
        icebreaker.load(tmp_path / "moved", fallback=False)


def test_names_become_arguments_that_python_takes() -> None:
    names = ["x", "p:0", "class id", "class_id", "_score", "class", "9", "größe"]
    x = SignatureTensor("class_id", "x", "float32", None)
    found = signature_keys(names, [x, replace(x, key="the same"), replace(x, key="gone", tensor="gone")])
    assert set(found.values()) == set(names) and len(found) == len(names) + 1 and found["the same"] == "x"
    assert all(key.isidentifier() for key in found if key != "the same")
    keys = {name: key for key, name in found.items() if key != "the same"}
    assert (keys["x"], keys["p:0"], keys["class id"], keys["_score"]) == ("class_id", "p_0", "class_id_2", "_score")


def test_a_graph_beyond_protobufs_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icebreaker.graph.external_weights.MOST_BYTES", 1000)
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.nn.relu(tf.compat.v1.placeholder(tf.float32, [4], name="x") + weights(0, 1000, 4), name="y")
    from icebreaker.runtime import saved_model_writer

    with pytest.raises(IcebreakerError, match=r"2 GB: .* or write a graph"):
        saved_model_writer.write(graph.as_graph_def(), tmp_path / "made")
    assert not list(tmp_path.iterdir()) and artifact_writer.INLINE_BYTES > 1000


READS = Consent(side_effects=True)  # a file of words
WORDS = ["ice", "water", "steam", "snow"]


def two_signatures(folder: Path) -> None:
    """A SavedModel that looks words up in a file, and has a second signature with the same weights."""
    import tensorflow as tf

    (folder.parent / "words.txt").write_text("\n".join(WORDS))
    net: Any = tf.Module()
    source = tf.lookup.TextFileInitializer(
        str(folder.parent / "words.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
    )  # fmt: skip
    net.table = tf.lookup.StaticHashTable(source, -1)
    net.embedding = tf.Variable(weights(0, len(WORDS) + 1, 8))
    net.first, net.second = tf.Variable(weights(1, 8, 8)), tf.Variable(weights(2, 8, 4))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def classify(words: Any) -> Any:
        ids = net.table.lookup(words) + 1
        hidden = tf.nn.relu(tf.matmul(tf.gather(net.embedding, ids), net.first))
        return {"ids": ids, "class scores": tf.nn.softmax(tf.matmul(hidden, net.second))}

    @tf.function(input_signature=[tf.TensorSpec([None, 8], name="x"), tf.TensorSpec([], name="scale")])
    def encode(x: Any, scale: Any) -> Any:
        return {"code": tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, net.first)), net.first)) * scale}

    tf.saved_model.save(net, str(folder), signatures={"serving_default": classify, "encode": encode})
    (folder.parent / "words.txt").unlink()


def test_two_signatures_and_a_vocabulary_come_out_as_they_went_in(tmp_path: Path) -> None:
    two_signatures(tmp_path / "in")
    x = np.random.default_rng(3).random((3, 8), np.float32)
    feeds = {
        "serving_default": {"words": np.array(["snow", "ice", "lava"], object)},
        "encode": {"x": x, "scale": np.float32(3)},
    }
    for signature, name in (("serving_default", "out"), ("encode", "other")):
        settings = SETTINGS.changed(signature=signature)
        made = pipeline.convert(tmp_path / "in", tmp_path / name, settings, READS, form="saved_model")
        assert made.segments, made.left_in_tensorflow
    # What came out goes in again, by its other signature.
    settings = SETTINGS.changed(signature="encode")
    assert pipeline.convert(tmp_path / "out", tmp_path / "again", settings, form="saved_model").segments
    (tmp_path / "in").rename(tmp_path / "gone")
    names = ("gone", "out", "other", "again")
    (original, *results), shown = answers([tmp_path / name for name in names], feeds)
    wanted = original["v2"]
    for found in results:
        for loader in ("v1", "v2", "cli"):
            for signature, outputs in wanted.items():
                for key, value in outputs.items():
                    np.testing.assert_allclose(found[loader][signature][key], value, rtol=1e-5, atol=1e-6)
    assert shown.count("signature_def['encode']") == shown.count("signature_def['serving_default']") == len(names)
    assert (tmp_path / "other" / "assets" / "words.txt").read_text().split() == WORDS

    other = icebreaker.load(tmp_path / "other", fallback=False, allow_side_effects=True)
    assert set(other.outputs) == {"code"}  # what was converted
    model = icebreaker.load(tmp_path / "out", fallback=False)  # what reads the file of words went with its signature
    assert not (tmp_path / "out" / "assets").exists() and (tmp_path / "out" / "variables").is_dir()
    assert model.engines and set(model.outputs) == {"ids", "class_scores"}  # as a node can be called
    found = model(words=["snow", "ice", "lava"])
    assert found["ids"].tolist() == [4, 1, 0]
    np.testing.assert_allclose(found["class_scores"], wanted["serving_default"]["class scores"], rtol=1e-4)
