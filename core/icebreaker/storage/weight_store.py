"""Keeps the big constants of a big graph out of memory: the content of each lies in a file of its own.

TensorFlow, ONNX Runtime and OpenVINO hold several copies each of a weight that comes within a message; a file they map
into memory, all of them the same one. In the place of the content, the graph's message carries a mark that names the
file. Nobody takes it for a value: its length fits no shape, so whatever overlooks it fails at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from icebreaker.storage.files import PIECE_BYTES

_DONTNEED = 4  # of madvise
_MARK = b"kept apart: "


class Store:
    """A folder with the contents of constants, each in a file named by its SHA-256: equal ones share a file.

    Attributes:
        folder: Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        """Begins an empty store, or opens one to read; `folder` is there already, and whoever made it removes it."""
        self.folder = folder

    def keep(self, pieces: Iterable[bytes]) -> Path:
        """Writes the content of a constant, which comes in pieces; returns its file.

        Raises:
            OSError: The disk is full.
        """
        digest = hashlib.sha256()
        draft = self.folder / "draft"
        with draft.open("wb") as stream:
            for piece in pieces:
                digest.update(piece)
                stream.write(piece)
        return draft.replace(self.folder / digest.hexdigest())

    def link(self, file: Path) -> None:
        """Takes in a file that bears its content's SHA-256 as its name, as a hard link or a copy.

        Raises:
            OSError: It had to be copied, and the disk is full.
        """
        place = self.folder / file.name
        if place.exists():
            return
        try:
            os.link(file, place)  # engines follow no symbolic link out of a model's folder
        except OSError:  # another disk, or another user's file
            draft = self.folder / "draft"
            shutil.copyfile(file, draft)
            draft.replace(place)

    @staticmethod
    def mark(path: Path) -> bytes:
        """The mark to put into a tensor's `tensor_content` in place of what is in a file."""
        return _MARK + path.name.encode()

    def file(self, content: bytes) -> Path | None:
        """The file that a `tensor_content` names; None if it is no mark, or the file is not in this folder."""
        if not content.startswith(_MARK):
            return None
        name = content.removeprefix(_MARK).decode("ascii", "replace")
        path = self.folder / name
        return path if len(name) == 64 and name.isalnum() and path.is_file() else None

    def rest(self) -> None:
        """Has the system drop the pages of these files from the process's memory; who maps them reads them anew.

        Use it after a step that went through many weights, and only while no other thread runs: one that unmaps a file
        meanwhile could have its address taken by something else. Does nothing outside of Linux.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        with contextlib.suppress(OSError, AttributeError):  # another system
            for line in Path("/proc/self/maps").read_text().splitlines():
                span, access, *_ = line.split()
                if "w" not in access and str(self.folder) in line:
                    begin, end = (int(text, 16) for text in span.split("-"))
                    libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _DONTNEED)

    def of(self, node: Any) -> Path | None:
        """The file with the content of a Const (a NodeDef); None if it has its content, and for any other node."""
        return self.file(node.attr["value"].tensor.tensor_content) if node.op == "Const" else None


def part_of_file(stream: BinaryIO, at: int, length: int) -> Iterator[bytes]:
    """Bytes `at` to `at + length` of an open file, in pieces of at most 4 MiB.

    Raises:
        OSError: It ends before.
    """
    while length > 0:
        piece = os.pread(stream.fileno(), min(length, PIECE_BYTES), at)
        if not piece:
            raise OSError("the file has become shorter")
        yield piece
        at += len(piece)
        length -= len(piece)


def rows(values: np.ndarray) -> Iterator[bytes]:
    """An array's content in row-major order, in pieces of about 4 MiB; the array need not be contiguous."""
    count = max(1, PIECE_BYTES * len(values) // max(values.nbytes, 1))
    for begin in range(0, len(values), count):
        yield np.ascontiguousarray(values[begin : begin + count]).tobytes()


def opened(path: Path, dtype: Any, shape: Sequence[int]) -> np.ndarray:
    """A file's content as an array of this dtype and shape, which is read as needed and cannot be changed."""
    return np.memmap(path, dtype, "r", shape=tuple(shape))


def give_memory_back() -> None:
    """Returns memory that was freed to the system: the C library keeps much of it otherwise."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
