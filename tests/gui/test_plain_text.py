"""Names from files are shown letter by letter: no widget takes them for markup, for a picture, or for a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QAbstractItemModel, QAbstractListModel, QModelIndex, Qt
from PySide6.QtGui import QAction, QTextDocument
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QLabel,
    QMenu,
    QMessageBox,
    QTextEdit,
    QTreeView,
    QWidget,
)
from pytestqt.qtbot import QtBot

from icebreaker.graph.protos import GraphDef
from icebreaker.reports import Conversion, Left, SegmentReport
from icebreaker_gui.graph_view.controls.menus import ItemMenu
from icebreaker_gui.main_window import Window
from icebreaker_gui.session.session import Session
from icebreaker_gui.style.plain_text import caption, tip

PICTURE, BOLD, KEY = "<img src=/tmp/x>", "<b>x</b>", "&Node"
NASTY = (
    PICTURE,
    f"a/{PICTURE}",
    BOLD,
    f"net/{BOLD}",
    KEY,
    "&lt;i&gt;",
    "<a href='file:///etc/passwd'>x</a>",
    "a<br>b\nc",
)


def rendered(text: str) -> str:
    """The letters that Qt shows for a tool tip, or another text whose format it guesses."""
    if not any(mark in text for mark in ("<", "&")):
        return text
    document = QTextDocument()
    document.setHtml(text)
    return document.toPlainText()


@pytest.mark.parametrize("name", NASTY)
def test_a_tip_shows_the_name(name: str) -> None:
    assert rendered(tip(name)) == name
    assert caption(name).replace("&&", "") == name.replace("&", "")


@pytest.fixture
def window(session: Session, qtbot: QtBot, tmp_path: Path) -> Window:
    """The whole app on a graph all of whose names are nasty, converted and with a problem."""
    definition = GraphDef()
    definition.versions.producer = 1882
    node = definition.node.add(name=PICTURE, op="Placeholder")
    node.attr["dtype"].type = 1
    node.attr["shape"].shape.dim.add(size=-1)
    last = PICTURE
    for name in NASTY[1:]:
        node = definition.node.add(name=name, op="Relu" if name != BOLD else PICTURE, input=[last])
        node.attr["T"].type = 1
        node.attr[f"{BOLD}{PICTURE}"].s = BOLD.encode()
        last = name
    path = tmp_path / "<b>&name.pb"
    path.write_bytes(definition.SerializeToString())
    made = Window(session)
    qtbot.addWidget(made, before_close_func=lambda window: session.shutdown())
    made.show()
    session.open(path)
    qtbot.waitUntil(lambda: not session.busy and session.graph is not None, timeout=60_000)
    left = tuple(Left(name, PICTURE, f"no converter for {PICTURE}", "unsupported_op") for name in NASTY)
    segment = SegmentReport(
        name=PICTURE, engine=BOLD, precision="fp32", nodes=(NASTY[3],), inputs=(BOLD,), outputs=(KEY,),
        build_seconds=0.5, tensorflow_ms=4.0, engine_ms=1.0,
    )  # fmt: skip
    session.conversion = Conversion(PICTURE, 1.0, 0.5, (segment,), left, warnings=(f"{BOLD} {PICTURE}",))
    session.conversionChanged.emit()
    session.log.add("warning", PICTURE)
    session.recent.add(path)
    made.notices.question.ask(PICTURE, BOLD, KEY, lambda: None)
    made._ask_consent(PICTURE, lambda: None)
    made.graph_panel.go_to(NASTY[3])
    qtbot.wait(600)
    return made


def indices(model: QAbstractItemModel, parent: QModelIndex) -> Iterator[QModelIndex]:
    for row in range(min(model.rowCount(parent), 50)):
        for column in range(1 if isinstance(model, QAbstractListModel) else model.columnCount(parent)):
            index = model.index(row, column, parent)
            yield index
            yield from () if isinstance(model, QAbstractListModel) or column else indices(model, index)


def check_tip(text: str, where: object) -> None:
    plain = text.replace("\n</div>", "</div>")  # Qt shows no line that is empty at the end
    assert plain == tip(rendered(text)), f"{where} shows {text!r} as {rendered(text)!r}"


def test_no_widget_takes_a_name_for_markup(window: Window, qtbot: QtBot) -> None:
    panel = window.graph_panel
    menu = ItemMenu(panel.state, panel.navigation, panel)
    outline = panel.state.side.outline
    menu.fill(outline, panel.state.item(outline, NASTY[3]))
    panel.search_panel._field.setText("x")
    for tree in window.findChildren(QTreeView):
        tree.expandAll()
    qtbot.wait(300)
    seen = 0
    for widget in [window, *window.findChildren(QWidget)]:
        check_tip(widget.toolTip(), widget)
        assert not isinstance(widget, QTextEdit | QMessageBox)
        if isinstance(widget, QLabel):
            if widget is panel.navigation.path:
                assert "\ufffc" not in rendered(widget.text()) and PICTURE in rendered(widget.text())
            else:
                assert widget.textFormat() == Qt.TextFormat.PlainText, widget.text()
        if isinstance(widget, QAbstractItemView) and widget.model() is not None:
            for index in indices(widget.model(), QModelIndex()):
                seen += any(name in str(index.data()) for name in (PICTURE, BOLD))
                check_tip(str(index.data(Qt.ItemDataRole.ToolTipRole) or ""), widget)
        if isinstance(widget, QAbstractButton | QMenu):
            check_tip(widget.toolTip(), widget)
    assert seen > 10, "the names are shown at all"
    captions = [action.text() for action in window.findChildren(QAction)]
    assert any("&&name.pb" in text for text in captions), "a recent file"
    for name in (BOLD, KEY):
        assert caption(name) in captions, captions
    assert KEY not in captions
