"""TF-TRT's calls of TensorFlow 1: `create_inference_graph` and its sisters, and `TrtGraphConverter`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from icebreaker.engine import registry
from icebreaker.errors import IcebreakerError
from icebreaker.formats.saved_model.signatures import Frozen
from icebreaker.graph import limits, side_effects
from icebreaker.graph.graph import Graph
from icebreaker.runtime import artifact_reader, artifact_writer, saved_model_writer
from icebreaker.settings import DEFAULT_WORKSPACE, Consent, ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import to_tensorflow
from icebreaker.tftrt.arguments import BadArgument, checked_precision
from icebreaker.tftrt.calibration import calibration_graph, recorded_settings, restored
from icebreaker.tftrt.conversion import memory_fraction, optimized, saved_model


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
    input_saved_model_signature_key: str | None = None,
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
        input_saved_model_tags: Its tags; None: those that it has.
        output_saved_model_dir: Write the result there as a SavedModel too; only with `input_saved_model_dir`.
        session_config: A ConfigProto; its per_process_gpu_memory_fraction is heeded.
        engine: `auto` (the fastest here) or an engine's name.
        input_saved_model_signature_key: The signature to convert; None: `serving_default`, or the first by name.
        exclude: Nodes to leave in TensorFlow.
        allow_side_effects: Run, while converting, also a graph that acts outside itself.

    Returns:
        TensorFlow's GraphDef, live in this process; for INT8 with calibration the graph to run on data and hand to
        `calib_graph_to_infer_graph`.

    Raises:
        BadArgument: An argument is not what it must be.
        IcebreakerError: The graph cannot be converted.
    """
    precision = checked_precision(input_graph_def, input_saved_model_dir, precision_mode)
    if output_saved_model_dir is not None and input_saved_model_dir is None:
        raise BadArgument(
            "saved_model_dir_missing", "output_saved_model_dir needs input_saved_model_dir", "use_save_for_graph"
        )
    if cached_engine_batches is not None:
        if not isinstance(cached_engine_batches, list) or not all(isinstance(n, int) for n in cached_engine_batches):
            raise BadArgument("batches_malformed", "cached_engine_batches must be a list of whole numbers")
        if len(cached_engine_batches) > maximum_cached_engines:
            raise BadArgument(
                "batches_many", "cached_engine_batches has {count} entries, but maximum_cached_engines is {most}",
                count=len(cached_engine_batches), most=maximum_cached_engines,
            )  # fmt: skip
        max_batch_size = max([max_batch_size, *cached_engine_batches])
    frozen = None
    if input_saved_model_dir is not None:
        source = saved_model(
            input_saved_model_dir, input_saved_model_tags, input_saved_model_signature_key, allow_side_effects
        )
        graph, frozen = source.graph, source.frozen
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
            exclude=tuple(exclude), memory_fraction=memory_fraction(session_config),
        )  # fmt: skip
    except IcebreakerError as error:
        raise BadArgument(error.message) from error
    consent = Consent(side_effects=allow_side_effects)
    if precision == "int8" and use_calibration:
        return calibration_graph(graph, settings, consent)
    made = optimized(graph, settings, consent).definition
    if output_saved_model_dir is not None:
        save_saved_model(made, output_saved_model_dir, allow_side_effects=allow_side_effects, frozen=frozen)
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
    settings, consent = recorded_settings(calibration_graph_def), Consent(side_effects=allow_side_effects)
    return optimized(Graph(restored(calibration_graph_def)), settings, consent).definition


def portable(graph_def: Any) -> Any:
    """The graph as `icebreaker convert` writes it: plain TensorFlow runs it anywhere, `icebreaker.load` its engines.

    Of a calibration graph this is the original graph.
    """
    return artifact_reader.portable(restored(graph_def))


def save(graph_def: Any, path: str | os.PathLike[str]) -> None:
    """Writes the portable form of a graph, whole or not at all.

    Raises:
        IcebreakerError: The file cannot be written.
    """
    artifact_writer.write(portable(graph_def), Path(path))


def save_saved_model(
    graph_def: Any,
    folder: str | os.PathLike[str],
    *,
    allow_side_effects: bool = False,
    frozen: Frozen | None = None,
) -> None:
    """Writes the portable form of a graph as a SavedModel; its signature has the graph's inputs and outputs.

    Args:
        graph_def: The graph.
        folder: The folder to make.
        allow_side_effects: As in `create_inference_graph`.
        frozen: What the SavedModel says that it was made from: its other signatures come along.

    Raises:
        BadArgument: The folder is there already.
        ConsentNeeded: The graph acts outside itself, and `allow_side_effects` is False: TensorFlow runs parts of it.
    """
    if Path(folder).exists():
        raise BadArgument("folder_exists", "{subject} is there already", "another_folder", subject=folder)
    definition = portable(graph_def)
    side_effects.require_consent(side_effects.find_side_effects(definition), allow_side_effects)
    saved_model_writer.write(definition, Path(folder), frozen=frozen)


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
            input_saved_model_signature_key: See there.
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
        precision = checked_precision(input_graph_def, input_saved_model_dir, precision_mode)
        denied = nodes_denylist if nodes_denylist is not None else nodes_blacklist
        if input_graph_def is not None and not denied:
            raise BadArgument("denylist_empty", "nodes_denylist is empty: it must have at least the graph's outputs")
        self._denied = [str(getattr(item, "name", item)) for item in denied or ()]
        self._session_config = session_config
        self._needs_calibration = precision == "int8" and use_calibration
        self._arguments = {
            "input_graph_def": input_graph_def, "max_batch_size": max_batch_size,
            "max_workspace_size_bytes": max_workspace_size_bytes, "precision_mode": precision_mode,
            "minimum_segment_size": minimum_segment_size, "is_dynamic_op": is_dynamic_op,
            "maximum_cached_engines": maximum_cached_engines, "use_calibration": use_calibration,
            "input_saved_model_dir": input_saved_model_dir, "input_saved_model_tags": input_saved_model_tags,
            "input_saved_model_signature_key": input_saved_model_signature_key,
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
        if (folder := self._arguments["input_saved_model_dir"]) is None:
            save_saved_model(self._converted, output_saved_model_dir, allow_side_effects=allowed)
            return
        tags, key = (self._arguments[f"input_saved_model_{name}"] for name in ("tags", "signature_key"))
        source = saved_model(folder, tags, key, allowed)
        save_saved_model(self._converted, output_saved_model_dir, allow_side_effects=allowed, frozen=source.frozen)
