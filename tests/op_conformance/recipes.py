"""How each op is used: what is fed to it, of which types, with which attributes.

Elementwise ops are found by their form.

A recipe takes a type and gives variants. What it leaves out, such as a type that TensorFlow's CPU has no kernel for, is
found when the original is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from op_conformance.graphs import Variant, op_def, types_of
from op_conformance.values import DTYPES, FLOATS, WHOLE, hard, is_float, numpy_type, small

Recipe = Callable[[str], Iterable[Variant]]
RECIPES: dict[str, tuple[Recipe, tuple[str, ...]]] = {}


def recipe(*ops: str, of: tuple[str, ...] = DTYPES) -> Callable[[Callable[..., Iterable[Variant]]], Any]:
    """Decorates the recipe of some ops, for these types."""

    def add(make: Callable[..., Iterable[Variant]]) -> Any:
        for op in ops:
            RECIPES[op] = (lambda dtype, op=op: make(op, dtype)), of
        return make

    return add


def variants(op: str, dtype: str) -> list[Variant]:
    """All variants of an op in a type; none if it does not take that."""
    made, of = RECIPES.get(op) or (_elementwise(op), DTYPES)
    if made is None or dtype not in of:
        return []
    return list(made(dtype))


def has_recipe(op: str) -> bool:
    """Whether an op can be tried."""
    return op in RECIPES or _elementwise(op) is not None


def arrays(dtype: str) -> list[np.ndarray]:
    """Vectors of everyday and hard values, and none and one."""
    base = small(dtype)
    return [base, *hard(dtype), base[:0], base[:1]]


def _allowed(op: str, dtype: str, attribute: str) -> bool:
    allowed = types_of(op, attribute)
    return dtype in allowed or allowed == ("any",)


def _elementwise(op: str) -> Recipe | None:
    """For ops of one tensor, or two of the same type, whose attributes are types or have defaults."""
    definition = op_def(op)
    if definition is None or any(
        arg.number_attr or arg.type_list_attr or not arg.type_attr for arg in definition.input_arg
    ):
        return None
    given = {arg.type_attr for arg in definition.input_arg}
    if (
        any(not attr.HasField("default_value") and attr.name not in given for attr in definition.attr)
        or len(given) != 1
    ):
        return None
    attribute, names = next(iter(given)), [arg.name for arg in definition.input_arg]
    if len(names) not in (1, 2):
        return None

    def make(dtype: str) -> Iterator[Variant]:
        if not _allowed(op, dtype, attribute):
            return
        if len(names) == 1:
            yield Variant("vectors", [{names[0]: values} for values in arrays(dtype)])
            yield Variant("scalar", [{names[0]: value} for value in small(dtype)[:4]])
            cube = np.resize(small(dtype), (2, 1, 3, 1, 2))
            yield Variant("rank 5", [{names[0]: cube}, {names[0]: cube[:, :, :0]}])
        else:
            pairs = [(values[:, None], values[None]) for values in arrays(dtype)]
            yield Variant("each with each", [dict(zip(names, pair, strict=True)) for pair in pairs])
            yield Variant(
                "with a constant", [{names[0]: values} for values in arrays(dtype)], {names[1]: small(dtype)[3]}
            )
            yield Variant("rank 5 and 2", [{
                names[0]: np.resize(small(dtype)[1:], (2, 1, 3, 1, 2)), names[1]: np.resize(small(dtype)[2:5], (3, 2)),
            }])  # fmt: skip

    return make


@recipe("FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod", "Div", "RealDiv")
def _division(op: str, dtype: str) -> Iterator[Variant]:
    """Divisors are not zero, but for a call in which TensorFlow raises."""
    if not _allowed(op, dtype, "T"):
        return
    calls = []
    for values in arrays(dtype):
        divisors = values if is_float(dtype) else values[values != 0]
        calls.append({"x": values[:, None], "y": divisors[None]})
    if not is_float(dtype):
        calls.append({"x": small(dtype)[:, None], "y": np.zeros((1, 1), dtype)})
    yield Variant("each by each", calls)
    for divisor in (3, 7) if dtype.startswith("u") else (3, -3, 7):
        yield Variant(
            f"by {divisor}", [{"x": values} for values in arrays(dtype)], {"y": np.array(divisor, numpy_type(dtype))}
        )
    if not dtype.startswith("u"):  # ceil division: -(-x // 4)
        yield Variant("of a scalar", [{"x": value} for value in small(dtype)], {"y": np.array(4, numpy_type(dtype))})


@recipe("Pow")
def _pow(op: str, dtype: str) -> Iterator[Variant]:
    if not _allowed(op, dtype, "T"):
        return
    if is_float(dtype):
        base = np.abs(small(dtype))
        yield Variant("each by each", [{"x": base[:, None], "y": small(dtype)[None]}])
        yield Variant(
            "specials", [{"x": values[:, None], "y": values[None]} for values in [small(dtype), *hard(dtype)[3:5]]]
        )
    for power in (1, 2, 3, 5):
        yield Variant(
            f"to {power}", [{"x": values} for values in arrays(dtype)], {"y": np.array(power, numpy_type(dtype))}
        )
    exponents = np.abs(small(dtype)[:4])
    yield Variant("to what is fed", [{"x": small(dtype)[:, None], "y": exponents[None]}])


@recipe("LeftShift", "RightShift", of=WHOLE)
def _shift(op: str, dtype: str) -> Iterator[Variant]:
    by = np.array([0, 1, 3, 7], dtype)
    calls = [{"x": values[:, None], "y": by[None]} for values in arrays(dtype)]
    yield Variant("by what is fed", calls)
    yield Variant("by 3", [{"x": values} for values in arrays(dtype)], {"y": np.array(3, dtype)})
    if np.dtype(dtype).itemsize > 1:
        yield Variant("by more than there is", [{"x": small(dtype)[:, None], "y": np.array([[15, 40, 70]], dtype)}])


@recipe("Erf", "Erfc", of=FLOATS)
def _error_function(op: str, dtype: str) -> Iterator[Variant]:
    """Engines compute them for what they are added to: exact to 1e-6, whatever is left of them."""
    yield Variant("vectors", [{"x": values} for values in arrays(dtype)], atol=1e-6)


@recipe("Max", "Min", "Sum", "Prod", "Mean", "All", "Any", "EuclideanNorm")
def _reduction(op: str, dtype: str) -> Iterator[Variant]:
    is_truth = op in ("All", "Any")
    if is_truth != (dtype == "bool") or (not is_truth and not _allowed(op, dtype, "T")):
        return
    tables = [np.resize(values, (3, 4)) for values in [small(dtype), small(dtype)[2:], *hard(dtype)]]
    if is_float(dtype) and op not in ("Max", "Min"):  # what overflows on the way depends on the order
        tables = tables[:2] if op == "Prod" else [*tables[:4], *tables[5:]]
    name = op_def(op).input_arg[0].name
    calls = [{name: table} for table in tables]
    atol = 1e-5 if is_float(dtype) else 0.0
    for axis in (0, 1, -1):
        yield Variant(f"axis {axis}", calls, {"reduction_indices": np.int32(axis)}, atol=atol)
    yield Variant("kept", calls, {"reduction_indices": np.int64([0, -1])}, {"keep_dims": True}, atol=atol)
    yield Variant("no axis", calls[:2], {"reduction_indices": np.zeros(0, np.int32)}, atol=atol)
    empty = [{name: tables[0]}, {name: tables[0][:0]}, {name: tables[0][:, :0]}]
    yield Variant("of nothing", empty, {"reduction_indices": np.int32([1])}, atol=atol)
    cube = np.resize(small(dtype), (2, 3, 1, 2, 2))
    yield Variant("rank 5", [{name: cube}], {"reduction_indices": np.int32([1, -1])}, atol=atol)
    yield Variant(
        "computed axis", [{name: tables[0], "reduction_indices": np.int32([axis])} for axis in (0, 1)], atol=atol
    )


@recipe("ArgMax", "ArgMin")
def _arg(op: str, dtype: str) -> Iterator[Variant]:
    if not _allowed(op, dtype, "T"):
        return
    tables = [np.resize(values, (3, 4)) for values in [small(dtype), *hard(dtype)]]
    twice = np.array([[1, 1, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]]).astype(numpy_type(dtype))
    for axis in (0, 1, -1):
        yield Variant(f"axis {axis}", [{"input": table} for table in [*tables, twice]], {"dimension": np.int32(axis)})
    import tensorflow as tf

    for kind in (tf.int32,):
        yield Variant("int32", [{"input": tables[0]}], {"dimension": np.int64(0)}, {"output_type": kind})


@recipe("TopKV2")
def _top_k(op: str, dtype: str) -> Iterator[Variant]:
    if not _allowed(op, dtype, "T"):
        return
    tables = [np.resize(values, (3, 6)) for values in [small(dtype), *hard(dtype)]]
    twice = np.resize(np.array([1, 2, 2, 1, 2, 0, 1]).astype(numpy_type(dtype)), (3, 40))
    yield Variant("3", [{"input": table} for table in [*tables, twice]], {"k": np.int32(3)})
    yield Variant("all", [{"input": table} for table in tables], {"k": np.int32(6)})
    yield Variant("vector", [{"input": twice[0]}], {"k": np.int32(30)})
    yield Variant("computed", [{"input": tables[0], "k": np.int32(k)} for k in (1, 2, 0)])


@recipe("OneHot", of=(*FLOATS, *WHOLE, "bool"))
def _one_hot(op: str, dtype: str) -> Iterator[Variant]:
    ends = {"on_value": np.array(1, numpy_type(dtype)), "off_value": np.array(0, numpy_type(dtype))}
    for kind in ("int32", "int64", "uint8", "int8"):
        values = [np.array([[0, 1, 2], [3, 4, 1]]), np.array([[-1, 5, 100], [2, -5, -6]]), np.zeros((0, 2), int)]
        if kind == "uint8":
            values[1] = np.abs(values[1])
        for axis in (-1, 0, 1):
            calls = [{"indices": value.astype(kind)} for value in values]
            if kind == "int64":
                calls.append({"indices": np.array([[2**32 + 1, 2**40, -(2**33)]])})
            yield Variant(f"{kind}, axis {axis}", calls, {**ends, "depth": np.int32(5)}, {"axis": axis})
    scalars = [{"indices": np.int32(value)} for value in (2, -1, 7)]
    yield Variant("scalar", scalars, {**ends, "depth": np.int32(5)})
    yield Variant(
        "computed depth", [{"indices": np.int32([1, -1, 3]), "depth": np.int32(depth)} for depth in (4, 2)], ends
    )


@recipe("ScatterNd")
def _scatter_nd(op: str, dtype: str) -> Iterator[Variant]:
    rows = np.resize(small(dtype), (5, 2))
    for kind in ("int32", "int64"):
        twice, apart = np.array([[1], [3], [1], [1], [0]], kind), np.array([[4], [3], [2], [1], [0]], kind)
        calls = [{"indices": apart, "updates": rows}, {"indices": twice, "updates": rows}]
        calls += [{"indices": twice, "updates": np.resize(values, (5, 2))} for values in hard(dtype)]
        calls.append({"indices": np.array([[9], [0], [0], [0], [0]], kind), "updates": rows})
        calls.append({"indices": np.array([[-1], [0], [0], [0], [0]], kind), "updates": rows})
        yield Variant(kind, calls, {"shape": np.array([5, 2], kind)}, atol=1e-6)
    places: Any = np.int32([[0, 1], [0, 1], [2, 2]])
    yield Variant("places of rank 2", [{"indices": places, "updates": small(dtype)[1:4]}], {"shape": np.int32([3, 3])})
    yield Variant(
        "computed shape",
        [{"indices": places, "updates": small(dtype)[1:4], "shape": np.int32([3, size])} for size in (3, 5)],
    )


@recipe("TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin", "TensorScatterUpdate")
def _tensor_scatter(op: str, dtype: str) -> Iterator[Variant]:
    table, rows = np.resize(small(dtype), (5, 2)), np.resize(small(dtype)[2:], (3, 2))
    apart, twice = np.int32([[4], [1], [0]]), np.int32([[1], [1], [0]])
    calls = [{"tensor": table, "indices": apart, "updates": rows}]
    if op != "TensorScatterUpdate":
        calls.append({"tensor": table, "indices": twice, "updates": rows})
        calls += [
            {"tensor": np.resize(values, (5, 2)), "indices": twice, "updates": np.resize(values[1:], (3, 2))}
            for values in hard(dtype)
        ]
    yield Variant("rows", calls, atol=1e-6)


@recipe("SegmentSum", "SegmentMean", "SegmentProd", "SegmentMax", "SegmentMin")
def _segment(op: str, dtype: str) -> Iterator[Variant]:
    if not _allowed(op, dtype, "T"):
        return
    table = np.resize(small(dtype), (5, 2))
    for kind in ("int32", "int64"):
        full, gaps = np.array([0, 0, 1, 1, 2], kind), np.array([0, 2, 2, 2, 5], kind)
        calls = [{"data": table, "segment_ids": full}, {"data": table, "segment_ids": gaps}]
        calls += [{"data": np.resize(values, (5, 2)), "segment_ids": gaps} for values in hard(dtype)]
        calls.append({"data": table[:0], "segment_ids": full[:0]})
        yield Variant(kind, calls, atol=1e-5)
    yield Variant("vector", [{"data": table[:, 0], "segment_ids": np.int32([0, 0, 3, 3, 4])}], atol=1e-6)
    calls = [{"data": table, "segment_ids": np.int32([0, 0, 3, 3, 4])}]
    yield Variant("unknown rank", calls, atol=1e-6, unknown_rank=frozenset({"data"}))


@recipe("UnsortedSegmentSum", "UnsortedSegmentProd", "UnsortedSegmentMax", "UnsortedSegmentMin")
def _unsorted(op: str, dtype: str) -> Iterator[Variant]:
    if not _allowed(op, dtype, "T"):
        return
    table = np.resize(small(dtype), (5, 2))
    full: Any = np.int32([2, 0, 1, 0, 2])
    gaps, dropped = np.int32([5, 0, 3, 3, 0]), np.int32([-1, 0, -1, 3, 0])
    calls = [{"data": table, "segment_ids": ids} for ids in (full, gaps, dropped)]
    calls += [{"data": np.resize(values, (5, 2)), "segment_ids": gaps} for values in hard(dtype)]
    calls += [{"data": table[:0], "segment_ids": full[:0]}, {"data": table, "segment_ids": np.int32([6, 0, 1, 0, 2])}]
    yield Variant("rows", calls, {"num_segments": np.int32(6)}, atol=1e-5)
    flat = {"data": np.resize(small(dtype), (2, 3, 2)), "segment_ids": np.array([[0, 1, 1], [3, 0, -1]], np.int32)}
    yield Variant("ids of rank 2", [flat], {"num_segments": np.int64(4)}, atol=1e-6)


@recipe("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN", of=FLOATS)
def _sparse(op: str, dtype: str) -> Iterator[Variant]:
    table = np.resize(small(dtype), (5, 2))
    calls = [
        {"data": table, "indices": np.int32([4, 0, 0, 2]), "segment_ids": np.int32(ids)}
        for ids in ([0, 0, 1, 2], [0, 2, 2, 4])
    ]
    yield Variant("rows", calls, atol=1e-6)


@recipe(
    "SparseSegmentSumWithNumSegments",
    "SparseSegmentMeanWithNumSegments",
    "SparseSegmentSqrtNWithNumSegments",
    of=FLOATS,
)
def _sparse_counted(op: str, dtype: str) -> Iterator[Variant]:
    for variant in _sparse(op, dtype):
        yield Variant("rows", variant.calls, {"num_segments": np.int32(6)}, atol=1e-6)


@recipe("Select", "SelectV2")
def _select(op: str, dtype: str) -> Iterator[Variant]:
    yes, no = ("t", "e") if op == "Select" or op == "SelectV2" else ("x", "y")
    names = [arg.name for arg in op_def(op).input_arg]
    calls = []
    for values in [small(dtype), *hard(dtype)]:
        other = values[::-1].copy()
        calls.append({names[0]: np.arange(values.size) % 2 == 0, names[1]: values, names[2]: other})
    yield Variant("vectors", calls)
    table = np.resize(small(dtype), (3, 2))
    rows = {names[0]: np.array([True, False, True]), names[1]: table, names[2]: table[::-1].copy()}
    if op == "Select":
        yield Variant("rows", [rows])
        rows |= {names[0]: np.array(True)}
        yield Variant("scalar", [rows])
    else:
        yield Variant("spread", [{names[0]: np.array([[True], [False]]), names[1]: table[:2], names[2]: table[0]}])
    del yes, no


@recipe("Cast")
def _cast(op: str, dtype: str) -> Iterator[Variant]:
    import tensorflow as tf

    calls = [
        {"x": small(dtype)},
        *({"x": values} for values in hard(dtype)[:2] + hard(dtype)[3 if is_float(dtype) else 2 :]),
    ]
    for target in DTYPES:
        given = calls
        if is_float(dtype) and not is_float(target) and target != "bool":  # what does not fit is undefined
            given = [{"x": np.abs(small(dtype)) if target.startswith("u") else small(dtype)}]
        yield Variant(f"to {target}", given, attributes={"DstT": tf.as_dtype(target)})


@recipe("Cumsum", "Cumprod")
def _cumulative(op: str, dtype: str) -> Iterator[Variant]:
    if not _allowed(op, dtype, "T"):
        return
    tables = [np.resize(values, (3, 4)) for values in [small(dtype)[1:], *(hard(dtype) if op == "Cumsum" else [])]]
    for exclusive in (False, True):
        for reverse in (False, True):
            yield Variant(
                f"{'exclusive ' * exclusive}{'reverse' * reverse}", [{"x": table} for table in tables],
                {"axis": np.int32(-1)}, {"exclusive": exclusive, "reverse": reverse}, atol=1e-5,
            )  # fmt: skip


@recipe("GatherV2", "Gather")
def _gather(op: str, dtype: str) -> Iterator[Variant]:
    table = np.resize(small(dtype), (4, 3))
    for kind in ("int32", "int64"):
        indices = [
            np.array([[0, 2], [1, 1]], kind),
            np.zeros((0, 2), kind),
            np.array([[0, 9]], kind),
            np.array([[0, -1]], kind),
        ]
        constants: Mapping[str, Any] = {"axis": np.int32(0)} if op == "GatherV2" else {}
        yield Variant(f"{kind}, constant", [{"indices": item} for item in indices], {**constants, "params": table})
        yield Variant(kind, [{"params": table, "indices": item} for item in indices], constants)
    if op == "GatherV2":
        yield Variant("axis -1", [{"params": table, "indices": np.int32([2, 0])}], {"axis": np.int32(-1)})
        yield Variant("scalar", [{"params": table, "indices": np.int32(2)}], {"axis": np.int32(1)})
        call = {"params": table, "indices": np.array([[2, 0]] * 4, np.int32)}
        yield Variant("batch", [call], {"axis": np.int32(1)}, {"batch_dims": 1})


@recipe("GatherNd")
def _gather_nd(op: str, dtype: str) -> Iterator[Variant]:
    table = np.resize(small(dtype), (4, 3))
    indices = [np.int32([[0, 2], [3, 1]]), np.zeros((0, 2), np.int32), np.int32([[9, 0]]), np.int32([[-1, 0]])]
    yield Variant("places", [{"params": table, "indices": item} for item in indices])
    yield Variant("rows", [{"params": table, "indices": np.int64([[[0], [2]]])}])


@recipe("InvertPermutation", of=("int32", "int64"))
def _invert(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("vectors", [{"x": np.array(values, dtype)} for values in ([2, 0, 1, 3], [0], [])])


@recipe("CropAndResize", of=("float32", "uint8", "int32", "float64", "int64"))
def _crop(op: str, dtype: str) -> Iterator[Variant]:
    pictures = np.random.default_rng(0).integers(0, 200, (2, 7, 5, 3)).astype(dtype)
    boxes: Any = np.float32(
        [[0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9], [0.9, 0.8, 0.1, 0.2], [-0.3, 0.2, 1.4, 1.2], [0.5, 0.5, 0.5, 0.5]]
    )
    which: Any = np.int32([0, 1, 1, 0, 1])
    calls = [{"image": pictures, "boxes": boxes[:n], "box_ind": which[:n]} for n in (2, 5, 0)]
    for method in ("bilinear", "nearest"):
        for size in ([4, 4], [1, 3], [7, 5]):
            yield Variant(
                f"{method} {size}", calls, {"crop_size": np.int32(size)},
                {"method": method, "extrapolation_value": 7.0}, atol=2e-3,
            )  # fmt: skip


@recipe("DynamicStitch", "ParallelDynamicStitch")
def _stitch(op: str, dtype: str) -> Iterator[Variant]:
    rows = np.resize(small(dtype), (5, 2))
    calls = [
        {"indices": [np.int32([0, 2]), np.int32([1, 4, 3])], "data": [rows[:2], rows[2:]]},
        {"indices": [np.int32([0, 2]), np.int32([1, 2, 0])], "data": [rows[:2], rows[2:]]},
    ]
    yield Variant("rows", calls[: 1 if op.startswith("Parallel") else 2])
    yield Variant(
        "mixed ranks",
        [{"indices": [np.int32(1), np.int32([[0, 2], [3, 4]])], "data": [rows[0], np.resize(rows, (2, 2, 2))]}],
    )


@recipe("MatMul", "BatchMatMul", "BatchMatMulV2")
def _matmul(op: str, dtype: str) -> Iterator[Variant]:
    if not _allowed(op, dtype, "T"):
        return
    names = [arg.name for arg in op_def(op).input_arg]
    tables = [
        np.resize(values, (3, 4)) for values in [small(dtype), *(hard(dtype) if dtype in WHOLE else hard(dtype)[:1])]
    ]
    shape = lambda table: table if op == "MatMul" else np.stack([table, table])  # noqa: E731
    turned = "transpose_b" if op == "MatMul" else "adj_y"
    yield Variant("plain", [{names[0]: shape(t), names[1]: shape(t.T.copy())} for t in tables], atol=1e-5)
    yield Variant(
        "turned", [{names[0]: shape(t), names[1]: shape(t)} for t in tables], attributes={turned: True}, atol=1e-5
    )


@recipe("Range", of=("int32", "int64", "float32", "float64"))
def _range(op: str, dtype: str) -> Iterator[Variant]:
    ends = [(0, 7, 2), (5, -3, -2), (0, 0, 1), (3, 3, 1), (-4, 4, 3)]
    yield Variant(
        "numbers",
        [{k: np.array(v, dtype) for k, v in zip(("start", "limit", "delta"), end, strict=True)} for end in ends],
        atol=1e-6,
    )


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
        for attributes in aligned:
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
            yield Variant(f"{band}, {rows} by {columns}", [{"diagonal": np.resize(small(dtype), shape)}], constants)


@recipe("MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3")
def _diagonal_set(op: str, dtype: str) -> Iterator[Variant]:
    for low, high in _BANDS if op != "MatrixSetDiag" else _BANDS[:1]:
        longest = min(3 + min(high, 0), 4 - max(low, 0))
        shape = (2, longest) if low == high else (2, high - low + 1, longest)
        call = {"input": np.resize(small(dtype), (2, 3, 4)), "diagonal": np.resize(small(dtype)[2:], shape)}
        constants = {} if op == "MatrixSetDiag" else {"k": np.array((low, high), np.int32)}
        yield Variant(f"{low} to {high}", [call], constants)


@recipe("ClipByValue", of=(*FLOATS, *WHOLE))
def _clip(op: str, dtype: str) -> Iterator[Variant]:
    ends = {"clip_value_min": np.array(1, numpy_type(dtype)), "clip_value_max": np.array(5, numpy_type(dtype))}
    yield Variant("constants", [{"t": values} for values in arrays(dtype)], ends)


@recipe("Unique", "UniqueWithCounts")
def _unique(op: str, dtype: str) -> Iterator[Variant]:
    sets = [
        small(dtype),
        np.concatenate([small(dtype)[::-1], small(dtype)]),
        small(dtype)[:1],
        small(dtype)[:0],
        *hard(dtype),
    ]
    yield Variant("vectors", [{"x": values} for values in sets])


@recipe("AddN")
def _add_n(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("three", [{"inputs": [values, values, values]} for values in [small(dtype), *hard(dtype)]])


@recipe("Fill")
def _fill(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("value", [{"dims": np.int32([2, 3]), "value": value} for value in small(dtype)[:4]])
    yield Variant("constant", [{"dims": np.int32(dims)} for dims in ([2, 3], [0, 1])], {"value": small(dtype)[1]})


@recipe("Where")
def _where(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("places", [{"input": np.resize(values, (3, 4))} for values in [small(dtype), *hard(dtype)]])


@recipe("Softmax", "LogSoftmax", of=FLOATS)
def _softmax(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("rows", [{"logits": np.resize(values, (3, 4))} for values in [small(dtype), *hard(dtype)]], atol=1e-6)


@recipe("AdjustSaturation", "AdjustHue", "AdjustContrastv2", of=("float32", "float16"))
def _adjust(op: str, dtype: str) -> Iterator[Variant]:
    picture = np.random.default_rng(0).random((2, 3, 4, 3)).astype(dtype)
    picture[0, 0] = picture[0, 0, :, :1]  # grey: equal channels
    factor = op_def(op).input_arg[1].name
    yield Variant("pictures", [{"images": picture}], {factor: np.float32(0.3)}, atol=1e-4)


@recipe("Bincount", of=("int32", "int64", "float32", "float64"))
def _bincount(op: str, dtype: str) -> Iterator[Variant]:
    values = [np.int32([1, 1, 2, 0, 5]), np.int32([9, 1, 1]), np.int32([])]
    yield Variant("numbers", [{"arr": item} for item in values], {"size": np.int32(6), "weights": np.zeros(0, dtype)})


@recipe(
    "Transpose",
    "Reshape",
    "ExpandDims",
    "Tile",
    "BroadcastTo",
    "Roll",
    "ReverseV2",
    "Slice",
    "StridedSlice",
    "Squeeze",
    "Pack",
    "Unpack",
    "ConcatV2",
    "Split",
    "SplitV",
    "Pad",
    "PadV2",
    "MirrorPad",
)
def _moving(op: str, dtype: str) -> Iterator[Variant]:
    """Ops that move values: whatever these are, they must come through as they are."""
    tables = [np.resize(values, (3, 4)) for values in [small(dtype), *hard(dtype)]]
    whole = lambda *numbers: np.int32(numbers)  # noqa: E731
    made: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
        "Transpose": ({"perm": whole(1, 0)}, {}, "x"), "Reshape": ({"shape": whole(-1, 2)}, {}, "tensor"),
        "ExpandDims": ({"dim": np.int32(-1)}, {}, "input"), "Tile": ({"multiples": whole(2, 1)}, {}, "input"),
        "BroadcastTo": ({"shape": whole(2, 3, 4)}, {}, "input"),
        "Roll": ({"shift": whole(-1, 9), "axis": whole(0, 1)}, {}, "input"),
        "ReverseV2": ({"axis": whole(-1)}, {}, "tensor"),
        "Slice": ({"begin": whole(1, 0), "size": whole(-1, 2)}, {}, "input"),
        "StridedSlice": (
            {"begin": whole(-1, 3), "end": whole(0, -9), "strides": whole(-1, -2)}, {"end_mask": 1}, "input"
        ),
        "Squeeze": ({}, {}, "input"), "Unpack": ({}, {"num": 4, "axis": -1}, "value"),
        "Split": ({"split_dim": np.int32(-1)}, {"num_split": 2}, "value"),
        "SplitV": ({"size_splits": whole(1, -1), "split_dim": np.int32(1)}, {"num_split": 2}, "value"),
        "Pad": ({"paddings": np.int32([[1, 0], [0, 2]])}, {}, "input"),
        "PadV2": ({"paddings": np.int32([[1, 0], [0, 2]]), "constant_values": small(dtype)[1]}, {}, "input"),
        "MirrorPad": ({"paddings": np.int32([[1, 0], [0, 2]])}, {"mode": "REFLECT"}, "input"),
    }  # fmt: skip
    if op == "Pack":
        yield Variant("two", [{"values": [table, table[::-1].copy()]} for table in tables], attributes={"axis": -1})
    elif op == "ConcatV2":
        yield Variant("two", [{"values": [table, table[:, :1].copy()]} for table in tables], {"axis": np.int32(-1)})
    else:
        constants, attributes, name = made[op]
        yield Variant("tables", [{name: table} for table in tables], constants, attributes)
