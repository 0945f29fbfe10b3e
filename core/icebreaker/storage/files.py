"""Writes files so that a reader never sees half of one; stops packed files that unpack to too much.

What is too big to be built in memory is written in pieces: bytes, or files whose content belongs there. Protocol
buffers can be spelled in pieces, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from icebreaker.errors import IcebreakerError

# No graph packs better than this: weights hardly pack at all, text ten to one. A bomb packs a thousand to one.
_MOST_RATIO = 200
_HARMLESS_BYTES = 64 << 20
PIECE_BYTES = 4 << 20

# Bytes, and files that stand for their content, in a row.
Pieces: TypeAlias = Sequence[bytes | Path]


def check_unpacked(path: Path, size: int, packed: int) -> None:
    """Stops a decompression bomb.

    Args:
        path: The packed file, for the error.
        size: Bytes that have been unpacked so far, or that the file promises.
        packed: Bytes of the packed file.

    Raises:
        IcebreakerError: It unpacks to more than 64 MiB and more than 200 times its size.
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
    """Number of bytes in all pieces."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.stat().st_size for piece in pieces)


def digest_of(pieces: Pieces) -> str:
    """Hex digest of the SHA-256 of all pieces in a row; files are read a few MiB at a time."""
    digest = hashlib.sha256()
    for part in _parts(pieces):
        digest.update(part)
    return digest.hexdigest()


def joined(pieces: Pieces) -> bytes:
    """All pieces as one bytes object."""
    return b"".join(_parts(pieces))


def field(number: int, pieces: Pieces) -> list[bytes | Path]:
    """Spells a field of a protocol buffer that holds bytes, a text or a message.

    Args:
        number: The field's number in the message.
        pieces: Its content.

    Returns:
        The field's key and length as one piece, then the content's pieces.
    """
    return [varint(number << 3 | 2) + varint(size_of(pieces)), *pieces]


def varint(value: int) -> bytes:
    """A whole number from 0 as protocol buffers spell it: 7 bits a byte, the lowest first."""
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
    """Writes files that belong together: all are on the disk under temporary names before the first is renamed.

    Args:
        files: Where → the content; a path in place of it names a file to copy. A folder that lies beside the other
            files is made if need be.
        job_id: As in `write_whole`.

    Raises:
        IcebreakerError: As in `write_whole`; then none of the files is there, unless renaming failed halfway.
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
