"""Search by name, op and attribute."""

from __future__ import annotations

import re
from typing import Any

import pytest
from PySide6.QtCore import Qt

from helpers.graph_view import shown
from icebreaker_gui.graph_view.sidebar.search import search


def test_search_by_name_op_and_attribute(panel: Any, qtbot) -> None:
    graph = panel.state.data.graph
    assert graph is not None
    assert search(graph, "conv1/relu$") == ["net/one/conv1/Relu", "net/two/conv1/Relu"]
    assert len(search(graph, "Conv2D")) == 4
    assert len(search(graph, "padding=same")) == 4
    with pytest.raises(re.error):
        search(graph, "(")
    qtbot.keyClick(panel, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    panel.search_field.setFocus()
    qtbot.keyClicks(panel.search_field, "two/.*Relu")
    assert panel.search_panel.names == ["net/two/conv1/Relu", "net/two/conv2/Relu"]
    qtbot.keyClick(panel.search_field, Qt.Key.Key_Return)
    assert panel.state.selected == "net/two/conv1/Relu"
    assert "net/two/conv1/Relu" in shown(panel.before_pane)
    qtbot.keyClick(panel.search_field, Qt.Key.Key_Return)
    assert panel.state.selected == "net/two/conv2/Relu"
    qtbot.keyClick(panel.search_field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert panel.state.selected == "net/two/conv1/Relu"
    panel.search_field.setText("(")
    assert "Not a regular expression" in panel.search_panel._count.text()


def test_one_result_is_told_as_one(both: Any) -> None:
    both.search_field.setText("^net/one/conv1/Relu$")
    assert both.search_panel._count.text() == "1 node matches"
