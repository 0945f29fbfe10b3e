"""NaNs that arise within a model: who may make one, and where an engine would lose it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from icebreaker.engine.numbers.limits import Judgement, NumberRules, judge
from icebreaker.engine.protocol import GivesWay

RULES = NumberRules(title="Forgetful", hides_nan=frozenset({"Relu", "Softmax"}))
Steps = Sequence[tuple[str, Sequence[str], str]]


def judged(steps: Steps, **constants: Any) -> Judgement:
    """What is said of a model of steps (op, inputs, output) from x and z to y."""
    nodes = [helper.make_node(op, list(inputs), [output], name=output) for op, inputs, output in steps]
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4]) for name in ("x", "z")]
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", floats, [helper.make_empty_tensor_value_info("y")], made)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    return judge(whole.SerializeToString(), RULES)


ONE, ZERO, TINY = np.float32(1), np.float32(0), np.float32(1e-3)
LOST: dict[str, tuple[Steps, dict[str, Any]]] = {
    "0 / 0": ([("Div", "xz", "a"), ("Relu", "a", "y")], {}),
    "further on": ([("Div", "xz", "a"), ("Add", "ax", "b"), ("Neg", "b", "d"), ("Relu", "d", "y")], {}),
    "a logarithm": ([("Log", "x", "a"), ("Softmax", "a", "y")], {}),
    "a root": ([("Sqrt", "x", "a"), ("Relu", "a", "y")], {}),
    "an arcsine": ([("Asin", "x", "a"), ("Relu", "a", "y")], {}),
    "a power": ([("Pow", "xc", "a"), ("Relu", "a", "y")], {"c": np.float32(0.5)}),
    "∞ - ∞": ([("Reciprocal", "x", "p"), ("Reciprocal", "z", "q"), ("Sub", "pq", "a"), ("Relu", "a", "y")], {}),
    "0 · ∞": ([("Reciprocal", "x", "p"), ("Mul", "pz", "a"), ("Relu", "a", "y")], {}),
    "a constant ∞": ([("Mul", "xc", "a"), ("Relu", "a", "y")], {"c": np.float32(-np.inf)}),
    "∞ / ∞": ([("Exp", "x", "p"), ("Add", "pc", "q"), ("Div", "pq", "a"), ("Relu", "a", "y")], {"c": ONE}),
}
KEPT: dict[str, tuple[Steps, dict[str, Any]]] = {
    "nothing loses it": ([("Div", "xz", "a"), ("Add", "ax", "y")], {}),
    "a constant divisor": ([("Div", "xc", "a"), ("Relu", "a", "y")], {"c": np.float32([1, -2, 3, 4])}),
    "a norm": (
        [
            ("Mul", "xx", "p"),
            ("ReduceSum", "pi", "q"),
            ("Max", "qc", "r"),
            ("Sqrt", "r", "s"),
            ("Div", "xs", "a"),
            ("Relu", "a", "y"),
        ],
        {"i": np.int64([1]), "c": np.float32(1e-12)},
    ),
    "a deviation": (
        [
            ("Sub", "xz", "d"),
            ("Mul", "dd", "p"),
            ("ReduceMean", "pi", "q"),
            ("Add", "qc", "r"),
            ("Sqrt", "r", "s"),
            ("Reciprocal", "s", "t"),
            ("Mul", "dt", "a"),
            ("Relu", "a", "y"),
        ],
        {"i": np.int64([1]), "c": TINY},
    ),
    "a guard": (
        [("Equal", "zc", "w"), ("Where", "woz", "d"), ("Div", "xd", "a"), ("Relu", "a", "y")],
        {"c": ZERO, "o": ONE},
    ),
    "another guard": (
        [("Greater", "zc", "w"), ("Where", "wzo", "d"), ("Log", "d", "a"), ("Relu", "a", "y")],
        {"c": ZERO, "o": ONE},
    ),
    "a softmax": (
        [
            ("ReduceMax", "xi", "m"),
            ("Sub", "xm", "p"),
            ("Exp", "p", "e"),
            ("ReduceSum", "ei", "q"),
            ("Div", "eq", "a"),
            ("Relu", "a", "y"),
        ],
        {"i": np.int64([1])},
    ),
    "a sigmoid": (
        [("Neg", "x", "p"), ("Exp", "p", "e"), ("Add", "ec", "q"), ("Div", "cq", "a"), ("Relu", "a", "y")],
        {"c": ONE},
    ),
    "boxes": (
        [
            ("MatMul", "xk", "p"),
            ("Exp", "p", "e"),
            ("Sub", "xe", "q"),
            ("Add", "xe", "r"),
            ("Sub", "rq", "a"),
            ("Relu", "a", "y"),
        ],
        {"k": np.eye(4, dtype="f")},
    ),
}


@pytest.mark.parametrize("case", LOST)
def test_what_may_make_a_nan_that_is_lost_is_refused_alone(case: str) -> None:
    steps, constants = LOST[case]
    found = judged(steps, **constants)
    assert {why.code for why in found.refusals.values()} == {"nan_made_and_lost"}
    assert len(found.refusals) == 1


@pytest.mark.parametrize("case", KEPT)
def test_what_makes_none_is_not(case: str) -> None:
    steps, constants = KEPT[case]
    assert not judged(steps, **constants).refusals


def test_infinities_that_would_become_a_nan_are_watched() -> None:
    weights = {"k": np.ones((4, 4), "f")}
    dense = judged([("MatMul", "xk", "a"), ("Relu", "a", "y")], **weights)
    dense.watch([np.ones((2, 4), "f"), np.full((1, 4), 3e38, "f")])
    with pytest.raises(GivesWay) as raised:
        dense.watch([np.float32([[np.inf, 1, 1, 1]]), np.ones((1, 4), "f")])
    assert raised.value.code == "infinity_beyond_engine"
    judged([("Neg", "x", "a"), ("Relu", "a", "y")]).watch([np.full((1, 4), np.inf, "f")] * 2)
