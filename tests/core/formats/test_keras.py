"""Files of Keras 2, which Keras 3 cannot read, and what is said of those that nobody can."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

X = np.linspace(-1, 1, 36, dtype=np.float32).reshape(2, 6, 3)


def answer(graph: Graph, value: Any) -> np.ndarray:
    (entry,) = [item for item in graph.placeholders if not item.optional]
    (output,) = graph.candidate_outputs
    return GraphSession(graph.definition).run([Tensor.parse(output)], {entry.name: value})[0]


def _is_refused(path: Path, code: str, words: str) -> None:
    with pytest.raises(IcebreakerError, match=words) as caught:
        graph_files.read_graph(path)
    assert caught.value.message.code == code and "\n" not in str(caught.value)


def test_files_of_keras_2(tmp_path: Path) -> None:
    import tf_keras as old

    layers = old.layers
    inner = old.Sequential([layers.Dense(4, input_shape=(3,)), layers.ReLU()])
    models = {
        "lstm.h5": [layers.LSTM(4), layers.Dense(2)],
        "gru.h5": [layers.Bidirectional(layers.GRU(4)), layers.Dense(2, "softmax")],
        "nested.h5": [layers.TimeDistributed(inner), layers.Flatten()],
        "zip.keras": [layers.Conv1D(4, 3), layers.BatchNormalization(), layers.SpatialDropout1D(0.1), layers.Flatten()],
    }
    model = None
    for name, parts in models.items():
        model = old.Sequential([old.Input((6, 3)), *parts])
        model.save(tmp_path / name)
        np.testing.assert_allclose(
            answer(graph_files.read_graph(tmp_path / name), X), model(X).numpy(), rtol=1e-4, atol=1e-6
        )
    shutil.copyfile(tmp_path / "lstm.h5", tmp_path / "named.keras")
    assert answer(graph_files.read_graph(tmp_path / "named.keras"), X).shape == (2, 2)
    assert model is not None
    model.save_weights(tmp_path / "only.h5")
    _is_refused(tmp_path / "only.h5", "keras_weights_only", "the weights of a model, but not the model")


def test_what_keras_2_must_not_load(tmp_path: Path) -> None:
    """Each would run code or read a file of the user's as it is loaded."""
    import h5py

    def layer(name: str, **config: Any) -> dict[str, Any]:
        return {"class_name": name, "config": config}

    for number, (part, code, words) in enumerate((
        (layer("Lambda"), "keras_lambda", "has a Lambda layer"),
        (layer("Mine"), "keras_class_unknown", "the custom object 'Mine'"),
        (layer("TFOpLambda", function="io.gfile.remove"), "keras_class_unknown", "the custom object 'io.gfile.remove'"),
        (layer("TFOpLambda", function="py_function"), "keras_class_unknown", "the custom object 'py_function'"),
        (layer("StringLookup", vocabulary="/etc/passwd"), "keras_reads_file", "a StringLookup that reads a file"),
        (
            layer("Dense", activation={"class_name": "function", "config": "get_file", "module": "keras.utils"}),
            "keras_class_unknown", "the custom object 'get_file'",
        ),
    )):  # fmt: skip
        path = tmp_path / f"{number}.h5"
        config = {"class_name": "Sequential", "config": {"layers": [layer("ReLU", made_by_keras=1), part]}}
        with h5py.File(path, "w") as file:
            file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), "2.10.0"
        _is_refused(path, code, words)
    path = tmp_path / "elsewhere.h5"
    with h5py.File(path, "w") as file:
        config = {"class_name": "Sequential", "config": {"layers": [layer("ReLU", made_by_keras=1)]}}
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), "2.10.0"
        file["model_weights"] = h5py.ExternalLink("/etc/passwd", "/")
    _is_refused(path, "keras_reads_other_file", "takes 'model_weights' from elsewhere")


def test_weights_alone_in_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "only.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    _is_refused(tmp_path / "only.keras", "keras_weights_only", "but not the model")


def test_vocabularies_of_keras_3(tmp_path: Path) -> None:
    import keras

    words = keras.layers.TextVectorization(max_tokens=50, output_sequence_length=6)
    words.adapt(["the cat sat", "on the mat"])
    x = keras.Input((1,), dtype="string")
    y = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 8)(words(x)))
    model = keras.Model(x, keras.layers.Dense(2, "softmax", name="label")(y))
    model.save(tmp_path / "words.keras")
    text = np.array([["the cat"], ["a mat"]], object)
    graph = graph_files.read_graph(tmp_path / "words.keras")
    assert graph.candidate_outputs == ("label",)
    np.testing.assert_allclose(answer(graph, text), model(np.array(text, str)).numpy(), rtol=1e-5)
