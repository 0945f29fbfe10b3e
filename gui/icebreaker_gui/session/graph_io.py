"""Reads and writes graphs for the session, in threads: without TensorFlow, and without anything of Qt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from icebreaker import reports
from icebreaker.errors import IcebreakerError
from icebreaker.graph import external_weights
from icebreaker.graph.graph import Graph
from icebreaker.storage.files import write_together

SUFFIXES = (".gz", ".pb", ".pbtxt", ".keras", ".h5", ".onnx", ".tflite")


def stem(path: Path) -> str:
    """A graph file's name without its suffixes, to make other names from."""
    while path.suffix.lower() in SUFFIXES:
        path = path.with_suffix("")
    return path.name


def needs_worker(path: Path) -> bool:
    """True for what TensorFlow has to freeze before it can be read, which a job does."""
    from icebreaker.formats import graph_files

    return (path.is_file() or path.is_dir()) and graph_files.needs_worker(path)


def read_graph(path: Path, told: reports.Inspection | None = None) -> tuple[Graph, reports.Inspection]:
    """A graph without its large weights, and what is in it; its lazy values are computed here, not while painting.

    Args:
        path: The file.
        told: What was told of the SavedModel that it was frozen from.

    Raises:
        IcebreakerError: The file is none, or damaged.
    """
    from icebreaker.formats import graph_files

    graph = graph_files.read_structure(path)
    found = graph_files.describe(graph)
    if told is not None:
        found = replace(found, signature=told.signature, other_signatures=told.other_signatures)
    return graph, found


def refuse_shown(graph: Graph | None, path: Path | None) -> None:
    """Raises IcebreakerError, which names the user's file, if a graph is only there to be looked at, such as ONNX."""
    from icebreaker.formats import shown

    if graph is not None:
        shown.refuse_shown(graph.definition, str(path))


def sample_data(path: Path) -> str | None:
    """The values that ship with a sample graph; a graph of the user's has none until they choose some."""
    from icebreaker import sample_models

    for name in sample_models.SAMPLES:
        graph, data = sample_models.sample_path(name), sample_models.sample_data(name)
        if graph and data and graph.samefile(path):
            return str(data)
    return None


def copy_graph(source: Path, target: Path) -> None:
    """Copies a graph and the side files that lie in its folder, which bear its name there.

    Raises:
        IcebreakerError: The target's folder does not exist, or a file could not be written.
    """
    if not target.parent.is_dir():
        raise IcebreakerError(
            "save_folder_missing", "{subject} is not a folder", "another_place", subject=target.parent
        )
    home = source.parent
    sides = {
        target.parent / path.relative_to(home): path for path in home.rglob("*") if path.is_file() and path != source
    }
    write_together(sides | {target: source})  # the graph last, so that it never names a file that is not there
    external_weights.sweep(target.with_name(source.name), {*sides, target})
