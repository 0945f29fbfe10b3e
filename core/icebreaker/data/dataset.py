"""Calibration data without code: images, arrays, TFRecords, a Python file or random values, as batches that stream by.

Every source is checked before it is used (names, shapes, types, NaN, constant values, too few samples), and whatever
was guessed is told in `Data.notes`. Needs neither TensorFlow nor an engine, so the app can preview what a network sees.

A new kind of data is a module with a `source.Source`, and a line in `SOURCES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.data import arrays, images, made_up, python_file, tfrecord
from icebreaker.data.made_up import RANDOM_WARNING
from icebreaker.data.source import (
    GOOD_SAMPLES,
    LABELS,
    MINIMUM_SAMPLES,
    Batch,
    Data,
    Request,
    Source,
    check_shape,
    pick,
)
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Placeholder
from icebreaker.messages import message
from icebreaker.preprocessing import Preprocessing
from icebreaker.storage.files import check_file, exists

__all__ = ["LABELS", "RANDOM_WARNING", "Batch", "Data", "Input", "open_data"]

Input = Placeholder

# In this order they are asked whether a path is of their kind.
SOURCES: tuple[Source, ...] = (images.SOURCE, arrays.SOURCE, tfrecord.SOURCE, python_file.SOURCE)


def open_data(
    path: str | Path,
    inputs: Sequence[Placeholder],
    *,
    samples: int | None = None,
    seed: int = 0,
    batch: int = 8,
    preprocessing: Preprocessing | None = None,
    allow_code: bool = False,
) -> Data:
    """Opens calibration data and checks it.

    Args:
        path: A folder of images, an `.npz`, `.npy`, TFRecord (`.tfrecord`, `.tfrecords`, `.record`) or `.py` file, or
            `random`.
        inputs: The graph's inputs.
        samples: How many rows to take, chosen at random; None: all (of `random`: 100).
        seed: Of that choice.
        batch: Rows a batch; an input with a fixed first dimension decides for itself.
        preprocessing: For images; None: guessed.
        allow_code: Whether a Python file may run. Ask the user first: it can do anything that the user can.

    Raises:
        IcebreakerError: It cannot be read, does not fit the inputs, or cannot be good calibration data.
    """
    if not inputs:
        raise IcebreakerError("no_input", "the graph has no input to calibrate")
    if samples is not None and samples < 1:
        raise IcebreakerError(
            "samples_below_1", "{samples} samples are too few", "take_samples", samples=samples, least=MINIMUM_SAMPLES
        )
    fixed = {item.shape[0] for item in inputs if item.shape and item.shape[0]}
    exact = len(fixed) == 1
    rows = (fixed.pop() if exact else batch) or 1
    request = Request(tuple(inputs), samples, seed, rows, exact, preprocessing, allow_code)
    if str(path) == made_up.NAME:
        return made_up.make(request)
    path = Path(path).expanduser()
    if not exists(path):
        raise IcebreakerError("data_missing", "{file} does not exist", "give_data_files", subject=path, file=str(path))
    if not path.is_dir():
        check_file(path)
    source = next((source for source in SOURCES if source.accepts(path)), None)
    if source is None:
        raise IcebreakerError(
            "data_kind_unknown", "{file} is no calibration data", "give_data_kinds", subject=path, file=str(path)
        )
    return _checked(path, source, source.open(path, request), request)


def _checked(path: Path, source: Source, data: Data, request: Request) -> Data:
    """Data whose batches have every input's values in its type, checked as they come.

    Raises:
        IcebreakerError: What was read so far, all of it or a beginning, cannot be good calibration data.
    """
    if data.samples and data.samples < MINIMUM_SAMPLES:
        raise _too_few(path, data.samples)
    raw = data.read

    def read() -> Iterator[Batch]:
        seen = 0
        for batch in raw():
            fitted = {wanted.name: _fit(path, wanted, batch, seen) for wanted in request.inputs}
            seen += _rows(fitted)
            yield fitted

    beginning = None if source.whole else -(-MINIMUM_SAMPLES // data.batch) + 1
    extremes: dict[str, tuple[float, float]] = {}
    seen = 0
    for batch in itertools.islice(read(), beginning):
        seen += _rows(batch)
        for name, value in batch.items():
            if value.size and value.ndim and value.dtype.kind in "fiu":
                low, high = extremes.get(name, (np.inf, -np.inf))
                extremes[name] = min(low, float(value.min())), max(high, float(value.max()))
    if seen < MINIMUM_SAMPLES:
        raise _too_few(path, seen)
    for name, (low, high) in extremes.items():
        if low == high:
            raise IcebreakerError(
                "data_constant",
                "{file}: every value for input {subject} is {value:g}: that tells nothing about its range",
                subject=name, file=str(path), value=low,
            )  # fmt: skip
    warnings = list(data.warnings)
    if data.samples and data.samples < GOOD_SAMPLES:
        warnings.append(
            message(
                "data_is_little", "only {count} samples: {good} or more give safer ranges",
                count=data.samples, good=GOOD_SAMPLES,
            )
        )  # fmt: skip
    return replace(data, read=read, warnings=tuple(warnings))


def _rows(batch: Mapping[str, np.ndarray]) -> int:
    """Rows of a batch; one if no input has axes."""
    return max((len(value) for value in batch.values() if value.ndim), default=1)


def _too_few(path: Path, samples: int) -> IcebreakerError:
    return IcebreakerError(
        "samples_too_few", "{file} has {samples} samples", "give_samples",
        subject=path, file=str(path), samples=samples, least=MINIMUM_SAMPLES, good=GOOD_SAMPLES,
    )  # fmt: skip


def _fit(path: Path, wanted: Placeholder, batch: Mapping[str, Any], rows_before: int) -> np.ndarray:
    """A batch's values for an input, in the input's type.

    Raises:
        IcebreakerError: There are none, their type or shape does not fit, or some are not finite.
    """
    value = np.asarray(pick(path, wanted.name, batch))
    about = {"subject": wanted.name, "file": str(path)}
    if wanted.dtype == "string":
        if value.dtype.kind not in "OSU":
            raise IcebreakerError(
                "data_not_text", "{file}: input {subject} wants text or bytes, but the data is {dtype}",
                dtype=str(value.dtype), **about,
            )  # fmt: skip
        check_shape(path, wanted, value.shape)
        return value.astype(object)
    if value.dtype.kind not in "fiub" or (value.dtype.kind == "f" and np.dtype(wanted.dtype).kind in "iub"):
        raise IcebreakerError(
            "data_type_unfit", "{file}: input {subject} wants {wanted}, but the data is {dtype}",
            wanted=wanted.dtype, dtype=str(value.dtype), **about,
        )  # fmt: skip
    check_shape(path, wanted, value.shape)
    if value.dtype.kind == "f" and not (finite := np.isfinite(value)).all():
        row = rows_before + 1 + (int(np.argwhere(~finite)[0][0]) if value.ndim else 0)
        raise IcebreakerError(
            "data_not_finite", "{file}, sample {row}: input {subject} has NaN or infinite values", "clean_data",
            row=row, **about,
        )  # fmt: skip
    return value.astype(wanted.dtype, copy=False)
