"""Whether other programs have the processors while something is timed. Linux tells; elsewhere nothing is known."""

from __future__ import annotations

import os
import time
from pathlib import Path

# Of what the processors could do: from here on, how long a call took says more of the others than of itself.
BUSY = 0.2


_LONG_ENOUGH = 0.25  # seconds: the system counts in hundredths of one
_KEPT = 64
_seen: list[tuple[float, float]] = []  # when watching began, and what others had had until then


class MachineLoad:
    """What other programs take of the processors that this one may use, from its making on, or from a bit before."""

    def __init__(self) -> None:
        """Begins to watch."""
        self._began = _look()
        if self._began is not None:
            _seen.append(self._began)
            del _seen[:-_KEPT]

    def others(self) -> float:
        """Share of the processors' time that others had since then, 0 to 1; a virtual machine's host counts too."""
        now, began = _look(), self._began
        if now is None or began is None:
            return 0.0
        if now[0] - began[0] < _LONG_ENOUGH:
            began = next((seen for seen in reversed(_seen) if now[0] - seen[0] >= _LONG_ENOUGH), began)
        possible = (now[0] - began[0]) * _processors()
        return min(max((now[1] - began[1]) / possible, 0.0), 1.0) if possible > 0 else 0.0


def _look() -> tuple[float, float] | None:
    """The time, and what others have had until now; nothing if the system does not tell."""
    others = _others_seconds()
    return None if others is None else (time.perf_counter(), others)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _others_seconds() -> float | None:
    """Processor seconds that others have had since the machine began; None if it does not tell."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = os.sysconf("SC_CLK_TCK")
        taken = 0.0
        for line in lines:
            name, *numbers = line.split()
            if name in mine:
                user, nice, system, _, _, irq, softirq, steal = map(int, numbers[:8])
                taken += (user + nice + system + irq + softirq + steal) / ticks
    except (OSError, ValueError, AttributeError):
        return None
    own = os.times()
    return taken - own.user - own.system
