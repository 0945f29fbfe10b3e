"""Rules for ops that pick values by place: Slice, StridedSlice, Gather, Where, and their counterparts."""

from __future__ import annotations

from collections.abc import Iterable

from icebreaker.graph.graph import Node
from icebreaker.graph.shape_inference.attributes import int_attr
from icebreaker.graph.shape_inference.facts import Fact, meant_shape, repeated, single_value, with_rank
from icebreaker.graph.shape_inference.rule_table import RuleTable

RULES = RuleTable()


@RULES.of("Slice")
def _slice(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape, begin, size = inputs[0].shape, inputs[1].values, inputs[2].values
    if begin is None or size is None:
        rank = len(shape) if shape is not None else None
        return [Fact(inputs[0].dtype, None if rank is None else (None,) * rank)]
    shape = with_rank(shape, len(size))
    found: list[int | None] = []
    for whole, first, count in zip(shape, begin, size, strict=True):
        if count == -1:
            found.append(None if whole is None or first is None else whole - first)
        else:
            found.append(count)
    values = None
    if inputs[0].values is not None and len(shape) == 1 and begin[0] is not None and found[0] is not None:
        values = inputs[0].values[begin[0] : begin[0] + found[0]]
    return [Fact(inputs[0].dtype, tuple(found), values)]


@RULES.of("StridedSlice")
def _strided_slice(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    fact = inputs[0]
    if fact.shape is None:
        return [Fact(fact.dtype)]
    vectors = [item.values for item in inputs[1:4]]
    count = next((len(values) for values in vectors if values is not None), None)
    if count is None:
        return [Fact(fact.dtype)]
    begin, end, strides = (values if values is not None else (None,) * count for values in vectors)
    masks = {name: int_attr(node, f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}

    def has(name: str, bit: int) -> bool:
        return bool(masks[name] & (1 << bit))

    taken = sum(1 for bit in range(count) if not has("new_axis", bit) and not has("ellipsis", bit))
    found: list[int | None] = []
    picked: slice | int | None = None
    at = 0
    for bit in range(count):
        if has("ellipsis", bit):
            more = len(fact.shape) - taken
            found.extend(fact.shape[at : at + more])
            at += more
        elif has("new_axis", bit):
            found.append(1)
        else:
            size, step = fact.shape[at], strides[bit]
            at += 1
            if has("shrink_axis", bit):
                picked = begin[bit]
                continue
            first = None if has("begin", bit) else begin[bit]
            last = None if has("end", bit) else end[bit]
            open_ = (first is None and not has("begin", bit)) or (last is None and not has("end", bit))
            if size is None or step is None or open_:
                found.append(None)
            else:
                picked = slice(first, last, step)
                found.append(len(range(*picked.indices(size))))
    if not any(masks["ellipsis"] & (1 << bit) for bit in range(count)):
        found.extend(fact.shape[at:])
    values = None
    if fact.values is not None and len(fact.shape) == 1 and count == 1 and picked is not None:
        values = fact.values[picked] if isinstance(picked, slice) else (fact.values[picked],)
    return [Fact(fact.dtype, tuple(found), values)]


@RULES.of("Gather", "GatherV2")
def _gather(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    source, places = inputs[0], inputs[1]
    axis = single_value(inputs[2]) if len(inputs) > 2 else 0
    if source.shape is None or places.shape is None:
        return [Fact(source.dtype)]
    batch = int_attr(node, "batch_dims")
    batch = batch + len(places.shape) if batch < 0 else batch
    if axis is None:
        rank = len(source.shape) + len(places.shape) - 1
        return [Fact(source.dtype, None if batch else (None,) * rank)]
    at = axis % len(source.shape)
    shape = (*source.shape[:at], *places.shape[batch:], *source.shape[at + 1 :])
    values = None
    if source.values is not None and places.values is not None and len(source.shape) == 1:
        values = tuple(None if place is None else source.values[place] for place in places.values)
    return [Fact(source.dtype, shape, values)]


@RULES.of("GatherNd")
def _gather_nd(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    source, places = inputs[0].shape, inputs[1].shape
    if source is None or not places or places[-1] is None:
        return [Fact(inputs[0].dtype)]
    return [Fact(inputs[0].dtype, (*places[:-1], *source[places[-1] :]))]


@RULES.of("ScatterNd", "SparseToDense")
def _scattered(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    asked, given = (inputs[2], inputs[1]) if node.op == "ScatterNd" else (inputs[1], inputs[2])
    shape = meant_shape(asked)
    nothing = node.op == "SparseToDense" and inputs[0].shape and inputs[0].shape[0] == 0  # all is the default
    return [Fact(given.dtype, shape, repeated(single_value(inputs[3]), shape) if nothing else None)]


@RULES.of("Where")
def _where(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape = inputs[0].shape
    return [Fact("int64", (None, None if shape is None else len(shape)))]
