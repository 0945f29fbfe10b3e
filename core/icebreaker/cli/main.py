"""The command line: every job of the app, for terminals and scripts.

Owns: options, tables, the progress bar, exit codes (0; 1 failed, with one line on stderr; 2 usage; 130 interrupted).
Refuses: doing the work, which runs in the worker. With `--json`, stdout carries the JSON of `reports` and no more.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from icebreaker.cli import options, text
from icebreaker.cli.console import Console, joined, prepare_streams
from icebreaker.cli.wording import worded
from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import exists

_INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after the program's name; None: those it was started with.

    Returns:
        The exit code.
    """
    prepare_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    parser, commands = options.make_parser()
    if not words or not (words[0].startswith("-") or words[0] in commands):
        return _open_app(parser, words)
    arguments = parser.parse_args(words)
    if "inputs" in arguments:
        try:
            arguments.settings = options.settings(arguments)
            arguments.limits = options.limits(arguments)
        except IcebreakerError as error:
            commands[words[0]].error(worded(error.message))
    arguments.consent = options.consent(arguments)
    console = Console(arguments.verbose)
    try:
        with _ending_on_signals():
            value, lines = arguments.run(arguments, console)
        answer = json.dumps(text.finite(value), indent=2, allow_nan=False) if arguments.json else joined(lines)
        print(answer, flush=True)
    except IcebreakerError as error:
        console.clear()
        print(f"icebreaker: {worded(error.message)}", file=sys.stderr)
        if arguments.verbose:
            print(joined("\n".join(getattr(error, "__notes__", ())).splitlines()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        console.say("icebreaker: interrupted")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the job and its child as Ctrl+C does, so that no partial file stays.

    The first signal counts: another one would end the cleaning up that the first began.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    named = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in named}
    numbers = [number for number in named if before[number] != signal.SIG_IGN]  # as under nohup, or in the background

    def end(number: int, frame: object) -> None:
        for other in numbers:
            before[other] = signal.SIG_IGN  # until the process has ended
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def _open_app(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    if len(words) > 1 or (words and not exists(Path(words[0]))):
        parser.error(f"{words[0]!r} is neither a command nor a file")
    if importlib.util.find_spec("icebreaker_gui") is None:
        print("icebreaker: the app is not installed: install icebreaker with it, or see --help", file=sys.stderr)
        return 1
    os.execv(sys.executable, [sys.executable, "-P", "-m", "icebreaker_gui", *words])  # noqa: S606 - our own module
