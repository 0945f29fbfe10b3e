"""Loads optimized graphs: from files, and, inside a program that has TensorFlow, as a graph that runs its engines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icebreaker.engine.protocol import Runner
from icebreaker.formats import graph_files
from icebreaker.formats.saved_model import reader as saved_model
from icebreaker.graph import external_weights, side_effects
from icebreaker.graph.graph import Graph
from icebreaker.runtime import artifact_reader
from icebreaker.runtime.function_nodes import keep_alive, with_functions
from icebreaker.runtime.model import Model
from icebreaker.storage.weight_store import Store


def load(
    path: str | os.PathLike[str], *, fallback: bool = True, trust: bool = False, allow_side_effects: bool = False
) -> Model:
    """Loads an optimized graph (any frozen graph will do) and its engines.

    Args:
        path: The graph's file; side files are looked for beside it.
        fallback: What to do with an engine that does not fit this machine: run its segment in TensorFlow and warn
            once, or (False) raise.
        trust: Load also engines that were not built by this user on this machine. They go to native code: TensorRT's
            are code for the GPU that nothing checks, others meet an engine's parser.
        allow_side_effects: Load also a graph that acts outside itself when it runs: reads or writes files, runs code.

    Raises:
        IcebreakerError: The file is no graph; or an engine does not fit and `fallback` is False.
        ConsentNeeded: The graph acts outside itself, and `allow_side_effects` is False.
    """
    path = Path(path)
    graph = read(path, allow_side_effects)
    side_effects.require_consent(side_effects.find_side_effects(graph.definition), allow_side_effects, str(path))
    return Model(graph, home(path), fallback=fallback, trust=trust)


def home(path: Path) -> Path:
    """Where the side files of a graph lie: beside its file, or in a SavedModel's folder."""
    return saved_model.folder_of(path.absolute()) if path.is_dir() else path.absolute().parent


def read(
    path: Path, allow_side_effects: bool = False, store: Store | None = None, signature: str = "",
    big: int = external_weights.MOST_BYTES,
) -> Graph:  # fmt: skip
    """The graph in a file; engine nodes that were live as it was written are calls again. Errors as `formats`.

    Weights of graphs of at least `big` bytes, at first as many as protobuf holds, go to `store`. `signature` is that of
    a SavedModel, as settings have it.
    """
    graph = graph_files.read_graph(path, allow_side_effects, store, big, signature)
    definition = artifact_reader.portable(graph.definition)
    return graph if definition is graph.definition else Graph(definition, graph.store)


def live(definition: Any, runners: Mapping[str, Runner] | None = None) -> Any:
    """A portable optimized graph (TensorFlow's GraphDef) whose engine nodes run their engines in this process.

    Imported with `tf.import_graph_def` and run in any session, it uses the engines. Nodes carry their payload and the
    name of their native segment, so that `artifact_reader.portable` leads back. The engines stay in memory until the
    process ends. An engine that does not fit this machine stays a call of its native segment, with a warning.

    Args:
        definition: What `artifact_writer.assemble` made.
        runners: Engine node → what runs it, where that is loaded already.
    """
    graph = Graph(definition)
    model = Model(graph, Path(), runners=runners)
    made = with_functions(model.graph, model.outside, from_host=True, native=False)
    keep_alive(made.functions)
    artifact_reader.copy_private(definition, made.definition)
    for node in made.definition.node:
        if node.name in model.outside:
            node.attr["_icebreaker_function"].s = model.outside[node.name].stored.function.encode()
    return made.definition
