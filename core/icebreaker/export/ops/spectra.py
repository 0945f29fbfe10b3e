"""Fourier transforms and the complex numbers around them, as real numbers: engines know no others.

A complex tensor is two of real numbers, its parts, in a graph of TensorFlow's own ops that takes the place of the
segment's; only what is real may enter and leave it. A transform is a product with a constant matrix, which for the
lengths of audio frames is faster in an engine than its own transform, and right for every length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import DTYPES, FORWARDING
from icebreaker.messages import Message, message
from icebreaker.tensors import Tensor

Shape: TypeAlias = "tuple[int | None, ...] | None"
# The real and the imaginary part.
Parts: TypeAlias = tuple[str, str]

_REAL = {8: 1, 18: 2}  # TensorFlow's numbers of complex64 and complex128 → of their parts' types
_INT32 = 3
_MOST_FACTORS = 1 << 23  # of one transform: longer ones are faster in TensorFlow


class _Stays(Exception):
    """This node stays in TensorFlow; says why."""


def is_complex(definition: Any) -> bool:
    """Whether complex numbers are in a graph."""
    return any(value.type in _REAL for node in definition.node for value in node.attr.values()) or any(
        node.op in TRANSFORMS or node.op in _TO_REAL for node in definition.node
    )


def in_real_numbers(
    definition: Any, shape: Callable[[Tensor], Shape], constant: Callable[[Tensor], np.ndarray | None]
) -> tuple[Any, dict[str, Message]]:
    """A segment's graph with complex numbers as their parts.

    Args:
        definition: TensorFlow's GraphDef, its nodes in topological order.
        shape: The shape of one of its tensors.
        constant: The value of one of its tensors, if that is constant.

    Returns:
        The graph, and node → why it cannot be there; the graph is of no use if there is one.
    """
    work = _Rewriter(definition, shape, constant)
    refused: dict[str, Message] = {}
    for node in Graph(definition):
        try:
            work.take(node)
        except _Stays as why:
            refused[node.name] = message("op_unfit_complex", "{op}: {why}", subject=node.name, op=node.op, why=str(why))
            break
    kept = {node.name for node in work.result.node}
    for node in work.result.node:
        inputs = [text for text in node.input if not text.startswith("^") or text[1:] in kept]
        del node.input[:]
        node.input.extend(inputs)
    return work.result, refused


class _Rewriter:
    """Writes the graph of real numbers, node by node.

    Attributes:
        result: The graph.
        dtype: TensorFlow's number of the type of the parts at hand.
    """

    def __init__(
        self, definition: Any, shape: Callable[[Tensor], Shape], constant: Callable[[Tensor], np.ndarray | None]
    ) -> None:
        self.result = type(definition)(versions=definition.versions, library=definition.library)
        self.shape, self.constant = shape, constant
        self._parts: dict[Tensor, Parts] = {}
        self._taken = {node.name for node in definition.node}
        self._name, self.dtype = "", 1

    def take(self, node: Node) -> None:
        """Writes what a node becomes; itself, if it has to do with real numbers only."""
        types = {value.type for value in node.definition.attr.values()} & _REAL.keys()
        self._name = node.name
        touched = any(tensor in self._parts for tensor in node.inputs)
        if not touched and not types and node.op not in TRANSFORMS:
            self.result.node.add().CopyFrom(node.definition)
            return
        self.dtype = _REAL[max(types, default=8)]
        if (write := _OPS.get(node.op)) is not None:
            write(self, node)
        elif node.op in _PART_BY_PART:
            self._each_part(node)
        else:
            raise _Stays("it works on complex numbers")

    def add(self, op: str, inputs: Sequence[str], *, name: str = "", types: Mapping[str, int] | None = None) -> str:
        """A node; its name. Type attributes are those of the parts if they are called T, unless said."""
        made = self.result.node.add(name=name or self._fresh(), op=op, input=inputs)
        for key, number in (types if types is not None else {"T": self.dtype}).items():
            made.attr[key].type = number
        return made.name

    def const(self, value: Any, dtype: int | None = None) -> str:
        """A constant of the parts' type."""
        import tensorflow as tf

        number = self.dtype if dtype is None else dtype
        name = self.add("Const", [], types={"dtype": number})
        array = np.asarray(value, DTYPES[number])
        self.result.node[-1].attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
        return name

    def whole(self, value: Any) -> str:
        """A constant of whole numbers."""
        return self.const(value, _INT32)

    def parts(self, tensor: Tensor) -> Parts:
        """The parts of a tensor; the second one of a real tensor is zero."""
        if tensor not in self._parts:
            text = str(tensor)
            return text, self.add("ZerosLike", [text])
        return self._parts[tensor]

    def gives(self, node: Node, parts: Parts, port: int = 0) -> None:
        """What a complex output is."""
        self._parts[Tensor(node.name, port)] = parts

    def last(self, node: Node, op: str, inputs: Sequence[str], **types: int) -> None:
        """The node that gives a real result under the old name."""
        self.add(op, inputs, name=node.name, types=types or {"T": self.dtype})

    def _fresh(self) -> str:
        number = 0
        while (name := f"{self._name}__{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name

    def _each_part(self, node: Node) -> None:
        """Two copies of an op that moves numbers, or sums them, one for each part."""
        copies = []
        for part in (0, 1):
            copy = self.result.node.add()
            copy.CopyFrom(node.definition)
            copy.name = self._fresh()
            del copy.input[:]
            copy.input.extend(
                self._parts[tensor][part] if tensor in self._parts else str(tensor) for tensor in node.inputs
            )
            copy.input.extend(f"^{name}" for name in node.controls)
            for value in copy.attr.values():
                if value.type in _REAL:
                    value.type = _REAL[value.type]
            copies.append(copy.name)
        for port in range(int(node.attrs.get("num_split") or node.attrs.get("num") or 1)):
            re, im = (str(Tensor(name, port)) for name in copies)
            self.gives(node, (re, im), port)


_Write = Callable[[_Rewriter, Node], None]


def _const(to: _Rewriter, node: Node) -> None:
    value = to.constant(Tensor(node.name))
    if value is None:
        raise _Stays("its value is elsewhere")
    to.gives(node, (to.const(value.real), to.const(value.imag)))


def _complex(to: _Rewriter, node: Node) -> None:
    re, im = map(str, node.inputs)
    shapes = [to.shape(tensor) for tensor in node.inputs]
    if shapes[0] is None or None in shapes[0] or shapes[0] != shapes[1]:  # one may be stretched to the other
        zeros = [to.add("ZerosLike", [text]) for text in (re, im)]
        re, im = to.add("AddV2", [re, zeros[1]]), to.add("AddV2", [im, zeros[0]])
    to.gives(node, (re, im))


def _cast(to: _Rewriter, node: Node) -> None:
    types = {key: node.definition.attr[key].type for key in ("SrcT", "DstT")}
    source, target = types["SrcT"], types["DstT"]
    parts = to.parts(node.inputs[0]) if source in _REAL else (str(node.inputs[0]), "")
    kinds = {"SrcT": _REAL.get(source, source), "DstT": _REAL.get(target, target)}
    if target not in _REAL:
        to.last(node, "Cast", [parts[0]], **kinds)
        return
    re = to.add("Cast", [parts[0]], types=kinds)
    to.gives(node, (re, to.add("Cast", [parts[1]], types=kinds) if parts[1] else to.add("ZerosLike", [re])))


def _real(to: _Rewriter, node: Node) -> None:
    to.last(node, "Identity", [to.parts(node.inputs[0])[0 if node.op == "Real" else 1]])


def _conj(to: _Rewriter, node: Node) -> None:
    re, im = to.parts(node.inputs[0])
    to.gives(node, (re, to.add("Neg", [im])))


def _abs(to: _Rewriter, node: Node) -> None:
    """The larger part times what is left, which no square overflows."""
    re, im = (to.add("Abs", [part]) for part in to.parts(node.inputs[0]))
    large, small = to.add("Maximum", [re, im]), to.add("Minimum", [re, im])
    tiny = to.const(np.finfo(DTYPES[to.dtype]).tiny)
    ratio = to.add("RealDiv", [small, to.add("Maximum", [large, tiny])])
    root = to.add("Sqrt", [to.add("AddV2", [to.add("Mul", [ratio, ratio]), to.const(1)])])
    to.last(node, "Mul", [large, root])


def _angle(to: _Rewriter, node: Node) -> None:
    re, im = to.parts(node.inputs[0])
    to.last(node, "Atan2", [im, re])


def _product(to: _Rewriter, one: Parts, other: Parts) -> Parts:
    (a, b), (c, d) = one, other
    re = to.add("Sub", [to.add("Mul", [a, c]), to.add("Mul", [b, d])])
    return re, to.add("AddV2", [to.add("Mul", [a, d]), to.add("Mul", [b, c])])


def _mul(to: _Rewriter, node: Node) -> None:
    one, other = (to.parts(tensor) for tensor in node.inputs)
    to.gives(node, _product(to, one, other))


def _square(to: _Rewriter, node: Node) -> None:
    parts = to.parts(node.inputs[0])
    to.gives(node, _product(to, parts, parts))


def _div(to: _Rewriter, node: Node) -> None:
    """With the divisor scaled by its larger part, so that no square overflows."""
    (a, b), (c, d) = (to.parts(tensor) for tensor in node.inputs)
    scale = to.add("Maximum", [to.add("Abs", [c]), to.add("Abs", [d])])
    c1, d1 = (to.add("RealDiv", [part, scale]) for part in (c, d))
    divisor = to.add("AddV2", [to.add("Mul", [c, c1]), to.add("Mul", [d, d1])])
    re = to.add("AddV2", [to.add("Mul", [a, c1]), to.add("Mul", [b, d1])])
    im = to.add("Sub", [to.add("Mul", [b, c1]), to.add("Mul", [a, d1])])
    to.gives(node, (to.add("RealDiv", [re, divisor]), to.add("RealDiv", [im, divisor])))


def _exp(to: _Rewriter, node: Node) -> None:
    re, im = to.parts(node.inputs[0])
    size = to.add("Exp", [re])
    to.gives(node, (to.add("Mul", [size, to.add("Cos", [im])]), to.add("Mul", [size, to.add("Sin", [im])])))


def _sizes(to: _Rewriter, node: Node) -> None:
    """What is asked of the shape alone."""
    copy = to.result.node.add()
    copy.CopyFrom(node.definition)
    copy.input[0] = to.parts(node.inputs[0])[0]
    copy.attr["T"].type = to.dtype


def _transform(to: _Rewriter, node: Node) -> None:
    """Along the last axis, or the last two, one after the other."""
    kind = node.op
    axes = 2 if kind.endswith("2D") else 1
    is_real_in, is_real_out, inverse = kind.startswith("RFFT"), kind.startswith("IRFFT"), kind.startswith("I")
    shape = to.shape(node.inputs[0])
    if shape is None or len(shape) < axes:
        raise _Stays("the rank of its input is unknown")
    if is_real_in or is_real_out:
        for key in ("Treal", "Tcomplex"):
            if key in node.definition.attr:
                number = node.definition.attr[key].type
                to.dtype = _REAL.get(number, number)
        lengths = to.constant(node.inputs[1])
        if lengths is None or lengths.size != axes or (lengths < 1).any():
            raise _Stays("its length is computed")
        sizes = [int(size) for size in lengths]
    else:
        sizes = [size or 0 for size in shape[-axes:]]
    if min(sizes) < 1:
        raise _Stays("how long its input is, is unknown")
    source = to.parts(node.inputs[0]) if not is_real_in else (str(node.inputs[0]), "")
    # As TensorFlow: the last axis first, but for what becomes real with it.
    order = [-1, -2][:axes] if not is_real_out else [-2, -1][-axes:]
    for axis in order:
        size, have = sizes[axis], shape[axis]
        halves_in = is_real_out and axis == -1
        wanted = size // 2 + 1 if halves_in else size
        source = _cut_or_longer(to, source, len(shape), axis, have, wanted)
        rows = have if have is not None and have < wanted else wanted
        source = _along(to, source, len(shape), axis, _matrices(size, rows, kind, axis, inverse=inverse))
    if is_real_out:
        to.last(node, "Identity", [source[0]])
    else:
        to.gives(node, source)


def _matrices(
    size: int, rows: int, kind: str, axis: int, *, inverse: bool
) -> tuple[np.ndarray, np.ndarray, bool, bool]:
    """Cosines and sines that a transform multiplies by; whether it takes, and gives, real numbers."""
    takes_real, gives_real = kind.startswith("RFFT") and axis == -1, kind.startswith("IRFFT") and axis == -1
    columns = size // 2 + 1 if takes_real else size
    if rows * columns > _MOST_FACTORS // 2:
        raise _Stays(f"a transform of {size} numbers is faster in TensorFlow")
    turns = (np.outer(np.arange(rows), np.arange(columns)) % size) * (2 * np.pi / size)
    cosines, sines = np.cos(turns), np.sin(turns) if inverse else -np.sin(turns)
    if inverse:
        cosines, sines = cosines / size, sines / size
    if gives_real:  # each bin stands for its mirror image, too, but for the first and the one in the middle
        twice = np.full((rows, 1), 2.0)
        twice[0] = 1
        if size % 2 == 0 and rows == size // 2 + 1:
            twice[-1] = 1
        cosines, sines = cosines * twice, sines * twice
        sines[0] = 0
        if size % 2 == 0 and rows == size // 2 + 1:
            sines[-1] = 0
    return cosines, sines, takes_real, gives_real


def _cut_or_longer(to: _Rewriter, parts: Parts, rank: int, axis: int, have: int | None, wanted: int) -> Parts:
    """The first numbers along an axis; of an open one, filled up with zeros."""
    if have is not None and have <= wanted:
        return parts

    def cut(text: str) -> str:
        if not text:
            return ""
        size = [-1] * rank
        begin = to.whole([0] * rank)
        if have is not None:
            size[axis] = wanted
            return to.add("Slice", [text, begin, to.whole(size)], types={"T": to.dtype, "Index": _INT32})
        # Filled up first: then as many as are wanted are there.
        more = np.zeros((rank, 2), np.int32)
        more[axis, 1] = wanted
        longer = to.add("Pad", [text, to.whole(more)], types={"T": to.dtype, "Tpaddings": _INT32})
        size[axis] = wanted
        return to.add("Slice", [longer, begin, to.whole(size)], types={"T": to.dtype, "Index": _INT32})

    return cut(parts[0]), cut(parts[1])


def _along(
    to: _Rewriter, parts: Parts, rank: int, axis: int, matrices: tuple[np.ndarray, np.ndarray, bool, bool]
) -> Parts:
    """The product along the last axis or, from the left, the one before it."""
    cosines, sines, takes_real, gives_real = matrices

    def times(text: str, matrix: np.ndarray) -> str:
        constant = to.const(matrix if axis == -1 else matrix.T)
        return to.add("MatMul" if rank <= 2 else "BatchMatMulV2", [text, constant] if axis == -1 else [constant, text])

    re, im = (_flat(to, part, rank, back=False) for part in parts)
    if takes_real and axis == -1:
        both = times(re, np.concatenate([cosines, sines], 1))
        halves = to.add("Split", [to.whole(-1), both])
        to.result.node[-1].attr["num_split"].i = 2
        found = (halves, f"{halves}:1")
    elif gives_real:
        found = (to.add("Sub", [times(re, cosines), times(im, sines)]), "")
    else:
        found = (
            to.add("Sub", [times(re, cosines), times(im, sines)]),
            to.add("AddV2", [times(re, sines), times(im, cosines)]),
        )
    return _flat(to, found[0], rank, back=True), _flat(to, found[1], rank, back=True)


def _flat(to: _Rewriter, text: str, rank: int, *, back: bool) -> str:
    """One row as a matrix, or back: a product takes two dimensions at least."""
    if rank > 1 or not text:
        return text
    if back:
        name = to.add("Squeeze", [text])
        to.result.node[-1].attr["squeeze_dims"].list.i.append(0)
        return name
    return to.add("ExpandDims", [text, to.whole(0)], types={"T": to.dtype, "Tdim": _INT32})


# Ops that move numbers about, or add them up: what they do to complex ones they do to each part.
_MOVERS = """
    Add AddV2 AddN Sub Neg Reshape Transpose ExpandDims Squeeze StridedSlice Slice ConcatV2 Concat Pack Unpack Split
    SplitV Tile BroadcastTo ReverseV2 GatherV2 Gather GatherNd Pad MirrorPad Sum Mean Cumsum ZerosLike Select SelectV2
    DepthToSpace SpaceToDepth
"""
_PART_BY_PART = frozenset(_MOVERS.split()) | FORWARDING
TRANSFORMS = frozenset({"FFT", "IFFT", "RFFT", "IRFFT", "FFT2D", "IFFT2D", "RFFT2D", "IRFFT2D"})
_TO_REAL: Mapping[str, _Write] = {"Real": _real, "Imag": _real, "ComplexAbs": _abs, "Angle": _angle}
_OPS: Mapping[str, _Write] = {
    "Const": _const, "Complex": _complex, "Cast": _cast, "Conj": _conj, "Mul": _mul, "Square": _square, "Div": _div,
    "RealDiv": _div, "Exp": _exp, "Shape": _sizes, "Size": _sizes, "Rank": _sizes, **_TO_REAL,
    **dict.fromkeys(TRANSFORMS, _transform),
}  # fmt: skip
# Ops that may have complex numbers in an engine.
OPS = frozenset(_OPS) | _PART_BY_PART
