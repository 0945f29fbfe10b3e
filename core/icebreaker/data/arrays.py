"""Calibration data: an `.npz` with an array for each input, or an `.npy` for the only one; read row by row."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from icebreaker.data.source import LABELS, Batch, Data, Request, Source, check_shape, pick
from icebreaker.errors import IcebreakerError

# Array name → shape and dtype; the array of an `.npy` has an empty name.
_Headers = Mapping[str, tuple[tuple[int, ...], np.dtype]]


def _open(path: Path, request: Request) -> Data:
    with _reading_arrays(path):
        headers = _headers(path)
    labels = next((name for name in LABELS if name in headers and name not in {i.name for i in request.inputs}), None)
    unlabelled = [name for name in headers if name != labels]
    if len(request.inputs) == 1 and len(unlabelled) == 1:
        keys = {request.inputs[0].name: unlabelled[0]}
    else:
        keys = {item.name: pick(path, item.name, {name: name for name in headers}) for item in request.inputs}
    total = _count(path, request, headers, keys)

    def read() -> Iterator[Batch]:
        streams = {name: _rows(path, key, taken, request.batch) for name, key in keys.items() if headers[key][0]}
        with _reading_arrays(path):
            scalars = {name: _whole(path, key) for name, key in keys.items() if not headers[key][0]}
            for parts in zip(*streams.values(), strict=True):
                yield dict(zip(streams, parts, strict=True)) | scalars

    with _reading_arrays(path):
        taken = request.rows(total)
        answers = _whole(path, labels)[taken] if labels and headers[labels][0][:1] == (total,) else None
    return Data("arrays", len(taken), request.batch, (request.note(total),), labels=answers, read=read)


def _count(path: Path, request: Request, headers: _Headers, keys: Mapping[str, str]) -> int:
    """How many rows the arrays have.

    Raises:
        IcebreakerError: They differ in that, or do not fit their inputs.
    """
    counts = set()
    for wanted in request.inputs:
        shape, dtype = headers[keys[wanted.name]]
        if dtype.hasobject:
            raise IcebreakerError(
                "array_of_objects", "{file}: {array} holds Python objects", "save_numbers",
                subject=wanted.name, file=str(path), array=keys[wanted.name] or "the array",
            )  # fmt: skip
        if wanted.shape != ():
            check_shape(path, wanted, shape)
            counts.add(shape[0] if shape else 0)
    if len(counts) > 1:
        raise IcebreakerError(
            "sample_counts_differ", "{file}: the inputs have different numbers of samples ([{counts}])",
            subject=path, file=str(path), counts=tuple(sorted(counts)),
        )  # fmt: skip
    return counts.pop() if counts else 0


@contextmanager
def _reading_arrays(path: Path) -> Iterator[None]:
    """Makes one error of what a damaged archive makes zipfile and numpy raise, which is not to be foretold."""
    try:
        yield
    except IcebreakerError:
        raise
    except Exception as error:
        raise IcebreakerError(
            "arrays_unreadable", "{file} cannot be read as arrays ({reason})", "save_with_savez",
            subject=path, file=str(path), reason=str(error),
        ) from error  # fmt: skip


def _headers(path: Path) -> _Headers:
    with ExitStack() as stack:
        if path.suffix == ".npy":
            streams = {"": stack.enter_context(path.open("rb"))}
        else:
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            streams = {name[:-4]: stack.enter_context(archive.open(name)) for name in members}
        read = {name: _header(stream) for name, stream in streams.items()}
    return {name: (shape, dtype) for name, (shape, _, dtype) in read.items()}


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and dtype; the stream stands at the values then."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _whole(path: Path, key: str) -> np.ndarray:
    loaded = np.load(path, allow_pickle=False)
    return loaded if isinstance(loaded, np.ndarray) else loaded[key]


def _rows(path: Path, key: str, taken: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """The rows of an array in batches, without holding the array."""
    with ExitStack() as stack:
        if path.suffix == ".npy":
            stream: IO[bytes] = stack.enter_context(path.open("rb"))
        else:
            stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(f"{key}.npy"))
        shape, columns_first, dtype = _header(stream)
        if columns_first:
            value = _whole(path, key)
            for start in range(0, len(taken), batch):
                yield value[taken[start : start + batch]]
            return
        size, place = dtype.itemsize * int(np.prod(shape[1:])), 0
        for start in range(0, len(taken), batch):
            rows = []
            for row in taken[start : start + batch]:
                while place < row:
                    stream.read(size)
                    place += 1
                data = stream.read(size)
                if len(data) != size:
                    raise IcebreakerError(
                        "array_cut_off", "{file} ends in the middle of row {row}", "copy_again",
                        subject=path, file=str(path), row=place,
                    )  # fmt: skip
                rows.append(np.frombuffer(data, dtype).reshape(shape[1:]))
                place += 1
            yield np.stack(rows)


SOURCE = Source(lambda path: path.suffix in (".npz", ".npy"), _open, whole=True)
