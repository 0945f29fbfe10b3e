"""Thresholds for symmetric quantization, from values that stream by once.

A histogram that never needs a second pass, and the ways to choose a threshold from it: a new one is a function and a
line in `METHODS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

BINS = 4096
LEVELS = 127  # of |x| in symmetric int8
# A call looks at most at this many values for the histogram; the extremes are always exact.
_VALUES_PER_CALL = 1 << 18


class Histogram:
    """Counts of |x| over [0, `span`], whose span doubles when a larger value comes by: fixed memory, one pass.

    Attributes:
        low: Smallest value seen.
        high: Largest value seen.
        counts: `BINS` counts of |x|, each bin `span / BINS` wide.
        span: Upper end of the last bin, a power of two; 0 until a value other than 0 came by.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self.low, self.high = math.inf, -math.inf
        self.counts = np.zeros(BINS, dtype=np.float64)
        self.span = 0.0

    def add(self, values: np.ndarray) -> None:
        """Counts an array of any shape.

        Raises:
            ValueError: A value is NaN or infinite.
        """
        flat = values.reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("NaN or infinite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        if largest > self.span:
            self._widen(largest)
        # A stride that divides no usual row length, so that no channel is left out.
        stride = -(-flat.size // _VALUES_PER_CALL)
        picked = np.abs(flat[:: stride | 1] if stride > 1 else flat)
        if not self.span:
            self.counts[0] += picked.size
            return
        places = np.minimum((picked * (BINS / self.span)).astype(np.int32), BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)

    def _widen(self, largest: float) -> None:
        span = 2.0 ** math.ceil(math.log2(largest))
        while self.span and self.span < span:
            half = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([half, np.zeros(BINS - half.size)])
            self.span *= 2
        self.span = span

    @property
    def largest(self) -> float:
        """Largest |x| seen; 0 before the first value."""
        return max(-self.low, self.high, 0.0) if math.isfinite(self.low) else 0.0


def minmax(histogram: Histogram) -> float:
    """The largest |x|: nothing is clipped."""
    return histogram.largest


def percentile(histogram: Histogram, share: float = 0.9999) -> float:
    """The |x| that `share` of all values do not exceed."""
    total = histogram.counts.cumsum()
    if not total[-1]:
        return histogram.largest
    place = int(np.searchsorted(total, share * total[-1])) + 1
    return min(histogram.largest, place * histogram.span / BINS)


def mse(histogram: Histogram) -> float:
    """The threshold with the smallest mean squared error of rounding and clipping together."""
    counts, centers = _occupied(histogram)
    if not histogram.largest:
        return 0.0
    candidates = histogram.largest * np.linspace(0.02, 1.0, 99)
    steps = candidates[:, None] / LEVELS
    rounded = np.minimum(np.rint(centers / steps), LEVELS) * steps
    errors = np.square(rounded - centers) @ counts
    return float(candidates[int(errors.argmin())])


def entropy(histogram: Histogram) -> float:
    """The threshold whose 128 levels lose the least information (Kullback-Leibler), as TensorRT's calibrator did.

    Source: S. Migacz, 8-bit inference with TensorRT, GTC 2017. The bin at zero is left out, as there.
    """
    counts = histogram.counts.reshape(-1, 2).sum(1)  # 2048 bins, as in the source
    counts[0] = 0
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    levels = LEVELS + 1
    if used <= levels:
        return histogram.largest
    best, best_size = math.inf, used
    for size in range(levels, used + 1, max(1, (used - levels) // 128)):
        reference = counts[:size].copy()
        reference[-1] += counts[size:].sum()
        filled = counts[:size] > 0
        level = np.arange(size) * levels // size
        mass = np.bincount(level, weights=counts[:size], minlength=levels)
        width = np.bincount(level, weights=filled, minlength=levels)
        model = np.where(filled, (mass / np.maximum(width, 1))[level], 0.0)
        p, q = reference / reference.sum(), model / max(model.sum(), 1e-30)
        here = p > 0
        loss = float(np.sum(p[here] * np.log(p[here] / np.maximum(q[here], 1e-12))))
        if loss < best:
            best, best_size = loss, size
    return min(histogram.largest, best_size * histogram.span / counts.size)


METHODS: Mapping[str, Callable[[Histogram], float]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}


def _occupied(histogram: Histogram) -> tuple[np.ndarray, np.ndarray]:
    """Counts and centers of the bins that are not empty."""
    places = np.flatnonzero(histogram.counts)
    return histogram.counts[places], (places + 0.5) * (histogram.span / BINS)
