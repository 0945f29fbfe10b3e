"""Rules for ops that arrange values anew: Reshape, Transpose, Concat, Split, Pad, Tile and the like."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import repeat

from icebreaker.graph.graph import Node
from icebreaker.graph.shape_inference.attributes import int_attr, int_list_attr, text_attr, type_attr
from icebreaker.graph.shape_inference.facts import (
    ENDS,
    MOST_OUTPUTS,
    MOST_VALUES,
    Fact,
    Shape,
    completed,
    divided,
    meant_shape,
    product,
    scaled,
    single_value,
    total_of,
    with_rank,
)
from icebreaker.graph.shape_inference.rule_table import RuleTable

RULES = RuleTable()


@RULES.of("Reshape")
def _reshape(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    source, target = inputs
    dtype = source.dtype or type_attr(node, "T")
    shape = meant_shape(target)
    if shape is not None and target.values is not None and target.values.count(-1) == 1 and None not in target.values:
        rest = product(value for value in target.values if value != -1)
        whole = None if source.shape is None else product(source.shape)
        if whole is not None and rest and whole % rest == 0:
            shape = tuple(whole // rest if size is None else size for size in shape)
    values = source.values if shape is not None and len(shape) <= 1 else None
    return [Fact(dtype, shape, values)]


@RULES.of("Squeeze")
def _squeeze(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape, axes = inputs[0].shape, int_list_attr(node, "squeeze_dims") or int_list_attr(node, "axis")
    if shape is None or (not axes and None in shape):
        return [Fact(inputs[0].dtype)]
    if axes:
        gone = {axis % len(shape) for axis in axes}
        return [Fact(inputs[0].dtype, tuple(s for at, s in enumerate(shape) if at not in gone), inputs[0].values)]
    return [Fact(inputs[0].dtype, tuple(size for size in shape if size != 1), inputs[0].values)]


@RULES.of("ExpandDims")
def _expand_dims(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape, axis = inputs[0].shape, single_value(inputs[1])
    if shape is None:
        return [Fact(inputs[0].dtype)]
    if axis is None:
        return [Fact(inputs[0].dtype, (None,) * (len(shape) + 1))]
    at = axis + len(shape) + 1 if axis < 0 else axis
    return [Fact(inputs[0].dtype, (*shape[:at], 1, *shape[at:]), inputs[0].values if not shape else None)]


@RULES.of("Transpose")
def _transpose(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape, order = inputs[0].shape, inputs[1].values
    if order is None or None in order:
        size = len(shape) if shape is not None else inputs[1].shape[0] if inputs[1].shape else None
        return [Fact(inputs[0].dtype, None if size is None else (None,) * size)]
    shape = with_rank(shape, len(order))
    return [Fact(inputs[0].dtype, tuple(shape[at] for at in order if at is not None))]


@RULES.of("Concat", "ConcatV2")
def _concat(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    parts, axis = (inputs[:-1], inputs[-1]) if node.op == "ConcatV2" else (inputs[1:], inputs[0])
    dtype = next((fact.dtype for fact in parts if fact.dtype), "") or type_attr(node, "T")
    rank = next((len(fact.shape) for fact in parts if fact.shape is not None), None)
    if rank is None:
        return [Fact(dtype)]
    at = single_value(axis)
    if at is None:
        return [Fact(dtype, (None,) * rank)]
    at %= rank
    shapes = [with_rank(fact.shape, rank) for fact in parts]
    total = total_of(shape[at] for shape in shapes)
    others: Shape = (None,) * rank
    for shape in shapes:
        others = completed(others, shape) or ()
    values: list[int | None] | None = None
    if rank == 1 and total is not None and total <= MOST_VALUES and dtype in ENDS:
        values = []
        for fact, shape in zip(parts, shapes, strict=True):
            values += (None,) * (shape[0] or 0) if fact.values is None else fact.values
    return [Fact(dtype, (*others[:at], total, *others[at + 1 :]), None if values is None else tuple(values))]


@RULES.of("Pack")
def _pack(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype = next((fact.dtype for fact in inputs if fact.dtype), "") or type_attr(node, "T")
    shape = None
    for fact in inputs:
        shape = completed(shape, fact.shape)
    if shape is None:
        return [Fact(dtype)]
    at = int_attr(node, "axis") % (len(shape) + 1)
    values = None
    if not shape and dtype in ENDS and len(inputs) <= MOST_VALUES:
        values = tuple(single_value(fact) for fact in inputs)
    return [Fact(dtype, (*shape[:at], len(inputs), *shape[at:]), values)]


@RULES.of("Unpack")
def _unpack(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape, count, values = inputs[0].shape, int_attr(node, "num"), inputs[0].values
    if shape is None:
        return repeat(Fact(inputs[0].dtype), count)
    at = int_attr(node, "axis") % len(shape)
    rest = Fact(inputs[0].dtype, (*shape[:at], *shape[at + 1 :]))
    if values is None or len(shape) != 1 or len(values) != count:
        return repeat(rest, count)
    return [rest._replace(values=(value,)) for value in values]


@RULES.of("Split")
def _split(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    axis, fact, count = single_value(inputs[0]), inputs[1], int_attr(node, "num_split")
    if fact.shape is None or axis is None:
        return repeat(Fact(fact.dtype, None if fact.shape is None else (None,) * len(fact.shape)), count)
    at = axis % len(fact.shape)
    return repeat(Fact(fact.dtype, (*fact.shape[:at], divided(fact.shape[at], count), *fact.shape[at + 1 :])), count)


@RULES.of("SplitV")
def _split_v(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    fact, count, axis = inputs[0], int_attr(node, "num_split"), single_value(inputs[2])
    if fact.shape is None or axis is None:
        return repeat(Fact(fact.dtype, None if fact.shape is None else (None,) * len(fact.shape)), count)
    at = axis % len(fact.shape)
    sizes = inputs[1].values
    if sizes is None:
        sizes = (None,) * min(count, MOST_OUTPUTS)
    if sizes.count(-1) == 1:
        known, whole = total_of(size for size in sizes if size != -1), fact.shape[at]
        rest = None if known is None or whole is None else whole - known
        sizes = tuple(rest if size == -1 else size for size in sizes)
    return [Fact(fact.dtype, (*fact.shape[:at], size, *fact.shape[at + 1 :])) for size in sizes]


@RULES.of("Pad", "PadV2", "MirrorPad")
def _pad(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape, by = inputs[0].shape, inputs[1].values
    if by is None:
        rank = inputs[1].shape[0] if inputs[1].shape else None
        rank = len(shape) if shape is not None else rank
        return [Fact(inputs[0].dtype, None if rank is None else (None,) * rank)]
    shape = with_rank(shape, len(by) // 2)
    pairs = zip(shape, by[::2], by[1::2], strict=True)
    return [Fact(inputs[0].dtype, tuple(map(total_of, pairs)))]


@RULES.of("Tile")
def _tile(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape, times = inputs[0].shape, inputs[1].values
    if times is None:
        return [Fact(inputs[0].dtype, None if shape is None else (None,) * len(shape))]
    pairs = zip(with_rank(shape, len(times)), times, strict=True)
    return [Fact(inputs[0].dtype, tuple(None if s is None or n is None else s * n for s, n in pairs))]


@RULES.of("SpaceToDepth", "DepthToSpace")
def _blocks(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    if text_attr(node, "data_format", "NHWC") != "NHWC":
        return [Fact(inputs[0].dtype)]
    batch, tall, wide, deep = with_rank(inputs[0].shape, 4)
    by = int_attr(node, "block_size")
    if node.op == "SpaceToDepth":
        shape = batch, divided(tall, by), divided(wide, by), scaled(deep, by * by)
    else:
        shape = batch, scaled(tall, by), scaled(wide, by), divided(deep, by * by)
    return [Fact(inputs[0].dtype, shape)]


@RULES.of("SpaceToBatchND", "BatchToSpaceND")
def _batches(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape, blocks, by = inputs[0].shape, inputs[1].values, inputs[2].values
    if shape is None:
        return [Fact(inputs[0].dtype)]
    if blocks is None or by is None or None in blocks or None in by:
        return [Fact(inputs[0].dtype, (None,) * len(shape))]
    numbers = [value for value in by if value is not None]
    whole = math.prod(value for value in blocks if value is not None)
    into = node.op == "SpaceToBatchND"
    found: list[int | None] = [scaled(shape[0], whole) if into else divided(shape[0], whole)]
    for at, block in enumerate(blocks):
        size, more = shape[1 + at], numbers[2 * at] + numbers[2 * at + 1]
        if size is None or block is None:
            found.append(None)
        else:
            found.append((size + more) // block if into else size * block - more)
    return [Fact(inputs[0].dtype, (*found, *shape[1 + len(blocks) :]))]
