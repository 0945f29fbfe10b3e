"""SavedModels as people have them: read through their signatures, without running anything of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def run(graph: Graph, feeds: Mapping[str, Any], *outputs: str) -> list[np.ndarray]:
    return GraphSession(graph.definition).run([Tensor.parse(name) for name in outputs], feeds)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A SavedModel with the signatures `encode` and `decode`, an optimizer's slots, and its weight."""
    import tensorflow as tf

    model: Any = tf.Module()
    model.w = tf.Variable(tf.random.stateless_normal([4, 4], [1, 2]))
    model.opt = tf.compat.v1.train.AdamOptimizer()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.ones([1, 4]) @ model.w)
    model.opt.apply_gradients([(tape.gradient(loss, model.w), model.w)])
    spec = tf.TensorSpec([None, 4], name="x")
    encode = tf.function(lambda x: {"code": tf.nn.relu(x @ model.w)}, [spec])
    decode = tf.function(lambda x: {"class id": tf.tanh(x @ model.w), "_score": x, "x": x + 1}, [spec])
    folder = tmp_path_factory.mktemp("two") / "model"
    tf.saved_model.save(
        model, str(folder), {"encode": encode.get_concrete_function(), "decode": decode.get_concrete_function()}
    )
    return folder, model.w.numpy()


def test_a_signature_is_taken_and_the_others_are_named(two: tuple[Path, np.ndarray]) -> None:
    folder, weight = two
    graph, frozen = graph_files.read_model(folder, signature="encode")
    assert frozen is not None and (frozen.signature.name, frozen.others) == ("encode", ("decode",))
    np.testing.assert_allclose(run(graph, {"x": X}, "code")[0], np.maximum(X @ weight, 0), rtol=1e-5)
    told = graph_files.inspect(folder).to_json()
    assert (told["signature"], told["other_signatures"]) == ("decode", ("encode",))
    with pytest.raises(IcebreakerError, match="no signature 'other': choose decode, encode"):
        graph_files.read_graph(folder, signature="other")


def test_keys_that_no_node_can_bear(two: tuple[Path, np.ndarray]) -> None:
    folder, weight = two
    graph, frozen = graph_files.read_model(folder, signature="decode")
    assert frozen is not None
    names = {item.key: item.tensor for item in frozen.signature.outputs}
    assert names["class id"] == "class_id" and names["_score"] == "score"
    found = run(graph, {"x": X}, names["class id"], names["_score"], names["x"])
    for value, want in zip(found, (np.tanh(X @ weight), X, X + 1), strict=True):
        np.testing.assert_allclose(value, want, rtol=1e-5)


def test_text_form_and_version_folders(two: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder, weight = two
    for version in ("2", "10"):
        shutil.copytree(folder, tmp_path / "served" / version)
    file = tmp_path / "served" / "10" / "saved_model.pb"
    file.with_suffix(".pbtxt").write_text(text_format.MessageToString(SavedModel.FromString(file.read_bytes())))
    file.unlink()
    for path in (tmp_path / "served", file.parent, file.with_suffix(".pbtxt")):
        assert graph_files.needs_worker(path)
        graph, frozen = graph_files.read_model(path, signature="encode")
        assert frozen is not None and frozen.folder == str(file.parent)
        np.testing.assert_allclose(run(graph, {"x": X}, "code")[0], np.maximum(X @ weight, 0), rtol=1e-5)
    file.with_suffix(".pbtxt").write_text("meta_graphs { what }")
    with pytest.raises(IcebreakerError, match="is no SavedModel, or is damaged"):
        graph_files.read_graph(tmp_path / "served")


def test_a_traced_call_without_a_signature(tmp_path: Path) -> None:
    import tensorflow as tf

    class Layer(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(tf.random.stateless_normal([4, 3], [1, 3]))
            self.b = tf.Variable([1.0, 2.0, 3.0])

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Layer()

        @tf.function
        def __call__(self, x: Any, training: bool = False) -> Any:
            return tf.nn.relu(x @ self.layer.w + self.layer.b), x * (3.0 if training else 2.0)

    model = Model()
    for training in (True, False):
        traced: Any = model.__call__
        traced.get_concrete_function(tf.TensorSpec([None, 4], name="x"), training)
    tf.saved_model.save(model, str(tmp_path / "model"))
    graph, frozen = graph_files.read_model(tmp_path / "model")
    assert frozen is not None and frozen.signature.name == "__call__"
    (entry,) = frozen.signature.inputs
    assert entry.shape == (None, 4)
    found = run(graph, {entry.tensor: X}, *(item.tensor for item in frozen.signature.outputs))
    for value, want in zip(found, model(tf.constant(X)), strict=True):
        np.testing.assert_allclose(value, want.numpy(), rtol=1e-5)


def _save_v1(folder: Path, build: Any, **more: Any) -> dict[str, np.ndarray]:
    """Exports as TensorFlow 1 did; `build` gives inputs and outputs. Returns what the graph gives for `X`."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        inputs, outputs = build(v1)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        v1.saved_model.simple_save(session, str(folder), inputs, outputs, **more)
        return session.run(outputs, dict.fromkeys(inputs.values(), X))


def test_exports_of_tensorflow_1(tmp_path: Path) -> None:
    def build(v1: Any) -> Any:
        import tensorflow as tf

        v1.disable_resource_variables()
        x = v1.placeholder(tf.float32, (None, 4), "x")
        with v1.variable_scope("net", partitioner=v1.fixed_size_partitioner(2)):
            w = v1.get_variable("w", (4, 6), initializer=v1.random_normal_initializer(seed=3))
        b = v1.get_variable("b", (6,), initializer=v1.ones_initializer(), use_resource=True)
        logits = tf.identity(x @ tf.convert_to_tensor(w) + b, "logits")
        return {"rows": x}, {"logits": logits, "same": logits, "p": tf.nn.softmax(logits, name="p")}

    want = _save_v1(tmp_path / "v1", build)
    graph, frozen = graph_files.read_model(tmp_path / "v1")
    assert frozen is not None and {item.key for item in frozen.signature.outputs} == set(want)
    assert set(graph.candidate_outputs) == {"logits", "same", "p"}  # also what another output is made of
    for name, value in zip(want, run(graph, {"rows": X}, *want), strict=True):
        np.testing.assert_allclose(value, want[name], rtol=1e-5)


def test_state_that_changes_is_refused_in_one_line(tmp_path: Path) -> None:
    import tensorflow as tf

    class Counter(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([], name="by")])
        def count_up(self, by: Any) -> Any:
            return {"count": self.count.assign_add(by)}

        @tf.function(input_signature=[])
        def ask(self) -> Any:
            return {"count": self.count + 0.0}

    model = Counter()
    tf.saved_model.save(model, str(tmp_path / "state"), {"ask": model.ask, "count_up": model.count_up})
    with pytest.raises(IcebreakerError, match="which its signature 'count_up' changes") as caught:
        graph_files.read_graph(tmp_path / "state")
    assert caught.value.message.code == "signature_changes_state"
    with pytest.raises(IcebreakerError, match="keeps state that cannot be frozen") as caught:
        graph_files.read_graph(tmp_path / "state", signature="count_up")
    assert caught.value.message.code == "keeps_state"
    assert run(graph_files.read_graph(tmp_path / "state", signature="ask"), {}, "count") == [0.0]


def test_what_does_not_fit_or_is_missing(two: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    shutil.copytree(two[0], tmp_path / "odd")
    file = tmp_path / "odd" / "saved_model.pb"
    message = SavedModel.FromString(file.read_bytes())
    for node in message.meta_graphs[0].graph_def.node:
        if node.op == "VarHandleOp" and len(node.attr["shape"].shape.dim) == 2:
            node.attr["shape"].shape.dim[0].size = 5
    file.write_bytes(message.SerializeToString())
    with pytest.raises(IcebreakerError, match="has the shape 4×4 in the checkpoint, but 5×4 in the graph"):
        graph_files.read_graph(tmp_path / "odd")
    shutil.copyfile(two[0] / "saved_model.pb", file)
    shutil.rmtree(file.parent / "variables")
    with pytest.raises(IcebreakerError, match="could not be read from the checkpoint") as caught:
        graph_files.read_graph(tmp_path / "odd")
    assert "\n" not in str(caught.value)
