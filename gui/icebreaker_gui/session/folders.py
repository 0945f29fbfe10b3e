"""The sessions' folders: where they lie, and whose app still lives.

Each lies in the user's cache folder and holds a lock for as long as its app lives, which tells what a killed app has
left from what is in use. Two windows, or two users, do not touch each other's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import QLockFile

from icebreaker.storage import cache
from icebreaker_gui.session.background import start_thread

_PREFIX = "icebreaker-session-"
_LOCK = "lock"
_SESSIONS = "sessions"  # in the cache folder
_BEGINNING_SECONDS = 60  # after which a folder without a lock has been given up


class SessionFolder:
    """A session's own folder, from now until `remove`."""

    def __init__(self) -> None:
        """Makes and locks it: in the cache folder, or where that cannot be had, in the temporary one."""
        try:
            with contextlib.suppress(RuntimeError):  # there is no home folder
                cache.make_folder(_SESSIONS)
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
        except OSError:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = QLockFile(str(self.path / _LOCK))
        self._lock.setStaleLockTime(0)
        self._lock.tryLock(0)

    def remove(self) -> None:
        """Removes it, and all that is in it."""
        self._lock.unlock()
        shutil.rmtree(self.path, ignore_errors=True)


def remove_later(*paths: Path) -> None:
    """Removes files and folders in a thread: gigabytes take a while. What an exit leaves goes with its session."""

    def work() -> None:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()

    start_thread(work, "remove")


def abandoned() -> Iterator[Path]:
    """Folders whose app has died, the latest first."""
    folders: dict[Path, float] = {}
    for parent in (_parent(), Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            folders |= {folder: folder.stat().st_mtime for folder in parent.glob(f"{_PREFIX}*") if _is_ours(folder)}
    for folder in sorted(folders, key=lambda folder: folders[folder], reverse=True):
        if not _has_owner(folder):  # its app is only just beginning, or a power cut has left the lock empty
            if time.time() - folders[folder] < _BEGINNING_SECONDS:
                continue
            (folder / _LOCK).unlink(missing_ok=True)
        lock = QLockFile(str(folder / _LOCK))
        lock.setStaleLockTime(0)  # only the death of its process makes it stale
        if lock.tryLock(0):  # else it lives, or is another user's
            lock.unlock()
            yield folder


def _parent() -> Path:
    try:
        return cache.folder() / _SESSIONS
    except RuntimeError:  # there is no home folder
        return Path(tempfile.gettempdir())


def _is_ours(folder: Path) -> bool:
    """False for what another user may have put into a shared temporary folder."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and (not hasattr(os, "geteuid") or status.st_uid == os.geteuid())


def _has_owner(folder: Path) -> bool:
    try:
        return (folder / _LOCK).stat().st_size > 0
    except OSError:
        return False
