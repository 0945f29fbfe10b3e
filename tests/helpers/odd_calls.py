"""Calls loaded graphs with anything at all: a program of its own, since a call must not end it by a signal.

Each graph is converted, loaded, and called with what hypothesis makes up, beside TensorFlow's own session on the
original. Where the session refuses, the model must raise IcebreakerError; nothing else may come out of it at all.
"""

import os
import sys
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

import icebreaker
from icebreaker.conversion.pipeline import convert
from icebreaker.settings import ConvertSettings

v1 = tf.compat.v1
RANDOM = np.random.default_rng(0)


def picture(name, shape):
    """A convolution and a dense layer: with a placeholder of that shape."""
    x = v1.placeholder(tf.float32, shape, name=name)
    kernel, weight = RANDOM.normal(size=(3, 3, 1, 4)).astype("f"), RANDOM.normal(size=(64, 3)).astype("f")
    h = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 2, "SAME"), np.ones(4, "f")))
    return tf.matmul(tf.reshape(h, [-1, 64]), weight)


def whole():
    """One segment, called without TensorFlow."""
    tf.tanh(picture("x", [None, 8, 8, 1]), name="y")
    return {"x": (1, 8, 8, 1)}


def added():
    """Two inputs that must be of one shape, which ONNX does not demand; and channels that are open."""
    a, b = (v1.placeholder(tf.float32, [None, None], name=name) for name in "ab")
    total = tf.raw_ops.AddN(inputs=[tf.tanh(a), tf.sigmoid(b)])
    tf.nn.relu(tf.nn.bias_add(total * 2.0, np.ones(3, "f")), name="y")
    return {"a": (2, 3), "b": (2, 3)}


def mixed():
    """Texts, whole numbers and an unknown rank, in TensorFlow around a segment."""
    text = v1.placeholder(tf.string, [None], name="text")
    ids = v1.placeholder(tf.int32, [None, 2], name="ids")
    scores = picture("x", None)
    length = tf.cast(tf.reduce_max(tf.strings.length(text)), tf.float32)
    tf.identity(scores * length + tf.cast(tf.reduce_sum(ids), tf.float32), name="y")
    return {"text": (2,), "ids": (1, 2), "x": (1, 8, 8, 1)}


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(1 << 70), st.just(1 << 5000), st.floats(), st.complex_numbers(),
    st.text(max_size=5), st.binary(max_size=5), st.just(object()), st.just(np.float32), st.dates(),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2), st.sets(st.integers(), max_size=2),
)  # fmt: skip
SHAPES = hn.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9)
ARRAYS = st.one_of(
    hn.arrays(hn.scalar_dtypes(), SHAPES), hn.arrays(np.float32, SHAPES), hn.arrays(np.int32, SHAPES),
    hn.arrays(object, hn.array_shapes(max_dims=2, max_side=3), elements=ODD),
)  # fmt: skip
ANYTHING = st.one_of(
    ODD,
    ARRAYS,
    st.recursive(ODD, lambda inner: st.lists(inner, max_size=3), max_leaves=6),
    ARRAYS.map(np.ndarray.tolist),
)


def near(kind, shape):
    """What might do: the input's type and shape, or nearly so."""
    if kind == "string":
        return st.lists(st.one_of(st.text(max_size=3), st.binary(max_size=3)), max_size=3)
    rest = shape[1:]
    sides = st.integers(0, 4).map(lambda first: (first, *rest)) | st.tuples(
        *(st.sampled_from([side, side, side, 1, 0, side + 1]) for side in shape)
    )
    types = st.sampled_from([kind, kind, kind, "float64", "int8", "bool"])
    return types.flatmap(lambda dtype: hn.arrays(dtype, sides))


def check(build, folder, count):
    """Converts and loads a graph, and calls it."""
    with tf.Graph().as_default() as graph:
        usual = build()
    kinds = {name: graph.get_tensor_by_name(f"{name}:0").dtype.name for name in usual}
    original = folder / f"{build.__name__}.pb"
    original.write_bytes(graph.as_graph_def().SerializeToString())
    made = convert(
        original, original.with_suffix(".fast.pb"),
        ConvertSettings.of(outputs=("y",), engine="openvino", input_shapes=usual, minimum_segment_size=1),
    )  # fmt: skip
    assert made.segments, made
    model = icebreaker.load(made.output)
    session = v1.Session(graph=graph)
    answers = [0, 0]

    @settings(max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=HealthCheck)
    @given(st.data(), st.booleans(), st.booleans())
    def call(data, all_near, by_name):
        values = {
            name: data.draw(near(kinds[name], shape) if all_near else near(kinds[name], shape) | ANYTHING, name)
            for name, shape in usual.items()
        }
        try:
            expected = session.run("y:0", {f"{name}:0": value for name, value in values.items()})
        except Exception:
            expected = None
        try:
            result = model(**values) if by_name or len(values) == 1 else model(*values.values())
        except icebreaker.IcebreakerError as error:
            assert len(str(error)) < 2500
            answers[0] += 1
            return
        answers[1] += 1
        assert expected is not None, "the model answers where the session refuses"
        assert expected.shape == result["y"].shape

    call()
    for node in model.nodes.values():
        node.runner = refusing  # so that its segment runs in TensorFlow
    call()
    print(f"{build.__name__}: {answers[0]} refused, {answers[1]} answered", flush=True)
    assert all(answers), answers
    odd = [tf.zeros([2, 9], kind) for kind in kinds.values() if kind != "string"]
    if len(odd) == len(kinds):  # as a function of tensors, directly and where shapes are known only as it runs
        later = tf.function(model.function, [tf.TensorSpec(None, tensor.dtype) for tensor in odd])
        for function, error in ((model.function, icebreaker.IcebreakerError), (later, tf.errors.OpError)):
            try:
                function(*odd)
            except error:
                continue
            raise AssertionError("a wrong shape is refused")


def refusing(inputs):
    """An engine that takes nothing."""
    raise icebreaker.IcebreakerError("engine_failed", "it takes nothing")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for item in (whole, added, mixed):
        check(item, Path(sys.argv[1]), int(sys.argv[2]))
