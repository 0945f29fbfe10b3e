"""Reads a binary GraphDef without its weights: a graph of gigabytes takes a few megabytes of memory.

The file is mapped into memory and walked through field by field, in the form that protobuf writes
(https://protobuf.dev/programming-guides/encoding/). Long values of tensors and byte strings are left out before
protobuf parses what is left: names, ops, edges, types and shapes. The walk is plain Python on purpose: protobuf's own
parser would hold Python's lock for as long as it copies the weights, which stops every other thread.
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

LONG_BYTES = 4096  # what is shorter is copied without a look inside
BIG_WEIGHT_BYTES = 256 << 10  # a node of so many bytes may have a constant that is worth a file
_BYTES = 2  # the wire type of everything that has a length
_WIDTHS: Mapping[int, int] = {1: 8, 5: 4}  # of the wire types of fixed length

_CONTENT = 4  # TensorProto.tensor_content
# Of messages in tensorflow/core/framework/*.proto: field number → the same for the message in that field; None: the
# content is left out where it is long. Fields that are missing here are kept whole.
_TENSOR: dict[int, Any] = dict.fromkeys(range(3, 64))  # all but type and shape
_LIST: dict[int, Any] = {2: None, 8: _TENSOR}
_VALUE: dict[int, Any] = {1: _LIST, 2: None, 8: _TENSOR}
_NODE: dict[int, Any] = {5: {2: _VALUE}}
_GRAPH: dict[int, Any] = {1: _NODE, 2: {1: {3: _NODE}}}


def read(path: Path) -> Any:
    """The GraphDef in a binary file, in which long constants have type and shape only.

    Raises:
        ValueError: The file is no whole binary GraphDef; whoever reads all of it can say why.
        OSError: It could not be read.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        definition = _parsed(_shortened(data, 0, len(data), _GRAPH))
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


def node_places(path: Path) -> dict[str, tuple[int, int]]:
    """Name → where each node of a binary file begins and ends; empty if it cannot be read any more."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for number, _, inside, end in _fields(data, 0, len(data)):
                if number == 1:
                    found[_name(data, inside, end).decode("utf-8", "replace")] = inside, end
    except (OSError, ValueError):
        return {}
    return found


def node_at(path: Path, begin: int, end: int) -> Any | None:
    """The node that `node_places` found there; None if it is not there any more."""
    try:
        with path.open("rb") as stream:
            stream.seek(begin)
            return NodeDef.FromString(stream.read(end - begin))
    except (OSError, DecodeError):
        return None


def _name(data: mmap.mmap, at: int, end: int) -> bytes:
    """The name in a NodeDef that lies from `at` to `end`; empty if it is no NodeDef."""
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
    """The GraphDef in a binary file, with weights of 256 KiB and more moved to a store.

    Args:
        path: The file.
        weights: Names of the constants that may be moved.
        store: Gets their contents; the message has marks in their place.

    Raises:
        ValueError: As `read`.
        OSError: The file could not be read, or the disk is full.
    """
    kept = bytearray()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, begin, inside, end in _fields(data, 0, len(data)):
            if number == 1 and end - inside >= BIG_WEIGHT_BYTES:
                contents: list[tuple[int, int, int]] = []
                node = NodeDef.FromString(bytes(_shortened(data, inside, end, _NODE, contents)))
                value = tensor_value(node.attr["value"].tensor)
                long_fields = [(field_number, length) for field_number, _, length in contents]
                if node.name in weights and long_fields == [(_CONTENT, value.nbytes)]:
                    file = store.keep(part_of_file(stream, *contents[0][1:]))
                    node.attr["value"].tensor.tensor_content = store.mark(file)
                    kept += joined(field(1, [node.SerializeToString()]))
                    continue
            kept += data[begin:end]
    return _parsed(kept)


def _shortened(
    data: mmap.mmap, at: int, end: int, fields: Mapping[int, Any], left_out: list[tuple[int, int, int]] | None = None
) -> bytearray:
    """Copies a message without what is long.

    Args:
        data: The file.
        at: Where the message begins.
        end: Where it ends.
        fields: Which fields to look into, as above.
        left_out: Gets the number of the field, the begin and the length of everything that is left out.

    Raises:
        ValueError: It is no message, or cut short.
    """
    kept = bytearray()
    for number, begin, inside, after in _fields(data, at, end):
        if after - inside > LONG_BYTES and number in fields:
            deeper = fields[number]
            if deeper is None and left_out is not None:
                left_out.append((number, inside, after - inside))
            content = bytearray() if deeper is None else _shortened(data, inside, after, deeper, left_out)
            kept += varint(number << 3 | _BYTES) + varint(len(content)) + content
        else:
            kept += data[begin:after]
    return kept


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Walks through the fields of a message.

    Yields:
        Of each its number, where it begins, where its content begins, and where that ends; the content of a field that
        has no length, such as a number, is empty.

    Raises:
        ValueError: It is no message, or cut short.
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
    """Reads a whole number of variable length; also gives where it ends."""
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("cut short")
