"""What a worker says while it works: one JSON object a line, on a channel of its own.

A job sends any number of `Progress`, `Log` and `Sample`, then exactly one of `Done`, `Failed`, `Cancelled`.
"""

from __future__ import annotations

import dataclasses
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far the job is: `stage` in words for the user, `fraction` of the whole job from 0 to 1."""

    stage: str
    fraction: float


@dataclass(frozen=True)
class Log:
    """A line for the log panel; `level` is debug, info, warning or error."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed call: `series` is original or optimized, `seconds` since measuring began, `milliseconds` it took."""

    series: str
    seconds: float
    milliseconds: float


class Samples:
    """Many samples in little memory, in the order in which they came."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        """Begins with some."""
        self._names: list[str] = []
        self._series, self._seconds, self._milliseconds = array("B"), array("d"), array("d")
        self.extend(samples)

    def extend(self, samples: Iterable[Sample]) -> None:
        """Takes more."""
        for item in samples:
            if item.series not in self._names:
                self._names.append(item.series)
            self._series.append(self._names.index(item.series))
            self._seconds.append(item.seconds)
            self._milliseconds.append(item.milliseconds)

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[Sample]:
        for series, seconds, milliseconds in zip(self._series, self._seconds, self._milliseconds, strict=True):
            yield Sample(self._names[series], seconds, milliseconds)


@dataclass(frozen=True)
class Done:
    """The job's result, in the JSON form that `reports` defines."""

    result: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """The job ended in an error; `message` is one line for the user, `details` what a bug report wants."""

    message: str
    details: str = ""


@dataclass(frozen=True)
class Cancelled:
    """The user cancelled the job."""


Event = Progress | Log | Sample | Done | Failed | Cancelled
FINAL = (Done, Failed, Cancelled)
_KINDS: Mapping[str, type] = {kind.__name__: kind for kind in (Progress, Log, Sample, *FINAL)}


def encode(event: Event) -> str:
    """One line of JSON, without its line feed."""
    return json.dumps({"event": type(event).__name__, **dataclasses.asdict(event)}, separators=(",", ":"))


def decode(line: str) -> Event:
    """Reads what `encode` wrote.

    Raises:
        ValueError: The line is no event.
    """
    try:
        data = json.loads(line)
        return _KINDS[data.pop("event")](**data)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an event: {line[:200]}") from error
