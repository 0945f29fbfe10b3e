"""What hands do without thinking: the wheel, Escape, Return, the Menu key, double clicks, resizing, closing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QContextMenuEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractSlider, QAbstractSpinBox, QApplication, QComboBox, QPushButton, QScrollBar
from pytestqt.qtbot import QtBot

from helpers.graph_view import converted, measured, network, where
from icebreaker.graph.graph import Graph
from icebreaker.messages import message
from icebreaker.reports import EngineStatus, Left, Machine
from icebreaker_gui.graph_view.painting.view import Camera
from icebreaker_gui.main_window import Window
from icebreaker_gui.session.activity import Activity
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme

_SECONDS = 60_000


@pytest.fixture
def window(session: Session, qtbot: QtBot) -> Window:
    made = Window(session)
    qtbot.addWidget(made, before_close_func=lambda window: session.shutdown())
    made.show()
    return made


@pytest.fixture
def opened(window: Window, session: Session, qtbot: QtBot, digits: Path) -> Window:
    session.open(digits)
    qtbot.waitUntil(lambda: not session.busy, timeout=_SECONDS)
    qtbot.waitUntil(lambda: window.graph_panel.state.scene is not None, timeout=_SECONDS)
    session.machine = Machine(
        (
            EngineStatus("openvino", True, True, "here", {"fp32": "fp32", "fp16": "bf16", "int8": "int8"}),
            EngineStatus("onnxruntime", True, True, "here", {"fp32": "fp32", "int8": "int8"}),
        )
    )
    session.machineChanged.emit()
    return window


def show_result(window: Window, session: Session, qtbot: QtBot, gained: bool = True) -> None:
    """Gives the session a result as if it had converted the open graph."""
    graph = session.graph
    assert graph
    result, after = _result(graph, gained)
    session.conversion, session.optimized_graph = result, after
    session.converted_with = session.settings
    session.conversionChanged.emit()
    qtbot.waitUntil(lambda: window.graph_panel.state.data.conversion is result)
    if gained:
        session.benchmark = measured()
        session.benchmarkChanged.emit()
        qtbot.waitUntil(lambda: window.graph_panel.state.data.benchmark is session.benchmark)


def _result(graph: Graph, gained: bool):
    result, _ = converted(network())
    names = tuple(node.name for node in graph if node.name.startswith("block"))
    why = message(
        "engine_slower", "{subject} takes {engine_ms:.2f} ms, TensorFlow {tensorflow_ms:.2f} ms",
        subject="onnxruntime", engine_ms=53.0, tensorflow_ms=41.0,
    )  # fmt: skip
    if not gained:
        left = tuple(Left(name, graph[name].op, why, "not_faster") for name in names)
        return dataclasses.replace(result, segments=(), coverage=0.0, left_in_tensorflow=left), graph
    segment = dataclasses.replace(result.segments[0], nodes=names, inputs=(), outputs=())
    left = tuple(
        Left(node.name, node.op, "no converter", "unsupported_op") for node in graph if node.name not in segment.nodes
    )
    return dataclasses.replace(result, segments=(segment,), left_in_tensorflow=left), graph


def wheel(widget, down: bool = True) -> QWheelEvent:
    middle = QPointF(widget.rect().center())
    event = QWheelEvent(
        middle, QPointF(widget.mapToGlobal(middle.toPoint())), QPoint(), QPoint(0, -120 if down else 120),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(widget, event)
    return event


def value_of(widget) -> object:
    return widget.currentIndex() if isinstance(widget, QComboBox) else widget.value()


def test_the_wheel_changes_nothing_that_has_not_got_the_focus(opened: Window, session: Session) -> None:
    session.change(precision="int8")
    opened.graph_panel.before_pane.setFocus()
    before, limits = session.settings, session.limits
    seen = 0
    for kind in (QComboBox, QAbstractSpinBox, QAbstractSlider):
        for widget in opened.findChildren(kind):
            if isinstance(widget, QScrollBar):
                continue
            shown = value_of(widget)
            for down in (True, False):
                wheel(widget, down)
            assert value_of(widget) == shown, widget
            seen += 1
    assert seen > 10 and (session.settings, session.limits) == (before, limits)
    field = opened.docks.latency._batch
    opened.show_panel("latency")
    field.setFocus()
    wheel(field, down=False)
    assert field.value() == 2, "with the focus it is for the field"


def test_escape_in_the_graph_chooses_nothing_and_cancels_nothing(opened: Window, session: Session) -> None:
    pane = opened.graph_panel.before_pane
    opened.graph_panel.go_to("rescale")
    pane.setFocus()
    session._foreground._become(Activity("convert", "Converting"))
    QTest.keyClick(pane, Qt.Key.Key_Escape)
    assert not opened.graph_panel.state.selected
    assert session.activity and not session.activity.cancelling and not opened.notices.question.isVisible()
    opened.menus.cancelWanted.emit()
    assert opened.notices.question.isVisible() and session.activity and not session.activity.cancelling, "it asks first"
    session._foreground._become(None)


def test_return_gives_the_answer_that_has_the_focus(window: Window, qtbot: QtBot) -> None:
    given = []
    window.notices.question.ask(
        "Close?", "Close", "Stay", lambda: given.append("yes"), lambda: given.append("no"),
        other=("Save…", lambda: given.append("save")),
    )  # fmt: skip
    question = window.notices.question
    assert [item.text() for item in question.findChildren(QPushButton)] == ["Stay", "Save…", "Close"]
    focused = QApplication.focusWidget()
    assert focused
    QTest.keyClick(focused, Qt.Key.Key_Return)
    assert given == ["no"] and not question.isVisible()
    question.ask("Close?", "Close", "Stay", lambda: None, other=("Save…", lambda: given.append("save")))
    question.other.setFocus()
    QTest.keyClick(question.other, Qt.Key.Key_Return)
    assert given == ["no", "save"]


def test_closing_with_unsaved_work_offers_to_save(opened: Window, session: Session, qtbot: QtBot) -> None:
    show_result(opened, session, qtbot)
    assert not opened.close()
    assert opened.notices.question.other.isVisible() and opened.notices.question.other.text() == "Save…"


def test_nothing_moves_when_something_is_chosen_or_told(opened: Window, session: Session, qtbot: QtBot) -> None:
    panel = opened.graph_panel
    pane = panel.before_pane
    qtbot.wait(50)
    place, height = pane.mapTo(opened, QPoint(0, 0)), pane.height()
    spot = where(pane, "rescale")
    QTest.mouseClick(pane, Qt.MouseButton.LeftButton, pos=spot)
    assert panel.state.selected == "rescale"
    qtbot.wait(50)
    assert panel.sidebar.isVisible() and where(pane, "rescale") == spot, "a second click hits the same"
    qtbot.wait(200)
    session.report("It failed", "for a reason")
    opened.notices.question.ask("Really?", "Yes", "No", lambda: None)
    qtbot.wait(50)
    assert opened.notices.banner.isVisible() and opened.notices.question.isVisible()
    assert (pane.mapTo(opened, QPoint(0, 0)), pane.height()) == (place, height)


@pytest.mark.parametrize("size", [(900, 600), (1024, 700), (1920, 1080)])
def test_names_can_be_read_at_every_size_in_every_mode(
    opened: Window, session: Session, qtbot: QtBot, size: tuple[int, int]
) -> None:
    opened.resize(*size)
    show_result(opened, session, qtbot)
    panel = opened.graph_panel
    for mode in ("before", "both", "slider", "after"):
        panel.set_mode(mode)
        qtbot.wait(30)
        for pane in panel._shown():
            assert pane.camera.scale >= 0.59, mode
    panel._pane().zoom(1.1)
    panel.fit()
    qtbot.wait(400)
    assert panel._pane().camera.scale >= 0.59
    assert opened.width() == size[0], "it fits into its smallest size"


def test_it_stays_fitted_until_the_user_moves(opened: Window, qtbot: QtBot) -> None:
    pane = opened.graph_panel.before_pane
    opened.resize(1000, 700)
    qtbot.wait(50)
    assert not pane.shows_all and pane.lasting
    opened.resize(1700, 1000)
    qtbot.wait(50)
    assert pane.shows_all and pane.lasting
    wheel(pane)
    moved = pane.camera
    opened.resize(1200, 800)
    qtbot.wait(50)
    assert pane.camera == moved and not pane.lasting


def test_opening_all_groups_keeps_the_middle_in_the_middle(opened: Window, qtbot: QtBot) -> None:
    state, pane = opened.graph_panel.state, opened.graph_panel.before_pane
    assert pane.picture
    box = pane.picture.scene.box(pane.picture.scene.outline.item("block4/"))
    assert box
    x, y, wide, tall = box
    pane.set_camera(Camera(x + wide / 2, y + tall / 2, 1.0))
    state.open_all()
    qtbot.wait(400)
    assert pane.picture
    scene = pane.picture.scene
    box = scene.box(scene.outline.item("block4/"))
    assert box
    x, y, wide, tall = box
    assert x <= pane.camera.x <= x + wide and y <= pane.camera.y <= y + tall


def test_the_menu_key_is_about_what_is_chosen(opened: Window, qtbot: QtBot) -> None:
    pane = opened.graph_panel.before_pane
    opened.graph_panel.go_to("rescale")
    qtbot.wait(400)
    with qtbot.waitSignal(pane.menuWanted) as asked:
        pane.menuWanted.disconnect(opened.graph_panel._menu)
        QApplication.sendEvent(
            pane, QContextMenuEvent(QContextMenuEvent.Reason.Keyboard, QPoint(1, 1), pane.mapToGlobal(QPoint(1, 1)))
        )
    assert asked.args
    item, place = asked.args
    assert pane.picture and pane.picture.scene.outline.keys[item] == "rescale"
    assert pane.item_at(QPointF(pane.mapFromGlobal(place))) == item


def test_the_pointer_is_told_what_it_is_over(opened: Window, qtbot: QtBot) -> None:
    pane = opened.graph_panel.before_pane
    qtbot.wait(50)
    QTest.mouseMove(pane, where(pane, "rescale"))
    qtbot.waitUntil(lambda: pane.card.isVisible(), timeout=3000)
    assert pane.card.words.startswith("Mul\nrescale\nfloat32[?,64,64,1]")
    assert pane.rect().contains(pane.card.geometry())
    QTest.mouseMove(pane, QPoint(pane.width() - 2, pane.height() - 2))
    qtbot.waitUntil(lambda: not pane.card.isVisible(), timeout=3000)


def test_what_is_left_out_is_marked_at_once_and_can_be_undone(opened: Window, session: Session) -> None:
    panel, question = opened.graph_panel, opened.notices.question
    panel.go_to("rescale")
    panel.details._exclude.click()
    assert session.settings.exclude == ("rescale",)
    outline = panel.before_pane.picture.scene.outline
    assert panel.before_pane.marks.kept == {outline.leaf["rescale"]}
    assert "after the next Convert" in panel.details._card_text.text()
    assert question.isVisible() and "1 node stays in TensorFlow after the next Convert" in question.text
    question.no.click()
    assert session.settings.exclude == () and not panel.before_pane.marks.kept
    panel.go_to("block1/")
    panel.details._exclude.click()
    names = session.settings.exclude
    assert len(names) > 2 and all(name.startswith("block1/") for name in names), "a group as a whole"
    panel.details._exclude.click()
    assert session.settings.exclude == (), "and back"


def test_one_measurement_feeds_every_figure(opened: Window, session: Session, qtbot: QtBot, monkeypatch) -> None:
    monkeypatch.setattr(opened, "save_as", lambda: None)  # which would ask for a name
    assert not opened.strip.isVisible()
    show_result(opened, session, qtbot)
    strip = opened.strip
    assert strip.isVisible() and strip._headline.text() == "2.5× faster"
    assert strip.verdict and (strip.verdict.before_ms, strip.verdict.after_ms) == (5.0, 2.0)
    assert strip.verdict.facts[0] == "77 % of the ops in OpenVINO FP32"
    assert opened.docks.latency._finding.text() == "2.5× faster"
    # 4 ms and 1 ms are a trial's, of the segment alone: in tool tips, and nowhere on the screen.
    table = opened.docks.result._segments
    cells = [table.item(0, column).text() for column in range(table.columnCount())]
    assert not any("4.0×" in text or "→" in text for text in cells) and "4 ms" in table.item(0, 0).toolTip()
    assert "4 ms" in strip._headline.toolTip()
    with qtbot.waitSignal(strip.saveWanted):
        strip.save.click()


def test_nothing_gained_says_so_and_what_to_try(opened: Window, session: Session, qtbot: QtBot, monkeypatch) -> None:
    show_result(opened, session, qtbot, gained=False)
    strip = opened.strip
    assert strip._headline.text() == "Nothing to gain at FP32"
    assert strip._sure.text() == "ONNX Runtime 53 ms, TensorFlow 41 ms"
    assert not strip.save.isVisible()
    steps = [
        item
        for index in range(strip.steps.count())
        if isinstance(item := strip.steps.itemAt(index).widget(), QPushButton)
    ]
    assert [item.text() for item in steps] == ["Measure again", "Use ONNX Runtime anyway", "Try FP16", "Try INT8"]
    begun = []
    monkeypatch.setattr(session, "convert", lambda: begun.append(session.settings))
    for index in (1, 2):
        steps[index].click()
    assert [(settings.engine, settings.precision) for settings in begun] == [
        ("onnxruntime", "fp32"), ("onnxruntime", "fp16"),
    ]  # fmt: skip


def test_reasons_stand_by_segment_with_what_helps(opened: Window, session: Session, qtbot: QtBot, monkeypatch) -> None:
    show_result(opened, session, qtbot, gained=False)
    tree = opened.graph_panel.why_not._tree
    qtbot.waitUntil(lambda: tree.topLevelItemCount() > 0, timeout=_SECONDS)
    assert "ONNX Runtime takes 53.00 ms" in tree.topLevelItem(0).text(0)
    begun = []
    monkeypatch.setattr(session, "convert", lambda: begun.append(session.settings.engine))
    choice = next(item for item in tree.findChildren(QPushButton) if "anyway" in item.text())
    choice.click()
    assert begun == ["onnxruntime"]
    tree.topLevelItem(0).setExpanded(True)
    tree.setCurrentItem(tree.topLevelItem(0).child(0))
    assert tree.isVisible() and opened.graph_panel.details.isVisible(), "the list stays, details open below it"


def test_setup_fits_and_says_its_values(opened: Window, session: Session, qtbot: QtBot) -> None:
    setup = opened.docks.setup
    opened.resize(1280, 800)
    show_result(opened, session, qtbot)
    for name in ("model", "outputs", "engine", "precision", "advanced"):
        setup.open_card(name)
        qtbot.wait(20)
        assert [key for key, card in setup.cards.items() if card.is_open] == [name], "one at a time"
        if name in ("model", "engine", "precision"):
            assert not setup._scroll.verticalScrollBar().isVisible(), name
    assert setup.cards["engine"].head.value == "Auto: 2 of 2 usable here"
    assert not any(card.head.changed for card in setup.cards.values()) and not setup._reset.isVisible()
    session.change(engine="openvino", max_batch_size=4)
    assert setup.cards["engine"].head.value == "OpenVINO" and setup.cards["engine"].head.changed
    assert setup.cards["advanced"].head.value == "1 changed"
    setup._reset.click()
    assert session.settings == session.defaults and not setup._reset.isVisible()


def test_panels_below_fold_until_they_have_something_to_say(opened: Window, session: Session, qtbot: QtBot) -> None:
    qtbot.wait(50)
    assert opened.docks.folded and opened.docks.latency.height() < 5
    tall = opened.graph_panel.before_pane.height()
    session._foreground._become(Activity("measure", "Measuring"))
    qtbot.wait(50)
    assert not opened.docks.folded and opened.docks.latency.height() > 100
    bar = opened.docks._bar
    assert bar is not None
    QTest.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(bar.currentIndex()).center())
    qtbot.wait(50)
    assert opened.docks.folded and opened.graph_panel.before_pane.height() == tall
    session._foreground._become(None)
    session._foreground._become(Activity("measure", "Measuring"))
    assert opened.docks.folded, "what the user has folded stays so"
    session._foreground._become(None)


def test_progress_never_runs_backwards_and_tells_the_time(opened: Window, session: Session) -> None:
    foreground = session._foreground
    foreground._become(Activity("convert", "Building", 0.5, began=_ago(30)))
    foreground.advance("Building another", 0.3)
    assert session.activity and session.activity.fraction == 0.5
    words = opened.docks.setup.convert_bar._time.text()
    assert words == "30 s · about 30 s left"
    assert not opened._bar.isVisible(), "it is told in one place"
    foreground._become(None)


def _ago(seconds: float) -> float:
    import time

    return time.monotonic() - seconds


def test_the_status_says_why_it_cannot_be_converted(opened: Window, session: Session, digits: Path) -> None:
    assert opened._stage.text() == "Ready to convert"
    session.change(outputs=())
    assert opened._stage.text() == "Choose at least one output."


def test_int8_does_not_outlive_its_data(opened: Window, session: Session, qtbot: QtBot, tmp_path: Path) -> None:
    session.change(precision="int8")
    other = tmp_path / "other.pb"
    other.write_bytes(session.path.read_bytes())  # the same bytes under another name: no sample of ours
    session.open(other)
    qtbot.waitUntil(lambda: not session.busy, timeout=_SECONDS)
    assert session.settings.precision == "fp32"


def test_the_strip_follows_the_theme(opened: Window, session: Session, qtbot: QtBot, qapp: QApplication) -> None:
    show_result(opened, session, qtbot)
    light = opened.strip.grab().toImage()
    theme.show(qapp, theme.DARK)
    qtbot.wait(20)
    assert opened.strip.grab().toImage() != light
