"""What a graph does with the whole numbers it is fed: computes with them, looks something up, or makes room by them.

Values beyond what is usual may be fed where a graph only computes. Where a number says how much room is made, or how
often a loop runs, a big one would take all memory or all time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from icebreaker.graph.graph import Graph, Node
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

# `value`: it is computed with, compared, or goes nowhere. `index`: a place in something. `size`: room, or a number of
# rounds, as far as can be told.
Role = Literal["value", "index", "size"]

_PLAIN_NAMES = """
    Identity IdentityN Snapshot StopGradient Cast Reshape Transpose Squeeze ExpandDims Concat ConcatV2 Pack Unpack Split
    SplitV Slice StridedSlice Tile BroadcastTo ReverseV2 Pad PadV2 MirrorPad Select SelectV2 Gather GatherV2 GatherNd
    Add AddV2 Sub Mul Neg Abs Sign Square SquaredDifference Maximum Minimum AddN FloorDiv FloorMod TruncateDiv
    TruncateMod Mod Div RealDiv DivNoNan Floor Ceil Round Rint BitwiseAnd BitwiseOr BitwiseXor Invert LeftShift
    RightShift Equal NotEqual Less LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot Sum Prod Max Min Mean
    All Any ArgMax ArgMin TopK TopKV2 Cumsum Cumprod ClipByValue ZerosLike OnesLike Relu Relu6 Where AsString Assert
    Unique UniqueV2 Shape ShapeN Size Rank Pow Sqrt Rsqrt Exp Log Log1p Expm1 Tanh Sigmoid Softmax MatMul BatchMatMul
    BatchMatMulV2 BatchMatMulV3 Einsum BiasAdd DepthToSpace SpaceToDepth InTopK InTopKV2 Softplus Erf IsNan IsFinite
"""
_PLAIN = frozenset(_PLAIN_NAMES.split())
# Op → the slots in which it takes places; what comes out no longer depends on how big they are.
_PLACES: Mapping[str, tuple[int, ...]] = {
    "Gather": (1,), "GatherV2": (1,), "GatherNd": (1,), "OneHot": (0,), "ScatterNd": (0,),
    "TensorScatterUpdate": (1,), "TensorScatterAdd": (1,), "TensorScatterMax": (1,), "TensorScatterMin": (1,),
    "TensorScatterSub": (1,), "UnsortedSegmentSum": (1,), "UnsortedSegmentMax": (1,), "UnsortedSegmentMin": (1,),
    "UnsortedSegmentProd": (1,), "SparseSegmentSum": (1,), "SparseSegmentMean": (1,), "CropAndResize": (2,),
    "ReverseSequence": (1,), "SparseSoftmaxCrossEntropyWithLogits": (1,), "ResourceGather": (1,), "CTCLoss": (3,),
    "LookupTableFindV2": (1,), "LookupTableFind": (1,), "HashTableFind": (1,), "InvertPermutation": (0,),
}  # fmt: skip
# Slots that take how many rows come out, or the highest of which does.
_ORDERED_PLACES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("SegmentSum", "SegmentMax", "SegmentMin", "SegmentMean", "SegmentProd"), (1,)),
    **dict.fromkeys(("SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN"), (2,)),
    **dict.fromkeys(("DynamicPartition",), (1,)),
}
# Slots of plain ops that take a shape, a place in one or a number of elements.
_SHAPES: Mapping[str, tuple[int, ...]] = {
    "Reshape": (1,), "Tile": (1,), "BroadcastTo": (1,), "Pad": (1,), "PadV2": (1,), "MirrorPad": (1,), "Slice": (1, 2),
    "StridedSlice": (1, 2, 3), "Transpose": (1,), "SplitV": (1, 2), "TopKV2": (1,), "ExpandDims": (1,), "Split": (0,),
    "LeftShift": (1,), "RightShift": (1,), "Pow": (1,), "Cumsum": (1,), "Cumprod": (1,), "ReverseV2": (1,),
    "GatherV2": (2,), "ConcatV2": (), "Sum": (1,), "Prod": (1,), "Max": (1,), "Min": (1,), "Mean": (1,), "All": (1,),
    "Any": (1,), "ArgMax": (1,), "ArgMin": (1,), "OneHot": (1,), "ScatterNd": (2,), "CropAndResize": (3,),
    **{f"UnsortedSegment{kind}": (2,) for kind in ("Sum", "Max", "Min", "Prod")},
}  # fmt: skip


def input_roles(graph: Graph, original: GraphSession) -> dict[str, Role]:
    """Canonical input name → what its numbers are for; floats count where they become whole numbers.

    Args:
        graph: The graph.
        original: The same in TensorFlow, for dtypes.
    """
    return {item.name: _role(graph, original, Tensor.parse(item.name)) for item in graph.placeholders}


def _role(graph: Graph, original: GraphSession, start: Tensor) -> Role:
    if original.dtype(start) in ("string", "resource", "variant"):
        return "value"
    found: set[Role] = set()
    seen = {start}
    stack = [start]
    while stack:
        here = stack.pop()
        if _is_float(original, here) and here != start and not _is_light(graph, here):
            continue
        for name in graph.consumers[here.node]:
            node = graph[name]
            for slot, tensor in enumerate(node.inputs):
                if tensor != here:
                    continue
                role = _use(node, slot, is_float=_is_float(original, here))
                if role is not None:
                    found.add(role)
                    continue
                for given in _results(node, original):
                    if given not in seen:
                        seen.add(given)
                        stack.append(given)
    return "size" if "size" in found else "index" if "index" in found else "value"


def _use(node: Node, slot: int, *, is_float: bool) -> Role | None:
    """What a node takes its input in a slot for; None: it computes with it, and what it gives is to be looked at."""
    if slot in _ORDERED_PLACES.get(node.op, ()):
        return "index"
    if slot in _PLACES.get(node.op, ()):
        return "index"
    if slot in _SHAPES.get(node.op, ()):
        return "size"
    if node.op in ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"):
        return "value"
    if node.op in _PLAIN or node.op in _PLACES or node.op in _ORDERED_PLACES or is_float:
        return None
    return "size"


def _results(node: Node, original: GraphSession) -> Iterator[Tensor]:
    for port in range(original.output_count(node.name)):
        yield Tensor(node.name, port)


def _is_float(original: GraphSession, tensor: Tensor) -> bool:
    return original.dtype(tensor) in ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


def _is_light(graph: Graph, tensor: Tensor) -> bool:
    """Whether a float is still about the number that came in: made by ops that move or do sums, not by layers."""
    op = graph[tensor.node].op
    return op in _PLAIN and op not in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "Softmax")
