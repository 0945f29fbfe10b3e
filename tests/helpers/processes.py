"""Looking at other processes, and waiting for what they do."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from helpers.paths import ROOT

TESTS = ROOT / "tests"


def environment(**more: str) -> Mapping[str, str]:
    """What a process is started with that imports `helpers` or `benchmarks`."""
    return os.environ | {"PYTHONPATH": str(TESTS)} | more


def alive(pid: int) -> bool:
    """Whether a process still does something; a zombie, whose parent has not asked for it yet, is dead enough."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Process ids of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Waits for something that must happen; the time only keeps a broken test from hanging."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
