"""Where NaNs arise within an ONNX model (0 / 0, ∞ - ∞, the logarithm of -1), and whether an engine loses them then.

What comes from outside is looked at before each call; what arises within is seen by nobody. So a node that may make a
NaN which the engine would lose (its Relu gives 0) stays in TensorFlow: what it gives then comes from outside.

Numbers are taken to be finite unless something makes them infinite: a division by zero, the logarithm of zero, the
exponential of what was not computed with weights. That a sum or a product overflows is not thought of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from icebreaker.engine.numbers.ranges import ANYTHING, Bounds, Ranges

_OVERFLOWS = 88.0  # its exponential is infinite in 32 bits
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "LSTM", "GRU", "RNN"})
# Layers of networks: nobody gives them infinities who does not feed such.
_LAYERS = _WEIGHTED | {"BatchNormalization", "InstanceNormalization", "LayerNormalization", "LRN", "Resize"}
# Ops that make a NaN of an infinity, whatever the other numbers are.
_BREAK = _WEIGHTED | {
    "Sin", "Cos", "Tan", "Softsign", "LRN", "BatchNormalization", "InstanceNormalization",
    "LayerNormalization", "ReduceLogSumExp", "Mish", "HardSwish", "Gelu", "Resize",
}  # fmt: skip
_SUMS = frozenset({"ReduceSum", "ReduceMean", "CumSum", "AveragePool", "GlobalAveragePool", "ReduceProd"})
_BELOW: Mapping[str, float] = {"Log": 0, "Sqrt": 0, "Acosh": 1}  # op → below this it makes NaNs
_WITHIN_ONE = frozenset({"Asin", "Acos", "Atanh"})
_MOST = 3e38
_BOTH = frozenset({1, -1})
# Ops that may turn the sign of an infinity.
_TURN = _WEIGHTED | {"Mul", "Sub", "Neg", "Pow", "ReduceProd"}


def origins(graph: Any, found: Ranges, loses: Collection[str], *, from_infinity: bool = False) -> frozenset[str]:
    """The nodes that may make a NaN which is lost.

    Args:
        graph: The GraphProto, its nodes in topological order.
        found: What is known of its numbers.
        loses: Ops that give a number for a NaN.
        from_infinity: Whether infinite numbers come in.
    """
    return _Search(graph, found, loses, from_infinity).run()


class _Search:
    def __init__(self, graph: Any, found: Ranges, loses: Collection[str], from_infinity: bool) -> None:
        self._nodes, self._found, self._loses = graph.node, found, loses
        self._makers = {name: node for node in self._nodes for name in node.output}
        inputs = [item.name for item in graph.input]
        # Tensor → the signs of the infinities that may be in it.
        self._infinite = {name: _BOTH for name in inputs if from_infinity and self._is_float(name)}
        self._infinite |= dict.fromkeys(found.infinite, _BOTH)
        self._nans: dict[str, frozenset[str]] = {}  # tensor → the nodes whose NaNs may be in it
        self._weighted: set[str] = set()
        self._from_infinity = from_infinity

    def run(self) -> frozenset[str]:
        lost: frozenset[str] = frozenset()
        if not any(node.op_type in self._loses for node in self._nodes):
            return lost
        for node in self._nodes:
            reads = [name for name in node.input if name and self._is_float(name)]
            own = frozenset([node.name]) if self._makes_nan(node) else frozenset[str]()
            given = own.union(*(self._nans.get(name, frozenset()) for name in reads))
            if node.op_type in self._loses:
                lost |= given
                given = frozenset()
            signs = self._infinities(node)
            is_weighted = node.op_type in _WEIGHTED or any(name in self._weighted for name in reads)
            for name in node.output:
                if not name or not self._is_float(name):
                    continue
                if given:
                    self._nans[name] = given
                bounds = self._bounds(name)
                if held := signs - ({1} if bounds.high <= _MOST else set()) - ({-1} if bounds.low >= -_MOST else set()):
                    self._infinite[name] = held
                if is_weighted:
                    self._weighted.add(name)
        return lost

    def _is_float(self, name: str) -> bool:
        kind = self._found.dtypes.get(name)
        return kind is None or np.dtype(kind).kind == "f"

    def _bounds(self, name: str) -> Bounds:
        return self._found.bounds.get(name, ANYTHING)

    def _may_be_zero(self, name: str) -> bool:
        bounds = self._bounds(name)
        if name in self._found.without_zero:
            return False
        is_free = bounds.low <= 0 <= bounds.high and not self._is_guarded(name, ("Equal", "Greater"))
        return is_free and not self._is_sum_with_one(name) and not self._is_number_or_nan(name)

    def _is_number_or_nan(self, name: str) -> bool:
        """Whether a tensor is a NaN that came in, or else something that is not 0: so FakeQuant keeps its NaNs."""
        choice = self._maker(name, "Where")
        condition = None if choice is None else self._maker(choice.input[0], "IsNaN")
        if choice is None or condition is None or condition.input[0] != choice.input[1]:
            return False
        instead = self._bounds(choice.input[2])
        return instead.low > 0 or instead.high < 0

    def _is_guarded(self, name: str, by: tuple[str, ...]) -> bool:
        """Whether a tensor is x where x > 0, or where it is not 0, and elsewhere something that is not."""
        choice = self._maker(name, "Where")
        condition = self._makers.get(choice.input[0]) if choice is not None else None
        if choice is None or condition is None or condition.op_type not in by or len(condition.input) != 2:
            return False
        kept, other = (2, 1) if condition.op_type == "Equal" else (1, 2)
        limit, instead = self._bounds(condition.input[1]), self._bounds(choice.input[other])
        has_limit = limit.low == limit.high == 0 if condition.op_type == "Equal" else limit.low >= 0
        return condition.input[0] == choice.input[kept] and has_limit and (instead.low > 0 or instead.high < 0)

    def _maker(self, name: str, op: str) -> Any:
        node = self._makers.get(name)
        return node if node is not None and node.op_type == op else None

    def _is_shifted(self, name: str) -> bool:
        """Whether a tensor is x - max(x), which is 0 somewhere and never more."""
        shift = self._maker(name, "Sub")
        largest = None if shift is None else self._maker(shift.input[1], "ReduceMax")
        return shift is not None and largest is not None and largest.input[0] == shift.input[0]

    def _is_sum_with_one(self, name: str) -> bool:
        """Whether a tensor is the sum in a softmax that is written out: one of its terms is 1."""
        total = self._maker(name, "ReduceSum")
        power = None if total is None else self._maker(total.input[0], "Exp")
        if total is None or power is None or not self._is_shifted(power.input[0]):
            return False
        largest = self._makers[self._makers[power.input[0]].input[1]]
        return [self._bounds(axes) for axes in total.input[1:]] == [self._bounds(axes) for axes in largest.input[1:]]

    def _may_be(self, sign: int, name: str) -> bool:
        """Whether a tensor may hold the infinity of a sign."""
        return sign in self._infinite.get(name, ())

    def _makes_nan(self, node: Any) -> bool:
        op, inputs = node.op_type, [name for name in node.input if name]
        if not inputs or not self._is_float(inputs[0]):
            return False
        first = self._bounds(inputs[0])
        if op in _BELOW:
            return first.low < _BELOW[op] and not self._is_guarded(inputs[0], ("Greater",))
        if op in _WITHIN_ONE:
            return not first.within(-1, 1)
        if op in _BREAK:
            return (self._from_infinity or op not in _LAYERS) and any(name in self._infinite for name in inputs)
        if op in ("Softmax", "LogSoftmax"):  # minus infinity is how places are masked
            return self._may_be(1, inputs[0])
        if op in _SUMS:
            return self._may_be(1, inputs[0]) and self._may_be(-1, inputs[0])
        rule = _OF_TWO.get(op)
        return rule is not None and len(inputs) > 1 and rule(self, inputs[0], inputs[1])

    def _infinities(self, node: Any) -> frozenset[int]:
        """The signs of the infinities that a node may give, its outputs' bounds aside."""
        op, inputs = node.op_type, [name for name in node.input if name]
        given = frozenset[int]().union(*(self._infinite.get(name, frozenset()) for name in inputs))
        if not inputs:
            return given
        first = self._bounds(inputs[0])
        if op in ("Exp", "Sinh", "Cosh"):
            is_small = inputs[0] in self._weighted or first.high <= _OVERFLOWS or self._is_shifted(inputs[0])
            return given if is_small else _BOTH
        if op == "Log":
            return given & {1} | ({-1} if first.low <= 0 else frozenset())
        if op == "Reciprocal":
            return _BOTH if self._may_be_zero(inputs[0]) else frozenset()
        if op == "Div":
            return _BOTH if self._may_be_zero(inputs[1]) or inputs[0] in self._infinite else frozenset()
        if op == "Pow" and self._bounds(inputs[1]).low < 0 and self._may_be_zero(inputs[0]):
            return _BOTH
        return _BOTH if given and op in _TURN else given

    def zero_by_zero(self, one: str, other: str) -> bool:
        both = one in self._infinite and other in self._infinite
        return both or (self._may_be_zero(one) and self._may_be_zero(other))

    def rest_of_nothing(self, one: str, other: str) -> bool:
        return one in self._infinite or self._may_be_zero(other)

    def zero_times_infinity(self, one: str, other: str) -> bool:
        pairs = ((one, other), (other, one)) if one != other else ()
        return any(a in self._infinite and self._may_be_zero(b) for a, b in pairs)

    def opposite(self, one: str, other: str) -> bool:
        return any(self._may_be(sign, one) and self._may_be(-sign, other) for sign in (1, -1))

    def alike(self, one: str, other: str) -> bool:
        return any(self._may_be(sign, one) and self._may_be(sign, other) for sign in (1, -1))

    def broken_power(self, one: str, other: str) -> bool:
        power = self._bounds(other)
        return self._bounds(one).low < 0 and not (power.low == power.high and float(power.low).is_integer())


_OF_TWO: Mapping[str, Callable[[_Search, str, str], bool]] = {
    "Div": _Search.zero_by_zero, "Mod": _Search.rest_of_nothing, "Mul": _Search.zero_times_infinity,
    "Add": _Search.opposite, "Sum": _Search.opposite, "Sub": _Search.alike, "Pow": _Search.broken_power,
}  # fmt: skip
