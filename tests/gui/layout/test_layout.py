"""The layout, without a display: folding, grouping, nesting, edges, and what must hold of every drawing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from helpers.paths import GRAPHS as SHARED
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker_gui.layout import BACK, Extra, Layout, LayoutCancelled, Outline, Scene, build
from icebreaker_gui.layout.grouping import MOST_MEMBERS
from icebreaker_gui.layout.layering.coordinates import place
from icebreaker_gui.layout.layering.ranks import MOST_READERS
from icebreaker_gui.layout.layering.rows import arrange
from icebreaker_gui.layout.orders import just_in_time

# Shrinking a graph takes minutes: who looks for a bug may take this away for a while.
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)


def graph_of(*nodes: tuple[str, str, list[str]]) -> Graph:
    """A graph of (name, op, inputs)."""
    definition = GraphDef()
    for name, op, inputs in nodes:
        definition.node.add(name=name, op=op, input=inputs)
    return Graph(definition)


def everything(outline: Outline) -> frozenset[int]:
    return frozenset(item for item, members in enumerate(outline.members) if members)


def flat_chain(count: int, op: str = "Conv2D") -> Graph:
    nodes: list[tuple[str, str, list[str]]] = [("input", "Placeholder", [])]
    for i in range(count):
        nodes.append((f"n{i}", op if i % 3 == 0 else "Relu", [nodes[-1][0]]))
    return graph_of(*nodes)


@st.composite
def graphs(draw, circles: bool = False) -> Graph:
    """Random graphs with scopes; with `circles`, also loops, which must not stop anything."""
    count = draw(st.integers(1, 60))
    scopes = ["", "a/", "a/b/", "a/b/c/", "d/", "d/e/"]
    definition = GraphDef()
    names: list[str] = []
    for i in range(count):
        name = f"{draw(st.sampled_from(scopes))}n{i}"
        op = draw(st.sampled_from(["Conv2D", "Relu", "Add", "Const", "Identity", "Merge", "Shape"]))
        inputs = []
        if names and op != "Const":
            inputs = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
            inputs += [f"^{text}" for text in draw(st.lists(st.sampled_from(names), max_size=1))]
        elif op != "Const":
            op = "Placeholder"
        definition.node.add(name=name, op=op, input=inputs)
        names.append(name)
    if circles and count > 3:
        for _ in range(2):
            node = draw(st.sampled_from(list(definition.node)))
            if node.op not in ("Const", "Identity"):
                node.input.insert(0, draw(st.sampled_from(names)))
    return Graph(definition)


def check(scene: Scene) -> None:
    """What holds of every drawing."""
    outline = scene.outline
    rows = {int(item): row for row, item in enumerate(scene.items)}
    assert len(rows) == len(scene.items), "an item is drawn twice"
    boxes = scene.boxes
    assert np.isfinite(boxes).all()
    assert np.isfinite(scene.points).all()
    for item, row in rows.items():
        home = int(outline.parent[item])
        x, y, w, h = boxes[row]
        if home > 0:
            px, py, pw, ph = boxes[rows[home]]
            assert px <= x and py <= y, "a box leaves its group"
            assert x + w <= px + pw + 1e-6 and y + h <= py + ph + 1e-6, "a box leaves its group"
        else:
            assert x >= 0 and y >= 0
            assert x + w <= scene.size[0] + 1e-6 and y + h <= scene.size[1] + 1e-6
    for group in [0, *(int(item) for item in scene.items[scene.is_open])]:
        inner = boxes[[rows[member] for member in outline.members[group]]]
        for i in range(len(inner)):
            a, b = inner[i], inner[i + 1 :]
            apart = (
                (a[0] + a[2] <= b[:, 0] + 1e-6) | (b[:, 0] + b[:, 2] <= a[0] + 1e-6)
                | (a[1] + a[3] <= b[:, 1] + 1e-6) | (b[:, 1] + b[:, 3] <= a[1] + 1e-6)
            )  # fmt: skip
            assert apart.all(), "boxes lie over one another"
    for edge in range(len(scene.edge_kind)):
        path = scene.points[scene.starts[edge] : scene.starts[edge + 1]]
        if scene.edge_kind[edge] != BACK:
            assert (np.diff(path[:, 0 if scene.sideways else 1]) >= -1e-6).all(), "an edge runs backwards"


def connections(scene: Scene) -> set[tuple[int, int]]:
    """(producer, reader) pairs that can be followed along lines and stubs from box to box."""
    outline = scene.outline
    pieces: dict[int, list[tuple[int, int, int]]] = {}
    for edge, producers in enumerate(scene.producers):
        for producer in producers:
            piece = (int(scene.edge_from[edge]), int(scene.edge_to[edge]), int(scene.edge_in[edge]))
            pieces.setdefault(producer, []).append(piece)
    found = set()
    for producer in {*pieces, *(stub[0] for stub in scene.stubs)}:
        parts = pieces.get(producer, [])
        # A state is (box, whether we are at its lower border or, entering, at its upper one).
        seen = {(producer, "out")}
        for source, reader, _, _, at_reader in scene.stubs:
            if source == producer and at_reader:
                seen.add((reader, "in"))
            elif source == producer:  # marked as going on elsewhere: out of the groups around it
                seen.update((group, "out") for group in outline.ancestors(producer))
        stack = sorted(seen)
        while stack:
            box, side = stack.pop()
            for a, b, home in parts:
                if a == box and side == "out" and home == outline.parent[box] and b != home:
                    step = (b, "in")
                elif a == box and side == "out" and b == home == outline.parent[box]:
                    step = (home, "out")
                elif side == "in" and a == home == box:
                    step = (b, "in") if b != home else (home, "out")
                else:
                    continue
                if step not in seen:
                    seen.add(step)
                    stack.append(step)
        found |= {(producer, box) for box, side in seen if side == "in" and not outline.members[box]}
    return found


# ---- every drawing --------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, phases=QUICK)
@given(graphs(), st.data())
def test_every_drawing_holds_together(graph: Graph, data: st.DataObject) -> None:
    outline = build(graph)
    layout = Layout(outline)
    groups = sorted(everything(outline))
    check(layout.scene(frozenset(data.draw(st.lists(st.sampled_from(groups), max_size=5)))))
    scene = layout.scene(everything(outline))
    check(scene)
    wanted = set(zip(outline.source.tolist(), outline.target.tolist(), strict=True))
    assert wanted <= connections(scene)
    across = layout.turned().scene(everything(outline))
    check(across)
    assert across.sideways and wanted <= connections(across)


@settings(max_examples=40, deadline=None, phases=QUICK)
@given(graphs(circles=True))
def test_loops_do_not_stop_it(graph: Graph) -> None:
    outline = build(graph, show_folded=True)
    scene = Layout(outline).scene(everything(outline))
    check(scene)
    assert {outline.keys[item] for item in scene.items if not outline.members[item]} == {node.name for node in graph}


@settings(max_examples=25, deadline=None, phases=QUICK)
@given(graphs(), st.integers(1, 4))
def test_every_node_can_be_found(graph: Graph, seed: int) -> None:
    segment = [node.name for node in graph][seed::3]
    outline = build(graph, {"TRTEngineOp_000": segment})
    check(Layout(outline).scene(everything(outline)))
    hidden = [node for node in graph if node.name not in outline.leaf]
    # What is folded away without a reader that is drawn is constant, and nothing reads it in the end.
    assert all(node.op in ("Const", "Identity", "Relu", "Conv2D", "Add", "Shape") for node in hidden)
    for name in segment:
        if name in outline.leaf and outline.keys[outline.leaf[name]] == name:
            assert outline.segment_of[outline.leaf[name]] == outline.segments["TRTEngineOp_000"]


def test_the_same_graph_gives_the_same_drawing() -> None:
    first, second = (Layout(build(flat_chain(300))) for _ in range(2))
    a, b = first.scene(everything(first.outline)), second.scene(everything(second.outline))
    assert first.outline.keys == second.outline.keys
    assert np.array_equal(a.boxes, b.boxes)
    assert np.array_equal(a.points, b.points)
    # However it came to be open.
    first.scene(frozenset({0}))
    assert np.array_equal(first.scene(everything(first.outline)).boxes, b.boxes)


# ---- folding --------------------------------------------------------------------------------------------------------


def test_constants_and_identities_fold_into_their_reader() -> None:
    graph = graph_of(
        ("x", "Placeholder", []), ("w", "Const", []), ("w/read", "Identity", ["w"]), ("s", "Const", []),
        ("reshaped", "Reshape", ["w/read", "s"]), ("pass", "Identity", ["x"]), ("conv", "Conv2D", ["pass", "reshaped"]),
        ("y", "Identity", ["conv"]),
    )  # fmt: skip
    outline = build(graph, outputs=["y"])
    assert [outline.keys[leaf] for leaf in outline.leaves_of(0)] == ["x", "conv", "y"]
    conv = outline.leaf["conv"]
    assert set(outline.folded[conv]) == {"w", "w/read", "s", "reshaped", "pass"}
    assert outline.leaf["w"] == conv  # whoever looks for it is led there
    edges = {(outline.keys[a], outline.keys[b]) for a, b in zip(outline.source, outline.target, strict=True)}
    assert edges == {("x", "conv"), ("conv", "y")}
    shown = build(graph, show_folded=True)
    assert len(shown.leaves_of(0)) == len(graph)


def test_what_is_random_or_an_output_is_not_folded() -> None:
    graph = graph_of(
        ("shape", "Const", []), ("noise", "RandomUniform", ["shape"]), ("out", "Relu", ["noise"]), ("c", "Const", []),
        ("kept", "Identity", ["out"]), ("more", "Relu", ["kept"]),
    )  # fmt: skip
    outline = build(graph, outputs=["kept:0"])
    names = {outline.keys[leaf] for leaf in outline.leaves_of(0)}
    assert names == {"noise", "out", "c", "kept", "more"}


def test_a_control_edge_through_a_folded_node_is_kept() -> None:
    graph = graph_of(
        ("a", "Placeholder", []),
        ("pass", "Identity", ["a"]),
        ("b", "Relu", ["a"]),
        ("c", "Relu", ["b", "^pass"]),
    )
    outline = build(graph)
    control = [
        (outline.keys[a], outline.keys[b])
        for a, b, is_control in zip(outline.source, outline.target, outline.control, strict=True)
        if is_control
    ]
    assert control == [("a", "c")]


# ---- groups ---------------------------------------------------------------------------------------------------------


def test_a_scope_of_one_op_is_that_op() -> None:
    outline = build(graph_of(("x", "Placeholder", []), ("a/b/c/conv", "Conv2D", ["x"]), ("y", "Relu", ["a/b/c/conv"])))
    conv = outline.leaf["a/b/c/conv"]
    assert outline.parent[conv] == 0
    assert outline.labels[conv] == "a"
    assert outline.ops[conv] == "Conv2D"


def test_names_that_belong_together_make_groups() -> None:
    nodes: list[tuple[str, str, list[str]]] = [("input", "Placeholder", [])]
    for stage in range(2, 5):
        for block in range(1, 4):
            for part in ("1_conv", "1_bn", "2_conv", "2_bn", "out"):
                nodes.append((f"conv{stage}_block{block}_{part}", "Conv2D", [nodes[-1][0]]))
    outline = build(graph_of(*nodes))
    top = [outline.labels[item] for item in outline.members[0]]
    assert top == ["input", "conv2", "conv3", "conv4"]


def test_names_that_lie_apart_make_no_group() -> None:
    # `conv_1`, `relu_1`, `conv_2` …: grouping by name would tie the graph in knots.
    nodes: list[tuple[str, str, list[str]]] = [("input", "Placeholder", [])]
    for i in range(60):
        nodes.append((f"{'conv' if i % 2 else 'relu'}_{i}", "Conv2D" if i % 2 else "Relu", [nodes[-1][0]]))
    outline = build(graph_of(*nodes))
    scene = Layout(outline).scene(outline.first_open())
    check(scene)
    assert not (scene.edge_kind == BACK).any()
    assert {"conv", "relu"}.isdisjoint(outline.labels)


@pytest.mark.parametrize("count", [100, 1000, 3000])
def test_a_flat_graph_never_opens_as_a_wall(count: int) -> None:
    outline = build(flat_chain(count))
    assert max(len(members) for members in outline.members) <= MOST_MEMBERS
    scene = Layout(outline).scene(outline.first_open())
    assert len(scene.items) <= 40
    assert not (scene.edge_kind == BACK).any()


def test_blocks_are_cut_where_little_crosses() -> None:
    # Blocks of five that join at their ends: a cut within a block crosses two values, between blocks one.
    nodes: list[tuple[str, str, list[str]]] = [("input", "Placeholder", [])]
    before = "input"
    for i in range(30):
        for j, part in enumerate("abcd"):
            nodes.append((f"q{i}x{part}", "Conv2D" if j == 0 else "Relu", [before if j == 0 else nodes[-1][0]]))
        nodes.append((f"q{i}join", "AddV2", [nodes[-1][0], before]))
        before = f"q{i}join"
    outline = build(graph_of(*nodes))
    groups = [group for group in outline.made_up if len(outline.leaves_of(group)) < 40]
    assert groups
    assert all(outline.keys[outline.leaves_of(group)[-1]].endswith("join") for group in groups)


def test_optimizer_prefixes_are_no_scopes() -> None:
    graph = graph_of(
        ("x", "Placeholder", []), ("net/a", "Relu", ["x"]), ("ArithmeticOptimizer/net/b", "Relu", ["net/a"]),
        ("net/c", "Relu", ["ArithmeticOptimizer/net/b"]),
    )  # fmt: skip
    outline = build(graph)
    net = outline.item("net/")
    assert net is not None
    assert len(outline.members[net]) == 3


def test_a_scope_that_is_none_is_taken_away() -> None:
    # All activations in one scope, what lies between them in none: no group should be tied into the stream.
    nodes: list[tuple[str, str, list[str]]] = [("input", "Placeholder", [])]
    for i in range(12):
        nodes.append((f"conv{i}", "Conv2D", [nodes[-1][0]]))
        nodes.append((f"net/act/relu{i}", "Relu", [nodes[-1][0]]))
    outline = build(graph_of(*nodes))
    assert not any(outline.labels[item].endswith("act") for item in range(len(outline)) if outline.members[item])
    scene = Layout(outline).scene(everything(outline))
    check(scene)
    assert not (scene.edge_kind == BACK).any()
    # The body of a loop is in a circle as well, but hangs together.
    loop = [("x", "Placeholder", []), ("enter", "Enter", ["x"])]
    loop += [("merge", "Merge", ["enter", "next"]), ("body/0", "Relu", ["merge"])]
    loop += [(f"body/{i}", "Relu", [f"body/{i - 1}"]) for i in range(1, 9)]
    loop += [("next", "NextIteration", ["body/8"])]
    assert build(graph_of(*loop)).item("body/") is not None


def test_segments_lie_in_the_innermost_scope_that_holds_them() -> None:
    graph = graph_of(
        ("x", "Placeholder", []), ("net/a/one", "Relu", ["x"]), ("net/b/two", "Relu", ["net/a/one"]),
        ("net/b/three", "Relu", ["net/b/two"]), ("net/c", "StringSplit", ["net/b/three"]), ("y", "Relu", ["net/c"]),
    )  # fmt: skip
    outline = build(graph, {"TRTEngineOp_000": ["net/a/one", "net/b/two", "net/b/three"]})
    segment = outline.segments["TRTEngineOp_000"]
    assert outline.keys[outline.parent[segment]] == "net/"
    assert outline.segment_of[outline.leaf["net/b/two"]] == segment
    assert outline.segment_of[outline.leaf["net/c"]] == -1
    assert segment in outline.first_open()
    closed = Layout(outline).scene(frozenset({0, int(outline.parent[segment])}))
    assert closed.box(segment) is not None
    assert closed.box(outline.leaf["net/b/two"]) is None
    assert closed.row(outline.leaf["net/b/two"]) == closed.row(segment)


def test_extras_are_shown_where_they_belong() -> None:
    graph = graph_of(("x", "Placeholder", []), ("a", "Relu", ["x"]), ("b", "Relu", ["a"]))
    extras = [
        Extra("b (after)", "Identity", "b", ("b",)),
        Extra("layer 0", "Convolution", "fused", (), "TRTEngineOp_000"),
        Extra("layer 1", "Relu", "relu", ("layer 0",), "TRTEngineOp_000"),
    ]
    outline = build(graph, {"TRTEngineOp_000": ["a", "b"]}, extras=extras)
    segment = outline.segments["TRTEngineOp_000"]
    assert outline.segment_of[outline.leaf["layer 1"]] == segment
    assert outline.segment_of[outline.leaf["b (after)"]] == -1
    assert {outline.keys[item] for item in outline.extra} == {"b (after)", "layer 0", "layer 1"}


def test_a_loop_opens_to_its_body() -> None:
    definition = GraphDef()
    definition.node.add(name="x", op="Placeholder")
    loop = definition.node.add(name="net/loop", op="StatelessWhile", input=["x"])
    loop.attr["body"].func.name = "step"
    loop.attr["cond"].func.name = "missing"
    definition.node.add(name="y", op="Relu", input=["net/loop"])
    body = definition.library.function.add()
    body.signature.name = "step"
    body.signature.input_arg.add(name="state")
    body.node_def.add(name="one", op="Const")
    body.node_def.add(name="cell/split", op="Split", input=["one:output:0", "state"])
    body.node_def.add(name="cell/mul", op="Mul", input=["cell/split:output:0", "cell/split:output:1"])
    outline = build(Graph(definition))
    assert {
        "net/loop/body/state",
        "net/loop/body/cell/split",
        "net/loop/body/cell/mul",
    } <= outline.leaf.keys()
    assert outline.inner["net/loop/body/cell/mul"].owner == "net/loop"
    assert outline.leaf["net/loop/body/one"] == outline.leaf["net/loop/body/cell/split"]  # folded
    edges = {(outline.keys[a], outline.keys[b]) for a, b in zip(outline.source, outline.target, strict=True)}
    assert ("net/loop", "net/loop/body/state") in edges
    assert ("net/loop", "y") in edges
    check(Layout(outline).scene(everything(outline)))
    # A loop inside an engine takes its body along.
    outline = build(Graph(definition), {"TRTEngineOp_000": ["net/loop", "y"]})
    assert outline.segment_of[outline.leaf["net/loop/body/cell/mul"]] == outline.segments["TRTEngineOp_000"]


def test_a_function_that_calls_itself_ends() -> None:
    definition = GraphDef()
    call = definition.node.add(name="call", op="PartitionedCall")
    call.attr["f"].func.name = "again"
    body = definition.library.function.add()
    body.signature.name = "again"
    inner = body.node_def.add(name="call", op="PartitionedCall")
    inner.attr["f"].func.name = "again"
    assert len(build(Graph(definition)).leaves_of(0)) < 10


# ---- rows and places ------------------------------------------------------------------------------------------------


def test_a_producer_of_very_many_becomes_stubs() -> None:
    nodes = [("mask", "Placeholder", []), *((f"r{i}", "Relu", ["mask"]) for i in range(5000))]
    outline = build(graph_of(*nodes))
    scene = Layout(outline).scene(everything(outline))
    check(scene)
    assert len(scene.stubs) > 4000
    assert max(scene.size) < 60_000


def test_side_inputs_come_as_late_as_they_may() -> None:
    # A chain of ten with a side input at its end: the side input stands beside the ninth, not beside the first.
    edges = [(i, i + 1) for i in range(9)] + [(10, 9)]
    order = arrange(11, edges)
    row = {box: number for rows in order.rows for number, line in enumerate(rows) for box in line}
    assert row[10] == row[8]


def test_few_crossings() -> None:
    # Two chains whose boxes are numbered crosswise can be drawn without a crossing.
    edges = [(0, 3), (1, 2), (2, 5), (3, 4)]
    order = arrange(6, edges)
    for part in order.rows:
        assert all(len(line) == 1 for line in part)
    # A K(2,2) has one crossing whatever one does, and not more.
    order = arrange(4, [(0, 2), (0, 3), (1, 2), (1, 3)])
    assert sorted(len(line) for part in order.rows for line in part) == [2, 2]


def test_the_main_stream_is_straight() -> None:
    # conv → bias → relu with a weight at each: the stream is one vertical line.
    edges = [(0, 1), (1, 2), (2, 3), (4, 1), (5, 2), (6, 3), (3, 7), (7, 8)]
    order = arrange(9, edges)
    x, _, _, _, _ = place(order, [90.0] * 9, [38.0] * 9)
    assert len({round(x[box], 6) for box in (1, 2, 3, 7, 8)}) == 1


@settings(max_examples=50, deadline=None, phases=QUICK)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=40))
def test_rows_hold_for_any_edges(pairs: list[tuple[int, int]]) -> None:
    edges = list(dict.fromkeys((a, b) for a, b in pairs if a != b))
    order = arrange(15, edges)
    row = {box: number for rows in order.rows for number, line in enumerate(rows) for box in line}
    fans: dict[int, int] = {}
    for number, path in enumerate(order.paths):
        if path:
            assert [row[point] for point in path] == list(range(row[path[0]], row[path[-1]] + 1))
            ends = (path[-1], path[0]) if number in order.turned else (path[0], path[-1])
            assert ends == edges[number]
        else:
            fans[edges[number][0]] = 1
    assert not fans or len(edges) > MOST_READERS
    x, y, _, width, height = place(order, [80.0] * 15, [30.0] * 15)
    assert all(x[box] + 1e-6 >= 40 and x[box] <= width - 40 + 1e-6 for box in range(15))
    assert all(y[box] + 1e-6 >= 15 and y[box] <= height - 15 + 1e-6 for box in range(15))


def test_just_in_time_puts_side_inputs_before_their_reader() -> None:
    assert just_in_time([0, 1, 2, 3, 4], [(0, 1), (1, 2), (2, 4), (3, 4)]) == [0, 1, 2, 3, 4]
    assert just_in_time([3, 4, 0, 1, 2], [(0, 1), (1, 2), (2, 4), (3, 4)]) == [0, 1, 2, 3, 4]


def test_opening_a_group_moves_only_what_it_must() -> None:
    nodes: list[tuple[str, str, list[str]]] = [("x", "Placeholder", [])]
    for scope in "abc":
        for i in range(4):
            nodes.append((f"{scope}/{i}", "Relu", [nodes[-1][0]]))
    outline = build(graph_of(*nodes))
    layout = Layout(outline)
    closed = layout.scene(frozenset({0}))
    middle = outline.item("b/")
    assert middle is not None
    opened = layout.scene(frozenset({0, middle}))
    first, last = outline.item("a/"), outline.item("c/")
    assert first is not None and last is not None
    before, after = closed.box(first), opened.box(first)
    assert before is not None and after is not None
    assert before[1:] == after[1:]
    was, now = closed.box(last), opened.box(last)
    assert was is not None and now is not None and now[1] > was[1] + 100
    assert opened.generation > closed.generation


# ---- stopping -------------------------------------------------------------------------------------------------------


def test_from_left_to_right() -> None:
    outline = build(flat_chain(6))
    layout = Layout(outline)
    down, across = layout.scene(everything(outline)), layout.turned().scene(everything(outline))
    assert down.size[1] > down.size[0] and across.size[0] > across.size[1]
    assert np.array_equal(down.items, across.items)
    ends = across.points[across.starts[1:] - 1]
    boxes = across.boxes[[across.row(int(item)) for item in across.edge_to]]
    into = across.edge_to != across.edge_in
    np.testing.assert_allclose(ends[into, 0], boxes[into, 0])  # edges enter at the left, in the middle
    np.testing.assert_allclose(ends[into, 1], (boxes[:, 1] + boxes[:, 3] / 2)[into])
    again = layout.turned().turned().scene(everything(outline))
    assert np.array_equal(again.boxes, down.boxes) and np.array_equal(again.points, down.points)
    # Words are level either way.
    assert sorted(map(tuple, down.boxes[~down.is_open, 2:])) == sorted(map(tuple, across.boxes[~across.is_open, 2:]))


def test_it_stops_when_it_is_told_to() -> None:
    graph = flat_chain(2000)
    with pytest.raises(LayoutCancelled):
        build(graph, cancelled=lambda: True)
    outline = build(graph)
    asked = iter(range(10**9))
    with pytest.raises(LayoutCancelled):
        Layout(outline).scene(everything(outline), lambda: next(asked) > 20)


def test_arrays_cannot_be_written_to() -> None:
    scene = Layout(build(flat_chain(5))).scene(frozenset({0}))
    with pytest.raises(ValueError, match="read-only"):
        scene.boxes[0, 0] = 1.0


# ---- real graphs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["human_handtrack", "human_handlandmark-lite", "musicnn_MSD_musicnn", "foolnltk_ner", "t2o_mnist_gru"]
)
def test_real_graphs(name: str) -> None:
    path = SHARED / f"{name}.pb"
    if not path.exists():
        pytest.skip(f"{path} is not here: the real graphs lie outside the repository")
    outline = build(graph_files.read_graph(path))
    first = Layout(outline).scene(outline.first_open())
    check(first)
    assert len(first.items) < 60
    scene = Layout(outline).scene(everything(outline))
    check(scene)
    wanted = set(zip(outline.source.tolist(), outline.target.tolist(), strict=True))
    assert wanted <= connections(scene)
