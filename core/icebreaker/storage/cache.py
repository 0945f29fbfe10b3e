"""What is remembered between runs, in the user's cache folder: notes of a few values and engines' own caches.

An entry has a kind, which is a folder, and a key, which is a hex digest. Each is a file of its own, written whole, so
that any number of processes may share the folder without locks. The folder may vanish at any time: then nothing is
remembered, and that is all. Entries of another user are not read.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import write_whole

_MOST_BYTES = 1 << 16
_MOST_BLOB_BYTES = 1 << 28


def folder() -> Path:
    """The cache folder: `ICEBREAKER_CACHE`, or the place that the platform has for such things.

    Raises:
        RuntimeError: There is no home folder.
    """
    if given := os.environ.get("ICEBREAKER_CACHE"):
        return Path(given)
    return platformdirs.user_cache_path("icebreaker", appauthor=False, opinion=False)


def write_note(kind: str, key: str, content: Mapping[str, Any]) -> bool:
    """Remembers what JSON can hold, at most 64 KiB.

    Args:
        kind: Folder in the cache folder, such as `crashes`.
        key: Hex digest of all that decides whether the note still holds.
        content: The values.

    Returns:
        False if it could not be written, which is no error.
    """
    return _write(kind, f"{_checked(key)}.json", json.dumps(content).encode())


def read_note(kind: str, key: str) -> dict[str, Any] | None:
    """A note's values; None if there is none, or another user wrote it."""
    try:
        content = json.loads(_read(kind, f"{_checked(key)}.json", _MOST_BYTES))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_blob(kind: str, key: str, content: bytes) -> bool:
    """Remembers bytes, such as an engine's own cache, at most 256 MiB; arguments and result as of `write_note`."""
    return _write(kind, f"{_checked(key)}.bin", content)


def read_blob(kind: str, key: str) -> bytes:
    """Bytes that were remembered; empty if there are none, or another user wrote them."""
    return _read(kind, f"{_checked(key)}.bin", _MOST_BLOB_BYTES)


def drop_note(kind: str, key: str) -> None:
    """Removes a note, if it is there."""
    with contextlib.suppress(OSError, RuntimeError):
        (folder() / kind / f"{_checked(key)}.json").unlink()


def keep_latest(kind: str, most: int) -> None:
    """Removes the oldest entries of a kind beyond `most`."""
    with contextlib.suppress(OSError, RuntimeError):
        notes = list((folder() / kind).iterdir())
        if len(notes) > most:
            for note in sorted(notes, key=lambda note: note.stat().st_mtime)[: len(notes) - most]:
                note.unlink()


def _checked(key: str) -> str:
    """The key, which is part of a file's name; raises ValueError if it could lead elsewhere."""
    if not (key.isascii() and key.isalnum()):
        raise ValueError(f"{key!r} is no key")
    return key


def _write(kind: str, name: str, content: bytes) -> bool:
    try:
        path = folder() / kind / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, content)
    except (OSError, RuntimeError, IcebreakerError):  # RuntimeError: there is no home folder
        return False
    return True


def _read(kind: str, name: str, most: int) -> bytes:
    try:
        path = folder() / kind / name
        status = path.stat()
        if status.st_size > most or (hasattr(os, "geteuid") and status.st_uid != os.geteuid()):
            return b""
        return path.read_bytes()
    except (OSError, RuntimeError):
        return b""
