"""Compares what an engine makes of a segment with TensorFlow: on sample values, and INT8 on held-back data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.candidates import Candidate
from icebreaker.conversion.engine_selection.engine_calls import EngineCalls
from icebreaker.conversion.engine_selection.segment_forms import SegmentForms
from icebreaker.conversion.sample_values import Exchange
from icebreaker.graph.ops import PASSIVE
from icebreaker.messages import Message, message
from icebreaker.metrics.output_difference import difference
from icebreaker.partitioning.partition import Refusal, Segment
from icebreaker.quantization.segment_quantizer import QuantizedSegment
from icebreaker.reports import OutputDifference
from icebreaker.storage import crash_journal
from icebreaker.tensors import Tensor

_log = logging.getLogger(__name__)

# Largest accepted difference from TensorFlow, as a share of the output's range.
_TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 8e-2}
_HALVES = {"float16": "fp16", "bfloat16": "bf16"}
_NNCF_ERROR = 1.25  # of our own, 2 dB: what it may err where no budget says
# Of INT8 in one engine against another, where no data judges it: error over output, as root mean squares.
_UNJUDGED_ERROR = 0.1


class Checker:
    """Finds out whether candidates are right; one that is not gets its `failure`."""

    def __init__(self, context: Context, calls: EngineCalls) -> None:
        """Checks with the conversion's sample values and data."""
        self._context, self._calls = context, calls

    def check(
        self, candidate: Candidate, forms: SegmentForms, samples: Sequence[Exchange], made: QuantizedSegment | None
    ) -> None:
        """Checks a candidate that was built, as far as this machine can run it.

        Args:
            candidate: Gets its deviation, its shapes and, if it is wrong, its failure.
            forms: The segment.
            samples: What the segment reads and gives in TensorFlow, the usual shapes first.
            made: Icebreaker's own INT8 of the segment, if there is one.
        """
        with crash_journal.step(f"checking {forms.segment.name} in {candidate.engine.name}", [candidate.attempt]):
            if candidate.runner is not None:
                self._compare(candidate, forms, self._expected(samples, made if candidate.is_int8 else None))
            self._judge(candidate, forms, made)

    def tolerance(self, segment: Segment, precision: str) -> float:
        """What a precision may deviate; where the original itself computes in half precision, it rounds as much."""
        graph, original = self._context.graph, self._context.original
        computing = [name for name in segment.nodes if graph[name].op not in PASSIVE]
        given = (Tensor(name, port) for name in computing for port in range(original.output_count(name)))
        own = {_HALVES.get(original.dtype(tensor), "fp32") for tensor in given}
        return max(_TOLERANCES.get(kind, _TOLERANCES["fp32"]) for kind in (precision, *own))

    def compare_quantizers(self, candidates: Sequence[Candidate]) -> None:
        """Without a budget, NNCF's INT8 must be about as accurate as our own: speed alone does not buy it its place.

        Args:
            candidates: Of one engine and precision; if there are two, the second is NNCF's.
        """
        if len(candidates) != 2 or self._context.settings.quantization.accuracy_budget is not None:
            return
        own, nncf = (item.accuracy.error if item.failure is None and item.accuracy else None for item in candidates)
        if own is not None and nncf is not None and nncf > own * _NNCF_ERROR:
            candidates[1].failure = Refusal("deviates", message(
                "nncf_less_accurate",
                "NNCF's error is {nncf:.1%} of the output, that of Icebreaker's own INT8 {own:.1%}", nncf=nncf, own=own,
            ))  # fmt: skip

    def _compare(self, candidate: Candidate, forms: SegmentForms, samples: Sequence[Exchange]) -> None:
        """Compares outputs; an engine that is right for the first sample's shapes only is held to those."""
        tolerance = self.tolerance(forms.segment, candidate.built.precision)
        if candidate.is_int8:  # judged on data that means something, if there is some
            tolerance = float("inf") if self._has_judge else _UNJUDGED_ERROR
        candidate.shapes = forms.shapes
        usual = tuple(value.shape for value in samples[0][0])
        if not candidate.engine.takes_open_shapes:
            samples, candidate.shapes = samples[:1], usual
        for index, exchange in enumerate(samples):
            deviation, failure = self._deviation(candidate, exchange, tolerance, tells_limit=index == 0)
            if failure is None:
                candidate.deviation = max(candidate.deviation, deviation)
            elif index == 0:
                candidate.deviation, candidate.failure = deviation, failure
                return
            else:
                candidate.shapes = usual
                self._tell_of_shapes(forms.segment, failure.text)
                return

    def _deviation(
        self, candidate: Candidate, exchange: Exchange, tolerance: float, *, tells_limit: bool
    ) -> tuple[float, Refusal | None]:
        """How much a candidate deviates on one set of values, infinity if it fails; and what speaks against it."""
        assert candidate.runner is not None  # noqa: S101 - the caller saw to it
        inputs, expected = exchange
        try:
            results = candidate.runner(inputs)
            found = [difference(want, have) for want, have in zip(expected, results, strict=True)]
        except Exception as error:  # native libraries raise what they like
            return float("inf"), self._calls.failure(candidate.engine, error)
        worst = max(map(_error, found)) if candidate.is_int8 else max(item.max_rel for item in found)
        if worst <= tolerance and not np.isinf(worst):
            return worst, None
        told = message(
            "engine_deviates", "{subject} deviates by {deviation:.2g} of the output's range",
            subject=candidate.engine.name, deviation=worst,
        )  # fmt: skip
        if tells_limit and np.isfinite(tolerance):
            told = message("beyond_tolerance", "{what} (at most {limit:g} is accepted)", what=told, limit=tolerance)
        return worst, Refusal("deviates", told)

    def _tell_of_shapes(self, segment: Segment, why: Message | str) -> None:
        """An engine is wrong at some shapes: with profiles, which promise these, that is a warning."""
        by_profile = bool(self._context.settings.profiles)
        where = "other shapes of the profile" if by_profile else "another batch"
        told = message(
            "keeps_to_shapes", "{subject}: {why} at {where}: it keeps to the first one's shapes",
            subject=segment.name, why=why, where=where,
        )  # fmt: skip
        _log.info(told)
        if by_profile:
            self._context.notices.warn(told)

    @property
    def _has_judge(self) -> bool:
        return self._context.int8 is not None and self._context.int8.has_judge

    def _expected(self, samples: Sequence[Exchange], made: QuantizedSegment | None) -> Sequence[Exchange]:
        """What to compare with on made-up values; ranges that do not fit them say nothing against INT8 (`made`).

        Without held-back data, that is compared with what another engine makes of the same ranges.
        """
        return samples if made is None or self._has_judge else [(inputs, made.run(inputs)) for inputs, _ in samples]

    def _judge(self, candidate: Candidate, forms: SegmentForms, made: QuantizedSegment | None) -> None:
        """Holds INT8, and with a budget what replaces it, to its limit on held-back data."""
        int8 = self._context.int8
        has_budget = self._context.settings.quantization.accuracy_budget is not None
        limited = candidate.is_int8 or (has_budget and candidate.built.precision != "fp32")
        if int8 is None or candidate.failure is not None or not limited or forms.onnx_refusals:
            return
        candidate.accuracy = int8.judge(
            forms.segment, forms.exported, candidate.runner, made if candidate.is_int8 else None
        )
        if candidate.accuracy is not None:
            candidate.deviation = max(item.max_rel for item in candidate.accuracy.outputs.values())
        if why := int8.refusal(candidate.accuracy):
            candidate.failure = Refusal("deviates", message(
                "int8_inaccurate", "{subject} {precision}: {why}", subject=candidate.engine.name,
                precision=candidate.built.precision, why=why,
            ))  # fmt: skip


def _error(found: OutputDifference) -> float:
    """Root mean square of the error over that of the output."""
    return 0.0 if found.sqnr_db is None else 10 ** (-found.sqnr_db / 20)
