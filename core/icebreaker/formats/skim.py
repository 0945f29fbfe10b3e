"""Reads a binary GraphDef without its weights, for showing it: a graph of gigabytes takes a few megabytes of memory.

The message is walked in its wire form (https://protobuf.dev/programming-guides/encoding/) over a memory map, and what
is long in a tensor or a byte string is left out before protobuf sees it: types and shapes stay. The walk is plain
Python on purpose: protobuf's own parser would hold Python's lock for as long as it copies the weights, which stops
every other thread.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from icebreaker.protos import GraphDef, NodeDef

_LONG = 4096  # bytes; what is shorter is copied without a look inside
_BYTES = 2  # the wire type of everything that has a length
_WIDTHS: Mapping[int, int] = {1: 8, 5: 4}  # of the wire types of fixed length

# What to look into, by field number: messages of tensorflow/core/framework/*.proto. None: leave out what is long.
_TENSOR: dict[int, Any] = dict.fromkeys(range(3, 64))  # all but type and shape
_LIST: dict[int, Any] = {2: None, 8: _TENSOR}
_VALUE: dict[int, Any] = {1: _LIST, 2: None, 8: _TENSOR}
_NODE: dict[int, Any] = {5: {2: _VALUE}}
_GRAPH: dict[int, Any] = {1: _NODE, 2: {1: {3: _NODE}}}


def read(path: Path) -> Any:
    """The GraphDef in a binary file, with empty weights.

    Raises:
        ValueError: The file is no whole binary GraphDef; whoever reads all of it can say why.
        OSError: It could not be read.
    """
    definition = GraphDef()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        kept = _skim(data, 0, len(data), _GRAPH)
    try:
        definition.ParseFromString(bytes(kept))
    except DecodeError as error:
        raise ValueError(str(error)) from error
    if not all(node.name and node.op for node in definition.node):
        raise ValueError("some nodes have no name or no op")
    return definition


def is_binary(path: Path) -> bool:
    """True if the file can be a binary GraphDef: text and gzip begin otherwise."""
    try:
        with path.open("rb") as stream:
            return stream.read(1) == b"\x0a"  # the first node
    except OSError:
        return False


def read_node(path: Path, name: str) -> Any | None:
    """One node of a binary file, whole; None if it is not there, or cannot be read any more."""
    wanted = name.encode()
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at, end = 0, len(data)
            while at < end:
                key, at = _varint(data, at, end)
                if key & 7 != _BYTES:
                    return None
                length, at = _varint(data, at, end)
                if key >> 3 == 1 and _name(data, at, min(at + length, end)) == wanted:
                    node = NodeDef()
                    node.ParseFromString(data[at : at + length])
                    return node
                at += length
    except (OSError, ValueError, DecodeError):
        return None
    return None


def _name(data: mmap.mmap, at: int, end: int) -> bytes:
    """The name of the node whose message lies there."""
    while at < end:
        key, at = _varint(data, at, end)
        if key & 7 != _BYTES:
            return b""
        length, at = _varint(data, at, end)
        if key >> 3 == 1:
            return data[at : at + length]
        at += length
    return b""


def _skim(data: mmap.mmap, at: int, end: int, fields: Mapping[int, Any]) -> bytearray:
    kept = bytearray()
    while at < end:
        begin = at
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire != _BYTES:
            if wire == 0:
                _, at = _varint(data, at, end)
            elif wire in _WIDTHS:
                at += _WIDTHS[wire]
            else:
                raise ValueError("no protobuf message")
            kept += data[begin:at]
            continue
        tag = data[begin:at]
        length, at = _varint(data, at, end)
        if at + length > end:
            raise ValueError("cut short")
        if length > _LONG and number in fields:
            inside = fields[number]
            content = bytearray() if inside is None else _skim(data, at, at + length, inside)
            kept += tag + _as_varint(len(content)) + content
        else:
            kept += tag + _as_varint(length) + data[at : at + length]
        at += length
    if at != end:
        raise ValueError("cut short")
    return kept


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("cut short")


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
