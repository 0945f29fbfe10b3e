"""Rules for ops that pass values on: Identity, control flow, lists and arrays of tensors."""

from __future__ import annotations

from collections.abc import Iterable

from icebreaker.graph.graph import Node
from icebreaker.graph.ops import DTYPES, MERGES
from icebreaker.graph.shape_inference.attributes import int_attr, shape_attr, type_attr
from icebreaker.graph.shape_inference.facts import Fact, common_shape, meant_shape, shape_of
from icebreaker.graph.shape_inference.rule_table import RuleTable

RULES = RuleTable()


@RULES.of(
    "Identity", "IdentityN", "Snapshot", "StopGradient", "PreventGradient", "Enter", "RefEnter", "Exit", "RefExit",
    "NextIteration", "RefNextIteration", "LoopCond",
)  # fmt: skip
def _passing(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return inputs


@RULES.of("Switch", "RefSwitch")
def _switch(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [inputs[0], inputs[0]]


@RULES.of(*MERGES)
def _merge(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype = next((fact.dtype for fact in inputs if fact.dtype), "")
    return [Fact(dtype, common_shape([fact.shape for fact in inputs])), Fact("int32", ())]


@RULES.of("While", "StatelessWhile")
def _while(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    attrs = node.definition.attr
    types = attrs["T"].list.type if "T" in attrs else ()
    told = attrs["output_shapes"].list.shape if "output_shapes" in attrs else ()
    return [
        Fact(DTYPES.get(item % 100, ""), shape_of(told[port]) if port < len(told) else None)
        for port, item in enumerate(types)
    ]


@RULES.of("TensorArraySizeV3", "TensorListLength")
def _length(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact("int32", ())]


@RULES.of(
    "TensorListReserve", "TensorListFromTensor", "TensorListSetItem", "TensorListPushBack", "EmptyTensorList",
    "TensorListResize", "TensorListScatter", "TensorListScatterV2",
)  # fmt: skip
def _tensor_list(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact("variant", ())]


@RULES.of("TensorListStack", "TensorListGetItem")
def _of_tensor_list(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    stacked = node.op == "TensorListStack"
    shape = meant_shape(inputs[1 if stacked else 2])
    if shape is not None and stacked:
        count = int_attr(node, "num_elements", -1)
        shape = (None if count < 0 else count, *shape)
    return [Fact(type_attr(node, "element_dtype"), shape)]


@RULES.of("TensorArrayV3")
def _tensor_array(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact("resource", (2,)), Fact("float32", ())]


@RULES.of("TensorArrayGatherV3")
def _of_tensor_array(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape = shape_attr(node, "element_shape")
    return [Fact(type_attr(node, "dtype"), None if shape is None else (None, *shape))]


@RULES.of("TensorArrayWriteV3", "TensorArrayScatterV3", "TensorArraySplitV3")
def _flow(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact("float32", ())]
