"""Converters of what reads and writes diagonals: each element is looked up by its row and column."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from icebreaker.export.ops.arithmetic import where
from icebreaker.export.ops.writer import Handlers, Writer

HANDLERS = Handlers()


class _Band(NamedTuple):
    """The lowest and the highest diagonal, as vectors of one; and whether they are one and the same.

    Attributes:
        is_one: None: that is computed, too.
    """

    low: str
    high: str
    is_one: bool | None


@HANDLERS.of("MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3")
def _part(to: Writer) -> None:
    """Element n of diagonal k is at row n - max(k, 0), counted from where that diagonal begins, or is padding."""
    has_band, zero = to.op != "MatrixDiagPart", to.whole([0])
    band = _band(to) if has_band else _Band(zero, zero, True)
    matrix, shape = to.inputs[0], to.add("Shape", [to.inputs[0]])
    rows, columns = _last(to, shape, -2), _last(to, shape, -1)
    longest = to.add("Min", [
        to.add("Add", [rows, to.add("Min", [band.high, zero])]),
        to.add("Sub", [columns, to.add("Max", [band.low, zero])]),
    ])  # fmt: skip
    count = to.add("Add", [to.add("Sub", [band.high, band.low]), to.whole([1])])
    diagonals = to.add("Sub", [band.high, to.add("Reshape", [_numbers(to, count), to.whole([-1, 1])])])
    place = _numbers(to, longest)  # along a diagonal
    step = to.add("Sub", [place, _shift(to, diagonals, (rows, columns), longest)])
    lies_in = to.add("And", [
        to.add("Less", [step, _length(to, diagonals, rows, columns)]), to.add("Greater", [step, to.whole(-1)])
    ])  # fmt: skip
    row = to.add("Add", [step, to.add("Max", [to.add("Neg", [diagonals]), zero])])
    column = to.add("Add", [step, to.add("Max", [diagonals, zero])])
    index = to.add("Add", [to.add("Mul", [row, columns]), column])
    if band.is_one is not False:
        kept = to.whole([]) if band.is_one else _unless_one(to, count)
        size = to.add("Concat", [kept, longest], axis=0)
        index, lies_in = (to.add("Reshape", [item, size], allowzero=1) for item in (index, lies_in))
    _end(to, matrix, 2, index, lies_in, to.inputs[2] if has_band else to.constant(0))


@HANDLERS.of("MatrixDiag", "MatrixDiagV2", "MatrixDiagV3")
def _made(to: Writer) -> None:
    """The element at row r and column c is on diagonal c - r, if that is among those that are given."""
    has_band, zero = to.op != "MatrixDiag", to.whole([0])
    band = _band(to) if has_band else _Band(zero, zero, True)
    given, shape = to.inputs[0], to.add("Shape", [to.inputs[0]])
    longest = _last(to, shape, -1)
    fewest_rows = to.add("Sub", [longest, to.add("Min", [band.high, zero])])
    fewest_columns = to.add("Add", [longest, to.add("Max", [band.low, zero])])
    rows, columns = _sizes(to, fewest_rows, fewest_columns) if has_band else (longest, longest)
    index, lies_in = _within_band(to, band, (rows, columns), longest)
    _end(to, given, _dimensions(to, band), index, lies_in, to.inputs[4] if has_band else to.constant(0))


@HANDLERS.of("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3")
def _set(to: Writer) -> None:
    zero = to.whole([0])
    band = _band(to, 2) if to.op != "MatrixSetDiag" else _Band(zero, zero, True)
    matrix, given = to.inputs[:2]
    shape = to.add("Shape", [matrix])
    size = _last(to, shape, -2), _last(to, shape, -1)
    longest = _last(to, to.add("Shape", [given]), -1)
    index, lies_in = _within_band(to, band, size, longest)
    _end(to, given, _dimensions(to, band), index, lies_in, matrix)


@HANDLERS.of("MatrixBandPart")
def _band_part(to: Writer) -> None:
    """Zeros outside of a band; of a side whose width is negative, all is kept."""
    shape = to.add("Shape", [to.inputs[0]])
    row = to.add("Reshape", [_numbers(to, _last(to, shape, -2)), to.whole([-1, 1])])
    below = to.add("Sub", [row, _numbers(to, _last(to, shape, -1))])
    sides = []
    for index, distance in ((1, below), (2, to.add("Neg", [below]))):
        width = to.cast(to.inputs[index], TensorProto.INT64, to.dtypes[index])
        is_beyond = to.add("Greater", [distance, width])
        sides.append(to.add("And", [is_beyond, to.add("Greater", [width, to.whole(-1)])]))
    where(to, to.add("Not", [to.add("Or", sides)]), to.inputs[0], to.constant(0), to.dtype)


def _band(to: Writer, at: int = 1) -> _Band:
    """The band of diagonals that an input tells."""
    value, shape = to.value(at), to.shapes[at]
    if value is not None:
        ends = np.reshape(value, -1)
        return _Band(to.whole(ends[:1]), to.whole(ends[-1:]), bool(ends[0] == ends[-1]))
    told = to.add("Reshape", [to.cast(to.inputs[at], TensorProto.INT64, to.dtypes[at]), to.whole([-1])])
    is_one = True if shape == [] or shape == [1] else None
    return _Band(_last(to, told, 0), _last(to, told, -1), is_one)


def _unless_one(to: Writer, count: str) -> str:
    """A vector of this number, or an empty one if it is 1."""
    is_one = to.cast(to.add("Equal", [count, to.whole([1])]), TensorProto.INT64)
    return to.add("Slice", [count, is_one, to.whole([1]), to.whole([0])])


def _dimensions(to: Writer, band: _Band) -> int | str:
    """How many dimensions at the end of what is given are those of diagonals."""
    if band.is_one is not None:
        return 1 if band.is_one else 2
    one = to.cast(to.add("Equal", [band.low, band.high]), TensorProto.INT64)
    return to.add("Sub", [to.whole([2]), one])


def _sizes(to: Writer, fewest_rows: str, fewest_columns: str) -> tuple[str, str]:
    """Rows and columns of what is made, where -1 means as few as there can be, or a square if both do."""
    asked = [
        to.add("Reshape", [to.cast(to.inputs[at], TensorProto.INT64, to.dtypes[at]), to.whole([1])]) for at in (2, 3)
    ]
    rows_open, columns_open = (to.add("Less", [size, to.whole(0)]) for size in asked)
    rows = to.add("Where", [rows_open, fewest_rows, asked[0]])
    columns = to.add("Where", [columns_open, fewest_columns, asked[1]])
    is_square = to.add("And", [rows_open, columns_open])
    square = to.add("Max", [rows, columns])
    return to.add("Where", [is_square, square, rows]), to.add("Where", [is_square, square, columns])


def _within_band(to: Writer, band: _Band, size: tuple[str, str], longest: str) -> tuple[str, str]:
    """For each place of a matrix, which element of the given diagonals it is; and whether it is one."""
    row = to.add("Reshape", [_numbers(to, size[0]), to.whole([-1, 1])])
    column = _numbers(to, size[1])
    diagonal = to.add("Sub", [column, row])
    is_out = to.add("Or", [to.add("Less", [diagonal, band.low]), to.add("Greater", [diagonal, band.high])])
    place = to.add("Add", [to.add("Min", [row, column]), _shift(to, diagonal, size, longest)])
    which = to.add("Sub", [band.high, diagonal])
    return to.add("Add", [to.add("Mul", [which, longest]), place]), to.add("Not", [is_out])


def _length(to: Writer, diagonal: str, rows: str, columns: str) -> str:
    zero = to.whole(0)
    below = to.add("Add", [rows, to.add("Min", [diagonal, zero])])
    return to.add("Min", [below, to.add("Sub", [columns, to.add("Max", [diagonal, zero])])])


def _shift(to: Writer, diagonal: str, size: tuple[str, str], longest: str) -> str:
    """How many paddings come before a diagonal: those on the right side are shorter, and may end or begin together."""
    align = to.attribute("align", b"LEFT_LEFT" if to.op.endswith("V2") else b"RIGHT_LEFT").decode().split("_")
    short = to.add("Sub", [longest, _length(to, diagonal, *size)])
    upper, lower = (int(side == "RIGHT") for side in align)  # of diagonals above the main one, and of others
    is_lower = to.add("Less", [diagonal, to.whole(0)])
    right = to.add("Where", [is_lower, to.whole(lower), to.whole(upper)])
    return to.add("Mul", [short, right])


def _last(to: Writer, shape: str, at: int) -> str:
    """A dimension from the end, as a vector of one."""
    return to.add("Gather", [shape, to.whole([at])], axis=0)


def _numbers(to: Writer, count: str) -> str:
    """0, 1, 2 … as many as are said."""
    return to.add("Range", [to.whole(0), to.add("Reshape", [count, to.whole([])]), to.whole(1)])


def _end(to: Writer, source: str, dimensions: int | str, index: str, lies_in: str, other: str) -> None:
    """Ends with what is at an index of the last dimensions, or something else where there is nothing."""
    shape = to.add("Shape", [source])
    if isinstance(dimensions, int):
        end = to.whole([-dimensions])
    else:
        end = to.add("Sub", [to.add("Shape", [shape]), dimensions])
    outer = to.add("Slice", [shape, to.whole([0]), end, to.whole([0])])
    flat = to.add("Reshape", [source, to.add("Concat", [outer, to.whole([-1])], axis=0)])
    held = to.add("Where", [lies_in, index, to.whole(0)])
    where(to, lies_in, to.add("Gather", [flat, held], axis=-1), other, to.dtype)
