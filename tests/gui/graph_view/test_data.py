"""What is known of a graph: dtypes and shapes."""

from __future__ import annotations

import dataclasses
from typing import Any

from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.tensors import Tensor


def test_shapes_are_known_before_anything_ran(qtbot, panel: Any) -> None:
    """Of a large graph, too, where they are found out beside."""
    for count in (3, 200):
        definition = GraphDef()
        node = definition.node.add
        image = node(name="image", op="Placeholder")
        image.attr["dtype"].type = 1
        for size in (-1, 32, 32, 4):
            image.attr["shape"].shape.dim.add(size=size)
        before = "image"
        for number in range(count):
            weights = definition.node.add(name=f"weights{number}", op="Const").attr["value"].tensor
            weights.dtype = 1
            for size in (3, 3, 4, 4):
                weights.tensor_shape.dim.add(size=size)
            conv = node(name=f"conv{number}", op="Conv2D", input=[before, f"weights{number}"])
            conv.attr["padding"].s = b"VALID" if number == 1 else b"SAME"
            conv.attr["strides"].list.i.extend([1, 1, 1, 1])
            before = conv.name
        node(name="out", op="Relu", input=[before])
        panel.show_graph(Graph(definition), ["out"])
        qtbot.waitUntil(lambda: bool(panel.state.data.tensors), timeout=10_000)
        assert panel.state.data.tensor_words(Tensor("conv0")) == "float32[?,32,32,4]"
        assert panel.state.data.tensor_words(Tensor(before)) == "float32[?,30,30,4]"
        assert panel.state.data.tensor_words(Tensor("weights0")) == "float32[3,3,4,4]"
        outline = panel.state.shared.outline
        look, _ = panel.state.look(outline)
        assert look.flows(outline.leaf["conv0"]) == "?×32×32×4"
        panel.go_to("conv1")
        assert any("float32[?,32,32,4]\tconv0" in line for line in panel.details.table.lines)
        assert panel.toolbar.overlay.findData("outputs") >= 0


def test_what_the_conversion_says_of_a_tensor_counts(both: Any) -> None:
    state, name = both.state, "net/one/conv1/Conv2D"
    assert state.data.tensor_words(Tensor(name)) == ""
    told = dataclasses.replace(state.data.conversion, tensors={name: "float32[1,7,7,4]", "decode/number": "float32[…]"})
    both.show_conversion(told, state.data.after)
    assert state.data.tensor_words(Tensor(name)) == "float32[1,7,7,4]"
