"""Rules for image ops: resizing, cropping, decoding, and what picks the boxes of a detector."""

from __future__ import annotations

from collections.abc import Iterable

from icebreaker.graph.graph import Node
from icebreaker.graph.shape_inference.attributes import bool_attr, int_attr, type_attr
from icebreaker.graph.shape_inference.facts import Fact, meant_shape, single_value, with_rank
from icebreaker.graph.shape_inference.rule_table import RuleTable

RULES = RuleTable()


@RULES.of("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def _resize(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    image = with_rank(inputs[0].shape, 4)
    tall, wide = with_rank(meant_shape(inputs[1]), 2)
    return [Fact(inputs[0].dtype if "Nearest" in node.op else "float32", (image[0], tall, wide, image[3]))]


@RULES.of("CropAndResize")
def _crop(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    count, _ = with_rank(inputs[1].shape, 2)
    if count is None:
        (count,) = with_rank(inputs[2].shape, 1)
    return [Fact("float32", (count, *with_rank(meant_shape(inputs[3]), 2), with_rank(inputs[0].shape, 4)[3]))]


@RULES.of("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3")
def _suppression(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact("int32", (None,))]


@RULES.of("NonMaxSuppressionV4", "NonMaxSuppressionV5")
def _padded_suppression(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    count = single_value(inputs[2]) if bool_attr(node, "pad_to_max_output_size") else None
    scores = [Fact(inputs[1].dtype, (count,))] if node.op == "NonMaxSuppressionV5" else []
    return [Fact("int32", (count,)), *scores, Fact("int32", ())]


@RULES.of("DecodePng", "DecodeJpeg", "DecodeBmp")
def _image(node: Node, inputs: list[Fact]) -> Iterable[Fact]:
    return [Fact(type_attr(node, "dtype") or "uint8", (None, None, int_attr(node, "channels") or None))]
