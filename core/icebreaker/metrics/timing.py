"""Statistics of times: how functions are called in turns, and what is made of the milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 40
_CLEAR_ROUNDS = 7


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
