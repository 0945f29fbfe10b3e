"""Diagonals and bands of matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from op_conformance.graphs import Variant, op_def
from op_conformance.recipes.registry import recipe
from op_conformance.values import small


@recipe("MatrixBandPart")
def _band(op: str, dtype: str) -> Iterator[Variant]:
    table = np.resize(small(dtype), (2, 4, 3))
    for low, high in ((-1, 0), (0, -1), (1, 1), (0, 0), (-1, -1), (2, 0)):
        yield Variant(f"{low}, {high}", [{"input": table}], {"num_lower": np.int32(low), "num_upper": np.int32(high)})


@recipe("MatrixDiag", "MatrixDiagPart")
def _diagonal(op: str, dtype: str) -> Iterator[Variant]:
    name = op_def(op).input_arg[0].name
    for shape in ((3, 3), (2, 3, 4), (4, 2)):
        yield Variant(str(shape), [{name: np.resize(small(dtype), shape)}])
    yield Variant("unknown rank", [{name: np.resize(small(dtype), (2, 3))}], unknown_rank=frozenset({name}))


_BANDS = ((0, 0), (1, 1), (-1, -1), (-1, 1), (0, 2), (-2, -1))


@recipe("MatrixDiagPartV2", "MatrixDiagPartV3")
def _diagonal_part(op: str, dtype: str) -> Iterator[Variant]:
    aligned: list[Mapping[str, Any]] = [{}]
    if op.endswith("V3"):
        aligned += [{"align": "LEFT_RIGHT"}, {"align": "LEFT_LEFT"}, {"align": "RIGHT_RIGHT"}]
    for band in _BANDS:
        for attributes in aligned if band in _BANDS[3:5] else aligned[:1]:
            constants = {"k": np.array(band, np.int32), "padding_value": small(dtype)[1]}
            calls = [{"input": np.resize(small(dtype), shape)} for shape in ((2, 3, 4), (1, 4, 3))]
            yield Variant(f"{band} {attributes.get('align', '')}", calls, constants, attributes)
    given = {"input": np.resize(small(dtype), (2, 3, 4)), "padding_value": small(dtype)[1]}
    yield Variant("computed", [{**given, "k": np.array(k, np.int32)} for k in (0, 1, -2)])


@recipe("MatrixDiagV2", "MatrixDiagV3")
def _diagonal_made(op: str, dtype: str) -> Iterator[Variant]:
    for band in _BANDS:
        for rows, columns in ((-1, -1), (5, 6), (-1, 6)):
            shape = (2, 3) if band[0] == band[1] else (2, band[1] - band[0] + 1, 3)
            constants = {
                "k": np.array(band, np.int32), "num_rows": np.array(rows, np.int32),
                "num_cols": np.array(columns, np.int32), "padding_value": small(dtype)[1],
            }  # fmt: skip
            call = {"diagonal": np.resize(small(dtype), shape)}
            yield Variant(f"{band}, {rows} by {columns}", [call], constants, is_open=False)


@recipe("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3")
def _diagonal_set(op: str, dtype: str) -> Iterator[Variant]:
    for low, high in _BANDS if op != "MatrixSetDiag" else _BANDS[:1]:
        longest = min(3 + min(high, 0), 4 - max(low, 0))
        shape = (2, longest) if low == high else (2, high - low + 1, longest)
        call = {"input": np.resize(small(dtype), (2, 3, 4)), "diagonal": np.resize(small(dtype)[2:], shape)}
        constants = {} if op == "MatrixSetDiag" else {"k": np.array((low, high), np.int32)}
        yield Variant(f"{low} to {high}", [call], constants, is_open=op == "MatrixSetDiag")
