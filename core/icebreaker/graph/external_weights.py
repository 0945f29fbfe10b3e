"""Graphs of more than protobuf holds: their weights lie in files beside them.

In `NAME.pb` such a weight is an ImmutableConst, TensorFlow's own op for a constant in a file, and the file is in the
folder `NAME.pb.weights`, named by the SHA-256 of what it holds. TensorFlow looks for it from the process's working
folder: plain TensorFlow runs such a graph from the folder it lies in, Icebreaker from anywhere. An engine's ONNX model
names the same files as its external data.

Owns: that form, read and written, how a message is written of which parts lie in files, and which side files are not
needed any more. Refuses: a file that is not what its name says.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import mmap
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import TensorValue, tensor_value
from icebreaker.graph.ops import ITEM_BYTES
from icebreaker.storage.files import Pieces, digest_of, field, file_beside, size_of
from icebreaker.storage.weight_store import Store

MAPPED = "ImmutableConst"
MOST_BYTES = (1 << 31) - 1  # that a message has
_MOST_WEIGHT_BYTES = 1 << 31
SIDES = (".engine", ".onnx")  # what the side files of engines end in
_PLACE = re.compile(r"([^/\\]+\.weights)/([0-9a-f]{64})")


def folder_of(path: Path) -> Path:
    """Where the weights of a graph lie."""
    return path.with_name(f"{path.name}.weights")


def file_at(folder: Path, place: str, size: int | None = None) -> Path:
    """The file of a weight, checked.

    Args:
        folder: Where the graph lies.
        place: What the graph names the file by: `NAME.pb.weights/SHA-256`.
        size: Bytes that it must have; None: it is not known.

    Raises:
        IcebreakerError: It would lie elsewhere, is missing or no file, or holds something else.
    """
    match = _PLACE.fullmatch(place)
    if not match:
        raise IcebreakerError(
            "weights_elsewhere", "the graph wants the file {subject!r}, which is not among the weights beside it",
            subject=place,
        )  # fmt: skip
    file = folder / match[1] / match[2]
    try:
        found = file_beside(folder, place, _MOST_WEIGHT_BYTES)
        if size is not None and found.stat().st_size != size:
            raise IcebreakerError(
                "weight_size_differs", "{subject} is not as its file beside the graph", "convert_graph_again",
                subject=file,
            )  # fmt: skip
        right = _digest(file, found.stat().st_mtime_ns) == match[2]
    except FileNotFoundError as error:
        raise IcebreakerError(
            "weights_missing", "the graph's weights are missing", "copy_weights_along", subject=file, folder=match[1]
        ) from error
    except OSError as error:
        raise IcebreakerError(
            "file_not_read", "{subject} could not be read: {reason}", subject=file, reason=error.strerror or str(error)
        ) from error
    if not right:
        raise IcebreakerError(
            "weights_damaged", "{subject} is damaged (its checksum differs)", "copy_weights_again",
            subject=file, folder=match[1],
        )  # fmt: skip
    return file


@functools.lru_cache(1 << 12)  # graph and engine read the same files
def _digest(file: Path, modified: int) -> str:
    return digest_of([file])


def take_in(definition: Any, folder: Path, store: Store | None = None) -> Store | None:
    """Makes constants of the weights that lie in files beside a graph; changes the message.

    Args:
        definition: A GraphDef message.
        folder: Where the graph lies.
        store: What the weights shall belong to; None: a store over the folder that they are in, only to be read.

    Returns:
        The store that they belong to; None if there are none.

    Raises:
        IcebreakerError: As in `file_at`; a weight's size is not what the graph says; or the store is on another disk,
            which is full.
    """
    files: dict[str, Path] = {}

    def mark(name: str, place: str, value: TensorValue) -> bytes:
        nonlocal store
        if place not in files:
            files[place] = file_at(folder, place, value.nbytes)
            if store is None:
                store = Store(files[place].parent)
            elif store.folder != files[place].parent:
                try:
                    store.link(files[place])
                except OSError as error:
                    raise IcebreakerError(
                        "weights_not_copied", "{subject} could not be copied to {folder}: {reason}", "set_tmpdir",
                        subject=files[place], folder=str(store.folder), reason=error.strerror or str(error),
                    ) from error  # fmt: skip
        if files[place].stat().st_size != value.nbytes:
            raise IcebreakerError(
                "weight_size_differs", "{subject} is not as its file beside the graph", "convert_graph_again",
                subject=name,
            )  # fmt: skip
        return Store.mark(files[place])

    _to_constants(definition, mark)
    return store if files else None


def show(definition: Any) -> None:
    """Makes constants without content of the weights that lie beside a graph, to show it without reading them.

    Changes the message.
    """
    _to_constants(definition, lambda name, place, value: b"")


def _to_constants(definition: Any, content: Callable[[str, str, TensorValue], bytes]) -> None:
    """Makes a Const of each ImmutableConst that has this form, in functions too.

    `content` gives its `tensor_content` from its name, the place of its file, and its dtype and shape.
    """
    for nodes in (definition.node, *(function.node_def for function in definition.library.function)):
        changed: set[str] = set()
        for node in nodes:
            place = node.attr["memory_region_name"].s.decode("utf-8", "replace") if node.op == MAPPED else ""
            if not _PLACE.fullmatch(place):
                continue  # of another graph that reads a file, which `side_effects` tells of
            tensor = type(node.attr["value"].tensor)(dtype=node.attr["dtype"].type)
            tensor.tensor_shape.CopyFrom(node.attr["shape"].shape)
            value = tensor_value(tensor)
            if tensor.tensor_shape.unknown_rank or min(value.shape, default=0) < 0 or value.dtype not in ITEM_BYTES:
                raise IcebreakerError(
                    "weight_malformed", "{subject} is not as it was written", "convert_graph_again", subject=node.name
                )
            tensor.tensor_content = content(node.name, place, value)
            node.op = "Const"
            node.attr["value"].tensor.CopyFrom(tensor)
            node.attr.pop("shape")
            node.attr.pop("memory_region_name")
            changed.add(f"{node.name}:tensor:0")
        for node in nodes:  # a function's body spells a tensor with the op's word for it
            for slot, text in enumerate(node.input):
                if text in changed:
                    node.input[slot] = text.replace(":tensor:", ":output:")


def stored(definition: Any, store: Store) -> set[Path]:
    """The files of the constants in a graph that lie in a store."""
    nodes = (definition.node, *(function.node_def for function in definition.library.function))
    return {file for items in nodes for node in items if (file := store.of(node))}


def mapped(definition: Any, store: Store, folder: str = "") -> Any:
    """A copy in which the constants that lie in a store are read from files, by ImmutableConst, in functions too.

    Args:
        definition: A GraphDef message.
        store: Where the contents of constants are.
        folder: Name of the folder beside the graph that the files will be in; empty: they stay in the store.
    """
    result = type(definition)()
    result.CopyFrom(definition)
    for nodes in (result.node, *(function.node_def for function in result.library.function)):
        names: set[str] = set()
        for node in nodes:
            if path := store.of(node):
                tensor = node.attr["value"].tensor
                node.op = MAPPED
                node.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
                node.attr["memory_region_name"].s = (f"{folder}/{path.name}" if folder else str(path)).encode()
                node.attr.pop("value")
                names.add(f"{node.name}:output:0")
        for node in nodes:  # a function's body spells a tensor with the op's word for it
            for slot, text in enumerate(node.input):
                if text in names:
                    node.input[slot] = text.replace(":output:", ":tensor:")
    return result


def pieces(
    definition: Any, store: Store | None = None, parts: Mapping[str, tuple[str, Pieces]] | None = None
) -> Pieces:
    """A graph in serialized form, in which contents that lie in files are spelled as if they were in the message.

    Args:
        definition: A GraphDef message.
        store: Where the contents of some of its constants are; None: it is complete.
        parts: Node → name of an attribute of it and the bytes that this shall hold, in files or in memory.
    """
    if store is None:
        return [definition.SerializeToString(deterministic=True)]
    rest = type(definition)()
    rest.CopyFrom(definition)
    found = _taken_out(rest.node, 1, parts or {}, store)
    functions = list(rest.library.function)
    del rest.library.function[:]
    for function in functions:
        inside = _taken_out(function.node_def, 3, {}, store)
        if inside:
            found += field(2, field(1, [function.SerializeToString(deterministic=True), *inside]))
        else:
            rest.library.function.append(function)
    # Messages that follow one another are one: what is repeated is appended.
    return [rest.SerializeToString(deterministic=True), *found]


def _taken_out(nodes: Any, number: int, parts: Mapping[str, tuple[str, Pieces]], store: Store) -> list[bytes | Path]:
    """Removes the nodes that have something in a file from a repeated field, and serializes them as its entries.

    Args:
        nodes: The field, of NodeDef messages.
        number: Its number in the message that it is in.
        parts: As in `pieces`.
        store: As in `pieces`.
    """
    found: list[bytes | Path] = []
    kept: list[Any] = []
    for node in nodes:
        if (file := store.of(node)) is not None:
            tensor = node.attr["value"].tensor
            tensor.ClearField("tensor_content")
            key, value = "value", field(8, [tensor.SerializeToString(), *field(4, [file])])
        elif node.name in parts:
            key, value = parts[node.name][0], field(2, parts[node.name][1])
        else:
            kept.append(node)
            continue
        node.attr.pop(key, None)
        attribute = field(5, [*field(1, [key.encode()]), *field(2, value)])
        found += field(number, [node.SerializeToString(deterministic=True), *attribute])
    del nodes[:]
    nodes.extend(kept)
    return found


def files(path: Path, definition: Any, store: Store | None) -> dict[Path, Pieces]:
    """What to write for a graph at `path`: one file, or, beyond 2 GiB, the graph with its weights beside it.

    Returns:
        File → its content, for `files.write_together`.
    """
    whole = pieces(definition, store)
    if store is None or size_of(whole) <= MOST_BYTES:
        return {path: whole}
    folder = folder_of(path)
    weights: dict[Path, Pieces] = {folder / file.name: [file] for file in stored(definition, store)}
    return {**weights, path: pieces(mapped(definition, store, folder.name))}


def sweep(path: Path, keep: Collection[Path]) -> None:
    """Removes side files of the graph that was replaced, unless another graph has them, such as a renamed copy.

    Args:
        path: The graph that they are named after.
        keep: What was written in its place.
    """
    folder = folder_of(path)
    with contextlib.suppress(OSError):
        engines = [file for file in path.parent.glob(f"{glob.escape(path.name)}.TRTEngineOp_*") if file.suffix in SIDES]
        weights = [file for file in folder.glob("*") if re.fullmatch("[0-9a-f]{64}", file.name)]
        old = {*engines, *weights} - set(keep)
        others = (file for file in path.parent.iterdir() if file not in old and file not in keep)
        if not old or any(_may_name(other, path.name) for other in others):
            return
        for file in old:
            file.unlink()
        folder.rmdir()  # fails if something is left in it


def _may_name(other: Path, name: str) -> bool:
    """True if a file that could be a graph speaks of the side files of the graph `name`."""
    if other.suffix in SIDES or not other.is_file() or not 0 < other.stat().st_size <= MOST_BYTES:
        return False
    with other.open("rb") as stream:
        if stream.read(1) not in (b"\x0a", b"\x12", b"\x22"):  # which a GraphDef begins with: one of its fields
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(f"{name}.{rest}".encode()) >= 0 for rest in ("weights/", "TRTEngineOp_"))
