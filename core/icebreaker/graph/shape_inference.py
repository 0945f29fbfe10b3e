"""Types and shapes of a graph's tensors, found without TensorFlow and before anything runs.

Owns: the rules for common ops. They are sound, not complete: what a rule cannot tell stays unknown, and so does all
that an unknown op gives. Small whole-number constants, and what is computed from them and from shapes, are followed,
because targets of reshapes and the like are made of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, NamedTuple

import numpy as np

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.limits import MOST_NODES, MOST_RANK
from icebreaker.graph.ops import DTYPES, PLACEHOLDERS
from icebreaker.tensors import Tensor

Shape = tuple[int | None, ...]
_Values = tuple[int | None, ...]

# Whole numbers that are followed are at most so many; weights are not looked at.
_MOST_VALUES = 64
_MOST_PASSES = 8
# No graph has more, of one node and in all: a few bytes of a file can promise any number.
_MOST_OUTPUTS = 1 << 16
_MOST_TENSORS = 2 * MOST_NODES
_ENDS: Mapping[str, int] = {"int32": 1 << 31, "int64": 1 << 63}  # the first whole number that a type cannot hold
_MERGES = frozenset({"Merge", "RefMerge"})
_NEXT = frozenset({"NextIteration", "RefNextIteration"})


class Known(NamedTuple):
    """What is known of a tensor: `dtype` is "" and `shape` None where nothing is; None in it is an open dimension."""

    dtype: str = ""
    shape: Shape | None = None

    def __str__(self) -> str:
        if not self.dtype and self.shape is None:
            return ""
        sizes = "…" if self.shape is None else ",".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]"


class _Fact(NamedTuple):
    """As `Known`, with the values of a small tensor of whole numbers, in order."""

    dtype: str = ""
    shape: Shape | None = None
    values: _Values | None = None


_UNKNOWN = _Fact()


def infer(graph: Graph, cancelled: Callable[[], bool] = lambda: False) -> dict[Tensor, Known]:
    """All tensors of which something is known.

    A loop is gone through until what comes back is what was assumed to come in; a dimension that changes on the way is
    open.

    Args:
        graph: It may have been read without its weights.
        cancelled: Asked now and then; when true, nothing is told.
    """
    back = {node.name: _coming_back(graph, node) for node in graph if node.op in _MERGES}
    back = {name: tensors for name, tensors in back.items() if tensors}
    order = _in_order(graph, back)
    scalars_unknown = 0 < graph.definition.versions.producer < 24
    assumed: dict[str, _Fact] = {}
    facts: dict[Tensor, _Fact] = {}
    for turn in range(_MOST_PASSES + 1):
        facts = {}
        for number, node in enumerate(order):
            if (number % 1000 == 0 and cancelled()) or len(facts) > _MOST_TENSORS:
                return {}
            if node.name in assumed:
                given = [assumed[node.name], _Fact("int32", ())]
            elif node.op in PLACEHOLDERS and scalars_unknown and not _told_shape(node, "shape"):
                given = [_Fact(_attr_type(node, "dtype"))]  # an empty shape meant "unknown" in those days
            else:
                # What comes back in a loop is not known yet.
                coming = back.get(node.name, ())
                given = _facts_of(node, [facts.get(item, _UNKNOWN) for item in node.inputs if item not in coming])
            for port, fact in enumerate(given):
                if fact != _UNKNOWN:
                    facts[Tensor(node.name, port)] = fact
        changed = False
        for name, tensors in back.items():
            now = facts.get(Tensor(name), _UNKNOWN)
            joined = _joined([now.shape, *(facts.get(tensor, _UNKNOWN).shape for tensor in tensors)])
            changed |= joined != now.shape
            assumed[name] = _Fact(now.dtype, joined)
        if not changed:
            break
        if turn == _MOST_PASSES - 1:  # one loop waits for another: nothing is assumed of any
            assumed = {name: _Fact(fact.dtype) for name, fact in assumed.items()}
    return {tensor: Known(fact.dtype, fact.shape) for tensor, fact in facts.items()}


def _coming_back(graph: Graph, merge: Node) -> list[Tensor]:
    return [tensor for tensor in merge.inputs if graph[tensor.node].op in _NEXT]


def _in_order(graph: Graph, back: Mapping[str, Sequence[Tensor]]) -> list[Node]:
    """Each node after what it reads, but for what comes back in a loop."""
    needs = {
        node.name: {tensor.node for tensor in node.inputs if tensor not in back.get(node.name, ())} for node in graph
    }
    waiting = {name: len(sources) for name, sources in needs.items()}
    order = [node for node in graph if not waiting[node.name]]
    for node in order:  # grows as it goes
        for name in graph.consumers[node.name]:
            if node.name in needs[name]:  # else it only waits
                waiting[name] -= 1
                if not waiting[name]:
                    order.append(graph[name])
    return order


def _facts_of(node: Node, inputs: list[_Fact]) -> list[_Fact]:
    """What a node gives."""
    rule = _RULES.get(node.op)
    try:
        found = list(islice(rule(node, inputs), _MOST_OUTPUTS)) if rule else _types_of(node)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        found = []
    if not all(_can_be(fact.shape) for fact in found):
        found = []
    if rule and not found:  # a graph that TensorFlow would refuse
        found = _types_of(node)
    attrs = node.definition.attr
    if "_output_shapes" in attrs:
        told = [_plain_shape(item) for item in attrs["_output_shapes"].list.shape]
        found += [_UNKNOWN] * (len(told) - len(found))
        found = [
            fact._replace(shape=_filled(fact.shape, told[port])) if port < len(told) else fact
            for port, fact in enumerate(found)
        ]
    return [fact if fact.values is None else fact._replace(values=_held(fact)) for fact in found]


def _types_of(node: Node) -> list[_Fact]:
    """The types of an op without a rule, where it calls them by the usual names."""
    attrs = node.definition.attr
    for name in ("Tout", "output_types"):
        if name in attrs and not node.op.startswith("Iterator") and attrs[name].WhichOneof("value") == "list":
            return [_Fact(DTYPES.get(item % 100, "")) for item in attrs[name].list.type]
    if node.op in _NAMED_TYPES:
        return [_Fact(_attr_type(node, _NAMED_TYPES[node.op]))]
    return []


def _can_be(shape: Shape | None) -> bool:
    """Whether a tensor can have it; sizes that are multiplied on and on would fill the memory."""
    return shape is None or (
        len(shape) <= MOST_RANK and all(size is None or 0 <= size < _ENDS["int64"] for size in shape)
    )


def _held(fact: _Fact) -> _Values | None:
    """The values as far as its type holds them; TensorFlow goes on from the other end."""
    end = _ENDS.get(fact.dtype, 2)  # a truth is 0 or 1
    return tuple(value if value is not None and -end <= value < end else None for value in fact.values or ())


# ---- shapes ---------------------------------------------------------------------------------------------------------


def _plain_shape(shape: Any) -> Shape | None:
    if shape.unknown_rank or len(shape.dim) > MOST_RANK:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def _joined(shapes: Sequence[Shape | None]) -> Shape | None:
    """What is true of every one of them."""
    first = shapes[0]
    for other in shapes[1:]:
        if first is None or other is None or len(first) != len(other):
            return None
        first = tuple(a if a == b else None for a, b in zip(first, other, strict=True))
    return first


def _filled(shape: Shape | None, other: Shape | None) -> Shape | None:
    """The first, with what the second knows more; both are about the same tensor."""
    if shape is None or other is None or len(shape) != len(other):
        return other if shape is None else shape
    return tuple(b if a is None else a for a, b in zip(shape, other, strict=True))


def _broadcast(shapes: Iterable[Shape | None]) -> Shape | None:
    result: Shape = ()
    for shape in shapes:
        if shape is None:
            return None
        longest = max(len(result), len(shape))
        pairs = zip((1,) * (longest - len(result)) + result, (1,) * (longest - len(shape)) + shape, strict=True)
        result = tuple(_wider(a, b) for a, b in pairs)
    return result


def _wider(a: int | None, b: int | None) -> int | None:
    if a == 1:
        return b
    if b == 1 or a == b:
        return a
    return b if a is None else a if b is None else None


def _rank(shape: Shape | None, rank: int) -> Shape:
    """The shape if it is of this rank, else open dimensions."""
    return shape if shape is not None and len(shape) == rank else (None,) * rank


def _product(sizes: Iterable[int | None]) -> int | None:
    product = 1
    for size in sizes:
        if size is None:
            return None
        product *= size
    return product


def _total(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _window(size: int | None, kernel: int | None, stride: int, padding: str, dilation: int = 1) -> int | None:
    """How many places a window has along a dimension."""
    if size is None:
        return None
    if padding == "SAME":
        return -(-size // stride)
    if kernel is None:
        return None
    return _at_least_0(-(-(size - (kernel - 1) * dilation) // stride))


def _at_least_0(size: int) -> int | None:
    return size if size >= 0 else None


def _as_shape(fact: _Fact) -> Shape | None:
    """The shape that a vector of whole numbers means; -1 is open."""
    if fact.values is not None:
        return tuple(None if value is None or value < 0 else value for value in fact.values)
    if fact.shape is not None and len(fact.shape) == 1 and fact.shape[0] is not None and fact.shape[0] <= _MOST_VALUES:
        return (None,) * fact.shape[0]
    return None


def _repeated(value: int | None, shape: Shape | None) -> _Values | None:
    """The values of a short vector that is filled with one."""
    match shape:
        case (int() as count,) if count <= _MOST_VALUES:
            return (value,) * count
    return None


def _single(fact: _Fact) -> int | None:
    return fact.values[0] if fact.values is not None and len(fact.values) == 1 else None


def _axes(fact: _Fact, rank: int) -> list[int] | None:
    if fact.values is None or any(value is None for value in fact.values):
        return None
    return [value + rank if value < 0 else value for value in fact.values if value is not None]


# ---- attributes -----------------------------------------------------------------------------------------------------


def _attr_type(node: Node, name: str) -> str:
    return DTYPES.get(node.definition.attr[name].type % 100, "") if name in node.definition.attr else ""


def _text(node: Node, name: str, default: str = "") -> str:
    attrs = node.definition.attr
    return attrs[name].s.decode("utf-8", "replace") if name in attrs and attrs[name].s else default


def _numbers(node: Node, name: str) -> list[int]:
    return list(node.definition.attr[name].list.i) if name in node.definition.attr else []


def _number(node: Node, name: str, default: int = 0) -> int:
    return node.definition.attr[name].i if name in node.definition.attr else default


def _flag(node: Node, name: str) -> bool:
    return name in node.definition.attr and node.definition.attr[name].b


def _told_shape(node: Node, name: str) -> Shape | None:
    attrs = node.definition.attr
    return _plain_shape(attrs[name].shape) if name in attrs else None


def _channels_last(node: Node) -> bool:
    return not _text(node, "data_format", "NHWC").startswith("NC")


# ---- rules ----------------------------------------------------------------------------------------------------------

_Rule = Callable[[Node, list[_Fact]], Iterable[_Fact]]
_RULES: dict[str, _Rule] = {}


def _rule(*ops: str) -> Callable[[_Rule], _Rule]:
    def add(rule: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(ops, rule))
        return rule

    return add


@_rule("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
def _placeholder(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact(_attr_type(node, "dtype"), _told_shape(node, "shape"))]


@_rule("Const")
def _const(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    if "value" not in node.definition.attr:  # looking it up would add it
        return []
    tensor = node.definition.attr["value"].tensor
    dtype, shape = DTYPES.get(tensor.dtype, ""), tuple(dim.size for dim in tensor.tensor_shape.dim)
    size = math.prod(shape) if _can_be(shape) else 0
    if dtype not in _ENDS or size > _MOST_VALUES:
        return [_Fact(dtype, shape)]
    numbers = tensor.int_val if dtype == "int32" else tensor.int64_val
    values: list[int] = []
    if len(tensor.tensor_content) == size * (4 if dtype == "int32" else 8):
        values = np.frombuffer(tensor.tensor_content, f"<{'i4' if dtype == 'int32' else 'i8'}").tolist()
    elif not tensor.tensor_content and len(numbers) <= size:
        values = list(numbers) or [0]
        values += values[-1:] * (size - len(values))  # the last one counts for the rest
    return [_Fact(dtype, shape, tuple(values) if len(values) == size else None)]


@_rule(
    "Identity", "IdentityN", "Snapshot", "StopGradient", "PreventGradient", "Enter", "RefEnter", "Exit", "RefExit",
    "NextIteration", "RefNextIteration", "LoopCond",
)  # fmt: skip
def _passing(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return inputs


@_rule("Switch", "RefSwitch")
def _switch(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [inputs[0], inputs[0]]


@_rule(*_MERGES)
def _merge(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype = next((fact.dtype for fact in inputs if fact.dtype), "")
    return [_Fact(dtype, _joined([fact.shape for fact in inputs])), _Fact("int32", ())]


@_rule(
    "Abs", "Acos", "Asin", "Atan", "BiasAdd", "BiasAddV1", "Ceil", "CheckNumerics", "ClipByValue", "Cos", "Cosh",
    "Cumprod", "Cumsum", "Elu", "Erf", "Erfc", "Exp", "Expm1", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars",
    "FakeQuantWithMinMaxVarsPerChannel", "Floor", "Inv", "Invert", "LRN", "LeakyRelu", "Log", "Log1p", "LogSoftmax",
    "LogicalNot", "Neg", "OnesLike", "QuantizeAndDequantize", "QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3",
    "QuantizeAndDequantizeV4", "Reciprocal", "Relu", "Relu6", "Reverse", "ReverseSequence", "ReverseV2", "Rint",
    "Round", "Rsqrt", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus", "Softsign", "Sqrt", "Square",
    "StringLower", "StringStrip", "StringUpper", "Tan", "Tanh", "ZerosLike",
)  # fmt: skip
def _unary(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact(inputs[0].dtype or _attr_type(node, "T"), inputs[0].shape)]


@_rule("IsNan", "IsInf", "IsFinite")
def _truth(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact("bool", inputs[0].shape)]


@_rule("StringToHashBucketFast", "StringToHashBucketStrong", "StringLength", "Bucketize")
def _whole_numbers(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact("int64" if node.op.startswith("StringToHash") else "int32", inputs[0].shape)]


@_rule("AsString")
def _as_string(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact("string", inputs[0].shape)]


_ARITHMETIC: Mapping[str, Callable[[int, int], int]] = {
    "Add": lambda a, b: a + b, "AddV2": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b,
    "FloorDiv": lambda a, b: a // b, "Maximum": max, "Minimum": min,
}  # fmt: skip
_COMPARISON: Mapping[str, Callable[[int, int], int]] = {  # a truth is 0 or 1
    "Equal": lambda a, b: a == b, "NotEqual": lambda a, b: a != b, "Less": lambda a, b: a < b,
    "LessEqual": lambda a, b: a <= b, "Greater": lambda a, b: a > b, "GreaterEqual": lambda a, b: a >= b,
}  # fmt: skip


@_rule(
    *_ARITHMETIC, "Atan2", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "DivNoNan", "FloorMod", "Mod", "MulNoNan",
    "Pow", "RealDiv", "SquaredDifference", "TruncateDiv", "TruncateMod", "Xdivy", "Xlogy", "Zeta", "Betainc", "Igamma",
)  # fmt: skip
def _binary(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype = next((fact.dtype for fact in inputs if fact.dtype), "") or _attr_type(node, "T")
    shape = _broadcast(fact.shape for fact in inputs)
    work = _ARITHMETIC.get(node.op)
    return [_Fact(dtype, shape, _elementwise(work, inputs, shape) if work else None)]


def _elementwise(work: Callable[[int, int], int], inputs: list[_Fact], shape: Shape | None) -> _Values | None:
    if shape is None or len(shape) > 1 or any(fact.values is None for fact in inputs):
        return None
    a, b = (fact.values or () for fact in inputs)
    count = max(len(a), len(b))
    a, b = (one * count if len(one) == 1 else one for one in (a, b))
    return tuple(None if x is None or y is None else work(x, y) for x, y in zip(a, b, strict=True))


@_rule(
    "Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "LogicalAnd", "LogicalOr", "ApproximateEqual"
)
def _comparison(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape = _broadcast(fact.shape for fact in inputs)
    work = _COMPARISON.get(node.op)
    return [_Fact("bool", shape, _elementwise(work, inputs, shape) if work else None)]


@_rule("AddN")
def _add_n(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape = None
    for fact in inputs:
        shape = _filled(shape, fact.shape)
    return [_Fact(next((fact.dtype for fact in inputs if fact.dtype), ""), shape)]


@_rule("Select")
def _select(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact(inputs[1].dtype or inputs[2].dtype, _filled(inputs[1].shape, inputs[2].shape))]


@_rule("SelectV2")
def _select_v2(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact(inputs[1].dtype or inputs[2].dtype, _broadcast(fact.shape for fact in inputs))]


@_rule("Cast")
def _cast(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype = _attr_type(node, "DstT")
    return [_Fact(dtype, inputs[0].shape, inputs[0].values if dtype in _ENDS else None)]


def _convolution(node: Node, inputs: list[_Fact], dims: int, depthwise: bool = False) -> Iterable[_Fact]:
    image, kernel = _rank(inputs[0].shape, dims + 2), _rank(inputs[1].shape, dims + 2)
    last = _channels_last(node)
    first = 1 if last else 2
    strides, dilations = _numbers(node, "strides"), _numbers(node, "dilations") or [1] * (dims + 2)
    padding, explicit = _text(node, "padding"), _numbers(node, "explicit_paddings")
    sizes = []
    for place in range(dims):
        at = first + place
        size = image[at]
        if padding == "EXPLICIT":
            size = None if size is None else size + explicit[2 * at] + explicit[2 * at + 1]
        sizes.append(_window(size, kernel[place], strides[at], padding, dilations[at]))
    channels = kernel[dims + 1] if not depthwise else _product(kernel[dims:])
    shape = (image[0], *sizes, channels) if last else (image[0], channels, *sizes)
    return [_Fact(_attr_type(node, "T") or inputs[0].dtype, shape)]


@_rule("Conv2D")
def _conv2d(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return _convolution(node, inputs, 2)


@_rule("Conv3D")
def _conv3d(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return _convolution(node, inputs, 3)


@_rule("DepthwiseConv2dNative")
def _depthwise(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return _convolution(node, inputs, 2, depthwise=True)


@_rule("Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput")
def _deconvolution(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape = _as_shape(inputs[0])
    return [_Fact(_attr_type(node, "T") or inputs[1].dtype, shape if shape and len(shape) == 4 else (None,) * 4)]


@_rule("MaxPool", "AvgPool")
def _pool(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    image = _rank(inputs[0].shape, 4)
    kernel, strides, padding = _numbers(node, "ksize"), _numbers(node, "strides"), _text(node, "padding")
    if _text(node, "data_format").endswith("VECT_C"):  # which has five dimensions
        return [_Fact(inputs[0].dtype)]
    if padding not in ("SAME", "VALID"):
        return [_Fact(inputs[0].dtype, (None,) * 4)]
    shape = tuple(
        size if kernel[at] == strides[at] == 1 else _window(size, kernel[at], strides[at], padding)
        for at, size in enumerate(image)
    )
    return [_Fact(_attr_type(node, "T") or inputs[0].dtype, shape)]


@_rule("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _batch_norm(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    image = _rank(inputs[0].shape, len(_text(node, "data_format", "NHWC")))
    at = -1 if _channels_last(node) else 1
    channels = image[at]
    for fact in inputs[1:5]:
        if channels is None and fact.shape and len(fact.shape) == 1 and fact.shape[0]:
            channels = fact.shape[0]
    shape = tuple(channels if place == at % len(image) else size for place, size in enumerate(image))
    statistics = _Fact(_attr_type(node, "U") or inputs[0].dtype, (channels,))
    return [_Fact(_attr_type(node, "T") or inputs[0].dtype, shape), *[statistics] * 4]


@_rule("MatMul")
def _matmul(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    a, b = _rank(inputs[0].shape, 2), _rank(inputs[1].shape, 2)
    shape = a[1 if _flag(node, "transpose_a") else 0], b[0 if _flag(node, "transpose_b") else 1]
    return [_Fact(_attr_type(node, "T") or inputs[0].dtype, shape)]


@_rule("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _batch_matmul(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype = _attr_type(node, "Tout") or _attr_type(node, "T") or inputs[0].dtype
    a, b = inputs[0].shape, inputs[1].shape
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return [_Fact(dtype)]
    batch = _broadcast([a[:-2], b[:-2]]) or ()
    return [_Fact(dtype, (*batch, a[-1 if _flag(node, "adj_x") else -2], b[-2 if _flag(node, "adj_y") else -1]))]


@_rule("Einsum")
def _einsum(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    equation = _text(node, "equation").replace(" ", "")
    dtype = _attr_type(node, "T") or inputs[0].dtype
    left, arrow, right = equation.partition("->")
    if not arrow or "." in equation:
        return [_Fact(dtype)]
    sizes: dict[str, int | None] = {}
    for labels, fact in zip(left.split(","), inputs, strict=True):
        for label, size in zip(labels, _rank(fact.shape, len(labels)), strict=True):
            sizes[label] = size if sizes.get(label) in (None, 1) else sizes[label]
    return [_Fact(dtype, tuple(sizes[label] for label in right))]


@_rule("Reshape")
def _reshape(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    source, target = inputs
    dtype = source.dtype or _attr_type(node, "T")
    shape = _as_shape(target)
    if shape is not None and target.values is not None and target.values.count(-1) == 1 and None not in target.values:
        rest = _product(value for value in target.values if value != -1)
        whole = None if source.shape is None else _product(source.shape)
        if whole is not None and rest and whole % rest == 0:
            shape = tuple(whole // rest if size is None else size for size in shape)
    values = source.values if shape is not None and len(shape) <= 1 else None
    return [_Fact(dtype, shape, values)]


@_rule("Squeeze")
def _squeeze(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape, axes = inputs[0].shape, _numbers(node, "squeeze_dims") or _numbers(node, "axis")
    if shape is None or (not axes and None in shape):
        return [_Fact(inputs[0].dtype)]
    if axes:
        gone = {axis % len(shape) for axis in axes}
        return [_Fact(inputs[0].dtype, tuple(s for at, s in enumerate(shape) if at not in gone), inputs[0].values)]
    return [_Fact(inputs[0].dtype, tuple(size for size in shape if size != 1), inputs[0].values)]


@_rule("ExpandDims")
def _expand_dims(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape, axis = inputs[0].shape, _single(inputs[1])
    if shape is None:
        return [_Fact(inputs[0].dtype)]
    if axis is None:
        return [_Fact(inputs[0].dtype, (None,) * (len(shape) + 1))]
    at = axis + len(shape) + 1 if axis < 0 else axis
    return [_Fact(inputs[0].dtype, (*shape[:at], 1, *shape[at:]), inputs[0].values if not shape else None)]


@_rule("Concat", "ConcatV2")
def _concat(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    parts, axis = (inputs[:-1], inputs[-1]) if node.op == "ConcatV2" else (inputs[1:], inputs[0])
    dtype = next((fact.dtype for fact in parts if fact.dtype), "") or _attr_type(node, "T")
    rank = next((len(fact.shape) for fact in parts if fact.shape is not None), None)
    if rank is None:
        return [_Fact(dtype)]
    at = _single(axis)
    if at is None:
        return [_Fact(dtype, (None,) * rank)]
    at %= rank
    shapes = [_rank(fact.shape, rank) for fact in parts]
    total = _total(shape[at] for shape in shapes)
    others: Shape = (None,) * rank
    for shape in shapes:
        others = _filled(others, shape) or ()
    values: list[int | None] | None = None
    if rank == 1 and total is not None and total <= _MOST_VALUES and dtype in _ENDS:
        values = []
        for fact, shape in zip(parts, shapes, strict=True):
            values += (None,) * (shape[0] or 0) if fact.values is None else fact.values
    return [_Fact(dtype, (*others[:at], total, *others[at + 1 :]), None if values is None else tuple(values))]


@_rule("Pack")
def _pack(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype = next((fact.dtype for fact in inputs if fact.dtype), "") or _attr_type(node, "T")
    shape = None
    for fact in inputs:
        shape = _filled(shape, fact.shape)
    if shape is None:
        return [_Fact(dtype)]
    at = _number(node, "axis") % (len(shape) + 1)
    values = None
    if not shape and dtype in _ENDS and len(inputs) <= _MOST_VALUES:
        values = tuple(_single(fact) for fact in inputs)
    return [_Fact(dtype, (*shape[:at], len(inputs), *shape[at:]), values)]


@_rule("Unpack")
def _unpack(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape, count, values = inputs[0].shape, _number(node, "num"), inputs[0].values
    if shape is None:
        return repeat(_Fact(inputs[0].dtype), count)
    at = _number(node, "axis") % len(shape)
    rest = _Fact(inputs[0].dtype, (*shape[:at], *shape[at + 1 :]))
    if values is None or len(shape) != 1 or len(values) != count:
        return repeat(rest, count)
    return [rest._replace(values=(value,)) for value in values]


@_rule("Split")
def _split(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    axis, fact, count = _single(inputs[0]), inputs[1], _number(node, "num_split")
    if fact.shape is None or axis is None:
        return repeat(_Fact(fact.dtype, None if fact.shape is None else (None,) * len(fact.shape)), count)
    at = axis % len(fact.shape)
    return repeat(_Fact(fact.dtype, (*fact.shape[:at], _over(fact.shape[at], count), *fact.shape[at + 1 :])), count)


@_rule("SplitV")
def _split_v(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    fact, count, axis = inputs[0], _number(node, "num_split"), _single(inputs[2])
    if fact.shape is None or axis is None:
        return repeat(_Fact(fact.dtype, None if fact.shape is None else (None,) * len(fact.shape)), count)
    at = axis % len(fact.shape)
    sizes = inputs[1].values
    if sizes is None:
        sizes = (None,) * min(count, _MOST_OUTPUTS)
    if sizes.count(-1) == 1:
        known, whole = _total(size for size in sizes if size != -1), fact.shape[at]
        rest = None if known is None or whole is None else whole - known
        sizes = tuple(rest if size == -1 else size for size in sizes)
    return [_Fact(fact.dtype, (*fact.shape[:at], size, *fact.shape[at + 1 :])) for size in sizes]


@_rule("Slice")
def _slice(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape, begin, size = inputs[0].shape, inputs[1].values, inputs[2].values
    if begin is None or size is None:
        rank = len(shape) if shape is not None else None
        return [_Fact(inputs[0].dtype, None if rank is None else (None,) * rank)]
    shape = _rank(shape, len(size))
    found = []
    for whole, first, count in zip(shape, begin, size, strict=True):
        if count == -1:
            found.append(None if whole is None or first is None else whole - first)
        else:
            found.append(count)
    values = None
    if inputs[0].values is not None and len(shape) == 1 and begin[0] is not None and found[0] is not None:
        values = inputs[0].values[begin[0] : begin[0] + found[0]]
    return [_Fact(inputs[0].dtype, tuple(found), values)]


@_rule("StridedSlice")
def _strided_slice(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    fact = inputs[0]
    if fact.shape is None:
        return [_Fact(fact.dtype)]
    vectors = [item.values for item in inputs[1:4]]
    count = next((len(values) for values in vectors if values is not None), None)
    if count is None:
        return [_Fact(fact.dtype)]
    begin, end, strides = (values if values is not None else (None,) * count for values in vectors)
    masks = {name: _number(node, f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}

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
    return [_Fact(fact.dtype, tuple(found), values)]


@_rule("Pad", "PadV2", "MirrorPad")
def _pad(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape, by = inputs[0].shape, inputs[1].values
    if by is None:
        rank = inputs[1].shape[0] if inputs[1].shape else None
        rank = len(shape) if shape is not None else rank
        return [_Fact(inputs[0].dtype, None if rank is None else (None,) * rank)]
    shape = _rank(shape, len(by) // 2)
    pairs = zip(shape, by[::2], by[1::2], strict=True)
    return [_Fact(inputs[0].dtype, tuple(map(_total, pairs)))]


@_rule("Transpose")
def _transpose(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape, order = inputs[0].shape, inputs[1].values
    if order is None or None in order:
        size = len(shape) if shape is not None else inputs[1].shape[0] if inputs[1].shape else None
        return [_Fact(inputs[0].dtype, None if size is None else (None,) * size)]
    shape = _rank(shape, len(order))
    return [_Fact(inputs[0].dtype, tuple(shape[at] for at in order if at is not None))]


@_rule("Shape")
def _shape(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype = _attr_type(node, "out_type") or "int32"
    shape = inputs[0].shape
    return [_Fact(dtype, (None,)) if shape is None else _Fact(dtype, (len(shape),), shape)]


@_rule("ShapeN")
def _shape_n(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [next(iter(_shape(node, [fact]))) for fact in inputs]


@_rule("Size")
def _size(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape = inputs[0].shape
    return [_Fact(_attr_type(node, "out_type") or "int32", (), (None if shape is None else _product(shape),))]


@_rule("Rank")
def _rank_of(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape = inputs[0].shape
    return [_Fact("int32", (), (None if shape is None else len(shape),))]


@_rule("Gather", "GatherV2")
def _gather(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    source, places = inputs[0], inputs[1]
    axis = _single(inputs[2]) if len(inputs) > 2 else 0
    if source.shape is None or places.shape is None:
        return [_Fact(source.dtype)]
    batch = _number(node, "batch_dims")
    batch = batch + len(places.shape) if batch < 0 else batch
    if axis is None:
        rank = len(source.shape) + len(places.shape) - 1
        return [_Fact(source.dtype, None if batch else (None,) * rank)]
    at = axis % len(source.shape)
    shape = (*source.shape[:at], *places.shape[batch:], *source.shape[at + 1 :])
    values = None
    if source.values is not None and places.values is not None and len(source.shape) == 1:
        values = tuple(None if place is None else source.values[place] for place in places.values)
    return [_Fact(source.dtype, shape, values)]


@_rule("GatherNd")
def _gather_nd(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    source, places = inputs[0].shape, inputs[1].shape
    if source is None or not places or places[-1] is None:
        return [_Fact(inputs[0].dtype)]
    return [_Fact(inputs[0].dtype, (*places[:-1], *source[places[-1] :]))]


@_rule("Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm")
def _reduce(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype = "bool" if node.op in ("All", "Any") else inputs[0].dtype or _attr_type(node, "T")
    shape, keep = inputs[0].shape, _flag(node, "keep_dims")
    if shape is None:
        return [_Fact(dtype)]
    axes = _axes(inputs[1], len(shape))
    if axes is None:
        return [_Fact(dtype, (None,) * len(shape) if keep else None)]
    found = tuple((1 if at in axes else size) for at, size in enumerate(shape) if keep or at not in axes)
    values = None
    if node.op in ("Prod", "Sum", "Max", "Min") and inputs[0].values is not None and found == () and len(shape) == 1:
        numbers = [value for value in inputs[0].values if value is not None]
        work = {"Prod": math.prod, "Sum": sum, "Max": max, "Min": min}[node.op]
        values = (work(numbers) if len(numbers) == len(inputs[0].values) else None,)
    return [_Fact(dtype, found, values)]


@_rule("ArgMax", "ArgMin")
def _arg_max(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype, shape, axis = _attr_type(node, "output_type") or "int64", inputs[0].shape, _single(inputs[1])
    if shape is None:
        return [_Fact(dtype)]
    if axis is None:
        return [_Fact(dtype, (None,) * (len(shape) - 1))]
    at = axis % len(shape)
    return [_Fact(dtype, (*shape[:at], *shape[at + 1 :]))]


@_rule("Fill")
def _fill(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape, value = _as_shape(inputs[0]), _single(inputs[1])
    dtype = inputs[1].dtype or _attr_type(node, "T")
    return [_Fact(dtype, shape, None if value is None else _repeated(value, shape))]


@_rule("BroadcastTo", "RandomUniform", "RandomStandardNormal", "TruncatedNormal", "RandomUniformInt", "Empty")
def _as_asked(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    asked = inputs[1] if node.op == "BroadcastTo" else inputs[0]
    dtype = inputs[0].dtype if node.op == "BroadcastTo" else _attr_type(node, "dtype") or _attr_type(node, "Tout")
    return [_Fact(dtype, _as_shape(asked))]


@_rule("ScatterNd", "SparseToDense")
def _scattered(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    asked, given = (inputs[2], inputs[1]) if node.op == "ScatterNd" else (inputs[1], inputs[2])
    shape = _as_shape(asked)
    nothing = node.op == "SparseToDense" and inputs[0].shape and inputs[0].shape[0] == 0  # all is the default
    return [_Fact(given.dtype, shape, _repeated(_single(inputs[3]), shape) if nothing else None)]


@_rule("Range")
def _range(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype = inputs[0].dtype or _attr_type(node, "Tidx")
    first, last, step = (_single(fact) for fact in inputs)
    if first is None or last is None or not step:
        return [_Fact(dtype, (None,))]
    numbers = range(first, last, step)
    return [_Fact(dtype, (len(numbers),), tuple(numbers) if len(numbers) <= _MOST_VALUES else None)]


@_rule("Tile")
def _tile(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape, times = inputs[0].shape, inputs[1].values
    if times is None:
        return [_Fact(inputs[0].dtype, None if shape is None else (None,) * len(shape))]
    pairs = zip(_rank(shape, len(times)), times, strict=True)
    return [_Fact(inputs[0].dtype, tuple(None if s is None or n is None else s * n for s, n in pairs))]


@_rule("OneHot")
def _one_hot(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    dtype, shape = inputs[2].dtype or _attr_type(node, "T"), inputs[0].shape
    if shape is None:
        return [_Fact(dtype)]
    at = _number(node, "axis", -1)
    at = len(shape) if at == -1 else at
    return [_Fact(dtype, (*shape[:at], _single(inputs[1]), *shape[at:]))]


@_rule("TopKV2", "TopK")
def _top_k(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    count = _single(inputs[1]) if node.op == "TopKV2" else _number(node, "k")
    shape = None if inputs[0].shape is None else (*inputs[0].shape[:-1], count)
    return [_Fact(inputs[0].dtype, shape), _Fact(_attr_type(node, "index_type") or "int32", shape)]


@_rule("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def _resize(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    image = _rank(inputs[0].shape, 4)
    tall, wide = _rank(_as_shape(inputs[1]), 2)
    return [_Fact(inputs[0].dtype if "Nearest" in node.op else "float32", (image[0], tall, wide, image[3]))]


@_rule("CropAndResize")
def _crop(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    count, _ = _rank(inputs[1].shape, 2)
    if count is None:
        (count,) = _rank(inputs[2].shape, 1)
    return [_Fact("float32", (count, *_rank(_as_shape(inputs[3]), 2), _rank(inputs[0].shape, 4)[3]))]


@_rule("SpaceToDepth", "DepthToSpace")
def _blocks(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    if _text(node, "data_format", "NHWC") != "NHWC":
        return [_Fact(inputs[0].dtype)]
    batch, tall, wide, deep = _rank(inputs[0].shape, 4)
    by = _number(node, "block_size")
    if node.op == "SpaceToDepth":
        shape = batch, _over(tall, by), _over(wide, by), _times(deep, by * by)
    else:
        shape = batch, _times(tall, by), _times(wide, by), _over(deep, by * by)
    return [_Fact(inputs[0].dtype, shape)]


def _times(size: int | None, by: int) -> int | None:
    return None if size is None else size * by


def _over(size: int | None, by: int) -> int | None:
    return None if size is None else size // by


@_rule("SpaceToBatchND", "BatchToSpaceND")
def _batches(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape, blocks, by = inputs[0].shape, inputs[1].values, inputs[2].values
    if shape is None:
        return [_Fact(inputs[0].dtype)]
    if blocks is None or by is None or None in blocks or None in by:
        return [_Fact(inputs[0].dtype, (None,) * len(shape))]
    numbers = [value for value in by if value is not None]
    whole = math.prod(value for value in blocks if value is not None)
    into = node.op == "SpaceToBatchND"
    found: list[int | None] = [_times(shape[0], whole) if into else _over(shape[0], whole)]
    for at, block in enumerate(blocks):
        size, more = shape[1 + at], numbers[2 * at] + numbers[2 * at + 1]
        if size is None or block is None:
            found.append(None)
        else:
            found.append((size + more) // block if into else size * block - more)
    return [_Fact(inputs[0].dtype, (*found, *shape[1 + len(blocks) :]))]


@_rule("Where")
def _where(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape = inputs[0].shape
    return [_Fact("int64", (None, None if shape is None else len(shape)))]


@_rule("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3")
def _suppression(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact("int32", (None,))]


@_rule("NonMaxSuppressionV4", "NonMaxSuppressionV5")
def _padded_suppression(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    count = _single(inputs[2]) if _flag(node, "pad_to_max_output_size") else None
    scores = [_Fact(inputs[1].dtype, (count,))] if node.op == "NonMaxSuppressionV5" else []
    return [_Fact("int32", (count,)), *scores, _Fact("int32", ())]


@_rule("DecodePng", "DecodeJpeg", "DecodeBmp")
def _image(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact(_attr_type(node, "dtype") or "uint8", (None, None, _number(node, "channels") or None))]


@_rule("TensorArraySizeV3", "TensorListLength")
def _length(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact("int32", ())]


@_rule(
    "TensorListReserve", "TensorListFromTensor", "TensorListSetItem", "TensorListPushBack", "EmptyTensorList",
    "TensorListResize", "TensorListScatter", "TensorListScatterV2",
)  # fmt: skip
def _tensor_list(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact("variant", ())]


@_rule("TensorListStack", "TensorListGetItem")
def _of_tensor_list(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    stacked = node.op == "TensorListStack"
    shape = _as_shape(inputs[1 if stacked else 2])
    if shape is not None and stacked:
        count = _number(node, "num_elements", -1)
        shape = (None if count < 0 else count, *shape)
    return [_Fact(_attr_type(node, "element_dtype"), shape)]


@_rule("TensorArrayV3")
def _tensor_array(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact("resource", (2,)), _Fact("float32", ())]


@_rule("TensorArrayGatherV3")
def _of_tensor_array(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape = _told_shape(node, "element_shape")
    return [_Fact(_attr_type(node, "dtype"), None if shape is None else (None, *shape))]


@_rule("TensorArrayWriteV3", "TensorArrayScatterV3", "TensorArraySplitV3")
def _flow(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    return [_Fact("float32", ())]


@_rule("SparseSegmentMean", "SparseSegmentSum", "SparseSegmentSqrtN", "SegmentSum", "SegmentMean", "SegmentMax")
def _segments(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    shape = inputs[0].shape
    return [_Fact(inputs[0].dtype, None if not shape else (None, *shape[1:]))]


@_rule("While", "StatelessWhile")
def _while(node: Node, inputs: list[_Fact]) -> Iterable[_Fact]:
    attrs = node.definition.attr
    types = attrs["T"].list.type if "T" in attrs else ()
    told = attrs["output_shapes"].list.shape if "output_shapes" in attrs else ()
    return [
        _Fact(DTYPES.get(item % 100, ""), _plain_shape(told[port]) if port < len(told) else None)
        for port, item in enumerate(types)
    ]


# Ops without a rule whose one output's type stands in an attribute.
_NAMED_TYPES: Mapping[str, str] = {
    "TensorArrayReadV3": "dtype", "TensorArrayConcatV3": "dtype",
    "TensorListGather": "element_dtype",
    "LookupTableFind": "Tout", "LookupTableFindV2": "Tout", "Multinomial": "output_dtype",
    "StringToNumber": "out_type", "DecodeRaw": "out_type", "ReadVariableOp": "dtype", "ResourceGather": "dtype",
    "MaxPoolV2": "T", "Roll": "T", "DecodeImage": "dtype", "MatrixDiag": "T", "UnsortedSegmentSum": "T",
}  # fmt: skip
