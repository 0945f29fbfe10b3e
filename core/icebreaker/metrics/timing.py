"""Statistics of times: how functions are called in turns, and what is made of the milliseconds."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.metrics.machine_load import BUSY, MachineLoad
from icebreaker.reports import Latency, Speedup

_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 400
_SETTLING_ROUNDS = 7  # the fewest after which an interval may end a race
_RESAMPLES = 1000


@dataclass(frozen=True)
class Ratio:
    """How many times as long one series took as another: the median of their rounds, and its 95 % interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Race:
    """Times of functions that were called in turns.

    Attributes:
        milliseconds: Of each function, one for each round: by the clock or, where others had the processors, what
            they took of these. The clock then tells of the others; processor time hardly changes with them.
        others: Share of the processors' time that other programs had meanwhile.
        is_busy: Whether that is so much that processor time is what counts.
    """

    milliseconds: tuple[np.ndarray, ...]
    others: float
    is_busy: bool

    @property
    def medians(self) -> list[float]:
        """Median milliseconds of each function."""
        return [float(np.median(series)) for series in self.milliseconds]


def race(
    runs: Sequence[Callable[[], Any]], limit: float, *, is_settled: Callable[[Race], bool] = lambda race: False,
    on_processor: bool = True,
) -> Race:  # fmt: skip
    """Calls functions in turns, each round in another order, so that what disturbs the machine disturbs all of them.

    Args:
        runs: The functions; each is called once more at the beginning, which does not count.
        limit: About how many seconds to take at most, not counting what others had; three rounds are made at least.
        is_settled: Ends the race when it says so of what there is: what was to be found out is clear.
        on_processor: False if the work is done elsewhere, as on a GPU: then the clock counts in any case.
    """
    for run in runs:
        run()
    order, shuffled = list(range(len(runs))), random.Random(0)  # noqa: S311 - no secret
    wall: list[list[float]] = [[] for _ in runs]
    processor: list[list[float]] = [[] for _ in runs]
    load, began, begun = MachineLoad(), time.perf_counter(), time.process_time()
    while True:
        shuffled.shuffle(order)
        for index in order:
            before = time.process_time(), time.perf_counter()
            runs[index]()
            processor[index].append((time.process_time() - before[0]) * 1000)
            wall[index].append((time.perf_counter() - before[1]) * 1000)
        rounds = len(wall[0])
        taken = time.perf_counter() - began
        if on_processor:
            taken = min(taken, time.process_time() - begun)
        is_over = rounds >= _MOST_ROUNDS or taken > limit
        if rounds < _FEWEST_ROUNDS or (rounds < _SETTLING_ROUNDS and not is_over):
            continue
        others = load.others()
        is_busy = on_processor and others > BUSY
        found = Race(tuple(map(np.asarray, processor if is_busy else wall)), others, is_busy)
        if is_over or is_settled(found):
            return found


def ratio(first: np.ndarray, second: np.ndarray) -> Ratio:
    """How many times as long `first` took as `second`, round by round.

    The interval is between order statistics of the rounds' ratios, by the binomial distribution (David and Nagaraja,
    Order Statistics, 2003, section 7.1): no assumption about how times are distributed. Of fewer than six rounds it is
    from the least to the greatest, which is less than 95 %.
    """
    count = min(len(first), len(second))
    ratios = np.sort(np.maximum(first[:count], 1e-9) / np.maximum(second[:count], 1e-9))
    outside, below = 0.0, 0  # how likely the median lies below the `below` smallest
    while (outside := outside + math.comb(count, below) / 2**count) <= 0.025:
        below += 1
    edge = max(below - 1, 0)
    return Ratio(float(np.median(ratios)), float(ratios[edge]), float(ratios[count - 1 - edge]))


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
    generator = np.random.default_rng(seed)
    # A turn of thousands of fast calls is thinned: its median is known well enough from 200 of them.
    blocks = [
        [turn[:: 1 + len(turn) // 200] for turn in turns] for turns in (list(original), list(optimized))
    ]  # fmt: skip
    ratios = np.empty(_RESAMPLES)
    for index in range(_RESAMPLES):
        drawn = generator.integers(len(original), size=len(original))
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
