"""What the outputs need of a graph, and no more; calls of functions."""

from typing import Any

import numpy as np
import pytest

from icebreaker import original, safety
from icebreaker.graph import Graph, Tensor
from icebreaker.protos import GraphDef
from icebreaker.rewrite import inline_functions, prune


def graph(*nodes: tuple[str, str, str]) -> Graph:
    definition = GraphDef()
    for name, op, inputs in nodes:
        definition.node.add(name=name, op=op, input=inputs.split())
    return Graph(definition)


def test_waiting_for_constants_does_not_keep_them():
    whole = graph(
        ("x", "Placeholder", ""),
        ("weight", "Const", ""),
        ("weight/read", "Identity", "weight"),
        ("bias", "Const", ""),
        ("y", "MatMul", "x weight/read"),
        ("all_read", "NoOp", "^weight/read ^bias"),
        ("out", "Identity", "y ^all_read"),
    )
    kept = prune(whole, [Tensor("out")])
    assert {node.name for node in kept} == {"x", "weight", "weight/read", "y", "out"}
    assert kept["out"].controls == ()


def test_waiting_for_what_only_computes_does_not_keep_it():
    whole = graph(
        ("x", "Placeholder", ""),
        ("unused", "Placeholder", ""),
        ("square", "Square", "unused"),
        ("wait", "NoOp", "^square"),
        ("out", "Neg", "x ^wait"),
    )
    assert {node.name for node in prune(whole, [Tensor("out")])} == {"x", "out"}


@pytest.mark.parametrize("op", ["Assert", "CheckNumerics", "Switch", "RandomUniform"])
def test_waiting_for_anything_else_stays(op):
    whole = graph(
        ("x", "Placeholder", ""),
        ("checked", op, "x x" if op == "Switch" else ""),
        ("value", "Const", "^checked"),  # a constant of a branch or a loop waits for it
        ("wait", "NoOp", "^value ^checked"),
        ("out", "Identity", "x ^wait ^value"),
    )
    kept = prune(whole, [Tensor("out")])
    assert len(kept) == len(whole)
    assert kept["out"].controls == ("wait", "value")


def with_calls() -> tuple[Any, dict[str, np.ndarray]]:
    """A frozen graph in which functions that must not be inlined by TensorFlow call each other."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    @tf.function(experimental_attributes={"_noinline": True})
    def inner(x: Any) -> Any:
        parts = tf.split(x, 3, axis=1)  # several outputs of one argument
        values, places = tf.math.top_k(parts[2], 2)  # several arguments
        return parts[0] * 2.0, values, places

    @tf.function(experimental_attributes={"_noinline": True})
    def outer(x: Any, y: Any) -> Any:
        tf.debugging.assert_less(x, 1e6)
        first, values, places = inner(x + y)
        again = inner(tf.nn.relu(x))[0]
        return first + again, values, places

    def whole(x: Any) -> Any:
        total, values, places = outer(x, tf.constant(np.arange(12, dtype=np.float32)))
        return tf.identity(total, "total"), tf.identity(values, "values"), tf.identity(places, "places")

    concrete = tf.function(whole).get_concrete_function(tf.TensorSpec((None, 12), tf.float32, "x"))
    definition = convert_variables_to_constants_v2(concrete).graph.as_graph_def()
    return definition, {"x": np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)}


def test_calls_give_way_to_what_they_call_and_nothing_changes() -> None:
    definition, feeds = with_calls()
    before = Graph(definition)
    calls = [node.name for node in before if node.op in ("PartitionedCall", "StatefulPartitionedCall")]
    assert calls
    after = inline_functions(before)
    ops = after.op_counts
    assert ops["Split"] == 2 and ops["TopKV2"] == 2 and ops["Assert"] == 1
    assert not {"PartitionedCall", "StatefulPartitionedCall"} & set(ops)
    assert all(after[name].op in ("Identity", "IdentityN") for name in calls)
    fetches = [Tensor("total"), Tensor("values"), Tensor("places")]
    for have, want in zip(
        original.Original(after.definition).run(fetches, feeds),
        original.Original(before.definition).run(fetches, feeds), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(have, want)
    with pytest.raises(Exception, match="assert"):  # what a function does besides still happens
        original.Original(prune(after, fetches).definition).run(fetches, {"x": feeds["x"] + np.float32(1e7)})


def test_a_function_called_by_its_name_gives_way_too() -> None:
    import tensorflow as tf
    from tensorflow.python.framework import function

    @function.Defun(tf.float32)
    def half(x: Any) -> Any:
        return x / 2.0

    with tf.Graph().as_default() as whole:
        entry: Any = tf.compat.v1.placeholder(tf.float32, [None], "x")
        called: Any = half(entry)
        tf.add(called, 1.0, name="y")
    after = inline_functions(Graph(whole.as_graph_def()))
    assert after.op_counts["RealDiv"] == 1
    assert original.Original(after.definition).run([Tensor("y")], {"x": np.float32([4])})[0] == [3]


def test_calls_stay_where_what_they_call_would_be_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    definition, _ = with_calls()
    monkeypatch.setattr(safety, "MOST_NODES", 20)
    before = Graph(definition)
    assert inline_functions(before) is before
