"""Jobs that only tests ask for, which fail as real ones can; done by `helpers.job_child` and `faults.fault_child`."""

from __future__ import annotations

from icebreaker.jobs.requests import Request


class Echo(Request, frozen=True, tag="echo"):
    """Gives back what it was asked, with the worker's process id and temporary folder."""

    text: str = ""
    number: float = 0.0
    nothing: str | None = None


class Refuse(Request, frozen=True, tag="refuse"):
    """Raises an error of ours."""


class Bug(Request, frozen=True, tag="bug"):
    """Raises an error that is none of ours."""


class NoMemory(Request, frozen=True, tag="no_memory"):
    """Raises a MemoryError."""


class UnheardOf(Request, frozen=True, tag="unheard_of"):
    """Not one of the worker's jobs."""


class Die(Request, frozen=True, tag="die"):
    """Sends itself a signal, half of its output written."""

    signal: str
    output: str
    words: str = "some native words"

    @property
    def written(self) -> str:
        """What it had begun to write."""
        return self.output


class FallSilent(Request, frozen=True, tag="fall_silent"):
    """Ends without a word, with status 7."""


class SayDoneTwice(Request, frozen=True, tag="say_done_twice"):
    """Goes on talking after its final event."""


class Print(Request, frozen=True, tag="print"):
    """Prints to the file descriptor of stdout, as native libraries do."""


class Flood(Request, frozen=True, tag="flood"):
    """Sends `count` samples as fast as it can."""

    count: int


class Wait(Request, frozen=True, tag="wait"):
    """Works for an hour; a stubborn one does not heed SIGTERM."""

    output: str = ""
    stubborn: bool = False

    @property
    def written(self) -> str:
        """What it has begun to write."""
        return self.output


class Spawn(Request, frozen=True, tag="spawn"):
    """Leaves a process behind."""


class ForkAndWait(Request, frozen=True, tag="fork_and_wait"):
    """Forks as the telemetry of native libraries does: the fork holds every pipe of the worker open, and hangs."""


class Steps(Request, frozen=True, tag="steps"):
    """Goes through steps, and leaves out those that have crashed before.

    Attributes:
        steps: Name of each step, and what happens in it (`faults.fault_child.strike`).
        engine: The engine whose steps they are; empty: each is its own.
    """

    steps: tuple[tuple[str, str], ...]
    engine: str = ""
