"""Attributes of a node, read from its message; what is not there reads as empty."""

from __future__ import annotations

from icebreaker.graph.graph import Node
from icebreaker.graph.ops import DTYPES
from icebreaker.graph.shape_inference.facts import Shape, shape_of


def type_attr(node: Node, name: str) -> str:
    """A dtype's name, such as `float32`; that of a reference type without the reference."""
    return DTYPES.get(node.definition.attr[name].type % 100, "") if name in node.definition.attr else ""


def text_attr(node: Node, name: str, default: str = "") -> str:
    """A string; `default` where it is empty, too."""
    attrs = node.definition.attr
    return attrs[name].s.decode("utf-8", "replace") if name in attrs and attrs[name].s else default


def int_list_attr(node: Node, name: str) -> list[int]:
    """A list of whole numbers."""
    return list(node.definition.attr[name].list.i) if name in node.definition.attr else []


def int_attr(node: Node, name: str, default: int = 0) -> int:
    """A whole number."""
    return node.definition.attr[name].i if name in node.definition.attr else default


def bool_attr(node: Node, name: str) -> bool:
    """A truth."""
    return name in node.definition.attr and node.definition.attr[name].b


def shape_attr(node: Node, name: str) -> Shape | None:
    """A shape; None where there is none, or its rank is open."""
    attrs = node.definition.attr
    return shape_of(attrs[name].shape) if name in attrs else None


def channels_last(node: Node) -> bool:
    """Whether a layer's channels are the last dimension, by its `data_format`."""
    return not text_attr(node, "data_format", "NHWC").startswith("NC")
