"""How calibration rows reach a segment: data streams through the original graph up to the segment's inputs.

Or they come from a recording: values that a calibration graph of `icebreaker.tftrt` saw at the segment's inputs.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icebreaker.data import dataset
from icebreaker.data.source import Batch, Data
from icebreaker.errors import IcebreakerError
from icebreaker.export.exporter import Exported
from icebreaker.graph.graph import Graph
from icebreaker.partitioning.partition import Segment
from icebreaker.reports import Words
from icebreaker.settings import ConvertSettings
from icebreaker.storage.files import check_file
from icebreaker.tf.session import GraphSession

RECORDING = "recording.json"  # marks a folder with recorded inputs of segments
_BATCH = 8
_HOLD_EVERY = 4  # of the batches, this one is held back


class SegmentData:
    """The data of one conversion: what ranges are found on, and what is held back to judge with.

    Attributes:
        learn: To find ranges on; None without such data, or if it is a recording.
        held_back: To judge with, a quarter of the whole; with ranges from a table, all of the user's sample data.
        recording: The folder of a recording that stands for both.
        defaults: Values of scalar inputs that the data does not have.
        notes: What was guessed, for the log.
        warnings: What the user should know.
        is_random: Whether `learn` and `held_back` mean nothing.
    """

    def __init__(
        self, graph: Graph, original: GraphSession, settings: ConvertSettings, defaults: Mapping[str, np.ndarray],
        allow_python: bool = False,
    ) -> None:  # fmt: skip
        """Opens and checks the data, before anything else is done.

        Args:
            graph: The graph, cut to what the outputs need.
            original: The same in TensorFlow.
            settings: `data` and all that begins with `calibration`.
            defaults: Sample values of inputs; those of scalars are used where images are the data.
            allow_python: Run data that is a Python program: the user was asked.

        Raises:
            IcebreakerError: The data cannot be read or does not fit.
        """
        self._graph, self._original, self.settings = graph, original, settings
        self._allow_python = allow_python
        self.defaults = {name: value for name, value in defaults.items() if not np.ndim(value)}
        self.learn: Data | None = None
        self.held_back: Data | None = None
        self.recording: Path | None = None
        self.notes: tuple[Words, ...] = ()
        self.warnings: tuple[Words, ...] = ()
        self.is_random = False
        path = settings.quantization.calibration or (None if settings.quantization.calibration_table else settings.data)
        if path is not None and Path(path, RECORDING).is_file():
            self.recording = Path(path)
        elif path is not None:
            data = self._open(path)
            self.learn, self.held_back = data.split(_HOLD_EVERY)
            self.is_random = data.kind == "random"
            self.notes, self.warnings = data.notes, data.warnings
        elif settings.quantization.calibration_table and settings.data:
            self.held_back = self._open(settings.data)

    def _open(self, path: str) -> Data:
        settings = self.settings
        inputs = [item for item in self._graph.placeholders if not item.optional]
        if Path(path).is_dir():
            inputs = [item for item in inputs if item.shape != () and item.name not in self.defaults]
        chosen = settings.quantization
        # Of few samples, a quarter is held back only if the batches are small.
        for batch in (_BATCH, 1):
            data = dataset.open_data(
                path, inputs, samples=chosen.calibration_samples, seed=chosen.calibration_seed, batch=batch,
                preprocessing=chosen.preprocessing, allow_code=self._allow_python,
            )  # fmt: skip
            if not data.samples or data.samples >= 8 * data.batch:
                break
        return data

    @property
    def can_calibrate(self) -> bool:
        """Whether ranges can be found on it."""
        return self.learn is not None or self.recording is not None

    @property
    def can_judge(self) -> bool:
        """Whether there is held-back data."""
        return self.held_back is not None or self.recording is not None

    def first_batch(self, rows: int) -> dict[str, np.ndarray]:
        """Values for the graph's inputs, to measure with; empty without data."""
        batch = next(iter(self.held_back or self.learn or ()), None)
        if batch is None:
            return {}
        return self.defaults | {k: v if not v.ndim else np.resize(v, (rows, *v.shape[1:])) for k, v in batch.items()}

    def rows_for(self, segment: Segment, exported: Exported, *, back: bool) -> SegmentRows:
        """A segment's inputs: of the data to calibrate with, or of what was held back (`back`)."""
        return SegmentRows(self, segment, exported, back)

    def values(self, segment: Segment, back: bool) -> Iterator[list[np.ndarray]]:
        """A segment's inputs in its own order, batch by batch.

        Raises:
            IcebreakerError: The recording cannot be read, or has nothing of this segment.
        """
        if self.recording is not None:
            yield from _recorded(self.recording, segment, back)
            return
        for batch in (self.held_back if back else self.learn) or ():
            feeds = self.defaults | batch
            if all(str(tensor) in feeds for tensor in segment.inputs):
                yield [feeds[str(tensor)] for tensor in segment.inputs]
                continue
            observed = self._original.observe(segment.inputs, feeds)
            if len(observed) == len(segment.inputs):  # else it lies in a branch that this batch does not take
                yield [observed[tensor] for tensor in segment.inputs]


@dataclass(frozen=True)
class SegmentRows:
    """A segment's inputs by ONNX name, batch by batch; can be read more than once."""

    data: SegmentData
    segment: Segment
    exported: Exported
    back: bool

    def __iter__(self) -> Iterator[Batch]:
        for values in self.data.values(self.segment, self.back):
            yield dict(zip(self.exported.inputs, values, strict=True))

    def __length_hint__(self) -> int:
        """Number of batches, 0 if unknown."""
        data = self.data.held_back if self.back else self.data.learn
        return data.__length_hint__() if data is not None else 0


def _recorded(folder: Path, segment: Segment, back: bool) -> Iterator[list[np.ndarray]]:
    """What was recorded of a segment's inputs, in small batches: every fourth of them is held back."""
    wanted = [str(tensor) for tensor in segment.inputs]
    try:
        check_file(folder / RECORDING)
        index = json.loads((folder / RECORDING).read_text(encoding="utf-8"))
        part = next((str(entry["folder"]) for entry in index["segments"] if entry["inputs"] == wanted), None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IcebreakerError(
            "recording_unreadable", "{file} cannot be read ({reason})", "calibrate_again",
            subject=folder, file=str(folder / RECORDING), reason=repr(error),
        ) from error  # fmt: skip
    if part is None or Path(part).name != part:
        raise IcebreakerError(
            "nothing_recorded", "nothing was recorded for it: the calibration graph belongs to another conversion"
        )
    batches = (piece for file in sorted((folder / part).glob("*.npz")) for piece in _pieces(file, len(wanted)))
    beginning = list(itertools.islice(batches, _HOLD_EVERY))
    if len(beginning) < _HOLD_EVERY:  # too few to hold any back
        yield from beginning
        return
    for place, values in enumerate(itertools.chain(beginning, batches)):
        if (place % _HOLD_EVERY == _HOLD_EVERY - 1) is back:
            yield values


def _pieces(file: Path, count: int) -> Iterator[list[np.ndarray]]:
    """A recorded call in batches of a few rows, where all inputs have the same number of rows."""
    try:
        check_file(file)
        with np.load(file, allow_pickle=False) as archive:
            values = [archive[f"input_{index}"] for index in range(count)]
    except (OSError, ValueError, KeyError, zlib.error) as error:
        raise IcebreakerError(
            "recorded_call_unreadable", "{file} cannot be read ({reason})", "run_calibration_graph",
            subject=file, file=str(file), reason=str(error),
        ) from error  # fmt: skip
    rows = {len(value) for value in values if value.ndim}
    if len(rows) != 1 or rows == {1}:
        yield values
        return
    total = rows.pop()
    size = max(1, min(_BATCH, total // 8))
    for start in range(0, total, size):
        yield [value[start : start + size] if value.ndim else value for value in values]
