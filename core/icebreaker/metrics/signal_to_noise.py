"""Signal to noise: how large the error of an output is against the output itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def noise_ratio(reference: Sequence[np.ndarray], other: Sequence[np.ndarray], without_signal: float = 1.0) -> float:
    """Power of the noise over power of the signal, both as sums of squares over all arrays; 0 without noise.

    Args:
        reference: The right values.
        other: Values to judge, array by array of the same shapes.
        without_signal: What noise counts as where the right values are all 0.
    """
    signal = sum(float(np.square(a, dtype=np.float64).sum()) for a in reference)
    noise = sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in zip(reference, other, strict=True))
    if signal:
        return noise / signal
    return without_signal if noise > 0 else 0.0


def relative_error(reference: np.ndarray, other: np.ndarray) -> float:
    """Root mean square of the error over that of the reference; infinite where only the reference is all 0."""
    return math.sqrt(noise_ratio([reference], [other], math.inf))


def power_decibels(ratio: float) -> float:
    """Signal to noise in dB of a `noise_ratio`; infinite without noise."""
    return -10 * math.log10(ratio) if ratio > 0 else math.inf


def amplitude_decibels(error: float) -> float:
    """Signal to noise in dB of a `relative_error`; infinite without noise."""
    return -20 * math.log10(error) if error else math.inf


def finite(decibels: float) -> float | None:
    """A figure for reports, where None says that there is no error to speak of."""
    return decibels if math.isfinite(decibels) else None
