"""What of a network may be in FP16, node by node, in ONNX's words: for whoever rewrites types (`fp16`, `xla.half`).

Convolutions and matrix products work in FP16, and so does what follows them. What FP16 cannot hold (largest number
65504, 11 bits) stays in FP32: sums, squares and exponentials, small constants such as the epsilon of a normalization,
whole numbers such as pixels and positions, masks of -1e9; and what was seen to leave its range.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

MAX = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).smallest_normal)  # 6.1e-5: below, digits are lost
# Between these a tensor's largest value may lie: room for samples that were not seen, and for its smaller values.
_SEEN_LEAST, _SEEN_MOST = 32 * SMALLEST, MAX / 4

# They begin FP16: here it pays.
HEAVY = frozenset({"Conv", "ConvTranspose", "DequantizeLinear", "Einsum", "Gemm", "GRU", "LSTM", "MatMul", "RNN"})
# Their results leave FP16's range or digits easily, or they make values from nothing.
_STAY = frozenset({
    "Constant", "ConstantOfShape", "CumSum", "Exp", "EyeLike", "Log", "Pow", "RandomNormal", "RandomNormalLike",
    "RandomUniform", "RandomUniformLike", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Softplus",
})  # fmt: skip
# A huge number that enters them leaves as a small one.
_BOUNDED = frozenset({"Clip", "Erf", "HardSigmoid", "Sigmoid", "Softmax", "Tanh"})
# Bounds and fillers: infinity's stand-in (3.4e38, -1e9) may become FP16's largest number.
_SATURATE = frozenset({"Clip", "Max", "Min", "Pad", "Where"})

# What is known of a float tensor. A node goes on in FP16 if all that flows in is IN_HALF or FREE.
IN_HALF = "half"
FREE = "free"  # in FP32, but nothing speaks against FP16
HELD = "held"  # in FP32, as are the nodes behind it, until it meets FP16 or a heavy node
HUGE = "huge"  # in FP32, and outside FP16's range: so are the nodes behind it, until one brings it back


@dataclass(frozen=True)
class Facts:
    """What there is to know of a node.

    Attributes:
        op: In ONNX's words.
        states: What is known of the floats that flow in, constants left out.
        constants: The values of constant floats that it reads.
        seen: The largest absolute values of its results on samples; empty where nothing was seen.
        is_exact: `exactness` asks for all its digits.
        takes_half: Whether it can work in FP16 at all.
        is_square: It multiplies something by itself.
    """

    op: str
    states: Collection[str]
    constants: Sequence[np.ndarray]
    seen: Sequence[float]
    is_exact: bool
    takes_half: bool
    is_square: bool


def judge(facts: Facts) -> tuple[bool, str]:
    """Whether a node works in FP16, and what is known of its results."""
    op, states = facts.op, set(facts.states)
    held = (False, HELD)
    if not all(value == 0 or _SEEN_LEAST <= value <= _SEEN_MOST for value in facts.seen):
        return (False, HUGE)
    if HUGE in states:
        return (False, FREE if facts.seen or op in _BOUNDED else HUGE)
    if facts.is_exact or not facts.takes_half or op in _STAY:
        return held
    if op not in _SATURATE and any(_overflows(values) for values in facts.constants):
        return held if op == "Div" else (False, HUGE)
    if any(0 < np.abs(values).max(initial=0) < SMALLEST for values in facts.constants):
        return held
    if facts.is_square:
        return held
    if op in HEAVY or (facts.constants and not states):
        return (True, IN_HALF)
    if not states or states == {HELD}:
        return held
    return (False, FREE) if HELD in states else (True, IN_HALF)


def halved(values: np.ndarray) -> np.ndarray:
    """Values in FP16; what is finite stays so."""
    return np.where(np.isfinite(values), values.clip(-MAX, MAX), values).astype(np.float16)


def _overflows(values: np.ndarray) -> bool:
    return bool(np.any(np.isfinite(values) & (np.abs(values) > MAX)))
