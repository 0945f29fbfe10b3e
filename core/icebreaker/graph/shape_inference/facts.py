"""What is known of a tensor, and how shapes are put together. Open dimensions are None, and so is an open rank."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from icebreaker.graph.limits import MOST_RANK

Shape: TypeAlias = tuple[int | None, ...]
Values: TypeAlias = tuple[int | None, ...]

MOST_VALUES = 64  # whole numbers of a tensor that are followed; weights are not looked at
MOST_OUTPUTS = 1 << 16  # of one node: no graph has more, though a few bytes of a file can promise any number
ENDS: Mapping[str, int] = {"int32": 1 << 31, "int64": 1 << 63}  # the first whole number that a type cannot hold


class Known(NamedTuple):
    """What is known of a tensor; `str` gives it as the app shows it, such as `float32[?,64,64,3]`.

    Attributes:
        dtype: Its name, such as `float32`; empty: unknown.
        shape: Sizes; None for an open one. None altogether: even the rank is open.
    """

    dtype: str = ""
    shape: Shape | None = None

    def __str__(self) -> str:
        if not self.dtype and self.shape is None:
            return ""
        sizes = "…" if self.shape is None else ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]"


class Fact(NamedTuple):
    """What is known of a tensor while a graph is gone through.

    Attributes:
        dtype: As `Known.dtype`.
        shape: As `Known.shape`.
        values: What is in a small tensor of whole numbers, or of truths as 0 and 1, in row-major order; None for one
            that is not known. None altogether: not followed.
    """

    dtype: str = ""
    shape: Shape | None = None
    values: Values | None = None


UNKNOWN = Fact()


def is_possible(shape: Shape | None) -> bool:
    """Whether a tensor can have a shape: sizes that are multiplied on and on would fill the memory."""
    return shape is None or (
        len(shape) <= MOST_RANK and all(size is None or 0 <= size < ENDS["int64"] for size in shape)
    )


def held_values(fact: Fact) -> Values | None:
    """A fact's values as far as its dtype can hold them; beyond, TensorFlow's arithmetic wraps around."""
    end = ENDS.get(fact.dtype, 2)  # a truth is 0 or 1
    return tuple(value if value is not None and -end <= value < end else None for value in fact.values or ())


def shape_of(shape: Any) -> Shape | None:
    """Reads a TensorShapeProto."""
    if shape.unknown_rank or len(shape.dim) > MOST_RANK:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def common_shape(shapes: Sequence[Shape | None]) -> Shape | None:
    """What is true of every one of at least one shape: sizes in which they differ are open."""
    first = shapes[0]
    for other in shapes[1:]:
        if first is None or other is None or len(first) != len(other):
            return None
        first = tuple(a if a == b else None for a, b in zip(first, other, strict=True))
    return first


def completed(shape: Shape | None, other: Shape | None) -> Shape | None:
    """A shape with what another one of the same tensor says beyond it."""
    if shape is None or other is None or len(shape) != len(other):
        return other if shape is None else shape
    return tuple(b if a is None else a for a, b in zip(shape, other, strict=True))


def broadcast(shapes: Iterable[Shape | None]) -> Shape | None:
    """The shape of an elementwise op's output, whose inputs have these."""
    result: Shape = ()
    for shape in shapes:
        if shape is None:
            return None
        longest = max(len(result), len(shape))
        pairs = zip((1,) * (longest - len(result)) + result, (1,) * (longest - len(shape)) + shape, strict=True)
        result = tuple(_wider(a, b) for a, b in pairs)
    return result


def _wider(a: int | None, b: int | None) -> int | None:
    if a == 1:
        return b
    if b == 1 or a == b:
        return a
    return b if a is None else a if b is None else None


def with_rank(shape: Shape | None, rank: int) -> Shape:
    """A shape if it is of this rank, else as many open dimensions."""
    return shape if shape is not None and len(shape) == rank else (None,) * rank


def product(sizes: Iterable[int | None]) -> int | None:
    """All sizes multiplied; open if one of them is."""
    known = [*sizes]
    return None if None in known else math.prod(size for size in known if size is not None)


def total_of(sizes: Iterable[int | None]) -> int | None:
    """All sizes added up; open if one of them is."""
    known = [*sizes]
    return None if None in known else sum(size for size in known if size is not None)


def window_count(size: int | None, kernel: int | None, stride: int, padding: str, dilation: int = 1) -> int | None:
    """How many places a convolution's or a pool's window has along a dimension.

    Args:
        size: Elements along it, explicit padding included.
        kernel: Elements of the window.
        stride: From one place to the next.
        padding: `SAME`; anything else means that the window stays inside.
        dilation: From one of the window's elements to the next.
    """
    if size is None:
        return None
    if padding == "SAME":
        return -(-size // stride)
    if kernel is None:
        return None
    count = -(-(size - (kernel - 1) * dilation) // stride)
    return count if count >= 0 else None


def scaled(size: int | None, by: int) -> int | None:
    """A size times a number."""
    return None if size is None else size * by


def divided(size: int | None, by: int) -> int | None:
    """A size in so many parts, rounded down."""
    return None if size is None else size // by


def meant_shape(fact: Fact) -> Shape | None:
    """The shape that a vector of whole numbers stands for, as in a Reshape; what is below 0 is open."""
    if fact.values is not None:
        return tuple(None if value is None or value < 0 else value for value in fact.values)
    if fact.shape is not None and len(fact.shape) == 1 and fact.shape[0] is not None and fact.shape[0] <= MOST_VALUES:
        return (None,) * fact.shape[0]
    return None


def repeated(value: int | None, shape: Shape | None) -> Values | None:
    """The values of a short vector that is filled with one value; None for any other shape."""
    if shape is None or len(shape) != 1 or shape[0] is None or shape[0] > MOST_VALUES:
        return None
    return (value,) * shape[0]


def single_value(fact: Fact) -> int | None:
    """The value of a tensor that has one only, such as an axis."""
    return fact.values[0] if fact.values is not None and len(fact.values) == 1 else None


def axes_of(fact: Fact, rank: int) -> list[int] | None:
    """The axes that a tensor names, counted from the front; None if one is not known."""
    if fact.values is None or any(value is None for value in fact.values):
        return None
    return [value + rank if value < 0 else value for value in fact.values if value is not None]
