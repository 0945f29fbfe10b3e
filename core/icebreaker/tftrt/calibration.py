"""Calibration graphs: the original graph with nodes that record what enters each segment into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker import codec
from icebreaker.conversion import pipeline
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.quantization.segment_data import RECORDING
from icebreaker.runtime import loader
from icebreaker.settings import Consent, ConvertSettings
from icebreaker.storage import cache
from icebreaker.storage.files import write_whole
from icebreaker.tensors import Tensor
from icebreaker.tftrt.arguments import BadArgument
from icebreaker.tftrt.conversion import warn

_FOLDER = "_icebreaker_recording"
_SETTINGS = "_icebreaker_settings"
# What is recorded of one segment at most.
_MOST_ROWS = 1024
_MOST_BYTES = 1 << 30
_KEPT_SECONDS = 7 * 24 * 3600.0  # recordings that nobody has turned into a graph


def calibration_graph(graph: Graph, settings: ConvertSettings, consent: Consent) -> Any:
    """The original graph with a recorder in front of every segment."""
    cut, segments, left = pipeline.segments(graph, settings, consent)
    definition = type(cut.definition)()
    definition.CopyFrom(cut.definition)
    if not segments:
        warn((), 0, left.values())
        return definition
    folder = _new_folder()
    readers = {node.name: node for node in definition.node}
    index = []
    for segment in segments:
        if not segment.inputs:
            continue
        moved = {tensor: Tensor(segment.name, port) for port, tensor in enumerate(segment.inputs)}
        for name in segment.nodes:
            node = readers[name]
            texts = [text if text.startswith("^") else str(moved.get(Tensor.parse(text), text)) for text in node.input]
            del node.input[:]
            node.input.extend(texts)
        part = folder / segment.name.replace("/", "_")
        part.mkdir()
        types = pipeline.dtypes(cut, segment.inputs)
        node = definition.node.add()
        node.CopyFrom(_recorder(segment.name, types, part))
        node.input.extend(map(str, segment.inputs))
        node.attr[_FOLDER].s = str(folder).encode()
        node.attr[_SETTINGS].s = codec.encode(settings).encode()
        index.append({"inputs": list(map(str, segment.inputs)), "folder": part.name})
    write_whole(folder / RECORDING, json.dumps({"segments": index}).encode())
    return definition


def _recorder(name: str, types: Sequence[Any], folder: Path) -> Any:
    """A node that passes its inputs on and writes them down."""
    import tensorflow as tf

    lock = threading.Lock()
    seen = {"rows": 0, "bytes": 0}

    def record(*values: Any) -> list[np.ndarray]:
        arrays = [np.asarray(value) for value in values]
        rows = max((len(item) for item in arrays if item.ndim), default=1)
        with lock:
            if seen["rows"] >= _MOST_ROWS or seen["bytes"] >= _MOST_BYTES:
                return arrays
            seen["rows"] += rows
            seen["bytes"] += sum(item.nbytes for item in arrays)
            number = seen["rows"]
        temporary = folder / f"{number:08d}-{uuid.uuid4().hex[:8]}.part"
        named: dict[str, Any] = {f"input_{index}": item for index, item in enumerate(arrays)}
        with temporary.open("wb") as stream:
            np.savez(stream, **named)
        temporary.rename(temporary.with_suffix(".npz"))
        return arrays

    scratch = tf.Graph()
    with scratch.as_default():
        entries = [tf.compat.v1.placeholder(kind) for kind in types]
        tf.numpy_function(record, entries, types, stateful=True, name=name)
    loader.keep_alive(scratch)
    made = next(node for node in scratch.as_graph_def().node if node.name == name)
    del made.input[:]
    return made


def recorded_in(graph_def: Any) -> Path | None:
    """The folder that a calibration graph records into; None if it is none, or records nothing."""
    recorders = [node for node in graph_def.node if _FOLDER in node.attr]
    return Path(recorders[0].attr[_FOLDER].s.decode("utf-8", "replace")) if recorders else None


def recorded_settings(calibration_graph_def: Any) -> ConvertSettings:
    """What a calibration graph was made with, and the data that it has recorded.

    Raises:
        BadArgument: It is no calibration graph.
        IcebreakerError: It has not been run, or what it recorded is gone.
    """
    recorders = [node for node in calibration_graph_def.node if _FOLDER in node.attr]
    if not recorders:
        raise BadArgument("no_calibration_nodes", "Graph doesn't contain any calibration nodes", "create_as_int8")
    folder = Path(recorders[0].attr[_FOLDER].s.decode("utf-8", "replace"))
    try:
        settings = codec.decode(recorders[0].attr[_SETTINGS].s, ConvertSettings)
    except ValueError as error:
        raise BadArgument(
            "calibration_graph_damaged", "the calibration graph is damaged ({error})", "create_again", error=str(error)
        ) from error
    if not (folder / RECORDING).is_file():
        raise IcebreakerError(
            "recording_gone", "the recorded values in {subject} are gone", "create_and_run_again", subject=folder
        )
    if not any(folder.glob("*/*.npz")):
        raise IcebreakerError("recording_empty", "the calibration graph has not been run", "run_on_real_data")
    return settings.changed(calibration=str(folder))


def restored(graph_def: Any) -> Any:
    """The graph without its recorders."""
    recorders = {node.name: node for node in graph_def.node if _FOLDER in node.attr}
    if not recorders:
        return graph_def
    result = type(graph_def)(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name in recorders:
            continue
        copy = result.node.add()
        copy.CopyFrom(node)
        del copy.input[:]
        for text in node.input:
            source = Tensor.parse(text)
            through = recorders.get(source.node) if not text.startswith("^") else None
            copy.input.append(text if through is None else through.input[source.port])
    return result


def _new_folder() -> Path:
    """A folder for recordings in the user's cache; those that were forgotten there go."""
    try:
        home = cache.make_folder("recordings")
        for old in home.iterdir():
            if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-"), dir=home))
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return Path(tempfile.mkdtemp(prefix="icebreaker-recording-"))
