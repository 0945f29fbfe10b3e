"""What a person sees on stderr while a job runs: a progress bar on a terminal, warnings, and the log if asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from icebreaker import events
from icebreaker.cli.wording import worded
from icebreaker.jobs import supervisor
from icebreaker.jobs.progress_bar import ProgressBar
from icebreaker.jobs.requests import Request
from icebreaker.messages import printable


def prepare_streams() -> None:
    """Has something stand where a standard stream is closed (`2>&-`), or the next file that is opened would.

    What Python cannot print to stderr it prints to stdout then, among the JSON.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            made = os.open(os.devnull, os.O_RDWR)  # gets the least number that is free: this one
            os.set_inheritable(made, True)
            setattr(sys, name, os.fdopen(made, "w" if number else "r"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] - a terminal without × still shows the rest


def joined(lines: Iterable[str]) -> str:
    """Lines to print: whatever names are in them, each stays one line."""
    return "\n".join(map(printable, lines))


class Console:
    """Runs jobs and shows what they say.

    Attributes:
        samples: Every timed call that jobs have told of.
    """

    def __init__(self, verbose: bool) -> None:
        """With `verbose`, the whole log is shown, not only warnings and errors."""
        self._verbose = verbose
        self._bar = ProgressBar()
        self.samples: list[events.Sample] = []

    def __call__(self, event: events.Event) -> None:
        """Receives a job's events."""
        match event:
            case events.Progress(stage, fraction):
                self._bar.show(worded(stage), fraction)
            case events.Log(level, text) if self._verbose or level in ("warning", "error"):
                self.say(worded(text) if level in ("debug", "info") else f"{level}: {worded(text)}")
            case events.Sample():
                self.samples.append(event)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.clear()
        print(printable(text), file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the bar away."""
        self._bar.clear()

    def run(self, request: Request) -> Any:
        """Does a job in a child process and returns its result, of the request's `result` type."""
        try:
            return supervisor.run(request, self)
        finally:
            self.clear()
