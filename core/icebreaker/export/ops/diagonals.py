"""Converters of what reads and writes diagonals: each element is looked up by its row and column."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from icebreaker.export.ops.arithmetic import where
from icebreaker.export.ops.writer import Handlers, Writer

HANDLERS = Handlers()


@HANDLERS.of("MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3")
def _part(to: Writer) -> None:
    """Element n of diagonal k is at row n - max(k, 0), counted from where that diagonal begins, or is padding."""
    has_band = to.op != "MatrixDiagPart"
    low, high = _band(to) if has_band else (0, 0)
    matrix, shape = to.inputs[0], to.add("Shape", [to.inputs[0]])
    rows, columns = _last(to, shape, -2), _last(to, shape, -1)
    longest = to.add("Min", [
        to.add("Add", [rows, to.whole([min(high, 0)])]), to.add("Sub", [columns, to.whole([max(low, 0)])])
    ])  # fmt: skip
    diagonals = np.arange(high, low - 1, -1).reshape(-1, 1)
    place = _numbers(to, longest)  # along a diagonal
    step, lies_in = _along(to, place, diagonals, rows, columns, longest)
    row = to.add("Add", [step, to.whole(np.maximum(-diagonals, 0))])
    column = to.add("Add", [step, to.whole(np.maximum(diagonals, 0))])
    index = to.add("Add", [to.add("Mul", [row, columns]), column])
    if low == high:
        index, lies_in = (to.add("Reshape", [item, to.whole([-1])]) for item in (index, lies_in))
    padding = to.inputs[2] if has_band else to.constant(0)
    _end(to, matrix, index, lies_in, padding)


@HANDLERS.of("MatrixDiag", "MatrixDiagV2", "MatrixDiagV3")
def _made(to: Writer) -> None:
    """The element at row r and column c is on diagonal c - r, if that is among those that are given."""
    has_band = to.op != "MatrixDiag"
    low, high = _band(to) if has_band else (0, 0)
    given, shape = to.inputs[0], to.add("Shape", [to.inputs[0]])
    longest = _last(to, shape, -1)
    fewest_rows = to.add("Sub", [longest, to.whole([min(high, 0)])])
    fewest_columns = to.add("Add", [longest, to.whole([max(low, 0)])])
    rows, columns = _sizes(to, fewest_rows, fewest_columns) if has_band else (longest, longest)
    row = to.add("Reshape", [_numbers(to, rows), to.whole([-1, 1])])
    index, lies_in = _within_band(to, row, _numbers(to, columns), (low, high), (rows, columns), longest)
    if low == high:  # without a dimension for diagonals
        given = to.add("Unsqueeze", [given, to.whole([-2])])
    _end(to, given, index, lies_in, to.inputs[4] if has_band else to.constant(0))


@HANDLERS.of("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3")
def _set(to: Writer) -> None:
    low, high = _band(to, 2) if to.op != "MatrixSetDiag" else (0, 0)
    matrix, given = to.inputs[:2]
    shape = to.add("Shape", [matrix])
    rows, columns = _last(to, shape, -2), _last(to, shape, -1)
    longest = _last(to, to.add("Shape", [given]), -1)
    row = to.add("Reshape", [_numbers(to, rows), to.whole([-1, 1])])
    index, lies_in = _within_band(to, row, _numbers(to, columns), (low, high), (rows, columns), longest)
    if low == high:
        given = to.add("Unsqueeze", [given, to.whole([-2])])
    _end(to, given, index, lies_in, matrix)


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


def _band(to: Writer, at: int = 1) -> tuple[int, int]:
    """The lowest and the highest diagonal."""
    band = np.reshape(to.needed(at, "band of diagonals"), -1)
    return int(band[0]), int(band[-1])


def _sizes(to: Writer, fewest_rows: str, fewest_columns: str) -> tuple[str, str]:
    """Rows and columns of what is made, where -1 means as few as there can be, or a square if both do."""
    rows, columns = (int(to.needed(at, "size").item()) for at in (2, 3))
    if rows == columns == -1:
        square = to.add("Max", [fewest_rows, fewest_columns])
        return square, square
    return (
        fewest_rows if rows == -1 else to.whole([rows]), fewest_columns if columns == -1 else to.whole([columns])
    )  # fmt: skip


def _within_band(
    to: Writer, row: str, column: str, band: tuple[int, int], size: tuple[str, str], longest: str
) -> tuple[str, str]:
    """For each place of a matrix, which element of the given diagonals it is; and whether it is one."""
    low, high = band
    diagonal = to.add("Sub", [column, row])
    lies_in = to.add("And", [
        to.add("Greater", [diagonal, to.whole(low - 1)]), to.add("Less", [diagonal, to.whole(high + 1)])
    ])  # fmt: skip
    shift = _shift(to, diagonal, size, longest)
    place = to.add("Add", [to.add("Min", [row, column]), shift])
    which = to.add("Sub", [to.whole(high), diagonal])
    return to.add("Add", [to.add("Mul", [which, longest]), place]), lies_in


def _along(to: Writer, place: str, diagonals: np.ndarray, rows: str, columns: str, longest: str) -> tuple[str, str]:
    """How far along its diagonal the element at a place is; and whether the diagonal is that long."""
    diagonal = to.whole(diagonals)
    step = to.add("Sub", [place, _shift(to, diagonal, (rows, columns), longest)])
    inside = to.add("Less", [step, _length(to, diagonal, rows, columns)])
    return step, to.add("And", [inside, to.add("Greater", [step, to.whole(-1)])])


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


def _end(to: Writer, source: str, index: str, lies_in: str, other: str) -> None:
    """Ends with what is at an index of the last two dimensions, or something else where there is nothing."""
    shape = to.add("Shape", [source])
    outer = to.add("Slice", [shape, to.whole([0]), to.whole([-2]), to.whole([0])])
    flat = to.add("Reshape", [source, to.add("Concat", [outer, to.whole([-1])], axis=0)])
    held = to.add("Where", [lies_in, index, to.whole(0)])
    found = to.add("Gather", [flat, held], axis=-1)
    where(to, lies_in, found, other, to.dtype)
