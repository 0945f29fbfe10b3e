"""Measures candidates and TensorFlow in turns, and says which is the fastest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np

from icebreaker import gpu
from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.candidates import Candidate
from icebreaker.conversion.engine_selection.engine_calls import EngineCalls
from icebreaker.metrics.timing import Race, Ratio, race, ratio
from icebreaker.partitioning.partition import Segment
from icebreaker.runtime import segment_graph
from icebreaker.storage import crash_journal
from icebreaker.tf.session import GraphSession

# An engine must beat TensorFlow by this factor, and by more than the noise.
MARGIN = 1.02
# So must an engine one that comes before it, by this: nobody notices less, and from process to process one engine
# varies as much. On a busy machine even processor time hangs on whom the caches are shared with: ten conversions
# beside two busy loops saw the faster of two engines take 0.8 to 1.2 times as long as the other.
_ALIKE, _ALIKE_IF_BUSY = 1.05, 1.25
# INT8 was asked for: beyond this, it is slower than FP32, and no noise.
_INT8_MARGIN = 1.05
_INT8_NOISE_MS = 0.05
_SECONDS_TO_MEASURE = 4.0  # at most, for all segments together

# A segment in TensorFlow: its session, to be closed, and a call of it.
Native = tuple[GraphSession, Callable[[], Any]]

_T = TypeVar("_T")
_hand_over: list[float] = []  # milliseconds, once measured


class Ranking:
    """Times what was built for a segment."""

    def __init__(self, context: Context, calls: EngineCalls) -> None:
        """Times on the conversion's usual sample values."""
        self._context, self._calls = context, calls

    def native(self, segment: Segment, inputs: Sequence[np.ndarray]) -> Native:
        """The segment in TensorFlow; the first call, which optimizes it, is made."""
        context = self._context
        shapes = {tensor: value.shape for tensor, value in zip(segment.inputs, inputs, strict=True)}
        definition, stand_ins = segment_graph.segment_definition(context.graph, segment, context.original, shapes)
        session = GraphSession(definition, store=context.graph.store)
        call = session.callable(segment.outputs, [str(stand_in) for stand_in in stand_ins])
        call(*inputs)
        return session, lambda: call(*inputs)

    def measure(
        self, segment: Segment, inputs: Sequence[np.ndarray], candidates: Sequence[Candidate], count: int,
        native: Future[Native] | None = None,
    ) -> float:  # fmt: skip
        """Times TensorFlow and candidates in turns.

        Args:
            segment: The segment.
            inputs: What it reads.
            candidates: Get their `milliseconds`, hand-over included; one may fail on the way.
            count: How many segments share the time for measuring.
            native: What `native` gives, if it was begun before.

        Returns:
            Median milliseconds of the segment in TensorFlow.
        """

        def run(candidate: Candidate) -> None:
            if candidate.runner is not None and candidate.failure is None:
                try:
                    candidate.runner(inputs)
                except Exception as error:  # native libraries raise what they like
                    candidate.failure = self._calls.failure(candidate.engine, error)

        runs: list[Callable[[], Any]] = [partial(run, candidate) for candidate in candidates]
        store = self._context.graph.store
        if store is not None:
            for warm_up in runs:
                warm_up()  # compiles for these shapes again
            store.rest()
        session, call = native.result() if native is not None else self.native(segment, inputs)
        added = 0.0 if self._is_whole(segment) else hand_over_ms()

        def keep(found: Race) -> None:
            in_tensorflow, *in_engines = found.milliseconds
            for candidate, times in zip(candidates, in_engines, strict=True):
                # A function in the graph is handed nothing over.
                times = times if candidate.engine.payload == "function" else times + added
                candidate.times, candidate.tensorflow_times = times, in_tensorflow
                candidate.was_busy = found.is_busy
                candidate.milliseconds = float(np.median(candidate.times))

        def is_settled(found: Race) -> bool:
            keep(found)
            return not auto or _is_settled([item for item in candidates if item.failure is None])

        auto = self._context.settings.engine == "auto"
        with crash_journal.step(f"measuring {segment.name}", [candidate.attempt for candidate in candidates]):
            found = race(
                [call, *runs], _SECONDS_TO_MEASURE / max(count, 3), is_settled=is_settled,
                on_processor=gpu.find() is None,
            )  # fmt: skip
        session.close()
        keep(found)
        self._context.notices.timed(found, auto)
        return found.medians[0]

    def _is_whole(self, segment: Segment) -> bool:
        """True if the engine will be called directly: nothing is left for TensorFlow."""
        return (
            all(self._context.graph[tensor.node].op == "Placeholder" for tensor in segment.inputs)
            and set(self._context.outputs) <= set(segment.outputs)
            and not segment.controls
        )


def fastest(candidates: Sequence[Candidate], auto: bool = True) -> Candidate:
    """The fastest; INT8, where it was asked for and is accurate, unless `auto` finds that it is slower than FP32.

    Of candidates without a clear difference it is the first, so that the choice does not hang on noise.
    """
    best = _fastest(candidates)
    in_int8 = [candidate for candidate in candidates if candidate.is_int8]
    if not in_int8:
        return best
    # Our own has the table of layers and is an ONNX model, so NNCF's must really be faster.
    quantized = _fastest(sorted(in_int8, key=lambda candidate: candidate.rival is not None))
    in_float = (candidate.milliseconds for candidate in candidates if candidate.built.precision == "fp32")
    limit = min(in_float, default=float("inf")) * _INT8_MARGIN + _INT8_NOISE_MS
    return best if auto and quantized.milliseconds > limit else quantized


def gain(candidate: Candidate) -> Ratio:
    """How many times as long TensorFlow takes as a candidate, hand-over included."""
    return ratio(candidate.tensorflow_times, candidate.times)


def _fastest(candidates: Sequence[Candidate]) -> Candidate:
    """The first of those than which none is clearly faster."""
    best = candidates[0]
    for candidate in candidates[1:]:
        ahead = best.milliseconds / max(candidate.milliseconds, 1e-9)
        if ahead >= _alike(candidate) and (
            not _in_one_race(best, candidate) or ratio(best.times, candidate.times).low > 1
        ):
            best = candidate
    return best


def _alike(candidate: Candidate) -> float:
    """By what factor it must be ahead of another to count as faster."""
    return _ALIKE_IF_BUSY if candidate.was_busy else _ALIKE


def _in_one_race(first: Candidate, second: Candidate) -> bool:
    return len(first.tensorflow_times) > 0 and first.tensorflow_times is second.tensorflow_times


def _is_settled(candidates: Sequence[Candidate]) -> bool:
    """Whether more rounds would hardly change the choice."""
    if not candidates:
        return True
    best = _fastest(candidates)
    in_tensorflow = gain(best)
    if in_tensorflow.low <= MARGIN <= in_tensorflow.high:
        return False
    # One before it is behind by what counts; none after it is ahead by that.
    limit = _alike(best)
    for candidate in candidates:
        if candidate is best:
            limit = 1 / limit
        elif ratio(candidate.times, best.times).low <= limit:
            return False
    return True


def evened_out(candidates: Sequence[Candidate]) -> float:
    """Makes candidates comparable that were each measured alone, in turns with TensorFlow.

    Returns:
        TensorFlow's milliseconds, to which theirs are scaled now.
    """
    common = float(np.median([candidate.tensorflow_ms for candidate in candidates]))
    for candidate in candidates:
        candidate.milliseconds *= common / candidate.tensorflow_ms
    return common


def hand_over_ms() -> float:
    """What it costs TensorFlow to call a Python function, on this machine: measured once per process."""
    if not _hand_over:
        import tensorflow as tf

        with tf.Graph().as_default() as graph:
            entry = tf.compat.v1.placeholder(tf.float32, [16])
            plain = tf.identity(entry)
            through = tf.numpy_function(lambda value: value, [entry], tf.float32, stateful=False)
        with tf.compat.v1.Session(graph=graph) as session:
            value = np.zeros(16, np.float32)
            calls = [session.make_callable(fetch, [entry]) for fetch in (plain, through)]
            base, whole = race(
                [lambda: calls[0](value), lambda: calls[1](value)], 0.2, on_processor=gpu.find() is None
            ).medians
        _hand_over.append(max(whole - base, 0.0))
    return _hand_over[0]


def in_background(work: Callable[[], _T]) -> Future[_T]:
    """Begins some work in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    result = pool.submit(work)
    pool.shutdown(wait=False)
    return result
