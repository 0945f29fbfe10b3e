"""Races: in turns, with an interval, undisturbed by other programs as far as processor time can tell."""

from __future__ import annotations

import multiprocessing

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from icebreaker.metrics.machine_load import MachineLoad
from icebreaker.metrics.timing import race, ratio


def burn() -> None:
    while True:
        pass


def test_each_function_runs_once_a_round_and_the_order_changes() -> None:
    calls: list[int] = []
    found = race([lambda: calls.append(0), lambda: calls.append(1)], 0.0)
    assert calls[:2] == [0, 1], "the warm-up"
    rounds = [tuple(calls[index : index + 2]) for index in range(2, len(calls), 2)]
    assert all(sorted(item) == [0, 1] for item in rounds)
    assert len(rounds) == len(found.milliseconds[0]) == len(found.milliseconds[1]) >= 3
    calls.clear()
    race([lambda: calls.append(0), lambda: calls.append(1)], 60.0, is_settled=lambda _: len(calls) > 60)
    assert len({tuple(calls[index : index + 2]) for index in range(2, len(calls), 2)}) == 2


def test_a_race_ends_when_it_is_settled_or_at_its_limit() -> None:
    rounds: list[int] = []
    found = race([lambda: rounds.append(0)], 60.0, is_settled=lambda _: True)
    assert len(found.milliseconds[0]) == len(rounds) - 1 == 7
    assert len(race([lambda: None], 0.0).milliseconds[0]) == 3


def test_a_busy_machine_is_found_busy_and_processor_time_counts() -> None:
    data = np.random.default_rng(0).normal(size=200_000)
    once, twice = (lambda: np.sort(data)), (lambda: (np.sort(data), np.sort(data)))
    loops = [multiprocessing.get_context("fork").Process(target=burn, daemon=True) for _ in range(4)]
    for loop in loops:
        loop.start()
    try:
        found = race([once, twice], 1.5)
    finally:
        for loop in loops:
            loop.kill()
    between = ratio(found.milliseconds[1], found.milliseconds[0])
    assert found.is_busy and found.others > 0.2
    assert 1.5 < between.median < 2.7 and between.low > 1.2
    assert not race([once, twice], 0.1, on_processor=False).is_busy, "the clock counts where a GPU does the work"


def test_what_nobody_takes_is_not_negative() -> None:
    assert 0 <= MachineLoad().others() <= 1


TIMES = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60).map(np.asarray)


@given(TIMES, TIMES)
def test_an_interval_has_the_median_in_it(first: np.ndarray, second: np.ndarray) -> None:
    found = ratio(first, second)
    assert 0 < found.low <= found.median <= found.high
    turned = ratio(second, first)
    assert np.isclose(turned.low, 1 / found.high) and np.isclose(turned.high, 1 / found.low)


def test_an_interval_covers_the_truth_and_narrows() -> None:
    generator, inside, widths = np.random.default_rng(0), 0, []
    for _ in range(400):
        first, second = (np.exp(generator.standard_normal(25) * 0.1) for _ in range(2))
        found = ratio(first * 1.3, second)
        inside += found.low <= 1.3 <= found.high
        widths.append(found.high - found.low)
    assert inside / 400 > 0.92
    assert np.mean(widths) < 0.2
    longer = ratio(*(np.exp(generator.standard_normal(400) * 0.1) for _ in range(2)))
    assert longer.high - longer.low < 0.06
