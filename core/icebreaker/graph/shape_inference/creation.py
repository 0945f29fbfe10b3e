"""Rules for ops that make tensors from nothing, from a shape or from numbers: inputs, constants, Shape, Fill, Range."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from icebreaker.graph.graph import Node
from icebreaker.graph.ops import DTYPES
from icebreaker.graph.shape_inference.attributes import int_attr, shape_attr, type_attr
from icebreaker.graph.shape_inference.facts import (
    ENDS,
    MOST_VALUES,
    Fact,
    is_possible,
    meant_shape,
    product,
    repeated,
    single_value,
)
from icebreaker.graph.shape_inference.rule_table import RuleTable

RULES = RuleTable()


@RULES.of("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
def _placeholder(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact(type_attr(node, "dtype"), shape_attr(node, "shape"))]


@RULES.of("Const")
def _const(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    if "value" not in node.definition.attr:  # looking it up would add it
        return []
    tensor = node.definition.attr["value"].tensor
    dtype, shape = DTYPES.get(tensor.dtype, ""), tuple(dim.size for dim in tensor.tensor_shape.dim)
    size = math.prod(shape) if is_possible(shape) else 0
    if dtype not in ENDS or size > MOST_VALUES:
        return [Fact(dtype, shape)]
    numbers = tensor.int_val if dtype == "int32" else tensor.int64_val
    values: list[int] = []
    if len(tensor.tensor_content) == size * (4 if dtype == "int32" else 8):
        values = np.frombuffer(tensor.tensor_content, f"<{'i4' if dtype == 'int32' else 'i8'}").tolist()
    elif not tensor.tensor_content and len(numbers) <= size:
        values = list(numbers) or [0]
        values += values[-1:] * (size - len(values))  # the last one counts for the rest
    return [Fact(dtype, shape, tuple(values) if len(values) == size else None)]


@RULES.of("Fill")
def _fill(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape, value = meant_shape(inputs[0]), single_value(inputs[1])
    dtype = inputs[1].dtype or type_attr(node, "T")
    return [Fact(dtype, shape, None if value is None else repeated(value, shape))]


@RULES.of("BroadcastTo", "RandomUniform", "RandomStandardNormal", "TruncatedNormal", "RandomUniformInt", "Empty")
def _as_asked(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    asked = inputs[1] if node.op == "BroadcastTo" else inputs[0]
    dtype = inputs[0].dtype if node.op == "BroadcastTo" else type_attr(node, "dtype") or type_attr(node, "Tout")
    return [Fact(dtype, meant_shape(asked))]


@RULES.of("Range")
def _range(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype = inputs[0].dtype or type_attr(node, "Tidx")
    first, last, step = (single_value(fact) for fact in inputs)
    if first is None or last is None or not step:
        return [Fact(dtype, (None,))]
    numbers = range(first, last, step)
    return [Fact(dtype, (len(numbers),), tuple(numbers) if len(numbers) <= MOST_VALUES else None)]


@RULES.of("Shape")
def _shape(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype = type_attr(node, "out_type") or "int32"
    shape = inputs[0].shape
    return [Fact(dtype, (None,)) if shape is None else Fact(dtype, (len(shape),), shape)]


@RULES.of("ShapeN")
def _shape_n(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [next(iter(_shape(node, [fact]))) for fact in inputs]


@RULES.of("Size")
def _size(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape = inputs[0].shape
    return [Fact(type_attr(node, "out_type") or "int32", (), (None if shape is None else product(shape),))]


@RULES.of("Rank")
def _rank_of(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape = inputs[0].shape
    return [Fact("int32", (), (None if shape is None else len(shape),))]


@RULES.of("OneHot")
def _one_hot(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype, shape = inputs[2].dtype or type_attr(node, "T"), inputs[0].shape
    if shape is None:
        return [Fact(dtype)]
    at = int_attr(node, "axis", -1)
    at = len(shape) if at == -1 else at
    return [Fact(dtype, (*shape[:at], single_value(inputs[1]), *shape[at:]))]
