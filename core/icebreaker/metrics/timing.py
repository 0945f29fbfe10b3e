"""Statistics of times: how functions are called in turns, and what is made of the milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from icebreaker.reports import Latency, Speedup

_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 40
_CLEAR_ROUNDS = 7
_RESAMPLES = 1000


def medians(runs: Sequence[Callable[[], Any]], budget: float, *, until_clear: bool = False) -> list[float]:
    """Calls functions in turns, so that what disturbs the machine disturbs all of them.

    Args:
        runs: The functions; each is called once more at the beginning, which does not count.
        budget: About how many seconds to take; 3 to 40 rounds are made.
        until_clear: End as soon as it is clear which is the fastest.

    Returns:
        Median milliseconds of each.
    """
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    rounds = _FEWEST_ROUNDS
    while len(times[0]) < rounds:
        for index, run in enumerate(runs):
            begun = time.perf_counter()
            run()
            times[index].append(time.perf_counter() - begun)
        if len(times[0]) == 1:
            one_round = max(sum(map(sum, times)), 1e-6)
            rounds = int(min(max(budget / one_round, _FEWEST_ROUNDS), _MOST_ROUNDS))
        if until_clear and _is_clear(times):
            break
    return [float(np.median(series)) * 1000 for series in times]


def _is_clear(times: Sequence[Sequence[float]]) -> bool:
    """True if one function was faster than all others in each of 6 rounds or more, its slowest call not counted."""
    if len(times[0]) < _CLEAR_ROUNDS or len(times) < 2:
        return False
    fastest, *others = sorted((sorted(series) for series in times), key=lambda series: series[-2])
    return fastest[-2] < min(series[0] for series in others)


def speedup(original: Sequence[np.ndarray], optimized: Sequence[np.ndarray], seed: int = 0) -> Speedup:
    """The ratio of the medians of all calls, with the 95 % interval of a paired block bootstrap.

    A resample draws as many pairs of turns, with replacement, as were measured, and takes the ratio of the medians
    of the calls in them; the interval is from the 2.5th to the 97.5th percentile of 1,000 resamples (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13). Whole turns are drawn since the calls of
    one turn are alike, and in pairs since what disturbs the machine disturbs both.

    Args:
        original: One array of durations for each turn, of shape [calls].
        optimized: The same for the turns that followed each of those.
        seed: Makes the interval repeatable.
    """
    random = np.random.default_rng(seed)
    # A turn of thousands of fast calls is thinned: its median is known well enough from 200 of them.
    blocks = [
        [turn[:: 1 + len(turn) // 200] for turn in turns] for turns in (list(original), list(optimized))
    ]  # fmt: skip
    ratios = np.empty(_RESAMPLES)
    for index in range(_RESAMPLES):
        drawn = random.integers(len(original), size=len(original))
        medians = [np.median(np.concatenate([block[pair] for pair in drawn])) for block in blocks]
        ratios[index] = medians[0] / medians[1]
    low, high = np.percentile(ratios, [2.5, 97.5])
    ratio = np.median(np.concatenate(original)) / np.median(np.concatenate(optimized))
    return Speedup(float(ratio), (float(low), float(high)))


def latency(milliseconds: np.ndarray, rows: int) -> Latency:
    """Statistics of the calls of a graph.

    Args:
        milliseconds: What each call took, of shape [calls].
        rows: How many rows a call handles.

    Returns:
        Percentiles, mean, and throughput in rows per second of time in calls.
    """
    mean = float(milliseconds.mean())
    p50, p90, p95, p99 = (float(value) for value in np.percentile(milliseconds, [50, 90, 95, 99]))
    return Latency(p50, p90, p95, p99, mean, rows * 1e3 / mean, len(milliseconds))
