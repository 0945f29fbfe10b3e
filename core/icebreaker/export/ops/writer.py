"""Writes the ONNX nodes that take the place of a TensorFlow node, in tf2onnx's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

Handler = tuple[Callable[..., None], list[Any]]

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})
SIGNED = frozenset({TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64})
UNSIGNED = frozenset({TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64})


class Unfit(ValueError):
    """An op that stays in TensorFlow for what its attributes, types or shapes are; says why."""


class Writer:
    """Writes the nodes that take the place of one: the last one bears its name and gives its outputs.

    Attributes:
        inputs: The tensors that the op reads.
        dtypes: Their ONNX types.
        shapes: Their shapes, -1 where a dimension is open; None where even the rank is.
        op: TensorFlow's name of the op.
        dtype: The type of its first output.
    """

    def __init__(self, ctx: Any, node: Any, op: str) -> None:
        """Takes the node out of the graph."""
        self.ctx, self.op = ctx, op
        self.inputs = list(node.input)
        self.dtypes = [ctx.get_dtype(name) for name in node.input]
        self.shapes = [ctx.get_shape(name) for name in node.input]
        self._node, self._name, self._outputs = node, node.name, list(node.output)
        self._shapes = [ctx.get_shape(name) for name in node.output]
        self.output_dtypes = [ctx.get_dtype(name) for name in node.output]
        self.dtype = self.output_dtypes[0]
        self._constants = [
            item.get_tensor_value(as_list=False) if item is not None and item.is_const() else None
            for item in node.inputs
        ]
        ctx.remove_node(node.name)

    def value(self, index: int) -> np.ndarray | None:
        """The value of an input, if it is a constant."""
        return self._constants[index]

    def needed(self, index: int, what: str) -> np.ndarray:
        """The value of an input; raises Unfit if it is computed."""
        value = self.value(index)
        if value is None:
            raise Unfit(f"its {what} is computed")
        return np.asarray(value)

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the op."""
        return self._node.get_attr_value(name, default)

    def rank(self, index: int = 0) -> int:
        """The rank of an input; raises Unfit if it is unknown."""
        shape = self.shapes[index]
        if shape is None:
            raise Unfit("the rank of its input is unknown")
        return len(shape)

    def constant(self, value: Any, dtype: int | None = None) -> str:
        """A constant of an ONNX type, the op's own if none is said."""
        from tf2onnx import utils

        array = np.asarray(value, utils.map_onnx_to_numpy_type(self.dtype if dtype is None else dtype))
        return self.ctx.make_const(utils.make_name(self._name), array).output[0]

    def whole(self, value: Any) -> str:
        """A constant of type int64."""
        return self.constant(value, TensorProto.INT64)

    def add(self, op: str, inputs: Sequence[str], count: int = 1, **attributes: Any) -> Any:
        """A node on the way; its output, or with `count` its outputs."""
        node = self.ctx.make_node(op, list(inputs), attr=attributes, output_count=count)
        return node.output[0] if count == 1 else list(node.output)

    def cast(self, tensor: str, dtype: int, known: int | None = None) -> str:
        """A tensor in another type; itself, if it is `known` to have that."""
        return tensor if known == dtype else self.add("Cast", [tensor], to=dtype)

    def end(self, op: str, inputs: Sequence[str], port: int = 0, **attributes: Any) -> None:
        """The last node, which gives the output of that port."""
        name = self._name if port == 0 else f"{self._name}__port_{port}"
        self.ctx.make_node(
            op, list(inputs), name=name, outputs=[self._outputs[port]], attr=attributes, shapes=[self._shapes[port]],
            dtypes=[self.output_dtypes[port]],
        )  # fmt: skip

    def end_as(self, tensor: str, known: int | None, port: int = 0) -> None:
        """The last node where the result is there already, in type `known`."""
        if known == self.output_dtypes[port]:
            self.end("Identity", [tensor], port)
        else:
            self.end("Cast", [tensor], port, to=self.output_dtypes[port])


def handler(write: Callable[[Writer], None]) -> Handler:
    """A converter in tf2onnx's form (`custom_op_handlers`)."""

    def convert(ctx: Any, node: Any, name: str, args: Any) -> None:
        write(Writer(ctx, node, node.type))

    return convert, []


class Handlers(dict[str, Handler]):
    """Op → its converter."""

    def of(self, *ops: str) -> Callable[[Callable[[Writer], None]], Callable[[Writer], None]]:
        """Decorates the converter of some ops: `@HANDLERS.of("Log1p")`."""

        def add(write: Callable[[Writer], None]) -> Callable[[Writer], None]:
            self.update(dict.fromkeys(ops, handler(write)))
            return write

        return add


# ONNX types → one that ONNX Runtime sorts, compares, selects … in, and that holds all their values.
WIDER: Mapping[int, int] = {
    TensorProto.INT8: TensorProto.INT32, TensorProto.INT16: TensorProto.INT32, TensorProto.UINT8: TensorProto.INT32,
    TensorProto.UINT16: TensorProto.INT32, TensorProto.UINT32: TensorProto.INT64, TensorProto.BOOL: TensorProto.INT32,
    TensorProto.FLOAT16: TensorProto.FLOAT, TensorProto.BFLOAT16: TensorProto.FLOAT,
}  # fmt: skip
