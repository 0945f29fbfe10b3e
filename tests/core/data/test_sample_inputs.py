"""Values that are made up for inputs: of shapes that weights tell, of sizes that are none of zero, and with an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from icebreaker.data import sample_inputs
from icebreaker.data.sample_inputs import Feeds, sample_run
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession


def made_up(build: Callable[[Any, Any], Any]) -> tuple[Feeds, np.ndarray]:
    import tensorflow as tf

    with tf.Graph().as_default() as made:
        tf.identity(build(tf, tf.compat.v1.placeholder), "y")
    definition = made.as_graph_def()
    session = GraphSession(definition, reference=True)
    feeds, results = sample_run(session, Graph(definition), [Tensor("y")], ConvertSettings(), 2)
    return feeds, results[Tensor("y")]


def weights(*shape: int) -> np.ndarray:
    return np.full(shape, 0.1, np.float32)


WEIGHTS: dict[str, tuple[Callable[[Any, Any], Any], tuple[int | None, ...]]] = {
    "dense": (lambda tf, ph: tf.nn.relu(ph("float32", [None, None], "x")) @ weights(37, 3), (2, 37)),
    "dense of unknown rank": (
        lambda tf, ph: tf.raw_ops.MatMul(a=ph("float32", None, "x"), b=weights(3, 29), transpose_b=True), (2, 29),
    ),
    "dense over steps": (
        lambda tf, ph: tf.raw_ops.BatchMatMulV2(x=ph("float32", [None, None, None], "x") * 2.0, y=weights(11, 3)),
        (2, 8, 11),
    ),
    "picture": (
        lambda tf, ph: tf.nn.conv2d(ph("float32", None, "x") - np.arange(5), weights(3, 3, 5, 2), 1, "SAME"),
        (2, 224, 224, 5),
    ),
    "channels first": (
        lambda tf, ph: tf.reduce_sum(tf.transpose(ph("float32", [None, 7, None, None], "x"), [0, 2, 3, 1])),
        (2, 7, 224, 224),
    ),
    "sequence": (
        lambda tf, ph: tf.nn.conv1d(ph("float32", [None, None, None], "x"), weights(3, 6, 2), 1, "SAME"), (2, 8, 6),
    ),
    "bias": (lambda tf, ph: tf.nn.bias_add(ph("float32", [None, None], "x"), weights(13)), (2, 13)),
}  # fmt: skip


@pytest.mark.parametrize("case", WEIGHTS)
def test_sizes_are_read_off_the_weights_that_an_input_meets(case: str) -> None:
    build, shape = WEIGHTS[case]
    feeds, value = made_up(build)
    assert feeds["x"].shape == shape
    assert value.size


def test_sizes_are_not_zero_where_other_whole_numbers_must_be() -> None:
    """A place that is sure to be there is 0, and so would be the shape beside it."""

    def build(tf: Any, ph: Any) -> Any:
        rows = tf.gather(np.float32([[1.0, 2.0]]), ph("int32", [3], "places"))
        return tf.reduce_sum(rows) + tf.fill(tf.cast(ph("int64", [2], "size"), tf.int32) * 2, 1.0)

    feeds, value = made_up(build)
    assert not feeds["places"].any() and feeds["size"].all() and value.size


def test_a_loop_that_ends_on_other_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_inputs, "_SECONDS", 1.0)

    def build(tf: Any, ph: Any) -> Any:
        start = ph("float32", [None, 4], "x")
        return tf.while_loop(lambda x: tf.reduce_sum(x) > 0, lambda x: (x * 1.0,), [start])[0] + start

    feeds, value = made_up(build)
    assert feeds["x"].sum() <= 0 and value.shape == (2, 4)


@pytest.mark.parametrize("v2", [True, False])
def test_a_loop_that_never_ends_is_given_up(v2: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(sample_inputs, "_SECONDS", 0.5)
    (tf.compat.v1.enable_control_flow_v2 if v2 else tf.compat.v1.disable_control_flow_v2)()

    def build(tf: Any, ph: Any) -> Any:
        return tf.while_loop(lambda x: tf.constant(value=True), lambda x: (x + 1.0,), [ph("float32", [4], "x")])[0]

    begun = time.monotonic()
    try:
        with pytest.raises(IcebreakerError) as raised:
            made_up(build)
    finally:
        tf.compat.v1.enable_control_flow_v2()
    assert raised.value.message.code == "no_values_fit" and "did not end" in str(raised.value)
    assert time.monotonic() - begun < 60
