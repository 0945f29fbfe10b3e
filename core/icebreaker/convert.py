"""Converts a frozen graph: partition, build, check, measure, put together. Runs in a worker.

Nothing is taken on trust: a node goes to an engine only if the converter and the engine take it when asked for real,
and a built segment stays only if its results agree with TensorFlow's on sample values. With `auto` it must be faster
as well. Whatever is refused stays in TensorFlow, with its reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import fnmatch
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker import (
    artifact,
    crashes,
    engines,
    events,
    formats,
    gpu,
    int8,
    onnx_export,
    quantized_ops,
    runtime,
    safety,
)
from icebreaker.artifact import EngineNode
from icebreaker.crashes import Attempt
from icebreaker.differences import difference
from icebreaker.engines import ONNX_PAYLOADS, BuildOptions, Built, Engine, Runner
from icebreaker.errors import IcebreakerError
from icebreaker.feeds import sample_feeds
from icebreaker.files import joined
from icebreaker.graph import PASSIVE, Graph, Tensor
from icebreaker.int8 import Int8, Made, Rival
from icebreaker.onnx_export import Exported
from icebreaker.original import Original, exact_float32, inline_functions, prune, to_tensorflow
from icebreaker.partition import Partition, Refusal, Segment, partition
from icebreaker.reports import (
    RETRY,
    Accuracy,
    Calibration,
    Conversion,
    EngineStatus,
    Left,
    OutputDifference,
    Quantization,
    SegmentReport,
)
from icebreaker.runtime import Model
from icebreaker.settings import ENGINE_OPTIONS, ENGINES, ConvertSettings, Profile, profile_text
from icebreaker.store import Store

# Largest accepted difference from TensorFlow, as a share of the output's range.
TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 8e-2}
# An engine must beat TensorFlow by this factor, or the difference may be noise.
_MARGIN = 1.02
# INT8 was asked for: beyond this, it is slower than FP32, and no noise.
_INT8_MARGIN = 1.05
_INT8_NOISE_MS = 0.05
_NNCF_ERROR = 1.25  # of our own, 2 dB: what it may err where no budget says
# Of INT8 in one engine against another, where no data judges it: error over output, as root mean squares.
_UNJUDGED_ERROR = 0.1
_NOTHING_CHECKED = "nothing could be checked, so nothing was converted"
_MOST_ROUNDS = 12
_MOST_CHECKED_ROWS = 32
_SECONDS_TO_MEASURE = 3.0  # for all segments together

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
        # INT8 reads the weights itself, and TensorFlow would bring those in files to a GPU again in every call.
        keeps_apart = settings.precision != "int8" and gpu.find() is None
        work = _begin(model, settings, emit, Store(Path(folder)) if keeps_apart else None)
        accepted = work.accept()
        emit(events.Progress("Putting the graph together", 0.9))
        definition, accepted = work.assemble(accepted)
        emit(events.Progress("Writing the optimized graph", 0.98))
        if work.int8 is not None and work.int8.has_tables:
            work.int8.save_tables(table, job_id)
            work.table = str(table)
        nodes = [item.node for item in accepted]
        artifact.write(definition, output, job_id, engines=nodes, store=work.graph.store)
    runtime.remember_engines(item.node.built.payload for item in accepted if item.node.engine not in ONNX_PAYLOADS)
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
    runtime.remember_engines(item.node.built.payload for item in accepted if item.node.engine not in ONNX_PAYLOADS)
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
    work = _begin(model, replace(settings, precision="int8"), emit)
    found = work.calibrate()
    assert work.int8 is not None  # noqa: S101 - that is what the precision says
    work.int8.save_tables(output, job_id)
    emit(events.Progress("Calibrated", 1.0))
    return Calibration(
        str(output), time.perf_counter() - work.started, max((item["samples"] for item in found), default=0),
        tuple(found), tuple(work.int8.notes), tuple(work.warnings),
    )  # fmt: skip


def _begin(model: Path, settings: ConvertSettings, emit: Emit, store: Store | None = None) -> _Work:
    emit(events.Progress("Reading the graph", 0.0))
    return _begin_with(formats.read_graph(model, settings.allow_side_effects, store), settings, emit, str(model))


def _begin_with(graph: Graph, settings: ConvertSettings, emit: Emit, name: str, *, calibrates: bool = True) -> _Work:
    # Before TensorFlow sees it: importing a graph already runs what the shapes of others depend on.
    safety.require_consent(safety.side_effects(graph.definition), settings.allow_side_effects, name)
    outputs = _outputs(graph, settings)
    excluded = _excluded(graph, settings)
    emit(events.Progress("Starting TensorFlow", 0.02))
    return _Work(graph, outputs, excluded, settings, emit, calibrates)


@dataclass(frozen=True)
class _Accepted:
    """A segment that goes to an engine, and what was found out about it."""

    node: EngineNode
    report: SegmentReport
    attempt: Attempt
    runner: Runner | None  # None where it was built for another machine
    fallback: _Accepted | None = None  # in higher precision, for INT8 that spoils the whole


@dataclass
class _Candidate:
    """One engine tried on one segment."""

    engine: Engine
    built: Built
    seconds: float
    attempt: Attempt
    runner: Runner | None = None
    shapes: tuple[tuple[int | None, ...], ...] = ()
    deviation: float = 0.0
    milliseconds: float = 0.0
    tensorflow_ms: float = 0.0  # in turns with it, where each is measured alone
    failure: Refusal | None = None
    accuracy: Accuracy | None = None
    rival: Rival | None = None  # it is INT8 in NNCF's way

    def summary(self) -> dict[str, Any]:
        """For the report: what was tried, and how it went."""
        return {
            "engine": self.engine.name, "precision": self.built.precision, "ms": self.milliseconds,
            "deviation": self.deviation, "note": self.failure.text if self.failure else self.built.note,
            "quantizer": "" if self.built.precision != "int8" else "nncf" if self.rival else "own",
        }  # fmt: skip


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
    elsewhere: dict[str, list[str]] = field(default_factory=dict)  # note → segments built for another machine
    left: dict[str, Refusal] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # of the engines
    fingerprints: dict[Any, str] = field(default_factory=dict)  # of segments
    spanning: int = 1  # how many sets of feeds, from the first on, engines must be built for
    int8: Int8 | None = None
    accuracy: Accuracy | None = None  # of the whole
    table: str = ""  # where the ranges were written
    floats: dict[Any, Exported | None] = field(default_factory=dict)  # of segments with trained ranges

    def __post_init__(self, whole: Graph) -> None:
        # Imports first: they are not the conversion's time. Without an engine there is nothing to do.
        self.engines = self._usable_engines()
        self.supported = onnx_export.supported_ops()
        self.started = time.perf_counter()
        self.graph = prune(inline_functions(_cut_at_inputs(whole, self.outputs, self.settings)), self.outputs)
        self.original = Original(
            self.graph.definition, self.settings.memory_fraction, reference=True, store=self.graph.store
        )
        self._check_ports()
        self.observed: list[dict[Tensor, np.ndarray]] = []
        self.feeds: list[dict[str, np.ndarray]] = []
        self._find_feeds()
        if self.settings.precision == "int8":
            self.supported |= quantized_ops.OPS
            if self.calibrates:
                self._open_int8()

    # -- what can go to an engine ------------------------------------------------------------------------------

    def accept(self) -> list[_Accepted]:
        """Finds the segments, builds, checks and measures them."""
        found, exports = self.partition()
        self.left.update(found.left)
        self._observe(found.segments)
        if self.int8 is None:
            self.original.close()
        _give_memory_back()
        accepted = []
        for index, segment in enumerate(found.segments):
            self._progress(
                f"Building and checking segment {index + 1} of {len(found.segments)}",
                0.3 + 0.6 * index / len(found.segments),
            )
            result = self._try_engines(
                segment, exports[_key(segment)], len(found.segments),
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
                if _key(segment) not in exports:
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
                odd = [kind for item in tensors if (kind := self.original.dtype(item)) not in onnx_export.DTYPES]
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
        trained = self.settings.precision == "int8" and any(n.op in quantized_ops.OPS for n in definition.node)
        if trained:
            definition = quantized_ops.with_fixed_ranges(definition, self.int8 is None or self.int8.has_data)
            handlers = quantized_ops.HANDLERS
        try:
            exported = onnx_export.export(
                definition, inputs, segment.outputs, handlers, self.graph.store,
                folds=self.int8 is not None or gpu.find() is not None
                or any(engine.name not in ONNX_PAYLOADS for engine in self.engines),
            )  # fmt: skip
        except onnx_export.Refused as error:
            known = {name: text for name, text in error.reasons.items() if name in self.graph}
            known = known or dict.fromkeys(segment.nodes, str(error))
            return {name: Refusal("unsupported_attribute", _respell(text, back)) for name, text in known.items()}
        refusals = self._ask_engines(segment, exported)
        if not refusals:
            exports[_key(segment)] = exported
        return refusals

    def _ask_engines(self, segment: Segment, exported: Exported) -> dict[str, Refusal]:
        """Empty as soon as one engine takes the whole segment; else what the most willing one refuses."""
        fewest: dict[str, Refusal] | None = None
        for engine in self.engines:
            attempt = self._attempt(engine, segment, "asked")
            if why := self._crashed(attempt, segment):
                said: Mapping[str, str] = {"": why}
            else:
                with crashes.step(f"asking {engine.name} about {segment.name}", [attempt]):
                    said = engine.refusals(_model_for(engine, exported))
            if not said:
                return {}
            owners = exported.nodes
            if any(name not in owners for name in said):
                owners = {**_owners(exported, said, frozenset(segment.nodes)), **owners}
            mapped = {owners[name]: Refusal("engine_refused", text) for name, text in said.items() if name in owners}
            if not mapped:  # it did not say which node
                text = next(iter(said.values()))
                mapped = dict.fromkeys(segment.nodes, Refusal("engine_refused", text))
            if fewest is None or len(mapped) < len(fewest):
                fewest = mapped
        return fewest or {}

    # -- building, checking, measuring -------------------------------------------------------------------------

    def _try_engines(
        self, segment: Segment, exported: Exported, count: int, report: int8.Report
    ) -> _Accepted | Refusal:
        samples = [self._values(segment, observed) for observed in self.observed]
        if samples[0] is None:
            return Refusal("no_data", "the sample inputs do not reach it, so no engine could be checked")
        first: tuple[list[np.ndarray], list[np.ndarray]] = samples[0]
        reached = [item for item in samples if item is not None]
        made, told = self._make_int8(segment, exported, first[0], report)
        rival = self._make_rival(segment, exported, report)
        if told and made is None and rival is None:
            self.warnings.append(f"{segment.name} is not INT8: {told.message}")
        candidates: list[_Candidate] = []
        one_by_one = exported.file is not None  # big: two engines at once would take too much memory
        begun = 1.0 if told else 0.0  # of `report`, which building takes to 1.25
        for index, engine in enumerate(self.engines):
            # FP32 is what there is to fall back on.
            for precision in dict.fromkeys((self.settings.precision, *(("fp16",) if told else ()), "fp32")):
                fresh: list[_Candidate] = []
                for form, from_nncf in self._forms(segment, exported, engine, precision, made, rival):
                    if one_by_one:
                        _unload(candidates)
                    candidate = self._build(
                        engine, precision, segment, form, first[0],
                        lambda phase, part, name=engine.name, at=index: report(
                            f"{name}: {phase}", begun + (1.25 - begun) * (at + part) / len(self.engines)
                        ),
                    )  # fmt: skip
                    candidate.rival = from_nncf
                    if candidate.failure is None:
                        with crashes.step(f"checking {segment.name} in {engine.name}", [candidate.attempt]):
                            if candidate.runner is not None:
                                asked = made if candidate.built.precision == "int8" else None
                                self._check(candidate, segment, exported, self._expected(asked, reached))
                            self._judge(candidate, segment, exported, made)
                    if one_by_one and candidate.failure is None and candidate.runner is not None:
                        candidate.tensorflow_ms = self._measure(segment, first[0], [candidate], count)
                    fresh.append(candidate)
                self._compare_ways(fresh)
                candidates += fresh
                done = [item for item in fresh if item.failure is None and not (told and item.runner is not None)]
                if done or any(item.built.precision == "fp32" for item in fresh):
                    break
        good = [item for item in candidates if item.failure is None and item.built.runs_here]
        elsewhere = [item for item in candidates if item.failure is None and not item.built.runs_here]
        if not good and elsewhere:  # built for another machine: nothing can be checked or measured here
            chosen = elsewhere[0]
            self.elsewhere.setdefault(chosen.built.note, []).append(segment.name)
            return self._accepted(
                segment, chosen, 0.0, candidates, exported, self._told(segment, chosen, told, candidates)
            )
        if not good:
            failures = [item.failure for item in candidates if item.failure]
            return failures[0] if failures else Refusal("engine_refused", "no engine takes it")
        tensorflow_ms = _in_common(good) if one_by_one else self._measure(segment, first[0], good, count)
        chosen = _fastest(good, self.settings.engine == "auto")
        told = self._told(segment, chosen, told, candidates)
        if tensorflow_ms < chosen.milliseconds * _MARGIN:
            text = (
                f"{chosen.engine.name} takes {chosen.milliseconds:.2f} ms here, hand-over included, "
                f"TensorFlow {tensorflow_ms:.2f} ms"
            )
            if self.settings.engine == "auto":
                return Refusal("not_faster", text)
            self.warnings.append(f"{segment.name} is not faster: {text}")
        if chosen.runner is None:
            self._load(chosen, segment, first[0], candidates)
        accepted = self._accepted(segment, chosen, tensorflow_ms, candidates, exported, told)
        others = [item for item in good if item.built.precision != "int8"]
        if chosen.built.precision == "int8" and others:
            spare = self._accepted(segment, _fastest(others), tensorflow_ms, candidates, exported, told)
            accepted = replace(accepted, fallback=spare)
        return accepted

    def _build(
        self, engine: Engine, precision: str, segment: Segment, exported: Exported, inputs: list[np.ndarray],
        report: int8.Report = lambda phase, part: None,
    ) -> _Candidate:  # fmt: skip
        """Builds a segment in one engine and calls it once, where it runs here."""
        profiles = {
            name: _profile(
                exported.shapes[name],
                [observed[tensor].shape for observed in self.observed[: self.spanning] if tensor in observed],
                0 if self.settings.profiles else self.settings.max_batch_size,
            )
            for name, tensor in zip(exported.inputs, segment.inputs, strict=True)
        }

        def progress(phase: str, part: float) -> bool:
            report(phase, part)
            return True

        options = BuildOptions(
            precision=precision, profiles=profiles, workspace_bytes=self.settings.workspace_bytes,
            samples=[found[0] for item in self.observed[: self.spanning] if (found := self._values(segment, item))],
            log=lambda level, text: self._log(level, f"{engine.name}: {text}"), progress=progress,
            **{name: getattr(self.settings, name) for name in ENGINE_OPTIONS},
        )  # fmt: skip
        candidate = _Candidate(engine, Built(b"", precision, "", ""), 0.0, self._attempt(engine, segment, precision))
        if why := self._crashed(candidate.attempt, segment):
            candidate.failure = Refusal("engine_refused", why)
            return candidate
        begun = time.perf_counter()
        try:
            with crashes.step(f"building {segment.name} with {engine.name}", [candidate.attempt]):
                candidate.built = engine.build(_model_for(engine, exported), options)
                if candidate.built.runs_here:
                    candidate.runner = engine.load(candidate.built.payload, candidate.built.precision)
                    candidate.runner(inputs)  # compiles, where that waits for shapes
        except Exception as error:  # native libraries raise what they like; the conversion goes on
            advice = gpu.memory_advice(str(error), self.settings.memory_fraction)
            candidate.failure = Refusal("engine_refused", f"{engine.name}: {error}{advice}")
            self._log("warning", f"{segment.name}: {candidate.failure.text}")
        candidate.seconds = time.perf_counter() - begun
        return candidate

    @staticmethod
    def _load(candidate: _Candidate, segment: Segment, inputs: list[np.ndarray], others: list[_Candidate]) -> None:
        """Loads an engine again that had to make room for `others`."""
        _unload(others)
        with crashes.step(f"loading {segment.name} with {candidate.engine.name}", [candidate.attempt]):
            candidate.runner = candidate.engine.load(candidate.built.payload, candidate.built.precision)
            candidate.runner(inputs)

    def _check(self, candidate: _Candidate, segment: Segment, exported: Exported, samples: Sequence[Any]) -> None:
        """Compares with TensorFlow; an engine that is right for the first sample's shapes only is held to those."""
        tolerance = TOLERANCES.get(candidate.built.precision, TOLERANCES["fp32"])
        candidate.shapes = tuple(exported.shapes[name] for name in exported.inputs)
        assert candidate.runner is not None  # noqa: S101 - the caller saw to it
        if candidate.built.precision == "int8":  # judged on data that means something, if there is some
            tolerance = float("inf") if self._has_judge else _UNJUDGED_ERROR
        for index, (inputs, expected) in enumerate(samples):
            try:
                results = candidate.runner(inputs)
                found = [difference(want, have) for want, have in zip(expected, results, strict=True)]
                worst = max(item.max_rel for item in found)
                if candidate.built.precision == "int8":
                    worst = max(_error(item) for item in found)
                text = f"{candidate.engine.name} deviates by {worst:.2g} of the output's range"
            except Exception as error:
                worst, text = float("inf"), f"{candidate.engine.name} failed: {error}"
            if not worst <= tolerance or np.isinf(worst):
                if index == 0:
                    candidate.deviation = worst
                    candidate.failure = Refusal("deviates", f"{text} (at most {tolerance:g} is accepted)")
                else:
                    candidate.shapes = tuple(value.shape for value in samples[0][0])
                    where = "other shapes of the profile" if self.settings.profiles else "another batch"
                    text = f"{segment.name}: {text} at {where}: it keeps to the first one's shapes"
                    self._log("info", text)
                    if self.settings.profiles:
                        self.warnings.append(text)
                return
            candidate.deviation = max(candidate.deviation, worst)

    def _compare_ways(self, candidates: Sequence[_Candidate]) -> None:
        """Without a budget, NNCF's INT8 must be about as accurate as our own: speed alone does not buy it its place."""
        errors = [item.accuracy.error if item.failure is None and item.accuracy else None for item in candidates]
        if len(errors) == 2 and None not in errors and self.settings.accuracy_budget is None:
            own, nncf = errors
            if nncf > own * _NNCF_ERROR:  # pyright: ignore[reportOptionalOperand] - neither is None
                text = f"NNCF's error is {nncf:.1%} of the output, that of Icebreaker's own INT8 {own:.1%}"
                candidates[1].failure = Refusal("deviates", text)

    def _measure(self, segment: Segment, inputs: list[np.ndarray], candidates: list[_Candidate], count: int) -> float:
        """Median milliseconds of TensorFlow (returned) and of each candidate, in turns."""
        definition, stand_ins = artifact.segment_definition(
            self.graph, segment, self.original,
            {tensor: value.shape for tensor, value in zip(segment.inputs, inputs, strict=True)},
        )  # fmt: skip
        if self.graph.store is not None:
            for candidate in candidates:
                candidate.runner(inputs)  # pyright: ignore[reportOptionalCall] - compiles it for these shapes again
            self.graph.store.rest()
        native = Original(definition, store=self.graph.store)
        call = native.callable(segment.outputs, [str(item) for item in stand_ins])
        runs: list[Callable[[], Any]] = [lambda: call(*inputs)]
        for candidate in candidates:
            runs.append(lambda it=candidate: it.runner(inputs))  # pyright: ignore[reportOptionalCall] - the caller saw to it
        with crashes.step(f"measuring {segment.name}", [item.attempt for item in candidates]):
            medians = _medians(runs, _SECONDS_TO_MEASURE / max(count, 3), until_clear=True)
        native.close()
        handed_over = 0.0 if self._is_whole(segment) else _hand_over_ms()
        for candidate, median in zip(candidates, medians[1:], strict=True):
            candidate.milliseconds = median + handed_over
        return medians[0]

    def _is_whole(self, segment: Segment) -> bool:
        """True if the engine will be called directly: nothing is left for TensorFlow."""
        return (
            all(self.graph[tensor.node].op == "Placeholder" for tensor in segment.inputs)
            and set(self.outputs) <= set(segment.outputs)
            and not segment.controls
        )

    def _accepted(
        self, segment: Segment, chosen: _Candidate, tensorflow_ms: float, tried: list[_Candidate], exported: Exported,
        told: Quantization | None = None,
    ) -> _Accepted:  # fmt: skip
        shapes = chosen.shapes or tuple(exported.shapes[name] for name in exported.inputs)
        report = SegmentReport(
            name=segment.name, engine=chosen.engine.name, precision=chosen.built.precision,
            nodes=(*segment.constants, *segment.nodes),
            inputs=tuple(map(str, segment.inputs)), outputs=tuple(map(str, segment.outputs)),
            build_seconds=chosen.seconds, tensorflow_ms=tensorflow_ms, engine_ms=chosen.milliseconds,
            deviation=chosen.deviation, runs_here=chosen.built.runs_here,
            layers=chosen.built.layers or getattr(chosen.runner, "layers", ()),
            candidates=tuple(item.summary() for item in tried), quantization=told,
        )  # fmt: skip
        self._log("info", f"{segment.name}: {len(segment.nodes)} ops in {chosen.engine.name} {chosen.built.precision}")
        return _Accepted(
            EngineNode(segment, chosen.engine.name, chosen.built, shapes), report, chosen.attempt, chosen.runner
        )

    # -- the whole ---------------------------------------------------------------------------------------------

    def assemble(self, accepted: list[_Accepted]) -> tuple[Any, list[_Accepted]]:
        """Puts the graph together and compares it as a whole; segments that spoil it are taken out again."""
        while True:
            definition = artifact.assemble(self.graph, self.outputs, [item.node for item in accepted], self.original)
            if not accepted or not all(item.report.runs_here for item in accepted):
                return definition, accepted
            with crashes.step("running the optimized graph", [item.attempt for item in accepted]):
                runners = {item.report.name: item.runner for item in accepted if item.runner is not None}
                model = Model(Graph(definition, self.graph.store), Path(), fallback=False, runners=runners)
                worst = self._whole_deviation(model)
                # A graph that is one segment was measured as such already.
                slower = self._slower(model) if self.settings.engine == "auto" and not model.is_direct else ""
                whole = self.int8.whole(self.original, self.outputs, model) if self.int8 is not None else None
            tolerance = max(TOLERANCES.get(item.node.built.precision, TOLERANCES["fp32"]) for item in accepted)
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

    def _without_int8(self, accepted: list[_Accepted], spoiler: _Accepted, why: str) -> list[_Accepted]:
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
        before, after = _medians([lambda: call(*feeds.values()), lambda: model(feeds)], 1.5, until_clear=True)
        original.close()
        if after < before:
            return ""
        return f"with it, the whole graph takes {after:.2f} ms, in TensorFlow alone {before:.2f} ms"

    def report(self, output: str, accepted: list[_Accepted]) -> Conversion:
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
        for note, names in self.elsewhere.items():
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
        self.int8 = Int8(self.graph, self.original, self.settings, self.feeds[0] if self.feeds else {})
        self.warnings += self.int8.warnings
        for text in self.int8.notes:
            self._log("info", text)
        if not self.feeds and (feeds := self.int8.first_batch(self.settings.max_batch_size)):
            self.feeds.append(feeds)
            self.warnings = [text for text in self.warnings if not text.startswith(_NOTHING_CHECKED)]

    def calibrate(self) -> list[dict[str, Any]]:
        """The ranges of every segment, kept in `int8`; what there is to tell of each."""
        assert self.int8 is not None  # noqa: S101 - the caller saw to it
        found, exports = self.partition()
        told = []
        for index, segment in enumerate(found.segments):
            start, share = 0.3 + 0.68 * index / len(found.segments), 0.68 / len(found.segments)
            try:
                _, table, _ = self.int8.table(
                    segment, exports[_key(segment)],
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

    @property
    def _has_judge(self) -> bool:
        return self.int8 is not None and self.int8.has_judge

    def _make_int8(
        self, segment: Segment, exported: Exported, inputs: list[np.ndarray], report: int8.Report
    ) -> tuple[Made | None, Quantization | None]:
        """The segment as INT8 and what to tell; None and why where it cannot be; twice None if it was not asked for."""
        if self.int8 is None:
            return None, None
        engine = next((item for item in self.engines if item.name in ONNX_PAYLOADS), None)

        def build(model: bytes, precision: str) -> Runner | None:
            if engine is None:
                return None
            candidate = self._build(engine, precision, segment, replace(exported, model=model), inputs)
            if candidate.failure is not None:
                raise IcebreakerError(candidate.failure.text)
            return candidate.runner

        try:
            with crashes.step(f"calibrating {segment.name}", []):
                made = self.int8.make(segment, exported, build, report)
            return made, made.quantization
        except int8.Unfit as error:
            return None, error.quantization
        except IcebreakerError as error:
            return None, Quantization("", 0, 0, message=str(error))

    def _make_rival(self, segment: Segment, exported: Exported, report: int8.Report) -> Rival | None:
        """The segment as INT8 in NNCF's way, where OpenVINO is in play and the graph has no ranges of its own."""
        engine = next((item for item in self.engines if item.name == "openvino"), None)
        if (
            self.int8 is None
            or engine is None
            or any(self.graph[name].op in quantized_ops.OPS for name in segment.nodes)
        ):
            return None
        attempt = self._attempt(engine, segment, "nncf")
        if self._crashed(attempt, segment):
            return None
        try:
            with crashes.step(f"quantizing {segment.name} with NNCF", [attempt]):
                return self.int8.rival(segment, exported, report)
        except IcebreakerError as error:
            self._log("warning", f"{segment.name}: {error}")
            if self.settings.quantizer == "nncf":
                self.warnings.append(f"{segment.name} is not quantized by NNCF: {error}")
            return None

    def _forms(
        self, segment: Segment, exported: Exported, engine: Engine, precision: str, made: Made | None,
        rival: Rival | None,
    ) -> Iterator[tuple[Exported, Rival | None]]:  # fmt: skip
        """What to build of a segment in an engine and precision; two forms where NNCF's competes with our own."""
        competes = rival is not None and precision == "int8" and engine.name == "openvino"
        form = self._form(segment, exported, engine, precision, made)
        if form is not None and not (competes and self.settings.quantizer == "nncf"):
            yield form, None
        if rival is not None and competes:
            yield replace(exported, model=rival.payload), rival

    def _form(
        self, segment: Segment, exported: Exported, engine: Engine, precision: str, made: Made | None
    ) -> Exported | None:
        """A segment's ONNX form for an engine and precision; None if it has none."""
        if precision == "int8":
            if made is None:
                return None
            return replace(exported, model=made.unsigned if engine.name == "openvino" else made.signed)
        if self.int8 is None or not any(self.graph[name].op in quantized_ops.OPS for name in segment.nodes):
            return exported
        key = ("float", _key(segment))
        if key not in self.floats:  # trained ranges are for INT8 only: here its nodes compute what TensorFlow does
            shapes = {
                tensor: exported.shapes[name] for tensor, name in zip(segment.inputs, exported.inputs, strict=True)
            }
            definition, inputs = artifact.segment_definition(self.graph, segment, self.original, shapes)
            try:
                self.floats[key] = onnx_export.export(definition, inputs, segment.outputs)
            except onnx_export.Refused as error:
                self._log("info", f"{segment.name} has no form in float: {error}")
                self.floats[key] = None
        return self.floats[key]

    def _expected(self, made: Made | None, samples: Sequence[Any]) -> Sequence[Any]:
        """What to compare with on made-up values; ranges that do not fit them say nothing against INT8 (`made`).

        Without held-back data, that is compared with what another engine makes of the same ranges.
        """
        return samples if made is None or self._has_judge else [(inputs, made.run(inputs)) for inputs, _ in samples]

    def _judge(self, candidate: _Candidate, segment: Segment, exported: Exported, made: Made | None) -> None:
        """Holds INT8, and with a budget what replaces it, to its limit on held-back data."""
        asked = candidate.built.precision == "int8"
        limited = self.settings.accuracy_budget is not None and candidate.built.precision != "fp32"
        if self.int8 is None or candidate.failure is not None or not (asked or limited):
            return
        candidate.accuracy = self.int8.judge(segment, exported, candidate.runner, made if asked else None)
        if candidate.accuracy is not None:
            candidate.deviation = max(item.max_rel for item in candidate.accuracy.outputs.values())
        if why := self.int8.refusal(candidate.accuracy):
            candidate.failure = Refusal("deviates", f"{candidate.engine.name} {candidate.built.precision}: {why}")

    def _told(
        self, segment: Segment, chosen: _Candidate, told: Quantization | None, candidates: Sequence[_Candidate]
    ) -> Quantization | None:
        """What to tell of INT8, now that it is or is not the choice."""
        if told is None:
            return None
        tried = [item for item in candidates if item.built.precision == "int8"]
        if chosen in tried or not tried:
            if chosen in tried and chosen.accuracy is None:
                self.warnings.append(
                    f"{segment.name}: nobody has judged its accuracy: give --data, or calibration data, to do that"
                )
            return self._compared(chosen, told, tried)
        good = [item for item in tried if item.failure is None]
        if good:
            best = min(good, key=lambda item: item.milliseconds)
            why = (
                f"{best.engine.name} takes {best.milliseconds:.2f} ms in INT8, "
                f"{chosen.engine.name} {chosen.milliseconds:.2f} ms in {chosen.built.precision}"
            )
        else:
            best = tried[0]
            why = best.failure.text if best.failure else ""
        self.warnings.append(f"{segment.name} is not INT8: {why}")
        return replace(told, message=why, int8_layers=0, accuracy=best.accuracy)

    @staticmethod
    def _compared(chosen: _Candidate, told: Quantization, tried: Sequence[_Candidate]) -> Quantization:
        """What to tell of the INT8 that was chosen: whose it is, and how the other one did."""
        told = chosen.rival.quantization if chosen.rival else told
        words = told.message
        for item in tried:
            if bool(item.rival) != bool(chosen.rival) and item.engine is chosen.engine:
                whose = "NNCF's" if item.rival else "Icebreaker's own"
                how = item.failure.text if item.failure else f"{item.milliseconds:.2f} ms"
                words += f" ({chosen.milliseconds:.2f} ms; {whose} INT8: {how})"
        return replace(told, accuracy=chosen.accuracy, message=words)

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
                self.feeds.append(sample_feeds(self.original, self.graph, self.outputs, self.settings, size))
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
            feeds = sample_feeds(self.original, self.graph, self.outputs, self.settings, other)
        except IcebreakerError:
            return  # the graph takes one batch only
        if any(feeds[name].shape != value.shape for name, value in self.feeds[0].items()):
            self.feeds.append(feeds)
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
                self.feeds.append(sample_feeds(self.original, self.graph, self.outputs, settings, batch, shapes))
            except IcebreakerError as error:
                raise IcebreakerError(f"at the {words} shapes of the profile, {error}") from error
        self.spanning = len(self.feeds)

    def _observe(self, segments: Iterable[Segment]) -> None:
        wanted = dict.fromkeys(self.outputs)
        for segment in segments:
            wanted.update(dict.fromkeys((*segment.inputs, *segment.outputs)))
        for feeds in self.feeds:
            self.observed.append(self.original.observe(tuple(wanted), feeds))
        if not self.feeds:
            self.observed.append({})

    def _observed_rank(self, tensor: Tensor) -> int | None:
        if not self.feeds:
            return None
        if str(tensor) in self.feeds[0]:
            return self.feeds[0][str(tensor)].ndim
        found = self.original.observe([tensor], self.feeds[0])
        return found[tensor].ndim if found else None

    @staticmethod
    def _values(
        segment: Segment, observed: Mapping[Tensor, np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
        if any(tensor not in observed for tensor in (*segment.inputs, *segment.outputs)):
            return None
        return [observed[tensor] for tensor in segment.inputs], [observed[tensor] for tensor in segment.outputs]

    # -- small things ----------------------------------------------------------------------------------------------

    def _usable_engines(self) -> list[Engine]:
        if self.settings.engine != "auto":
            engine = engines.get(self.settings.engine)
            status = engines.status(engine.name)
            if not status.builds:
                raise IcebreakerError(f"engine {engine.name} cannot be used here: {status.detail}")
            self._check_options([status])
            self.versions[engine.name] = status.detail
            return [engine]
        statuses = [status for name in ENGINES if (status := engines.status(name)).runs]
        if not statuses:
            raise IcebreakerError("no engine can run here: install openvino or onnxruntime")
        self._check_options(statuses)
        self.versions.update({item.name: item.detail for item in statuses})
        return [engines.get(item.name) for item in statuses]

    def _check_options(self, statuses: Sequence[EngineStatus]) -> None:
        if why := self.settings.unmet(statuses):
            raise IcebreakerError(why)
        uses_workspace = any(item.options for item in statuses)
        if uses_workspace and (
            why := gpu.workspace_warning(self.settings.workspace_bytes, self.settings.memory_fraction)
        ):
            self.warnings.append(why)

    def _attempt(self, engine: Engine, segment: Segment, precision: str) -> Attempt:
        """What a crash is remembered by: the segment's nodes, not its ONNX form, whose names vary from run to run."""
        name = _key(segment)
        if name not in self.fingerprints:
            nodes = (self.graph[item].definition for item in (*segment.constants, *segment.nodes))
            self.fingerprints[name] = crashes.key(*(item.SerializeToString(deterministic=True) for item in nodes))
        version = self.versions[engine.name]
        return Attempt(engine.name, crashes.key(engine.name, version, precision, self.fingerprints[name]))

    def _crashed(self, attempt: Attempt, segment: Segment) -> str:
        """Why it is not tried, where it ended a worker before; the user is told."""
        why = crashes.reason(attempt, self.settings.retry_crashed)
        text = f"{segment.name}: {why}; {RETRY}"
        if why and text not in self.warnings:
            self.warnings.append(text)
        return why

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


def _model_for(engine: Engine, exported: Exported) -> engines.Model:
    """Of a model in files, engines that compile it on their own get the whole."""
    if exported.file is None or engine.name in ONNX_PAYLOADS:
        return exported.source
    return joined(onnx_export.whole(exported.file))


def _unload(candidates: Iterable[_Candidate]) -> None:
    for candidate in candidates:
        candidate.runner = None
    _give_memory_back()


def _in_common(candidates: Sequence[_Candidate]) -> float:
    """TensorFlow's milliseconds, where each candidate has its own, to which it was compared; these are evened out."""
    common = float(np.median([item.tensorflow_ms for item in candidates]))
    for item in candidates:
        item.milliseconds *= common / item.tensorflow_ms
    return common


def _give_memory_back() -> None:
    """Gives the system what was freed: the C library keeps much of it."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _fastest(candidates: Sequence[_Candidate], auto: bool = True) -> _Candidate:
    """The fastest; INT8, where it was asked for and is accurate, unless `auto` finds that it is slower than FP32."""
    best = min(candidates, key=lambda item: item.milliseconds)
    in_int8 = [item for item in candidates if item.built.precision == "int8"]
    if not in_int8:
        return best
    # Our own has the table of layers and is an ONNX model, so NNCF's must really be faster.
    mine = min(in_int8, key=lambda item: item.milliseconds * (_MARGIN if item.rival else 1))
    whole = min((item.milliseconds for item in candidates if item.built.precision == "fp32"), default=float("inf"))
    return best if auto and mine.milliseconds > whole * _INT8_MARGIN + _INT8_NOISE_MS else mine


def _cost(item: _Accepted) -> float:
    """How much a segment's INT8 errs."""
    told = item.report.quantization
    return told.accuracy.error if told and told.accuracy else item.report.deviation


def _error(found: OutputDifference) -> float:
    """Root mean square of the error over that of the output."""
    return 0.0 if found.sqnr_db is None else 10 ** (-found.sqnr_db / 20)


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


def _excluded(graph: Graph, settings: ConvertSettings) -> frozenset[str]:
    """Names, or patterns such as `head/*`."""
    found: set[str] = set()
    for name in settings.exclude:
        if any(sign in name for sign in "*?["):
            found.update(fnmatch.filter((node.name for node in graph), name))
        else:
            found.add(graph.require(name).node)
    return frozenset(found)


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


def _key(segment: Segment) -> Any:
    return segment.nodes, segment.inputs, segment.outputs


def _profile(shape: tuple[int | None, ...], seen: Sequence[tuple[int, ...]], most: int) -> tuple[Any, Any, Any]:
    """(min, opt, max) for an optimization profile: open dimensions as seen, the usual shape first.

    Of an open first dimension 1..most is part in any case, unless `most` is 0.
    """
    usual = [have if want is None else want for want, have in zip(shape, seen[0], strict=True)]
    low = [min(have) if want is None else want for want, *have in zip(shape, *seen, strict=True)]
    high = [max(have) if want is None else want for want, *have in zip(shape, *seen, strict=True)]
    if most and shape and shape[0] is None:
        low[0], high[0] = 1, max(most, *high[:1])
    return tuple(low), tuple(usual), tuple(high)


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


def _owners(exported: Exported, names: Iterable[str], known: frozenset[str]) -> dict[str, str]:
    """ONNX node → original node, for names that the converter made up: the nearest whose tensor comes out of them."""
    import onnx

    nodes = onnx.load_from_string(exported.model).graph.node
    reading: dict[str, list[Any]] = {}
    for node in nodes:
        for tensor in node.input:
            reading.setdefault(tensor, []).append(node)
    wanted, found = set(names) - set(exported.nodes), {}
    for node in nodes:
        if node.name not in wanted:
            continue
        seen, queue = {node.name}, [node]
        for item in queue:  # grows as it goes, so nearer ones come first
            given = (tensor.rpartition(":")[0] for tensor in item.output)
            owner = next((name for name in given if name in known), exported.nodes.get(item.name))
            if owner:
                found[node.name] = owner
                break
            later = [other for tensor in item.output for other in reading.get(tensor, ()) if other.name not in seen]
            seen.update(other.name for other in later)
            queue += later
    return found


def _respell(text: str, names: Mapping[str, str]) -> str:
    for stand_in, name in names.items():
        text = text.replace(f"{stand_in}:0", name)
    return text


def _medians(runs: Sequence[Callable[[], Any]], budget: float, *, until_clear: bool = False) -> list[float]:
    """Median milliseconds of each function, called in turns for about `budget` seconds; 3 to 40 rounds.

    With `until_clear` it ends as soon as it is clear which is the fastest.
    """
    for run in runs:
        run()
    begun = time.perf_counter()
    for run in runs:
        run()
    once = max(time.perf_counter() - begun, 1e-6)
    rounds = int(min(max(budget / once, 3), 40))
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for index, run in enumerate(runs):
            begun = time.perf_counter()
            run()
            times[index].append(time.perf_counter() - begun)
        if until_clear and _is_clear(times):
            break
    return [float(np.median(item)) * 1000 for item in times]


def _is_clear(times: Sequence[Sequence[float]]) -> bool:
    """True if one function was faster than all others in each of 6 rounds or more, its slowest call not counted."""
    if len(times[0]) < 7 or len(times) < 2:
        return False
    fastest, *others = sorted((sorted(item) for item in times), key=lambda item: item[-2])
    return fastest[-2] < min(item[0] for item in others)


_measured_hand_over: list[float] = []


def _hand_over_ms() -> float:
    """What it costs TensorFlow to call a Python function, on this machine: measured once per process."""
    if not _measured_hand_over:
        import tensorflow as tf

        with tf.Graph().as_default() as graph:
            entry = tf.compat.v1.placeholder(tf.float32, [16])
            plain = tf.identity(entry)
            through = tf.numpy_function(lambda value: value, [entry], tf.float32, stateful=False)
        with tf.compat.v1.Session(graph=graph) as session:
            value = np.zeros(16, np.float32)
            calls = [session.make_callable(item, [entry]) for item in (plain, through)]
            base, whole = _medians([lambda: calls[0](value), lambda: calls[1](value)], 0.2)
        _measured_hand_over.append(max(whole - base, 0.0))
    return _measured_hand_over[0]
