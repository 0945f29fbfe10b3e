"""Reads a binary GraphDef without its weights, for showing it: a graph of gigabytes takes a few megabytes of memory.

The message is walked in its wire form (https://protobuf.dev/programming-guides/encoding/) over a memory map, and what
is long in a tensor or a byte string is left out before protobuf sees it: types and shapes stay. The walk is plain
Python on purpose: protobuf's own parser would hold Python's lock for as long as it copies the weights, which stops
every other thread.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from icebreaker.graph.graph import tensor_value
from icebreaker.graph.protos import GraphDef, NodeDef
from icebreaker.storage.files import field, joined, varint
from icebreaker.storage.weight_store import Store, part_of_file

_LONG = 4096  # bytes; what is shorter is copied without a look inside
_BIG = 256 << 10  # a node of so many bytes may have a constant that is worth a file
_BYTES = 2  # the wire type of everything that has a length
_WIDTHS: Mapping[int, int] = {1: 8, 5: 4}  # of the wire types of fixed length

# What to look into, by field number: messages of tensorflow/core/framework/*.proto. None: leave out what is long.
_CONTENT = 4
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
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        definition = _parsed(_skim(data, 0, len(data), _GRAPH))
    if not all(node.name and node.op for node in definition.node):
        raise ValueError("some nodes have no name or no op")
    return definition


def _parsed(content: bytearray) -> Any:
    try:
        return GraphDef.FromString(bytes(content))
    except DecodeError as error:
        raise ValueError(str(error)) from error


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


def read_apart(path: Path, weights: Collection[str], store: Store) -> Any:
    """The GraphDef in a binary file whose constants of these names, where they are big, go to `store`.

    Raises:
        ValueError: As `read`.
        OSError: The file could not be read, or the disk is full.
    """
    kept = bytearray()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, begin, inside, end in _fields(data, 0, len(data)):
            if number == 1 and end - inside >= _BIG:
                contents: list[tuple[int, int, int]] = []
                node = NodeDef.FromString(bytes(_skim(data, inside, end, _NODE, contents)))
                value = tensor_value(node.attr["value"].tensor)
                if node.name in weights and [item[0::2] for item in contents] == [(_CONTENT, value.nbytes)]:
                    file = store.keep(part_of_file(stream, *contents[0][1:]))
                    node.attr["value"].tensor.tensor_content = store.mark(file)
                    kept += joined(field(1, [node.SerializeToString()]))
                    continue
            kept += data[begin:end]
    return _parsed(kept)


def _skim(
    data: mmap.mmap, at: int, end: int, fields: Mapping[int, Any], left_out: list[tuple[int, int, int]] | None = None
) -> bytearray:
    """A message without what is long; `left_out` gets each of these: field, begin, length."""
    kept = bytearray()
    for number, begin, inside, after in _fields(data, at, end):
        if after - inside > _LONG and number in fields:
            deeper = fields[number]
            if deeper is None and left_out is not None:
                left_out.append((number, inside, after - inside))
            content = bytearray() if deeper is None else _skim(data, inside, after, deeper, left_out)
            kept += varint(number << 3 | _BYTES) + varint(len(content)) + content
        else:
            kept += data[begin:after]
    return kept


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each field in a message: its number, where it begins, where its content does, and where that ends.

    The content of a field without a length is empty.
    """
    while at < end:
        begin = at
        key, at = _varint(data, at, end)
        wire = key & 7
        if wire == _BYTES:
            length, inside = _varint(data, at, end)
            at = inside + length
        else:
            if wire == 0:
                _, at = _varint(data, at, end)
            elif wire in _WIDTHS:
                at += _WIDTHS[wire]
            else:
                raise ValueError("no protobuf message")
            inside = at
        if at > end:
            raise ValueError("cut short")
        yield key >> 3, begin, inside, at


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
