"""Frozen GraphDefs: binary `.pb`, text `.pbtxt`, and gzip of either. Told apart by content, not by name."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from icebreaker.errors import IcebreakerError
from icebreaker.graph.protos import GraphDef
from icebreaker.storage.files import check_unpacked

# Protobuf refuses messages of 2 GiB and more; a gzip file that unpacks to more is refused before it fills memory.
_MOST_BYTES = (1 << 31) - 1
_MOST_TEXT_BYTES = 1 << 28  # read at about 10 MB a second
_PIECE_BYTES = 1 << 22
_GRAPH_IN_TEXT = re.compile(rb"^\s*(node|library|versions)\s*:?\s*\{", re.MULTILINE)


def matches(path: Path) -> bool:
    """Takes every file that no other format has claimed."""
    return True


def read(path: Path, allow_side_effects: bool = False) -> Any:
    """Reads a GraphDef message; nothing of it runs."""
    if path.is_dir():
        raise IcebreakerError(f"{path} is a folder without a saved_model.pb: give a frozen graph or a SavedModel")
    data = _content(path)
    if not data:
        raise IcebreakerError(f"{path} is empty: export the graph again")
    if _is_text(data):
        return _parse_text(path, data)
    definition = GraphDef()
    try:
        definition.ParseFromString(data)
    except DecodeError as error:
        raise IcebreakerError(
            f"{path} is not a frozen graph, or is damaged or cut short: export or copy it again"
        ) from error
    if not all(node.name and node.op for node in definition.node):
        raise IcebreakerError(f"{path} is not a frozen graph: some of its nodes have no name or no op")
    return definition


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise IcebreakerError(
                f"{path} has {size / 1e9:.1f} GB, but protobuf ends at 2 GB: give the SavedModel instead"
            )
        data = path.read_bytes()
    except OSError as error:
        raise IcebreakerError(f"{path} could not be read: {error.strerror or error}") from error
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
                        f"{path} unpacks to more than 2 GB, which no graph can have: it is not what it seems"
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise IcebreakerError(f"{path} is a damaged gzip file ({error}): copy it again") from error
    return bytes(unpacked)


def _is_text(data: bytes) -> bool:
    """A binary GraphDef with a node has bytes below 0x20 that no text has, within its first few."""
    head = data[:512]
    return not any(byte < 0x20 and byte not in b"\t\n\r\f" for byte in head) and head.isascii()


def _parse_text(path: Path, data: bytes) -> Any:
    if len(data) > _MOST_TEXT_BYTES:
        raise IcebreakerError(
            f"{path} has {len(data) / 1e6:.0f} MB of text, but at most {_MOST_TEXT_BYTES / 1e6:.0f} MB are read: "
            "save the graph in binary form"
        )
    try:
        return text_format.Parse(data.decode("utf-8"), GraphDef())
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        if data.startswith(b"version https://git-lfs.github.com/"):
            raise IcebreakerError(
                f"{path} is a Git LFS pointer in the place of the graph: fetch the graph with git lfs pull"
            ) from error
        if not _GRAPH_IN_TEXT.search(data):
            raise IcebreakerError(f"{path} is a text file and holds no graph: give a frozen graph") from error
        raise IcebreakerError(
            f"{path} is a graph in text form, but cannot be read as one ({error}): export it again"
        ) from error
