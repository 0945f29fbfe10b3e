"""Reading graphs: every form, and every way to be no graph."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from google.protobuf import text_format

from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph.protos import GraphDef


def small() -> GraphDef:
    """A placeholder, a constant, their sum."""
    definition = GraphDef()
    definition.versions.producer = 1800
    x = definition.node.add(name="x", op="Placeholder")
    x.attr["dtype"].type = 1
    x.attr["shape"].shape.dim.add(size=-1)
    c = definition.node.add(name="c", op="Const")
    c.attr["dtype"].type = 1
    c.attr["value"].tensor.dtype = 1
    c.attr["value"].tensor.float_val.append(2.0)
    y = definition.node.add(name="y", op="AddV2", input=["x", "c"])
    y.attr["T"].type = 1
    return definition


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["binary", "text"])
def test_every_form_gives_the_same_graph(tmp_path: Path, form: str, packed: bool) -> None:
    data = small().SerializeToString() if form == "binary" else text_format.MessageToString(small()).encode()
    path = tmp_path / "any name at all ☃"  # told apart by content, not by suffix
    path.write_bytes(gzip.compress(data) if packed else data)
    found = graph_files.inspect(path).to_json()
    assert found == {
        "nodes": 3,
        "ops": {"AddV2": 1, "Const": 1, "Placeholder": 1},
        "inputs": ({"name": "x", "dtype": "float32", "shape": (None,)},),
        "outputs": ("y",),
        "control_flow": False,
        "bytes": 4,
        "flops": 1,
        "flops_unknown": 0,
        "parameters": 0,
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello, I am no graph at all", "holds no graph"),
        (b"node { name: 3 }", "1:14 : "),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\x1f\x8b\x08truncated", "damaged gzip"),
        (small().SerializeToString()[:-9], "damaged or cut short"),
        (b"\xff\xfe\x00\x01" * 40, "damaged or cut short"),
        (b"\x22\x03\x08\x80\x0e", "empty graph"),
    ],
)
def test_what_is_no_graph_is_told_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.pb"
    path.write_bytes(content)
    with pytest.raises(IcebreakerError) as caught:
        graph_files.read_graph(path)
    text = str(caught.value)
    assert words in text and "\n" not in text and str(path) in text


def test_a_missing_file_and_a_plain_folder(tmp_path: Path) -> None:
    with pytest.raises(IcebreakerError, match="does not exist"):
        graph_files.read_graph(tmp_path / "none.pb")
    with pytest.raises(IcebreakerError, match=r"folder without a saved_model\.pb"):
        graph_files.read_graph(tmp_path)


@pytest.mark.slow
def test_keras_and_saved_model_are_frozen_on_the_way_in(tmp_path: Path) -> None:
    import keras
    import numpy as np
    import tensorflow as tf

    from icebreaker.tensors import Tensor
    from icebreaker.tf.session import GraphSession

    model = keras.Sequential([keras.Input((4,), name="numbers"), keras.layers.Dense(3, name="dense")])
    value = np.arange(8, dtype=np.float32).reshape(2, 4)
    expected = model(value).numpy()
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    model.export(tmp_path / "saved", verbose=False)
    for name in ("model.keras", "model.h5", "saved"):
        path = tmp_path / name
        assert graph_files.needs_worker(path)
        frozen = tmp_path / f"{name}.frozen.pb"
        report = graph_files.inspect(path, frozen=str(frozen))
        assert report.frozen_path == str(frozen)
        graph = graph_files.read_graph(frozen)
        assert not any(node.op == "ReadVariableOp" for node in graph)
        (entry,) = [item for item in graph.placeholders if not item.optional]
        assert entry.shape == (None, 4)
        (output,) = graph.candidate_outputs
        (result,) = GraphSession(graph.definition).run([Tensor.parse(output)], {entry.name: value})
        np.testing.assert_allclose(result, expected, rtol=1e-5)
    tf.keras.backend.clear_session()


@pytest.mark.slow
def test_keras_files_with_code_in_them_are_refused(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda value: value * 2)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(IcebreakerError, match="Lambda"):
        graph_files.read_graph(tmp_path / "lambda.keras")
