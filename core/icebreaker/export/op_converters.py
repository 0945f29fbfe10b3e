"""Converters to ONNX for ops that tf2onnx lacks, in its own form (`custom_op_handlers`).

Each says an op in others that every engine has. What that costs in precision is found out where every segment is
compared with TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class _Writer:
    """Writes the nodes that take the place of one: the last one bears its name and gives its outputs."""

    def __init__(self, ctx: Any, node: Any) -> None:
        self.ctx, self.inputs = ctx, list(node.input)
        self._name, self._outputs = node.name, list(node.output)
        self._shape, self._dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
        ctx.remove_node(node.name)

    def constant(self, value: float) -> str:
        """A scalar of the op's type."""
        from tf2onnx import utils

        array = np.array(value, utils.map_onnx_to_numpy_type(self._dtype))
        return self.ctx.make_const(utils.make_name(self._name), array).output[0]

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """A node on the way; its output."""
        return self.ctx.make_node(op, inputs, attr=attributes).output[0]

    def end(self, op: str, inputs: list[str], **attributes: Any) -> None:
        """The last node."""
        self.ctx.make_node(
            op, inputs, name=self._name, outputs=self._outputs, attr=attributes, shapes=[self._shape],
            dtypes=[self._dtype],
        )  # fmt: skip


def _erfc(to: _Writer) -> None:
    to.end("Sub", [to.constant(1), to.add("Erf", to.inputs)])


def _expm1(to: _Writer) -> None:
    to.end("Sub", [to.add("Exp", to.inputs), to.constant(1)])


def _log1p(to: _Writer) -> None:
    to.end("Log", [to.add("Add", [*to.inputs, to.constant(1)])])


def _zero_times(to: _Writer, factor: str, other: str) -> None:
    """`factor` times `other`, but 0 wherever `factor` is 0, whatever `other` is there."""
    is_zero = to.add("Equal", [factor, to.constant(0)])
    to.end("Where", [is_zero, to.constant(0), to.add("Mul", [factor, other])])


def _xlogy(to: _Writer) -> None:
    _zero_times(to, to.inputs[0], to.add("Log", [to.inputs[1]]))


def _xdivy(to: _Writer) -> None:
    _zero_times(to, to.inputs[0], to.add("Reciprocal", [to.inputs[1]]))


def _mul_no_nan(to: _Writer) -> None:
    _zero_times(to, to.inputs[1], to.inputs[0])


def _inv(to: _Writer) -> None:
    to.end("Reciprocal", to.inputs)


def _passed_on(to: _Writer) -> None:
    to.end("Identity", to.inputs)


def _handler(write: Callable[[_Writer], None]) -> tuple[Callable[..., None], list[Any]]:
    return lambda ctx, node, name, args: write(_Writer(ctx, node)), []


HANDLERS: Mapping[str, tuple[Callable[..., None], list[Any]]] = {
    "Erfc": _handler(_erfc),  # Keras's GELU
    "Expm1": _handler(_expm1),
    "Log1p": _handler(_log1p),
    "Xlogy": _handler(_xlogy),
    "Xdivy": _handler(_xdivy),
    "MulNoNan": _handler(_mul_no_nan),
    "Inv": _handler(_inv),
    "Snapshot": _handler(_passed_on),
    "PreventGradient": _handler(_passed_on),
}
