"""Which ops draw random numbers, against all that TensorFlow registers."""

import re

from icebreaker.graph.random_ops import RANDOM_OPS


def test_no_random_op_of_tensorflow_is_overlooked() -> None:
    from tensorflow.python.framework import op_def_registry

    # By name; datasets and queues give numbers in iterators, seeds and algorithms are none.
    looks = re.compile(
        r"Random|Sampler$|Multinomial|^Stateful.*(Uniform|Normal|Binomial|Int)|NonDeterministic|Distorted"
    )
    found = set()
    import tensorflow as tf

    for name in dir(tf.raw_ops):
        definition = op_def_registry.get(name)
        if definition is not None and definition.is_stateful and looks.search(name):
            found.add(name)
    harmless = {name for name in found if re.search("Dataset|Seed|Grad$|Queue|GetAlg", name)}
    assert found - harmless <= RANDOM_OPS, sorted(found - harmless - RANDOM_OPS)
