"""Who is near in the graph."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt

from icebreaker_gui.graph_view.neighbours import neighbours


def test_neighbours_within_hops(panel: Any) -> None:
    outline = panel.state.shared.outline
    near = neighbours(outline, outline.leaf["decode/split"], 1)
    assert set(near) == {"decode/split", "text", "decode/number"}
    assert len(neighbours(outline, outline.leaf["decode/split"], 2)) == 5


def test_arrow_keys_walk_along_edges(panel: Any, qtbot) -> None:
    panel.state.open_all()
    qtbot.wait(350)
    pane = panel.before_pane
    panel.state.select("text")
    walked = []
    for _ in range(4):
        qtbot.keyClick(pane, Qt.Key.Key_Down)
        walked.append(panel.state.selected)
    assert walked[:3] == ["decode/split", "decode/number", "net/one/conv1/Conv2D"]
    qtbot.keyClick(pane, Qt.Key.Key_Up)
    assert panel.state.selected == "net/one/conv1/Conv2D"
    assert "Conv2D net/one/conv1/Conv2D" in pane.accessibleDescription()
    qtbot.keyClick(pane, Qt.Key.Key_Escape)
    assert panel.state.selected == ""
