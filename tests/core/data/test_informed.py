"""Made-up shapes and places: the graph computes something with them."""

from typing import Any

import numpy as np
import pytest

from icebreaker.data.sample_inputs import sample_run
from icebreaker.graph.graph import Graph
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

CASES: dict[str, Any] = {
    "transposed convolution, valid": lambda tf, ph: tf.nn.conv2d_transpose(
        ph("float32", [2, 6, 4, 3], "x"), tf.ones([3, 3, 2, 3]), ph("int32", [4], "shape"), [1, 2, 2, 1], "VALID"
    ),
    "transposed convolution, same": lambda tf, ph: tf.nn.conv2d_transpose(
        ph("float32", [None, 6, 4, 3], "x"), tf.ones([5, 5, 2, 3]), ph("int32", [4], "shape"), [1, 3, 2, 1], "SAME"
    ),
    "stitch": lambda tf, ph: tf.dynamic_stitch(
        [ph("int32", [2], "a"), ph("int32", [2, 2], "b")],
        [ph("float32", [2, 3], "x"), ph("float32", [2, 2, 3], "z")],
    ),
    "reshape": lambda tf, ph: tf.reshape(ph("float32", [4, 6], "x"), ph("int32", [3], "shape")),
    "reshape to fewer": lambda tf, ph: tf.reshape(ph("float32", [4, 2, 3], "x"), ph("int32", [2], "shape")),
    "broadcast": lambda tf, ph: tf.broadcast_to(ph("float32", [4, 6], "x"), ph("int32", [3], "shape")),
    "slice": lambda tf, ph: tf.slice(ph("float32", [4, 6], "x"), ph("int32", [2], "b"), ph("int32", [2], "s")),
    "groups": lambda tf, ph: tf.math.segment_max(ph("float32", [4, 6], "x"), ph("int32", [4], "g")),
    "transposed": lambda tf, ph: tf.transpose(ph("float32", [4, 6, 2], "x"), ph("int32", [3], "p")),
    "crops": lambda tf, ph: tf.image.crop_and_resize(
        ph("float32", [1, 8, 8, 3], "x"), ph("float32", [5, 4], "boxes"), ph("int32", [5], "which"),
        ph("int32", [2], "size"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_graph_computes_something_with_made_up_shapes_and_places(case: str) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as made:
        tf.identity(CASES[case](tf, tf.compat.v1.placeholder), "y")
    session = GraphSession(made.as_graph_def(), reference=True)
    feeds, results = sample_run(session, Graph(made.as_graph_def()), [Tensor("y")], ConvertSettings())
    value = results[Tensor("y")]
    assert value.size > 1 and np.isfinite(value).all() and value.any()
    if case == "stitch":
        assert sorted([*feeds["a"], *feeds["b"].ravel()]) == list(range(6))


def test_lengths_are_tried_until_something_is_left() -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as made:
        tf.identity(tf.compat.v1.placeholder("float32", [None, None, 4], "x")[:, 40:-40] * 2.0, "y")
    session = GraphSession(made.as_graph_def(), reference=True)
    feeds, results = sample_run(session, Graph(made.as_graph_def()), [Tensor("y")], ConvertSettings())
    assert results[Tensor("y")].size and feeds["x"].shape == (1, 100, 4)
