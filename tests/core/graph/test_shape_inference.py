"""Shapes and types without TensorFlow, held against TensorFlow's own: never another answer where both have one."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from helpers.paths import GRAPHS as SHARED
from helpers.paths import ROOT
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph import shape_inference
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import DTYPES
from icebreaker.graph.protos import GraphDef
from icebreaker.graph.shape_inference import Known
from icebreaker.tensors import Tensor


def compare(graph: Graph, told: Graph | None = None) -> tuple[int, int, int]:
    """Fails where TensorFlow says otherwise; returns tensors, those fully known here, and those TensorFlow knows."""
    import tensorflow as tf

    from icebreaker.tf.rewrite import to_tensorflow

    found = shape_inference.infer(told or graph)
    with tf.Graph().as_default() as made:
        tf.import_graph_def(to_tensorflow(graph.definition), name="")
    count = here = there = 0
    for node in graph:
        if node.op == "Const":
            continue
        for port, output in enumerate(made.get_operation_by_name(node.name).outputs):
            known = found.get(Tensor(node.name, port), Known())
            shape = None if output.shape.rank is None else tuple(output.shape.as_list())
            where = f"{node.op} {node.name}:{port}: {known} here, {shape} in TensorFlow"
            assert known.dtype in ("", DTYPES[output.dtype.as_datatype_enum % 100]), where
            if known.shape is not None and shape is not None:
                assert len(known.shape) == len(shape), where
                assert all(a in (None, b) or b is None for a, b in zip(known.shape, shape, strict=True)), where
            count += 1
            here += known.shape is not None and None not in known.shape
            there += shape is not None and None not in shape
    return count, here, there


@pytest.mark.slow
def test_real_graphs() -> None:
    paths = sorted(SHARED.glob("*.pb")) + sorted((SHARED / "tftrt_unit").glob("*.pb"))
    if not paths:
        pytest.skip("../shared/graphs is not here")
    total = np.zeros(3, int)
    for path in paths:
        # As the app reads it: without the weights.
        total += compare(graph_files.read_graph(path), graph_files.read_structure(path))
    tensors, here, there = total.tolist()
    print(
        f"{tensors} tensors of {len(paths)} graphs: {here / tensors:.0%} fully known, TensorFlow {there / tensors:.0%}"
    )
    assert here > 0.98 * there


def test_the_sample() -> None:
    path = ROOT / "resources" / "samples" / "digits.pb"
    compare(graph_files.read_graph(path), graph_files.read_structure(path))
    found = shape_inference.infer(graph_files.read_structure(path))
    assert str(found[Tensor("block1/conv1")]) == "float32[?,64,64,24]"
    assert str(found[Tensor("image_bytes")]) == "string[?]"


def vector(*numbers: int) -> Any:
    return np.array(numbers, np.int32)


# Each makes tensors of an image and a matrix.
CASES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "conv": lambda tf, i, m: [
        tf.nn.conv2d(i, np.ones((3, 2, 3, 5), "f4"), s, p, dilations=d)
        for s, p, d in (((1, 1), "SAME", 1), ((2, 1), "VALID", 1), ((1, 1), "VALID", 2),
                        ((2, 2), [[0, 0], [1, 2], [0, 1], [0, 0]], 1))
    ],
    "depthwise": lambda tf, i, m: tf.nn.depthwise_conv2d(i, np.ones((3, 3, 3, 2), "f4"), (1, 2, 2, 1), "SAME"),
    "deconvolution": lambda tf, i, m: tf.nn.conv2d_transpose(i[:2], np.ones((2, 2, 4, 3), "f4"), (2, 24, 16, 4), 2),
    "pool": lambda tf, i, m: [tf.nn.max_pool2d(i, 3, 2, "SAME"), tf.nn.avg_pool2d(i, (2, 3), (1, 2), "VALID")],
    "batch norm": lambda tf, i, m: [
        tf.compat.v1.nn.fused_batch_norm(x, *[np.ones(3, "f4")] * 4, data_format=order, is_training=False)[0]
        for x, order in ((i, "NHWC"), (i[:, tf.newaxis], "NDHWC"),
                         (tf.compat.v1.placeholder("float32", None), "NDHWC"))],
    "elementwise": lambda tf, i, m: [i + 1.0, i * np.ones((3,), "f4"), tf.nn.relu(i), i > 0.5, m - m[:1],
                                     tf.maximum(m, 0.0)],
    "matmul": lambda tf, i, m: [tf.matmul(m, m, transpose_a=True), tf.matmul(m, np.ones((4, 7), "f4")),
                                tf.matmul(i, i, transpose_b=True)],
    "einsum": lambda tf, i, m: tf.einsum("bhwc,cd->bdhw", i, np.ones((3, 8), "f4")),
    "reshape": lambda tf, i, m: [tf.reshape(m, (-1,)), tf.reshape(m, (2, -1)), tf.reshape(i, (-1, 3)),
                                 tf.reshape(i, tf.stack([tf.shape(i)[0], -1])),
                                 tf.reshape(i, tf.concat([tf.shape(i)[:1], [-1, 3]], 0))],
    "joins": lambda tf, i, m: [tf.concat([m, m], 1), tf.concat([m, m], 0), tf.stack([m, m], 1), tf.unstack(i, axis=3),
                               tf.split(i, [1, 2], 3), tf.split(m, 2, 1)],
    "slices": lambda tf, i, m: [i[:, 1:3], i[..., 0], i[0], i[:, ::-1, ::2], i[:, -2:], m[tf.newaxis], m[:, 1],
                                tf.slice(m, (0, 1), (-1, 2)), i[:, :, :-1], i[1:, ..., :2]],
    "pad": lambda tf, i, m: [tf.pad(m, ((1, 2), (0, 3))), tf.pad(i, ((0, 0), (1, 1), (2, 2), (0, 0)), "REFLECT")],
    "order": lambda tf, i, m: [tf.transpose(i, (0, 3, 1, 2)), tf.expand_dims(m, -1), tf.expand_dims(m, 0),
                               tf.squeeze(i[:1], 0), tf.reverse(m, (0,))],
    "reduce": lambda tf, i, m: [tf.reduce_mean(i, (1, 2)), tf.reduce_sum(m), tf.reduce_max(m, -1, keepdims=True),
                                tf.argmax(m, 1), tf.reduce_all(m > 0, 0), tf.nn.softmax(m)],
    "resize": lambda tf, i, m: [tf.image.resize(i, (7, 9)), tf.image.resize(i, (4, 4), "nearest"),
                                tf.image.resize(i, tf.shape(i)[1:3] * 2),
                                tf.image.crop_and_resize(tf.cast(i, "uint8"), m, tf.zeros(6, "int32"), (4, 5))],
    "buckets": lambda tf, i, m: tf.raw_ops.Bucketize(input=m, boundaries=[1.0]),
    "packed": lambda tf, i, m: tf.raw_ops.MaxPool(
        input=tf.compat.v1.placeholder("qint8", (1, 1, 8, 8, 4)), ksize=(1, 1, 2, 2), strides=(1, 1, 2, 2),
        padding="VALID", data_format="NCHW_VECT_C"),
    "too large for its type": lambda tf, i, m: [tf.fill([tf.constant(1 << 30) * 4 + 3], 1.0),
                                                tf.fill([tf.cast(tf.constant((1 << 32) + 5, "int64"), "int32")], 1.0)],
    "resource": lambda tf, i, m: tf.raw_ops.ResourceGather(
        resource=tf.compat.v1.placeholder(tf.resource, (2,)), indices=(0, 1), dtype="float32"),
    "gather": lambda tf, i, m: [tf.gather(m, (0, 1, 0)), tf.gather(m, 0), tf.gather(m, (1, 2), axis=1),
                                tf.gather_nd(m, ((0, 1), (1, 1))),
                                tf.gather(m, tf.argmax(m, 1), axis=1, batch_dims=1),
                                tf.raw_ops.GatherV2(params=m, indices=tf.argmax(m, 1), axis=1, batch_dims=-1)],
    "made": lambda tf, i, m: [tf.fill((2, 3), 1.0), tf.range(2, 9, 2), tf.one_hot((1, 2), 5), tf.tile(m, (2, 1)),
                              tf.zeros(tf.shape(m)), tf.broadcast_to(m[:1], (6, 4)), tf.cast(m, "int64"),
                              tf.random.uniform((3, 2)), tf.where(m > 0), tf.math.top_k(m, 2)],
    "shapes": lambda tf, i, m: [tf.shape(i), tf.size(m), tf.rank(i), tf.shape(i)[1] * tf.shape(i)[2],
                                tf.reshape(i, (-1, tf.shape(i)[1] * tf.shape(i)[2])),
                                tf.zeros(tf.stack([tf.reduce_prod(tf.shape(m)), 2]))],
    "blocks": lambda tf, i, m: [tf.nn.space_to_depth(i, 2), tf.nn.depth_to_space(tf.concat([i] * 4, 3), 2),
                                tf.raw_ops.SpaceToBatchND(input=i, block_shape=vector(2, 2),
                                                          paddings=np.zeros((2, 2), "i4"))],
}  # fmt: skip
INPUTS = [((2, 12, 8, 3), (6, 4)), ((None, 12, 8, 3), (None, 4)), ((2, None, None, 3), (6, 4)),
          ((None, None, None, 3), (None, 4))]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_as_tensorflow_says(case: str) -> None:
    import tensorflow as tf

    for image, matrix in INPUTS:
        with tf.Graph().as_default() as graph:
            i = tf.compat.v1.placeholder("float32", image, "image")
            m = tf.compat.v1.placeholder("float32", matrix, "matrix")
            CASES[case](tf, i, m)
        _, here, there = compare(Graph(graph.as_graph_def()))
        assert here >= there or case in ("packed", "too large for its type", "resource"), (image, matrix)


def test_nonsense_is_not_known_and_nothing_worse() -> None:
    definition = GraphDef()
    definition.node.add(name="a", op="Placeholder")
    value = definition.node.add(name="b", op="Const").attr["value"].tensor
    value.dtype = 3
    value.tensor_shape.dim.add(size=2)
    value.int_val.extend([-7, 0])
    tried = 0
    for rule in shape_inference.RULES:
        for inputs in ([], ["a"], ["b"], ["a", "b"], ["b", "a", "b"], ["b", "b", "b", "b", "b"]):
            fresh = GraphDef()
            fresh.CopyFrom(definition)
            fresh.node.add(name="c", op=rule, input=inputs)
            with contextlib.suppress(IcebreakerError):  # too few inputs even for a graph
                for known in shape_inference.infer(Graph(fresh)).values():
                    assert known.shape is None or all(size is None or size >= 0 for size in known.shape), (rule, inputs)
                tried += 1
    assert tried > 1000


def nodes(*items: tuple[str, str, str]) -> GraphDef:
    """Name, op, inputs; a number as the op is a constant of that value, a shape a placeholder."""
    definition = GraphDef()
    for name, op, inputs in items:
        if op.isdigit():
            value = definition.node.add(name=name, op="Const").attr["value"].tensor
            value.dtype = 9
            value.int64_val.append(int(op))
        elif op.startswith("["):
            attrs = definition.node.add(name=name, op="Placeholder").attr
            attrs["dtype"].type = 1
            attrs["shape"].shape.SetInParent()
            for size in filter(None, op.strip("[]").split(",")):
                attrs["shape"].shape.dim.add(size=int(size))
        else:
            definition.node.add(name=name, op=op, input=inputs.split())
    return definition


def test_a_branch_of_which_nothing_is_known_leaves_the_merge_open() -> None:
    found = shape_inference.infer(
        Graph(nodes(("x", "[2,3]", ""), ("odd", "NobodyKnows", "x"), ("y", "Merge", "x odd")))
    )
    assert str(found[Tensor("y")]) == "float32[…]"


def test_loops_that_wait_for_one_another_end_in_no_assumption() -> None:
    """Of each loop it comes out one turn later than of the one before that what comes back has another length."""
    items = [("x", "[5]", ""), ("axis", "0", ""), ("m0", "Merge", "x n0"), ("more", "ConcatV2", "m0 x axis")]
    items.append(("n0", "NextIteration", "more"))
    for k in range(1, 14):
        items += [(f"m{k}", "Merge", f"x n{k}"), (f"n{k}", "NextIteration", f"m{k - 1}")]
    found = shape_inference.infer(Graph(nodes(*items)))
    assert all(found[Tensor(f"m{k}")].shape in (None, (None,)) for k in range(14))


@pytest.mark.slow
def test_no_more_is_counted_than_a_graph_can_have() -> None:
    """A few bytes can promise any number of outputs, of dimensions, of digits."""
    definition = nodes(
        ("x", "[7]", ""), ("t0", "[7]", ""), ("zero", "0", ""), ("one", "1", ""), ("shape", "Pack", "one"),
        ("m0", str(1 << 62), ""), ("times", "Reshape", "m0 shape"),
    )  # fmt: skip
    for op, attr, inputs in (
        ("Unpack", "num", "x"),
        ("Split", "num_split", "zero x"),
        ("SplitV", "num_split", "x m0 zero"),
    ):
        for k in range(3):
            definition.node.add(name=f"{op}{k}", op=op, input=inputs.split()).attr[attr].i = 1 << 40
    for k in range(400):
        definition.node.add(name=f"m{k + 1}", op="Mul", input=[f"m{k}"] * 2)
        definition.node.add(name=f"t{k + 1}", op="Tile", input=[f"t{k}", "times"])
        definition.node.add(name=f"e{k + 1}", op="ExpandDims", input=[f"e{k}" if k else "x", "zero"])
    definition.node.add(name="odd", op="Einsum", input=["x"]).attr["equation"].s = b"->z"
    found = shape_inference.infer(Graph(definition))
    assert max(tensor.port for tensor in found) < 1 << 16
    assert max(len(known.shape or ()) for known in found.values()) == 254
    assert max(size or 0 for known in found.values() for size in known.shape or ()) < 1 << 63


@pytest.mark.slow
def test_a_graph_of_too_many_tensors_is_not_told_of() -> None:
    definition = nodes(("x", "[7]", ""))
    for k in range(40):
        definition.node.add(name=f"u{k}", op="Unpack", input=["x"]).attr["num"].i = 1 << 40
    assert shape_inference.infer(Graph(definition)) == {}


def test_an_op_with_very_many_inputs() -> None:
    definition = nodes(*((f"x{k}", "[2]", "") for k in range(20_000)))
    definition.node.add(name="sum", op="AddN", input=[f"x{k}" for k in range(20_000)])
    assert shape_inference.infer(Graph(definition))[Tensor("sum")].shape == (2,)


def test_the_graph_stays_as_it_is() -> None:
    definition = nodes(("x", "Placeholder", ""), ("c", "Const", ""), ("w", "While", "x"))
    definition.versions.producer = 20
    before = definition.SerializeToString(deterministic=True)
    shape_inference.infer(Graph(definition))
    assert definition.SerializeToString(deterministic=True) == before


def test_loops_keep_what_stays_and_open_what_changes() -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph:
        v1.disable_control_flow_v2()
        x = v1.placeholder("float32", (5, 3), "x")
        v1.while_loop(
            lambda i, kept, grows: i < 3,
            lambda i, kept, grows: (i + 1, tf.nn.relu(kept, name="same"), tf.concat([grows, x], 0, name="more")),
            [tf.constant(0), x, x],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape([5, 3]), tf.TensorShape([None, 3])],
        )
    made = Graph(graph.as_graph_def())
    compare(made)
    found = shape_inference.infer(made)
    assert found[Tensor("while/same")].shape == (5, 3)
    assert found[Tensor("while/more")].shape == (None, 3)


def test_a_scalar_placeholder_of_old_graphs_is_of_any_shape() -> None:
    definition = GraphDef()
    definition.node.add(name="x", op="Placeholder").attr["dtype"].type = 1
    definition.node[0].attr["shape"].shape.SetInParent()
    definition.versions.producer = 20
    assert str(shape_inference.infer(Graph(definition))[Tensor("x")]) == "float32[…]"
    definition.versions.producer = 100
    assert str(shape_inference.infer(Graph(definition))[Tensor("x")]) == "float32[]"


def test_it_stops_when_nobody_waits_any_more() -> None:
    assert (
        shape_inference.infer(graph_files.read_structure(ROOT / "resources" / "samples" / "digits.pb"), lambda: True)
        == {}
    )
