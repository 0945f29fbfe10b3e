"""Between which bounds the numbers of an ONNX model lie, as far as its nodes tell: interval arithmetic.

What is not known has the bounds of its type. A *size* is made of shapes, places and small constants alone: it counts
what is in memory, so it never gets large, whatever arithmetic says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MOST_VALUES = 1 << 16  # of a constant that is looked at
_UNKNOWN_COUNT = 1 << 20  # how many numbers are summed up at most where the shape does not tell
_MOST_COUNTED = 1 << 22  # where what is counted meets other numbers


@dataclass(frozen=True)
class Bounds:
    """The smallest and the largest value that a tensor may have; whether it is a size."""

    low: float
    high: float
    is_size: bool = False

    def within(self, low: float, high: float) -> bool:
        """Whether all values lie between two others, these included."""
        return low <= self.low and self.high <= high


ANYTHING = Bounds(-math.inf, math.inf)
COUNTED = Bounds(0, _MOST_COUNTED, is_size=True)
_TRUTH = Bounds(0, 1)

# What a node's outputs lie between, from the node, the bounds of its inputs, and how many numbers it puts together.
_Rule = Callable[[Any, Sequence[Bounds], int], Bounds]


def of_type(dtype: Any) -> Bounds:
    """What a type can hold; floats hold anything."""
    if dtype is None or np.dtype(dtype).kind not in "iub":
        return ANYTHING
    if np.dtype(dtype).kind == "b":
        return _TRUTH
    info = np.iinfo(dtype)
    return Bounds(info.min, info.max)


def of_values(array: np.ndarray) -> Bounds:
    """What these values lie between; small whole numbers count as sizes, since shapes are computed with them."""
    if not array.size or array.size > _MOST_VALUES or array.dtype.kind not in "iubf":
        return of_type(array.dtype)
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return ANYTHING
    return Bounds(low.item(), high.item(), is_size=bool(abs(low) < 1 << 24 and abs(high) < 1 << 24))


@dataclass(frozen=True)
class Ranges:
    """What is known of a model's tensors.

    Attributes:
        bounds: Tensor → its bounds.
        dtypes: Tensor → its numpy type, where it is known.
        wraps: Names of tensors whose type cannot hold what they may come to: TensorFlow's whole numbers wrap around.
        infinite: Names of constants that hold an infinity.
        without_zero: Names of constants that hold no zero.
    """

    bounds: Mapping[str, Bounds]
    dtypes: Mapping[str, Any]
    wraps: frozenset[str]
    infinite: frozenset[str] = frozenset()
    without_zero: frozenset[str] = frozenset()


def ranges(graph: Any, dtypes: Mapping[str, Any], shapes: Mapping[str, Sequence[int | None]], inputs: Bounds) -> Ranges:
    """Finds the bounds of all tensors of an ONNX graph.

    Args:
        graph: The GraphProto, its nodes in topological order.
        dtypes: Tensor → numpy type, as far as it is known.
        shapes: Tensor → shape, likewise.
        inputs: What the whole numbers that are the graph's inputs lie between.
    """
    from onnx import numpy_helper

    found: dict[str, Bounds] = {}
    wraps: set[str] = set()
    infinite: set[str] = set()
    without_zero: set[str] = set()
    for item in graph.input:
        kind = of_type(dtypes.get(item.name))
        found[item.name] = kind if kind == ANYTHING else Bounds(max(kind.low, inputs.low), min(kind.high, inputs.high))
    for item in graph.initializer:
        is_here = not item.external_data and math.prod(item.dims) <= _MOST_VALUES
        array = numpy_helper.to_array(item) if is_here else None
        found[item.name] = of_type(dtypes.get(item.name)) if array is None else of_values(array)
        if array is not None and array.dtype.kind == "f":
            infinite.update([item.name] if np.isinf(array).any() else [])
            without_zero.update([item.name] if array.all() else [])
    for node in graph.node:
        given = [found.get(name, ANYTHING) if name else ANYTHING for name in node.input]
        rule = _RULES.get(node.op_type)
        for port, name in enumerate(node.output):
            if not name:
                continue
            kind = of_type(dtypes.get(name))
            bounds = (
                rule(node, given, _count(node, shapes)) if rule and (port == 0 or node.op_type == "Split") else kind
            )
            if node.op_type in _PLACES and port in _PLACES[node.op_type]:
                bounds = COUNTED
            if bounds.is_size and kind != ANYTHING:
                bounds = Bounds(max(bounds.low, kind.low), min(bounds.high, kind.high), is_size=True)
            if not bounds.within(kind.low, kind.high):
                wraps.add(name)
                bounds = kind
            found[name] = bounds
    return Ranges(found, dtypes, frozenset(wraps), frozenset(infinite), frozenset(without_zero))


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    from onnx import helper

    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def _count(node: Any, shapes: Mapping[str, Sequence[int | None]]) -> int:
    """How many numbers at most a node puts together into one."""
    scattered = node.op_type.startswith("Scatter")
    shape = shapes.get(node.input[2 if scattered else 0]) if node.input else None
    if node.op_type in ("MatMul", "MatMulInteger"):
        shape = shape[-1:] if shape else None
    if shape is None or any(size is None for size in shape):
        return _UNKNOWN_COUNT
    return max(math.prod(size for size in shape if size is not None), 1)


def _hull(given: Iterable[Bounds]) -> Bounds:
    known = list(given)
    if not known:
        return ANYTHING
    return Bounds(min(b.low for b in known), max(b.high for b in known), all(b.is_size for b in known))


def _made(given: Sequence[Bounds], corners: Iterable[float]) -> Bounds:
    """The bounds of these results; arithmetic on sizes gives a size."""
    values = list(corners)
    if any(math.isnan(value) for value in values):
        return ANYTHING
    return Bounds(min(values), max(values), all(b.is_size for b in given))


def _corners(given: Sequence[Bounds], work: Callable[[float, float], float]) -> Bounds:
    a, b = given[:2]
    return _made(given[:2], [work(x, y) for x in (a.low, a.high) for y in (b.low, b.high)])


def _product(x: float, y: float) -> float:
    return 0.0 if 0 in (x, y) else x * y


def _first(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return given[0]


def _join(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return _hull(given)


def _add(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return _made(given, [sum(b.low for b in given), sum(b.high for b in given)])


def _sub(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return _corners(given, lambda x, y: x - y)


def _mul(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    if node.op_type == "Mul" and node.input[0] == node.input[1]:
        size = _abs(node, given, count)
        return Bounds(_product(size.low, size.low), _product(size.high, size.high), size.is_size)
    return _corners(given, _product)


def _div(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    a, b = given[:2]
    if b.low > 0 or b.high < 0:
        smallest = min(abs(b.low), abs(b.high))
    elif a.is_size and b.is_size:
        smallest = 1
    else:
        smallest = 0
    if not smallest or math.inf in (abs(a.low), abs(a.high)):
        return Bounds(0, math.inf) if a.low >= 0 and b.low >= 0 else ANYTHING
    most = max(abs(a.low), abs(a.high)) / smallest
    if b.low > 0:
        return Bounds(min(a.low, 0) / smallest, max(a.high, 0) / smallest, a.is_size and b.is_size)
    return Bounds(-most, most, a.is_size and b.is_size)


def _mod(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    a, b = given[:2]
    most = max(abs(b.low), abs(b.high))
    low = 0 if (b.low > 0 and not attribute(node, "fmod", 0)) or (a.low >= 0 and b.low >= 0) else -most
    return Bounds(low, most, b.is_size)  # it is less than that


def _abs(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    a = given[0]
    return Bounds(0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high)), max(abs(a.low), abs(a.high)), a.is_size)


def _negated(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return Bounds(-given[0].high, -given[0].low, given[0].is_size)


def _least(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return Bounds(min(b.low for b in given), min(b.high for b in given), all(b.is_size for b in given))


def _greatest(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return Bounds(max(b.low for b in given), max(b.high for b in given), all(b.is_size for b in given))


def _clip(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    low = given[1].low if len(given) > 1 and given[1] != ANYTHING else given[0].low
    high = given[2].high if len(given) > 2 and given[2] != ANYTHING else given[0].high
    return Bounds(max(given[0].low, low), max(low, min(given[0].high, high)), given[0].is_size)


def _sum(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    a = given[0]
    return Bounds(min(a.low, a.low * count), max(a.high, a.high * count), a.is_size)


def _reduced_product(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return COUNTED if given[0].is_size and given[0].low >= 0 else ANYTHING


def _dot(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return _sum(node, [_mul(node, given, count)], count)


def _where(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return _hull(given[1:3])


def _pad(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    filled = given[2] if len(given) > 2 and given[2] != ANYTHING else Bounds(0, 0, is_size=True)
    return given[0] if attribute(node, "mode", b"constant") != b"constant" else _hull([given[0], filled])


def _scatter(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    reduction = attribute(node, "reduction", b"none")
    if reduction == b"add":
        return _add(node, [given[0], _sum(node, [given[2]], count)], count)
    return ANYTHING if reduction == b"mul" else _hull([given[0], given[2]])


def _constant(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    from onnx import numpy_helper

    value = attribute(node, "value")
    return ANYTHING if value is None else of_values(numpy_helper.to_array(value))


def _filled(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return Bounds(0, 0, is_size=True) if attribute(node, "value") is None else _constant(node, given, count)


def _cast(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    from onnx import TensorProto

    if attribute(node, "to") == TensorProto.BOOL:
        return _TRUTH
    a = given[0]
    finite = all(map(math.isfinite, (a.low, a.high)))
    return Bounds(math.floor(a.low), math.ceil(a.high), a.is_size) if finite else a


def _range(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return _hull(given[:2])


def _power(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    a, b = given[:2]
    if b.low != b.high or not 0 <= b.low <= 64 or math.inf in (abs(a.low), abs(a.high)):
        return Bounds(0, math.inf) if a.low >= 0 or (b.low == b.high and b.low % 2 == 0) else ANYTHING
    most = max(abs(a.low), abs(a.high)) ** b.high
    return Bounds(-most if a.low < 0 else 0, most, a.is_size)


def _rising(work: Callable[[float], float], least: float) -> _Rule:
    """The rule of a function that never falls and is `least` at least."""

    def rule(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
        return Bounds(max(work(given[0].low), least), work(given[0].high))

    return rule


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _sqrt(value: float) -> float:
    return math.sqrt(max(value, 0))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _reciprocal(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    low, high = given[0].low, given[0].high
    return Bounds(1 / high if high else math.inf, 1 / low if low else math.inf) if low >= 0 else ANYTHING


def _not_negative(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return Bounds(0, math.inf)


def _pooled(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return Bounds(min(given[0].low, 0), max(given[0].high, 0))


def _within_one(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return Bounds(-1, 1)


def _one_hot(node: Any, given: Sequence[Bounds], count: int) -> Bounds:
    return given[2]


_KEPT = (
    "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "GatherND",
    "GatherElements", "Tile", "Expand", "Split", "Compress", "ReverseSequence", "DepthToSpace", "SpaceToDepth",
    "MaxPool", "ReduceMax", "ReduceMin", "ReduceMean", "Unique", "TopK", "Floor", "Ceil", "Round", "Trilu",
)  # fmt: skip
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_KEPT, _first),
    **dict.fromkeys(("Concat",), _join),
    **dict.fromkeys(("Add", "Sum"), _add),
    **dict.fromkeys(("ScatterND", "ScatterElements"), _scatter),
    **dict.fromkeys(("ReduceSum", "CumSum"), _sum),
    **dict.fromkeys(("MatMul", "MatMulInteger"), _dot),
    **dict.fromkeys(("Sigmoid", "Softmax", "HardSigmoid"), lambda node, given, count: _TRUTH),
    "Relu": lambda node, given, count: Bounds(max(given[0].low, 0), max(given[0].high, 0), given[0].is_size),
    **dict.fromkeys(("Sign", "Tanh", "Erf", "Sin", "Cos", "Softsign"), _within_one),
    **dict.fromkeys(("ReduceSumSquare", "ReduceL1", "ReduceL2", "Softplus"), _not_negative),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool"), _pooled),
    "Exp": _rising(_exp, 0), "Sqrt": _rising(_sqrt, 0), "Log": _rising(_log, -math.inf), "Reciprocal": _reciprocal,
    "Sub": _sub, "Mul": _mul, "Div": _div, "Mod": _mod, "Abs": _abs, "Neg": _negated, "Min": _least, "Max": _greatest,
    "Clip": _clip, "ReduceProd": _reduced_product, "Where": _where, "Pad": _pad, "Constant": _constant,
    "ConstantOfShape": _filled, "Cast": _cast, "Range": _range, "Pow": _power, "OneHot": _one_hot,
}  # fmt: skip
# Outputs that count what is there, or say where it is.
_PLACES: Mapping[str, tuple[int, ...]] = {
    "Shape": (0,), "Size": (0,), "ArgMax": (0,), "ArgMin": (0,), "NonZero": (0,), "TopK": (1,), "Unique": (1, 2, 3),
    "NonMaxSuppression": (0,),
}  # fmt: skip
