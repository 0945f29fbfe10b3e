"""Converters to ONNX of our own, in tf2onnx's form (`custom_op_handlers`): they go before its own.

They are for ops that tf2onnx lacks, or makes something else of than TensorFlow computes. `make op-conformance` tries
each on hard values, with every engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from icebreaker.export.ops import arithmetic, convolutions, diagonals, images, indexing, reductions, sequences
from icebreaker.export.ops.writer import Handler

HANDLERS: Mapping[str, Handler] = {
    **arithmetic.HANDLERS, **diagonals.HANDLERS, **images.HANDLERS, **indexing.HANDLERS, **reductions.HANDLERS,
    **convolutions.HANDLERS, **sequences.HANDLERS,
}  # fmt: skip
