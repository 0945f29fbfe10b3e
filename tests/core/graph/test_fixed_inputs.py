"""Inputs with one value for good, and graphs that are pinned to devices of another machine."""

from __future__ import annotations

from typing import Any

import pytest

from icebreaker.errors import IcebreakerError
from icebreaker.graph.fixed_inputs import fix_inputs
from icebreaker.graph.graph import Graph
from icebreaker.graph.placement import placed_anywhere
from icebreaker.graph.protos import GraphDef

BOOL, FLOAT, INT, STRING = 10, 1, 3, 7


def graph(dtype: int, *shape: int) -> Graph:
    definition = GraphDef()
    definition.versions.producer = 1000
    node = definition.node.add(name="x", op="Placeholder")
    node.attr["dtype"].type = dtype
    node.attr["shape"].shape.SetInParent()
    for size in shape:
        node.attr["shape"].shape.dim.add(size=size)
    definition.node.add(name="y", op="Identity", input=["x"]).attr["T"].type = dtype
    return Graph(definition)


@pytest.mark.parametrize(
    ("dtype", "shape", "text", "values", "sizes"),
    [
        (BOOL, (), "false", [False], ()),
        (BOOL, (), "1", [True], ()),
        (FLOAT, (2,), "0.5", [0.5], (2,)),
        (FLOAT, (-1,), "1,2,3", [1, 2, 3], (3,)),
        (INT, (-1, 2), "1, 2, 3, 4", [1, 2, 3, 4], (2, 2)),
        (STRING, (), "a,b", [b"a,b"], ()),
    ],
)
def test_a_constant_takes_the_place_of_an_input(
    dtype: int, shape: tuple[int, ...], text: str, values: list[Any], sizes: tuple[int, ...]
) -> None:
    before = graph(dtype, *shape)
    fixed = fix_inputs(before, {"x": text})
    assert not fixed.placeholders and len(before.placeholders) == 1
    value = fixed["x"].value
    assert value is not None and value.shape == sizes
    tensor = fixed["x"].definition.attr["value"].tensor
    (found,) = (list(items) for field, items in tensor.ListFields() if field.name.endswith("_val"))
    assert found == values


@pytest.mark.parametrize(
    ("dtype", "shape", "text"),
    [(BOOL, (), "maybe"), (FLOAT, (2,), "1,2,3"), (INT, (), "1.5"), (FLOAT, (-1, -1), "1,2"), (INT, (-1, 2), "1,2,3")],
)
def test_what_is_no_value_of_it_is_told(dtype: int, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(IcebreakerError, match="is no value of the input 'x'"):
        fix_inputs(graph(dtype, *shape), {"x": text})


def test_only_inputs_are_fixed() -> None:
    with pytest.raises(IcebreakerError, match="'y' is no input of the graph"):
        fix_inputs(graph(BOOL), {"y": "0"})
    with pytest.raises(IcebreakerError, match="is not in the graph"):
        fix_inputs(graph(BOOL), {"z": "0"})


@pytest.mark.parametrize(
    ("device", "place"),
    [
        ("/device:GPU:0", ""),
        ("/job:worker/replica:0/task:3/device:GPU:1", ""),
        ("/job:localhost/replica:0/task:0/cpu:0", "/device:CPU:0"),
        ("/device:CPU:0", "/device:CPU:0"),
        ("", ""),
    ],
)
def test_a_node_is_pinned_to_nothing_that_may_not_be_there(device: str, place: str) -> None:
    pinned = graph(FLOAT)
    pinned.definition.node[1].device = device
    function = pinned.definition.library.function.add()
    function.node_def.add(name="inside", op="NoOp", device=device)
    moved = placed_anywhere(Graph(pinned.definition))
    assert moved["y"].device == moved.definition.library.function[0].node_def[0].device == place
    assert placed_anywhere(moved) is moved


def test_an_unknown_input_proposes_inputs() -> None:
    """The names of outputs would lead astray."""
    whole = graph(FLOAT, 2).definition
    whole.node.add(name="answer", op="Identity").input.append("x")
    with pytest.raises(IcebreakerError, match="did you mean x"):
        Graph(whole).require("nobody", "input")
