"""What makes arrays, or moves what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from op_conformance.graphs import Variant
from op_conformance.recipes.registry import arrays, recipe
from op_conformance.values import DTYPES, OTHERS, hard, numbers, small


@recipe("Range", of=("int32", "int64", "float32", "float64"))
def _range(op: str, dtype: str) -> Iterator[Variant]:
    ends = [(0, 7, 2), (5, -3, -2), (0, 0, 1), (3, 3, 1), (-4, 4, 3)]
    yield Variant(
        "numbers",
        [{k: np.array(v, dtype) for k, v in zip(("start", "limit", "delta"), end, strict=True)} for end in ends],
        atol=1e-6,
    )


@recipe("Fill")
def _fill(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("value", [{"dims": np.int32([2, 3]), "value": value} for value in small(dtype)[:4]])
    yield Variant("constant", [{"dims": np.int32(dims)} for dims in ([2, 3], [0, 1])], {"value": small(dtype)[1]})


@recipe("Pack", "ConcatV2", of=(*DTYPES, *OTHERS))
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


@recipe("IdentityN")
def _identities(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("two", [{"input": [values, small("int32")]} for values in arrays(dtype)])


@recipe("Concat")
def _joined(op: str, dtype: str) -> Iterator[Variant]:
    table = numbers(dtype, 3, 4)
    for axis in (0, 1, -1):
        yield Variant(
            f"axis {axis}", [{"values": [table, table]}, {"values": [table, table]}], {"concat_dim": np.int32(axis)}
        )


@recipe("EnsureShape")
def _ensured(op: str, dtype: str) -> Iterator[Variant]:
    import tensorflow as tf

    calls = [{"input": numbers(dtype, *shape)} for shape in ((3, 4), (5, 4), (3, 5))]  # the last one raises
    yield Variant("rows of four", calls, attributes={"shape": tf.TensorShape([None, 4])})


@recipe("ReverseSequence")
def _reversed(op: str, dtype: str) -> Iterator[Variant]:
    table = numbers(dtype, 3, 4, 2)
    for kind in ("int32", "int64"):
        calls = [{"input": table, "seq_lengths": np.array(item, kind)} for item in ([4, 2, 1], [0, 3, 4], [5, 1, 1])]
        yield Variant(kind, calls, attributes={"seq_dim": 1, "batch_dim": 0})
    turned = {"input": np.swapaxes(table, 0, 1).copy(), "seq_lengths": np.int64([4, 2, 1])}
    yield Variant("time first", [turned], attributes={"seq_dim": 0, "batch_dim": 1})
    yield Variant(
        "last", [{"input": table, "seq_lengths": np.int32([2, 1, 0])}], attributes={"seq_dim": 2, "batch_dim": 0}
    )


@recipe("SpaceToDepth", "DepthToSpace")
def _blocks(op: str, dtype: str) -> Iterator[Variant]:
    shape = (2, 4, 6, 2) if op == "SpaceToDepth" else (2, 2, 3, 8)
    yield Variant("2", [{"input": numbers(dtype, *shape)}], attributes={"block_size": 2})
    yield Variant("known", [{"input": numbers(dtype, *shape)}], attributes={"block_size": 2}, is_open=False)
    first = {"block_size": 2, "data_format": "NCHW"}
    yield Variant("channels first", [{"input": np.moveaxis(numbers(dtype, *shape), 3, 1).copy()}], attributes=first)


@recipe("SpaceToBatchND", "BatchToSpaceND")
def _batches(op: str, dtype: str) -> Iterator[Variant]:
    edges = "paddings" if op == "SpaceToBatchND" else "crops"
    for kind in ("int32", "int64"):
        for ends in ([[0, 0], [0, 0]], [[1, 1], [0, 2]]):
            shape = (2, 4, 6, 2) if op == "SpaceToBatchND" else (8, 3, 4, 2)
            constants = {"block_shape": np.array([2, 2], kind), edges: np.array(ends, kind)}
            yield Variant(f"{kind} {ends}", [{"input": numbers(dtype, *shape)}], constants)
    shape = (2, 6, 3) if op == "SpaceToBatchND" else (4, 3, 3)
    constants = {"block_shape": np.int32([2]), edges: np.int32([[0, 0]])}
    yield Variant("rank 3", [{"input": numbers(dtype, *shape)}], constants)
    fed = {"input": numbers(dtype, *shape), edges: np.int32([[1, 1]])}
    yield Variant("computed", [fed], {"block_shape": np.int32([2])})


@recipe("DynamicPartition")
def _partition(op: str, dtype: str) -> Iterator[Variant]:
    rows = numbers(dtype, 5, 2)
    calls = [
        {"data": rows, "partitions": np.int32(item)} for item in ([0, 2, 1, 0, 2], [0, 0, 0, 0, 0], [0, 3, 1, 1, -1])
    ]
    calls.append({"data": rows[:0], "partitions": np.zeros(0, np.int32)})
    yield Variant("rows", calls, attributes={"num_partitions": 3})
    pair = {"data": rows[:4].reshape(2, 2, 2), "partitions": np.array([[0, 1], [1, 0]], np.int32)}
    yield Variant("pairs", [pair], attributes={"num_partitions": 2})


@recipe("Shape", "Size")
def _shape(op: str, dtype: str) -> Iterator[Variant]:
    import tensorflow as tf

    for kind in (tf.int32, tf.int64):
        for shape in ((3, 4), (2, 0, 1), (), (1, 2, 3, 1, 2)):
            yield Variant(f"{kind.name} {shape}", [{"input": numbers(dtype, *shape)}], attributes={"out_type": kind})
    table = {"input": numbers(dtype, 3, 4)}
    yield Variant("unknown rank", [table], unknown_rank=frozenset({"input"}))


@recipe("RandomShuffle", of=("float32",))
def _shuffled(op: str, dtype: str) -> Iterator[Variant]:
    yield Variant("rows", [{"value": numbers(dtype, 1, 4)}])


_MOVED: dict[str, tuple[str, list[tuple[tuple[int, ...], dict[str, Any], dict[str, Any]]]]] = {
    "Transpose": (
        "x",
        [
            ((2, 3, 1, 2, 2), {"perm": np.int64([4, 0, 2, 1, 3])}, {}),
            ((), {"perm": np.zeros(0, np.int32)}, {}),
            ((0, 3), {"perm": np.int32([1, 0])}, {}),
        ],
    ),
    "Reshape": (
        "tensor",
        [
            ((2, 3), {"shape": np.int32([6])}, {}),
            ((1,), {"shape": np.zeros(0, np.int32)}, {}),
            ((2, 0), {"shape": np.int64([0, 7])}, {}),
            ((2, 0, 3), {"shape": np.int32([-1, 3])}, {}),
            ((2, 3, 2), {"shape": np.int64([1, 2, 1, -1, 2])}, {}),
        ],
    ),
    "ExpandDims": (
        "input",
        [((), {"dim": np.int32(0)}, {}), ((2, 3), {"dim": np.int64(1)}, {}), ((2, 3), {"dim": np.int32([-3])}, {})],
    ),
    "Squeeze": (
        "input",
        [((1, 3, 1), {}, {}), ((1, 3, 1), {}, {"squeeze_dims": [-1]}), ((1, 1), {}, {"squeeze_dims": [0]})],
    ),
    "Tile": (
        "input",
        [
            ((2, 3), {"multiples": np.int64([0, 2])}, {}),
            ((2,), {"multiples": np.int32([3])}, {}),
            ((), {"multiples": np.zeros(0, np.int32)}, {}),
        ],
    ),
    "BroadcastTo": (
        "input",
        [
            ((), {"shape": np.int32([2, 3])}, {}),
            ((1, 3, 1), {"shape": np.int64([2, 3, 4])}, {}),
            ((1, 3), {"shape": np.int32([0, 3])}, {}),
        ],
    ),
    "ReverseV2": (
        "tensor",
        [((2, 3, 2), {"axis": np.int64([0, 2])}, {}), ((2, 3), {"axis": np.zeros(0, np.int32)}, {})],
    ),
    "Roll": (
        "input",
        [
            ((5,), {"shift": np.int32(2), "axis": np.int32(0)}, {}),
            ((2, 3), {"shift": np.int64([1, 1]), "axis": np.int32([1, 1])}, {}),
            ((2, 3), {"shift": np.int32(-7), "axis": np.int64(-1)}, {}),
        ],
    ),
    "Slice": (
        "input",
        [
            ((5,), {"begin": np.int64([5]), "size": np.int64([0])}, {}),
            ((2, 3, 4), {"begin": np.int32([0, 1, 2]), "size": np.int32([-1, 1, -1])}, {}),
        ],
    ),
    "StridedSlice": (
        "input",
        [
            ((4, 5), {"begin": np.int32([1]), "end": np.int32([2]), "strides": np.int32([1])}, {"shrink_axis_mask": 1}),
            (
                (4, 5),
                {"begin": np.int32([0, 0, 1]), "end": np.int32([0, 0, 3]), "strides": np.int32([1, 1, 1])},
                {"ellipsis_mask": 1, "new_axis_mask": 2},
            ),
            (
                (4, 5, 2),
                {"begin": np.int32([0, -2]), "end": np.int32([0, 99]), "strides": np.int32([1, 1])},
                {"ellipsis_mask": 1, "end_mask": 2},
            ),
            ((4, 5), {"begin": np.int64([9, 4]), "end": np.int64([1, -99]), "strides": np.int64([-2, -1])}, {}),
            ((4,), {"begin": np.int32([-9]), "end": np.int32([2]), "strides": np.int32([3])}, {}),
            ((4,), {"begin": np.int32([3]), "end": np.int32([1]), "strides": np.int32([1])}, {}),
            (
                (2, 3, 2, 2, 2),
                {"begin": np.int32([0, 1]), "end": np.int32([0, 2]), "strides": np.int32([1, 1])},
                {"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 2},
            ),
        ],
    ),
    "Unpack": ("value", [((3, 4), {}, {"num": 3, "axis": 0}), ((2, 1, 2), {}, {"num": 1, "axis": 1})]),
    "Split": (
        "value",
        [((6, 3), {"split_dim": np.int32(0)}, {"num_split": 3}), ((4,), {"split_dim": np.int32(0)}, {"num_split": 1})],
    ),
    "SplitV": (
        "value",
        [
            ((6, 3), {"size_splits": np.int64([1, 0, 5]), "split_dim": np.int32(0)}, {"num_split": 3}),
            ((6,), {"size_splits": np.int32([6]), "split_dim": np.int32(-1)}, {"num_split": 1}),
        ],
    ),
    "Pad": (
        "input",
        [
            ((2, 3, 1), {"paddings": np.int64([[0, 0], [2, 1], [1, 1]])}, {}),
            ((0, 2), {"paddings": np.int32([[1, 1], [0, 0]])}, {}),
            ((), {"paddings": np.zeros((0, 2), np.int32)}, {}),
        ],
    ),
    "PadV2": ("input", [((2, 3, 1), {"paddings": np.int64([[0, 0], [2, 1], [1, 1]])}, {})]),
    "MirrorPad": (
        "input",
        [
            ((3, 4), {"paddings": np.int64([[2, 1], [3, 3]])}, {"mode": "REFLECT"}),
            ((3, 4), {"paddings": np.int32([[3, 1], [4, 0]])}, {"mode": "SYMMETRIC"}),
        ],
    ),
}


@recipe(*_MOVED, of=(*DTYPES, *OTHERS))
def _moved(op: str, dtype: str) -> Iterator[Variant]:
    """Further shapes of what moves values, and once with all but these computed."""
    yield from _moving(op, dtype)
    name, ways = _MOVED[op]
    for index, (shape, constants, attributes) in enumerate(ways):
        given = dict(constants)
        if op == "PadV2":
            given["constant_values"] = small(dtype)[2]
        yield Variant(f"{shape}, {index}", [{name: numbers(dtype, *shape)}], given, attributes)
        if constants and index == 0:
            yield Variant(f"{shape}, computed", [{name: numbers(dtype, *shape), **given}], {}, attributes)
