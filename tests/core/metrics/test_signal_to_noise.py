"""Signal to noise: one definition, in power and in amplitude."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icebreaker.metrics.signal_to_noise import (
    amplitude_decibels,
    finite,
    noise_ratio,
    power_decibels,
    relative_error,
)


def test_power_and_amplitude_agree() -> None:
    reference = np.array([3.0, -4.0], np.float32)
    other = reference + np.array([0.3, 0.4], np.float32)
    assert noise_ratio([reference], [other]) == pytest.approx(0.01, rel=1e-5)
    assert relative_error(reference, other) == pytest.approx(0.1, rel=1e-5)
    assert power_decibels(0.01) == pytest.approx(20) == amplitude_decibels(0.1)


def test_several_arrays_count_together() -> None:
    ones, zeros = np.ones(3, np.float32), np.zeros(1, np.float32)
    assert noise_ratio([ones, zeros], [ones, zeros + 1]) == pytest.approx(1 / 3)


def test_without_noise_or_signal() -> None:
    zeros, ones = np.zeros(2, np.float32), np.ones(2, np.float32)
    assert noise_ratio([ones], [ones]) == 0 == noise_ratio([zeros], [zeros])
    assert noise_ratio([zeros], [ones]) == 1 and relative_error(zeros, ones) == math.inf
    assert power_decibels(0) == math.inf == amplitude_decibels(0)
    assert finite(math.inf) is None and finite(-math.inf) is None and finite(20.0) == 20
