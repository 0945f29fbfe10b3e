"""Ops of TensorFlow as XLA sees them: which it compiles, why not the others, and what each reads and gives.

XLA compiles for shapes that are known: what decides a shape must not hang on values. And there is nobody beside the
compiled function who could compute a call that it gets wrong, so an op is left out where TensorFlow would raise and
XLA goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.graph.ops import DTYPES
from icebreaker.messages import Message, message

# They compute their outputs from their inputs, of shapes that follow from the inputs' shapes and from constants.
SUPPORTED = frozenset({
    "Abs", "Acos", "Acosh", "Add", "AddN", "AddV2", "All", "Any", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan",
    "Atan2", "Atanh", "AvgPool", "AvgPool3D", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "BatchToSpace",
    "BatchToSpaceND", "BiasAdd", "BiasAddV1", "BroadcastTo", "Cast", "Ceil", "ClipByValue", "Concat", "ConcatV2",
    "Const", "Conv2D", "Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2", "Cos", "Cosh", "Cross", "Cumprod",
    "Cumsum", "DepthToSpace", "DepthwiseConv2dNative", "Diag", "DiagPart", "Div", "DivNoNan", "Einsum", "Elu",
    "Equal", "Erf", "Erfc", "Exp", "ExpandDims", "Expm1", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars",
    "FakeQuantWithMinMaxVarsPerChannel", "Fill", "Floor", "FloorDiv", "FloorMod", "FusedBatchNorm",
    "FusedBatchNormV2", "FusedBatchNormV3", "Gather", "GatherNd", "GatherV2", "Greater", "GreaterEqual", "Identity",
    "IdentityN", "Inv", "IsFinite", "IsInf", "IsNan", "L2Loss", "LRN", "LeakyRelu", "Less", "LessEqual", "Log",
    "Log1p", "LogSoftmax", "LogicalAnd", "LogicalNot", "LogicalOr", "MatMul", "MatrixBandPart", "MatrixDiag",
    "MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3", "MatrixDiagV2", "MatrixDiagV3", "MatrixSetDiag",
    "MatrixSetDiagV2", "MatrixSetDiagV3", "Max", "MaxPool", "MaxPool3D", "MaxPoolV2", "Maximum", "Mean", "Min",
    "Minimum", "MirrorPad", "Mod", "Mul", "MulNoNan", "Neg", "NoOp", "NotEqual", "OneHot", "OnesLike", "Pack",
    "Pad", "PadV2", "Pow", "PreventGradient", "Prod", "Range", "Rank", "RealDiv", "Reciprocal", "Relu", "Relu6",
    "Reshape", "ResizeBilinear", "ResizeNearestNeighbor", "ReverseV2", "Rint", "Roll", "Round", "Rsqrt", "Select",
    "SelectV2", "Selu", "Shape", "ShapeN", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Snapshot", "Softmax",
    "Softplus", "Softsign", "SpaceToBatch", "SpaceToBatchND", "SpaceToDepth", "Split", "SplitV", "Sqrt", "Square",
    "SquaredDifference", "Squeeze", "StopGradient", "StridedSlice", "Sub", "Sum", "Tan", "Tanh", "Tile", "TopKV2",
    "Transpose", "TruncateDiv", "TruncateMod", "Unpack", "Xdivy", "Xlog1py", "Xlogy", "ZerosLike",
})  # fmt: skip
_DYNAMIC = "XLA compiles for shapes that are known, and how much {op} gives depends on values"
_RAISES = "TensorFlow raises at some values of {op}, and XLA does not"
_WHY: Mapping[str, str] = {
    **dict.fromkeys((
        "BooleanMask", "DynamicPartition", "ListDiff", "NonMaxSuppression", "NonMaxSuppressionV2",
        "NonMaxSuppressionV3", "NonMaxSuppressionV4", "NonMaxSuppressionV5", "SparseToDense", "Unique",
        "UniqueV2", "UniqueWithCounts", "UniqueWithCountsV2", "Where",
    ), _DYNAMIC),
    **dict.fromkeys(("Assert", "CheckNumerics", "EnsureShape"), _RAISES),
    **dict.fromkeys((
        "Case", "If", "PartitionedCall", "StatefulPartitionedCall", "StatelessCase", "StatelessIf",
        "StatelessWhile", "SymbolicGradient", "While",
    ), "{op} calls functions, which are not compiled along"),
}  # fmt: skip
_DIVISIONS = frozenset({"Div", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod"})
_LOOKUPS = frozenset({"Gather", "GatherNd", "GatherV2"})
_WHOLE = frozenset(name for name in DTYPES.values() if name.startswith(("int", "uint")))
_NUMBERS = _WHOLE | {"float16", "bfloat16", "float32", "float64", "bool"}


def why_not(op: str) -> Message | None:
    """Why XLA does not take an op, whatever it reads; None if it may."""
    if op in SUPPORTED:
        return None
    return message("xla_op", _WHY.get(op, "XLA is not asked to compile {op}"), subject=op, op=op)


def refusals(definition: Any, on_gpu: bool) -> dict[str, Message]:
    """Node of a graph → why it must not be compiled.

    Args:
        definition: TensorFlow's GraphDef.
        on_gpu: It is compiled for a GPU, where TensorFlow itself does not raise over places that are not there.
    """
    constants = {node.name: node for node in definition.node if node.op == "Const"}
    found: dict[str, Message] = {}
    for node in definition.node:
        if node.op == "Placeholder":
            continue
        why = why_not(node.op) or _odd_type(node)
        if why is None and node.op in _DIVISIONS and _divides_by_zero(node, constants):
            why = message(
                "xla_division", "TensorFlow raises where whole numbers are divided by zero, and XLA does not",
                subject=node.name,
            )  # fmt: skip
        if why is None and not on_gpu and node.op in _LOOKUPS and _source(node.input[1]) not in constants:
            why = message(
                "xla_place", "TensorFlow raises at a place that is not there, and XLA takes the nearest",
                subject=node.name,
            )  # fmt: skip
        if why is not None:
            found[node.name] = why
    return found


@dataclass(frozen=True)
class Argument:
    """One tensor that a node reads or gives.

    Attributes:
        name: Of the argument in the op's definition.
        index: Within the argument, which may be a list.
        type: Number of its dtype.
        attribute: The node's attribute that says the type; empty if it is always the same.
    """

    name: str
    index: int
    type: int
    attribute: str


def inputs(node: Any) -> list[Argument]:
    """What a NodeDef reads, in order."""
    return list(_arguments(node, definition_of(node.op).input_arg))


def outputs(node: Any) -> list[Argument]:
    """What a NodeDef gives, in order."""
    return list(_arguments(node, definition_of(node.op).output_arg))


def definition_of(op: str) -> Any:
    """The op's definition; one without inputs and outputs if TensorFlow does not know it."""
    from tensorflow.core.framework.op_def_pb2 import OpDef
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op) or OpDef()


def attribute(node: Any, name: str) -> Any:
    """An attribute's value, or what it is if nothing is said."""
    if name in node.attr:
        return node.attr[name]
    return next(item.default_value for item in definition_of(node.op).attr if item.name == name)


def _arguments(node: Any, arguments: Any) -> Iterator[Argument]:
    for item in arguments:
        if item.type_list_attr:
            kinds = list(attribute(node, item.type_list_attr).list.type)
            name = item.type_list_attr
        else:
            name = item.type_attr
            count = attribute(node, item.number_attr).i if item.number_attr else 1
            kinds = [attribute(node, name).type if name else item.type] * count
        yield from (Argument(item.name, index, kind, name) for index, kind in enumerate(kinds))


def _odd_type(node: Any) -> Message | None:
    kinds = (DTYPES.get(item.type, "unknown") for item in (*inputs(node), *outputs(node)))
    odd = next((kind for kind in kinds if kind not in _NUMBERS), None)
    if odd is None:
        return None
    return message("xla_type", "XLA computes with numbers, and {op} works on {dtype} here", op=node.op, dtype=odd)


def _divides_by_zero(node: Any, constants: Mapping[str, Any]) -> bool:
    """Whether it may."""
    if DTYPES.get(inputs(node)[1].type) not in _WHOLE:
        return False
    divisor = constants.get(_source(node.input[1]))
    if divisor is None:
        return True
    import tensorflow as tf

    return not np.all(tf.make_ndarray(divisor.attr["value"].tensor))


def _source(text: str) -> str:
    return text.partition(":")[0]
