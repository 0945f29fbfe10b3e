"""Calls engines so that a crash or an error of one leaves the conversion whole.

An engine is native code: it may raise anything, or take the process with it. Before each call a note goes into the
crash journal, so that the job, started again, leaves that call out; and whatever an engine raises becomes a `Refusal`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icebreaker import gpu
from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.candidates import Candidate
from icebreaker.conversion.engine_selection.segment_forms import SegmentForms, Shape
from icebreaker.engine.protocol import BuildOptions, Built, Engine, Progress
from icebreaker.engine.segment_model import SegmentModel
from icebreaker.errors import IcebreakerError
from icebreaker.messages import Message, message, one_line
from icebreaker.partitioning.partition import Refusal, Segment
from icebreaker.settings import ENGINE_OPTIONS
from icebreaker.storage import crash_journal
from icebreaker.storage.crash_journal import Attempt
from icebreaker.tf.session import exact_float32

_log = logging.getLogger(__name__)


class EngineCalls:
    """Asks, builds and loads, for one conversion."""

    def __init__(self, context: Context) -> None:
        """Calls nothing yet."""
        self._context = context
        self._fingerprints: dict[Any, str] = {}  # of segments

    def refusals(self, engine: Engine, forms: SegmentForms) -> dict[str, Refusal]:
        """Node of the graph → why an engine does not take it; empty if it takes the whole segment."""
        segment = forms.segment
        if engine.starts_from == "onnx" and (refused := forms.onnx_refusals):
            return refused
        attempt = self.attempt(engine, segment, "asked")
        said: Mapping[str, Message | str]
        if why := self.crashed(attempt, segment):
            said = {"": why}
        else:
            try:
                with crash_journal.step(f"asking {engine.name} about {segment.name}", [attempt]):
                    said = engine.refusals(forms.model)
            except Exception as error:  # native libraries raise what they like; the conversion goes on
                said = {"": self.failure(engine, error).text}
        owners = forms.original_nodes(said, in_onnx=engine.starts_from == "onnx") if said else {}
        refused = {owners[name]: Refusal("engine_refused", text) for name, text in said.items() if name in owners}
        if said and not refused:  # it did not say which node
            refused = dict.fromkeys(segment.nodes, Refusal("engine_refused", next(iter(said.values()))))
        return refused

    def build(
        self, engine: Engine, precision: str, forms: SegmentForms, model: SegmentModel, inputs: Sequence[np.ndarray],
        report: Progress = lambda phase, fraction: None,
    ) -> Candidate:  # fmt: skip
        """Builds a segment in one engine and calls it once, where it runs here; the candidate says if that failed.

        Args:
            engine: The engine.
            precision: What to ask it for.
            forms: The segment.
            model: The form of it to build, such as a quantized one.
            inputs: Values to call it with.
            report: Told of the build's progress.
        """
        segment = forms.segment
        candidate = Candidate(engine, Built(b"", precision, "", ""), self.attempt(engine, segment, precision))
        if why := self.crashed(candidate.attempt, segment):
            candidate.failure = Refusal("engine_refused", why)
            return candidate
        options = self._options(engine, precision, forms, inputs, report)
        begun = time.perf_counter()
        try:
            with crash_journal.step(f"building {segment.name} with {engine.name}", [candidate.attempt]):
                candidate.built = engine.build(model, options)
                if candidate.built.runs_here:
                    candidate.runner = engine.load(candidate.built.payload, candidate.built.precision)
                    with exact_float32():  # what TensorFlow itself compiles is exact if it is so now
                        candidate.runner(inputs)  # compiles, where that waits for shapes
        except Exception as error:  # as in `refusals`
            candidate.failure = self.failure(engine, error)
            _log.warning(message("build_failed", "{subject}: {why}", subject=segment.name, why=candidate.failure.text))
        candidate.seconds = time.perf_counter() - begun
        return candidate

    def refused(self, engine: Engine, segment: Segment, why: Refusal) -> Candidate:
        """A candidate that is out of the question before it is built."""
        attempt = self.attempt(engine, segment, "asked")
        return Candidate(engine, Built(b"", "fp32", "", ""), attempt, failure=why)

    def load_again(self, candidate: Candidate, segment: Segment, inputs: Sequence[np.ndarray]) -> None:
        """Loads an engine that had to make room for others, and calls it once."""
        with crash_journal.step(f"loading {segment.name} with {candidate.engine.name}", [candidate.attempt]):
            candidate.runner = candidate.engine.load(candidate.built.payload, candidate.built.precision)
            candidate.runner(inputs)

    def failure(self, engine: Engine, error: Exception) -> Refusal:
        """What an engine raised, with what helps if the GPU's memory was full; ends a worker that this has broken."""
        if engine.poisons_process(error):
            crash_journal.give_up(engine.name, one_line(str(error)))
        advice = gpu.memory_advice(str(error), self._context.settings.memory_fraction)
        words = error.message if isinstance(error, IcebreakerError) else str(error)
        told = message("engine_failed", "{subject}: {words}{advice}", subject=engine.name, words=words, advice=advice)
        return Refusal("engine_refused", told)

    def attempt(self, engine: Engine, segment: Segment, precision: str) -> Attempt:
        """What a crash is remembered by: the segment's nodes, not its ONNX form, whose names vary from run to run."""
        if segment.key not in self._fingerprints:
            nodes = (self._context.graph[name].definition for name in (*segment.constants, *segment.nodes))
            self._fingerprints[segment.key] = crash_journal.key(
                *(node.SerializeToString(deterministic=True) for node in nodes)
            )
        version = self._context.versions[engine.name]
        key = crash_journal.key(engine.name, version, precision, self._fingerprints[segment.key])
        return Attempt(engine.name, key)

    def crashed(self, attempt: Attempt, segment: Segment) -> str:
        """Why an attempt is not made, if it ended a worker before; the user is told."""
        why = crash_journal.reason(attempt, self._context.consent.crashed)
        if why:
            self._context.notices.warn(
                message("segment_crashed", "{subject}: {why}; {remedy}", "retry_crashed", subject=segment.name, why=why)
            )
        return why

    def _options(
        self, engine: Engine, precision: str, forms: SegmentForms, inputs: Sequence[np.ndarray], report: Progress
    ) -> BuildOptions:
        settings, samples, segment = self._context.settings, self._context.samples, forms.segment
        most = 0 if settings.profiles else settings.max_batch_size
        profiles = {
            port.name: optimization_profile(shape, samples.shapes_to_build_for(tensor) or [value.shape], most)
            for port, shape, tensor, value in zip(
                forms.model.inputs, forms.shapes, segment.inputs, inputs, strict=True
            )
        }  # fmt: skip
        exchanges = samples.exchanges(segment)[: samples.spanning]
        seen = [read for read, _ in filter(None, exchanges)]
        return BuildOptions(
            precision=precision, profiles=profiles, workspace_bytes=settings.builder.workspace_bytes,
            samples=seen or [list(inputs)],  # a part of a segment was not recorded
            progress=report,
            **{name: getattr(settings.builder, name) for name in ENGINE_OPTIONS},
        )  # fmt: skip


def optimization_profile(
    shape: Shape, seen: Sequence[tuple[int, ...]], most: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The smallest, the usual and the largest shape that an engine must take.

    Args:
        shape: None where a dimension is open.
        seen: Shapes that the sample values have, the usual one first.
        most: Of an open first dimension 1 to `most` is part in any case; 0: only what was seen.
    """
    usual = [have if want is None else want for want, have in zip(shape, seen[0], strict=True)]
    low = [min(have) if want is None else want for want, *have in zip(shape, *seen, strict=True)]
    high = [max(have) if want is None else want for want, *have in zip(shape, *seen, strict=True)]
    if most and shape and shape[0] is None:
        low[0], high[0] = 1, max(most, *high[:1])
    return tuple(low), tuple(usual), tuple(high)
