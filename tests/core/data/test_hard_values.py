"""Hard values: what a graph is fed, and what it is not since it would take all memory."""

from typing import Any

import numpy as np
import pytest

from icebreaker.data.hard_values import hard_values
from icebreaker.data.input_roles import input_roles
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession


def built(build: Any) -> tuple[Graph, GraphSession]:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.identity(build(tf, tf.compat.v1.placeholder), "y")
    definition = graph.as_graph_def()
    return Graph(definition), GraphSession(definition, reference=True)


ROLES = {
    "value": lambda tf, ph: tf.reduce_max(ph("int32", [None, 4], "x") * 3, 1),
    "index": lambda tf, ph: tf.gather(tf.ones([30, 2]), ph("int32", [None, 4], "x") + 1),
    "size": lambda tf, ph: tf.zeros(ph("int32", [2], "x") * 2),
}


@pytest.mark.parametrize("role", ROLES)
def test_what_numbers_are_for_is_seen(role: Any) -> None:
    graph, session = built(ROLES[role])
    assert input_roles(graph, session) == {"x": role}


@pytest.mark.parametrize(
    "build",
    [
        lambda tf, ph: tf.range(tf.cast(ph("float32", [], "x") * 2.0, "int32")),
        lambda tf, ph: (lambda n: tf.while_loop(lambda i: i < n, lambda i: i + 1, [0])[0])(ph("int32", [], "x")),
        lambda tf, ph: tf.one_hot([1, 2], ph("int32", [], "x")),
    ],
    ids=["through a float", "rounds of a loop", "depth"],
)
def test_what_makes_room_or_rounds_stays_small(build: Any) -> None:
    graph, session = built(build)
    assert input_roles(graph, session) == {"x": "size"}
    found = list(hard_values(session, graph, [Tensor("y")], {"x": np.ones((), graph.placeholders[0].dtype)}))
    assert all(np.abs(item.feeds["x"]).max() < 100 for item in found)


def test_whole_numbers_are_negative_beyond_a_float_and_twice_the_same() -> None:
    graph, session = built(ROLES["value"])
    found = {item.kind: item for item in hard_values(session, graph, [Tensor("y")], {"x": np.ones((5, 4), np.int32)})}
    assert set(found) == {"signed", "beyond", "largest", "same"}
    assert (found["signed"].feeds["x"] < 0).any() and (found["signed"].feeds["x"] == 0).any()
    beyond = found["beyond"].feeds["x"]
    assert (beyond.astype(np.float32).astype(np.int64) != beyond).any()
    assert np.abs(found["largest"].feeds["x"].astype(np.int64)).max() > 1 << 30
    assert len(np.unique(found["same"].feeds["x"])) < 5
    np.testing.assert_array_equal(found["signed"].results[Tensor("y")], (found["signed"].feeds["x"] * 3).max(1))


def test_places_are_those_that_the_graph_has() -> None:
    graph, session = built(ROLES["index"])
    found = {item.kind: item for item in hard_values(session, graph, [Tensor("y")], {"x": np.ones((5, 4), np.int32)})}
    assert 5 < found["beyond"].feeds["x"].max() < 29 and found["signed"].feeds["x"].min() == -1


def test_an_input_whose_hard_values_are_refused_keeps_its_friendly_ones() -> None:
    def build(tf: Any, ph: Any) -> Any:
        refuses = tf.debugging.assert_greater(ph("int32", [2], "a"), 0)
        with tf.control_dependencies([refuses]):
            return ph("float32", [2, 3], "x") * 2

    graph, session = built(build)
    friendly = {"a": np.ones(2, np.int32), "x": np.ones((2, 3), np.float32)}
    found = {item.kind: item for item in hard_values(session, graph, [Tensor("y")], friendly)}
    assert (found["signed"].feeds["a"] > 0).all() and (found["signed"].feeds["x"] < 0).any()
    assert np.isnan(found["nan"].feeds["x"]).any() and np.abs(found["tiny"].feeds["x"]).max() < 1e-4


def test_text_is_what_the_graph_knows_and_what_it_does_not() -> None:
    graph, session = built(lambda tf, ph: tf.equal(ph("string", [40], "x"), tf.constant("yes")))
    friendly = {"x": np.full(40, b"no", object)}
    (found,) = hard_values(session, graph, [Tensor("y")], friendly)
    assert b"yes" in found.feeds["x"] and b"" in found.feeds["x"]
    assert not list(hard_values(session, graph, [Tensor("y")], friendly, text=False))


def test_the_same_values_each_time() -> None:
    graph, session = built(ROLES["value"])
    first, second = (
        [item.feeds["x"].tolist() for item in hard_values(session, graph, [Tensor("y")], {"x": np.ones((2, 4), "i4")})]
        for _ in range(2)
    )
    assert first == second
