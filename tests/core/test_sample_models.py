"""The samples are real graphs: they classify, they differ by input, they hold nothing of their training."""

import json
from pathlib import Path

import numpy as np
import pytest

from icebreaker import sample_models
from icebreaker.errors import IcebreakerError
from icebreaker.formats.graph_files import read_graph

TRAINING = {"VariableV2", "VarHandleOp", "ReadVariableOp", "AssignVariableOp", "SaveV2", "RestoreV2", "Assert"}


def session_of(path: Path):
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    return tf.compat.v1.Session(graph=graph)


def shipped(path: Path | None) -> Path:
    assert path is not None
    return path


def held_back() -> tuple[np.ndarray, np.ndarray]:
    with np.load(shipped(sample_models.sample_data("digits"))) as data:  # allow_pickle stays off
        return data["image_bytes"], data["label"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "digits.pb"
    sample_models.write_sample("digits", path)
    return path


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "resnet50.pb"
    sample_models.write_sample("resnet50", path)
    return path


def test_digits_tells_the_story_of_decode_network_and_labels(digits):
    graph = read_graph(digits)
    assert [(item.name, item.dtype, item.shape) for item in graph.placeholders] == [("image_bytes", "string", (None,))]
    assert set(graph.candidate_outputs) == {"label", "probabilities"}
    assert graph.has_control_flow  # the loop that decodes: it stays in TensorFlow
    assert any(node.op == "DecodePng" for function in graph.definition.library.function for node in function.node_def)
    assert graph.op_counts["Conv2D"] == 16 and graph["label"].op == "GatherV2"
    assert not TRAINING & set(graph.op_counts)


def test_digits_ships_small():
    folder = shipped(sample_models.sample_path("digits")).parent
    assert sum(path.stat().st_size for path in folder.glob("digits*")) < 3e6


def test_digits_reaches_the_recorded_accuracy_on_the_test_split(digits):
    record = json.loads(shipped(sample_models.sample_path("digits")).with_suffix(".json").read_text())
    images, truth = held_back()
    with session_of(digits) as session:
        found, probabilities = session.run(["label:0", "probabilities:0"], {"image_bytes:0": images})
    assert len(images) == record["test_images"] == 360
    # One image may tip over on a processor that rounds differently.
    assert abs(np.mean(found == truth) - record["test_accuracy"]) <= 1 / 360
    assert record["test_accuracy"] > 0.97
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_digits_reads_pictures_of_any_size_and_colour(digits):
    import tensorflow as tf

    small, truth = (column[:40] for column in held_back())
    pixels = [tf.image.resize(tf.io.decode_png(png, channels=3), (30 + i, 50)) for i, png in enumerate(small)]
    large = np.array([tf.io.encode_png(tf.cast(item, tf.uint8)).numpy() for item in pixels])
    with session_of(digits) as session:
        found = session.run("label:0", {"image_bytes:0": large})
        alone = session.run("label:0", {"image_bytes:0": large[:1]})
    assert np.mean(found == truth) > 0.9
    assert alone[0] == found[0]


def test_resnet50_is_the_classic_network(resnet50):
    graph = read_graph(resnet50)
    shapes = [(item.name, item.dtype, item.shape) for item in graph.placeholders]
    assert shapes == [("input", "float32", (None, 224, 224, 3))]
    assert graph.candidate_outputs == ("probabilities",)
    assert graph.op_counts["Conv2D"] == 53 and not graph.has_control_flow
    assert not TRAINING & set(graph.op_counts)
    assert 100e6 < resnet50.stat().st_size < 110e6


def test_resnet50_tells_images_apart(resnet50):
    images = np.random.default_rng(1).normal(size=(3, 224, 224, 3)).astype(np.float32)
    with session_of(resnet50) as session:
        result = session.run("probabilities:0", {"input:0": images})
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-4)
    spread = np.abs(result[0] - result[1]).max() / result.max()
    assert spread > 0.1 and result.max() < 0.5  # neither the same for all, nor one class that drowns the rest


def test_what_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(IcebreakerError, match="'mnist' is unknown: choose digits or resnet50"):
        sample_models.write_sample("mnist", tmp_path / "x.pb")
    with pytest.raises(IcebreakerError, match="could not be written"):
        sample_models.write_sample("digits", tmp_path / "absent" / "x.pb")
    assert not list(tmp_path.iterdir())
