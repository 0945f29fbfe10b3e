"""Numbers near zero in TensorFlow's threads, which flush what is not normal."""

from __future__ import annotations

import tensorflow as tf

from icebreaker.engine.numbers.float_mode import exact_near_zero

SMALLEST, ONE = 5e-324, 1.0


def test_a_thread_of_tensorflow_keeps_them_within_and_flushes_them_again_afterwards() -> None:
    seen = []

    def look(x: float) -> float:
        seen.append(SMALLEST * ONE)
        with exact_near_zero():
            seen.append(SMALLEST * ONE)
        seen.append(SMALLEST * ONE)
        return x

    with tf.Graph().as_default() as graph:
        y = tf.numpy_function(look, [tf.compat.v1.placeholder(tf.float32, [], "x")], tf.float32)
    with tf.compat.v1.Session(graph=graph) as session:
        session.run(y, {"x:0": 1.0})
    flushed, within, afterwards = seen
    assert within > 0
    assert afterwards == flushed
    with exact_near_zero():
        assert SMALLEST * ONE > 0
