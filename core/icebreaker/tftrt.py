"""TF-TRT's old interface, for scripts that still hold the old calls: change the import line, and they run.

    from icebreaker import create_inference_graph, calib_graph_to_infer_graph

What comes back is an ordinary GraphDef whose engines are live in this process; `save` writes the portable form that
`icebreaker convert` writes. Conversions run in this process, as those of TF-TRT did, unless `session_config` limits the
GPU's memory: TensorFlow heeds that only in a process that has not used the GPU yet, so a worker does them then.

A calibration graph records what enters each segment into a folder that its nodes name. Nothing is kept in a global, so
another process can turn it into the INT8 graph.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker import codec, events
from icebreaker.conversion import pipeline
from icebreaker.engine import registry
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph import limits, side_effects
from icebreaker.graph.graph import Graph
from icebreaker.jobs import requests, supervisor
from icebreaker.quantization.segment_data import RECORDING
from icebreaker.reports import Left, Words
from icebreaker.runtime import artifact_reader, artifact_writer, loader
from icebreaker.settings import DEFAULT_WORKSPACE, PRECISIONS, Consent, ConvertSettings
from icebreaker.storage import cache
from icebreaker.storage.files import write_whole
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import to_tensorflow

_log = logging.getLogger(__name__)
_FOLDER = "_icebreaker_recording"
_SETTINGS = "_icebreaker_settings"
# What is recorded of one segment at most.
_MOST_ROWS = 1024
_MOST_BYTES = 1 << 30
_KEPT_SECONDS = 7 * 24 * 3600.0  # recordings that nobody has turned into a graph


class BadArgument(IcebreakerError, ValueError):
    """An argument cannot be; also a ValueError, as scripts for the original expect."""


class ConversionWarning(UserWarning):
    """Nothing, or little, went to engines."""


def create_inference_graph(
    input_graph_def: Any,
    outputs: Sequence[Any] | None,
    max_batch_size: int = 1,
    max_workspace_size_bytes: int = DEFAULT_WORKSPACE,
    precision_mode: str = "FP32",
    minimum_segment_size: int = 3,
    is_dynamic_op: bool = False,
    maximum_cached_engines: int = 1,
    cached_engine_batches: Sequence[int] | None = None,
    use_calibration: bool = True,
    input_saved_model_dir: str | None = None,
    input_saved_model_tags: Sequence[str] | None = None,
    output_saved_model_dir: str | None = None,
    session_config: Any = None,
    engine: str = "auto",
    *,
    exclude: Iterable[str] = (),
    allow_side_effects: bool = False,
) -> Any:
    """Converts a frozen graph.

    Args:
        input_graph_def: The frozen GraphDef; None if `input_saved_model_dir` is given.
        outputs: Names of output nodes or tensors, or the tensors; may be None for a SavedModel.
        max_batch_size: Largest batch that the engines take.
        max_workspace_size_bytes: Scratch memory of a TensorRT builder.
        precision_mode: FP32, FP16 or INT8, in any case.
        minimum_segment_size: Smaller segments stay in TensorFlow.
        is_dynamic_op: Without effect: engines are built here, and adapt to shapes where they can.
        maximum_cached_engines: Without effect but for the check of `cached_engine_batches`.
        cached_engine_batches: Batches that the engines take; the largest counts.
        use_calibration: With INT8: return a calibration graph. False takes the ranges that the graph carries.
        input_saved_model_dir: A SavedModel to freeze and convert.
        input_saved_model_tags: Its tags; only `serve` is known.
        output_saved_model_dir: Write the result there as a SavedModel too; only with `input_saved_model_dir`.
        session_config: A ConfigProto; its per_process_gpu_memory_fraction is heeded.
        engine: `auto` (the fastest here) or an engine's name.
        exclude: Nodes to leave in TensorFlow.
        allow_side_effects: Run, while converting, also a graph that acts outside itself.

    Returns:
        TensorFlow's GraphDef, live in this process; for INT8 with calibration the graph to run on data and hand to
        `calib_graph_to_infer_graph`.

    Raises:
        BadArgument: An argument is not what it must be.
        IcebreakerError: The graph cannot be converted.
    """
    precision = _checked(input_graph_def, input_saved_model_dir, precision_mode)
    if output_saved_model_dir is not None and input_saved_model_dir is None:
        raise BadArgument(
            "saved_model_dir_missing", "output_saved_model_dir needs input_saved_model_dir", "use_save_for_graph"
        )
    if input_saved_model_tags is not None and list(input_saved_model_tags) != ["serve"]:
        raise BadArgument(
            "tags_unknown", "input_saved_model_tags {tags} are unknown: only serve can be read",
            tags=str(list(input_saved_model_tags)),
        )  # fmt: skip
    if cached_engine_batches is not None:
        if not isinstance(cached_engine_batches, list) or not all(isinstance(n, int) for n in cached_engine_batches):
            raise BadArgument("batches_malformed", "cached_engine_batches must be a list of whole numbers")
        if len(cached_engine_batches) > maximum_cached_engines:
            raise BadArgument(
                "batches_many", "cached_engine_batches has {count} entries, but maximum_cached_engines is {most}",
                count=len(cached_engine_batches), most=maximum_cached_engines,
            )  # fmt: skip
        max_batch_size = max([max_batch_size, *cached_engine_batches])
    if input_saved_model_dir is not None:
        graph = _saved_model(input_saved_model_dir, allow_side_effects)
    else:
        limits.check_limits(input_graph_def, "the graph")
        graph = Graph(to_tensorflow(input_graph_def))
    if outputs is None and input_saved_model_dir is None:
        raise BadArgument("outputs_none", "outputs is None", "name_the_tensors")
    names = [str(getattr(item, "name", item)) for item in ([outputs] if isinstance(outputs, str) else outputs or ())]
    if outputs is not None and not names:
        raise BadArgument("outputs_empty", "outputs is empty", "name_the_tensors")
    try:
        tensors = tuple(str(graph.require(name, "output")) for name in names)
        registry.require(engine)
        settings = ConvertSettings.of(
            outputs=tensors, engine=engine, precision=precision, max_batch_size=max_batch_size,
            workspace_bytes=max_workspace_size_bytes, minimum_segment_size=minimum_segment_size,
            exclude=tuple(exclude), memory_fraction=_memory_fraction(session_config),
        )  # fmt: skip
    except IcebreakerError as error:
        raise BadArgument(error.message) from error
    consent = Consent(side_effects=allow_side_effects)
    if precision == "int8" and use_calibration:
        return _calibration_graph(graph, settings, consent)
    made = _optimized(graph, settings, consent)
    if output_saved_model_dir is not None:
        save_saved_model(made, output_saved_model_dir, allow_side_effects=allow_side_effects)
    return made


def calib_graph_to_infer_graph(
    calibration_graph_def: Any, is_dynamic_op: bool = False, *, allow_side_effects: bool = False
) -> Any:
    """Turns a calibration graph that has been run on data into the INT8 graph.

    Args:
        calibration_graph_def: What `create_inference_graph` gave, from this process or, by way of a file, another.
        is_dynamic_op: Without effect.
        allow_side_effects: As in `create_inference_graph`; a file cannot consent.

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
    consent = Consent(side_effects=allow_side_effects)
    return _optimized(Graph(_restored(calibration_graph_def)), settings.changed(calibration=str(folder)), consent)


def portable(graph_def: Any) -> Any:
    """The graph as `icebreaker convert` writes it: plain TensorFlow runs it anywhere, `icebreaker.load` its engines.

    Of a calibration graph this is the original graph.
    """
    return artifact_reader.portable(_restored(graph_def))


def save(graph_def: Any, path: str | os.PathLike[str]) -> None:
    """Writes the portable form of a graph, whole or not at all.

    Raises:
        IcebreakerError: The file cannot be written.
    """
    artifact_writer.write(portable(graph_def), Path(path))


def save_saved_model(graph_def: Any, folder: str | os.PathLike[str], *, allow_side_effects: bool = False) -> None:
    """Writes the portable form of a graph as a SavedModel; its signature has the graph's inputs and outputs.

    Raises:
        BadArgument: The folder is there already.
        ConsentNeeded: The graph acts outside itself, and `allow_side_effects` is False: TensorFlow runs parts of it.
    """
    import tensorflow as tf

    if Path(folder).exists():
        raise BadArgument("folder_exists", "{subject} is there already", "another_folder", subject=folder)
    definition = portable(graph_def)
    side_effects.require_consent(side_effects.find_side_effects(definition), allow_side_effects)
    graph = Graph(definition)
    with tf.Graph().as_default() as made:
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=made) as session:
            get = made.get_tensor_by_name
            tf.compat.v1.saved_model.simple_save(
                session, str(folder),
                {item.name: get(f"{item.name}:0") for item in graph.placeholders},
                {str(item): get(f"{item.node}:{item.port}") for item in artifact_reader.stored_outputs(graph)},
            )  # fmt: skip


class TrtGraphConverter:
    """TF-TRT's converter for TensorFlow 1 graphs and SavedModels."""

    def __init__(
        self,
        input_saved_model_dir: str | None = None,
        input_saved_model_tags: Sequence[str] | None = None,
        input_saved_model_signature_key: str | None = None,
        input_graph_def: Any = None,
        nodes_denylist: Sequence[Any] | None = None,
        session_config: Any = None,
        max_batch_size: int = 1,
        max_workspace_size_bytes: int = DEFAULT_WORKSPACE,
        precision_mode: str = "FP32",
        minimum_segment_size: int = 3,
        is_dynamic_op: bool = False,
        maximum_cached_engines: int = 1,
        use_calibration: bool = True,
        *,
        nodes_blacklist: Sequence[Any] | None = None,
        engine: str = "auto",
        allow_side_effects: bool = False,
    ) -> None:
        """Keeps what `convert` needs.

        Args:
            input_saved_model_dir: As in `create_inference_graph`, and so are those that are not named here.
            input_saved_model_tags: See there.
            input_saved_model_signature_key: Only serving_default, which is read anyway.
            input_graph_def: See there.
            nodes_denylist: Nodes to leave alone, the graph's outputs among them. Must be given with a graph.
            session_config: See there.
            max_batch_size: See there.
            max_workspace_size_bytes: See there.
            precision_mode: See there.
            minimum_segment_size: See there.
            is_dynamic_op: See there.
            maximum_cached_engines: See there.
            use_calibration: See there.
            nodes_blacklist: The older name of `nodes_denylist`.
            engine: See there.
            allow_side_effects: See there.
        """
        precision = _checked(input_graph_def, input_saved_model_dir, precision_mode)
        denied = nodes_denylist if nodes_denylist is not None else nodes_blacklist
        if input_graph_def is not None and not denied:
            raise BadArgument("denylist_empty", "nodes_denylist is empty: it must have at least the graph's outputs")
        if input_saved_model_signature_key not in (None, "serving_default"):
            raise BadArgument(
                "signature_unknown", "signature {subject!r} cannot be read: only serving_default can be",
                subject=input_saved_model_signature_key,
            )  # fmt: skip
        self._denied = [str(getattr(item, "name", item)) for item in denied or ()]
        self._session_config = session_config
        self._needs_calibration = precision == "int8" and use_calibration
        self._arguments = {
            "input_graph_def": input_graph_def, "max_batch_size": max_batch_size,
            "max_workspace_size_bytes": max_workspace_size_bytes, "precision_mode": precision_mode,
            "minimum_segment_size": minimum_segment_size, "is_dynamic_op": is_dynamic_op,
            "maximum_cached_engines": maximum_cached_engines, "use_calibration": use_calibration,
            "input_saved_model_dir": input_saved_model_dir, "input_saved_model_tags": input_saved_model_tags,
            "session_config": session_config, "engine": engine, "allow_side_effects": allow_side_effects,
        }  # fmt: skip
        self._converted: Any = None
        self._calibrated = False

    def convert(self) -> Any:
        """Converts; with INT8 the result is the calibration graph, and `calibrate` comes next."""
        if self._converted is not None:
            raise BadArgument("converted_already", "convert() was called already", "make_another_converter")
        outputs, exclude = None, []
        if (definition := self._arguments["input_graph_def"]) is not None:
            # The original had outputs denied because it would have taken their names; here names stay.
            read = {Tensor.parse(text).node for node in definition.node for text in node.input}
            outputs = [name for name in self._denied if Tensor.parse(name).node not in read] or self._denied
            exclude = [name for name in self._denied if name not in outputs]
        self._converted = create_inference_graph(outputs=outputs, exclude=exclude, **self._arguments)
        return self._converted

    def calibrate(
        self,
        fetch_names: Sequence[str],
        num_runs: int,
        feed_dict_fn: Callable[[], Mapping[Any, Any]] | None = None,
        input_map_fn: Callable[[], Mapping[str, Any]] | None = None,
    ) -> Any:
        """Runs the calibration graph and converts it to INT8.

        Args:
            fetch_names: What to fetch, such as `logits:0`.
            num_runs: How often to run it.
            feed_dict_fn: Gives the feeds of a run, by tensor name.
            input_map_fn: Gives the tensors that replace inputs, by name; exactly one of both must be given.

        Returns:
            The INT8 graph, live in this process.
        """
        import tensorflow as tf

        if self._converted is None:
            raise BadArgument("calibrate_too_early", "calibrate() comes after convert()")
        if not self._needs_calibration:
            raise BadArgument("calibrate_not_int8", "calibrate() is for precision_mode INT8 with use_calibration=True")
        if (feed_dict_fn is None) == (input_map_fn is None):
            raise BadArgument("feeds_ambiguous", "give exactly one of feed_dict_fn and input_map_fn")
        if num_runs < 1:
            raise BadArgument("num_runs_small", "num_runs {count} must be at least 1", count=num_runs)
        with tf.Graph().as_default() as graph:
            fetches = tf.import_graph_def(
                self._converted,
                input_map=input_map_fn() if input_map_fn else None,
                return_elements=list(fetch_names),
                name="",
            )
            with tf.compat.v1.Session(graph=graph, config=self._session_config) as session:
                for _ in range(num_runs):
                    session.run(fetches, feed_dict=feed_dict_fn() if feed_dict_fn else None)
        allowed = self._arguments["allow_side_effects"]
        self._converted = calib_graph_to_infer_graph(self._converted, allow_side_effects=allowed)
        self._calibrated = True
        return self._converted

    def save(self, output_saved_model_dir: str) -> None:
        """Writes the result as a SavedModel, in its portable form."""
        if self._converted is None:
            raise BadArgument("save_too_early", "save() comes after convert()")
        if self._needs_calibration and not self._calibrated:
            raise BadArgument("save_uncalibrated", "save() comes after calibrate()")
        allowed = self._arguments["allow_side_effects"]
        save_saved_model(self._converted, output_saved_model_dir, allow_side_effects=allowed)


# --- Conversion --------------------------------------------------------------------------------------------------


def _checked(graph_def: Any, saved_model: str | None, precision_mode: str) -> str:
    """The precision in our words, once there is exactly one thing to convert."""
    if (graph_def is None) == (saved_model is None):
        raise BadArgument("graph_ambiguous", "give exactly one of input_graph_def and input_saved_model_dir")
    precision = str(precision_mode).lower()
    if precision not in PRECISIONS:
        raise BadArgument(
            "precision_mode_unknown", "precision_mode {subject!r} is unknown", "choose_precision_mode",
            subject=precision_mode,
        )  # fmt: skip
    return precision


def _optimized(graph: Graph, settings: ConvertSettings, consent: Consent) -> Any:
    """Converts and makes the result live."""
    if settings.memory_fraction is not None:
        return _in_worker(graph, settings, consent)
    definition, runners, report = pipeline.optimize(graph, settings, consent)
    _warn(report.warnings, len(report.segments), report.left_in_tensorflow)
    return loader.live(definition, runners)


def _in_worker(graph: Graph, settings: ConvertSettings, consent: Consent) -> Any:
    with tempfile.TemporaryDirectory(prefix="icebreaker-") as name:
        folder = Path(name)
        write_whole(folder / "graph.pb", graph.definition.SerializeToString())
        model, output = str(folder / "graph.pb"), str(folder / "made.pb")
        request = requests.Convert(model=model, output=output, settings=settings, consent=consent)
        report = supervisor.run(request, _to_log)
        definition = to_tensorflow(graph_files.read_definition(folder / "made.pb"))
        for node in definition.node:  # the files go with the folder
            if "_icebreaker_file" in node.attr:
                node.attr["_icebreaker_payload"].s = (folder / node.attr["_icebreaker_file"].s.decode()).read_bytes()
                del node.attr["_icebreaker_file"]
    _warn(report.warnings, len(report.segments), report.left_in_tensorflow)
    return loader.live(definition)


def _warn(texts: Iterable[Words], segments: int, left: Iterable[Left]) -> None:
    if not segments:
        reasons = Counter(str(item.reason) for item in left if item.code != "passive")
        words = "; ".join(f"{reason} ({count} nodes)" for reason, count in reasons.most_common(5))
        texts = [f"no segment went to an engine: {words}"]
    for text in texts:
        warnings.warn(str(text), ConversionWarning, stacklevel=4)


def _to_log(event: events.Event) -> None:
    if isinstance(event, events.Log):
        _log.log(logging.getLevelNamesMapping().get(event.level.upper(), logging.INFO), str(event.text))


def _memory_fraction(session_config: Any) -> float | None:
    fraction = getattr(getattr(session_config, "gpu_options", None), "per_process_gpu_memory_fraction", 0.0)
    return fraction or None  # 0 is what a ConfigProto has where nothing was set


def _saved_model(folder: str, allow_side_effects: bool) -> Graph:
    path = Path(folder)
    if not (path / "saved_model.pb").is_file():
        raise BadArgument(
            "no_saved_model", "input_saved_model_dir {subject} has no saved_model.pb", "give_saved_model_folder",
            subject=folder,
        )  # fmt: skip
    return Graph(to_tensorflow(graph_files.read_definition(path, allow_side_effects)))


# --- Calibration graphs ------------------------------------------------------------------------------------------


def _calibration_graph(graph: Graph, settings: ConvertSettings, consent: Consent) -> Any:
    """The original graph with a recorder in front of every segment."""
    cut, segments, left = pipeline.segments(graph, settings, consent)
    definition = type(cut.definition)()
    definition.CopyFrom(cut.definition)
    if not segments:
        _warn((), 0, left.values())
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


def _restored(graph_def: Any) -> Any:
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
