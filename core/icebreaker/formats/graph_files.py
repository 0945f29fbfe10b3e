"""Reads graphs from files, whatever they come as.

Adding a format is one module with `matches(path)` and `read(path, allow_side_effects)`, and one entry in `_FORMATS`. A
format that needs TensorFlow to freeze its model imports it inside `read`, which then runs in the worker only, and asks
`safety` before it runs anything.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.formats import graphdef, keras, saved_model, structure
from icebreaker.graph import external_weights, limits, side_effects
from icebreaker.graph.graph import Graph, Node
from icebreaker.reports.reports import Inspection
from icebreaker.storage import trusted_engines
from icebreaker.storage.files import write_together
from icebreaker.storage.weight_store import Store

# A graph of so many bytes is big: converted in memory, it would take some 25 times as much there.
BIG_BYTES = 128 << 20
# Asked in this order; the last one takes every file that is left.
_FORMATS: tuple[ModuleType, ...] = (saved_model, keras, graphdef)


def needs_worker(path: Path) -> bool:
    """True for files that only TensorFlow can read: SavedModel folders and Keras models."""
    return _format_of(path) is not graphdef


def read_definition(path: Path, allow_side_effects: bool = False) -> Any:
    """The frozen GraphDef (tensorboard's message) in a file or folder.

    Args:
        path: A graph in any form.
        allow_side_effects: Freeze also what acts outside itself while it is loaded (a SavedModel's initializers).

    Raises:
        IcebreakerError: There is no such file, it holds no graph, or one beyond the limits of `safety`.
    """
    definition = _format_of(path).read(path, allow_side_effects)
    if not definition.node:
        raise IcebreakerError("graph_empty", "{subject} holds an empty graph", "export_with_nodes", subject=path)
    limits.check_limits(definition, str(path))
    return definition


def read_graph(
    path: Path, allow_side_effects: bool = False, store: Store | None = None, big: int | None = None
) -> Graph:
    """The frozen graph in a file or folder; arguments and errors as `read_definition`.

    With a `store`, the weights of a graph of so many bytes go there; None: `BIG_BYTES`.
    """
    big = BIG_BYTES if big is None else big
    if store is not None and path.exists():
        form = _format_of(path)
        if form is saved_model and (definition := saved_model.read_apart(path, store, big, allow_side_effects)):
            limits.check_limits(definition, str(path))
            return Graph(definition, store)
        if form is graphdef and path.stat().st_size >= big and (graph := _read_apart(path, store)):
            return graph
    definition = read_definition(path, allow_side_effects)
    if found := external_weights.take_in(definition, path.absolute().parent, store):
        return Graph(definition, found)
    if store is None or definition.ByteSize() < big:
        return Graph(definition)
    # It was frozen, unpacked or parsed on the way in: from here on it is a file like any other.
    frozen = store.folder / "frozen.pb"
    try:
        frozen.write_bytes(definition.SerializeToString())
        graph = _read_apart(frozen, store)
    except OSError:
        graph = None
    frozen.unlink(missing_ok=True)
    return graph or Graph(definition)


def _read_apart(path: Path, store: Store) -> Graph | None:
    """None where it is no binary graph, or the disk is full: then it is read as a whole."""
    try:
        definition = structure.read(path)
        if not definition.node:
            return None
        limits.check_limits(definition, str(path))
        definition = structure.read_apart(path, Graph(definition).weights, store)
        external_weights.take_in(definition, path.absolute().parent, store)
        return Graph(definition, store)
    except (OSError, ValueError):
        return None


def read_structure(path: Path) -> Graph:
    """The graph in a file without its weights, to be shown and never run; errors as `read_definition`."""
    _format_of(path)  # a pipe must not be opened
    try:
        definition = structure.read(path)
    except (OSError, ValueError):  # text, gzip, or broken: read it all, and have the error in words
        return read_graph(path)
    if not definition.node:
        return read_graph(path)
    limits.check_limits(definition, str(path))
    external_weights.show(definition)
    return Graph(definition)


def read_constant(path: Path, name: str) -> Node | None:
    """A constant with its values, which `read_structure` left in the file; None if it is not there any more."""
    found = structure.read_node(path, name)
    return None if found is None or found.op != "Const" else Node(found.name, found.op, (), (), found.device, found)


def inspect(path: Path, frozen: str | None = None, allow_side_effects: bool = False, job_id: str = "") -> Inspection:
    """What is in a graph. With `frozen`, what had to be frozen on the way in is written there as a .pb.

    `job_id` is as for `files.write_whole`, the rest and the errors as for `read_definition`.
    """
    if not needs_worker(path):
        return describe(read_graph(path, allow_side_effects))
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:
        graph = read_graph(path, allow_side_effects, Store(Path(folder)))
        if frozen:
            write_together(external_weights.files(Path(frozen), graph.definition, graph.store), job_id)
        return describe(graph, frozen or "")


def describe(graph: Graph, frozen_path: str = "") -> Inspection:
    """What is in a graph that has been read."""
    return Inspection(
        nodes=len(graph),
        ops=graph.op_counts,
        inputs=tuple(
            {"name": item.name, "dtype": item.dtype, "shape": None if item.shape is None else list(item.shape)}
            for item in graph.placeholders
        ),
        outputs=graph.candidate_outputs,
        control_flow=graph.has_control_flow,
        bytes=graph.constant_bytes,
        functions=graph.functions,
        frozen_path=frozen_path,
        side_effects=side_effects.find_side_effects(graph.definition),
        engines=_engines(graph),
    )


def _engines(graph: Graph) -> Mapping[str, bool]:
    found: dict[str, bool] = {}
    for node in graph:
        attributes = node.definition.attr
        if "_icebreaker_engine" in attributes:  # `artifact` tells of the form
            name = attributes["_icebreaker_engine"].s.decode("utf-8", "replace")
            digest = attributes["_icebreaker_sha256"].s.decode("utf-8", "replace")
            found[name] = found.get(name, True) and trusted_engines.built_here(digest)
    return found


def _format_of(path: Path) -> ModuleType:
    if not path.exists():
        raise IcebreakerError("file_missing", "{subject} does not exist", "check_path", subject=path)
    if not (path.is_file() or path.is_dir()):
        raise IcebreakerError("not_a_file", "{subject} is no file", "give_graph_or_saved_model", subject=path)
    return next(candidate for candidate in _FORMATS if candidate.matches(path))
