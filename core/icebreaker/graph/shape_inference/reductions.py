"""Rules for ops that make dimensions smaller by what is in them: Sum, ArgMax, TopK, SegmentSum."""

from __future__ import annotations

import math
from collections.abc import Iterable

from icebreaker.graph.graph import Node
from icebreaker.graph.shape_inference.attributes import bool_attr, int_attr, type_attr
from icebreaker.graph.shape_inference.facts import Fact, axes_of, single_value
from icebreaker.graph.shape_inference.rule_table import RuleTable

RULES = RuleTable()


@RULES.of("Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm")
def _reduce(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype = "bool" if node.op in ("All", "Any") else inputs[0].dtype or type_attr(node, "T")
    shape, keep = inputs[0].shape, bool_attr(node, "keep_dims")
    if shape is None:
        return [Fact(dtype)]
    axes = axes_of(inputs[1], len(shape))
    if axes is None:
        return [Fact(dtype, (None,) * len(shape) if keep else None)]
    found = tuple((1 if at in axes else size) for at, size in enumerate(shape) if keep or at not in axes)
    values = None
    if node.op in ("Prod", "Sum", "Max", "Min") and inputs[0].values is not None and found == () and len(shape) == 1:
        numbers = [value for value in inputs[0].values if value is not None]
        work = {"Prod": math.prod, "Sum": sum, "Max": max, "Min": min}[node.op]
        values = (work(numbers) if len(numbers) == len(inputs[0].values) else None,)
    return [Fact(dtype, found, values)]


@RULES.of("ArgMax", "ArgMin")
def _arg_max(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype, shape, axis = type_attr(node, "output_type") or "int64", inputs[0].shape, single_value(inputs[1])
    if shape is None:
        return [Fact(dtype)]
    if axis is None:
        return [Fact(dtype, (None,) * (len(shape) - 1))]
    at = axis % len(shape)
    return [Fact(dtype, (*shape[:at], *shape[at + 1 :]))]


@RULES.of("TopKV2", "TopK")
def _top_k(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    count = single_value(inputs[1]) if node.op == "TopKV2" else int_attr(node, "k")
    shape = None if inputs[0].shape is None else (*inputs[0].shape[:-1], count)
    return [Fact(inputs[0].dtype, shape), Fact(type_attr(node, "index_type") or "int32", shape)]


@RULES.of("SparseSegmentMean", "SparseSegmentSum", "SparseSegmentSqrtN", "SegmentSum", "SegmentMean", "SegmentMax")
def _segments(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape = inputs[0].shape
    return [Fact(inputs[0].dtype, None if not shape else (None, *shape[1:]))]
