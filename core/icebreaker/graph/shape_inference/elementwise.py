"""Rules for ops that compute element by element, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from icebreaker.graph.graph import Node
from icebreaker.graph.shape_inference.attributes import type_attr
from icebreaker.graph.shape_inference.facts import ENDS, Fact, Shape, Values, broadcast, completed
from icebreaker.graph.shape_inference.rule_table import RuleTable

RULES = RuleTable()


@RULES.of(
    "Abs", "Acos", "Asin", "Atan", "BiasAdd", "BiasAddV1", "Ceil", "CheckNumerics", "ClipByValue", "Cos", "Cosh",
    "Cumprod", "Cumsum", "Elu", "Erf", "Erfc", "Exp", "Expm1", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars",
    "FakeQuantWithMinMaxVarsPerChannel", "Floor", "Inv", "Invert", "LRN", "LeakyRelu", "Log", "Log1p", "LogSoftmax",
    "LogicalNot", "Neg", "OnesLike", "QuantizeAndDequantize", "QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3",
    "QuantizeAndDequantizeV4", "Reciprocal", "Relu", "Relu6", "Reverse", "ReverseSequence", "ReverseV2", "Rint",
    "Round", "Rsqrt", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus", "Softsign", "Sqrt", "Square",
    "StringLower", "StringStrip", "StringUpper", "Tan", "Tanh", "ZerosLike",
)  # fmt: skip
def _unary(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact(inputs[0].dtype or type_attr(node, "T"), inputs[0].shape)]


@RULES.of("IsNan", "IsInf", "IsFinite")
def _truth(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact("bool", inputs[0].shape)]


@RULES.of("StringToHashBucketFast", "StringToHashBucketStrong", "StringLength", "Bucketize")
def _whole_numbers(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact("int64" if node.op.startswith("StringToHash") else "int32", inputs[0].shape)]


@RULES.of("AsString")
def _as_string(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact("string", inputs[0].shape)]


_ARITHMETIC: Mapping[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b, "AddV2": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b,
    "FloorDiv": lambda a, b: a // b, "Maximum": max, "Minimum": min,
}  # fmt: skip


_COMPARISON: Mapping[str, Callable[[int, int], int]] = {  # a truth is 0 or 1
    "Equal": lambda a, b: a == b, "NotEqual": lambda a, b: a != b, "Less": lambda a, b: a < b,
    "LessEqual": lambda a, b: a <= b, "Greater": lambda a, b: a > b, "GreaterEqual": lambda a, b: a >= b,
}  # fmt: skip


@RULES.of(
    *_ARITHMETIC, "Atan2", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "DivNoNan", "FloorMod", "Mod", "MulNoNan",
    "Pow", "RealDiv", "SquaredDifference", "TruncateDiv", "TruncateMod", "Xdivy", "Xlogy", "Zeta", "Betainc", "Igamma",
)  # fmt: skip
def _binary(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype = next((fact.dtype for fact in inputs if fact.dtype), "") or type_attr(node, "T")
    shape = broadcast(fact.shape for fact in inputs)
    work = _ARITHMETIC.get(node.op)
    return [Fact(dtype, shape, _elementwise(work, inputs, shape) if work else None)]


def _elementwise(work: Callable[[int, int], int], inputs: list[Fact], shape: Shape | None) -> Values | None:
    if shape is None or len(shape) > 1 or any(fact.values is None for fact in inputs):
        return None
    a, b = (fact.values or () for fact in inputs)
    count = max(len(a), len(b))
    a, b = (one * count if len(one) == 1 else one for one in (a, b))
    return tuple(None if x is None or y is None else work(x, y) for x, y in zip(a, b, strict=True))


@RULES.of(
    "Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "LogicalAnd", "LogicalOr", "ApproximateEqual"
)
def _comparison(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape = broadcast(fact.shape for fact in inputs)
    work = _COMPARISON.get(node.op)
    return [Fact("bool", shape, _elementwise(work, inputs, shape) if work else None)]


@RULES.of("AddN")
def _add_n(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape = None
    for fact in inputs:
        shape = completed(shape, fact.shape)
    return [Fact(next((fact.dtype for fact in inputs if fact.dtype), ""), shape)]


@RULES.of("Select")
def _select(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact(inputs[1].dtype or inputs[2].dtype, completed(inputs[1].shape, inputs[2].shape))]


@RULES.of("SelectV2")
def _select_v2(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact(inputs[1].dtype or inputs[2].dtype, broadcast(fact.shape for fact in inputs))]


@RULES.of("Cast")
def _cast(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype = type_attr(node, "DstT")
    return [Fact(dtype, inputs[0].shape, inputs[0].values if dtype in ENDS else None)]
