"""Two graphs side by side, used as a user does: the list, clicks in both graphs, double clicks, Esc."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from helpers.graph_view import network, shown, where
from icebreaker.diffing.diff import diff
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker_gui.graph_view.comparison.union import Union
from icebreaker_gui.graph_view.comparison.window import ComparisonWindow
from icebreaker_gui.style import theme


def second() -> Graph:
    """The network with other padding, an op more between two, one op less, and one that is called otherwise."""
    definition = GraphDef()
    for node in network():
        if node.name != "label":
            definition.node.add().CopyFrom(node.definition)
    nodes = {node.name: node for node in definition.node}
    nodes["net/one/conv1/Conv2D"].attr["padding"].s = b"VALID"
    definition.node.add(name="net/one/conv1/more", op="Sigmoid", input=["net/one/conv1/Relu"])
    nodes["net/one/conv2/Conv2D"].input[0] = "net/one/conv1/more"
    nodes["logits"].name = "scores"
    return Graph(definition)


@pytest.fixture
def window(qtbot) -> Any:
    first, other = network(), second()
    made = ComparisonWindow(first, other, diff(first, other), ("one.pb", "two.pb"))
    made.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(made)
    made.show()
    qtbot.waitExposed(made)
    qtbot.waitUntil(lambda: made.panes[1].picture is not None)
    return made


def rows(window: Any) -> dict[str, list[str]]:
    tree = window.differences.tree
    groups = [tree.topLevelItem(number) for number in range(tree.topLevelItemCount())]
    return {group.text(0).split()[0]: [group.child(n).text(0) for n in range(group.childCount())] for group in groups}


def find(window: Any, name: str) -> Any:
    (item,) = window.differences.tree.findItems(name, Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchRecursive)
    return item


def test_the_list_has_all_that_is_different(window: Any) -> None:
    assert rows(window) == {
        "changed": ["net/one/conv1/Conv2D", "net/one/conv2/Conv2D"],
        "added": ["net/one/conv1/more"],
        "removed": ["label"],
        "renamed": ["logits"],
    }
    assert window._summary.text() == "2 changed · 1 added · 1 removed · 1 renamed · 15 the same"


def test_a_difference_is_shown_in_both_graphs(window: Any, qtbot) -> None:
    window.differences.tree.setCurrentItem(find(window, "net/one/conv1/Conv2D"))
    assert window.differences.words.text().splitlines() == ["net/one/conv1/Conv2D", "padding: SAME → VALID"]
    for pane in window.panes:
        assert "net/one/conv1/Conv2D" in shown(pane)
        assert pane.picture.scene.outline.keys[pane.marks.selected] == "net/one/conv1/Conv2D"
    qtbot.wait(500)
    assert window.panes[0].camera == window.panes[1].camera


def test_a_click_in_a_graph_tells_what_is_different(window: Any, qtbot) -> None:
    window.go_to("net/one/conv1/more")
    qtbot.wait(500)
    for pane in window.panes:
        window._clicked(0)
        qtbot.mouseClick(pane, Qt.MouseButton.LeftButton, pos=where(pane, "net/one/conv1/Relu"))
        assert "The same in both" in window.differences.words.text()
    qtbot.mouseClick(window.panes[1], Qt.MouseButton.LeftButton, pos=where(window.panes[1], "net/one/conv1/more"))
    assert window.differences.tree.currentItem().text(0) == "net/one/conv1/more"


def test_both_move_together_and_open_together(window: Any, qtbot) -> None:
    window.panes[1].zoom(1.5)
    qtbot.wait(400)
    assert window.panes[0].camera == window.panes[1].camera
    qtbot.mouseDClick(window.panes[1], Qt.MouseButton.LeftButton, pos=where(window.panes[1], "decode/"))
    assert all("decode/split" in shown(pane) for pane in window.panes)


def test_filter_copy_and_escape(window: Any, qtbot) -> None:
    qtbot.keyClicks(window.differences.filter, "sigmoid")
    assert rows(window) == {"added": ["net/one/conv1/more"]}
    window.differences.tree.setCurrentItem(find(window, "net/one/conv1/more"))
    qtbot.keyClick(window.differences.tree, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    window.differences._copy()
    assert QGuiApplication.clipboard().text() == "net/one/conv1/more\nadded"
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not window.isVisible())


def test_it_follows_light_and_dark(window: Any, qapp, qtbot) -> None:
    theme.install(qapp, "dark")
    qtbot.wait(50)
    window.grab()
    assert rows(window)["added"] == ["net/one/conv1/more"]


def test_the_same_graph_twice_says_so(qtbot) -> None:
    graph = network()
    made = ComparisonWindow(graph, graph, diff(graph, graph), ("one.pb", "one.pb"))
    made.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(made)
    assert made._summary.text() == "Both graphs are the same."
    made.close()


def test_a_node_added_under_a_name_that_another_has() -> None:
    first, other = GraphDef(), GraphDef()
    for definition, names in ((first, ("x", "y")), (other, ("x", "z"))):
        definition.node.add(name=names[0], op="Placeholder")
        definition.node.add(name=names[1], op="Relu", input=["x"])
    other.node.add(name="y", op="Neg", input=["z"])
    graphs = Graph(first), Graph(other)
    union = Union(*graphs, diff(*graphs))
    assert len(union.graph) == 3
    assert sorted(union.kinds.values()) == ["added", "renamed"]
    union.look()
