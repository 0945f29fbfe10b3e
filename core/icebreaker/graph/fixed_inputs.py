"""Inputs that always have one value, such as whether a network is being trained: constants in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph, Placeholder

_FALSE, _TRUE = frozenset({"0", "false", "no"}), frozenset({"1", "true", "yes"})


def fix_inputs(graph: Graph, values: Mapping[str, str]) -> Graph:
    """The graph with constants in the place of some inputs.

    Args:
        graph: The graph.
        values: Input name → its value as text: one number or word, or several with commas.

    Raises:
        IcebreakerError: There is no such input, or the value is none of its type and shape.
    """
    if not values:
        return graph
    inputs = {item.name: item for item in graph.placeholders}
    definition = type(graph.definition)()
    definition.CopyFrom(graph.definition)
    nodes = {node.name: node for node in definition.node}
    for name, text in values.items():
        node = graph.require(name, "input").node
        if node not in inputs:
            raise IcebreakerError("not_an_input", "{subject!r} is no input of the graph", subject=name)
        _fix(nodes[node], inputs[node], text)
    return Graph(definition, graph.store)


def _fix(node: Any, item: Placeholder, text: str) -> None:
    """Makes a constant of a placeholder."""
    dtype = node.attr["dtype"].type
    parts = [text] if not item.shape and item.dtype == "string" else text.split(",")
    shape = tuple(item.shape or ())
    if item.shape is None and len(parts) > 1:
        shape = (len(parts),)
    elif shape.count(None) == 1:
        rest = 1
        for size in shape:
            rest *= size or 1
        shape = tuple(len(parts) // rest if size is None else size for size in shape)
    count = 1
    for size in shape:
        count *= size or 0
    field, read = _FIELDS.get(item.dtype, ("", str))
    try:
        if not field or len(parts) not in (1, count) or count < 1:
            raise ValueError
        found = [read(part.strip()) for part in parts]
        node.attr.clear()
        node.attr["dtype"].type = node.attr["value"].tensor.dtype = dtype
        getattr(node.attr["value"].tensor, field).extend(found)  # one stands for all
    except (ValueError, OverflowError) as error:
        raise IcebreakerError(
            "fixed_input_differs", "{value!r} is no value of the input {subject!r}", "give_value_of_type",
            subject=item.name, value=text, dtype=item.dtype, shape="×".join(map(str, shape)) or "several",
        ) from error  # fmt: skip
    node.op = "Const"
    del node.input[:]
    node.attr["value"].tensor.tensor_shape.SetInParent()
    for size in shape:
        node.attr["value"].tensor.tensor_shape.dim.add(size=size)


def _bool(text: str) -> bool:
    if text.lower() not in _FALSE | _TRUE:
        raise ValueError
    return text.lower() in _TRUE


# Dtype → the field of a TensorProto that has its values, and how one is read.
_FIELDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "float32": ("float_val", float), "float64": ("double_val", float), "bool": ("bool_val", _bool),
    "string": ("string_val", str.encode), "int64": ("int64_val", int),
    **dict.fromkeys(("int32", "int16", "int8", "uint8", "uint16"), ("int_val", int)),
}  # fmt: skip
