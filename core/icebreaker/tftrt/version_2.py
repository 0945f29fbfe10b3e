"""TF-TRT's converter of TensorFlow 2: a SavedModel comes in, a SavedModel goes out."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from icebreaker.engine import registry
from icebreaker.errors import IcebreakerError
from icebreaker.reports import SegmentReport
from icebreaker.runtime import artifact_reader, saved_model_writer
from icebreaker.settings import Consent, ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tftrt.arguments import (
    DEFAULT_TRT_CONVERSION_PARAMS,
    PROFILE_STRATEGIES,
    BadArgument,
    ConversionWarning,
    TrtConversionParams,
    TrtPrecisionMode,
    precision_of,
)
from icebreaker.tftrt.calibration import calibration_graph, recorded_in
from icebreaker.tftrt.conversion import Optimized, Source, optimized, saved_model

Inputs = Callable[[], Iterable[Any]]
_REASONS = 5  # told in the summary


class TrtGraphConverterV2:
    """TF-TRT's converter for SavedModels."""

    def __init__(
        self,
        input_saved_model_dir: str | os.PathLike[str] | None = None,
        input_saved_model_tags: Sequence[str] | None = None,
        input_saved_model_signature_key: str | None = None,
        use_dynamic_shape: bool | None = None,
        dynamic_shape_profile_strategy: str | None = None,
        max_workspace_size_bytes: int = DEFAULT_TRT_CONVERSION_PARAMS.max_workspace_size_bytes,
        precision_mode: str = TrtPrecisionMode.FP32,
        minimum_segment_size: int = 3,
        maximum_cached_engines: int = 1,
        use_calibration: bool = True,
        allow_build_at_runtime: bool = True,
        conversion_params: TrtConversionParams | None = None,
        *,
        engine: str = "auto",
        allow_side_effects: bool = False,
    ) -> None:
        """Keeps what `convert` needs.

        Args:
            input_saved_model_dir: The SavedModel.
            input_saved_model_tags: Its tags; None: `serve`.
            input_saved_model_signature_key: The signature to convert; None: `serving_default`. The others stay as they
                are.
            use_dynamic_shape: Make engines for the shapes that `build` sees, from the smallest to the largest.
            dynamic_shape_profile_strategy: Which of those shapes engines are tuned for: the largest (`Range`,
                `ImplicitBatchModeCompatible`) or the most frequent (`Optimal`, `Range+Optimal`).
            max_workspace_size_bytes: As in `TrtConversionParams`, and so are those that are not named here.
            precision_mode: See there.
            minimum_segment_size: See there.
            maximum_cached_engines: See there.
            use_calibration: See there.
            allow_build_at_runtime: See there.
            conversion_params: All of these as one value, in their place.
            engine: `auto` (the fastest here) or an engine's name.
            allow_side_effects: Run, while converting, also a graph that acts outside itself.

        Raises:
            BadArgument: An argument is not what it must be.
        """
        if isinstance(use_dynamic_shape, tuple):  # the fourth argument until TensorFlow 2.8
            use_dynamic_shape, conversion_params = None, use_dynamic_shape
        given = conversion_params or TrtConversionParams(
            max_workspace_size_bytes, precision_mode, minimum_segment_size, maximum_cached_engines, use_calibration,
            allow_build_at_runtime,
        )  # fmt: skip
        known = {name: getattr(given, name) for name in TrtConversionParams._fields if hasattr(given, name)}
        params = TrtConversionParams(**known)
        if input_saved_model_dir is None:
            raise BadArgument("saved_model_none", "input_saved_model_dir is None", "give_saved_model_folder")
        strategy = dynamic_shape_profile_strategy
        if strategy is not None and strategy.lower() not in map(str.lower, PROFILE_STRATEGIES):
            raise BadArgument(
                "profile_strategy_unknown", "dynamic_shape_profile_strategy {subject!r} is unknown", "choose_from",
                subject=strategy, choices=PROFILE_STRATEGIES,
            )  # fmt: skip
        precision = precision_of(params.precision_mode)
        try:
            registry.require(engine)
            self._settings = ConvertSettings.of(
                engine=engine, precision=precision, max_batch_size=params.max_batch_size,
                workspace_bytes=params.max_workspace_size_bytes, minimum_segment_size=params.minimum_segment_size,
            )  # fmt: skip
        except IcebreakerError as error:
            raise BadArgument(error.message) from error
        self._folder, self._signature = str(input_saved_model_dir), input_saved_model_signature_key
        self._tags, self._consent = input_saved_model_tags, Consent(side_effects=allow_side_effects)
        self._dynamic = bool(use_dynamic_shape)
        self._tuned_for_usual = "optimal" in (strategy or "").lower()
        self._needs_calibration = precision == "int8" and params.use_calibration
        self._source: Source | None = None
        self._made: Optimized | None = None
        self._function: Any = None

    def convert(self, calibration_input_fn: Inputs | None = None) -> Any:
        """Converts the signature.

        Args:
            calibration_input_fn: Gives the inputs that INT8 finds its ranges with, each a tuple, a list or a dict.

        Returns:
            The signature as TensorFlow's ConcreteFunction, which runs the engines in this process.

        Raises:
            BadArgument: It was called already, or the calibration data is missing or of no use.
            IcebreakerError: The SavedModel cannot be converted.
        """
        if self._made is not None:
            raise BadArgument("converted_already", "convert() was called already", "make_another_converter")
        if self._needs_calibration and calibration_input_fn is None:
            raise BadArgument(
                "calibration_fn_missing", "calibration_input_fn is missing, which INT8 needs", "give_calibration_fn"
            )
        if not self._needs_calibration and calibration_input_fn is not None:
            raise BadArgument(
                "calibration_fn_useless",
                "calibration_input_fn is for precision_mode INT8 with use_calibration=True, and no use here",
            )
        source = saved_model(self._folder, self._tags, self._signature, self._consent.side_effects)
        self._source = source
        self._settings = self._settings.changed(outputs=tuple(source.outputs.values()))
        if calibration_input_fn is not None:
            recorder = calibration_graph(source.graph, self._settings, self._consent)
            run = _function(recorder, source)
            for inputs in self._inputs(calibration_input_fn):
                run(**inputs)
            if folder := recorded_in(recorder):
                self._settings = self._settings.changed(calibration=str(folder))
            else:  # there is nothing to calibrate
                self._settings = self._settings.changed(precision="fp32")
        return self._convert()

    def _convert(self) -> Any:
        assert self._source is not None  # noqa: S101 - convert() has read it
        self._made = optimized(self._source.graph, self._settings, self._consent)
        self._function = _function(self._made.definition, self._source)
        return self._function

    def build(self, input_fn: Inputs) -> None:
        """Makes the engines fit the shapes that inputs have, and runs them on these once.

        Engines that hold to a batch or to a range of shapes are built again, where `convert` could not know these.

        Args:
            input_fn: Gives inputs, each a tuple, a list or a dict.

        Raises:
            BadArgument: It comes before `convert`, or there are no inputs.
        """
        if self._made is None:
            raise BadArgument("build_too_early", "build() comes after convert()")
        if input_fn is None:
            raise BadArgument("input_fn_missing", "input_fn is None")
        calls = list(self._inputs(input_fn))
        shapes = [{key: tuple(value.shape) for key, value in inputs.items()} for inputs in calls]
        settings = self._settings_for(shapes)
        if settings != self._settings:
            self._settings = settings
            self._convert()
        for inputs in calls:
            self._function(**inputs)

    def _settings_for(self, calls: Sequence[Mapping[str, tuple[int, ...]]]) -> ConvertSettings:
        """The settings with what `build` has learned of the inputs' shapes."""
        assert self._source is not None  # noqa: S101 - convert() has read it
        sources, graph = self._source.inputs, self._source.graph
        is_open = {item.name for item in graph.placeholders if item.shape is None or None in item.shape}
        if not self._dynamic:
            rows = [shape[0] for call in calls for key, shape in call.items() if sources[key] in is_open and shape]
            return self._settings.changed(max_batch_size=max([self._settings.max_batch_size, *rows]))
        profiles = {}
        for key, name in sources.items():
            seen = Counter(call[key] for call in calls)
            if name in is_open and len({len(shape) for shape in seen}) == 1 and all(map(all, seen)) and any(seen):
                low, high = tuple(map(min, zip(*seen, strict=True))), tuple(map(max, zip(*seen, strict=True)))
                profiles[name] = (low, seen.most_common(1)[0][0] if self._tuned_for_usual else high, high)
        return self._settings.changed(profiles=profiles, **({"max_batch_size": 1} if profiles else {}))

    def summary(
        self, line_length: int = 160, detailed: bool = True, print_fn: Callable[[str], object] | None = None
    ) -> None:
        """Prints which engines there are, and what stays in TensorFlow.

        Args:
            line_length: Longer lines are cut.
            detailed: Tell what is in each engine, and more of the reasons.
            print_fn: Takes a line; None: `print`.
        """
        if self._made is None:
            raise BadArgument("summary_too_early", "summary() comes after convert()")
        for line in _summary(self._made, detailed):
            (print_fn or print)(line[:line_length])

    def save(
        self,
        output_saved_model_dir: str | os.PathLike[str],
        save_gpu_specific_engines: bool = True,
        options: Any = None,
    ) -> None:
        """Writes the SavedModel with the converted signature in the place of the one that came in.

        Args:
            output_saved_model_dir: The folder to make, or the SavedModel to replace.
            save_gpu_specific_engines: False: without the engines, so that TensorFlow runs all of it.
            options: A `tf.saved_model.SaveOptions`, which is not heeded.

        Raises:
            BadArgument: It comes before `convert`.
            IcebreakerError: The folder cannot be written.
        """
        if self._made is None or self._source is None:
            raise BadArgument("save_too_early", "save() comes after convert()")
        if options is not None:
            warnings.warn("save() does not heed its options", ConversionWarning, stacklevel=2)
        definition = artifact_reader.portable(self._made.definition)
        if not save_gpu_specific_engines:
            definition = artifact_reader.without_engines(definition)
        saved_model_writer.write(definition, Path(output_saved_model_dir), frozen=self._source.frozen)

    def _inputs(self, input_fn: Inputs) -> Iterator[dict[str, Any]]:
        """Each of the inputs that a function of the user's gives, by what the signature calls them."""
        import tensorflow as tf

        assert self._source is not None  # noqa: S101 - convert() has read it
        keys = list(self._source.inputs)
        types = {item.name: getattr(tf, item.dtype) for item in self._source.graph.placeholders}
        empty = True
        for given in input_fn():
            empty = False
            named: Mapping[Any, Any] | None = given if isinstance(given, Mapping) else None
            if named is None:
                values = given if isinstance(given, tuple | list) else [given]
                if len(values) != len(keys):
                    raise BadArgument(
                        "inputs_differ", "the input function gives {count} values, but the inputs are {known}",
                        count=len(values), known=tuple(keys),
                    )  # fmt: skip
                named = dict(zip(keys, values, strict=True))
            if set(named) != set(keys):
                raise BadArgument(
                    "inputs_differ", "the input function gives {given}, but the inputs are {known}",
                    given=tuple(map(str, named)), known=tuple(keys),
                )  # fmt: skip
            yield {key: tf.convert_to_tensor(named[key], types[self._source.inputs[key]]) for key in keys}
        if empty:
            raise BadArgument("inputs_none", "the input function gives no inputs")


def _function(definition: Any, source: Source) -> Any:
    """A graph as TensorFlow's ConcreteFunction with the arguments and results of a signature."""
    import tensorflow as tf

    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    get = whole.graph.get_tensor_by_name

    def tensor(name: str) -> Any:
        found = Tensor.parse(name)
        return get(f"{found.node}:{found.port}")

    feeds = {key: tensor(name) for key, name in source.inputs.items()}
    specs = {key: tf.TensorSpec(item.shape, item.dtype, key) for key, item in feeds.items()}
    made = whole.prune(
        list(feeds.values()), {key: tensor(name) for key, name in source.outputs.items()}, name="converted",
        input_signature=((), specs), are_keyword_args_also_positional=True,
    )  # fmt: skip
    made._arg_keywords = list(feeds)
    made._num_positional_args = len(feeds)
    return made


def _summary(made: Optimized, detailed: bool) -> Iterator[str]:
    """The lines of `summary`."""
    report = made.report
    head = ("TRTEngineOp Name", "Engine", "Precision", "# Nodes", "# Inputs", "# Outputs", "Inputs", "Outputs")
    rows: list[tuple[str, ...]] = [head]
    for item in report.segments:
        told = [", ".join(report.tensors.get(name, name) for name in names) for names in (item.inputs, item.outputs)]
        counts = map(str, (len(item.nodes), len(item.inputs), len(item.outputs)))
        rows.append((item.name, item.engine, item.precision, *counts, *told))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if number == 0:
            yield "-" * (sum(widths) + 2 * (len(widths) - 1))
        elif detailed:
            yield from _inside(report.segments[number - 1], made)
    yield ""
    yield f"[*] Total number of engines: {len(report.segments)}"
    yield f"[*] {report.coverage:.2%} of the operations are in engines"
    left = Counter(str(item.reason) for item in report.left_in_tensorflow if item.code != "passive")
    for reason, count in left.most_common(None if detailed else _REASONS):
        yield f"[*] left in TensorFlow: {reason} ({count} nodes)"


def _inside(segment: SegmentReport, made: Optimized) -> Iterator[str]:
    """The ops of an engine's nodes, the most frequent first."""
    name = f"{segment.name}_native_segment"
    for function in made.definition.library.function:
        if function.signature.name == name:
            for op, count in Counter(node.op for node in function.node_def).most_common():
                yield f"    - {op}: {count}x"
