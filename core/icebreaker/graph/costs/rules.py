"""How many FLOPs an op takes: a table of ops for each way of counting."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from icebreaker.graph.graph import Node
from icebreaker.graph.ops import PASSIVE
from icebreaker.graph.shape_inference import Known, Shape
from icebreaker.graph.shape_inference.attributes import bool_attr, int_list_attr, text_attr

# Gives the FLOPs of a node from what is known of its inputs and its outputs; None: they cannot be told.
Rule: TypeAlias = Callable[[Node, Sequence[Known], Sequence[Known]], "int | None"]

# Ops that compute nothing: they carry, cut, join and reorder.
NO_WORK = PASSIVE | frozenset({
    "Reshape", "Squeeze", "ExpandDims", "Shape", "ShapeN", "Size", "Rank", "Transpose", "Concat", "ConcatV2", "Pack",
    "Unpack", "Split", "SplitV", "Slice", "StridedSlice", "Gather", "GatherV2", "GatherNd", "Pad", "PadV2", "MirrorPad",
    "Tile", "BroadcastTo", "Cast", "Fill", "ZerosLike", "OnesLike", "Range", "Reverse", "ReverseV2", "SpaceToDepth",
    "DepthToSpace", "SpaceToBatchND", "BatchToSpaceND", "ResizeNearestNeighbor", "Select", "SelectV2", "OneHot",
    "PlaceholderWithDefault", "PreventGradient", "Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond",
    "ConcatOffset", "InvertPermutation", "ScatterNd", "ReverseSequence", "Bitcast", "ReadVariableOp", "VarHandleOp",
    "ImmutableConst", "EnsureShape", "DecodePng", "DecodeJpeg", "DecodeImage", "TensorArrayReadV3",
    "TensorArrayWriteV3", "TensorListGetItem", "TensorListSetItem", "TensorListStack", "TensorListFromTensor",
    "TensorListReserve", "TensorArrayGatherV3", "TensorArrayScatterV3", "TensorArrayV3", "TensorArraySizeV3",
    "MatrixDiag", "Where", "Unique", "Assert", "GuaranteeConst", "IteratorGetNext", "DynamicStitch",
    "DynamicPartition", "Roll",
})  # fmt: skip
# Of those, the ones that hand on what they read without touching it: no byte moves.
VIEWS = PASSIVE | frozenset({
    "Reshape", "Squeeze", "ExpandDims", "Shape", "ShapeN", "Size", "Rank", "PreventGradient", "EnsureShape", "Bitcast",
    "GuaranteeConst",
})  # fmt: skip
# Ops that read of their first input only what they give.
LOOKUPS = frozenset({"Gather", "GatherV2", "GatherNd", "ResourceGather", "Slice", "StridedSlice"})

# Op → FLOPs for each element that it gives; a function such as Exp counts as one.
PER_OUTPUT: Mapping[str, int] = {
    **dict.fromkeys((
        "Add", "AddV2", "Sub", "Mul", "Div", "RealDiv", "FloorDiv", "TruncateDiv", "DivNoNan", "Mod", "FloorMod",
        "Maximum", "Minimum", "Pow", "Neg", "Abs", "Sign", "Square", "Sqrt", "Rsqrt", "Reciprocal", "Inv", "Exp",
        "Expm1", "Log", "Log1p", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Atan2", "Sinh", "Cosh", "Tanh", "Erf",
        "Erfc", "Sigmoid", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "Floor", "Ceil",
        "Round", "Rint", "Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "LogicalAnd",
        "LogicalOr", "LogicalNot", "BiasAdd", "BiasAddV1", "IsNan", "IsInf", "IsFinite", "Lgamma", "Digamma",
        "Xdivy", "Xlogy",
    ), 1),
    "SquaredDifference": 2, "ClipByValue": 2,
    "Softmax": 5, "LogSoftmax": 5,  # largest, difference, exponential, sum, quotient
    "ResizeBilinear": 9,  # three times from one to another: difference, product, sum
    "FakeQuantWithMinMaxArgs": 4, "FakeQuantWithMinMaxVars": 4,  # bounds, scale, rounding, scale
    "FakeQuantWithMinMaxVarsPerChannel": 4, "QuantizeAndDequantizeV2": 4, "QuantizeAndDequantizeV3": 4,
}  # fmt: skip
# Op → FLOPs for each element that its first input has.
PER_INPUT: Mapping[str, int] = {
    **dict.fromkeys(("Sum", "Mean", "Max", "Min", "Prod", "All", "Any", "ArgMax", "ArgMin", "Cumsum", "Cumprod"), 1),
    "L2Loss": 2, "EuclideanNorm": 2,
}  # fmt: skip


def elements(known: Known) -> int | None:
    """How many values a tensor has; None if one of its sizes is open."""
    if known.shape is None or None in known.shape:
        return None
    return math.prod(size for size in known.shape if size is not None)


def _times(*factors: int | None) -> int | None:
    return None if None in factors else math.prod(factor for factor in factors if factor is not None)


def _sizes(known: Known) -> Shape:
    """A shape.

    Raises:
        LookupError: Even the rank is open.
    """
    if known.shape is None:
        raise LookupError
    return known.shape


def _convolution(node: Node, inputs: Sequence[Known], outputs: Sequence[Known]) -> int | None:
    """Each output takes a kernel without its last dimension, which in a group has the group's channels."""
    return _times(2, elements(outputs[0]), *_sizes(inputs[1])[:-1])


def _depthwise(node: Node, inputs: Sequence[Known], outputs: Sequence[Known]) -> int | None:
    return _times(2, elements(outputs[0]), *_sizes(inputs[1])[:2])


def _deconvolution(node: Node, inputs: Sequence[Known], outputs: Sequence[Known]) -> int | None:
    """Each input is spread over a kernel: its last dimension is the input's channels."""
    return _times(2, elements(inputs[2]), *_sizes(inputs[1])[:-1])


def _matmul(node: Node, inputs: Sequence[Known], outputs: Sequence[Known]) -> int | None:
    turned = bool_attr(node, "transpose_a") or bool_attr(node, "adj_x")
    return _times(2, elements(outputs[0]), _sizes(inputs[0])[-2 if turned else -1])


def _einsum(node: Node, inputs: Sequence[Known], outputs: Sequence[Known]) -> int | None:
    """As many products as the letters have places together; and as many sums where a letter is summed over."""
    left, arrow, right = text_attr(node, "equation").replace(" ", "").partition("->")
    if not arrow or "." in left:
        return None
    sizes: dict[str, int | None] = {}
    terms = left.split(",")
    for letters, known in zip(terms, inputs, strict=True):
        for letter, size in zip(letters, _sizes(known), strict=True):
            sizes[letter] = size if sizes.get(letter) in (None, 1) else sizes[letter]
    sums = 1 if set(sizes) - set(right) else 0
    return _times(len(terms) - 1 + sums, *sizes.values())


def _pool(node: Node, inputs: Sequence[Known], outputs: Sequence[Known]) -> int | None:
    return _times(elements(outputs[0]), *(int_list_attr(node, "ksize") or [None]))


def _batch_norm(node: Node, inputs: Sequence[Known], outputs: Sequence[Known]) -> int | None:
    """One product and one sum, once mean and variance are constants; in training they are computed."""
    training = "is_training" not in node.definition.attr or bool_attr(node, "is_training")
    return None if training else _times(2, elements(outputs[0]))


def _add_n(node: Node, inputs: Sequence[Known], outputs: Sequence[Known]) -> int | None:
    return _times(len(inputs) - 1, elements(outputs[0]))


SPECIAL: Mapping[str, Rule] = {
    **dict.fromkeys(("Conv2D", "Conv3D"), _convolution),
    "DepthwiseConv2dNative": _depthwise,
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), _deconvolution),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matmul),
    "Einsum": _einsum,
    **dict.fromkeys(("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"), _pool),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _batch_norm),
    "AddN": _add_n,
}


def flops(node: Node, inputs: Sequence[Known], outputs: Sequence[Known]) -> int | None:
    """The FLOPs of one run of a node; None for an op without a rule, and where a shape that counts is open."""
    if node.op in NO_WORK:
        return 0
    try:
        if node.op in PER_OUTPUT:
            return _times(PER_OUTPUT[node.op], elements(outputs[0]))
        if node.op in PER_INPUT:
            return _times(PER_INPUT[node.op], elements(inputs[0]))
        rule = SPECIAL.get(node.op)
        return rule(node, inputs, outputs) if rule else None
    except (LookupError, ValueError):  # a graph that TensorFlow would refuse, or an open rank
        return None
