"""How one output differs from its reference: numbers for the user and for accepting or refusing an engine.

The definition of every figure in `reports.OutputDifference`. What is good enough is not said here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.reports import OutputDifference

_IDENTICAL = {"max_abs": 0.0, "max_rel": 0.0, "cosine": 1.0, "sqnr_db": None}


def difference(reference: Any, other: Any) -> OutputDifference:
    """Compares two values of one output.

    NaN matches NaN and an infinity matches the same infinity, where they stand at the same place; they are
    left out of the sums. A NaN or infinity that only one side has is an infinite difference. Strings are
    compared as if each were a one-hot vector: the largest difference is 0 or 1, the cosine is the share of
    equal strings.

    Args:
        reference: The original's value: anything numpy takes, strings as TensorFlow returns them included.
        other: The value to judge, of the same shape.

    Returns:
        The figures. `max_rel` is `max|reference - other| / max|reference|`, so a share of the output's range;
        where the reference is all zero it is the absolute difference. `top1_agreement` is given for
        floating-point values of rank 2 or more whose last axis has at least two entries; of equally large
        entries any may be picked.

    Raises:
        IcebreakerError: The shapes differ, or one side is text and the other is not.
    """
    left, right = _array(reference), _array(other)
    if left.shape != right.shape:
        raise IcebreakerError(
            "output_shape_differs", "the output's shape is [{shape}], but the original's is [{original}]",
            shape=right.shape, original=left.shape,
        )  # fmt: skip
    if (left.dtype == object) != (right.dtype == object):
        text, number = ("original", "other") if left.dtype == object else ("other", "original")
        raise IcebreakerError(
            "output_kind_differs", "the output is text in the {text_graph} graph and numbers in the {number_graph}",
            text_graph=text, number_graph=number,
        )  # fmt: skip
    if left.dtype == object:
        return _text_difference(left, right)
    return OutputDifference(**_figures(left, right), top1_agreement=_top1(left, right), values=left.size)


def _array(value: Any) -> np.ndarray:
    """Numbers in their own type; text of any kind as an object array of bytes."""
    # numpy's own S type would lose trailing zero bytes.
    array = np.array(value, dtype=object) if isinstance(value, bytes | str) else np.asarray(value)
    if array.dtype.kind not in "OSU":
        return array
    texts = np.empty(array.size, dtype=object)
    for index, item in enumerate(array.ravel().tolist()):
        texts[index] = item.encode() if isinstance(item, str) else item
    return texts.reshape(array.shape)


def _text_difference(left: np.ndarray, right: np.ndarray) -> OutputDifference:
    wrong = int(np.count_nonzero(left != right))
    if not wrong:
        return OutputDifference(**_IDENTICAL, top1_agreement=None, values=left.size)
    equal = 1 - wrong / left.size
    return OutputDifference(1.0, 1.0, equal, 10 * math.log10(left.size / (2 * wrong)), None, left.size)


def _figures(left: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    whole = left.dtype == right.dtype and left.dtype.kind in "iu"
    # Whole numbers are subtracted exactly: float64 cannot tell 2**53 from 2**53 + 1.
    distance = (np.maximum(left, right).astype("u8") - np.minimum(left, right).astype("u8")) if whole else None
    a, b = _wide(left), _wide(right)
    both = np.isfinite(a) & np.isfinite(b)
    if not both.all():
        if not ((a == b) | (np.isnan(a) & np.isnan(b)))[~both].all():
            return {"max_abs": math.inf, "max_rel": math.inf, "cosine": 0.0, "sqnr_db": -math.inf}
        a, b = a[both], b[both]
    if distance is None:
        with np.errstate(over="ignore"):
            distance = np.abs(a - b)
    if not distance.any():  # also if nothing is there to compare
        return dict(_IDENTICAL)
    largest = float(distance.max())
    span = float(np.abs(a).max())
    return {
        "max_abs": largest,
        "max_rel": largest / span if span else largest,
        "cosine": _cosine(a, b),
        "sqnr_db": _decibels(a, distance.astype("f8"), span, largest),
    }


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype("c16" if array.dtype.kind == "c" else "f8").ravel()


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    spans = float(np.abs(a).max()), float(np.abs(b).max())
    if not all(spans):  # they differ, so just one of them is all zero
        return 0.0
    a, b = a / spans[0], b / spans[1]  # the squares cannot overflow then
    value = float(np.vdot(a, b).real) / math.sqrt(float(np.vdot(a, a).real) * float(np.vdot(b, b).real))
    return max(-1.0, min(1.0, value))


def _decibels(a: np.ndarray, distance: np.ndarray, span: float, largest: float) -> float:
    if not span or math.isinf(largest):
        return -math.inf
    signal = float(np.square(np.abs(a / span)).sum())
    noise = float(np.square(distance / largest).sum())
    return 10 * math.log10(signal / noise) + 20 * (math.log10(span) - math.log10(largest))


def _top1(left: np.ndarray, right: np.ndarray) -> float | None:
    # Types of ml_dtypes (bfloat16 …) have kind V, or f in newer releases.
    if left.ndim < 2 or left.shape[-1] < 2 or not left.size or left.dtype.kind not in "fV":
        return None
    a, b = left.astype("f8"), right.astype("f8")
    picked = np.take_along_axis(a, b.argmax(-1)[..., None], -1)[..., 0]
    best = np.take_along_axis(a, a.argmax(-1)[..., None], -1)[..., 0]
    return float(np.mean((picked == best) | (np.isnan(picked) & np.isnan(best))))
