"""Killed with work in hand, the app offers it to the next one that starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from icebreaker.messages import message
from icebreaker.reports import Conversion
from icebreaker_gui.main_window import Window
from icebreaker_gui.session import autosave
from icebreaker_gui.session.session import Session

_SECONDS = 120_000
# An app that converts, waits until all is kept, and is then killed.
_APP = """
import sys
from pathlib import Path
from PySide6.QtCore import QSettings, QTimer
from PySide6.QtWidgets import QApplication
from icebreaker_gui.session.autosave import Autosave
from icebreaker_gui.session.session import Session
app = QApplication([])
QSettings.setDefaultFormat(QSettings.Format.IniFormat)
QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, sys.argv[2])
session = Session()
autosave = Autosave(session)
session.measure_after_convert = False
def convert():
    session.batch = 3
    session.change(engine="onnxruntime", minimum_segment_size=1, max_batch_size=4)
    QTimer.singleShot(0, session.convert)
session.graphChanged.connect(convert)
state = session.folder / "state.json"
def look():
    if session.problem: print(session.problem.text, flush=True)
    if session.conversion and state.exists() and '"coverage"' in state.read_text(): print(session.folder, flush=True)
timer = QTimer(); timer.timeout.connect(look); timer.start(100)
session.open(Path(sys.argv[1]))
app.exec()
"""


def _killed(graph: Path, folder: Path) -> Path:
    command = [sys.executable, "-c", _APP, str(graph), str(folder / "other-settings")]
    app = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert app.stdout
    said = app.stdout.readline().strip()
    os.kill(app.pid, signal.SIGKILL)
    app.wait()
    app.stdout.close()
    assert Path(said).is_dir(), said
    return Path(said)


def test_work_comes_back_after_a_kill(qtbot: QtBot, digits: Path, tmp_path: Path) -> None:
    left = _killed(digits, tmp_path)
    session = Session()
    window = Window(session)
    qtbot.addWidget(window)
    window.show()
    window.offer_restore()
    assert window.notices.question.isVisible() and "digits.pb" in window.notices.question.text
    with qtbot.waitSignal(session.conversionChanged, timeout=_SECONDS, check_params_cb=lambda: True):
        window.notices.question.yes.click()
        qtbot.waitUntil(lambda: session.conversion is not None, timeout=_SECONDS)
    qtbot.waitUntil(lambda: not session.busy, timeout=_SECONDS)
    assert session.conversion and session.conversion.segments and session.optimized_graph
    assert session.settings.max_batch_size == 4 and session.path == digits and session.unsaved
    assert session.batch == window.docks.latency._batch.value() == 3
    assert session.benchmark is None and session.measure_after_convert
    assert not left.exists() and session.folder in Path(session.conversion.output).parents
    session.save(tmp_path / "saved.pb")
    qtbot.waitUntil(lambda: not session.busy, timeout=_SECONDS)
    assert (tmp_path / "saved.pb").stat().st_size > 1_000_000
    session.shutdown()
    assert not session.folder.exists()
    assert autosave.find_lost() is None


def _state(folder: Path, **changes: object) -> None:
    folder.mkdir(parents=True)
    (folder / "lock").write_text("")  # as after a power cut
    values = {
        "path": "/somewhere/graph.pb", "settings": {}, "limits": {}, "converted_with": None, "conversion": None,
        "saved_path": "", "benchmark": None, "batch": 1, "seconds": 1.0,
    }  # fmt: skip
    (folder / "state.json").write_text(json.dumps(values | changes))
    os.utime(folder, (0, 0))  # long ago


def test_discarded_is_gone(qtbot: QtBot, session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "sessions" / "icebreaker-session-dead"
    _state(folder)
    window = Window(session)
    qtbot.addWidget(window)
    window.show()
    window.offer_restore()
    assert "settings for graph.pb" in window.notices.question.text
    window.notices.question.no.click()
    window.offer_restore()
    assert not window.notices.question.isVisible()
    qtbot.waitUntil(lambda: not folder.exists(), timeout=5000)
    assert session.folder.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"precision": "evil"}},
        {"settings": []},
        {"path": None},
        {"conversion": {"output": "/etc/passwd"}},
        {"batch": "x"},
        {"consent": {"side_effects": True}},
        {"settings": {"consent": {"engines": True}}},
    ],
)
def test_damaged_states_are_removed(session: Session, qtbot: QtBot, tmp_path: Path, changes: dict[str, object]) -> None:
    folder = tmp_path / "cache" / "sessions" / "icebreaker-session-dead"
    _state(folder, **changes)
    assert autosave.find_lost() is None
    qtbot.waitUntil(lambda: not folder.exists(), timeout=5000)
    assert session.folder.exists()  # ours lives


def test_what_cannot_be_restored_does_not_cling_to_the_next_result(
    qtbot: QtBot, session: Session, tmp_path: Path
) -> None:
    nowhere = Conversion(str(tmp_path / "dead" / "run1" / "x.pb"), 1.0, 0.0, (), ())
    session.adopt(nowhere, session.settings, tmp_path / "saved.pb", None)
    qtbot.waitUntil(lambda: not session.busy, timeout=_SECONDS)
    assert session.problem and session.conversion is None
    session.conversion = Conversion("out.pb", 1.0, 0.0, (), ())
    session.conversionChanged.emit()
    assert session.saved_path is None and session.unsaved


def test_what_has_crashed_is_tried_again_if_the_user_wants(qtbot: QtBot, session: Session, digits: Path) -> None:
    window = Window(session)
    qtbot.addWidget(window)
    window.show()
    session.open(digits)
    qtbot.waitUntil(lambda: not session.busy, timeout=_SECONDS)
    why = "with openvino the worker process ended by SIGSEGV on 2026-01-01"
    crashed = message(
        "segment_crashed", "{subject}: {why}; {remedy}", "retry_crashed", subject="TRTEngineOp_000", why=why
    )
    made = Conversion("out.pb", 1.0, 0.0, (), (), (crashed,))
    session.conversion = made
    session.conversionChanged.emit()
    assert window.notices.question.isVisible() and "TRTEngineOp_000" in window.notices.question.text
    session.measure_after_convert = False
    session.change(engine="onnxruntime", minimum_segment_size=1)
    with qtbot.waitSignal(session.conversionChanged, timeout=_SECONDS):
        window.notices.question.yes.click()
        assert session.activity and session.activity.kind == "convert"
    assert session.conversion is not made and session.conversion.segments
    assert session.converted_with == session.settings and not session.consent.crashed
    assert not window.notices.question.isVisible()


def test_settings_come_back_and_strangers_offer_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache" / "sessions" / "icebreaker-session-dead"
    _state(folder, settings={"max_batch_size": 7}, limits={"time_seconds": 60.0})
    owner = folder.stat().st_uid
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: owner + 1)
        assert autosave.find_lost() is None
    lost = autosave.find_lost()
    assert lost and lost.state.settings.max_batch_size == 7 and lost.state.limits.time_seconds == 60
