"""The log keeps the last lines, and words what workers say."""

from __future__ import annotations

from PySide6.QtWidgets import QApplication

from icebreaker import events
from icebreaker.messages import message
from icebreaker_gui.session.log_book import KEPT_LINES, LogBook


def test_lines_come_in_order_and_the_oldest_go(qapp: QApplication) -> None:
    log, told = LogBook(qapp), []
    log.added.connect(told.extend)
    log.add("error", "it failed", ("debug", "line 1"), ("debug", "line 2"))
    assert [(line.level, line.text) for line in told] == [
        ("error", "it failed"), ("debug", "line 1"), ("debug", "line 2"),
    ]  # fmt: skip
    for number in range(KEPT_LINES):
        log.add("info", str(number))
    assert len(log.lines) == KEPT_LINES and log.lines[0].text == "0"


def test_only_what_a_job_logs_is_taken_of_its_events(qapp: QApplication) -> None:
    log = LogBook(qapp)
    log.add_events([
        events.Progress("Reading", 0.1),
        events.Log("warning", message("too_slow", "{subject} is slow", subject="conv")),
        events.Log("debug", "a vendor's words"),
    ])  # fmt: skip
    assert [(line.level, line.text) for line in log.lines] == [
        ("warning", "conv is slow"),
        ("debug", "a vendor's words"),
    ]
