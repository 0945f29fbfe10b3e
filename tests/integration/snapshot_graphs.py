"""Writes the graphs and data of test_json_snapshots.py into a folder.

A program of its own, so that TensorFlow, which numbers what it makes, gives the same names however much ran before.
"""

import gzip
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1


def chain(graph):
    """One way through, of ops that TensorFlow does not join, so that each node has its time, in this order."""
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    bent = tf.tanh(tf.add(tf.nn.relu(x, name="a"), x, name="b"), name="c")
    tf.multiply(bent, x, name="d")


def mixed(graph):
    """Something for each reason to stay in TensorFlow that can be had without a failing engine."""
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    text = v1.placeholder(tf.string, [None], name="text")
    weights = tf.constant(np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6), name="net/weights")
    shift = tf.constant(np.linspace(0, 1, 6, dtype=np.float32), name="net/shift")
    scores = tf.add(tf.matmul(x, weights, name="net/product"), shift, name="net/scores")
    spoken = tf.sigmoid(tf.tanh(scores, name="net/tanh"), name="net/spoken")
    with tf.control_dependencies([tf.exp(tf.negative(tf.tanh(x, name="watch/a"), name="watch/b"), name="watch/c")]):
        tf.nn.softmax(spoken, name="probabilities")

    length = tf.strings.length(tf.identity(text, name="words/copy"), name="words/length")
    tf.sqrt(tf.cast(length, tf.float32, name="words/float"), name="root")

    noise = tf.floor(tf.random.uniform([4], seed=1, name="noise"), name="noise/floor")
    tf.debugging.check_numerics(tf.add(x, noise, name="noisy"), "odd", name="checked")

    is_big = tf.greater(tf.reduce_sum(x, name="gate/sum"), 1e6, name="gate/is_big")
    no, yes = v1.raw_ops.Switch(data=x, pred=is_big, name="gate/switch")
    rare = tf.exp(tf.negative(tf.tanh(yes, name="gate/rare/a"), name="gate/rare/b"), name="gate/rare/c")
    tf.identity(v1.raw_ops.Merge(inputs=[no, rare], name="gate/merge")[0], name="gated")

    wave = tf.complex(x, x, name="wave/complex")
    tf.abs(tf.multiply(wave, wave, name="wave/square"), name="power")


def loop(graph):
    """A loop and a condition as functions, and a loop as TensorFlow 1 has them."""
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    tf.identity(
        tf.while_loop(lambda v: tf.reduce_sum(v) < 9, lambda v: [v + 1], [x], name="repeat")[0], name="repeated"
    )
    tf.identity(tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2, lambda: x - 1, name="choose"), name="chosen")


def open_shapes(graph):
    """Inputs of unknown rank, of unknown sizes, and with a default."""
    v1.placeholder(tf.float32, None, name="any")
    anything = graph.get_tensor_by_name("any:0")
    grid = v1.placeholder(tf.uint8, [None, None, 3], name="grid")
    number = v1.placeholder_with_default(np.float32(0.5), [], name="number")
    tf.nn.relu(tf.tanh(tf.multiply(anything, number, name="a"), name="b"), name="c")
    tf.reduce_max(grid, name="brightest")


def blind(graph):
    """An input for which no values can be made up."""
    x = v1.placeholder(tf.complex64, None, name="x")
    tf.exp(tf.negative(tf.tanh(tf.math.real(x, name="real"), name="a"), name="b"), name="c")


def files(graph):
    """Reads and writes files."""
    name = v1.placeholder(tf.string, [], name="name")
    content = tf.io.read_file(name, name="read")
    tf.io.write_file(tf.constant("copy.txt", name="target"), content, name="write")
    tf.strings.length(content, name="length")


def picture(graph):
    """A network small enough to calibrate at once, with something in front of it and two outputs."""
    random = np.random.default_rng(5)

    def weights(name, *shape):
        return tf.constant((random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32), name=name)

    x = v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
    first = tf.nn.relu(
        tf.nn.conv2d(x, weights("first/weights", 3, 3, 3, 8), 1, "SAME", name="first"), name="first/relu"
    )
    # One channel far above the others, so that it is no close race which layer INT8 harms most.
    spread = tf.multiply(first, np.where(np.arange(8) == 0, 6, 1).astype(np.float32), name="spread")
    second = tf.nn.conv2d(spread, weights("second/weights", 3, 3, 8, 8), 2, "SAME", name="second")
    mean = tf.reduce_mean(tf.nn.relu(second, name="second/relu"), [1, 2], name="mean")
    scores = tf.matmul(mean, weights("dense/weights", 8, 6), name="dense")
    tf.nn.softmax(4 * scores, name="classes")


def write(folder, make):
    with tf.Graph().as_default() as graph:
        make(graph)
    path = folder / f"{make.__name__}.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString(deterministic=True))
    return graph


def saved_model(folder):
    """Its table is read from a file of its own when TensorFlow loads it; a second one reads a file of the user's."""
    (folder / "words.txt").write_text("one\ntwo\n")
    words = tf.lookup.TextFileInitializer(
        str(folder / "words.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )  # fmt: skip

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.table = tf.lookup.StaticHashTable(words, -1)
            self.weights = tf.Variable(np.ones((4, 2), np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
        def serve(self, x):
            return {"scores": tf.nn.softmax(x @ self.weights)}

    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
        def serve(self, x):
            return {"scores": x * tf.strings.to_number(tf.io.read_file("words.txt"))}

    for module, name in ((Module(), "saved"), (Reader(), "saved-reader")):
        tf.saved_model.save(module, str(folder / name), signatures=module.serve)


def main(folder):
    for make in (chain, mixed, open_shapes, blind, files, picture):
        graph = write(folder, make)
        if make is chain:
            text = str(graph.as_graph_def())
            (folder / "chain.pbtxt").write_text(text)
            with gzip.open(folder / "chain.pbtxt.gz", "wt") as stream:
                stream.write(text)
    write(folder, loop)
    v1.disable_control_flow_v2()
    loop.__name__ = "old_loop"
    write(folder, loop)

    random = np.random.default_rng(7)
    np.savez(folder / "chain.npz", x=random.normal(size=(5, 4)).astype(np.float32))
    # Rows differ in colour, so that their classes do; only clear cases, which no processor sees otherwise.
    x = (random.random((400, 8, 8, 3)) * random.random((400, 1, 1, 3))).astype(np.float32)
    with v1.Session(graph=tf.Graph()) as session:
        definition = v1.GraphDef.FromString((folder / "picture.pb").read_bytes())
        tf.graph_util.import_graph_def(definition, name="")
        scores = session.run("dense:0", {"x:0": x})
    ordered = np.sort(scores, axis=1)
    clear = np.sort(np.argsort(ordered[:, -2] - ordered[:, -1])[:64])
    np.savez(folder / "picture.npz", x=x[clear], label=scores[clear].argmax(1))
    saved_model(folder)

    whole = (folder / "picture.pb").read_bytes()
    (folder / "cut.pb").write_bytes(whole[: len(whole) // 2])
    (folder / "hello.pb").write_text("hello, world\n")
    (folder / "nothing.pb").write_bytes(b"")
    (folder / "no_nodes.pb").write_bytes(b"\x22\x03\x08\xe8\x07")
    (folder / "broken.pb.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    (folder / "folder").mkdir()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
