"""What the network will see of calibration data; needs no TensorFlow, and never runs a program."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icebreaker.data import dataset
from icebreaker.data.dataset import Data
from icebreaker.errors import IcebreakerError
from icebreaker.messages import message
from icebreaker.preprocessing import Preprocessing
from icebreaker.reports import Words
from icebreaker.settings import ConvertSettings

_PICTURES = 8
_MOST_PIXELS = 256  # a side, of files that the graph itself decodes


@dataclass(frozen=True)
class Preview:
    """The first samples as the network will get them, and what the user should know of the data.

    Attributes:
        pictures: uint8 [H, W, 3] each; empty if the data cannot be drawn.
        preprocessing: How images become values, if the data is images.
        notes: What was guessed or chosen, for the user to check.
        warnings: What makes the result doubtful.
        problem: Why the data cannot be used; empty if it can.
    """

    pictures: tuple[np.ndarray, ...] = ()
    preprocessing: Preprocessing | None = None
    notes: tuple[Words, ...] = ()
    warnings: tuple[Words, ...] = ()
    problem: Words = ""


def make_preview(path: str, inputs: Sequence[dataset.Input], settings: ConvertSettings) -> Preview:
    """Opens calibration data and draws its first rows; may take a while.

    Args:
        path: What `data.dataset.open_data` takes, but no Python file.
        inputs: The graph's inputs that the data is for.
        settings: The samples, the seed and the preprocessing are used.
    """
    try:
        if Path(path).is_dir():
            inputs = [wanted for wanted in inputs if wanted.shape != ()]
        data = dataset.open_data(
            path,
            inputs,
            samples=settings.quantization.calibration_samples,
            seed=settings.quantization.calibration_seed,
            preprocessing=settings.quantization.preprocessing,
        )
        pictures = tuple(itertools.islice(_pictures(data, inputs), _PICTURES))
        return Preview(pictures, data.preprocessing, data.notes, data.warnings)
    except IcebreakerError as error:
        return Preview(problem=error.message)
    except (OSError, TypeError, ValueError) as error:
        unreadable = message("preview_unreadable", "{subject} cannot be read: {error}", subject=path, error=str(error))
        return Preview(problem=unreadable)


def _pictures(data: Data, inputs: Sequence[dataset.Input]) -> Iterator[np.ndarray]:
    """Rows as pictures: of the first input that takes images, or of the only one if it takes image files."""
    drawable = next((wanted for wanted in inputs if Preprocessing.guess(wanted.shape, wanted.dtype)), None)
    if drawable:
        for batch in data:
            value = batch[drawable.name]
            rows: Iterable[np.ndarray] = [value] if drawable.shape is not None and len(drawable.shape) == 3 else value
            for row in rows:
                yield _drawn(row, drawable, data.preprocessing)
    elif len(inputs) == 1 and inputs[0].dtype == "string":
        files = (row for batch in data for row in batch[inputs[0].name].reshape(-1))
        for file in itertools.islice(files, _PICTURES):
            if (picture := _decoded(file)) is not None:
                yield picture


def _decoded(file: object) -> np.ndarray | None:
    """A file that the graph itself decodes, as a picture; None if it is no image."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file)) as image:  # type: ignore[arg-type]
            image.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
            return np.asarray(image.convert("RGB"), np.uint8)
    except Exception:  # decoders raise what they like
        return None


def _drawn(row: np.ndarray, wanted: dataset.Input, how: Preprocessing | None) -> np.ndarray:
    """A row as a picture; values whose preprocessing is not known are drawn from the smallest to the largest."""
    if how:
        return how.visible(np.asarray(row, np.float32))
    guess = Preprocessing.guess(wanted.shape, wanted.dtype)
    assert guess is not None  # noqa: S101 - only such inputs are drawn
    value = np.asarray(row, np.float32)
    low, high = float(value.min()), float(value.max())
    stretched = dataclasses.replace(guess, mean=(0.0,), std=(255.0,))
    return stretched.visible((value - low) / (high - low or 1.0))
