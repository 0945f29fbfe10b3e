"""What sort of work an op does: the graph view's default colours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from PySide6.QtCore import QT_TRANSLATE_NOOP

from icebreaker.graph.ops import CONTROL_FLOW, PLACEHOLDERS

# Kind → (hue of the theme, words for the legend).
KINDS: Mapping[str, tuple[str, Any]] = {
    "compute": ("blue", QT_TRANSLATE_NOOP("graph", "Convolution, matrix product")),
    "activation": ("orange", QT_TRANSLATE_NOOP("graph", "Activation")),
    "normalize": ("purple", QT_TRANSLATE_NOOP("graph", "Normalization, quantization")),
    "reduce": ("green", QT_TRANSLATE_NOOP("graph", "Pooling, reduction, resize")),
    "arithmetic": ("yellow", QT_TRANSLATE_NOOP("graph", "Arithmetic, comparison")),
    "shape": ("sky", QT_TRANSLATE_NOOP("graph", "Shape, slice, join")),
    "control": ("vermilion", QT_TRANSLATE_NOOP("graph", "Control flow, calls")),
    "io": ("ink", QT_TRANSLATE_NOOP("graph", "Input, output")),
    "other": ("gray", QT_TRANSLATE_NOOP("graph", "Other")),
}

_PATTERNS = (
    ("compute", r"Conv|MatMul|Einsum|LSTM|GRU|RNN|FullyConnected|Gemm|^SparseTensorDense"),
    ("activation", r"Relu|Elu|Selu|Sigmoid|Tanh|Softmax|Softplus|Softsign|Swish|Gelu|PRelu|Activation"),
    ("normalize", r"BatchNorm|LRN|L2Norm|LayerNorm|Moments|Quant|Dequant|^Rsqrt|BatchNormWith"),
    ("reduce", r"Pool|^Mean$|^Sum$|^Max$|^Min$|^Prod$|^All$|^Any$|Arg|TopK|Cumsum|Resize|NonMaxSup|Segment|Upsample"),
    ("shape", r"Reshape|Transpose|Concat|Slice|Split|Pack|Unpack|Pad|Tile|Gather|Scatter|Expand|Squeeze|Shape|Rank|Size"
              r"|Fill|Range|Cast|Where|Reverse|BroadcastTo|Space|Depth|Batch|Stack|Unstack|OneHot|Zeros|Ones|Linspace"),
    ("arithmetic", r"Add|Sub|Mul|Div|Mod|Pow|Sqrt|Square|Exp|Log|Abs|Neg|Round|Floor|Ceil|Maximum|Minimum|Less|Greater"
                   r"|Equal|Logical|Select|Sign|Sin|Cos|Tan|Atan|Erf|Bias|Clip|Reciprocal|Inv|Bitwise|FFT"),
)  # fmt: skip


@cache
def kind(op: str) -> str:
    """The kind of an op type, a key of `KINDS`."""
    if op in PLACEHOLDERS or op in ("Identity", "IdentityN", "Const", "_Arg", "_Retval"):
        return "io"
    if op in CONTROL_FLOW or "PartitionedCall" in op:
        return "control"
    for name, pattern in _PATTERNS:
        if re.search(pattern, op):
            return name
    return "other"
