"""What is remembered between runs, in the user's cache folder: notes of a few values and engines' own caches.

An entry has a kind, which is a folder, and a key, which is a hex digest. Each is a file of its own, written whole, so
that any number of processes may share the folder without locks. The folder may vanish at any time: then nothing is
remembered, and that is all. Nothing is read that somebody else could have put there: links, files of another user, and
whatever lies in a folder that others may write to, or under one.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import write_whole

_MOST_BYTES = 1 << 16
_MOST_BLOB_BYTES = 1 << 28
_SECRET, _SECRET_BYTES = "key", 32


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
            for note in sorted(notes, key=lambda note: note.lstat().st_mtime)[: len(notes) - most]:
                note.unlink()


def size(*kinds: str) -> int:
    """Bytes of all entries of these kinds."""
    return sum(status.st_size for _, status in _entries(kinds))


def clear(*kinds: str) -> None:
    """Forgets all entries of these kinds; what cannot be removed stays."""
    for path, _ in _entries(kinds):
        with contextlib.suppress(OSError):
            path.unlink()


def _entries(kinds: Iterable[str]) -> Iterator[tuple[Path, os.stat_result]]:
    """The files of some kinds; links are not followed."""
    for kind in kinds:
        with contextlib.suppress(OSError, RuntimeError):
            for path in (folder() / kind).iterdir():
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status


def _checked(key: str) -> str:
    """The key, which is part of a file's name; raises ValueError if it could lead elsewhere."""
    if not (key.isascii() and key.isalnum()):
        raise ValueError(f"{key!r} is no key")
    return key


def secret() -> bytes:
    """A key that only this user has, made when it is first asked for; empty if the cache folder cannot keep one."""
    try:
        path = folder() / _SECRET
        _make(path.parent)
        if not _is_private(path.parent):
            return b""
        for _ in range(2):
            known = _content(path, _SECRET_BYTES, forbidden=0o077)
            if len(known) == _SECRET_BYTES:
                return known
            _replace_secret(path)
        return b""
    except (OSError, RuntimeError):
        return b""


def _replace_secret(path: Path) -> None:
    """Makes a new key in the place of what is no key; the first of several processes wins where there was nothing."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(_SECRET_BYTES))
        if path.is_symlink() or path.exists():
            draft.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def make_folder(kind: str) -> Path:
    """A folder in the cache folder, which is made if need be, for this user only.

    Raises:
        OSError: It cannot be made.
        RuntimeError: There is no home folder.
    """
    path = folder() / kind
    _make(path)
    return path


def _make(path: Path) -> None:
    """Makes a folder and those above it that are missing, for this user only: `parents=True` heeds no mode for them."""
    for part in (*reversed(path.parents), path):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)


def _write(kind: str, name: str, content: bytes) -> bool:
    try:
        path = make_folder(kind) / name
        if not _is_private(path.parent):
            return False
        if path.is_symlink():
            path.unlink()
        write_whole(path, content)
    except (OSError, RuntimeError, IcebreakerError):  # RuntimeError: there is no home folder
        return False
    return True


def _read(kind: str, name: str, most: int) -> bytes:
    try:
        path = folder() / kind / name
        return _content(path, most) if _is_private(path.parent) else b""
    except (OSError, RuntimeError):
        return b""


def _content(path: Path, most: int, forbidden: int = 0) -> bytes:
    """What is in a file of this user; empty for anything else, and for one with a mode that is forbidden."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        is_ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
        is_sound = stat.S_ISREG(status.st_mode) and status.st_size <= most and not status.st_mode & forbidden
        return stream.read(most) if is_ours and is_sound else b""


def _is_private(path: Path) -> bool:
    """Whether nobody but this user and root can have put something into a folder, or put another in its place."""
    if not hasattr(os, "geteuid"):
        return True
    if path.is_symlink():
        return False
    trusted = {os.geteuid(), 0, Path("/").stat().st_uid}  # in a container, root may bear another number
    for part in (path.resolve(), *path.resolve().parents):
        status = part.lstat()
        others = stat.S_IWOTH | (0 if _is_own_group(status.st_gid) else stat.S_IWGRP)
        # In a sticky folder, such as /tmp, nobody can remove or replace what is another's.
        if status.st_uid not in trusted or (status.st_mode & others and not status.st_mode & stat.S_ISVTX):
            return False
    return True


def _is_own_group(number: int) -> bool:
    """Whether a group has no member but this user, as some systems make one for each."""
    import grp
    import pwd

    with contextlib.suppress(KeyError):
        group = grp.getgrgid(number)
        return not group.gr_mem and group.gr_name == pwd.getpwuid(os.geteuid()).pw_name
    return False
