"""Calibration data that means nothing: random values, fit to measure speed only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from icebreaker.data.source import GOOD_SAMPLES, Batch, Data, Request
from icebreaker.errors import IcebreakerError
from icebreaker.messages import message

# Stands in place of a path.
NAME = "random"
RANDOM_WARNING = message(
    "data_is_random",
    "random data: the ranges and every accuracy figure mean nothing; use it to measure speed only",
)


def make(request: Request) -> Data:
    """Values from 0 to 1 for floats, 0 and 1 for whole numbers and truth values; open sizes are 1.

    Raises:
        IcebreakerError: An input takes text.
    """
    total = request.samples or GOOD_SAMPLES
    if text := next((item.name for item in request.inputs if item.dtype == "string"), ""):
        raise IcebreakerError(
            "text_not_made_up", "input {subject} takes text, which cannot be made up", "give_calibration_data",
            subject=text,
        )  # fmt: skip

    def read() -> Iterator[Batch]:
        random = np.random.default_rng(request.seed)
        for start in range(0, total, request.batch):
            rows, batch = min(request.batch, total - start), {}
            for wanted in request.inputs:
                shape = tuple(rows if k == 0 else size or 1 for k, size in enumerate(wanted.shape or ()))
                is_whole = not wanted.dtype.startswith("float")
                values = random.integers(0, 2, shape) if is_whole else random.random(shape)
                batch[wanted.name] = values.astype(wanted.dtype)
            yield batch

    notes = (message("data_made_up", "{count} samples, seed {seed}", count=total, seed=request.seed),)
    return Data("random", total, request.batch, notes, (RANDOM_WARNING,), read=read)
