"""Graphs of one op: its tensors are inputs or constants, its types and attributes are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

Values = np.ndarray | Sequence[np.ndarray]


@dataclass(frozen=True)
class Variant:
    """One way to use an op.

    Attributes:
        label: What it tries.
        calls: Sets of values for the op's arguments that come from outside; the first is a friendly one.
        constants: Values of arguments that are constants.
        attributes: Those that are not the default.
        atol: What floats may differ by besides a relative error.
        unknown_rank: Arguments whose rank the graph does not tell.
        is_open: Whether the graph leaves the dimensions of what is fed open.
        ports: The outputs that are looked at, where others are undefined; all if none are named.
    """

    label: str
    calls: Sequence[Mapping[str, Values]]
    constants: Mapping[str, Values] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    atol: float = 0.0
    unknown_rank: frozenset[str] = frozenset()
    is_open: bool = True
    ports: Sequence[int] = ()


def op_def(op: str) -> Any:
    """TensorFlow's definition of an op; None if it has none of that name."""
    return op_def_registry.get(op)


def types_of(op: str, attribute: str = "T") -> tuple[str, ...]:
    """The types that an attribute of an op allows; empty if the op has no such attribute."""
    for item in op_def(op).attr:
        if item.name == attribute:
            allowed = item.allowed_values.list.type
            return tuple(tf.as_dtype(number).name for number in allowed) if allowed else ("any",)
    return ()


def graph(op: str, variant: Variant) -> tuple[Any, list[str], list[dict[str, np.ndarray]]]:
    """The GraphDef of a variant, its outputs, and its calls by placeholder."""
    definition = tf.compat.v1.GraphDef()
    definition.versions.producer = tf.version.GRAPH_DEF_VERSION
    node = tf.compat.v1.NodeDef(name="op", op=op)
    feeds: list[dict[str, np.ndarray]] = [{} for _ in variant.calls]
    for argument in op_def(op).input_arg:
        is_fed = argument.name in variant.calls[0]
        values = variant.calls[0][argument.name] if is_fed else variant.constants[argument.name]
        many = isinstance(values, list | tuple)
        parts = list(values) if many else [values]
        for index, part in enumerate(parts):
            part = np.asarray(part)
            name = f"{argument.name}_{index}" if many else argument.name
            added = definition.node.add(name=name, op="Placeholder" if is_fed else "Const")
            kind = _enum(part.dtype)
            added.attr["dtype"].type = kind
            if is_fed:
                added.attr["shape"].shape.unknown_rank = argument.name in variant.unknown_rank
                if argument.name not in variant.unknown_rank:
                    added.attr["shape"].shape.SetInParent()
                    for size in part.shape:
                        added.attr["shape"].shape.dim.add(size=-1 if variant.is_open else size)
                for feed, call in zip(feeds, variant.calls, strict=True):
                    given = call[argument.name]
                    feed[name] = np.asarray(given[index] if many else given)
            else:
                added.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(part))
            node.input.append(name)
            if argument.type_attr:
                node.attr[argument.type_attr].type = kind
            elif argument.type_list_attr:
                node.attr[argument.type_list_attr].list.type.append(kind)
        if argument.number_attr:
            node.attr[argument.number_attr].i = len(parts)
    for name, value in variant.attributes.items():
        _set(node.attr[name], value)
    definition.node.append(node)
    whole = tf.Graph()
    with whole.as_default():  # fills in the other attributes
        tf.import_graph_def(definition, name="")
    outputs = []
    made = whole.get_operation_by_name("op")
    definition = whole.as_graph_def()
    for port, tensor in enumerate(made.outputs):
        if variant.ports and port not in variant.ports:
            continue
        name = f"y{port}"
        added = definition.node.add(name=name, op="Identity", input=[f"op:{port}" if port else "op"])
        added.attr["T"].type = tensor.dtype.as_datatype_enum
        outputs.append(name)
    return definition, outputs, feeds


def _enum(dtype: np.dtype) -> int:
    return tf.as_dtype(dtype).as_datatype_enum


def _set(attribute: Any, value: Any) -> None:
    if isinstance(value, bool):
        attribute.b = value
    elif isinstance(value, int):
        attribute.i = value
    elif isinstance(value, float):
        attribute.f = value
    elif isinstance(value, tf.DType):
        attribute.type = value.as_datatype_enum
    elif isinstance(value, str):
        attribute.s = value.encode()
    elif isinstance(value, tf.TensorShape):
        attribute.shape.CopyFrom(value.as_proto())
    elif isinstance(value, list) and all(isinstance(item, int) for item in value):
        attribute.list.i.extend(value)
        attribute.list.SetInParent()
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        attribute.list.s.extend(item.encode() for item in value)
    else:
        raise TypeError(f"{value!r}")
