"""Rules for the layers of neural networks: convolutions, pooling, normalization, matrix products."""

from __future__ import annotations

from collections.abc import Iterable

from icebreaker.graph.graph import Node
from icebreaker.graph.shape_inference.attributes import bool_attr, channels_last, int_list_attr, text_attr, type_attr
from icebreaker.graph.shape_inference.facts import Fact, broadcast, meant_shape, product, window_count, with_rank
from icebreaker.graph.shape_inference.rule_table import RuleTable

RULES = RuleTable()


def _convolution(node: Node, inputs: list[Fact], dims: int, depthwise: bool = False) -> Iterable[Fact]:
    image, kernel = with_rank(inputs[0].shape, dims + 2), with_rank(inputs[1].shape, dims + 2)
    last = channels_last(node)
    first = 1 if last else 2
    strides, dilations = int_list_attr(node, "strides"), int_list_attr(node, "dilations") or [1] * (dims + 2)
    padding, explicit = text_attr(node, "padding"), int_list_attr(node, "explicit_paddings")
    sizes: list[int | None] = []
    for place in range(dims):
        at = first + place
        size = image[at]
        if padding == "EXPLICIT":
            size = None if size is None else size + explicit[2 * at] + explicit[2 * at + 1]
        sizes.append(window_count(size, kernel[place], strides[at], padding, dilations[at]))
    channels = kernel[dims + 1] if not depthwise else product(kernel[dims:])
    shape = (image[0], *sizes, channels) if last else (image[0], channels, *sizes)
    return [Fact(type_attr(node, "T") or inputs[0].dtype, shape)]


@RULES.of("Conv2D")
def _conv2d(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return _convolution(node, inputs, 2)


@RULES.of("Conv3D")
def _conv3d(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return _convolution(node, inputs, 3)


@RULES.of("DepthwiseConv2dNative")
def _depthwise(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return _convolution(node, inputs, 2, depthwise=True)


@RULES.of("Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput")
def _deconvolution(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    shape = meant_shape(inputs[0])
    return [Fact(type_attr(node, "T") or inputs[1].dtype, shape if shape and len(shape) == 4 else (None,) * 4)]


@RULES.of("MaxPool", "AvgPool")
def _pool(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    image = with_rank(inputs[0].shape, 4)
    kernel, strides, padding = int_list_attr(node, "ksize"), int_list_attr(node, "strides"), text_attr(node, "padding")
    if text_attr(node, "data_format").endswith("VECT_C"):  # which has five dimensions
        return [Fact(inputs[0].dtype)]
    if padding not in ("SAME", "VALID"):
        return [Fact(inputs[0].dtype, (None,) * 4)]
    shape = tuple(
        size if kernel[at] == strides[at] == 1 else window_count(size, kernel[at], strides[at], padding)
        for at, size in enumerate(image)
    )
    return [Fact(type_attr(node, "T") or inputs[0].dtype, shape)]


@RULES.of("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _batch_norm(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    image = with_rank(inputs[0].shape, len(text_attr(node, "data_format", "NHWC")))
    at = -1 if channels_last(node) else 1
    channels = image[at]
    for fact in inputs[1:5]:
        if channels is None and fact.shape and len(fact.shape) == 1 and fact.shape[0]:
            channels = fact.shape[0]
    shape = tuple(channels if place == at % len(image) else size for place, size in enumerate(image))
    statistics = Fact(type_attr(node, "U") or inputs[0].dtype, (channels,))
    return [Fact(type_attr(node, "T") or inputs[0].dtype, shape), *[statistics] * 4]


@RULES.of("MatMul")
def _matmul(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    a, b = with_rank(inputs[0].shape, 2), with_rank(inputs[1].shape, 2)
    shape = a[1 if bool_attr(node, "transpose_a") else 0], b[0 if bool_attr(node, "transpose_b") else 1]
    return [Fact(type_attr(node, "T") or inputs[0].dtype, shape)]


@RULES.of("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _batch_matmul(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    dtype = type_attr(node, "Tout") or type_attr(node, "T") or inputs[0].dtype
    a, b = inputs[0].shape, inputs[1].shape
    if a is None or b is None or len(a) < 2 or len(b) < 2:
        return [Fact(dtype)]
    batch = broadcast([a[:-2], b[:-2]]) or ()
    return [Fact(dtype, (*batch, a[-1 if bool_attr(node, "adj_x") else -2], b[-2 if bool_attr(node, "adj_y") else -1]))]


@RULES.of("Einsum")
def _einsum(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    equation = text_attr(node, "equation").replace(" ", "")
    dtype = type_attr(node, "T") or inputs[0].dtype
    left, arrow, right = equation.partition("->")
    if not arrow or "." in equation:
        return [Fact(dtype)]
    sizes: dict[str, int | None] = {}
    for labels, fact in zip(left.split(","), inputs, strict=True):
        for label, size in zip(labels, with_rank(fact.shape, len(labels)), strict=True):
            sizes[label] = size if sizes.get(label) in (None, 1) else sizes[label]
    return [Fact(dtype, tuple(sizes[label] for label in right))]
