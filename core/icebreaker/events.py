"""What a worker says while it works: one JSON object a line, on a channel of its own.

A job sends any number of `Progress`, `Log` and `Sample`, then exactly one of `Done`, `Failed`, `Cancelled`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from icebreaker import codec
from icebreaker.messages import Message


class Progress(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """How far the job is: `stage` says what is being done, `fraction` of the whole job from 0 to 1."""

    stage: Message | str
    fraction: float


class Log(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """A line for the log; `level` is debug, info, warning or error. A plain text is a vendor's words."""

    level: str
    text: Message | str


class Sample(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """One timed call: `series` is original or optimized, `seconds` since measuring began, `milliseconds` it took."""

    series: str
    seconds: float
    milliseconds: float


class Done(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """The job's result: plain values on the channel, the request's `result` type for whoever started the job."""

    result: Any


class Failed(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """The job ended in an error; `details` is what a bug report wants, such as a traceback."""

    message: Message
    details: str = ""


class Cancelled(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """The user cancelled the job."""


Event = Progress | Log | Sample | Done | Failed | Cancelled
FINAL = (Done, Failed, Cancelled)


class Samples:
    """Many samples in little memory, in the order in which they came."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        """Begins with some."""
        self._names: list[str] = []
        self._series, self._seconds, self._milliseconds = array("B"), array("d"), array("d")
        self.extend(samples)

    def extend(self, samples: Iterable[Sample]) -> None:
        """Takes more."""
        for sample in samples:
            if sample.series not in self._names:
                self._names.append(sample.series)
            self._series.append(self._names.index(sample.series))
            self._seconds.append(sample.seconds)
            self._milliseconds.append(sample.milliseconds)

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[Sample]:
        for series, seconds, milliseconds in zip(self._series, self._seconds, self._milliseconds, strict=True):
            yield Sample(self._names[series], seconds, milliseconds)


def encode(event: Event) -> str:
    """One line of JSON, without its line feed."""
    return codec.encode(event)


def decode(line: str) -> Event:
    """Reads what `encode` wrote.

    Raises:
        ValueError: The line is no event.
    """
    return codec.decode(line, Event)  # type: ignore[arg-type] - a union
