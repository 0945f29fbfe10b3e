"""ONNX and TensorFlow Lite models can be looked at: nodes, edges, attributes, shapes; nothing converts or runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.shown_models import onnx_model, tflite_model
from icebreaker import api
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph import shape_inference
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor


@pytest.fixture(params=["onnx", "tflite"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"model.{request.param}"
    path.write_bytes(onnx_model().SerializeToString() if request.param == "onnx" else tflite_model())
    return path


def shown(path: Path) -> Graph:
    """As the app sees it: written by a worker, and read without its weights."""
    graph_files.inspect(path, f"{path}.frozen.pb")
    return graph_files.read_structure(Path(f"{path}.frozen.pb"))


def test_an_onnx_model_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model().SerializeToString())
    graph = shown(path)
    ops = {node.name: node.op for node in graph}
    assert ops == {
        "x": "Placeholder", "cond": "Placeholder", "w": "Const", "e": "Const", "conv_0": "Conv", "r": "Relu",
        "s1": "Split", "m": "Mul", "i": "If", "y": "com.me.Mine",
    }  # fmt: skip
    assert graph["m"].inputs == (Tensor("s1", 1), Tensor("e")) and graph["y"].inputs == (Tensor("m"), Tensor("i"))
    assert graph["conv_0"].attrs["strides"] == [2, 2] and graph["y"].attrs["mode"] == "fast"
    assert graph["i"].attrs["then_branch"] == {"function": "i/then_branch"}
    shapes = shape_inference.infer(graph)
    assert shapes[Tensor("conv_0")] == ("float32", (None, 8, 4, 4)) and shapes[Tensor("w")].shape == (8, 3, 3, 3)
    constant = graph_files.read_constant(Path(f"{path}.frozen.pb"), "w")
    assert constant and np.frombuffer(constant.definition.attr["value"].tensor.tensor_content, "f4")[215] == 215
    assert not graph["e"].definition.attr["value"].tensor.tensor_content  # what lies in another file is not read


def test_a_tensorflow_lite_model_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_model())
    graph = shown(path)
    assert {node.name: node.op for node in graph} == {
        "x": "Placeholder", "w": "Const", "h": "FULLY_CONNECTED", "y": "WHILE"
    }  # fmt: skip
    assert graph["h"].inputs == (Tensor("x"), Tensor("w")) and graph["h"].attrs["fusedActivationFunction"] == 1
    assert graph["y"].attrs["body"] == {"function": "subgraph_2"} and graph.functions == ("subgraph_1", "subgraph_2")
    assert shape_inference.infer(graph)[Tensor("y")] == ("float32", (1, 2))


def test_it_is_told_in_one_line_that_nothing_else_is_done(model: Path) -> None:
    shown(model)
    for path in (model, Path(f"{model}.frozen.pb")):
        with pytest.raises(IcebreakerError, match=r"is an? .* model, which is shown here, but not converted or run"):
            graph_files.read_graph(path)
    found = api.inspect(model)
    assert found.inputs and found.nodes == len(graph_files.read_structure(Path(f"{model}.frozen.pb")))
    with pytest.raises(IcebreakerError, match="which is shown here") as caught:
        api.convert(model, model.with_suffix(".pb"))
    assert caught.value.code == "only_shown" and not model.with_suffix(".pb").exists()


def test_what_is_damaged_is_refused(model: Path) -> None:
    whole = model.read_bytes()
    for data in (b"", b"hello", whole[: len(whole) // 2], b"\xff" * 100):
        model.write_bytes(data)
        with pytest.raises(IcebreakerError) as caught:
            graph_files.read_graph(model, shown=True)
        assert "\n" not in str(caught.value)
