"""What is remembered between runs, in the user's cache folder: small notes and engines' own caches, by kind and key.

A note is a JSON file of its own, written whole, so that any number of processes may share the folder without locks. The
folder may vanish at any time: then nothing is remembered, and that is all.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import write_whole

_MOST_BYTES = 1 << 16
_MOST_BLOB_BYTES = 1 << 28


def folder() -> Path:
    """The cache folder: `ICEBREAKER_CACHE`, or the place that the platform has for such things."""
    if given := os.environ.get("ICEBREAKER_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "icebreaker"


def write_note(kind: str, key: str, content: Mapping[str, Any]) -> bool:
    """Remembers `content`; `key` is a hex digest. False if it could not be written, which is no error."""
    return _write(kind, f"{_checked(key)}.json", json.dumps(content).encode())


def read_note(kind: str, key: str) -> dict[str, Any] | None:
    """What was remembered; None if nothing was, or another user wrote it."""
    try:
        content = json.loads(_read(kind, f"{_checked(key)}.json", _MOST_BYTES))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_blob(kind: str, key: str, content: bytes) -> bool:
    """Remembers bytes, such as an engine's own cache; else like `write_note`."""
    return _write(kind, f"{_checked(key)}.bin", content)


def read_blob(kind: str, key: str) -> bytes:
    """What was remembered; nothing if there is none, or another user wrote it."""
    return _read(kind, f"{_checked(key)}.bin", _MOST_BLOB_BYTES)


def drop_note(kind: str, key: str) -> None:
    """Forgets."""
    with contextlib.suppress(OSError, RuntimeError):
        (folder() / kind / f"{_checked(key)}.json").unlink()


def keep_latest(kind: str, most: int) -> None:
    """Forgets the oldest notes of a kind beyond `most`."""
    with contextlib.suppress(OSError, RuntimeError):
        notes = list((folder() / kind).iterdir())
        if len(notes) > most:
            for note in sorted(notes, key=lambda item: item.stat().st_mtime)[: len(notes) - most]:
                note.unlink()


def _checked(key: str) -> str:
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
