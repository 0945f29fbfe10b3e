"""Calibration data: a Python file with `def batches():`.

It yields an array, for a single input, or a mapping from input name to array. It runs with all of the user's rights, so
only if that was allowed.
"""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from icebreaker.data.source import Batch, Data, Request, Source
from icebreaker.errors import IcebreakerError
from icebreaker.messages import message


def _open(path: Path, request: Request) -> Data:
    if not request.allow_code:
        raise IcebreakerError(
            "python_not_allowed", "{file} is a program that would run with all your rights", "allow_python",
            subject=path, file=str(path),
        )  # fmt: skip
    try:
        function = runpy.run_path(str(path)).get("batches")
    except (Exception, SystemExit) as error:
        raise _failed(path, error) from error
    if not callable(function):
        raise IcebreakerError(
            "no_batches_function", "{file} has no function batches()", "define_batches", subject=path, file=str(path)
        )

    def read() -> Iterator[Batch]:
        left = request.samples
        try:
            for made in iter(cast(Any, function)()):
                values = made if isinstance(made, Mapping) else {request.inputs[0].name: made}
                batch = {str(name): np.asarray(value) for name, value in values.items()}
                rows = max((len(value) for value in batch.values() if value.ndim), default=1)
                if left is not None and rows > left:
                    batch = {name: value[:left] if value.ndim else value for name, value in batch.items()}
                yield batch
                left = None if left is None else left - rows
                if left is not None and left <= 0:
                    return
        except IcebreakerError:
            raise
        except Exception as error:
            raise _failed(path, error) from error

    note = message("data_is_program", "batches() of {subject} runs as a program", subject=str(path))
    return Data("python", request.samples or 0, request.batch, (note,), read=read)


def _failed(path: Path, error: BaseException) -> IcebreakerError:
    """An error in the user's program, with the line where it happened."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = frames[-1].lineno if frames else getattr(error, "lineno", None)
    where = "{file}, line {line}" if line else "{file}"
    return IcebreakerError(
        "python_failed", where + ": {kind}: {reason}",
        subject=path, file=str(path), line=line or 0, kind=type(error).__name__, reason=str(error),
    )  # fmt: skip


SOURCE = Source(lambda path: path.suffix == ".py", _open)
