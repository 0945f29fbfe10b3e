"""What the outputs need of a graph, and no more; calls of functions."""

from typing import Any, cast

import numpy as np
import pytest

from icebreaker.errors import IcebreakerError
from icebreaker.graph import limits
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.tensors import Tensor
from icebreaker.tf import session
from icebreaker.tf.rewrite import inline_functions, prune


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
        session.GraphSession(after.definition).run(fetches, feeds),
        session.GraphSession(before.definition).run(fetches, feeds), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(have, want)
    with pytest.raises(Exception, match="assert"):  # what a function does besides still happens
        session.GraphSession(prune(after, fetches).definition).run(fetches, {"x": feeds["x"] + np.float32(1e7)})


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
    assert session.GraphSession(after.definition).run([Tensor("y")], {"x": np.float32([4])})[0] == [3]


def test_calls_in_loops_and_branches_of_old_do_what_they_did() -> None:
    """A constant in a function belongs into the loop, or the branch, that the call is in."""
    import tensorflow as tf
    from tensorflow.python.framework import function

    v1 = tf.compat.v1

    @function.Defun(tf.float32)
    def scaled(x: Any) -> Any:
        return x * 2.0 + 1.0

    @function.Defun()
    def seven() -> Any:
        return tf.constant(7.0)

    @function.Defun(tf.float32, tf.float32)
    def apart(x: Any, y: Any) -> Any:
        return x * 3.0, y + 1.0

    with tf.Graph().as_default() as whole:
        v1.disable_control_flow_v2()
        x: Any = v1.placeholder(tf.float32, (), "x")
        looped = v1.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.ensure_shape(scaled(y), ())), [0, x])[1]
        branch = v1.cond(x > 0, lambda: seven(), lambda: x * 1.0)
        below, above = tf.raw_ops.Switch(data=x, pred=x > 0)
        _, sum_of_another = cast(Any, apart(above, x + 100.0))
        merged = tf.raw_ops.Merge(inputs=[below, sum_of_another])
        for name, value in {"looped": looped, "branch": branch, "merged": merged.output}.items():
            tf.identity(value, name)
    before = Graph(whole.as_graph_def())
    fetches = [Tensor("looped"), Tensor("branch"), Tensor("merged")]
    after = prune(inline_functions(before), fetches)
    assert not {"scaled", "seven", "apart"} & {node.op.partition("_")[0] for node in after}
    for value in (2, -2):
        feeds = {"x": np.float32(value)}
        sessions = (session.GraphSession(item.definition, reference=True) for item in (after, before))
        have, want = (item.run(fetches, feeds) for item in sessions)
        assert have == want == ([23, 7, 103] if value > 0 else [-9, -2, -2])


def test_what_a_call_waits_for_comes_before_its_results() -> None:
    import tensorflow as tf
    from tensorflow.python.framework import function

    @function.Defun(tf.float32)
    def same(x: Any) -> Any:
        return x

    with tf.Graph().as_default() as whole:
        x: Any = tf.compat.v1.placeholder(tf.float32, (), "x")
        with tf.control_dependencies([tf.raw_ops.Assert(condition=x < 5.0, data=[x])]):
            called: Any = same(x)
        tf.add(called, 1.0, name="y")
    after = inline_functions(Graph(whole.as_graph_def()))
    assert "same" not in {node.op.partition("_")[0] for node in after}
    assert session.GraphSession(after.definition).run([Tensor("y")], {"x": np.float32(4)}) == [5]
    with pytest.raises(Exception, match="assertion"):
        session.GraphSession(after.definition).run([Tensor("y")], {"x": np.float32(9)})


@pytest.mark.parametrize("fault", ["inputs", "result", "op", "argument"])
def test_a_function_that_does_not_fit_its_call_is_told_of_in_tensorflows_words(fault: str) -> None:
    definition, _ = with_calls()
    call = next(node for node in definition.node if node.op in ("PartitionedCall", "StatefulPartitionedCall"))
    body = next(item for item in definition.library.function if item.signature.name == call.attr["f"].func.name)
    if fault == "inputs":
        call.input.append("x")
    elif fault == "result":
        body.ret.clear()
    elif fault == "op":
        body.node_def[0].op = "NoSuchOp"
    else:
        body.node_def[-1].input[0] = "nowhere:y:0"
    with pytest.raises(IcebreakerError, match="TensorFlow refuses the graph"):
        session.GraphSession(inline_functions(Graph(definition)).definition)


def test_calls_stay_where_what_they_call_would_be_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    definition, _ = with_calls()
    monkeypatch.setattr(limits, "MOST_NODES", 20)
    before = Graph(definition)
    assert inline_functions(before) is before
