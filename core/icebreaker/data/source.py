"""What all kinds of calibration data have in common: the request, the batches that come out, and how a kind is made.

A kind of data is a module with a `Source`: `images`, `arrays`, `tfrecord`, `python_file`. `dataset` lists them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Placeholder
from icebreaker.messages import Message, message
from icebreaker.preprocessing import Preprocessing
from icebreaker.reports import Words

# Input name → values, [rows, …]; an input without axes has no rows.
Batch = dict[str, np.ndarray]

MINIMUM_SAMPLES = 8
GOOD_SAMPLES = 100
# Names under which an archive may hold the right answers.
LABELS = ("labels", "label", "y")


@dataclass(frozen=True)
class Data:
    """Calibration data: iterating gives batches, input name → array, as often as one likes.

    Attributes:
        kind: images, arrays, tfrecord, python or random.
        samples: Number of rows; 0 if only reading tells.
        batch: Rows a batch.
        notes: What was guessed or chosen, for the user to check.
        warnings: What makes the result doubtful.
        preprocessing: For images.
        labels: The right class of every row, where the data has it.
        read: Opens the data and gives its batches from the beginning.
    """

    kind: str
    samples: int
    batch: int
    notes: tuple[Words, ...] = ()
    warnings: tuple[Words, ...] = ()
    preprocessing: Preprocessing | None = None
    labels: np.ndarray | None = field(default=None, repr=False)
    read: Callable[[], Iterator[Batch]] = field(default=lambda: iter(()), repr=False)

    def __iter__(self) -> Iterator[Batch]:
        """Reads from the beginning."""
        return self.read()

    def __length_hint__(self) -> int:
        """Number of batches; 0 if only reading tells."""
        return -(-self.samples // self.batch)

    def split(self, every: int = 4) -> tuple[Data, Data]:
        """Data to calibrate with, and data held back to judge with: every `every`th batch."""
        total = self.__length_hint__()
        held = sum(max(0, min(self.batch, self.samples - k * self.batch)) for k in range(every - 1, total, every))
        rows = np.arange(self.samples) // self.batch % every == every - 1

        def part(back: bool) -> Data:
            def read() -> Iterator[Batch]:
                return (batch for k, batch in enumerate(self.read()) if (k % every == every - 1) is back)

            count = held if back else self.samples - held
            labels = None if self.labels is None else self.labels[rows if back else ~rows]
            return replace(self, samples=count, labels=labels, read=read)

        return part(False), part(True)


@dataclass(frozen=True)
class Request:
    """What is wanted of some data.

    Attributes:
        inputs: The graph's inputs that need values; at least one.
        samples: How many rows to take, chosen at random; None: all.
        seed: Of that choice.
        batch: Rows a batch.
        exact: Whether no batch may be smaller: an input's first dimension is fixed.
        preprocessing: How images become values; None: guessed.
        allow_code: Whether data that is a program may run.
    """

    inputs: tuple[Placeholder, ...]
    samples: int | None
    seed: int
    batch: int
    exact: bool
    preprocessing: Preprocessing | None = None
    allow_code: bool = False

    def rows(self, total: int) -> np.ndarray:
        """Which of `total` rows to take, ascending."""
        count = min(total, self.samples or total)
        if self.exact:
            count -= count % self.batch
        if count == total:
            return np.arange(total)
        return np.sort(np.random.default_rng(self.seed).choice(total, count, replace=False))

    def note(self, total: int) -> Message:
        """How many of `total` rows are taken, in words for `Data.notes`."""
        taken = len(self.rows(total))
        if taken == total:
            return message("data_whole", "{count} samples", count=taken)
        return message(
            "data_drawn", "{count} of {total} samples, chosen with seed {seed}",
            count=taken, total=total, seed=self.seed,
        )  # fmt: skip

    def batches(self, rows: Iterable[Batch]) -> Iterator[Batch]:
        """Joins rows, which have no batch axis, to batches.

        Values of inputs without axes stay as they are. Images for inputs without a batch axis come one at a time.
        """
        if all(item.shape is not None and len(item.shape) == 3 for item in self.inputs):
            yield from rows
            return
        iterator = iter(rows)
        scalars = {item.name for item in self.inputs if item.shape == ()}
        while part := list(itertools.islice(iterator, self.batch)):
            yield {
                name: part[0][name] if name in scalars else np.stack([row[name] for row in part]) for name in part[0]
            }


@dataclass(frozen=True)
class Source:
    """A kind of calibration data.

    Attributes:
        accepts: Whether a path that exists is of this kind.
        open: Opens it; raises `IcebreakerError` if it cannot be read or does not fit the inputs.
        whole: Whether reading is so cheap that all of it is checked on opening; else a part, the rest as it comes.
    """

    accepts: Callable[[Path], bool]
    open: Callable[[Path, Request], Data]
    whole: bool = False


def pick(path: Path, name: str, entries: Mapping[str, Any]) -> Any:
    """The entry for an input: `x` and `x:0` are the same name.

    Raises:
        IcebreakerError: There is none.
    """
    short = name.removesuffix(":0")
    for key in (name, short, f"{short}:0"):
        if key in entries:
            return entries[key]
    raise IcebreakerError(
        "data_lacks_input", "{file} has no values for input {subject}: it has {entries}",
        subject=short, file=str(path), entries=", ".join(map(str, entries)) or "nothing",
    )  # fmt: skip


def shape_fits(wanted: Sequence[int | None] | None, shape: Sequence[int]) -> bool:
    """Whether values of a shape can be fed where another is wanted; None, in it or instead of it, takes any size."""
    if wanted is None:
        return True
    return len(wanted) == len(shape) and all(a is None or a == b for a, b in zip(wanted, shape, strict=True))


def check_shape(path: Path, wanted: Placeholder, shape: Sequence[int]) -> None:
    """Sees that an input can take batches of a shape; the first axis is the batch, which may be smaller at the end.

    Raises:
        IcebreakerError: It cannot.
    """
    want = wanted.shape
    if want is not None and not (len(want) == len(shape) and shape_fits(want[1:], shape[1:])):
        raise IcebreakerError(
            "data_shape_unfit", "{file}: input {subject} wants the shape [{wanted}], but the data has [{shape}]",
            subject=wanted.name, file=str(path),
            wanted=tuple("any" if size is None else size for size in want), shape=tuple(map(int, shape)),
        )  # fmt: skip
