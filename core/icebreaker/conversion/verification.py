"""Puts the optimized graph together and runs it as a whole: segments that spoil it go back to TensorFlow."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker import gpu
from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.candidates import Accepted
from icebreaker.conversion.engine_selection.checking import HARD, TOLERANCES
from icebreaker.conversion.engine_selection.int8_forms import not_int8
from icebreaker.conversion.sample_values import all_finite
from icebreaker.conversion.ties import Ties
from icebreaker.graph.graph import Graph
from icebreaker.graph.random_ops import random_not_compared
from icebreaker.messages import Message, message
from icebreaker.metrics.agreement import agreement
from icebreaker.metrics.timing import race, ratio
from icebreaker.partitioning.partition import Refusal
from icebreaker.reports import Accuracy
from icebreaker.runtime import artifact_writer
from icebreaker.runtime.engine_node import EngineWarning
from icebreaker.runtime.model import Model
from icebreaker.runtime.recorded_draws import answers
from icebreaker.storage import crash_journal
from icebreaker.tf.session import GraphSession, exact_float32

_log = logging.getLogger(__name__)

_SECONDS_TO_COMPARE = 1.5


@dataclass(frozen=True)
class Verified:
    """The optimized graph as it stays.

    Attributes:
        definition: TensorFlow's GraphDef.
        accepted: The segments that are in engines.
        left: Node → why its segment went back to TensorFlow.
        accuracy: Of the whole graph on held-back data, where INT8 was asked for and there is such data.
    """

    definition: Any
    accepted: list[Accepted]
    left: dict[str, Refusal]
    accuracy: Accuracy | None


@dataclass(frozen=True)
class _Figures:
    """The whole graph against the original: `deviates` and `slower` in words, if it does and is."""

    deviates: Message | None
    slower: Message | None
    accuracy: Accuracy | None


def verify(context: Context, accepted: list[Accepted]) -> Verified:
    """Compares the whole with the original, and takes out what spoils it until nothing does.

    A graph with an engine that was built for another machine is put together and not run.
    """
    left: dict[str, Refusal] = {}
    accuracy: Accuracy | None = None
    for tensor in context.outputs:
        if accepted and tensor.node in context.samples.randomness.clouded:
            context.notices.warn(random_not_compared(tensor))
    while True:
        nodes = [item.node for item in accepted]
        definition = artifact_writer.assemble(
            context.graph, context.outputs, nodes, context.original, context.spare_nodes
        )
        if not accepted or not all(item.report.runs_here for item in accepted):
            return Verified(definition, accepted, left, accuracy)
        figures = _run(context, definition, accepted)
        accuracy = figures.accuracy
        in_int8 = [item for item in accepted if item.node.built.precision == "int8"]
        if in_int8 and context.int8 is not None and (why := context.int8.refusal(accuracy)):
            told = message("graph_inaccurate", "with it, the whole graph breaks the limit: {why}", why=why)
            accepted = _without_int8(context, accepted, max(in_int8, key=_int8_error), told, left)
            continue
        spoilers, refusal = _spoilers(accepted, figures)
        if refusal is None:
            return Verified(definition, accepted, left, accuracy)
        for item in spoilers:
            left.update(dict.fromkeys(item.node.segment.nodes, refusal))
            _log.info(message(
                "segment_goes_back", "{subject} goes back to TensorFlow: {why}",
                subject=item.report.name, why=refusal.text,
            ))  # fmt: skip
        accepted = [item for item in accepted if item not in spoilers]


def _run(context: Context, definition: Any, accepted: list[Accepted]) -> _Figures:
    with crash_journal.step("running the optimized graph", [item.attempt for item in accepted]):
        runners = {item.report.name: item.runner for item in accepted if item.runner is not None}
        graph = Graph(definition, context.graph.store)
        model = Model(graph, Path(), fallback=False, trust=context.consent.engines, runners=runners)
        deviates = _deviation(context, accepted, model)
        # A graph that is one segment was measured as such already.
        races = context.settings.engine == "auto" and not model.is_direct
        slower = _slower(context, model) if races else None
        accuracy = None
        if context.int8 is not None:
            accuracy = context.int8.whole(context.original, context.outputs, model)
        return _Figures(deviates, slower, accuracy)


def _spoilers(accepted: list[Accepted], figures: _Figures) -> tuple[list[Accepted], Refusal | None]:
    """The segments to take out, and why; none if the whole is right and fast."""
    if figures.deviates is not None:
        return [max(accepted, key=lambda item: item.report.deviation)], Refusal("deviates", figures.deviates)
    if figures.slower is not None:
        # The half that gains least: one at a time would load the graph once per segment.
        by_gain = sorted(accepted, key=lambda item: item.report.tensorflow_ms - item.report.engine_ms)
        return by_gain[: (len(by_gain) + 1) // 2], Refusal("not_faster", figures.slower)
    return [], None


def _without_int8(
    context: Context, accepted: list[Accepted], spoiler: Accepted, why: Message, left: dict[str, Refusal]
) -> list[Accepted]:
    """Takes INT8 from one segment: it falls back to higher precision, or to TensorFlow."""
    context.notices.warn(not_int8(spoiler.report.name, why))
    if spoiler.fallback is None:
        left.update(dict.fromkeys(spoiler.node.segment.nodes, Refusal("deviates", why)))
        return [item for item in accepted if item is not spoiler]
    told = spoiler.report.quantization
    told = replace(told, message=why, int8_layers=0) if told else None
    spare = replace(spoiler.fallback, report=replace(spoiler.fallback.report, quantization=told))
    return [spare if item is spoiler else item for item in accepted]


def _int8_error(item: Accepted) -> float:
    """How much a segment's INT8 errs."""
    told = item.report.quantization
    return told.accuracy.error if told and told.accuracy else item.report.deviation


def _deviation(context: Context, accepted: Sequence[Accepted], model: Model) -> Message | None:
    """What speaks against the whole: an output that differs from the original's on any values.

    Random nodes give what was recorded; outputs that hang on draws which cannot be recorded are left out.
    """
    samples = context.samples
    outputs = [tensor for tensor in context.outputs if tensor.node not in samples.randomness.clouded]
    sets = [("", 1, *item) for item in zip(samples.feeds, samples.observed, samples.draws, strict=True)]
    # With INT8, the limit on held-back data tells.
    in_int8 = any(item.node.built.precision == "int8" for item in accepted)
    tolerance = float("inf") if in_int8 else max(item.tolerance for item in accepted)
    if np.isfinite(tolerance):
        # Where there are NaNs, each segment was judged by itself.
        omitted = frozenset().union(*(item.omits for item in accepted))
        hard = (item for item in samples.hard if item.kind not in omitted and all_finite(item.observed.values()))
        sets += [
            (item.words, 1 if item.kind == "data" else HARD, item.feeds, item.observed, item.draws) for item in hard
        ]
    precision = "fp32" if tolerance <= TOLERANCES["fp32"] else "bf16"
    for words, factor, feeds, observed, draws in sets:
        limit = factor * tolerance
        with exact_float32(), warnings.catch_warnings():
            warnings.simplefilter("ignore", EngineWarning)  # hard values are no call of the user's
            results = answers(model, feeds, draws)
        there = [tensor for tensor in outputs if tensor in observed]
        want, have = [observed[tensor] for tensor in there], [np.asarray(results[str(tensor)]) for tensor in there]
        found = [agreement(*pair, limit) for pair in zip(want, have, strict=True)]
        if not all(item.agrees for item in found) and np.isfinite(tolerance):
            ties = Ties(context.graph.definition, there, context.graph.store)
            found = ties.without(found, feeds | draws, want, have, limit, precision)
        wrong = next((index for index, item in enumerate(found) if not item.agrees), None)
        if wrong is None:
            continue
        told = message(
            "graph_deviates",
            "with it, the graph's outputs deviate by {deviation:.2g} of their range (at most {tolerance:g})",
            deviation=found[wrong].deviation, tolerance=limit,
        )  # fmt: skip
        if (other := found[wrong].other) is not None:
            told = message(
                "graph_other_values", "with it, the graph gives {have} in place of {want} in {output}",
                have=other[2], want=other[1], output=str(there[wrong]),
            )  # fmt: skip
        return message("fails_on", "{what} on {values}", what=told, values=words) if words else told
    return None


def _slower(context: Context, model: Model) -> Message | None:
    """Words if the optimized graph as a whole is slower than the original."""
    feeds = context.samples.feeds[0]
    original = GraphSession(context.graph.definition, store=context.graph.store)
    call = original.callable(context.outputs, list(feeds))
    runs = [lambda: call(*feeds.values()), lambda: model(feeds)]
    found = race(
        runs, _SECONDS_TO_COMPARE, on_processor=gpu.find() is None,
        is_settled=lambda now: not (between := ratio(*now.milliseconds)).low <= 1 <= between.high,
    )  # fmt: skip
    original.close()
    context.notices.timed(found, decides=True)
    (before, after), gain = found.medians, ratio(*found.milliseconds)
    if gain.high >= 1 or after < before:  # no clear difference: each segment alone was faster
        return None
    return message(
        "graph_slower", "with it, the whole graph takes {after:.2f} ms, in TensorFlow alone {before:.2f} ms",
        after=after, before=before,
    )  # fmt: skip
