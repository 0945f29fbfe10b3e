"""Sparse and ragged arrays, sets, and what decodes sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from op_conformance.graphs import Variant
from op_conformance.recipes.registry import recipe
from op_conformance.values import FLOATS, WHOLE, numbers, small


@recipe("SparseToDense")
def _to_dense(op: str, dtype: str) -> Iterator[Variant]:
    values = small(dtype)[1:4]
    rest: dict[str, Any] = {"default_value": small(dtype)[2]}
    for kind in ("int32", "int64"):
        places = [np.array(item, kind) for item in ([[0, 1], [1, 0], [2, 2]], [[0, 0], [0, 3], [0, 1]], [[5, 0]] * 3)]
        size = np.array([3, 4], kind)
        calls = [{"sparse_indices": item, "sparse_values": values} for item in places]
        yield Variant(kind, calls, {**rest, "output_shape": size}, {"validate_indices": False})
        yield Variant(f"{kind}, validated", calls, {**rest, "output_shape": size})
    calls = [
        {"sparse_indices": np.int32([4, 1, 2]), "sparse_values": values, "output_shape": np.int32([n])} for n in (5, 7)
    ]
    yield Variant("vector, computed", calls, rest, {"validate_indices": False})
    twice = [{"sparse_indices": np.int32([1, 1, 2]), "sparse_values": values}]
    yield Variant("twice", twice, {**rest, "output_shape": np.int32([5])}, {"validate_indices": False})


@recipe("SparseFillEmptyRows")
def _fill_empty_rows(op: str, dtype: str) -> Iterator[Variant]:
    sets = [[[0, 1], [2, 0], [2, 3]], [[0, 0], [1, 1], [2, 2]]]
    calls = [{"indices": np.int64(item), "values": small(dtype)[1:4], "dense_shape": np.int64([4, 5])} for item in sets]
    calls.append({"indices": np.zeros((0, 2), np.int64), "values": small(dtype)[:0], "dense_shape": np.int64([2, 5])})
    yield Variant("rows", calls, {"default_value": small(dtype)[2]})


@recipe("SparseReshape", of=("int64",))
def _reshape(op: str, dtype: str) -> Iterator[Variant]:
    places: Any = np.int64([[0, 1], [1, 0], [2, 3]])
    for shape in ([12], [2, -1], [2, 2, 3], [5, 5]):
        yield Variant(
            f"{shape}", [{"input_indices": places, "input_shape": np.int64([3, 4])}], {"new_shape": np.int64(shape)}
        )


@recipe("RaggedRange", of=("float32", "float64", "int32", "int64"))
def _range(op: str, dtype: str) -> Iterator[Variant]:
    import tensorflow as tf

    ends = [([0, 5, 3], [4, 5, 9], [1, 1, 2]), ([5, 0], [-3, 3], [-2, 1])]
    calls = [dict(zip(("starts", "limits", "deltas"), (np.array(i, dtype) for i in end), strict=True)) for end in ends]
    for kind in (tf.int32, tf.int64):
        yield Variant(kind.name, calls, attributes={"Tsplits": kind})


@recipe("RaggedGather")
def _gather(op: str, dtype: str) -> Iterator[Variant]:
    for kind in ("int32", "int64"):
        splits = np.array([0, 2, 2, 5], kind)
        calls = [
            {
                "params_nested_splits": [splits],
                "params_dense_values": numbers(dtype, 5),
                "indices": np.array(item, "int32"),
            }
            for item in ([2, 0, 1], [0, 0], [7, 0])
        ]
        yield Variant(kind, calls, attributes={"OUTPUT_RAGGED_RANK": 1})


@recipe("RaggedTensorToSparse")
def _to_sparse(op: str, dtype: str) -> Iterator[Variant]:
    calls = [
        {"rt_nested_splits": [np.int64(splits)], "rt_dense_values": numbers(dtype, 5)}
        for splits in ([0, 2, 2, 5], [0, 1, 5, 5])
    ]
    yield Variant("rows", calls)


@recipe("RaggedTensorToTensor")
def _to_tensor(op: str, dtype: str) -> Iterator[Variant]:
    for shape in ([-1, -1], [3, 4], [2, 1]):
        calls = [
            {"values": numbers(dtype, 5), "row_partition_tensors": [np.int64(splits)]}
            for splits in ([0, 2, 2, 5], [0, 1, 5, 5])
        ]
        constants = {"shape": np.int64(shape), "default_value": small(dtype)[1]}
        yield Variant(f"{shape}", calls, constants, {"row_partition_types": ["ROW_SPLITS"]})


@recipe("RaggedTensorToVariant", of=("float32",))
def _to_variant(op: str, dtype: str) -> Iterator[Variant]:
    call = {"rt_nested_splits": [np.int64([0, 2, 5])], "rt_dense_values": numbers(dtype, 5)}
    yield Variant("rows", [call], attributes={"batched_input": False})


@recipe("DenseToDenseSetOperation", of=WHOLE)
def _sets(op: str, dtype: str) -> Iterator[Variant]:
    one, other = np.array([[1, 2, 2], [3, 4, 5]], dtype), np.array([[2, 9, 1], [7, 5, 5]], dtype)
    for what in ("a-b", "b-a", "intersection", "union"):
        yield Variant(what, [{"set1": one, "set2": other}], attributes={"set_operation": what})
        yield Variant(f"{what} of one", [{"set1": one[:1], "set2": other[:1]}], attributes={"set_operation": what})


@recipe("CTCGreedyDecoder", of=("float32", "float64"))
def _decoder(op: str, dtype: str) -> Iterator[Variant]:
    scores = np.resize(numbers(dtype, 31), (6, 2, 4))
    calls: list[dict[str, Any]] = [{"inputs": scores, "sequence_length": np.int32(item)} for item in ([6, 4], [3, 0])]
    for given in ({"merge_repeated": True}, {"merge_repeated": False}, {"blank_index": 0}):
        yield Variant(f"{given}", calls, attributes=given, atol=1e-5)


@recipe("DenseBincount", of=(*FLOATS[:2], "int32", "int64"))
def _bincount(op: str, dtype: str) -> Iterator[Variant]:
    for kind in ("int32", "int64"):
        values = [np.array(item, kind) for item in ([1, 1, 2, 0, 5], [9, 1, 1], [], [-1, 1])]
        constants = {"size": np.array(6, kind), "weights": np.zeros(0, dtype)}
        for binary in (False, True):
            yield Variant(
                f"{kind}{' binary' * binary}",
                [{"input": item} for item in values],
                constants,
                {"binary_output": binary},
            )
        call = {"input": values[0], "weights": numbers(dtype, 5)}
        yield Variant(f"{kind}, weighted", [call], {"size": constants["size"]}, atol=1e-6)
        rows = {"input": np.array([[1, 1, 2], [0, 5, 5]], kind)}
        yield Variant(f"{kind}, rows", [rows], constants)
