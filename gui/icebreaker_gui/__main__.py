"""Starts the app: `python -m icebreaker_gui [FILE]`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from PySide6.QtCore import QSettings, QSize, QTimer
from PySide6.QtWidgets import QApplication

from icebreaker_gui.main_window import Window
from icebreaker_gui.preferences import values
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme

# How long a thread of ours that computes may keep the GUI's thread from running; Python's default is 5 ms, and the
# GUI's thread may have to wait for its turn a dozen times within one frame.
_SWITCH_SECONDS = 0.0005


def main(arguments: list[str] | None = None) -> int:
    """Opens the window and runs until it is closed."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    sys.setswitchinterval(_SWITCH_SECONDS)
    if options.screenshot:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    app = QApplication(sys.argv[:1])
    app.setOrganizationName("Icebreaker")
    app.setApplicationName("Icebreaker")
    app.setApplicationDisplayName("Icebreaker")
    app.setDesktopFileName("icebreaker")
    theme.install(app, options.theme)
    scratch = None
    if options.screenshot:  # looks the same for everyone, and changes nothing of the user's
        scratch = tempfile.TemporaryDirectory(prefix="icebreaker-settings-")
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, scratch.name)
    session = Session()
    if not options.screenshot:
        if not options.theme:
            values.show_theme(app)
        values.translate_app(app)
        values.restore_limits(session)
    app.aboutToQuit.connect(session.shutdown)
    window = Window(session)
    if options.size:
        window.resize(options.size)
    window.show()
    ticker = _listen_to_signals(app)
    QTimer.singleShot(0, session.start)
    if options.file:
        QTimer.singleShot(0, lambda: window.open(options.file))
    elif not options.screenshot and not options.new:
        QTimer.singleShot(0, window.offer_restore)
    status = 0
    if options.screenshot:
        from icebreaker_gui.screenshot import Screenshot

        picture = Screenshot(window, session, options.screenshot, bool(options.file), options.convert, options.panel)
        app.exec()
        status = picture.status
    else:
        status = app.exec()
    ticker.stop()
    session.shutdown()
    if scratch:
        scratch.cleanup()
    return status


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m icebreaker_gui", description="The Icebreaker app.")
    parser.add_argument("file", nargs="?", type=Path, help="a frozen graph, SavedModel folder or Keras file to open")
    parser.add_argument("--theme", choices=sorted(theme.THEMES), help="default: the system's colour scheme")
    parser.add_argument("--new", action="store_true", help="one more window: ask nothing about the one before")
    parser.add_argument("--size", type=_size, metavar="WxH", help="the window's size, such as 1280x800")
    parser.add_argument("--screenshot", type=Path, metavar="PNG", help="save a picture of the window, then quit")
    parser.add_argument("--convert", action="store_true", help="with --screenshot: convert and measure first")
    parser.add_argument(
        "--panel",
        choices=("setup", "latency", "result", "log", "table"),
        help="with --screenshot: the dock to bring to the front",
    )
    return parser.parse_args(arguments)


def _size(text: str) -> QSize:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write WIDTHxHEIGHT, such as 1280x800")
    return QSize(int(width), int(height))


def _listen_to_signals(app: QApplication) -> QTimer:
    """Lets Ctrl+C and a plain kill end the app in good order: Python sees signals only when it runs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: app.exit())  # quit() would ask the user
    ticker = QTimer()
    ticker.timeout.connect(lambda: None)
    ticker.start(250)
    return ticker


if __name__ == "__main__":
    sys.exit(main())
