"""Compares what an engine makes of a segment with TensorFlow: on sample values, and INT8 on held-back data."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.candidates import Candidate, FailedOn
from icebreaker.conversion.engine_selection.engine_calls import EngineCalls
from icebreaker.conversion.engine_selection.segment_forms import SegmentForms
from icebreaker.conversion.sample_values import Exchange, all_finite
from icebreaker.conversion.ties import Ties
from icebreaker.engine.protocol import GivesWay
from icebreaker.export.ops import spectra
from icebreaker.graph.ops import PASSIVE
from icebreaker.messages import Message, message
from icebreaker.metrics.agreement import Agreement, agreement
from icebreaker.metrics.output_difference import difference
from icebreaker.partitioning.partition import Refusal, Segment
from icebreaker.quantization.segment_quantizer import QuantizedSegment
from icebreaker.reports import OutputDifference
from icebreaker.runtime.segment_graph import segment_definition
from icebreaker.storage import crash_journal
from icebreaker.tensors import Tensor
from icebreaker.tf.session import exact_float32

_log = logging.getLogger(__name__)

# Largest accepted difference from TensorFlow, as a share of the output's range.
TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 8e-2}
_HALVES = {"float16": "fp16", "bfloat16": "bf16"}
# Ops that multiply by weights.
_LAYERS = frozenset({
    "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMul", "BatchMatMulV2",
    "BatchMatMulV3", "Einsum", "_FusedConv2D", "_FusedMatMul", "QuantizedConv2D", "QuantizedMatMul",
})  # fmt: skip
# Of what may deviate on friendly values, how many times may on hard ones: sums of large numbers round more.
HARD = 4
# What a precision does not promise: FP16 has no numbers that are so large or so small.
NOT_FOR: Mapping[str, tuple[str, ...]] = {"fp16": ("tiny", "large"), "bf16": ("tiny",)}
_NNCF_ERROR = 1.25  # of our own, 2 dB: what it may err where no budget says
# Of INT8 in one engine against another, where no data judges it: error over output, as root mean squares.
_UNJUDGED_ERROR = 0.1


@dataclass(frozen=True)
class Judged:
    """What comparing one set of values found.

    Attributes:
        deviation: The largest, as a share of an output's range.
        failure: What speaks against the engine.
        compared: How many elements of each output were compared.
        other: Of exact values that differ, how many and the first: what is right, and what came.
        gave_way: Whether the engine leaves these values to TensorFlow, which is right at any rate, and no use.
    """

    deviation: float
    failure: Refusal | None
    compared: Sequence[int] = ()
    other: tuple[int, str, str] | None = None
    gave_way: bool = False


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
                expected = self._expected(samples, made if candidate.is_int8 else None)
                self._compare(candidate, forms, expected, is_own=expected is samples)
            self._judge(candidate, forms, made)

    def tolerance(self, segment: Segment, precision: str) -> float:
        """What a precision may deviate; where the original itself computes in half precision, it rounds as much."""
        return max(TOLERANCES.get(kind, TOLERANCES["fp32"]) for kind in self._precisions(segment, precision))

    def omits(self, segment: Segment, precision: str) -> frozenset[str]:
        """Kinds of hard values that a precision, or the original itself in half precision, does not promise."""
        return frozenset().union(*(NOT_FOR.get(kind, ()) for kind in self._precisions(segment, precision)))

    def _precisions(self, segment: Segment, precision: str) -> set[str]:
        graph, original = self._context.graph, self._context.original
        computing = [name for name in segment.nodes if graph[name].op not in PASSIVE]
        given = (Tensor(name, port) for name in computing for port in range(original.output_count(name)))
        return {precision, *(_HALVES.get(original.dtype(tensor), "fp32") for tensor in given)}

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

    def _compare(self, candidate: Candidate, forms: SegmentForms, samples: Sequence[Exchange], *, is_own: bool) -> None:
        """Compares outputs; an engine that is right for the first sample's shapes only is held to those.

        Args:
            candidate: Gets what is found.
            forms: The segment.
            samples: What to compare with, the usual shapes first.
            is_own: That is TensorFlow's, and no other engine's: then hard values are tried, too.
        """
        tolerance = self.tolerance(forms.segment, candidate.built.precision)
        if candidate.is_int8:  # judged on data that means something, if there is some
            tolerance = float("inf") if self._has_judge else _UNJUDGED_ERROR
        candidate.shapes = forms.shapes
        usual = tuple(value.shape for value in samples[0][0])
        if not candidate.engine.takes_open_shapes:
            samples, candidate.shapes = samples[:1], usual
        compared = [0] * len(forms.segment.outputs)
        for index, exchange in enumerate(samples):
            judged = self.judged(candidate, forms, exchange, tolerance, tells_limit=index == 0)
            if judged.failure is None:
                candidate.deviation = max(candidate.deviation, judged.deviation)
                compared = [a + b for a, b in zip(compared, judged.compared, strict=True)]
            elif index == 0:
                candidate.deviation, candidate.failure = judged.deviation, judged.failure
                candidate.failed_on = FailedOn(exchange, tolerance)
                return
            elif not judged.gave_way:
                candidate.shapes = usual
                self._tell_of_shapes(candidate, forms.segment, judged.failure.text)
                break
        if candidate.is_int8 or not is_own:
            return
        self._compare_hard(candidate, forms, tolerance, compared)
        for tensor, count in zip(forms.segment.outputs, compared, strict=True):
            if candidate.failure is None and not count and not self._is_always_empty(tensor):
                candidate.failure = Refusal("no_data", message(
                    "nothing_compared", "{subject} could not be checked: {tensor} was empty, or hung on the last bits, "
                    "in all runs", subject=candidate.engine.name, tensor=str(tensor),
                ))  # fmt: skip

    def _compare_hard(self, candidate: Candidate, forms: SegmentForms, tolerance: float, compared: list[int]) -> None:
        """Compares on hard values and on more of the user's, in the shapes that the candidate is used for."""
        omitted = self.omits(forms.segment, candidate.built.precision)
        for item, exchange in self._context.samples.hard_exchanges(forms.segment):
            if item.kind in omitted:
                continue
            if not all(map(_is_shape, candidate.shapes, (value.shape for value in exchange[0]))):
                continue
            limit = tolerance if item.kind == "data" else HARD * tolerance
            judged = self.judged(candidate, forms, exchange, limit, tells_limit=False)
            if judged.failure is None:
                compared[:] = [a + b for a, b in zip(compared, judged.compared, strict=True)]
                if item.kind == "data":
                    candidate.deviation = max(candidate.deviation, judged.deviation)
                continue
            if judged.gave_way:
                continue
            told = message("fails_on", "{what} on {values}", what=judged.failure.text, values=item.words)
            if not all_finite(itertools.chain(*exchange)) and self._is_network(forms.segment):
                candidate.notes.append(told)
                continue
            candidate.deviation, candidate.failure = judged.deviation, Refusal(judged.failure.code, told)
            candidate.failed_on = FailedOn(exchange, limit, item.words)
            return

    def judged(
        self, candidate: Candidate, forms: SegmentForms, exchange: Exchange, tolerance: float, *,
        tells_limit: bool = False,
    ) -> Judged:  # fmt: skip
        """What a candidate makes of one set of values, against what TensorFlow makes of it.

        Args:
            candidate: It was built and runs here.
            forms: The segment.
            exchange: What it reads, and is to give.
            tolerance: Of floats, as a share of the range.
            tells_limit: Whether the refusal names the tolerance.
        """
        assert candidate.runner is not None  # noqa: S101 - the caller saw to it
        inputs, expected = exchange
        try:
            with exact_float32():
                results = candidate.runner(inputs)
            if candidate.is_int8:
                found = [difference(want, have) for want, have in zip(expected, results, strict=True)]
                return self._judged_int8(candidate, found, tolerance, tells_limit=tells_limit)
            agreements = [
                agreement(want, np.asarray(have), tolerance) for want, have in zip(expected, results, strict=True)
            ]
            # Ties are a matter of rounding: of NaNs that come in, none is one.
            if not all(item.agrees for item in agreements) and all_finite(inputs):
                agreements = self._without_ties(candidate, forms, exchange, results, tolerance, agreements)
        except GivesWay as error:
            return Judged(0.0, self._calls.failure(candidate.engine, error), gave_way=True)
        except Exception as error:  # native libraries raise what they like
            return Judged(float("inf"), self._calls.failure(candidate.engine, error))
        worst = max((item.deviation for item in agreements), default=0.0)
        compared = [item.compared for item in agreements]
        wrong = [item for item in agreements if not item.agrees]
        if not wrong:
            return Judged(worst, None, compared)
        if (other := wrong[0].other) is not None:
            count, want, have = other
            told = message(
                "engine_other_values", "{subject} gives {have} in place of {want} ({count} of {all} values differ)",
                subject=candidate.engine.name, have=have, want=want, count=count, all=wrong[0].compared,
            )  # fmt: skip
            return Judged(worst, Refusal("deviates", told), compared, other)
        return Judged(worst, Refusal("deviates", _deviates(candidate, worst, tolerance, tells_limit)), compared)

    def _judged_int8(
        self, candidate: Candidate, found: Sequence[OutputDifference], tolerance: float, *, tells_limit: bool
    ) -> Judged:
        worst = max(map(_error, found))
        if worst <= tolerance and not np.isinf(worst):
            return Judged(worst, None, [item.values for item in found])
        return Judged(worst, Refusal("deviates", _deviates(candidate, worst, tolerance, tells_limit)))

    def _without_ties(
        self, candidate: Candidate, forms: SegmentForms, exchange: Exchange, results: Sequence[np.ndarray],
        tolerance: float, agreements: list[Agreement],
    ) -> list[Agreement]:  # fmt: skip
        """Compares again what does not agree, without the places where TensorFlow's own answer is a tie."""
        inputs, expected = exchange
        context = self._context
        shapes = dict(zip(forms.segment.inputs, forms.shapes, strict=True))
        definition, stand_ins = segment_definition(context.graph, forms.segment, context.original, shapes)
        ties = Ties(definition, forms.segment.outputs, context.graph.store)
        feeds = {str(stand_in): value for stand_in, value in zip(stand_ins, inputs, strict=True)}
        have = [np.asarray(value) for value in results]
        return ties.without(agreements, feeds, expected, have, tolerance, candidate.built.precision)

    def _is_always_empty(self, tensor: Tensor) -> bool:
        """Whether the graph itself says that a tensor has no elements."""
        shape = self._context.original.shape(tensor)
        return shape is not None and 0 in shape

    def _is_network(self, segment: Segment) -> bool:
        """Whether it multiplies by weights: what is fed to networks is no NaN, so that is told and no reason."""
        context = self._context
        layers = _LAYERS | spectra.TRANSFORMS
        return any(context.graph[name].op in layers or name in context.recurrences for name in segment.nodes)

    def _tell_of_shapes(self, candidate: Candidate, segment: Segment, why: Message | str) -> None:
        """An engine is wrong at some shapes: with profiles, which promise these, that is a warning."""
        by_profile = bool(self._context.settings.profiles)
        where = "other shapes of the profile" if by_profile else "another batch"
        told = message(
            "keeps_to_shapes", "{subject}: {why} at {where}: it keeps to the first one's shapes",
            subject=segment.name, why=why, where=where,
        )  # fmt: skip
        _log.info(told)
        candidate.notes.append(told)
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


def _deviates(candidate: Candidate, worst: float, tolerance: float, tells_limit: bool) -> Message:
    if np.isinf(worst):
        return message(
            "engine_nan", "{subject} gives NaN or infinity elsewhere than TensorFlow", subject=candidate.engine.name
        )
    told = message(
        "engine_deviates", "{subject} deviates by {deviation:.2g} of the output's range",
        subject=candidate.engine.name, deviation=worst,
    )  # fmt: skip
    if tells_limit and np.isfinite(tolerance):
        told = message("beyond_tolerance", "{what} (at most {limit:g} is accepted)", what=told, limit=tolerance)
    return told


def _is_shape(wanted: Sequence[int | None], shape: Sequence[int]) -> bool:
    return len(wanted) == len(shape) and all(a in (None, b) for a, b in zip(wanted, shape, strict=True))


def _error(found: OutputDifference) -> float:
    """Root mean square of the error over that of the output."""
    return 0.0 if found.sqnr_db is None else 10 ** (-found.sqnr_db / 20)
