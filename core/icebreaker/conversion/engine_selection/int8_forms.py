"""A segment as INT8: Icebreaker's own forms, one for each kind of activations, and NNCF's, which competes with them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.candidates import Candidate
from icebreaker.conversion.engine_selection.engine_calls import EngineCalls
from icebreaker.conversion.engine_selection.segment_forms import SegmentForms
from icebreaker.engine.protocol import Engine, Progress, Runner
from icebreaker.engine.segment_model import SegmentModel
from icebreaker.errors import IcebreakerError
from icebreaker.export import exporter
from icebreaker.messages import Message, message
from icebreaker.quantization import segment_quantizer
from icebreaker.quantization.nncf import NncfSegment
from icebreaker.quantization.segment_quantizer import QuantizedSegment
from icebreaker.reports import Quantization
from icebreaker.storage import crash_journal

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Int8Forms:
    """What became of a segment on its way to INT8.

    Attributes:
        own: Icebreaker's own; None if it cannot be INT8 that way, or INT8 was not asked for.
        rival: NNCF's, if that takes part.
        told: What there is to tell of it; None if INT8 was not asked for.
    """

    own: QuantizedSegment | None = None
    rival: NncfSegment | None = None
    told: Quantization | None = None


class Int8Maker:
    """Makes the INT8 forms of segments, and says afterwards what became of them."""

    def __init__(self, context: Context, calls: EngineCalls) -> None:
        """Makes nothing yet."""
        self._context, self._calls = context, calls

    def make(self, forms: SegmentForms, inputs: Sequence[np.ndarray], report: Progress) -> Int8Forms:
        """Quantizes a segment in every way that is in play.

        Args:
            forms: The segment.
            inputs: Values to call it with, when it is built to be tried.
            report: Told of the progress.
        """
        own, told = self._own(forms, inputs, report)
        rival = self._nncf(forms, report)
        if told and own is None and rival is None:
            self._warn_not_int8(forms, told.message)
        return Int8Forms(own, rival, told)

    def models(
        self, forms: SegmentForms, engine: Engine, precision: str, int8: Int8Forms
    ) -> Iterator[tuple[SegmentModel, NncfSegment | None]]:
        """What to build of a segment in an engine and precision; two forms where NNCF's competes with our own."""
        if precision != "int8":
            if (model := forms.float_model) is not None:
                yield model, None
            return
        competes = int8.rival is not None and engine.takes_nncf
        if int8.own is not None and not (competes and self._context.settings.quantization.quantizer == "nncf"):
            yield forms.model.with_onnx(int8.own.unsigned if engine.takes_unsigned_int8 else int8.own.signed), None
        if int8.rival is not None and competes:
            yield forms.model.with_onnx(int8.rival.payload), int8.rival

    def tell(
        self, forms: SegmentForms, chosen: Candidate, told: Quantization | None, candidates: Sequence[Candidate]
    ) -> Quantization | None:
        """What to tell of a segment's INT8, now that it is or is not the choice; warns if it is not."""
        if told is None:
            return None
        tried = [candidate for candidate in candidates if candidate.is_int8]
        if chosen in tried or not tried:
            if chosen in tried and chosen.accuracy is None:
                self._context.notices.warn(message(
                    "accuracy_unjudged", "{subject}: nobody has judged its accuracy", "give_judging_data",
                    subject=forms.segment.name,
                ))  # fmt: skip
            return _compared(chosen, told, tried)
        why: Message | str
        good = [candidate for candidate in tried if candidate.failure is None]
        if good:
            best = min(good, key=lambda candidate: candidate.milliseconds)
            why = message(
                "int8_slower", "{subject} takes {int8_ms:.2f} ms in INT8, {chosen} {chosen_ms:.2f} ms in {precision}",
                subject=best.engine.name, int8_ms=best.milliseconds, chosen=chosen.engine.name,
                chosen_ms=chosen.milliseconds, precision=chosen.built.precision,
            )  # fmt: skip
        else:
            best = tried[0]
            why = best.failure.text if best.failure else ""
        self._warn_not_int8(forms, why)
        return replace(told, message=why, int8_layers=0, accuracy=best.accuracy)

    def _warn_not_int8(self, forms: SegmentForms, why: Message | str) -> None:
        self._context.notices.warn(not_int8(forms.segment.name, why))

    def _own(
        self, forms: SegmentForms, inputs: Sequence[np.ndarray], report: Progress
    ) -> tuple[QuantizedSegment | None, Quantization | None]:
        """The segment as INT8 and what to tell; None and why where it cannot be; twice None if it was not asked for."""
        int8 = self._context.int8
        if int8 is None:
            return None, None
        # Building must cost next to nothing: it is done for every set of layers that is tried.
        engines = (item for item in self._context.engines if item.payload == "model" and "int8" in item.precisions)
        engine = next(engines, None)

        def build(model: bytes, precision: str) -> Runner | None:
            if engine is None:
                return None
            candidate = self._calls.build(engine, precision, forms, forms.model.with_onnx(model), inputs)
            if candidate.failure is not None:
                raise IcebreakerError(_as_message(candidate.failure.text))
            return candidate.runner

        try:
            with crash_journal.step(f"calibrating {forms.segment.name}", []):
                made = int8.make(forms.segment, forms.exported, build, report)
            return made, made.quantization
        except segment_quantizer.Unfit as error:
            return None, error.quantization
        except IcebreakerError as error:
            return None, Quantization("", 0, 0, message=error.message)

    def _nncf(self, forms: SegmentForms, report: Progress) -> NncfSegment | None:
        """The segment as INT8 in NNCF's way, where an engine takes that and the graph has no ranges of its own."""
        int8, segment = self._context.int8, forms.segment
        engine = next((item for item in self._context.engines if item.takes_nncf), None)
        if int8 is None or engine is None or forms.has_trained_ranges:
            return None
        attempt = self._calls.attempt(engine, segment, "nncf")
        if self._calls.crashed(attempt, segment):
            return None
        try:
            with crash_journal.step(f"quantizing {segment.name} with NNCF", [attempt]):
                return int8.rival(segment, forms.exported, report)
        except exporter.Refused:  # `own` has told
            return None
        except IcebreakerError as error:
            _log.warning(message("nncf_refused", "{subject}: {why}", subject=segment.name, why=error.message))
            if self._context.settings.quantization.quantizer == "nncf":
                self._context.notices.warn(message(
                    "nncf_failed", "{subject} is not quantized by NNCF: {why}",
                    subject=segment.name, why=error.message,
                ))  # fmt: skip
            return None


def not_int8(segment: str, why: Message | str) -> Message:
    """The warning that a segment was to be INT8 and is not."""
    return message("segment_not_int8", "{subject} is not INT8: {why}", subject=segment, why=why)


def _as_message(text: Message | str) -> Message:
    return text if isinstance(text, Message) else message("engine_words", "{words}", words=text)


def _compared(chosen: Candidate, told: Quantization, tried: Sequence[Candidate]) -> Quantization:
    """What to tell of the INT8 that was chosen: whose it is, and how the other one did."""
    told = chosen.rival.quantization if chosen.rival else told
    words = told.message
    for other in tried:
        if bool(other.rival) != bool(chosen.rival) and other.engine is chosen.engine:
            how = other.failure.text if other.failure else message("milliseconds", "{ms:.2f} ms", ms=other.milliseconds)
            words = message(
                "int8_compared", "{what} ({ms:.2f} ms; {whose} INT8: {how})", what=words, ms=chosen.milliseconds,
                whose="NNCF's" if other.rival else "Icebreaker's own", how=how,
            )  # fmt: skip
    return replace(told, accuracy=chosen.accuracy, message=words)
