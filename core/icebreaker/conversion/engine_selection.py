"""Tries the engines on one segment: built, checked, measured; the fastest that is right is accepted, or none.

An engine's results must agree with TensorFlow's on sample values, and with `auto` it must be faster, hand-over
included. One that fails is told why, and the next is tried; before each step a note goes into the journal of crashes.

Owns: what deviation is accepted, and the choice among engines and precisions, the two ways to INT8 included.
Refuses: finding segments, exporting them, sample values, the graph as a whole (all `convert`); ranges (`int8`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from icebreaker import gpu
from icebreaker.engines import protocol
from icebreaker.engines.protocol import BuildOptions, Built, Engine, Runner
from icebreaker.engines.registry import ONNX_PAYLOADS
from icebreaker.errors import IcebreakerError
from icebreaker.export import exporter, fake_quant
from icebreaker.export.exporter import Exported
from icebreaker.graph.graph import PASSIVE, Graph
from icebreaker.metrics.output_difference import difference
from icebreaker.partitioning.partition import Refusal, Segment
from icebreaker.quantization import segment_quantizer
from icebreaker.quantization.nncf import Rival
from icebreaker.quantization.segment_quantizer import Made, SegmentQuantizer
from icebreaker.reports.reports import RETRY, Accuracy, OutputDifference, Quantization, SegmentReport
from icebreaker.runtime import artifact
from icebreaker.runtime.artifact import EngineNode
from icebreaker.settings import ENGINE_OPTIONS, ConvertSettings
from icebreaker.storage import crash_journal
from icebreaker.storage.crash_journal import Attempt
from icebreaker.storage.files import joined
from icebreaker.storage.weight_store import give_memory_back
from icebreaker.tensors import Tensor
from icebreaker.tf.session import Original

_T = TypeVar("_T")

# Largest accepted difference from TensorFlow, as a share of the output's range.
_TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 8e-2}
_HALVES = {"float16": "fp16", "bfloat16": "bf16"}
# An engine must beat TensorFlow by this factor, or the difference may be noise.
_MARGIN = 1.02
# INT8 was asked for: beyond this, it is slower than FP32, and no noise.
_INT8_MARGIN = 1.05
_INT8_NOISE_MS = 0.05
_NNCF_ERROR = 1.25  # of our own, 2 dB: what it may err where no budget says
# Of INT8 in one engine against another, where no data judges it: error over output, as root mean squares.
_UNJUDGED_ERROR = 0.1
_SECONDS_TO_MEASURE = 2.0  # for all segments together


@dataclass(frozen=True)
class Accepted:
    """A segment that goes to an engine, and what was found out about it."""

    node: EngineNode
    report: SegmentReport
    attempt: Attempt
    runner: Runner | None  # None where it was built for another machine
    tolerance: float  # how much it may deviate, as a share of the output's range
    fallback: Accepted | None = None  # in higher precision, for INT8 that spoils the whole


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
class Trials:
    """Tries segments of one conversion, one after the other.

    Attributes:
        graph: The graph, cut to what the outputs need.
        outputs: The graph's.
        original: The same in TensorFlow; its session may be closed.
        settings: What was chosen.
        engines: Those to try.
        versions: Of each of them.
        int8: The INT8 side of the conversion, if that was asked for.
        observed: Values of what segments read and give, one set for each set of inputs; filled before the first `run`.
        spanning: How many of these, from the first on, engines must be built for.
        log: Takes a level and a text.
        warnings: Takes what the user should know.
        elsewhere: Note → segments that were built for another machine.
    """

    graph: Graph
    outputs: tuple[Tensor, ...]
    original: Original
    settings: ConvertSettings
    engines: Sequence[Engine]
    versions: Mapping[str, str]
    int8: SegmentQuantizer | None
    observed: Sequence[Mapping[Tensor, np.ndarray]]
    spanning: int
    log: Callable[[str, str], None]
    warnings: list[str]
    elsewhere: dict[str, list[str]] = field(default_factory=dict)
    _fingerprints: dict[Any, str] = field(default_factory=dict)  # of segments
    _floats: dict[Any, Exported | None] = field(default_factory=dict)  # of segments with trained ranges

    def ask(self, segment: Segment, exported: Exported) -> dict[str, Refusal]:
        """The nodes that engines refuse: none as soon as one takes the whole segment, else the most willing one's."""
        fewest: dict[str, Refusal] | None = None
        for engine in self.engines:
            attempt = self._attempt(engine, segment, "asked")
            if why := self._crashed(attempt, segment):
                said: Mapping[str, str] = {"": why}
            else:
                try:
                    with crash_journal.step(f"asking {engine.name} about {segment.name}", [attempt]):
                        said = engine.refusals(_model_for(engine, exported))
                except Exception as error:  # native libraries raise what they like; the conversion goes on
                    said = {"": self._failed(engine, error).text}
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

    def run(
        self, segment: Segment, exported: Exported, count: int, report: segment_quantizer.Report
    ) -> Accepted | Refusal:
        """Tries all engines on a segment, one of `count`, and says which it goes to, or why it stays in TensorFlow."""
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
        # What is on a GPU is timed while it is built, and nothing may disturb that; nor what maps files (`Store.rest`).
        alone = self.graph.store is not None or gpu.find() is not None
        native = None if alone else _in_background(lambda: self._native(segment, first[0]))
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
                        with crash_journal.step(f"checking {segment.name} in {engine.name}", [candidate.attempt]):
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
        tensorflow_ms = 0.0
        if good:
            tensorflow_ms = _in_common(good) if one_by_one else self._measure(segment, first[0], good, count, native)
            good = [item for item in good if item.failure is None]
        if not good:
            failures = [item.failure for item in candidates if item.failure]
            return failures[0] if failures else Refusal("engine_refused", "no engine takes it")
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
        report: segment_quantizer.Report = lambda phase, part: None,
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
            log=lambda level, text: self.log(level, f"{engine.name}: {text}"), progress=progress,
            **{name: getattr(self.settings, name) for name in ENGINE_OPTIONS},
        )  # fmt: skip
        candidate = _Candidate(engine, Built(b"", precision, "", ""), 0.0, self._attempt(engine, segment, precision))
        if why := self._crashed(candidate.attempt, segment):
            candidate.failure = Refusal("engine_refused", why)
            return candidate
        begun = time.perf_counter()
        try:
            with crash_journal.step(f"building {segment.name} with {engine.name}", [candidate.attempt]):
                candidate.built = engine.build(_model_for(engine, exported), options)
                if candidate.built.runs_here:
                    candidate.runner = engine.load(candidate.built.payload, candidate.built.precision)
                    candidate.runner(inputs)  # compiles, where that waits for shapes
        except Exception as error:  # as in `ask`
            candidate.failure = self._failed(engine, error)
            self.log("warning", f"{segment.name}: {candidate.failure.text}")
        candidate.seconds = time.perf_counter() - begun
        return candidate

    def _failed(self, engine: Engine, error: Exception) -> Refusal:
        return Refusal(
            "engine_refused", f"{engine.name}: {error}{gpu.memory_advice(str(error), self.settings.memory_fraction)}"
        )

    @staticmethod
    def _load(candidate: _Candidate, segment: Segment, inputs: list[np.ndarray], others: list[_Candidate]) -> None:
        """Loads an engine again that had to make room for `others`."""
        _unload(others)
        with crash_journal.step(f"loading {segment.name} with {candidate.engine.name}", [candidate.attempt]):
            candidate.runner = candidate.engine.load(candidate.built.payload, candidate.built.precision)
            candidate.runner(inputs)

    def _check(self, candidate: _Candidate, segment: Segment, exported: Exported, samples: Sequence[Any]) -> None:
        """Compares with TensorFlow; an engine that is right for the first sample's shapes only is held to those."""
        tolerance = self._tolerance(segment, candidate.built.precision)
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
                limit = f" (at most {tolerance:g} is accepted)" if np.isfinite(tolerance) and index == 0 else ""
                why = Refusal(
                    "deviates", f"{candidate.engine.name} deviates by {worst:.2g} of the output's range{limit}"
                )
            except Exception as error:
                worst, why = float("inf"), self._failed(candidate.engine, error)
            if not worst <= tolerance or np.isinf(worst):
                if index == 0:
                    candidate.deviation, candidate.failure = worst, why
                else:
                    candidate.shapes = tuple(value.shape for value in samples[0][0])
                    where = "other shapes of the profile" if self.settings.profiles else "another batch"
                    text = f"{segment.name}: {why.text} at {where}: it keeps to the first one's shapes"
                    self.log("info", text)
                    if self.settings.profiles:
                        self.warnings.append(text)
                return
            candidate.deviation = max(candidate.deviation, worst)

    def _tolerance(self, segment: Segment, precision: str) -> float:
        """What a precision may deviate; where the original itself computes in half precision, it rounds as much."""
        computing = [name for name in segment.nodes if self.graph[name].op not in PASSIVE]
        given = (Tensor(name, port) for name in computing for port in range(self.original.output_count(name)))
        own = {_HALVES.get(self.original.dtype(tensor), "fp32") for tensor in given}
        return max(_TOLERANCES.get(item, _TOLERANCES["fp32"]) for item in (precision, *own))

    def _compare_ways(self, candidates: Sequence[_Candidate]) -> None:
        """Without a budget, NNCF's INT8 must be about as accurate as our own: speed alone does not buy it its place."""
        errors = [item.accuracy.error if item.failure is None and item.accuracy else None for item in candidates]
        if len(errors) == 2 and None not in errors and self.settings.accuracy_budget is None:
            own, nncf = errors
            if nncf > own * _NNCF_ERROR:  # pyright: ignore[reportOptionalOperand] - neither is None
                text = f"NNCF's error is {nncf:.1%} of the output, that of Icebreaker's own INT8 {own:.1%}"
                candidates[1].failure = Refusal("deviates", text)

    def _native(self, segment: Segment, inputs: list[np.ndarray]) -> tuple[Original, Callable[[], Any]]:
        """The segment in TensorFlow, to be closed, and a call of it; the first one, which optimizes it, is made."""
        definition, stand_ins = artifact.segment_definition(
            self.graph, segment, self.original,
            {tensor: value.shape for tensor, value in zip(segment.inputs, inputs, strict=True)},
        )  # fmt: skip
        native = Original(definition, store=self.graph.store)
        call = native.callable(segment.outputs, [str(item) for item in stand_ins])
        call(*inputs)
        return native, lambda: call(*inputs)

    def _measure(
        self, segment: Segment, inputs: list[np.ndarray], candidates: list[_Candidate], count: int,
        native: Future[tuple[Original, Callable[[], Any]]] | None = None,
    ) -> float:  # fmt: skip
        """Median milliseconds of TensorFlow (returned) and of each candidate, in turns; one may fail on the way."""

        def run(candidate: _Candidate) -> None:
            if candidate.runner is not None and candidate.failure is None:
                try:
                    candidate.runner(inputs)
                except Exception as error:  # as in `ask`
                    candidate.failure = self._failed(candidate.engine, error)

        runs: list[Callable[[], Any]] = [partial(run, candidate) for candidate in candidates]
        if self.graph.store is not None:
            for work in runs:
                work()  # compiles for these shapes again
            self.graph.store.rest()
        original, call = native.result() if native is not None else self._native(segment, inputs)
        runs.insert(0, call)
        with crash_journal.step(f"measuring {segment.name}", [item.attempt for item in candidates]):
            found = medians(runs, _SECONDS_TO_MEASURE / max(count, 3), until_clear=True)
        original.close()
        handed_over = 0.0 if self._is_whole(segment) else _hand_over_ms()
        for candidate, median in zip(candidates, found[1:], strict=True):
            candidate.milliseconds = median + handed_over
        return found[0]

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
    ) -> Accepted:  # fmt: skip
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
        self.log("info", f"{segment.name}: {len(segment.nodes)} ops in {chosen.engine.name} {chosen.built.precision}")
        return Accepted(
            EngineNode(segment, chosen.engine.name, chosen.built, shapes), report, chosen.attempt, chosen.runner,
            self._tolerance(segment, chosen.built.precision),
        )  # fmt: skip

    @staticmethod
    def _values(
        segment: Segment, observed: Mapping[Tensor, np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
        if any(tensor not in observed for tensor in (*segment.inputs, *segment.outputs)):
            return None
        return [observed[tensor] for tensor in segment.inputs], [observed[tensor] for tensor in segment.outputs]

    def _attempt(self, engine: Engine, segment: Segment, precision: str) -> Attempt:
        """What a crash is remembered by: the segment's nodes, not its ONNX form, whose names vary from run to run."""
        name = segment.key
        if name not in self._fingerprints:
            nodes = (self.graph[item].definition for item in (*segment.constants, *segment.nodes))
            self._fingerprints[name] = crash_journal.key(
                *(item.SerializeToString(deterministic=True) for item in nodes)
            )
        version = self.versions[engine.name]
        return Attempt(engine.name, crash_journal.key(engine.name, version, precision, self._fingerprints[name]))

    def _crashed(self, attempt: Attempt, segment: Segment) -> str:
        """Why it is not tried, where it ended a worker before; the user is told."""
        why = crash_journal.reason(attempt, self.settings.retry_crashed)
        text = f"{segment.name}: {why}; {RETRY}"
        if why and text not in self.warnings:
            self.warnings.append(text)
        return why

    # -- INT8 ----------------------------------------------------------------------------------------------------

    @property
    def _has_judge(self) -> bool:
        return self.int8 is not None and self.int8.has_judge

    def _make_int8(
        self, segment: Segment, exported: Exported, inputs: list[np.ndarray], report: segment_quantizer.Report
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
            with crash_journal.step(f"calibrating {segment.name}", []):
                made = self.int8.make(segment, exported, build, report)
            return made, made.quantization
        except segment_quantizer.Unfit as error:
            return None, error.quantization
        except IcebreakerError as error:
            return None, Quantization("", 0, 0, message=str(error))

    def _make_rival(self, segment: Segment, exported: Exported, report: segment_quantizer.Report) -> Rival | None:
        """The segment as INT8 in NNCF's way, where OpenVINO is in play and the graph has no ranges of its own."""
        engine = next((item for item in self.engines if item.name == "openvino"), None)
        if self.int8 is None or engine is None or any(self.graph[name].op in fake_quant.OPS for name in segment.nodes):
            return None
        attempt = self._attempt(engine, segment, "nncf")
        if self._crashed(attempt, segment):
            return None
        try:
            with crash_journal.step(f"quantizing {segment.name} with NNCF", [attempt]):
                return self.int8.rival(segment, exported, report)
        except IcebreakerError as error:
            self.log("warning", f"{segment.name}: {error}")
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
        if self.int8 is None or not any(self.graph[name].op in fake_quant.OPS for name in segment.nodes):
            return exported
        key = ("float", segment.key)
        if key not in self._floats:  # trained ranges are for INT8 only: here its nodes compute what TensorFlow does
            shapes = {
                tensor: exported.shapes[name] for tensor, name in zip(segment.inputs, exported.inputs, strict=True)
            }
            definition, inputs = artifact.segment_definition(self.graph, segment, self.original, shapes)
            try:
                self._floats[key] = exporter.export(definition, inputs, segment.outputs, store=self.graph.store)
            except exporter.Refused as error:
                self.log("info", f"{segment.name} has no form in float: {error}")
                self._floats[key] = None
        return self._floats[key]

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


def _model_for(engine: Engine, exported: Exported) -> protocol.Model:
    """Of a model in files, engines that compile it on their own get the whole."""
    if exported.file is None or engine.name in ONNX_PAYLOADS:
        return exported.source
    return joined(exporter.whole(exported.file))


def _in_background(work: Callable[[], _T]) -> Future[_T]:
    pool = ThreadPoolExecutor(1)
    result = pool.submit(work)
    pool.shutdown(wait=False)
    return result


def _unload(candidates: Iterable[_Candidate]) -> None:
    for candidate in candidates:
        candidate.runner = None
    give_memory_back()


def _in_common(candidates: Sequence[_Candidate]) -> float:
    """TensorFlow's milliseconds, where each candidate has its own, to which it was compared; these are evened out."""
    common = float(np.median([item.tensorflow_ms for item in candidates]))
    for item in candidates:
        item.milliseconds *= common / item.tensorflow_ms
    return common


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


def _error(found: OutputDifference) -> float:
    """Root mean square of the error over that of the output."""
    return 0.0 if found.sqnr_db is None else 10 ** (-found.sqnr_db / 20)


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


def medians(runs: Sequence[Callable[[], Any]], budget: float, *, until_clear: bool = False) -> list[float]:
    """Median milliseconds of each function, called in turns for about `budget` seconds; 3 to 40 rounds.

    With `until_clear` it ends as soon as it is clear which is the fastest.
    """
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    rounds = 3
    while len(times[0]) < rounds:
        for index, run in enumerate(runs):
            begun = time.perf_counter()
            run()
            times[index].append(time.perf_counter() - begun)
        if len(times[0]) == 1:
            rounds = int(min(max(budget / max(sum(map(sum, times)), 1e-6), 3), 40))
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
            base, whole = medians([lambda: calls[0](value), lambda: calls[1](value)], 0.2)
        _measured_hand_over.append(max(whole - base, 0.0))
    return _measured_hand_over[0]
