"""What engines do with numbers, as rules: which nodes are refused, which inputs are watched, what bounds are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from icebreaker.engine.numbers.limits import Judgement, NumberRules, judge
from icebreaker.engine.numbers.ranges import Bounds, ranges
from icebreaker.engine.protocol import GivesWay

NARROW = NumberRules(
    title="Narrow", bits=32, exact={"Div": 24, "Less": 24, "ReduceSum": 24}, saturates=frozenset({"Add"}),
    keeps_float64=False, rounds_division=True, checks_places=False, hides_nan=frozenset({"Relu"}),
)  # fmt: skip
WORK = {"Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b, "Max": max, "Min": min}


def model(nodes: Sequence[Any], *inputs: tuple[str, int, Sequence[int | None]], **constants: Any) -> bytes:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, kind, list(shape)) for name, kind, shape in inputs],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


def judged(op: str, kind: int, constant: Any, rules: NumberRules = NARROW, **attributes: Any) -> Judgement:
    node = helper.make_node(op, ["x", "c"], ["y"], name="n", **attributes)
    return judge(model([node], ("x", kind, [None]), c=constant), rules)


def codes(found: Judgement) -> set[str]:
    return {why.code for why in found.refusals.values()}


def test_whole_numbers_wider_than_the_engine_are_watched_and_refused_where_they_grow() -> None:
    plain = judged("Add", TensorProto.INT64, np.int64(1))
    assert not plain.refusals
    plain.watch([np.int64([1, 2])])
    with pytest.raises(GivesWay) as raised:
        plain.watch([np.int64([2**40])])
    assert raised.value.code == "numbers_beyond_engine"
    assert codes(judged("Add", TensorProto.INT64, np.int64(2**40))) == {"whole_numbers_in_32_bits"}


def test_what_is_computed_in_floats_is_watched_up_to_where_they_are_exact() -> None:
    found = judged("Div", TensorProto.INT32, np.int32(3))
    assert not found.refusals
    found.watch([np.int32([-(2**24), 2**24])])
    with pytest.raises(GivesWay):
        found.watch([np.int32([2**24 + 1])])


def test_a_comparison_with_a_small_number_is_exact() -> None:
    found = judged("Less", TensorProto.INT32, np.int32(1000))
    found.watch([np.int32([2**31 - 1])])
    with pytest.raises(GivesWay):
        judged("Less", TensorProto.INT32, np.int32(2**24 + 1)).watch([np.int32([2**31 - 1])])


def test_small_types_must_not_reach_their_end() -> None:
    assert codes(judged("Add", TensorProto.UINT8, np.uint8(1))) == {"whole_numbers_saturate"}
    assert not judged("Add", TensorProto.INT32, np.int32(1)).refusals  # which wrap around


def test_float64_division_by_what_may_be_zero_and_steps_after_a_division_are_refused() -> None:
    assert codes(judged("Add", TensorProto.DOUBLE, 1.0)) == {"float64_in_32_bits"}
    division = helper.make_node("Div", ["c", "x"], ["y"], name="n")
    found = judge(model([division], ("x", TensorProto.INT32, [None]), c=np.int32(5)), NARROW)
    assert codes(found) == {"division_by_zero_missed"}
    nodes = [helper.make_node("Div", ["x", "c"], ["q"], name="d"), helper.make_node("Floor", ["q"], ["y"], name="f")]
    found = judge(model(nodes, ("x", TensorProto.FLOAT, [None]), c=np.float32(41)), NARROW)
    assert {name: why.code for name, why in found.refusals.items()} == {"f": "quotient_rounded"}


def test_shapes_are_small_whatever_is_computed_with_them() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], name="shape"),
        helper.make_node("Mul", ["s", "s"], ["m"], name="mul"),
        helper.make_node("Div", ["m", "c"], ["y"], name="div"),
    ]
    assert not judge(model(nodes, ("x", TensorProto.FLOAT, [None]), c=np.int64([3])), NARROW).refusals


def test_a_row_that_a_table_does_not_have_is_left_to_tensorflow() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], name="cast", to=TensorProto.INT64),
        helper.make_node("Gather", ["c", "i"], ["y"], name="gather"),
    ]
    watch = judge(model(nodes, ("x", TensorProto.INT32, [None]), c=np.zeros((10, 2), np.float32)), NARROW).watch
    watch([np.int32([0, 9])])
    for row in (10, -1):
        with pytest.raises(GivesWay):
            watch([np.int32([row])])


def test_a_nan_is_looked_for_where_it_would_be_lost() -> None:
    nodes = {op: [helper.make_node(op, ["x"], ["y"], name="n")] for op in ("Relu", "Neg")}
    watches = {op: judge(model(made, ("x", TensorProto.FLOAT, [None])), NARROW).watch for op, made in nodes.items()}
    values = [np.float32([1, np.nan, np.inf])]
    watches["Neg"](values)
    with pytest.raises(GivesWay) as raised:
        watches["Relu"](values)
    assert raised.value.code == "nan_beyond_engine"


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(WORK)), st.integers(-100, 100), st.integers(-100, 100), st.integers(0, 50),
    st.integers(0, 50), st.integers(0, 50), st.integers(0, 50),
)  # fmt: skip
def test_bounds_hold(op: str, a: int, b: int, up: int, at: int, wide: int, place: int) -> None:
    """What two numbers within bounds give is within the bounds that are found."""
    node = helper.make_node(op, ["x", "c"], ["y"])
    constant = numpy_helper.from_array(np.array([b, b + wide], np.int64), "c")
    entry = helper.make_tensor_value_info("x", TensorProto.INT64, [None])
    graph = helper.make_graph([node], "g", [entry], [helper.make_empty_tensor_value_info("y")], [constant])
    kinds = dict.fromkeys("xcy", np.dtype(np.int64))
    found = ranges(graph, kinds, {}, Bounds(a, a + up)).bounds["y"]
    value = WORK[op](min(a + at, a + up), min(b + place, b + wide))
    assert found.low <= value <= found.high
