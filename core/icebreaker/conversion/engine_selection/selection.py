"""Chooses an engine for a segment: each is built, checked and measured; the fastest that is right wins, or none.

An engine's results must agree with TensorFlow's on sample values, and with `auto` it must be faster, hand-over
included. One that fails is told why, and the next is tried.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from icebreaker import gpu
from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.candidates import Accepted, Candidate, Narrowed, joined
from icebreaker.conversion.engine_selection.checking import Checker
from icebreaker.conversion.engine_selection.engine_calls import EngineCalls
from icebreaker.conversion.engine_selection.int8_forms import Int8Forms, Int8Maker
from icebreaker.conversion.engine_selection.narrowing import Narrowing
from icebreaker.conversion.engine_selection.ranking import (
    MARGIN,
    Native,
    Ranking,
    evened_out,
    fastest,
    gain,
    in_background,
)
from icebreaker.conversion.engine_selection.segment_forms import SegmentForms
from icebreaker.conversion.sample_values import Exchange
from icebreaker.engine.protocol import Engine, Progress
from icebreaker.engine.segment_model import SegmentModel
from icebreaker.messages import Message, message
from icebreaker.partitioning.partition import Refusal
from icebreaker.quantization.nncf import NncfSegment
from icebreaker.reports import Quantization, SegmentReport, Words
from icebreaker.runtime.artifact_reader import is_function
from icebreaker.runtime.artifact_writer import EngineNode
from icebreaker.storage import crash_journal
from icebreaker.storage.weight_store import give_memory_back

_log = logging.getLogger(__name__)

# Reasons for a refusal that may be single nodes'.
_OF_NODES = ("deviates", "engine_refused")


class EngineSelection:
    """Tries the engines of one conversion on its segments, one after the other.

    Attributes:
        elsewhere: What an engine says of having been built for another machine → the segments that it says it of.
    """

    def __init__(self, context: Context) -> None:
        """Tries nothing yet."""
        self.context = context
        self.calls = EngineCalls(context)
        self.checker = Checker(context, self.calls)
        self.ranking = Ranking(context, self.calls)
        self.int8 = Int8Maker(context, self.calls)
        self.narrowing = Narrowing(context, self.calls, self.checker)
        self.elsewhere: dict[str, list[str]] = {}

    @property
    def deciding(self) -> Sequence[Engine]:
        """The engines that decide what segments are; those that are tried on them as well are not among them."""
        engines = self.context.engines
        return [engine for engine in engines if engine.widens_segments or len(engines) == 1]

    def ask(self, forms: SegmentForms) -> dict[str, Refusal]:
        """The nodes that engines refuse: none as soon as one takes the whole segment, else the most willing one's.

        What others have against the same nodes is told, too.
        """
        said: list[dict[str, Refusal]] = []
        for engine in self.deciding:
            refused = self.calls.refusals(engine, forms)
            if not refused:
                return {}
            crashed = crash_journal.reason(self.calls.attempt(engine, forms.segment, "asked"))
            if not crashed and not (engine.starts_from == "onnx" and forms.onnx_refusals):
                refused = self.narrowing.refused_nodes(engine, forms, refused)
            said.append(refused)
        fewest = min(said, key=len, default={})
        others = [refused for refused in said if refused is not fewest]
        return {
            name: joined([why, *(refused[name] for refused in others if name in refused)])
            for name, why in fewest.items()
        }  # fmt: skip

    def choose(
        self, forms: SegmentForms, count: int, report: Progress, *, narrows: bool = False
    ) -> Accepted | Narrowed | Refusal:
        """Tries all engines on a segment.

        Args:
            forms: The segment.
            count: How many segments there are: they share the time for measuring.
            report: Told of the progress, up to 1.25.
            narrows: Whether to look for single nodes that are to blame if no engine can have it.

        Returns:
            What it goes to, or why it stays in TensorFlow, or which of its nodes should.
        """
        exchanges = self.context.samples.exchanges(forms.segment)
        if exchanges[0] is None:
            return Refusal(
                "no_data",
                message("inputs_do_not_reach", "the sample inputs do not reach it, so no engine could be checked"),
            )
        samples = [exchange for exchange in exchanges if exchange is not None]
        int8 = self.int8.make(forms, samples[0][0], report)
        trial = _Trial(self, forms, samples, int8, count, report)
        result = trial.run()
        if narrows and isinstance(result, Refusal) and (found := trial.narrowed()):
            return Narrowed(found)
        return result


class _Trial:
    """All engines tried on one segment."""

    def __init__(
        self, selection: EngineSelection, forms: SegmentForms, samples: list[Exchange], int8: Int8Forms, count: int,
        report: Progress,
    ) -> None:  # fmt: skip
        self._selection, self._context = selection, selection.context
        self._forms, self._segment = forms, forms.segment
        self._samples, self._inputs = samples, samples[0][0]
        self._int8 = int8
        self._count, self._report = count, report
        self._candidates: list[Candidate] = []
        # Big: two engines at once would take too much memory.
        reads_onnx = any(engine.starts_from == "onnx" for engine in self._context.engines)
        self._one_by_one = reads_onnx and not forms.onnx_refusals and forms.exported.file is not None

    def run(self) -> Accepted | Refusal:
        """Builds, checks, measures, chooses."""
        native = self._begin_native()
        for index, engine in enumerate(self._context.engines):
            self._try(engine, index)
        right = [candidate for candidate in self._candidates if candidate.failure is None]
        good = [candidate for candidate in right if candidate.built.runs_here]
        if right and not good:  # built for another machine: nothing can be checked or measured here
            chosen = right[0]
            self._selection.elsewhere.setdefault(str(chosen.built.note), []).append(self._segment.name)
            return self._accepted(chosen, 0.0, self._tell(chosen))
        tensorflow_ms = 0.0
        if good:
            tensorflow_ms = (
                evened_out(good)
                if self._one_by_one
                else self._selection.ranking.measure(self._segment, self._inputs, good, self._count, native)
            )
            good = [candidate for candidate in good if candidate.failure is None]
        if not good:
            failures = [candidate.failure for candidate in self._candidates if candidate.failure]
            nobody = Refusal("engine_refused", message("no_engine_takes_it", "no engine takes it"))
            return joined(failures) if failures else nobody
        chosen = fastest(good, self._context.settings.engine == "auto")
        told = self._tell(chosen)
        if why := self._slower(chosen, tensorflow_ms):
            if self._context.settings.engine == "auto":
                failures = [candidate.failure for candidate in self._candidates if candidate.failure]
                return joined([Refusal("not_faster", why), *failures])
            self._context.notices.warn(
                message("segment_not_faster", "{subject} is not faster: {why}", subject=self._segment.name, why=why)
            )
        if chosen.runner is None:
            _unload(self._candidates)
            self._selection.calls.load_again(chosen, self._segment, self._inputs)
        accepted = self._accepted(chosen, tensorflow_ms, told)
        in_float = [candidate for candidate in good if not candidate.is_int8]
        if chosen.is_int8 and in_float:
            accepted = replace(accepted, fallback=self._accepted(fastest(in_float), tensorflow_ms, told))
        return accepted

    def narrowed(self) -> dict[str, Refusal]:
        """Of the engine that has the least against the segment, the nodes; empty if it is no single ones.

        What other engines have against the same nodes is told, too.
        """
        narrowing, usual = self._selection.narrowing, self._samples[0]
        failed = {  # the last of each engine is in the highest precision
            candidate.engine.name: candidate for candidate in self._candidates
            if candidate.failure and candidate.failure.code in _OF_NODES and not candidate.is_int8
            and not crash_journal.reason(candidate.attempt)  # its parts would crash it again, until it is left alone
        }  # fmt: skip
        found: list[tuple[Candidate, dict[str, Refusal]]] = []
        for candidate in failed.values():
            if nodes := narrowing.wrong_nodes(candidate, self._forms, usual):
                found.append((candidate, nodes))
                if len(nodes) == 1:
                    break
        if not found:
            return {}
        chosen, fewest = min(found, key=lambda item: len(item[1]))
        for other in failed.values():
            if other is not chosen:
                also = narrowing.alone(other, self._forms, usual, fewest)
                fewest = {name: joined([why, *([also[name]] if name in also else [])]) for name, why in fewest.items()}
        return fewest

    def _begin_native(self) -> Future[Native] | None:
        """Begins to prepare TensorFlow, while engines are built."""
        # What is on a GPU is timed while it is built, and nothing may disturb that; nor what maps files (`Store.rest`).
        if self._context.graph.store is not None or gpu.find() is not None:
            return None
        return in_background(lambda: self._selection.ranking.native(self._segment, self._inputs))

    def _try(self, engine: Engine, index: int) -> None:
        """Builds and checks candidates in one engine, in lower precisions until there is one to fall back on."""
        if engine.starts_from == "onnx" and (refused := self._forms.onnx_refusals):
            candidate = self._selection.calls.refused(engine, self._segment, next(iter(refused.values())))
            self._candidates.append(candidate)
            return
        for precision in self._precisions(engine):
            fresh = [
                self._candidate(engine, precision, index, model, rival)
                for model, rival in self._selection.int8.models(self._forms, engine, precision, self._int8)
            ]
            self._selection.checker.compare_quantizers(fresh)
            self._candidates += fresh
            wants_spare = self._int8.told is not None
            if any(item.failure is None and not (wants_spare and item.runner is not None) for item in fresh):
                return
            if any(item.built.precision == "fp32" for item in fresh):
                return

    def _precisions(self, engine: Engine) -> Iterator[str]:
        """What to ask an engine for, in turn; FP32 is what there is to fall back on."""
        spare = ("fp16", "fp32") if self._int8.told else ("fp32",)
        wanted = dict.fromkeys((self._context.settings.precision, *spare))
        return (precision for precision in wanted if precision in engine.precisions)

    def _candidate(
        self, engine: Engine, precision: str, index: int, model: SegmentModel, rival: NncfSegment | None
    ) -> Candidate:
        """Builds and checks one."""
        if self._one_by_one:
            _unload(self._candidates)
        candidate = self._selection.calls.build(
            engine, precision, self._forms, model, self._inputs, partial(self._report_build, engine, index)
        )
        candidate.rival = rival
        if candidate.failure is None:
            self._selection.checker.check(candidate, self._forms, self._samples, self._int8.own)
        if self._one_by_one and candidate.failure is None and candidate.runner is not None:
            candidate.tensorflow_ms = self._selection.ranking.measure(
                self._segment, self._inputs, [candidate], self._count
            )
        return candidate

    def _report_build(self, engine: Engine, index: int, phase: Words, part: float) -> None:
        begun = 1.0 if self._int8.told else 0.0  # of `report`, which building takes to 1.25
        done = (index + part) / len(self._context.engines)
        told = message("stage_engine", "{subject}: {phase}", subject=engine.name, phase=phase)
        self._report(told, begun + (1.25 - begun) * done)

    def _tell(self, chosen: Candidate) -> Quantization | None:
        return self._selection.int8.tell(self._forms, chosen, self._int8.told, self._candidates)

    @staticmethod
    def _slower(chosen: Candidate, tensorflow_ms: float) -> Message | None:
        """Words if the choice is not clearly faster than TensorFlow."""
        ahead = gain(chosen)
        if tensorflow_ms >= chosen.milliseconds * MARGIN and ahead.low > 1:
            return None
        if ahead.low <= MARGIN <= ahead.high:
            return message(
                "no_clear_difference",
                "there is no clear difference: {subject} takes {engine_ms:.2f} ms here, hand-over included, TensorFlow "
                "{tensorflow_ms:.2f} ms",
                subject=chosen.engine.name, engine_ms=chosen.milliseconds, tensorflow_ms=tensorflow_ms,
            )  # fmt: skip
        return message(
            "engine_slower",
            "{subject} takes {engine_ms:.2f} ms here, hand-over included, TensorFlow {tensorflow_ms:.2f} ms",
            subject=chosen.engine.name, engine_ms=chosen.milliseconds, tensorflow_ms=tensorflow_ms,
        )  # fmt: skip

    def _accepted(self, chosen: Candidate, tensorflow_ms: float, told: Quantization | None) -> Accepted:
        segment, built = self._segment, chosen.built
        shapes = chosen.shapes or self._forms.shapes
        report = SegmentReport(
            name=segment.name, engine=chosen.engine.name, precision=built.precision,
            nodes=(*segment.constants, *segment.nodes),
            inputs=tuple(map(str, segment.inputs)), outputs=tuple(map(str, segment.outputs)),
            build_seconds=chosen.seconds, tensorflow_ms=tensorflow_ms, engine_ms=chosen.milliseconds,
            deviation=chosen.deviation, runs_here=built.runs_here,
            layers=built.layers or getattr(chosen.runner, "layers", ()),
            candidates=tuple(candidate.summary() for candidate in self._candidates), quantization=told,
            notes=(*chosen.notes, *([built.note] if is_function(chosen.engine.name) and built.note else [])),
        )  # fmt: skip
        _log.info(message(
            "segment_accepted", "{subject}: {count} ops in {engine} {precision}",
            subject=segment.name, count=len(segment.nodes), engine=chosen.engine.name, precision=built.precision,
        ))  # fmt: skip
        return Accepted(
            EngineNode(segment, chosen.engine.name, built, shapes), report, chosen.attempt, chosen.runner,
            self._selection.checker.tolerance(segment, built.precision),
            self._selection.checker.omits(segment, built.precision),
        )  # fmt: skip


def _unload(candidates: Iterable[Candidate]) -> None:
    """Makes room in memory."""
    for candidate in candidates:
        candidate.runner = None
    give_memory_back()
