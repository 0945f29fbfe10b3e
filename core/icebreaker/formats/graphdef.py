"""Frozen GraphDefs: binary `.pb`, text `.pbtxt`, and gzip of either. Told apart by content, not by name."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from icebreaker.errors import IcebreakerError
from icebreaker.formats import structure
from icebreaker.graph import limits
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.storage.files import check_unpacked
from icebreaker.storage.weight_store import Store

# Protobuf refuses messages of 2 GiB and more; a gzip file that unpacks to more is refused before it fills memory.
_MOST_BYTES = (1 << 31) - 1
_MOST_TEXT_BYTES = 1 << 28  # read at about 10 MB a second
_PIECE_BYTES = 1 << 22
# What people name .pb although it is something else, and how that begins.
_OTHERS: Mapping[str, re.Pattern[bytes]] = {
    "a PyTorch file": re.compile(
        rb"\x80.\x8a\x0al\xfc\x9cF\xf9 j\xa8P|PK\x03\x04.{26}[^/]{1,200}/(data\.pkl|version|byteorder)", re.DOTALL
    ),
    "a pickled Python object": re.compile(rb"\x80[\x02-\x05][\x95}c(]"),
    "a zip archive": re.compile(rb"PK\x03\x04"),
    "an HDF5 file, as Keras writes": re.compile(rb"\x89HDF\r\n\x1a\n"),
    "a TensorFlow Lite model": re.compile(rb".{4}TFL3", re.DOTALL),
}
_GRAPH_IN_TEXT = re.compile(rb"^\s*(node|library|versions)\s*:?\s*\{", re.MULTILINE)


NEEDS_TENSORFLOW = False
PATTERNS = ("*.pb", "*.pbtxt", "*.gz")


def matches(path: Path) -> bool:
    """Takes every file that no other format has claimed."""
    return True


def read(path: Path, allow_side_effects: bool = False) -> Any:
    """Reads a GraphDef message; nothing of it runs.

    Raises:
        IcebreakerError: The file cannot be read, or holds no graph.
    """
    if path.is_dir():
        raise IcebreakerError(
            "folder_without_saved_model",
            "{subject} is a folder without a saved_model.pb", "give_frozen_or_saved_model",
            subject=path,
        )  # fmt: skip
    data = _content(path)
    if not data:
        raise IcebreakerError("file_empty", "{subject} is empty", "export_graph_again", subject=path)
    if _is_text(data):
        return _parse_text(path, data)
    if other := next((name for name, begin in _OTHERS.items() if begin.match(data)), ""):
        raise IcebreakerError(
            "graph_of_another_kind", "{subject} is {kind}, not a frozen graph of TensorFlow",
            "give_frozen_or_saved_model", subject=path, kind=other,
        )  # fmt: skip
    definition = GraphDef()
    try:
        definition.ParseFromString(data)
    except DecodeError as error:
        raise IcebreakerError(
            "graph_damaged", "{subject} is not a frozen graph, or is damaged or cut short", "export_or_copy_again",
            subject=path,
        ) from error  # fmt: skip
    if not all(node.name and node.op for node in definition.node):
        raise IcebreakerError(
            "nodes_malformed", "{subject} is not a frozen graph: some of its nodes have no name or no op", subject=path
        )
    return definition


def read_apart(path: Path, store: Store, big: int, allow_side_effects: bool = False) -> Any | None:
    """Reads a binary graph of at least `big` bytes, whose big weights go to `store`.

    None: it is smaller, it is no binary graph, or the disk is full.

    Raises:
        IcebreakerError: It passes a limit.
    """
    if path.stat().st_size < big:
        return None
    try:
        definition = structure.read(path)
        if not definition.node:
            return None
        limits.check_limits(definition, str(path))
        return structure.read_apart(path, Graph(definition).weights, store)
    except (OSError, ValueError):
        return None


def _content(path: Path) -> bytes:
    """What is in a file, unpacked if it is gzip's."""
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise IcebreakerError(
                "file_too_big", "{subject} has {gigabytes:.1f} GB, but protobuf ends at 2 GB", "give_saved_model",
                subject=path, gigabytes=size / 1e9,
            )  # fmt: skip
        data = path.read_bytes()
    except OSError as error:
        raise IcebreakerError(
            "file_not_read", "{subject} could not be read: {reason}", subject=path, reason=error.strerror or str(error)
        ) from error
    if not data.startswith(b"\x1f\x8b"):
        return data
    unpacked = bytearray()
    try:
        with gzip.open(path) as stream:
            while piece := stream.read(_PIECE_BYTES):
                unpacked += piece
                check_unpacked(path, len(unpacked), size)
                if len(unpacked) > _MOST_BYTES:
                    raise IcebreakerError(
                        "gzip_too_big",
                        "{subject} unpacks to more than 2 GB, which no graph can have", "not_what_it_seems",
                        subject=path,
                    )  # fmt: skip
    except (OSError, EOFError, zlib.error) as error:
        raise IcebreakerError(
            "gzip_damaged", "{subject} is a damaged gzip file ({reason})", "copy_again", subject=path, reason=str(error)
        ) from error
    return bytes(unpacked)


def _is_text(data: bytes) -> bool:
    """A binary GraphDef with a node has bytes below 0x20 that no text has, within its first few."""
    head = data[:512]
    return not any(byte < 0x20 and byte not in b"\t\n\r\f" for byte in head) and head.isascii()


def _parse_text(path: Path, data: bytes) -> Any:
    if len(data) > _MOST_TEXT_BYTES:
        raise IcebreakerError(
            "text_too_long",
            "{subject} has {megabytes:.0f} MB of text, but at most {most:.0f} MB are read", "save_binary",
            subject=path, megabytes=len(data) / 1e6, most=_MOST_TEXT_BYTES / 1e6,
        )  # fmt: skip
    try:
        return text_format.Parse(data.decode("utf-8"), GraphDef())
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        if data.startswith(b"version https://git-lfs.github.com/"):
            raise IcebreakerError(
                "lfs_pointer", "{subject} is a Git LFS pointer in the place of the graph", "fetch_lfs", subject=path
            ) from error
        if not _GRAPH_IN_TEXT.search(data):
            raise IcebreakerError(
                "text_without_graph", "{subject} is a text file and holds no graph", "give_frozen_graph", subject=path
            ) from error
        raise IcebreakerError(
            "text_damaged", "{subject} is a graph in text form, but cannot be read as one ({reason})", "export_again",
            subject=path, reason=str(error),
        ) from error  # fmt: skip
