"""What every app has: help, keys, preferences, full screen, undo, drop target; and that all of it can be reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QMimeData, QPointF, QSettings, Qt, QUrl
from PySide6.QtGui import QAction, QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialogButtonBox,
    QDockWidget,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMainWindow,
    QMenu,
    QScrollBar,
    QTabBar,
    QWidget,
)

from icebreaker_gui.habits import Habits
from icebreaker_gui.help.first_steps import FirstSteps
from icebreaker_gui.help.shortcuts import Shortcuts, shortcuts
from icebreaker_gui.main_window import Window
from icebreaker_gui.preferences import values
from icebreaker_gui.preferences.dialog import Preferences
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme

CONTROLS = QAbstractButton, QLineEdit, QComboBox, QAbstractSpinBox, QAbstractItemView, QAbstractSlider, QTabBar

PARTS = QComboBox, QAbstractSpinBox, QLineEdit, QTabBar, QAbstractItemView, QDockWidget, QMainWindow


@pytest.fixture
def window(session: Session, qtbot: Any) -> Any:
    made = Window(session)
    qtbot.addWidget(made, before_close_func=lambda _window: session.shutdown())
    made.show()
    qtbot.waitExposed(made)
    return made


def controls(top: QWidget) -> list[QWidget]:
    """All that can be used, without the parts that Qt makes them of."""
    return [
        widget for widget in top.findChildren(QWidget)
        if isinstance(widget, CONTROLS) and not isinstance(widget, QScrollBar | QHeaderView)
        and widget.window() is top and not widget.objectName().startswith("qt_")
        and not isinstance(widget.parentWidget(), PARTS)
    ]  # fmt: skip


def told(widget: QWidget | None, what: str) -> str:
    """A widget's tool tip or accessible name, its own or that of what it is in."""
    while widget is not None:
        if words := getattr(widget, what)():
            return words
        widget = widget.parentWidget()
    return ""


def names(widget: QWidget) -> str:
    if isinstance(widget, QAbstractButton) and widget.text():
        return widget.text()
    if isinstance(widget, QLineEdit | QAbstractSpinBox | QComboBox) and any(
        label.buddy() is widget for label in widget.window().findChildren(QLabel)
    ):
        return "its label"
    return told(widget, "accessibleName")


def everything(window: Window, session: Session) -> list[QWidget]:
    window.notices.question.ask("?", "yes", "no", lambda: None, other=("perhaps", lambda: None))
    return [window, FirstSteps(window), Shortcuts(window), Preferences(session, window)]


def test_every_control_has_a_tool_tip(window: Any, session: Session) -> None:
    bare = [
        f"{type(widget).__name__} {names(widget)!r} in {type(widget.parentWidget()).__name__}"
        for top in everything(window, session) for widget in controls(top) if not told(widget, "toolTip")
    ]  # fmt: skip
    assert not bare


def test_every_control_has_a_name_for_screen_readers(window: Any, session: Session) -> None:
    bare = [
        f"{type(widget).__name__} {told(widget, 'toolTip')!r} in {type(widget.parentWidget()).__name__}"
        for top in everything(window, session) for widget in controls(top) if not names(widget)
    ]  # fmt: skip
    assert not bare


def test_menus_have_letters_and_no_letter_twice(window: Any) -> None:
    for menu in [None, *window.menus.findChildren(QMenu)]:
        actions = [action for action in (menu or window.menus).actions() if action.text() and not action.isSeparator()]
        letters = [action.text().replace("&&", "").partition("&")[2][:1].lower() for action in actions]
        given = [letter for letter in letters if letter]
        assert len(given) == len(set(given)), [action.text() for action in actions]
        if menu is None:
            assert len(given) == len(actions)


def test_keys_are_used_once(window: Any) -> None:
    keys = [
        key.toString() for action in window.findChildren(QAction) for key in action.shortcuts()
        if action.shortcutContext() != Qt.ShortcutContext.WidgetShortcut
    ]  # fmt: skip
    assert len(keys) == len(set(keys)), sorted(keys)


def test_tab_goes_round_all_controls_that_are_seen(window: Any, session: Session, digits: Path, qtbot: Any) -> None:
    session.open(digits)
    qtbot.waitUntil(lambda: session.graph is not None and not session.busy)
    qtbot.wait(300)
    window.activateWindow()
    window.graph_panel.before_pane.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)
    passed: list[QWidget] = []
    for _ in range(400):
        here = QApplication.focusWidget()
        if here in passed:
            break
        assert here is not None and here.isVisible()
        passed.append(here)
        QTest.keyClick(here, Qt.Key.Key_Tab)
    missing = [
        f"{type(widget).__name__} {names(widget)}" for widget in controls(window)
        if widget.isVisible() and widget.isEnabled() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        and not window.docks.hides(widget) and widget not in passed and widget.focusProxy() not in passed
        and not (isinstance(widget, QAbstractButton) and widget.autoExclusive())
    ]  # fmt: skip
    assert not missing, [f"{type(w).__name__} {names(w)}" for w in passed]


def test_all_keys_are_listed(window: Any) -> None:
    listed = {keys for _, _, keys in shortcuts(window)}
    assert {"F1", "Ctrl+O", "F5", "F11", "Ctrl+D", "Ctrl+,"} <= listed
    page = Shortcuts(window)
    assert page.table.rowCount() > len(listed)
    page.close()


def test_f1_opens_first_steps_and_the_sample(window: Any, session: Session, qtbot: Any) -> None:
    window.menus.helpWanted.emit()
    page = window.findChild(FirstSteps)
    page.findChild(QAbstractButton, options=Qt.FindChildOption.FindChildrenRecursively)
    next(item for item in page.findChildren(QAbstractButton) if "sample" in item.text()).click()
    qtbot.waitUntil(lambda: session.graph is not None)


def test_full_screen_and_back(window: Any) -> None:
    window.menus.fullScreenWanted.emit()
    assert window.isFullScreen()
    window.menus.fullScreenWanted.emit()
    assert not window.isFullScreen()


def test_settings_are_undone_and_done_again(window: Any, session: Session, digits: Path, qtbot: Any) -> None:
    session.open(digits)
    qtbot.waitUntil(lambda: session.graph is not None and not session.busy)
    edit = next(action for action in window.menus.actions() if action.text() == "&Edit").menu()
    undo, redo = edit.actions()[:2]
    assert not undo.isEnabled()
    session.change(precision="fp16")
    session.exclude("stem/conv")
    session.exclude("head/dense")
    undo.trigger()
    assert session.settings.exclude == ("stem/conv",)
    undo.trigger()
    undo.trigger()
    assert (session.settings.precision, session.settings.exclude) == ("fp32", ())
    assert not undo.isEnabled()
    redo.trigger()
    assert session.settings.precision == "fp16"
    session.change(max_batch_size=2)
    assert not redo.isEnabled()
    session.change(max_batch_size=3)  # spun in one go
    undo.trigger()
    assert session.settings.max_batch_size == 1


def test_a_dragged_file_sees_where_to_go(window: Any) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile("/tmp/model.pb")])  # noqa: S108 - it need not be there
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    window.dragEnterEvent(QDragEnterEvent(QPointF(9, 9).toPoint(), Qt.DropAction.CopyAction, data, buttons, keys))
    assert window.drop_target.isVisible()
    assert "model.pb" in window.drop_target.accessibleName()
    window.dragLeaveEvent(QDragLeaveEvent())
    assert not window.drop_target.isVisible()
    window.dragEnterEvent(QDragEnterEvent(QPointF(9, 9).toPoint(), Qt.DropAction.CopyAction, data, buttons, keys))
    window.dropEvent(QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, data, buttons, keys))
    assert not window.drop_target.isVisible()


def test_preferences_are_kept(session: Session, qapp: QApplication, qtbot: Any) -> None:
    page = Preferences(session)
    qtbot.addWidget(page)
    page.theme.setCurrentIndex(page.theme.findData("dark"))
    page.theme.activated.emit(page.theme.currentIndex())
    assert theme.current() is theme.DARK
    page.theme.setCurrentIndex(page.theme.findData("light"))
    page.theme.activated.emit(page.theme.currentIndex())
    assert theme.current() is theme.LIGHT and values.chosen("theme") == "light"
    page.threads.setValue(1)
    page.memory.setText("8 GB")
    page.memory.editingFinished.emit()
    page.patience.setValue(100)
    assert (session.limits.threads, session.limits.memory_bytes, session.limits.patience_seconds) == (1, 8 * 10**9, 100)
    page.memory.setText("much")
    page.memory.editingFinished.emit()
    assert page._problem.isVisibleTo(page)
    other = Session()
    values.restore_limits(other)
    assert other.limits == session.limits
    QSettings().setValue("preferences/threads", "-3")
    QSettings().setValue("preferences/patience_seconds", "rubbish")
    values.restore_limits(other)
    assert other.limits.threads == 1
    other.shutdown()
    assert [page.language.itemData(n) for n in range(page.language.count())][:2] == [values.SYSTEM, "en"]


def test_the_cache_is_told_and_cleared(session: Session, tmp_path: Path, monkeypatch: Any, qtbot: Any) -> None:
    from icebreaker.storage import cache

    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path / "cache"))
    cache.write_note("crashes", "0" * 64, {"why": "x"})
    cache.write_note("engines", "1" * 64, {"proof": "x"})
    page = Preferences(session)
    qtbot.addWidget(page)
    assert page.clear.isEnabled()
    page.clear.click()
    assert not page.clear.isEnabled()
    assert cache.read_note("crashes", "0" * 64) is None
    assert cache.read_note("engines", "1" * 64) is not None  # what was built here stays known


def test_recent_files_tell_their_last_result(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "model.pb"
    session.recent.note(path, 2.0, "openvino", "int8")
    assert session.recent.result(str(path)) is None  # it was never opened
    session.recent.add(path)
    session.recent.note(path, 2.0, "openvino", "int8")
    assert session.recent.result(str(path)) == (2.0, "openvino", "int8")
    session.recent.clear()
    assert session.recent.result(str(path)) is None


def test_habits_need_no_graph(window: Any) -> None:
    habits = window.findChild(Habits)
    habits.show_preferences()
    habits.show_shortcuts()
    assert window.findChild(Preferences).isVisible() and window.findChild(Shortcuts).isVisible()
    for box in window.findChildren(QDialogButtonBox):
        box.rejected.emit()
