"""Writes files so that a reader never sees half of one; knows packed files that unpack to too much.

What is too big to be built in memory is written in pieces: bytes, or files that stand for their content.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from icebreaker.errors import IcebreakerError

# No graph packs better than this: weights hardly pack at all, text ten to one. A bomb packs a thousand to one.
_MOST_RATIO = 200
_HARMLESS_BYTES = 64 << 20
PIECE_BYTES = 4 << 20

Pieces = Sequence[bytes | Path]


def check_unpacked(path: Path, size: int, packed: int) -> None:
    """Stops a decompression bomb: call it with what has been unpacked so far, or what the file promises.

    Raises:
        IcebreakerError: `packed` bytes do not honestly become `size`.
    """
    if size > max(_HARMLESS_BYTES, packed * _MOST_RATIO):
        raise IcebreakerError(
            "unpacks_to_too_much",
            "{subject} unpacks to more than {ratio} times its size, which no graph does", "not_what_it_seems",
            subject=path, ratio=_MOST_RATIO,
        )  # fmt: skip


def write_whole(path: Path, data: bytes, job_id: str = "") -> None:
    """Writes to a temporary name beside `path`, flushes, and renames; on failure nothing is left behind.

    Args:
        path: The file to make or replace.
        data: Its whole content.
        job_id: Names the temporary file `.NAME.JOB_ID.tmp`, so that whoever kills the job can remove it.

    Raises:
        IcebreakerError: The folder does not exist, is read-only or full, or `path` is a folder.
    """
    write_together({path: data}, job_id)


def size_of(pieces: Pieces) -> int:
    """Bytes that pieces have in all."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.stat().st_size for piece in pieces)


def digest_of(pieces: Pieces) -> str:
    """Hex digest of the SHA-256 of all pieces in a row."""
    digest = hashlib.sha256()
    for part in _parts(pieces):
        digest.update(part)
    return digest.hexdigest()


def joined(pieces: Pieces) -> bytes:
    """All pieces in memory."""
    return b"".join(_parts(pieces))


def field(number: int, pieces: Pieces) -> list[bytes | Path]:
    """A field of a protocol buffer that has a length (bytes, a message): its head, then its content."""
    return [varint(number << 3 | 2) + varint(size_of(pieces)), *pieces]


def varint(value: int) -> bytes:
    """A whole number as protocol buffers spell it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _parts(pieces: Pieces) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            with piece.open("rb") as stream:
                while part := stream.read(PIECE_BYTES):
                    yield part


def write_together(files: Mapping[Path, bytes | Path | Pieces], job_id: str = "") -> None:
    """As `write_whole`, for files that belong together: all are on the disk before the first is renamed.

    A path in place of the content names a file to copy. A folder beside the other files is made if need be.
    """
    home = min((path.parent for path in files), key=lambda folder: len(folder.parts))
    pairs: list[tuple[Path, Path]] = []
    path = next(iter(files))
    try:
        for path, data in files.items():
            if path.is_dir():
                raise IcebreakerError("target_is_folder", "{subject} is a folder", "name_file_to_write", subject=path)
            temporary = home / f".{path.name}.{job_id or uuid.uuid4().hex[:12]}.tmp"
            pairs.append((temporary, path))
            with temporary.open("wb") as stream:
                stream.writelines(_parts([data] if isinstance(data, bytes | Path) else data))
                stream.flush()
                os.fsync(stream.fileno())
        for temporary, path in pairs:
            if path.parent != home:
                path.parent.mkdir(exist_ok=True)
            temporary.replace(path)
    except OSError as error:
        raise IcebreakerError(
            "file_not_written", "{subject} could not be written: {reason}", "choose_another_folder",
            subject=path, reason=error.strerror or str(error),
        ) from error  # fmt: skip
    finally:
        for temporary, _ in pairs:
            with contextlib.suppress(OSError):
                temporary.unlink()
