"""Writes a SavedModel's folder so that nobody ever sees half of it, and replaces no folder but such a one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path

from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import Pieces, not_written, write_into

_MARKS = ("saved_model.pb", "saved_model.pbtxt")
# What TensorFlow and Keras write into a SavedModel. `assets.extra` is missing: that is where people put what is theirs.
_PARTS = frozenset({*_MARKS, "variables", "assets", "debug", "fingerprint.pb", "keras_metadata.pb"})
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def place_for_folder(path: Path) -> Path:
    """Where a SavedModel goes that shall be written to `path`: where a link leads to, if it is one.

    Raises:
        IcebreakerError: Something is there that is no SavedModel, or one with other things in its folder; or the name
            is too long.
    """
    place = Path(os.path.realpath(path))
    try:
        kind = place.lstat().st_mode
    except FileNotFoundError:
        return place
    except OSError as error:
        raise not_written(path, error) from error
    if not stat.S_ISDIR(kind):
        raise IcebreakerError(
            "target_no_folder", "{subject} is there already, and is no folder", "name_folder_to_write", subject=path
        )
    try:
        names = sorted(item.name for item in place.iterdir())
    except OSError as error:
        raise not_written(path, error) from error
    if not any(name in _MARKS for name in names):
        raise IcebreakerError("target_is_folder", "{subject} is a folder", "name_file_to_write", subject=path)
    for name in names:
        if name not in _PARTS and not name.startswith("saved_model.pb."):  # ours: engines and weights
            raise IcebreakerError(
                "target_holds_more", "{subject} is not replaced: {name!r} in it is no part of a SavedModel",
                "name_folder_to_write", subject=path, name=name,
            )  # fmt: skip
    return place


def write_folder(path: Path, files: Mapping[str, bytes | Path | Pieces], job_id: str = "") -> None:
    """Writes a folder under a temporary name beside `path`, flushes, and renames; on failure nothing is left behind.

    Args:
        path: The folder to make, or the SavedModel to replace.
        files: Place in it, with `/` between its parts → content, as for `files.write_together`.
        job_id: Names the temporary folder `.NAME.JOB_ID.tmp`, so that whoever kills the job can remove it.

    Raises:
        IcebreakerError: As `place_for_folder`; or its parent does not exist, is read-only or full.
    """
    place = place_for_folder(path)
    temporary = place.with_name(f".{place.name[:40]}.{job_id or uuid.uuid4().hex[:12]}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of a worker that died
        temporary.mkdir()
        for name, data in files.items():
            file = temporary / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_into(file, data)
        if place.exists():
            place_for_folder(path)  # it may have become something else meanwhile
            _exchange(temporary, place)
        else:
            temporary.rename(place)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)


def _exchange(new: Path, old: Path) -> None:
    """Puts one folder in the place of another, which takes its name; at no moment is there none."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(path) for path in (new, old)]
    if hasattr(libc, "renameat2") and not libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
        return
    # Not every file system can do that: for a moment the old one lies under a name that nothing removes.
    aside = new.with_suffix(".old")
    old.rename(aside)
    try:
        new.rename(old)
    except OSError:
        aside.rename(old)
        raise
    aside.rename(new)
