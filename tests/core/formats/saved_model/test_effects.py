"""A SavedModel from a stranger: what TensorFlow's loader would run is judged before it runs, wherever it is hidden."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from icebreaker.errors import ConsentNeeded, IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.formats.saved_model.effects import saved_model_effects


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with a resource, whose initializer does nothing."""
    import tensorflow as tf

    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self) -> Any:
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="t")

        def _initialize(self) -> None:
            tf.constant(1.0)

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.resource = Resource()
            self.resource.resource_handle  # noqa: B018 - made as it is asked for
            self.weight = tf.Variable(tf.ones((4, 4)))

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
        def serve(self, x: Any) -> Any:
            return {"y": tf.nn.relu(tf.matmul(x, self.weight))}

    folder = tmp_path_factory.mktemp("saved") / "plain"
    model = Model()
    tf.saved_model.save(model, str(folder), signatures=model.serve)
    return folder


def _changed(plain: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A copy of the SavedModel whose message was changed."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    shutil.copytree(plain, folder)
    message = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    change(message.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def _function(meta: Any, part: str) -> Any:
    return next(item for item in meta.graph_def.library.function if part in item.signature.name)


def _text(nodes: Any, name: str, text: str) -> None:
    node = nodes.add(name=name, op="Const")
    node.attr["dtype"].type = node.attr["value"].tensor.dtype = 7
    node.attr["value"].tensor.tensor_shape.SetInParent()
    node.attr["value"].tensor.string_val.append(text.encode())


def _writes(function: Any, file: Path) -> None:
    """Has a function write a file, too."""
    _text(function.node_def, "file_", str(file))
    _text(function.node_def, "words_", "unasked")
    function.node_def.add(name="write_", op="WriteFile", input=["file_:output:0", "words_:output:0"])
    function.control_ret["write_"] = "write_"
    function.signature.control_output.append("write_")
    function.signature.is_stateful = True


def _saves(function: Any, file: Path) -> None:
    """Has a function write a checkpoint, too."""
    for name, text in {"prefix_": str(file), "names_": "x", "slices_": ""}.items():
        _text(function.node_def, name, text)
        if name != "prefix_":
            function.node_def[-1].attr["value"].tensor.tensor_shape.dim.add(size=1)
    inputs = [f"{name}:output:0" for name in ("prefix_", "names_", "slices_", "prefix_")]
    function.node_def.add(name="save_", op="SaveV2", input=inputs).attr["dtypes"].list.type.append(7)
    function.control_ret["save_"] = "save_"
    function.signature.control_output.append("save_")
    function.signature.is_stateful = True


def _unreach(meta: Any, name: str) -> None:
    """Removes the nodes that call a function, so that only the object graph names it."""
    gone = {node.name for node in meta.graph_def.node if node.attr["f"].func.name == name}
    kept = [node for node in meta.graph_def.node if node.name not in gone]
    for node in kept:
        inputs = [text for text in node.input if text.removeprefix("^").split(":")[0] not in gone]
        del node.input[:]
        node.input.extend(inputs)
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(kept)


def _opens(folder: Path) -> None:
    with pytest.raises(ConsentNeeded, match="acts outside itself"):
        graph_files.inspect(folder)


def test_a_resource_and_a_saver_need_no_consent(plain: Path) -> None:
    assert graph_files.inspect(plain).inputs[0].name == "x"


@pytest.mark.parametrize("act", [_writes, _saves])
@pytest.mark.parametrize("place", ["initializer", "creator", "destroyer"])
@pytest.mark.parametrize("reached", [True, False])
def test_nothing_runs_as_it_is_opened(plain: Path, tmp_path: Path, act: Any, place: str, reached: bool) -> None:
    def change(meta: Any) -> None:
        function = _function(meta, place)
        act(function, tmp_path / "written")
        if not reached:
            _unreach(meta, function.signature.name)

    _opens(_changed(plain, tmp_path / "evil", change))
    assert not list(tmp_path.glob("written*"))


@pytest.mark.parametrize("way", ["object graph", "signature", "restore", "collection"])
def test_a_savers_function_that_is_called_otherwise_is_no_saver(plain: Path, tmp_path: Path, way: str) -> None:
    def change(meta: Any) -> None:
        save = meta.saver_def.save_tensor_name
        name = _function(meta, "traced_save").signature.name
        match way:
            case "object graph":
                initializer = _function(meta, "initializer").signature.name
                meta.object_graph_def.concrete_functions[name].CopyFrom(
                    meta.object_graph_def.concrete_functions[initializer]
                )
            case "signature":
                meta.signature_def["serving_default"].outputs["z"].name = save
            case "restore":
                meta.saver_def.restore_op_name = save.split(":")[0]
            case "collection":
                meta.collection_def["legacy_init_op"].node_list.value.append(save.split(":")[0])

    _opens(_changed(plain, tmp_path / "evil", change))


def test_a_restore_that_reads_another_file_is_no_restore(plain: Path, tmp_path: Path) -> None:
    def change(meta: Any) -> None:
        function = _function(meta, "traced_restore")
        _text(function.node_def, "other_", "/etc/other")
        node = next(node for node in function.node_def if node.op == "RestoreV2")
        node.input[0] = "other_:output:0"

    _opens(_changed(plain, tmp_path / "evil", change))


def test_savers_of_tensorflow_1_are_known(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, (None, 2), "x")
        y = tf.identity(x * v1.get_variable("w", (), use_resource=True), "y")
        v1.train.Saver()  # one that the SavedModel does not describe
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "plain"), {"x": x}, {"y": y})
    graph_files.inspect(tmp_path / "plain")

    def change(meta: Any) -> None:
        save = next(node.name for node in meta.graph_def.node if node.op == "SaveV2")
        meta.collection_def["saved_model_main_op"].node_list.value.append(save)

    _opens(_changed(tmp_path / "plain", tmp_path / "evil", change))

    def change_restore(meta: Any) -> None:
        nodes = {node.name: node for node in meta.graph_def.node}
        save = next(node.name for node in meta.graph_def.node if node.op == "SaveV2")
        nodes[meta.saver_def.restore_op_name].input.append(f"^{save}")

    _opens(_changed(tmp_path / "plain", tmp_path / "evil2", change_restore))


def test_the_effects_name_function_and_node(plain: Path, tmp_path: Path) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    folder = _changed(plain, tmp_path / "evil", lambda meta: _writes(_function(meta, "initializer"), tmp_path / "w"))
    meta = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]
    (found,) = saved_model_effects(meta)
    assert found.op == "WriteFile" and found.where.endswith("/write_")


@pytest.mark.parametrize("file", ["variables/variables.index", "assets/words.txt", "fingerprint.pb"])
def test_pipes_and_devices_in_it_are_refused(plain: Path, tmp_path: Path, file: str) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(plain, folder)
    (folder / file).unlink(missing_ok=True)
    (folder / file).parent.mkdir(exist_ok=True)
    os.mkfifo(folder / file)
    with pytest.raises(IcebreakerError, match="is no file"):
        graph_files.inspect(folder)
    (folder / file).unlink()
    (folder / file).symlink_to("/dev/zero")
    with pytest.raises(IcebreakerError, match="is no file"):
        graph_files.inspect(folder)
