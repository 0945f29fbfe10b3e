"""Converts a frozen graph: partition, export, try engines, put together. Runs in a worker.

Nothing is taken on trust: a node goes to an engine only if the converter and the engine take it when asked for real,
and a built segment stays only if it is right and, with `auto`, faster: alone, and in the graph as a whole. Whatever is
refused stays in TensorFlow, with its reason.

Owns: the order of things, the sample values, the whole. Refuses: trying engines on a segment (`trial`).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker import events, gpu
from icebreaker.conversion.engine_selection import Accepted, Trials, medians
from icebreaker.data.sample_inputs import Feeds, sample_run
from icebreaker.engines import registry
from icebreaker.engines.protocol import Engine, Runner
from icebreaker.engines.registry import ONNX_PAYLOADS
from icebreaker.errors import IcebreakerError
from icebreaker.export import exporter, fake_quant
from icebreaker.export.exporter import Exported
from icebreaker.formats import graph_files
from icebreaker.graph import side_effects
from icebreaker.graph.graph import PASSIVE, Graph
from icebreaker.graph.node_patterns import matching_nodes
from icebreaker.metrics.output_difference import difference
from icebreaker.partitioning.partition import Partition, Refusal, Segment, partition
from icebreaker.quantization.segment_quantizer import SegmentQuantizer
from icebreaker.reports.reports import Accuracy, Calibration, Conversion, EngineStatus, Left
from icebreaker.runtime import artifact
from icebreaker.runtime.loader import Model
from icebreaker.settings import ENGINES, ConvertSettings, Profile, profile_text
from icebreaker.storage import crash_journal, trusted_engines
from icebreaker.storage.weight_store import Store, give_memory_back
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import inline_functions, prune, to_tensorflow
from icebreaker.tf.session import Original, exact_float32

_NOTHING_CHECKED = "nothing could be checked, so nothing was converted"
_MOST_ROUNDS = 12
_MOST_CHECKED_ROWS = 32
_BIG_BYTES_INT8 = 32 << 20  # calibrating takes memory of its own

Emit = Callable[[events.Event], None]


def convert(
    model: Path, output: Path, settings: ConvertSettings, emit: Emit = lambda event: None, job_id: str = ""
) -> Conversion:
    """Converts the graph in `model` and writes the optimized one to `output`.

    Raises:
        IcebreakerError: The graph, a setting, or the target is at fault; nothing is written then.
    """
    if names := settings.unheeded:  # a promise must not be dropped without a word
        text = names[0].replace("_", " ")
        raise IcebreakerError(f"the {text} is for INT8, not {settings.precision}: choose int8, or leave it out")
    _check_target(output)
    table = Path(settings.calibration_table or f"{output}.calibration.json")
    if settings.precision == "int8":
        _check_target(table)
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:
        work = _begin(model, settings, emit, Path(folder))
        if model.absolute().parent != output.absolute().parent and any(
            item.has_side_file for item in artifact.stored_engines(work.graph, Path())
        ):
            raise IcebreakerError(
                f"{model} is optimized already, and the side files of its engines would stay behind: convert the graph "
                "that it was made from"
            )
        accepted = work.accept()
        emit(events.Progress("Putting the graph together", 0.9))
        definition, accepted = work.assemble(accepted)
        emit(events.Progress("Writing the optimized graph", 0.98))
        if work.int8 is not None and work.int8.has_tables:
            work.int8.save_tables(table, job_id)
            work.table = str(table)
        nodes = [item.node for item in accepted]
        built = artifact.write(definition, output, job_id, engines=nodes, store=work.graph.store)
    trusted_engines.remember_engines(built)
    report = work.report(str(output), accepted)
    emit(events.Progress("Converted", 1.0))
    return report


def optimize(
    graph: Graph, settings: ConvertSettings, emit: Emit = lambda event: None
) -> tuple[Any, Mapping[str, Runner], Conversion]:
    """Converts a graph that is in memory, in this process.

    Returns:
        The optimized GraphDef, its runners by engine node, and the report, whose `output` is empty.

    Raises:
        IcebreakerError: As `convert`.
    """
    work = _begin_with(graph, settings, emit, "the graph")
    definition, accepted = work.assemble(work.accept())
    trusted_engines.remember_engines(artifact.digests(definition, [item.node for item in accepted]))
    runners = {item.report.name: item.runner for item in accepted if item.runner is not None}
    return definition, runners, work.report("", accepted)


def segments(graph: Graph, settings: ConvertSettings) -> tuple[Graph, tuple[Segment, ...], Mapping[str, Left]]:
    """What would be calibrated: the graph, cut to its inputs and outputs, its segments, and why the rest would not."""
    work = _begin_with(graph, settings, lambda event: None, "the graph", calibrates=False)
    found, _ = work.partition()
    left = {name: Left(name, work.graph[name].op, item.text, item.code) for name, item in found.left.items()}
    work.original.close()
    return work.graph, found.segments, left


def dtypes(graph: Graph, tensors: Sequence[Tensor]) -> list[Any]:
    """TensorFlow's types of some tensors."""
    original = Original(graph.definition)
    found = [original.graph.get_tensor_by_name(f"{item.node}:{item.port}").dtype for item in tensors]
    original.close()
    return found


def calibrate(
    model: Path, output: Path, settings: ConvertSettings, emit: Emit = lambda event: None, job_id: str = ""
) -> Calibration:
    """Finds the ranges of all segments and writes them to `output`, for conversions without data.

    Raises:
        IcebreakerError: The graph, a setting, the data or the target is at fault; nothing is written then.
    """
    _check_target(output)
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:
        work = _begin(model, replace(settings, precision="int8"), emit, Path(folder))
        found = work.calibrate()
        assert work.int8 is not None  # noqa: S101 - that is what the precision says
        work.int8.save_tables(output, job_id)
    emit(events.Progress("Calibrated", 1.0))
    return Calibration(
        str(output), time.perf_counter() - work.started, max((item["samples"] for item in found), default=0),
        tuple(found), tuple(work.int8.notes), tuple(work.warnings),
    )  # fmt: skip


def _begin(model: Path, settings: ConvertSettings, emit: Emit, folder: Path) -> _Work:
    """Reads the graph; its weights, if they are big, go to `folder`."""
    emit(events.Progress("Reading the graph", 0.0))
    # TensorFlow would bring weights that lie in files to a GPU again in every call.
    store = Store(folder) if gpu.find() is None else None
    big = _BIG_BYTES_INT8 if settings.precision == "int8" else None
    return _begin_with(
        graph_files.read_graph(model, settings.allow_side_effects, store, big), settings, emit, str(model)
    )


def _begin_with(graph: Graph, settings: ConvertSettings, emit: Emit, name: str, *, calibrates: bool = True) -> _Work:
    # Before TensorFlow sees it: importing a graph already runs what the shapes of others depend on.
    side_effects.require_consent(side_effects.side_effects(graph.definition), settings.allow_side_effects, name)
    outputs = _outputs(graph, settings)
    excluded = matching_nodes(graph, settings.exclude)
    emit(events.Progress("Starting TensorFlow", 0.02))
    return _Work(graph, outputs, excluded, settings, emit, calibrates)


@dataclass
class _Work:
    """One conversion in progress."""

    whole: InitVar[Graph]  # not kept: its weights are in `graph` as well
    outputs: tuple[Tensor, ...]
    excluded: frozenset[str]
    settings: ConvertSettings
    emit: Emit
    calibrates: bool = True  # False: only the segments are wanted
    warnings: list[str] = field(default_factory=list)
    left: dict[str, Refusal] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # of the engines
    spanning: int = 1  # how many sets of feeds, from the first on, engines must be built for
    int8: SegmentQuantizer | None = None
    accuracy: Accuracy | None = None  # of the whole
    table: str = ""  # where the ranges were written

    def __post_init__(self, whole: Graph) -> None:
        # Imports first: they are not the conversion's time. Without an engine there is nothing to do.
        self.engines = self._usable_engines()
        self.supported = exporter.supported_ops()
        self.started = time.perf_counter()
        self.graph = prune(inline_functions(_cut_at_inputs(whole, self.outputs, self.settings)), self.outputs)
        self.original = Original(
            self.graph.definition, self.settings.memory_fraction, reference=True, store=self.graph.store
        )
        self._check_ports()
        self.feeds: list[Feeds] = []
        self.observed: list[dict[Tensor, np.ndarray]] = []  # for each of them
        self._find_feeds()
        # Its weights take much of what converting may take; a session that is needed again begins anew.
        self.original.close()
        give_memory_back()
        if self.settings.precision == "int8":
            self.supported |= fake_quant.OPS
            if self.calibrates:
                self._open_int8()
        self.trials = Trials(
            self.graph, self.outputs, self.original, self.settings, self.engines, self.versions, self.int8,
            self.observed, self.spanning, self._log, self.warnings,
        )  # fmt: skip

    # -- what can go to an engine ------------------------------------------------------------------------------

    def accept(self) -> list[Accepted]:
        """Finds the segments, builds, checks and measures them."""
        found, exports = self.partition()
        self.left.update(found.left)
        self._observe(found.segments)
        self.original.close()
        give_memory_back()
        accepted = []
        for index, segment in enumerate(found.segments):
            self._progress(
                f"Building and checking segment {index + 1} of {len(found.segments)}",
                0.3 + 0.6 * index / len(found.segments),
            )
            result = self.trials.run(
                segment, exports[segment.key], len(found.segments),
                lambda text, part, name=segment.name, at=index: self._progress(
                    f"{name}: {text}", 0.3 + 0.6 * (at + 0.8 * part) / len(found.segments)
                ),
            )  # fmt: skip
            if isinstance(result, Refusal):
                self._leave(segment, result)
                self._log("info", f"{segment.name} stays in TensorFlow: {result.text}")
            else:
                accepted.append(result)
        return accepted

    def partition(self) -> tuple[Partition, dict[Any, Exported]]:
        """Partitions and exports until converter and engine take every segment."""
        refusals = self._static_refusals()
        exports: dict[Any, Exported] = {}
        turn = 0
        while True:  # ends: each turn refuses more of finitely many nodes
            self._progress("Finding segments", 0.1 + 0.2 * min(turn / _MOST_ROUNDS, 1))
            found = partition(self.graph, self.outputs, refusals, self.settings.minimum_segment_size)
            found = replace(
                found, segments=tuple(artifact.complete_outputs(item, self.outputs) for item in found.segments)
            )
            fresh: dict[str, Refusal] = {}
            for segment in found.segments:
                if segment.key not in exports:
                    refused = self._export(segment, exports)
                    if refused and turn >= _MOST_ROUNDS:  # one node at a time would take too long
                        refused = dict.fromkeys(segment.nodes, next(iter(refused.values())))
                    fresh.update(refused)
            if not fresh:
                return found, exports
            for name, refusal in fresh.items():
                self._log("info", f"{name}: {refusal.text}")
            refusals.update(fresh)
            turn += 1

    def _static_refusals(self) -> dict[str, Refusal]:
        """What can be told from a node alone."""
        refusals: dict[str, Refusal] = {}
        for node in self.graph:
            if node.name in self.excluded:
                refusals[node.name] = Refusal("excluded", "excluded by you")
            elif node.op in PASSIVE and node.op not in ("Identity", "IdentityN"):
                continue
            elif node.op not in self.supported:
                refusals[node.name] = Refusal("unsupported_op", f"no converter for {node.op}")
            elif self.original.is_stateful(node.name):
                refusals[node.name] = Refusal("side_effect", f"{node.op} keeps state or acts outside the graph")
            else:
                tensors = [*node.inputs, *(Tensor(node.name, i) for i in range(self.original.output_count(node.name)))]
                odd = [kind for item in tensors if (kind := self.original.dtype(item)) not in exporter.DTYPES]
                if odd:
                    refusals[node.name] = Refusal("unsupported_attribute", f"{node.op} works on {odd[0]} here")
        return refusals

    def _export(self, segment: Segment, exports: dict[Any, Exported]) -> dict[str, Refusal]:
        """Exports a segment and asks the engines; returns the nodes they refuse."""
        shapes: dict[Tensor, Any] = {}
        for tensor in segment.inputs:
            shape = self.original.shape(tensor)
            if shape is None:
                rank = self._observed_rank(tensor)
                if rank is None:
                    readers = [name for name in segment.nodes if tensor in self.graph[name].inputs]
                    return dict.fromkeys(
                        readers, Refusal("unknown_shape", f"the rank of its input {tensor} is unknown")
                    )
                shape = (None,) * rank
            shapes[tensor] = shape
        definition, inputs = artifact.segment_definition(self.graph, segment, self.original, shapes)
        back = {item.node: str(tensor) for item, tensor in zip(inputs, segment.inputs, strict=True)}
        handlers = None
        trained = self.settings.precision == "int8" and any(n.op in fake_quant.OPS for n in definition.node)
        if trained:
            definition = fake_quant.with_fixed_ranges(definition, self.int8 is None or self.int8.is_calibrated)
            handlers = fake_quant.HANDLERS
        try:
            exported = exporter.export(
                definition, inputs, segment.outputs, handlers, self.graph.store,
                folds=self.int8 is not None or gpu.find() is not None
                or any(engine.name not in ONNX_PAYLOADS for engine in self.engines),
            )  # fmt: skip
        except exporter.Refused as error:
            known = {name: text for name, text in error.reasons.items() if name in self.graph}
            known = known or dict.fromkeys(segment.nodes, str(error))
            return {name: Refusal("unsupported_attribute", _respell(text, back)) for name, text in known.items()}
        refusals = self.trials.ask(segment, exported)
        if not refusals:
            exports[segment.key] = exported
        return refusals

    # -- the whole ---------------------------------------------------------------------------------------------

    def assemble(self, accepted: list[Accepted]) -> tuple[Any, list[Accepted]]:
        """Puts the graph together and compares it as a whole; segments that spoil it are taken out again."""
        while True:
            definition = artifact.assemble(self.graph, self.outputs, [item.node for item in accepted], self.original)
            if not accepted or not all(item.report.runs_here for item in accepted):
                return definition, accepted
            with crash_journal.step("running the optimized graph", [item.attempt for item in accepted]):
                runners = {item.report.name: item.runner for item in accepted if item.runner is not None}
                model = Model(Graph(definition, self.graph.store), Path(), fallback=False, runners=runners)
                worst = self._whole_deviation(model)
                # A graph that is one segment was measured as such already.
                slower = self._slower(model) if self.settings.engine == "auto" and not model.is_direct else ""
                whole = self.int8.whole(self.original, self.outputs, model) if self.int8 is not None else None
            tolerance = max(item.tolerance for item in accepted)
            in_int8 = [item for item in accepted if item.node.built.precision == "int8"]
            if in_int8:
                tolerance = float("inf")  # `whole` tells
            self.accuracy = whole
            if self.int8 is not None and in_int8 and (why := self.int8.refusal(whole)):
                spoiler = max(in_int8, key=_cost)
                accepted = self._without_int8(accepted, spoiler, f"with it, the whole graph breaks the limit: {why}")
                continue
            if not worst <= tolerance:
                spoilers = [max(accepted, key=lambda item: item.report.deviation)]
                text = f"with it, the graph's outputs deviate by {worst:.2g} of their range (at most {tolerance:g})"
                refusal = Refusal("deviates", text)
            elif slower:
                # The half that gains least: one at a time would load the graph once per segment.
                by_gain = sorted(accepted, key=lambda item: item.report.tensorflow_ms - item.report.engine_ms)
                spoilers = by_gain[: (len(by_gain) + 1) // 2]
                refusal = Refusal("not_faster", slower)
            else:
                return definition, accepted
            for item in spoilers:
                self._leave(item.node.segment, refusal)
                self._log("info", f"{item.report.name} goes back to TensorFlow: {refusal.text}")
            accepted = [item for item in accepted if item not in spoilers]

    def _without_int8(self, accepted: list[Accepted], spoiler: Accepted, why: str) -> list[Accepted]:
        """Takes INT8 from one segment: it falls back to higher precision, or to TensorFlow."""
        self.warnings.append(f"{spoiler.report.name} is not INT8: {why}")
        if spoiler.fallback is None:
            self._leave(spoiler.node.segment, Refusal("deviates", why))
            return [item for item in accepted if item is not spoiler]
        told = spoiler.report.quantization
        told = replace(told, message=why, int8_layers=0) if told else None
        spare = replace(spoiler.fallback, report=replace(spoiler.fallback.report, quantization=told))
        return [spare if item is spoiler else item for item in accepted]

    def _whole_deviation(self, model: Model) -> float:
        worst = 0.0
        for feeds, observed in zip(self.feeds, self.observed, strict=True):
            with exact_float32():
                results = model(feeds)
            for tensor in self.outputs:
                worst = max(worst, difference(observed[tensor], results[str(tensor)]).max_rel)
        return worst

    def _slower(self, model: Model) -> str:
        """Words if the optimized graph as a whole is slower than the original, else nothing."""
        feeds = self.feeds[0]
        original = Original(self.graph.definition, store=self.graph.store)
        call = original.callable(self.outputs, list(feeds))
        before, after = medians([lambda: call(*feeds.values()), lambda: model(feeds)], 1.5, until_clear=True)
        original.close()
        if after < before:
            return ""
        return f"with it, the whole graph takes {after:.2f} ms, in TensorFlow alone {before:.2f} ms"

    def report(self, output: str, accepted: list[Accepted]) -> Conversion:
        """What was made, and why the rest was not."""
        inside: set[str] = set()
        copied: set[str] = set()
        for item in accepted:
            inside.update(item.node.segment.nodes)
            copied.update(item.node.segment.constants)
        left = []
        for node in self.graph:
            if node.name in inside or (
                node.name in copied
                and all(name in inside or name in copied for name in self.graph.consumers[node.name])
            ):
                continue
            refusal = self.left.get(node.name) or Refusal("passive", "feeds what is left in TensorFlow")
            left.append(Left(node.name, node.op, refusal.text, refusal.code))
        real = [node.name for node in self.graph if node.op not in PASSIVE]
        for note, names in self.trials.elsewhere.items():
            which = names[0] if len(names) == 1 else f"{len(names)} segments from {names[0]} on"
            self.warnings.append(f"{which}: {note}; not checked and not measured here")
        if not accepted:
            self.warnings.append("no segment went to an engine: see the reason at each node")
        return Conversion(
            output=output,
            seconds=time.perf_counter() - self.started,
            coverage=sum(name in inside for name in real) / max(len(real), 1),
            segments=tuple(item.report for item in accepted),
            left_in_tensorflow=tuple(left),
            warnings=tuple(self.warnings),
            accuracy=self.accuracy,
            calibration_table=self.table,
            tensors=self._tensors(),
        )

    def _tensors(self) -> dict[str, str]:
        """Dtype and shape of what flows between nodes, for whoever looks at the graph."""
        found: dict[str, str] = {}
        for node in self.graph:
            for tensor in node.inputs:
                if str(tensor) not in found and self.graph[tensor.node].op != "Const":
                    shape = self.original.shape(tensor)
                    sizes = "…" if shape is None else ",".join("?" if size is None else str(size) for size in shape)
                    found[str(tensor)] = f"{self.original.dtype(tensor)}[{sizes}]"
        return found

    # -- INT8 --------------------------------------------------------------------------------------------------------

    def _open_int8(self) -> None:
        self.int8 = SegmentQuantizer(self.graph, self.original, self.settings, self.feeds[0] if self.feeds else {})
        self.warnings += self.int8.warnings
        for text in self.int8.notes:
            self._log("info", text)
        if not self.feeds and (feeds := self.int8.first_batch(self.settings.max_batch_size)):
            self._keep(feeds, {})
            self.warnings[:] = [text for text in self.warnings if not text.startswith(_NOTHING_CHECKED)]

    def calibrate(self) -> list[dict[str, Any]]:
        """The ranges of every segment, kept in `int8`; what there is to tell of each."""
        assert self.int8 is not None  # noqa: S101 - the caller saw to it
        found, exports = self.partition()
        self.original.close()
        give_memory_back()
        told = []
        for index, segment in enumerate(found.segments):
            start, share = 0.3 + 0.68 * index / len(found.segments), 0.68 / len(found.segments)
            try:
                _, table, _ = self.int8.table(
                    segment, exports[segment.key],
                    lambda text, part, at=start, of=share: self._progress(text, at + of * part),
                )  # fmt: skip
            except IcebreakerError as error:
                self.warnings.append(f"{segment.name} stays in float: {error}")
                continue
            self.int8.remember(segment.name, table)
            told.append({
                "name": segment.name, "nodes": len(segment.nodes), "method": table.method, "tried": dict(table.tried),
                "samples": table.samples, "tensors": len(table.tensors),
            })  # fmt: skip
        if not told:
            raise IcebreakerError("no segment can be INT8: " + "; ".join(self.warnings or ["there is none"]))
        return told

    # -- values --------------------------------------------------------------------------------------------------

    def _find_feeds(self) -> None:
        """The inputs to measure with, and more rows (or another batch) to check with."""
        self._progress("Running the original graph", 0.05)
        if self.settings.profiles:
            self._find_profiled_feeds()
            return
        batch = self.settings.max_batch_size
        attempts = (batch, 0) if self.settings.data else (batch,)
        failure: IcebreakerError | None = None
        for size in attempts:
            try:
                self._keep(*sample_run(self.original, self.graph, self.outputs, self.settings, size))
                break
            except IcebreakerError as error:
                failure = failure or error
        if not self.feeds:
            assert failure is not None  # noqa: S101 - one attempt at least was made
            if self.settings.data or self.settings.input_shapes:
                raise failure
            # A graph without sample values can still be written; nothing in it can be checked, so nothing goes to
            # an engine.
            self.warnings.append(f"{_NOTHING_CHECKED}: {failure}")
            return
        other = _MOST_CHECKED_ROWS if self.settings.data else (1 if batch > 1 else 2)
        try:
            feeds, results = sample_run(self.original, self.graph, self.outputs, self.settings, other)
        except IcebreakerError:
            return  # the graph takes one batch only
        if any(feeds[name].shape != value.shape for name, value in self.feeds[0].items()):
            self._keep(feeds, results)
            self.spanning = 2 if other == 1 else 1

    def _find_profiled_feeds(self) -> None:
        """Inputs in the usual, the smallest and the largest shapes of the profiles: all three must run."""
        profiles, settings = self.settings.profiles, self.settings
        open_batch = [name for name in profiles if _check_against(self.graph, name, profiles[name])]
        if open_batch and (largest := profiles[open_batch[0]][2][0]) < settings.max_batch_size:
            raise IcebreakerError(
                f"the profile of {open_batch[0]} ends at batch {largest}, and the max batch size is "
                f"{settings.max_batch_size}: with a profile, leave that out"
            )
        for at, words in ((1, "usual"), (0, "smallest"), (2, "largest")):
            batch = profiles[open_batch[0]][at][0] if open_batch else (1 if at == 0 else settings.max_batch_size)
            shapes = {name: profile[at] for name, profile in profiles.items()}
            try:
                self._keep(*sample_run(self.original, self.graph, self.outputs, settings, batch, shapes))
            except IcebreakerError as error:
                raise IcebreakerError(f"at the {words} shapes of the profile, {error}") from error
        self.spanning = len(self.feeds)

    def _keep(self, feeds: Feeds, results: Mapping[Tensor, np.ndarray]) -> None:
        """Takes inputs to check with, and what the graph gave for them."""
        self.feeds.append(feeds)
        self.observed.append({**{Tensor.parse(name): value for name, value in feeds.items()}, **results})

    def _observe(self, segments: Iterable[Segment]) -> None:
        wanted = dict.fromkeys(self.outputs)
        for segment in segments:
            wanted.update(dict.fromkeys((*segment.inputs, *segment.outputs)))
        for index, feeds in enumerate(self.feeds):
            # All of one run, or none: a graph may give something else each time.
            if not wanted.keys() <= self.observed[index].keys():
                self.observed[index] = self.original.observe(tuple(wanted), feeds)
        if not self.feeds:
            self.observed.append({})

    def _observed_rank(self, tensor: Tensor) -> int | None:
        if not self.feeds:
            return None
        if str(tensor) in self.feeds[0]:
            return self.feeds[0][str(tensor)].ndim
        found = self.original.observe([tensor], self.feeds[0])
        return found[tensor].ndim if found else None

    # -- small things ----------------------------------------------------------------------------------------------

    def _usable_engines(self) -> list[Engine]:
        if self.settings.engine != "auto":
            engine = registry.get(self.settings.engine)
            status = registry.status(engine.name)
            if not status.builds:
                raise IcebreakerError(f"engine {engine.name} cannot be used here: {status.detail}")
            self._check_options([status])
            self.versions[engine.name] = status.detail
            return [engine]
        statuses = [status for name in ENGINES if (status := registry.status(name)).runs]
        if not statuses:
            raise IcebreakerError("no engine can run here: install openvino or onnxruntime")
        self._check_options(statuses)
        self.versions.update({item.name: item.detail for item in statuses})
        return [registry.get(item.name) for item in statuses]

    def _check_options(self, statuses: Sequence[EngineStatus]) -> None:
        if why := self.settings.unmet(statuses):
            raise IcebreakerError(why)
        uses_workspace = any(item.options for item in statuses)
        if uses_workspace and (
            why := gpu.workspace_warning(self.settings.workspace_bytes, self.settings.memory_fraction)
        ):
            self.warnings.append(why)

    def _check_ports(self) -> None:
        for tensor in self.outputs:
            count = self.original.output_count(tensor.node)
            if tensor.port >= count:
                raise IcebreakerError(f"output {tensor} is not in the graph: {tensor.node!r} has {count} outputs")

    def _leave(self, segment: Segment, refusal: Refusal) -> None:
        self.left.update(dict.fromkeys(segment.nodes, refusal))

    def _progress(self, stage: str, fraction: float) -> None:
        self.emit(events.Progress(stage, fraction))

    def _log(self, level: str, text: str) -> None:
        self.emit(events.Log(level, text))


def _cost(item: Accepted) -> float:
    """How much a segment's INT8 errs."""
    told = item.report.quantization
    return told.accuracy.error if told and told.accuracy else item.report.deviation


def _check_target(output: Path) -> None:
    """Finds out before an hour of work whether the target can be written."""
    if output.is_dir():
        raise IcebreakerError(f"{output} is a folder: give the name of a file to write")
    if not output.absolute().parent.is_dir():
        raise IcebreakerError(f"{output.absolute().parent} does not exist: make the folder first, or choose another")
    if not os.access(output.absolute().parent, os.W_OK):
        raise IcebreakerError(f"{output.absolute().parent} cannot be written to: choose another folder")


def _outputs(graph: Graph, settings: ConvertSettings) -> tuple[Tensor, ...]:
    tensors = [graph.require(name, "output") for name in settings.outputs or graph.candidate_outputs]
    if not tensors:
        raise IcebreakerError("the graph has no node that could be an output: name one with --outputs")
    return tuple(dict.fromkeys(tensors))


def _cut_at_inputs(graph: Graph, outputs: Sequence[Tensor], settings: ConvertSettings) -> Graph:
    """Makes the inputs that the user named plain placeholders; what only fed them falls away.

    Raises:
        IcebreakerError: The outputs need an input that was not named.
    """
    if not settings.inputs:
        return graph
    named = {graph.require(name, "input").node for name in settings.inputs}
    definition = to_tensorflow(graph.definition)
    result = type(definition)(versions=definition.versions, library=definition.library)
    whole = Original(definition, store=graph.store)
    for node in definition.node:
        if node.name in named and node.op != "Placeholder":
            tensor = Tensor(node.name)
            copy = result.node.add(name=node.name, op="Placeholder")
            copy.attr["dtype"].type = whole.graph.get_operation_by_name(node.name).outputs[0].dtype.as_datatype_enum
            shape = whole.shape(tensor)
            copy.attr["shape"].shape.unknown_rank = shape is None
            for dim in shape or ():
                copy.attr["shape"].shape.dim.add(size=-1 if dim is None else dim)
        else:
            result.node.add().CopyFrom(node)
    whole.close()
    cut = prune(Graph(result, graph.store), outputs)
    for item in cut.placeholders:
        if item.name not in named and not item.optional:
            raise IcebreakerError(f"the outputs need the input {item.name!r} too: add it to --inputs")
    return cut


def _check_against(graph: Graph, name: str, profile: Profile) -> bool:
    """Whether the input's first dimension is open.

    Raises:
        IcebreakerError: The profile does not fit the graph.
    """
    by_name = {item.name: item.shape for item in graph.placeholders}
    if name not in by_name:
        raise IcebreakerError(
            f"there is a profile for {name!r}, which is no input that the outputs need: those are "
            f"{', '.join(by_name) or 'none'}"
        )
    shape = by_name[name]
    if shape is None:
        return bool(profile[0])
    fits = len(shape) == len(profile[0]) and all(
        want is None or want == low == high for want, low, high in zip(shape, profile[0], profile[2], strict=True)
    )
    if not fits:
        text = "×".join("?" if size is None else str(size) for size in shape) or "a scalar"
        raise IcebreakerError(f"the profile of {name} ({profile_text(profile)}) does not fit the graph's shape {text}")
    return bool(shape) and shape[0] is None


def _respell(text: str, names: Mapping[str, str]) -> str:
    for stand_in, name in names.items():
        text = text.replace(f"{stand_in}:0", name)
    return text
