"""Recognizes the equations of an LSTM, a GRU or a plain RNN in the body of a loop, whatever wrote them.

Each gate is an activation of a sum of products with constants. Sums are read as such, in any order and however they
are split up: as one product that is split into gates, or one product for each; of the input and the state apart or side
by side; with the bias at either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal, NamedTuple

import numpy as np

from icebreaker.export.constants import evaluated, sliced
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor

Kind = Literal["LSTM", "GRU", "RNN"]
_ACTIVATIONS = frozenset({"Sigmoid", "Tanh", "Relu"})
_SUMS = frozenset({"Add", "AddV2", "BiasAdd"})


@dataclass(frozen=True)
class Leaf:
    """What a body reads: the input of this step (`x`), a state (`h` and its number)."""

    kind: Literal["x", "h"]
    index: int = 0


@dataclass(frozen=True)
class _Term:
    """A product with `matrix`, or (`kind` is `b`) a constant that is added; of `rh`, `gate` times the state."""

    kind: Literal["x", "h", "rh", "b"]
    matrix: np.ndarray
    index: int = 0
    gate: Tensor | None = None

    def columns(self, low: int, high: int) -> _Term:
        """The part of it that some columns of the sum come from."""
        shared = self.kind == "b" and self.matrix.size == 1
        return self if shared else replace(self, matrix=self.matrix[..., low:high])


@dataclass(frozen=True)
class Cell:
    """A cell in ONNX's form.

    Attributes:
        kind: The ONNX op.
        states: Numbers of the states, `h` first.
        weights: What the input is multiplied by: gates × units, inputs.
        recurrent: What the state is multiplied by: gates × units, units.
        bias: What is added: those of the input, then those of the state.
        activations: As ONNX's attribute.
        linear_before_reset: As ONNX's attribute of a GRU.
    """

    kind: Kind
    states: tuple[int, ...]
    weights: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray
    activations: tuple[str, ...]
    linear_before_reset: int = 0

    @property
    def units(self) -> int:
        """How many numbers its state has."""
        return self.recurrent.shape[1]


class _Sum(NamedTuple):
    """What an activation is of: a tensor, or a part of what is activated as a whole."""

    tensor: Tensor
    activated: bool = False


class _NoMatch(Exception):
    """These equations are others."""


class CellFinder:
    """Looks for cells in the body of one loop."""

    def __init__(
        self, body: Graph, leaf: Callable[[Tensor], Leaf | None], constant: Callable[[Tensor], np.ndarray | None]
    ) -> None:
        """Looks at nothing yet.

        Args:
            body: The body.
            leaf: What a tensor of the body is, if it comes from outside and changes from step to step.
            constant: The value of a tensor of the body that comes from outside, or is a constant.
        """
        self._body, self._leaf, self._constant = body, leaf, constant
        self._units = 0

    def find(self, states: dict[int, Tensor]) -> Cell | None:
        """The cell that gives these tensors as the new states; None if it is none that ONNX has."""
        finders: list[tuple[int, Callable[..., Cell]]] = [(2, self._lstm)] if len(states) == 2 else []
        if len(states) == 1:
            finders = [(1, self._gru), (1, self._rnn)]
        for units in self._possible_units():
            self._units = units
            for count, find in finders:
                for order in permutations(states, count):
                    try:
                        return find(order, [self.plain(states[index]) for index in order])
                    except _NoMatch:
                        continue
        return None

    def plain(self, tensor: Tensor) -> Tensor:
        """The tensor that is handed on."""
        while (node := self._body[tensor.node]).op == "Identity" and self._leaf(tensor) is None:
            tensor = node.inputs[0]
        return tensor

    def _possible_units(self) -> Iterator[int]:
        """Sizes of the state that the products speak of."""
        seen: dict[int, None] = {}
        for node in self._body:
            if node.op == "MatMul" and (matrix := self._value(node.inputs[1])) is not None and matrix.ndim == 2:
                size = matrix.shape[0 if node.attrs.get("transpose_b") else 1]
                seen.update(dict.fromkeys(size // parts for parts in (4, 3, 2, 1) if size % parts == 0))
        yield from filter(None, seen)

    def _lstm(self, order: tuple[int, ...], new: list[Tensor]) -> Cell:
        h, c = order
        out = self._factors(new[0])
        last = [self._activation(factor, fails=False) for factor in out]
        place = next((index for index, (name, inner) in enumerate(last) if name and inner == _Sum(new[1])), None)
        if place is None:
            raise _NoMatch
        after, (first, o) = last[place][0], self._activation(out[1 - place])
        kept, added = self._kept_and_added(new[1], c)
        second, f = self._activation(kept)
        if second != first:
            raise _NoMatch
        pair = [self._activation(factor) for factor in self._factors(added)]
        if pair[0][0] != first:
            pair.reverse()
        (third, i), (cell, g) = pair
        if third != first:
            raise _NoMatch
        parts = [self._gate(inner, h) for inner in (i, o, f, g)]
        return self._cell("LSTM", (h, c), parts, (first, cell, after))

    def _gru(self, order: tuple[int, ...], new: list[Tensor]) -> Cell:
        """Finds z · h + (1 - z) · n."""
        (h,) = order
        kept, added = self._kept_and_added(new[0], h)
        factors = self._factors(added)
        nodes = [self._body[factor.node] for factor in factors]
        rest = [node.op == "Sub" and self.plain(node.inputs[1]) == kept for node in nodes]
        if not any(rest) or not self._is_number(nodes[rest.index(True)].inputs[0], (1,)):
            raise _NoMatch
        first, z = self._activation(kept)
        second, n = self._activation(factors[1 - rest.index(True)])
        try:
            inner = self._sum(n)
        except _NoMatch:
            outer, after, product = self._reset_after(n.tensor, h)
            linear = 1
        else:
            products = [term for term in inner if term.kind == "rh"]
            if len(products) != 1:
                raise _NoMatch
            product, outer = products[0], [term for term in inner if term.kind != "rh"]
            after, linear = [replace(product, kind="h")], 0
        assert product.gate is not None  # noqa: S101 - of both kinds
        third, r = self._activation(product.gate)
        if third != first or product.index != h:
            raise _NoMatch
        parts = [self._gate(z, h), self._gate(r, h), self._parts(outer, after, h)]
        return self._cell("GRU", (h,), parts, (first, second), linear)

    def _reset_after(self, n: Tensor, h: int) -> tuple[list[_Term], list[_Term], _Term]:
        """Of x·W + b + r · (h·R + b'): the terms without r, those that r is multiplied with, and one with r."""
        node = self._body[n.node]
        if node.op not in _SUMS:
            raise _NoMatch
        for rest, product in (node.inputs, node.inputs[::-1]):
            factors = self._factors(self.plain(product), fails=False)
            for gate, inner in (factors, factors[::-1]) if factors else ():
                if not self._activation(gate, fails=False)[0]:
                    continue
                after = self._sum(_Sum(inner))
                if all(term.kind == "b" or (term.kind == "h" and term.index == h) for term in after):
                    return self._sum(_Sum(rest)), after, _Term("rh", np.empty(0), h, gate)
        raise _NoMatch

    def _rnn(self, order: tuple[int, ...], new: list[Tensor]) -> Cell:
        (h,) = order
        name, inner = self._activation(new[0])
        return self._cell("RNN", (h,), [self._gate(inner, h)], (name,))

    def _cell(
        self, kind: Kind, states: tuple[int, ...], parts: list[tuple[np.ndarray, ...]], activations: tuple[str, ...],
        linear_before_reset: int = 0,
    ) -> Cell:  # fmt: skip
        if len({part[0].shape[0] for part in parts}) > 1:
            raise _NoMatch
        weights, recurrent, inputs, states_bias = (
            np.concatenate([part[index].T if part[index].ndim == 2 else part[index] for part in parts])
            for index in range(4)
        )
        bias = np.concatenate([inputs, states_bias])
        if any(item.dtype != np.float32 for item in (weights, recurrent, bias)):
            raise _NoMatch
        return Cell(kind, states, weights, recurrent, bias, activations, linear_before_reset)

    def _gate(self, inner: _Sum, h: int) -> tuple[np.ndarray, ...]:
        """Matrices of input and state, and their biases, that make the sum that a gate is."""
        terms = self._sum(inner)
        return self._parts(
            [term for term in terms if term.kind != "h"], [term for term in terms if term.kind == "h"], h
        )

    def _parts(self, outer: list[_Term], inner: list[_Term], h: int) -> tuple[np.ndarray, ...]:
        units, zeros = self._units, np.zeros(self._units, np.float32)
        found: dict[str, np.ndarray] = {}
        biases = {"x": zeros, "h": zeros}
        for side, terms in (("x", outer), ("h", inner)):
            for term in terms:
                if term.kind == "b":
                    if term.matrix.size not in (1, units):
                        raise _NoMatch
                    biases[side] = biases[side] + term.matrix.reshape(-1)
                    continue
                if term.kind != side or side in found or (side == "h" and term.index != h):
                    raise _NoMatch
                found[side] = term.matrix
        if set(found) != {"x", "h"} or found["h"].shape != (units, units) or found["x"].shape[1] != units:
            raise _NoMatch
        return found["x"], found["h"], biases["x"], biases["h"]

    def _sum(self, whole: _Sum) -> list[_Term]:
        """A tensor as a sum of products with constants, and constants."""
        tensor = self.plain(whole.tensor)
        node = self._body[tensor.node]
        if (value := self._value(tensor)) is not None:
            if value.ndim > 1 and value.size != value.shape[-1]:
                raise _NoMatch
            return [_Term("b", value)]
        if node.op in _SUMS and not str(node.attrs.get("data_format") or "NHWC").startswith("NC"):
            return [*self._sum(_Sum(node.inputs[0])), *self._sum(_Sum(node.inputs[1]))]
        if node.op == "MatMul":
            return self._product(tensor)
        if node.op in ("Split", "SplitV"):
            source, axis = node.inputs[1 if node.op == "Split" else 0], node.inputs[0 if node.op == "Split" else 2]
            if not self._is_number(axis, (1, -1)):
                raise _NoMatch
            terms = self._sum(self._activation(self.plain(source))[1] if whole.activated else _Sum(source))
            count, width = int(node.attrs["num_split"]), self._width(terms)
            sizes = self._value(node.inputs[1]) if node.op == "SplitV" else np.full(count, width // count)
            if sizes is None or (sizes < 0).any():
                raise _NoMatch
            ends = np.cumsum(sizes)
            return [term.columns(int(ends[tensor.port] - sizes[tensor.port]), int(ends[tensor.port])) for term in terms]
        if node.op == "StridedSlice":
            values = [self._value(item) for item in node.inputs[1:]]
            terms = self._sum(_Sum(node.inputs[0]))
            width = self._width(terms)
            if any(value is None or len(value) != 2 for value in values):
                raise _NoMatch
            place = sliced(node, *values, (1, width))
            if place is None or place[0] != slice(None, None, 1) or not isinstance(place[1], slice):
                raise _NoMatch
            low, high, step = place[1].indices(width)
            if step != 1:
                raise _NoMatch
            return [term.columns(low, high) for term in terms]
        raise _NoMatch

    def _product(self, tensor: Tensor) -> list[_Term]:
        node = self._body[tensor.node]
        matrix = self._value(node.inputs[1])
        if matrix is None or matrix.ndim != 2 or node.attrs.get("transpose_a"):
            raise _NoMatch
        if node.attrs.get("transpose_b"):
            matrix = matrix.T
        left = self.plain(node.inputs[0])
        joined = self._body[left.node]
        if joined.op == "ConcatV2" and self._leaf(left) is None:
            if not self._is_number(joined.inputs[-1], (1, -1)) or len(joined.inputs) != 3:
                raise _NoMatch
            kinds = [self._factor(item) for item in joined.inputs[:2]]
            known = [self._units if kind != "x" else matrix.shape[0] - self._units for kind, *_ in kinds]
            if sum(known) != matrix.shape[0]:
                raise _NoMatch
            rows = (matrix[: known[0]], matrix[known[0] :])
            return [_Term(kind, part, index, gate) for (kind, index, gate), part in zip(kinds, rows, strict=True)]
        kind, index, gate = self._factor(left)
        return [_Term(kind, matrix, index, gate)]

    def _factor(self, tensor: Tensor) -> tuple[Literal["x", "h", "rh"], int, Tensor | None]:
        """What is multiplied by a matrix: the input, a state, or a gate times a state."""
        tensor = self.plain(tensor)
        if (leaf := self._leaf(tensor)) is not None:
            return leaf.kind, leaf.index, None
        for gate, state in permutations(self._factors(tensor)):
            if (leaf := self._leaf(state)) is not None and leaf.kind == "h" and self._leaf(gate) is None:
                return "rh", leaf.index, gate
        raise _NoMatch

    def _kept_and_added(self, tensor: Tensor, state: int) -> tuple[Tensor, Tensor]:
        """Of `a · state + b`: a and b."""
        node = self._body[tensor.node]
        if node.op not in _SUMS:
            raise _NoMatch
        for product, rest in permutations([self.plain(item) for item in node.inputs]):
            for factor, other in permutations(self._factors(product, fails=False)):
                if self._leaf(other) == Leaf("h", state) and self._leaf(factor) is None:
                    return factor, rest
        raise _NoMatch

    def _factors(self, tensor: Tensor, *, fails: bool = True) -> list[Tensor]:
        node = self._body[tensor.node]
        if node.op == "Mul" and self._leaf(tensor) is None:
            return [self.plain(item) for item in node.inputs]
        if fails:
            raise _NoMatch
        return []

    def _activation(self, tensor: Tensor, *, fails: bool = True) -> tuple[str, _Sum]:
        node = self._body[tensor.node]
        if node.op in _ACTIVATIONS:
            return node.op, _Sum(self.plain(node.inputs[0]))
        if node.op == "Split" and (whole := self._body[self.plain(node.inputs[1]).node]).op in _ACTIVATIONS:
            return whole.op, _Sum(tensor, activated=True)
        if fails:
            raise _NoMatch
        return "", _Sum(tensor)

    def _is_number(self, tensor: Tensor, numbers: tuple[int, ...]) -> bool:
        value = self._value(tensor)
        return value is not None and value.size == 1 and value.item() in numbers

    def _width(self, terms: list[_Term]) -> int:
        return max((term.matrix.shape[-1] for term in terms if term.matrix.ndim), default=0)

    def _value(self, tensor: Tensor) -> np.ndarray | None:
        return evaluated(self._body, tensor, self._constant)
