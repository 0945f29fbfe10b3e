"""Comparing the open graph with a second file, read by a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QFileDialog, QMainWindow

from icebreaker.graph.protos import GraphDef
from icebreaker_gui.comparing import Comparer


def test_a_second_file_is_compared_in_a_window_of_its_own(
    session: Any, digits: Path, tmp_path: Path, qtbot, monkeypatch
) -> None:
    definition = GraphDef.FromString(digits.read_bytes())
    definition.node.add(name="more", op="Relu", input=["probabilities"]).attr["T"].type = 1
    path = tmp_path / "two.pb"
    path.write_bytes(definition.SerializeToString())
    window = QMainWindow()
    qtbot.addWidget(window)
    comparer = Comparer(window, session)
    session.open(digits)
    qtbot.waitUntil(lambda: session.graph is not None and not session.busy)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    comparer.choose()
    assert "two.pb" in window.statusBar().currentMessage()
    qtbot.waitUntil(lambda: bool(comparer.windows), timeout=30_000)
    assert not window.statusBar().currentMessage()
    assert comparer.windows[0]._summary.text().startswith("1 added")
    path.write_bytes(b"no graph")
    comparer.choose()
    qtbot.waitUntil(lambda: session.problem is not None, timeout=30_000)
    assert "two.pb" in session.problem.title
    comparer.close()
    qtbot.waitUntil(lambda: not comparer.windows)
