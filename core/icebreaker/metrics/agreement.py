"""Whether an engine's answer is TensorFlow's: the rule by which engines are accepted.

- Whole numbers, truth values and text are equal, each one, in a shape that is equal.
- Floats are within the tolerance of the precision, a share of the largest of the output; NaN stands where NaN stands,
  an infinity where the same one does.
- Places where TensorFlow's own answer hangs on the last bits (see `conversion.ties`) are not counted. A whole number
  there must still be one that TensorFlow gives when it is moved a little. What moves less excuses a float by as much,
  and some.
- What has no elements, or nothing but ties, agrees with everything, so it counts as not compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.metrics.output_difference import difference

_EXACT = "biuOSU"
# Roundings inside may add up to this many times what roundings of the inputs do.
_SLACK = 16


@dataclass(frozen=True)
class Agreement:
    """What comparing one output found.

    Attributes:
        deviation: Largest difference, as a share of the output's range; infinity where NaN or an infinity is missed.
        agrees: Whether the answer is right.
        compared: Number of elements that were compared.
        other: Of exact values that differ, how many and the first: what is right, and what came; empty if none does.
    """

    deviation: float
    agrees: bool
    compared: int
    other: tuple[int, str, str] | None = None


def is_exact(value: np.ndarray) -> bool:
    """Whether values of this kind must be equal: whole numbers, truth values, text."""
    return value.dtype.kind in _EXACT


def _nearer(want: np.ndarray, have: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """What came, brought nearer to what is right by what rounding excuses."""
    with np.errstate(invalid="ignore", over="ignore"):
        off = have.astype(want.dtype) - want
        rest = np.sign(off) * np.maximum(np.abs(off) - _SLACK * (high - low), 0)
        return np.where(np.isfinite(rest), want + rest, have)


def agreement(
    want: np.ndarray, have: np.ndarray, tolerance: float, moves: np.ndarray | None = None, low: Any = None,
    high: Any = None,
) -> Agreement:  # fmt: skip
    """Compares one output of an engine with TensorFlow's.

    Args:
        want: TensorFlow's.
        have: The engine's.
        tolerance: Of floats, as a share of the range.
        moves: Where TensorFlow's own answer is a tie.
        low: The smallest that TensorFlow gives there.
        high: The largest.

    Raises:
        IcebreakerError: The shapes differ, or one side is text.
    """
    found = difference(want, have)
    if not is_exact(want):
        if moves is not None:
            found = difference(want[~moves], _nearer(want, have, low, high)[~moves])
        good = bool(found.max_rel <= tolerance) and not np.isinf(found.max_rel)
        return Agreement(found.max_rel, good, want.size if moves is None else int((~moves).sum()))
    wrong = np.asarray(want != have)
    if moves is not None:
        wrong &= ~(moves if low is None else moves & (have >= low) & (have <= high))
    count = int(np.count_nonzero(wrong))
    if not count:
        return Agreement(0.0, True, want.size)
    at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    return Agreement(found.max_rel, False, want.size, (count, str(want[at]), str(have[at])))
