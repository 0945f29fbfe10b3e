"""Constants as pictures and numbers."""

from __future__ import annotations

from helpers.graph_view import network
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker_gui.graph_view.sidebar.constant_preview import preview


def test_constants_as_pictures_and_numbers() -> None:
    graph = network()
    shown_ = preview(graph["net/one/conv1/weights"], 200)
    assert shown_ is not None
    image, figures = shown_
    assert image is not None
    assert image.width() <= 200
    assert ("values", "72") in figures
    assert ("most", "71") in figures
    definition = GraphDef()
    tensor = definition.node.add(name="c", op="Const").attr["value"].tensor
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=2)
    tensor.string_val.extend([b"cat", b"dog"])
    assert preview(Graph(definition)["c"], 200) == (None, [("", "'cat', 'dog'")])
