"""What the app's tests share: settings of their own, and a session that must leave nothing behind."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, qapp: QApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the tests from the user's recent files, window arrangement and cache folder."""
    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path / "cache"))
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    qapp.setOrganizationName("Icebreaker")
    qapp.setApplicationName("tests")
    theme.install(qapp, "light")


@pytest.fixture
def digits() -> Path:
    """The sample graph that ships with the program."""
    return ROOT / "resources" / "samples" / "digits.pb"


@pytest.fixture
def session(qapp: QApplication) -> Iterator[Session]:
    """A session; when the test is over, no thread, process or file of it may be left."""
    before = set(threading.enumerate())
    made = Session()
    yield made
    made.shutdown()
    # The timers that kill a job which does not end are daemons that sleep for some seconds more.
    new = [
        thread for thread in threading.enumerate() if thread not in before and not isinstance(thread, threading.Timer)
    ]
    for thread in new:
        thread.join(3)
    left = [thread.name for thread in new if thread.is_alive()]
    assert not left, f"threads are left over: {left}"
    assert not made.folder.exists(), f"files are left over in {made.folder}"
    command = ["ps", "--ppid", str(os.getpid()), "-o", "args="]
    listing = subprocess.run(command, capture_output=True, text=True)
    workers = [line for line in listing.stdout.splitlines() if "icebreaker.jobs.worker" in line]
    assert not workers, f"worker processes are left over: {workers}"
