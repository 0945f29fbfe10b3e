"""Reads and writes files that a stranger may have had a hand in.

Writes so that a reader never sees half of a file, and replaces nothing but files; reads nothing but files, of a size
that was looked at first; stops packed files that unpack to too much.

What is too big to be built in memory is written in pieces: bytes, or files whose content belongs there. Protocol
buffers can be spelled in pieces, too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from icebreaker.errors import IcebreakerError

# No graph packs better than this: weights hardly pack at all, text ten to one. A bomb packs a thousand to one.
_MOST_RATIO = 200
_HARMLESS_BYTES = 64 << 20
PIECE_BYTES = 4 << 20
_MOST_NAME_BYTES = 255  # of almost all file systems
_KEPT_CHARACTERS = 40  # of a name that is too long, in at most four bytes each

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


def exists(path: Path) -> bool:
    """Whether there is something at a path; False also for a path that cannot be, such as one that is too long."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def read_beside(folder: Path, name: str, most: int) -> bytes:
    """What is in a file that a graph names, once `file_beside` has looked at it.

    Args:
        folder: Where the graph lies.
        name: The file's name in it; parts of a path are separated by `/`.
        most: Bytes that it may have.

    Raises:
        IcebreakerError: As `file_beside`.
        OSError: It is missing, or cannot be read.
    """
    path = file_beside(folder, name, most)
    # Nobody is waited for, in case a pipe has taken the file's place meanwhile.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags), "rb") as stream:
        return stream.read(most)


def file_beside(folder: Path, name: str, most: int) -> Path:
    """A file that a graph names, in the folder that the graph lies in.

    Raises:
        IcebreakerError: It is a device, a pipe or a folder, has more than `most` bytes, or is a link out of the folder.
        OSError: It is missing, or cannot be looked at.
    """
    path = Path(os.path.realpath(folder / name, strict=True))
    if not path.is_relative_to(os.path.realpath(folder)):
        raise IcebreakerError(
            "file_links_out", "{subject} is a link that leads out of its folder", "copy_file_itself",
            subject=folder / name,
        )  # fmt: skip
    check_file(path, most)
    return path


def check_file(path: Path, most: int = 1 << 62) -> None:
    """Sees that there is a file with an end, of at most so many bytes, before anything of it is read.

    Raises:
        IcebreakerError: It is a device, a pipe or a folder, or has more than `most` bytes.
        OSError: It is missing, or cannot be looked at.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise IcebreakerError("not_a_file", "{subject} is no file", "not_what_it_seems", subject=path)
    if status.st_size > most:
        raise IcebreakerError(
            "file_bigger_than_taken", "{subject} has {gigabytes:.1f} GB, but at most {most:.1f} GB are read",
            "not_what_it_seems", subject=path, gigabytes=status.st_size / 1e9, most=most / 1e9,
        )  # fmt: skip


def place_to_write(path: Path) -> Path:
    """Where a file goes that shall be written to `path`: where a link leads to, if it is one.

    Raises:
        IcebreakerError: Something is there that is no file, such as a folder, a device or a pipe; or the name is too
            long.
    """
    place = Path(os.path.realpath(path))
    try:
        kind = place.lstat().st_mode
    except FileNotFoundError:
        return place
    except OSError as error:
        raise not_written(path, error) from error
    if stat.S_ISDIR(kind):
        raise IcebreakerError("target_is_folder", "{subject} is a folder", "name_file_to_write", subject=path)
    if not stat.S_ISREG(kind):
        raise IcebreakerError(
            "target_no_file", "{subject} is no file but {kind}, which is not replaced", "name_file_to_write",
            subject=path if place == path.absolute() else place, kind=_KINDS.get(stat.S_IFMT(kind), "something else"),
        )  # fmt: skip
    return place


_KINDS: Mapping[int, str] = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link in a circle",
}


def not_written(path: Path, error: OSError) -> IcebreakerError:
    """What to tell the user of a file or folder that the system would not write."""
    remedy = "give_shorter_name" if error.errno == errno.ENAMETOOLONG else "choose_another_folder"
    return IcebreakerError(
        "file_not_written", "{subject} could not be written: {reason}", remedy,
        subject=path, reason=error.strerror or str(error),
    )  # fmt: skip


def write_together(files: Mapping[Path, bytes | Path | Pieces], job_id: str = "") -> None:
    """Writes files that belong together: all are on the disk under temporary names before the first is renamed.

    Args:
        files: Where → the content; a path in place of it names a file to copy. A folder that lies beside the other
            files is made if need be. Links are followed; what is no file is not replaced.
        job_id: As in `write_whole`.

    Raises:
        IcebreakerError: As in `write_whole`; then none of the files is there, unless renaming failed halfway.
    """
    home = min((path.parent for path in files), key=lambda folder: len(folder.parts))
    pairs: list[tuple[Path, Path]] = []
    path = next(iter(files))
    try:
        for number, (path, data) in enumerate(files.items()):
            if path.parent != home and path.parent.is_symlink():
                raise IcebreakerError(
                    "side_folder_is_link", "{subject} is a link, which is not followed", "remove_link",
                    subject=path.parent,
                )  # fmt: skip
            place = place_to_write(path)
            # Where a link leads to may be on another disk; other files' folder may not be there yet.
            temporary = (place.parent if path.is_symlink() else home) / _temporary_name(path.name, number, job_id)
            pairs.append((temporary, place))
            temporary.unlink(missing_ok=True)  # of a worker that died
            write_into(temporary, data)
        for temporary, place in pairs:
            path = place
            if place.parent != temporary.parent:
                place.parent.mkdir(exist_ok=True)
            temporary.replace(place)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        for temporary, _ in pairs:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_into(path: Path, data: bytes | Path | Pieces) -> None:
    """Writes a file that is not there yet, and sees that it is on the disk.

    Raises:
        OSError: It is there, or cannot be written.
    """
    with path.open("xb") as stream:
        stream.writelines(_parts([data] if isinstance(data, bytes | Path) else data))
        stream.flush()
        os.fsync(stream.fileno())


def _temporary_name(name: str, number: int, job_id: str) -> str:
    """Names a file beside `name`, in no more bytes than a name may have."""
    end = f".{job_id or uuid.uuid4().hex[:12]}.tmp"
    if len(os.fsencode(f".{name}{end}")) > _MOST_NAME_BYTES:
        name = f"{name[:_KEPT_CHARACTERS]}.{number}"
    return f".{name}{end}"
