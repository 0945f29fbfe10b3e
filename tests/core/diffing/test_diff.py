"""What is different in two graphs: laws that hold for any graph, and changes made by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.graph_maker import Maker
from helpers.paths import ROOT
from icebreaker.diffing.diff import diff, diff_files
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef

OPS = ("Relu", "Neg", "AddV2", "Mul", "Const", "Placeholder")


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """Any small graph: each node reads some of those before it; constants have values, some of them equal."""
    definition = GraphDef()
    for number in range(draw(st.integers(1, 14))):
        op = draw(st.sampled_from(OPS)) if number else "Placeholder"
        node = definition.node.add(name=f"n{number}", op=op)
        if op == "Const":
            tensor = node.attr["value"].tensor
            tensor.dtype = node.attr["dtype"].type = 1
            tensor.tensor_shape.dim.add(size=3)
            tensor.float_val.extend(draw(st.sampled_from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [0.0, 0.0, 0.5]])))
        elif op == "Placeholder":
            node.attr["dtype"].type = 1
        else:
            reads = 2 if op in ("AddV2", "Mul") else 1
            node.input.extend(f"n{draw(st.integers(0, number - 1))}" for _ in range(reads))
            node.attr["T"].type = 1
    return definition


def renamed(definition: Any, names: Mapping[str, str]) -> Any:
    result = GraphDef()
    result.CopyFrom(definition)
    for node in result.node:
        node.name = names[node.name]
        node.input[:] = [names[name] for name in node.input]
    return result


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_a_graph_against_itself_is_empty(definition: Any) -> None:
    found = diff(Graph(definition), Graph(definition))
    assert found.is_empty
    assert found.same == len(definition.node)


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_nodes_does_not_matter(definition: Any, random: Any) -> None:
    nodes = list(definition.node)
    random.shuffle(nodes)
    other = GraphDef()
    other.node.extend(nodes)
    assert diff(Graph(definition), Graph(other)).is_empty


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_renaming_all_nodes_gives_only_renames(definition: Any) -> None:
    other = renamed(definition, {node.name: f"scope/{node.name}" for node in definition.node})
    found = diff(Graph(definition), Graph(other))
    assert not (found.changed or found.added or found.removed)
    assert len(found.renamed) == len(definition.node)
    ops = {node.name: node.op for node in other.node}
    assert all(ops[found.renamed[node.name]] == node.op for node in definition.node)


@given(graphs(), graphs())
@settings(max_examples=100, deadline=None)
def test_sides_can_be_swapped(first: Any, second: Any) -> None:
    there, back = diff(Graph(first), Graph(second)), diff(Graph(second), Graph(first))
    assert {item.node for item in there.added} == {item.node for item in back.removed}
    assert {item.node for item in there.removed} == {item.node for item in back.added}
    assert there.same + len(there.changed) + len(there.removed) == there.nodes[0]
    assert there.same + len(there.changed) + len(there.added) == there.nodes[1]


@given(graphs(), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_node_that_is_added_is_told_and_nothing_else(definition: Any, data: st.DataObject) -> None:
    other = GraphDef()
    other.CopyFrom(definition)
    place = data.draw(st.integers(0, len(definition.node) - 1))
    other.node.add(name="new", op="Sigmoid", input=[definition.node[place].name])
    found = diff(Graph(definition), Graph(other))
    assert [item.node for item in found.added] == ["new"]
    assert not (found.changed or found.removed or found.renamed)


def layers() -> Maker:
    made = Maker(1, 8, 8, 3)
    for inputs, outputs in ((3, 4), (4, 4), (4, 5)):
        made.add("Conv2D", made.weight(3, 3, inputs, outputs), strides=[1, 1, 1, 1], padding=b"SAME")
        made.add("Relu")
    return made


def copy(made: Maker) -> Any:
    result = GraphDef()
    result.CopyFrom(made.definition)
    return result


def conv(definition: Any, number: int) -> Any:
    return [node for node in definition.node if node.op == "Conv2D"][number]


def test_an_attribute_and_the_shapes_behind_it() -> None:
    made = layers()
    other = copy(made)
    conv(other, 1).attr["strides"].list.i[:] = [1, 2, 2, 1]
    found = diff(Graph(made.definition), Graph(other))
    own = [change for change in found.changed if change.is_own]
    assert [change.node for change in own] == [conv(other, 1).name]
    assert own[0].attributes == {"strides": ("[1, 1, 1, 1]", "[1, 2, 2, 1]")}
    assert own[0].shape == ("float32[1,8,8,4]", "float32[1,4,4,4]")
    assert len(found.changed) == 4  # its Relu, the convolution behind, and that one's Relu give other shapes


def test_weights_tell_their_largest_difference() -> None:
    made = layers()
    other = copy(made)
    name = conv(other, 0).input[1]
    tensor = next(node for node in other.node if node.name == name).attr["value"].tensor
    array = np.frombuffer(tensor.tensor_content, np.float32).copy()
    most = float(np.abs(array).max())
    array[5] += 0.25
    array[7] -= 0.125
    tensor.tensor_content = array.tobytes()
    (change,) = diff(Graph(made.definition), Graph(other)).changed
    assert (change.node, change.values) == (name, 2)
    assert change.largest == pytest.approx(0.25)
    assert change.relative == pytest.approx(0.25 / most)
    assert not change.attributes and change.shape is None


def test_renamed_and_trained_again() -> None:
    """Structure finds the layers, and the layers their weights."""
    made = layers()
    other = renamed(made.definition, {node.name: f"v2/{node.name}" for node in made.definition.node})
    for node in other.node:
        if node.op == "Const":
            array = np.frombuffer(node.attr["value"].tensor.tensor_content, np.float32) + np.float32(0.5)
            node.attr["value"].tensor.tensor_content = array.tobytes()
    found = diff(Graph(made.definition), Graph(other))
    assert not (found.added or found.removed)
    assert {change.node: change.other for change in found.changed} == {
        node.name: f"v2/{node.name}" for node in made.definition.node if node.op == "Const"
    }
    assert all(change.largest == pytest.approx(0.5, rel=1e-5) for change in found.changed)


def test_renamed_and_changed_in_the_middle() -> None:
    made = layers()
    other = renamed(made.definition, {node.name: f"v2/{node.name}" for node in made.definition.node})
    conv(other, 1).attr["padding"].s = b"VALID"
    found = diff(Graph(made.definition), Graph(other))
    assert not (found.added or found.removed)
    (own,) = [change for change in found.changed if change.is_own]
    assert own.attributes == {"padding": ("SAME", "VALID")}


def test_another_op_of_the_same_name_and_what_is_read_instead() -> None:
    made = Maker(1, 4)
    made.add("Relu")
    made.add("Neg")
    other = copy(made)
    other.node[1].op = "Elu"
    other.node[2].input[0] = "x"
    found = diff(Graph(made.definition), Graph(other))
    assert {change.node: (change.attributes, change.inputs) for change in found.changed} == {
        "Relu_1": ({"op": ("Relu", "Elu")}, ()),
        "Neg_2": ({}, (("Relu_1", "x"),)),
    }


def test_one_of_two_like_placeholders_read_instead() -> None:
    definition = GraphDef()
    for name in ("a", "b"):
        definition.node.add(name=name, op="Placeholder").attr["dtype"].type = 1
    definition.node.add(name="y", op="Relu", input=["a"])
    other = GraphDef()
    other.CopyFrom(definition)
    other.node[2].input[0] = "b"
    (change,) = diff(Graph(definition), Graph(other)).changed
    assert (change.node, change.inputs) == ("y", (("a", "b"),))


def test_functions_are_compared() -> None:
    first, second = GraphDef(), GraphDef()
    for definition, names in ((first, ("one", "two")), (second, ("two", "three"))):
        definition.node.add(name="x", op="Placeholder")
        for name in names:
            definition.library.function.add().signature.name = name
    second.library.function[0].node_def.add(name="y", op="NoOp")
    assert diff(Graph(first), Graph(second)).functions == {"one": "removed", "two": "changed", "three": "added"}


def test_weights_in_files_are_read_from_there(tmp_path: Path) -> None:
    made = Maker(1, 64)
    made.add("MatMul", made.weight(64, 64))
    other = copy(made)
    array = np.frombuffer(other.node[1].attr["value"].tensor.tensor_content, np.float32).copy()
    array[0] += 2
    other.node[1].attr["value"].tensor.tensor_content = array.tobytes()
    paths = tmp_path / "a.pb", tmp_path / "b.pb"
    for path, definition in zip(paths, (made.definition, other), strict=True):
        path.write_bytes(definition.SerializeToString())
    (change,) = diff_files(*paths).changed
    assert (change.values, change.largest) == (1, pytest.approx(2))


def test_the_sample_against_itself() -> None:
    path = ROOT / "resources/samples/digits.pb"
    assert diff_files(path, path).is_empty


def test_loops_are_compared() -> None:
    definition = GraphDef()
    node = definition.node.add
    node(name="x", op="Placeholder")
    node(name="enter", op="Enter", input=["x"])
    node(name="merge", op="Merge", input=["enter", "next"])
    node(name="step", op="Neg", input=["merge"])
    node(name="next", op="NextIteration", input=["step"])
    graph = Graph(definition)
    assert diff(graph, graph).is_empty
    other = Graph(renamed(definition, {name: f"v2/{name}" for name in ("x", "enter", "merge", "step", "next")}))
    found = diff(graph, other)
    assert len(found.renamed) == 5 and not (found.changed or found.added or found.removed)


def test_work_goes_with_the_size() -> None:
    """Four times the nodes take four times the calls, not sixteen times: wide, deep, and all from one."""

    def calls(count: int, reads: Callable[[int], int]) -> int:
        definition = GraphDef()
        definition.node.add(name="n0", op="Placeholder")
        for number in range(1, count):
            definition.node.add(name=f"n{number}", op="Relu", input=[f"n{reads(number)}"])
        graph = Graph(definition)
        other = Graph(renamed(definition, {node.name: f"v2/{node.name}" for node in definition.node}))
        made = 0

        def count_call(frame: Any, event: str, argument: Any) -> None:
            nonlocal made
            made += 1

        sys.setprofile(count_call)
        try:
            found = diff(graph, other)
        finally:
            sys.setprofile(None)
        assert len(found.renamed) == count
        return made

    for reads in (lambda number: number // 2, lambda number: number - 1, lambda number: 0):
        assert calls(1600, reads) < 5 * calls(400, reads)


def test_structure_is_all_that_is_read() -> None:
    """A graph of gigabytes is compared without its weights in memory: those of one constant at a time."""
    path = ROOT / "resources/samples/digits.pb"
    graph = graph_files.read_structure(path)
    assert diff(graph, graph, (path, path)).is_empty
