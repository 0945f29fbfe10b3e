"""Measures the original and the optimized graph in turns. Runs in the worker.

The original is called as the fastest way of plain TensorFlow does it (`Session.make_callable`), the optimized graph as
its user calls it (`icebreaker.load(path)(…)`).
"""

from __future__ import annotations

import gc
import logging
import random
import time
from collections.abc import Mapping

import numpy as np

from icebreaker import events
from icebreaker.benchmarking.graph_pair import Call, Emit, GraphPair, warnings_logged
from icebreaker.errors import IcebreakerError
from icebreaker.messages import message
from icebreaker.metrics.machine_load import BUSY, MachineLoad
from icebreaker.metrics.timing import latency, speedup
from icebreaker.reports import Benchmark
from icebreaker.settings import Consent, ConvertSettings

_log = logging.getLogger(__name__)

_TURN_SECONDS = 0.05  # long enough for caches and threads to settle, short enough that both see the same machine
_FEWEST_TURNS = 6  # the smallest number of pairs whose bootstrap can span 95 %: 1 - 2 / 2**6
_WARM_UP_CALLS = 3
_WARM_UP_SECONDS = 0.5
_MOST_SAMPLES_A_TURN = 25  # sent to be drawn; the statistics use every call


def benchmark(
    model: str,
    optimized: str | None = None,
    batch: int = 1,
    seconds: float = 5.0,
    settings: ConvertSettings = ConvertSettings(),
    *,
    profile: bool = False,
    consent: Consent = Consent(),
    emit: Emit = lambda event: None,
) -> Benchmark:
    """Times a graph, or two in turns on the same inputs; `Sample` events tell of the calls while it runs.

    Each turn calls one graph for 50 ms, at least once, then it is the other's turn; which is first changes. Fast calls
    are thinned out to 25 `Sample` events a turn.

    Args:
        model: The original graph.
        optimized: What `convert` made of it; or `model` again, which then runs in plain TensorFlow and in its engines.
        batch: Rows of every input whose first dimension is open.
        seconds: How long to measure, both graphs together, warm-up excluded; six turns each are made at least.
        settings: Its outputs, input shapes, memory fraction and the first `batch` rows of its data are used.
        profile: Find out, after measuring, where the time goes.
        consent: What the user has allowed.
        emit: Receives `Progress` and `Sample`.

    Returns:
        Statistics over all calls; throughput is rows per second of time in calls.

    Raises:
        IcebreakerError: A file, a name or the inputs do not fit, or `batch` or `seconds` is not positive.
    """
    if batch < 1:
        raise IcebreakerError("benchmark_batch_small", "batch {batch} is too small", "at_least_1", batch=batch)
    if not 0 < seconds < float("inf"):
        raise IcebreakerError(
            "no_time_to_measure", "{seconds} seconds is no time to measure", "give_positive_number", seconds=seconds
        )
    with warnings_logged(), GraphPair(model, optimized, settings, consent, emit) as pair:
        if pair.has_engines and model != optimized:
            told = message(
                "original_has_engines",
                "{subject} has engines in it, but as the original it runs in plain TensorFlow, without them",
                subject=model,
            )  # fmt: skip
            _log.warning(told)
        feeds = pair.sample(batch)
        calls = pair.calls(feeds)
        emit(events.Progress(message("stage_warm_up", "Warming up"), 0.15))
        for call in calls.values():
            warm_up(call)
        load = MachineLoad()
        turns = _take_turns(calls, seconds, emit)
        if (others := load.others()) > BUSY:
            told = message(
                "benchmark_busy", "other programs had {share:.0%} of the processors while it was measured",
                "measure_on_quiet_machine", share=others,
            )  # fmt: skip
            _log.warning(told)
        emit(events.Progress(message("stage_compare", "Comparing the outputs"), 0.95))
        answers = pair.answers(feeds)
        rows = pair.rows(feeds)
        statistics = {series: latency(np.concatenate(times), rows) for series, times in turns.items()}
        profiles = pair.profiles(feeds, emit) if profile else {}
        return Benchmark(
            original=statistics["original"],
            optimized=statistics.get("optimized"),
            speedup=speedup(turns["original"], turns["optimized"]) if optimized else None,
            outputs=pair.differences([answers["original"]], [answers["optimized"]]) if optimized else {},
            batch=rows,
            profiles=profiles,
            others=others,
        )


def warm_up(call: Call) -> None:
    """TensorFlow optimizes the graph in the first call and engines choose their kernels in the first few."""
    began = time.perf_counter()
    calls = 0
    while calls < _WARM_UP_CALLS or time.perf_counter() - began < _WARM_UP_SECONDS:
        call()
        calls += 1


def _take_turns(calls: Mapping[str, Call], seconds: float, emit: Emit) -> dict[str, list[np.ndarray]]:
    """Series → one array for each of its turns, with the milliseconds of every call."""
    turns: dict[str, list[np.ndarray]] = {series: [] for series in calls}
    clock = time.perf_counter
    order, shuffled = list(calls.items()), random.Random(0)  # noqa: S311 - no secret
    gc.collect()
    gc.disable()  # a collection would count against whoever's turn it is
    try:
        began = clock()
        while (elapsed := clock() - began) < seconds or len(turns["original"]) < _FEWEST_TURNS:
            emit(events.Progress(message("stage_measure", "Measuring"), 0.2 + 0.75 * min(1.0, elapsed / seconds)))
            shuffled.shuffle(order)
            for series, call in order:
                times = []
                end = clock() + _TURN_SECONDS
                now = 0.0
                while now < end:
                    before = clock()
                    call()
                    now = clock()
                    times.append((now - began, (now - before) * 1e3))
                turns[series].append(np.array([milliseconds for _, milliseconds in times]))
                for at, milliseconds in times[:: 1 + (len(times) - 1) // _MOST_SAMPLES_A_TURN]:
                    emit(events.Sample(series, at, milliseconds))
    finally:
        gc.enable()
    return turns
