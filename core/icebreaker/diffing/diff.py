"""Says what is different in two graphs."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.diffing.matching import NOTES, Matching
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.formats.constants import Constants
from icebreaker.graph import shape_inference
from icebreaker.graph.graph import Graph, Node, TensorValue
from icebreaker.reports import GraphDiff, NodeChange, OneSided
from icebreaker.tensors import Tensor

_MOST_WORDS = 200  # letters of an attribute


def diff_files(
    first: Path, second: Path, frozen: str = "", allow_side_effects: bool = False, job_id: str = ""
) -> GraphDiff:
    """What is different in two graphs' files.

    Args:
        first: A graph in any form.
        second: Another one.
        frozen: Where to write the second, as a .pb, if it had to be frozen on the way in; empty: nowhere.
        allow_side_effects: Freeze also what acts outside itself while it is loaded.
        job_id: As in `files.write_whole`.

    Raises:
        IcebreakerError: As in `graph_files.read_definition`.
    """
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:

        def plain(path: Path, target: Path) -> Path:
            """The file itself, or what it was frozen into."""
            if graph_files.needs_worker(path):
                graph_files.inspect(path, str(target), allow_side_effects, job_id)
                return target
            return path

        files = plain(first, Path(folder) / "first.pb"), plain(second, Path(frozen or f"{folder}/second.pb"))
        graphs = [graph_files.read_structure(file) for file in files]
        found = diff(graphs[0], graphs[1], files)
    if frozen and files[1] == Path(frozen):
        return replace(found, frozen_path=frozen)
    return found


def diff(first: Graph, second: Graph, files: tuple[Path | None, Path | None] = (None, None)) -> GraphDiff:
    """What is different in two graphs.

    Nodes are paired by name first, then by structure, so that a graph whose nodes were renamed is the same but for its
    names. Time goes with the number of nodes and edges, and with the bytes of the constants.

    Args:
        first: It may have been read without its weights.
        second: So may it.
        files: Where the weights are that the graphs were read without.
    """
    constants = Constants(files[0]), Constants(files[1])
    pairs = Matching(first, second, (_Fingerprints(constants[0]), _Fingerprints(constants[1])))
    shapes = shape_inference.infer(first), shape_inference.infer(second)
    renamed: dict[str, str] = {}
    changed: list[NodeChange] = []
    for node in first:
        other = pairs.there.get(node.name)
        if other is None:
            continue
        change = _change(node, second[other], pairs, constants, shapes)
        if change is not None:
            changed.append(change)
        elif other != node.name:
            renamed[node.name] = other
    return GraphDiff(
        nodes=(len(first), len(second)),
        same=len(pairs.there) - len(changed),
        renamed=renamed,
        changed=tuple(changed),
        added=tuple(OneSided(node.name, node.op) for node in second if node.name not in pairs.back),
        removed=tuple(OneSided(node.name, node.op) for node in first if node.name not in pairs.there),
        functions=_functions(first, second),
    )


class _Fingerprints:
    """Tells constants' values apart by a digest; those that cannot be read, by their names."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._known: dict[str, Any] = {}

    def __call__(self, node: Node) -> Any:
        if node.name not in self._known:
            try:
                array = self._constants.values(node)
                self._known[node.name] = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
            except IcebreakerError:
                self._known[node.name] = f"unreadable {node.name}"
        return self._known[node.name]


def _change(
    node: Node,
    other: Node,
    pairs: Matching,
    constants: tuple[Constants, Constants],
    shapes: tuple[Mapping[Tensor, shape_inference.Known], Mapping[Tensor, shape_inference.Known]],
) -> NodeChange | None:
    """What is different in a node that both graphs have; None: nothing."""
    if pairs.alike(node.name, other.name):
        return None
    attributes, inputs = _attributes(node, other), _inputs(node, other, pairs)
    given = [str(known.get(Tensor(name), "")) for known, name in zip(shapes, (node.name, other.name), strict=True)]
    shape = (given[0], given[1]) if all(given) and given[0] != given[1] and "value" not in attributes else None
    largest, relative, values = None, None, 0
    if node.op == other.op == "Const" and "value" not in attributes:
        largest, relative, values = _values(node, other, constants)
    if not (attributes or inputs or shape or values):
        return None  # something before it is different, which is told there
    return NodeChange(node.name, other.name, node.op, attributes, inputs, shape, largest, relative, values)


def _attributes(node: Node, other: Node) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    if node.op != other.op:
        found["op"] = node.op, other.op
    for name in sorted({*node.definition.attr, *other.definition.attr} - NOTES):
        mine, theirs = (
            side.definition.attr[name].SerializeToString(deterministic=True) if name in side.definition.attr else b""
            for side in (node, other)
        )
        if name == "value" and node.op == other.op == "Const":
            mine, theirs = str(node.value).encode(), str(other.value).encode()
        if mine != theirs:
            found[name] = _words(node, name), _words(other, name)
    if node.device != other.device:
        found["device"] = node.device, other.device
    return found


def _words(node: Node, name: str) -> str:
    if name not in node.definition.attr:
        return ""
    value = node.attrs[name]
    if isinstance(value, TensorValue):
        return str(shape_inference.Known(value.dtype, value.shape))
    if isinstance(value, dict):
        value = value["function"]
    text = f"{len(value)} bytes" if isinstance(value, bytes) else str(value)
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]}…"


def _inputs(node: Node, other: Node, pairs: Matching) -> tuple[tuple[str, str], ...]:
    """What is read in the same place and is not a pair, nor equal."""
    mine = [*map(str, node.inputs), *(f"^{name}" for name in sorted(node.controls))]
    theirs = [*map(str, other.inputs), *(f"^{name}" for name in sorted(other.controls))]
    controls = sorted(pairs.there.get(name, "") for name in node.controls) == sorted(other.controls)
    if controls:
        mine, theirs = mine[: len(node.inputs)], theirs[: len(other.inputs)]
    found: list[tuple[str, str]] = []
    for place in range(max(len(mine), len(theirs))):
        a, b = (side[place] if place < len(side) else "" for side in (mine, theirs))
        if place < len(node.inputs) and place < len(other.inputs):
            left, right = node.inputs[place], other.inputs[place]
            paired = pairs.there.get(left.node) == right.node or pairs.alike(left.node, right.node)
            if left.port == right.port and paired:
                continue
        found.append((a, b))
    return tuple(found)


def _values(node: Node, other: Node, constants: tuple[Constants, Constants]) -> tuple[float | None, float | None, int]:
    """The largest difference of two constants, as it is and as a share, and how many values differ."""
    try:
        mine, theirs = constants[0].values(node), constants[1].values(other)
    except IcebreakerError:
        return None, None, 0
    if mine.dtype.kind in "SUb" or mine.dtype.kind != theirs.dtype.kind:
        count = int((mine != theirs).sum())
        return (1.0 if count else None), None, count
    kind = np.complex128 if mine.dtype.kind == "c" else np.float64
    left, right = mine.astype(kind), theirs.astype(kind)
    differs = (mine != theirs) & ~(np.isnan(left) & np.isnan(right))
    if not differs.any():
        return None, None, 0
    with np.errstate(invalid="ignore"):
        gaps = np.abs(left - right)[differs]
    largest = float(np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max())
    finite = np.abs(left[np.isfinite(left)])
    most = float(finite.max()) if finite.size else 0.0
    return largest, largest / most if most else None, int(differs.sum())


def _functions(first: Graph, second: Graph) -> dict[str, str]:
    mine, theirs = (
        {function.signature.name: function for function in graph.definition.library.function}
        for graph in (first, second)
    )
    found = dict.fromkeys((name for name in mine if name not in theirs), "removed")
    found |= dict.fromkeys((name for name in theirs if name not in mine), "added")
    for name in mine:
        if name in theirs:
            texts = [side[name].SerializeToString(deterministic=True) for side in (mine, theirs)]
            if texts[0] != texts[1]:
                found[name] = "changed"
    return found
