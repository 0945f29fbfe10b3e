"""Which of the engines that were measured is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from icebreaker.conversion.engine_selection import ranking
from icebreaker.conversion.engine_selection.candidates import Candidate
from icebreaker.engine import registry
from icebreaker.engine.protocol import Built
from icebreaker.storage.crash_journal import Attempt


def candidates(*milliseconds: float, busy: bool = False) -> list[Candidate]:
    """One for each, with 40 rounds that vary by 2 %, from one race in which TensorFlow took 10 ms."""
    spread = np.random.default_rng(0).uniform(0.98, 1.02, 40)
    tensorflow = np.full(40, 10.0)
    found = []
    for each in milliseconds:
        times = each * spread
        found.append(
            Candidate(
                registry.get("openvino"),
                Built(b"", "fp32", "1", "CPU"),
                Attempt("openvino", ""),
                times=times,
                tensorflow_times=tensorflow,
                milliseconds=float(np.median(times)),
                was_busy=busy,
            )
        )
    return found


@pytest.mark.parametrize(
    ("first", "second", "busy", "chosen"),
    [
        (4.0, 3.0, False, 1),
        (4.0, 3.9, False, 0),  # nobody notices
        (3.9, 4.0, False, 0),
        (4.6, 4.0, False, 1),
        (4.6, 4.0, True, 0),  # beside other programs they come out so or the other way round
        (4.0, 4.6, True, 0),
        (6.0, 4.0, True, 1),
    ],
)
def test_the_first_is_chosen_unless_another_is_faster_by_what_counts(first, second, busy, chosen):
    items = candidates(first, second, busy=busy)
    assert ranking.fastest(items) is items[chosen]
