"""The whole window: the main job end to end, and what users do to it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QListView, QPushButton, QTreeWidget, QWidget
from pytestqt.qtbot import QtBot

from icebreaker.graph.protos import AttrValue, GraphDef, NodeDef
from icebreaker.reports import EngineStatus, Machine
from icebreaker_gui.main_window import Window
from icebreaker_gui.panels.setup.panel import Setup
from icebreaker_gui.session.session import Session

_SECONDS = 120_000


@pytest.fixture
def window(session: Session, qtbot: QtBot) -> Window:
    made = Window(session)
    qtbot.addWidget(made, before_close_func=lambda window: session.shutdown())
    made.show()
    return made


def wait_idle(qtbot: QtBot, session: Session) -> None:
    qtbot.waitUntil(lambda: not session.busy, timeout=_SECONDS)


def named(window: Window, text: str) -> QPushButton:
    return next(item for item in window.findChildren(QPushButton) if item.text() == text)


def test_the_main_job(window: Window, session: Session, qtbot: QtBot, digits: Path, tmp_path: Path) -> None:
    session.start()
    qtbot.waitUntil(lambda: session.machine is not None, timeout=_SECONDS)
    session.open(digits)
    wait_idle(qtbot, session)
    qtbot.wait(500)
    session.seconds = 1
    stages, convert = [], named(window, "Convert")
    session.activityChanged.connect(lambda: session.activity and stages.append(session.activity.stage))
    convert.click()
    qtbot.waitUntil(lambda: session.problem is not None or session.benchmark is not None, timeout=_SECONDS)
    wait_idle(qtbot, session)
    assert session.problem is None, session.problem
    assert session.conversion and session.conversion.segments and session.optimized_graph
    assert session.benchmark and session.benchmark.speedup and session.benchmark.outputs
    assert {item.series for item in session.samples} == {"original", "optimized"}
    assert len(set(stages)) > 4, stages

    target = tmp_path / "faster.pb"
    session.save(target)
    wait_idle(qtbot, session)
    assert session.optimized_path and target.read_bytes() == session.optimized_path.read_bytes()
    assert session.saved_path == target and not session.unsaved
    assert window.graph_panel.state.data.benchmark is session.benchmark, "saving forgets nothing that was measured"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["faster.pb"]
    session.save(tmp_path / "nowhere" / "faster.pb")
    wait_idle(qtbot, session)
    assert session.problem and "nowhere" in session.problem.text


def test_a_bad_file_is_told_of_in_the_window(window: Window, session: Session, qtbot: QtBot, tmp_path: Path) -> None:
    bad = tmp_path / "letter.pb"
    bad.write_text("Dear all,\n")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(bad))])
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(400, 300), copy, mime, left, none)
    QApplication.sendEvent(window, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(window, QDropEvent(QPointF(400, 300), copy, mime, left, none))
    wait_idle(qtbot, session)
    banner = window.notices.banner
    assert banner.isVisible()
    named(window, "Show the log").click()
    assert QApplication.activeModalWidget() is None
    banner.dismissed.emit()
    assert not banner.isVisible() and session.problem is None


def test_long_names_do_not_widen_the_window(
    window: Window, session: Session, qtbot: QtBot, digits: Path, tmp_path: Path
) -> None:
    qtbot.wait(50)
    before = window.minimumSizeHint().width()
    session.open(tmp_path / ("a_long_name_of_mine" * 10 + ".pb"))
    wait_idle(qtbot, session)
    assert window.notices.banner.isVisible()
    window.notices.question.ask("x" * 300, "yes", "no", lambda: None)
    copy = tmp_path / ("another_long_name" * 10 + ".pb")
    shutil.copy(digits, copy)
    session.recent.add(copy)
    link = next(item for item in window.welcome.findChildren(QPushButton) if item.toolTip() == str(copy))
    assert "…" in link.text() and link.sizeHint().width() < 620
    qtbot.wait(50)
    assert window.minimumSizeHint().width() <= before


def _tab(times: int, back: bool = False) -> list[QWidget]:
    passed = []
    for _ in range(times):
        here = QApplication.focusWidget()
        assert here
        QTest.keyClick(here, Qt.Key.Key_Backtab if back else Qt.Key.Key_Tab)
        passed.append(QApplication.focusWidget())
    return passed


def test_keys_reach_what_is_seen_and_nothing_else(window: Window, session: Session, qtbot: QtBot, digits: Path) -> None:
    session.open(digits)
    wait_idle(qtbot, session)
    qtbot.waitUntil(lambda: window.graph_panel.state.scene is not None, timeout=_SECONDS)
    for shown, reached in (("latency", {"latency"}), ("result", set()), ("log", {"log"})):  # Result is empty yet
        window.docks.setup.open_card("model")
        window.show_panel(shown)
        qtbot.wait(50)
        named(window, "Open…").setFocus()
        passed = _tab(60) + _tab(60, back=True)
        inside = {name for name, dock in window.docks.by_name.items() for item in passed if dock.isAncestorOf(item)}
        assert inside == {"setup"} | reached
        assert {window.graph_panel.before_pane, window.graph_panel.search_field} <= set(passed)
    pane = window.graph_panel.before_pane
    pane.clearFocus()
    plain = pane.grab().toImage()
    pane.setFocus()
    assert pane.grab().toImage() != plain, "it is seen where keys go"


def test_keys_bring_a_panel_forward(window: Window, qtbot: QtBot) -> None:
    qtbot.wait(50)
    log = window.docks.by_name["log"]
    for shown in (True, False, True):
        QTest.keyClick(window, Qt.Key.Key_4, Qt.KeyboardModifier.ControlModifier)
        qtbot.wait(50)
        assert log.visibleRegion().isEmpty() is not shown
        assert log.isAncestorOf(QApplication.focusWidget()) or not shown


def test_keys_stay_with_the_button_that_began(window: Window, session: Session, qtbot: QtBot, digits: Path) -> None:
    session.open(digits)
    wait_idle(qtbot, session)
    convert, cancel = named(window, "Convert"), window.docks.setup.convert_bar._cancel
    convert.setFocus()
    QTest.keyClick(convert, Qt.Key.Key_Space)
    assert session.busy and QApplication.focusWidget() is cancel
    field = window.graph_panel.search_field
    field.setText("relu")
    QTest.keyClick(field, Qt.Key.Key_Escape)
    assert not field.text() and session.activity and not session.activity.cancelling, "Escape has cleared the field"
    QTest.keyClick(cancel, Qt.Key.Key_Space)
    wait_idle(qtbot, session)
    assert session.conversion is None and QApplication.focusWidget() is convert


def test_words_in_the_toolbar_do_not_press_upon_the_docks(window: Window, qtbot: QtBot) -> None:
    window.pages.setCurrentWidget(window.graph_panel)
    qtbot.wait(20)
    before = window.graph_panel.minimumSizeHint().width()
    window.graph_panel.state.busyChanged.emit("Laying out the graph …")
    qtbot.wait(20)
    assert window.graph_panel.minimumSizeHint().width() == before


def test_what_cannot_be_converted_is_told_and_no_key_converts_it(
    window: Window, session: Session, qtbot: QtBot, digits: Path, tmp_path: Path
) -> None:
    session.open(digits)
    wait_idle(qtbot, session)
    assert window.menus.convert_action.isEnabled() and named(window, "Convert").isEnabled()
    session.change(precision="int8", data=None)
    assert "INT8 needs data" in window.docks.setup.why_not()
    assert not window.menus.convert_action.isEnabled() and not named(window, "Convert").isEnabled()
    (tmp_path / "mine.py").write_text("def batches(): yield {}")
    session.change(calibration=str(tmp_path / "mine.py"))
    assert not window.menus.convert_action.isEnabled() and not named(window, "Convert").isEnabled()
    session.allow(python=True)
    assert window.menus.convert_action.isEnabled() and named(window, "Convert").isEnabled()
    session.change(calibration=None, calibration_table=str(tmp_path / "ranges.json"))
    assert window.menus.convert_action.isEnabled()


def test_closing_mid_work_asks(window: Window, session: Session, qtbot: QtBot, digits: Path) -> None:
    session.open(digits)
    wait_idle(qtbot, session)
    session.convert()
    qtbot.waitUntil(lambda: bool(session.job and session.job.pid), timeout=_SECONDS)
    assert session.job
    pid = session.job.pid
    assert pid
    assert not window.close()
    assert window.isVisible() and session.busy
    window.notices.question.no.click()
    assert window.isVisible() and not window.notices.question.isVisible()
    window.close()
    window.notices.question.yes.click()
    assert not window.isVisible()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not session.folder.exists()


CLOSING = """
import sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from icebreaker.reports import Conversion
from icebreaker_gui import __main__ as app
from icebreaker_gui.main_window import Window

def close():
    window = next(item for item in QApplication.topLevelWidgets() if isinstance(item, Window))
    session = window._session
    if sys.argv[1] == "unsaved":
        session.conversion = Conversion("x", 1.0, 0.5, (), ())
    else:
        session.make_sample("resnet50")
    window.close()
    assert window.isVisible(), "it asks"
    window.notices.question.yes.click()

listen = app._listen_to_signals
app._listen_to_signals = lambda made: (QTimer.singleShot(500, close), listen(made))[1]
print("ended", app.main([]))
"""


@pytest.mark.parametrize("what", ["unsaved", "work"])
def test_closing_after_all_ends_the_process(what: str, tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", CLOSING, what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "ended 0\n", done.stderr


def test_a_graph_that_acts_outside_itself_runs_only_if_allowed(
    window: Window, session: Session, qtbot: QtBot, tmp_path: Path
) -> None:
    path, written = tmp_path / "writer.pb", tmp_path / "written.txt"
    nodes = [
        NodeDef(name="x", op="Placeholder", attr={"dtype": AttrValue(type=7)}),
        NodeDef(name="name", op="Const", attr={"dtype": AttrValue(type=7)}),
        NodeDef(name="write", op="WriteFile", input=["name", "x"]),
        NodeDef(name="y", op="Identity", input=["x", "^write"], attr={"T": AttrValue(type=7)}),
    ]
    nodes[1].attr["value"].tensor.dtype = 7
    nodes[1].attr["value"].tensor.string_val.append(str(written).encode())
    path.write_bytes(GraphDef(node=nodes).SerializeToString())
    session.open(path)
    wait_idle(qtbot, session)
    for begin in (session.convert, session.measure):
        begin()
        assert not session.busy and window.notices.question.isVisible()
        assert "write (WriteFile) writes files" in window.notices.question.text
        window.notices.question.no.click()
        assert not session.consent.side_effects
    session.measure_after_convert = False
    session.convert()
    window.notices.question.yes.click()
    assert session.consent.side_effects and session.busy
    session.cancel()
    wait_idle(qtbot, session)
    session.open(path)
    wait_idle(qtbot, session)
    assert not session.consent.side_effects, "what is opened anew is asked for anew"


def test_engines_from_elsewhere_are_loaded_only_if_trusted(window: Window, session: Session) -> None:
    answers: list[bool] = []
    for button, answer in ((window.notices.question.no, False), (window.notices.question.yes, True)):
        session.trustWanted.emit(["onnxruntime", "<b>" + "x" * 500], answers.append)
        assert window.notices.question.isVisible() and not answers[1 if answer else 0 :]
        text = window.notices.question.text.replace("\u200b", "")
        assert "not built here: ONNX Runtime, <b>xxx" in text and "x" * 50 not in text
        button.click()
        assert answers[-1] is answer and not window.notices.question.isVisible()


def test_docks_come_back_where_they_were(window: Window, session: Session, qtbot: QtBot) -> None:
    window.docks.by_name["log"].hide()
    assert window.close()
    other = Session()
    again = Window(other)
    qtbot.addWidget(again)
    assert again.docks.by_name["log"].isHidden()
    assert not again.docks.by_name["result"].isHidden()
    other.shutdown()


@pytest.fixture
def setup(session: Session, qtbot: QtBot, digits: Path) -> Setup:
    made = Setup(session)
    qtbot.addWidget(made)
    made.show()
    session.open(digits)
    wait_idle(qtbot, session)
    return made


def test_outputs_are_searched_and_checked(setup: Setup, session: Session) -> None:
    tensors = max(setup.findChildren(QListView), key=lambda view: view.model().rowCount(), default=None)
    search = next(item for item in setup.findChildren(QLineEdit) if "Search" in item.placeholderText())
    assert tensors
    model = tensors.model()
    everything = model.rowCount()
    search.setText("head/pool")
    assert 0 < model.rowCount() < everything
    index = model.index(0, 0)
    assert index.data() == "head/pool"
    model.setData(index, Qt.CheckState.Checked.value, Qt.ItemDataRole.CheckStateRole)
    assert session.settings.outputs[-1] == "head/pool"
    search.clear()
    for row in range(model.rowCount()):
        model.setData(model.index(row, 0), Qt.CheckState.Unchecked.value, Qt.ItemDataRole.CheckStateRole)
    assert session.settings.outputs == ()
    assert not named_in(setup, "Convert").isEnabled()


def named_in(setup: Setup, text: str) -> QPushButton:
    return next(item for item in setup.findChildren(QPushButton) if item.text() == text)


def test_an_open_shape_is_edited(setup: Setup, session: Session) -> None:
    inputs = setup.findChild(QTreeWidget)
    assert inputs
    row = inputs.topLevelItem(0)
    assert row
    row.setText(2, "four")
    assert session.settings.input_shapes == {}
    assert any("is not a shape" in item.text() for item in setup.findChildren(QLabel))
    row = inputs.topLevelItem(0)  # made anew
    assert row
    row.setText(2, "4")
    assert session.settings.input_shapes == {"image_bytes": (4,)}
    row = inputs.topLevelItem(0)
    assert row
    row.setText(2, "")
    assert session.settings.input_shapes == {}


def test_engines_say_what_they_can(setup: Setup, session: Session) -> None:
    session.machine = Machine(
        (
            EngineStatus("openvino", True, True, "OpenVINO on a processor", {"fp32": "fp32", "fp16": "bf16"}),
            EngineStatus("tensorrt", False, False, "no NVIDIA driver: install one"),
        ),
        gpu="NVIDIA Test GPU",
        gpu_memory_bytes=12_000_000_000,
    )
    session.machineChanged.emit()

    def texts(card: str) -> list[str]:
        setup.open_card(card)
        return [item.text() for item in setup.findChildren(QLabel) if item.isVisibleTo(setup)]

    assert "no NVIDIA driver: install one" not in texts("engine"), "what cannot be used takes one line"
    next(item for item in setup.findChildren(QPushButton) if "Not usable here: " in item.text()).click()
    assert "no NVIDIA driver: install one" in texts("engine")
    session.change(precision="fp16", memory_fraction=2 / 3)
    assert "computes in bfloat16 here" in texts("precision")
    assert "TensorFlow 8.0 GB · engines 4.0 GB of 12.0 GB" in texts("advanced")
    assert not named_in(setup, "INT8").isEnabled()


def test_a_screenshot_of_the_real_app(digits: Path, tmp_path: Path) -> None:
    picture = tmp_path / "app.png"
    command = [sys.executable, "-m", "icebreaker_gui", "--screenshot", str(picture), "--theme", "dark"]
    subprocess.run([*command, "--size", "1000x700", str(digits)], check=True, timeout=60)
    image = QImage(str(picture))
    assert (image.width(), image.height()) == (1000, 700)
    bad = tmp_path / "letter.pb"
    bad.write_text("Dear all,\n")
    failed = subprocess.run([*command, str(bad)], capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1 and "letter.pb" in failed.stderr


def test_the_app_starts_light() -> None:
    code = (
        "import sys; import icebreaker_gui.__main__;"
        "heavy = {'tensorflow', 'tensorrt', 'tensorrt_rtx', 'openvino', 'onnxruntime', 'onnx', 'tf2onnx', 'keras'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
