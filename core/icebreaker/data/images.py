"""Calibration data: a folder of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from icebreaker.data.source import Batch, Data, Request, Source
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Placeholder
from icebreaker.messages import Message, message
from icebreaker.preprocessing import Preprocessing
from icebreaker.storage.files import check_file

_MOST_BYTES = 1 << 30  # of one image
_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def image_input(path: Path, request: Request) -> tuple[Placeholder, Preprocessing, Message]:
    """The input that takes the images at a path, how they become its values, and that in words for `Data.notes`.

    Raises:
        IcebreakerError: The graph does not take just one image.
    """
    fitting = [(item, guess) for item in request.inputs if (guess := Preprocessing.guess(item.shape, item.dtype))]
    if len(fitting) != 1 or len(request.inputs) != 1:
        raise IcebreakerError(
            "images_unfit", "{file} has images, but the graph's inputs ({inputs}) are not one image", "give_npz",
            subject=path, file=str(path), inputs=tuple(item.name for item in request.inputs),
        )  # fmt: skip
    wanted, guess = fitting[0]
    chosen = request.preprocessing or guess
    told = message("images_become", "images become {subject}: {how}", subject=wanted.name, how=str(chosen))
    if not request.preprocessing:
        told = message("images_guessed", "{what} (guessed: please check)", subject=wanted.name, what=told)
    return wanted, chosen, told


def _open(path: Path, request: Request) -> Data:
    from PIL import Image

    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _ENDINGS and file.is_file())
    if not files:
        raise IcebreakerError(
            "no_images", "{file} has no images: {endings} are read, in subfolders too",
            subject=path, file=str(path), endings=tuple(sorted(_ENDINGS)),
        )  # fmt: skip
    # A graph that decodes its images itself takes the files as they are.
    if len(request.inputs) == 1 and request.inputs[0].dtype == "string":
        wanted, how = request.inputs[0], None
        note = message("input_takes_bytes", "{subject} takes the files' bytes", subject=wanted.name)
    else:
        wanted, how, note = image_input(path, request)
    taken, skipped = [], []
    for file in (files[k] for k in request.rows(len(files))):
        reason = _unreadable(file, decodes=how is not None)
        (skipped if reason else taken).append((file, reason))
    if not taken:
        raise _no_image(*skipped[0])
    if request.exact:
        taken = taken[: len(taken) - len(taken) % request.batch]

    def rows() -> Iterator[Batch]:
        for file, _ in taken:
            try:
                if how is None:
                    yield {wanted.name: np.array(file.read_bytes(), object)}
                    continue
                with Image.open(file) as image:
                    yield {wanted.name: how.values(image, wanted.dtype)}
            except Exception as error:  # decoders raise what they like
                raise _no_image(file, str(error)) from error

    return Data(
        "images", len(taken), request.batch, (request.note(len(files)), note), _warnings(skipped), how,
        read=lambda: request.batches(rows()),
    )  # fmt: skip


def _unreadable(file: Path, *, decodes: bool) -> str:
    """Why an image cannot be read; empty if it can."""
    from PIL import Image

    try:
        check_file(file, _MOST_BYTES)
        if decodes:
            with Image.open(file) as image:
                image.draft("RGB", (64, 64))  # where a format can be decoded to less, that is faster and tells as much
                image.load()
    except Exception as error:  # decoders raise what they like
        return str(error) or type(error).__name__
    return ""


def _no_image(file: Path, reason: str) -> IcebreakerError:
    return IcebreakerError(
        "image_unreadable", "{file} is no image that can be read ({reason})", "remove_it",
        subject=file, file=str(file), reason=reason,
    )  # fmt: skip


def _warnings(skipped: list[tuple[Path, str]]) -> tuple[Message, ...]:
    """What to tell of images that cannot be read."""
    if not skipped:
        return ()
    file, reason = skipped[0]
    return (
        message(
            "images_skipped", "{count} of the images cannot be read and are left out, such as {file} ({reason})",
            subject=file, count=len(skipped), file=str(file), reason=reason,
        ),
    )  # fmt: skip


SOURCE = Source(Path.is_dir, _open)
