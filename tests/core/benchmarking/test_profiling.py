"""Where the time goes, on graphs where it is known which node does the work."""

from pathlib import Path

import numpy as np
import pytest

from icebreaker import codec, reports
from icebreaker.benchmarking import benchmark, profiling
from icebreaker.conversion.pipeline import convert
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

ROUNDS = 7


def profile(graph, output, feeds):
    original = GraphSession(graph.definition)
    call = original.callable([Tensor(output)], list(feeds))
    found = profiling.profile_session(
        original.session, Graph(graph.definition), [Tensor(output)], feeds, 0.2, lambda: call(*feeds.values())
    )
    original.close()
    return found


@pytest.fixture(scope="module")
def value():
    return np.random.default_rng(0).normal(0, 0.01, (256, 256)).astype("f4")


def loop(value, old):
    """A loop with a matrix product in it, and a cheap op after."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph:
        (v1.disable_control_flow_v2 if old else v1.enable_control_flow_v2)()
        x = v1.placeholder("float32", (256, 256), "x")
        _, last = v1.while_loop(
            lambda i, _: i < ROUNDS,
            lambda i, y: (i + 1, tf.matmul(y, value, name="product")),
            [tf.constant(0), x],
            name="loop",
        )
        v1.disable_control_flow_v2()
        tf.reduce_sum(last, name="sum")
    return Graph(graph.as_graph_def())


def test_the_runs_of_an_old_loop_are_summed(value):
    found = profile(loop(value, old=True), "sum", {"x": value})
    product = found.nodes["loop/product"]
    assert product.calls == ROUNDS
    assert product.ms == max(item.ms for item in found.nodes.values())
    assert product.ms > 0.3 * found.total_ms
    assert found.nodes["sum"].calls == 1
    assert found.runs >= 5 and found.plain_ms > 0 and found.watched_ms > 0


def test_what_runs_inside_a_function_has_the_key_that_the_view_gives_it(value):
    from icebreaker_gui.layout import build

    graph = loop(value, old=False)
    found = profile(graph, "sum", {"x": value})
    key = max(found.nodes, key=lambda key: found.nodes[key].ms)
    assert key.startswith("loop/body/product") and key in build(graph).leaf
    assert found.nodes[key].calls == ROUNDS


def test_names_that_tensorflow_makes_lead_back():
    definition = GraphDef()
    definition.node.add(name="x", op="Placeholder")
    for name in ("tower/stack_1", "tower/norm"):
        definition.node.add(name=name, op="Identity", input=["x"])
    graph = Graph(definition)
    told = {
        "tower/norm": "tower/norm",
        "tower/norm/Mul": "tower/norm",
        "tower/ArithmeticOptimizer/ReplacePackWithTileReshape_Tile_stack_1": "tower/stack_1",
        "ConstantFolding/tower/nothing_of_it": "",
        "_retval_sum_0_0": "",
        "_SOURCE": "",
    }
    assert {name: profiling._key(name, graph) for name in told} == told


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """Two convolutions, of which the first does nearly all the work; the op between them has no converter."""
    import tensorflow as tf

    random = np.random.default_rng(1)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder("float32", (1, 48, 48, 16), "x")
        big = tf.nn.relu(tf.nn.conv2d(x, random.normal(size=(7, 7, 16, 32)).astype("f4"), 1, "SAME", name="big"), "act")
        odd = tf.raw_ops.Betainc(a=tf.abs(big[:, :2, :2]) + 1, b=tf.ones((1, 2, 2, 32)), x=tf.fill((1, 2, 2, 32), 0.5))
        small = tf.nn.conv2d(odd, random.normal(size=(1, 1, 32, 4)).astype("f4"), 1, "SAME", name="small")
        tf.nn.softmax(tf.nn.relu(small), name="out")
    path = tmp_path_factory.mktemp("network") / "network.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_time_of_an_optimized_graph(network, tmp_path, engine):
    output = tmp_path / "fast.pb"
    made = convert(network, output, ConvertSettings.of(engine=engine, minimum_segment_size=2))
    assert len(made.segments) == 2
    found = benchmark.benchmark(str(network), str(output), seconds=0.2, profile=True)
    again = codec.decode(codec.encode(found), reports.Benchmark)
    assert again == found and set(found.to_json()["profiles"]) == {"original", "optimized"}
    before, after = found.profiles["original"], found.profiles["optimized"]
    graph = graph_files.read_graph(network)
    assert all(name in graph for name in before.nodes)
    assert max(before.nodes, key=lambda name: before.nodes[name].ms) in ("big", "act")  # wherever it was fused
    heavy = next(item for item in made.segments if "big" in item.nodes)
    assert after.nodes[heavy.name].ran_as == engine
    assert max(after.nodes, key=lambda name: after.nodes[name].ms) == heavy.name
    assert any(name not in made.segments and "Betainc" in name for name in after.nodes)
    slowest = max(after.layers[heavy.name], key=lambda item: item.ms)
    assert "big" in slowest.nodes and set(slowest.nodes) <= set(heavy.nodes)
    assert slowest.ms > 0
    assert benchmark.benchmark(str(network), seconds=0.1).to_json().keys() == {"original"}


def test_a_graph_that_is_one_engine_has_its_layers_too(network, tmp_path):
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder("float32", (None, 64), "x")
        for number in range(4):
            x = tf.nn.relu(tf.matmul(x, np.eye(64, dtype="f4"), name=f"product{number}"))
        tf.identity(x, "out")
    path, output = tmp_path / "one.pb", tmp_path / "fast.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    convert(path, output, ConvertSettings.of(engine="openvino"))
    found = benchmark.benchmark(str(path), str(output), batch=2, seconds=0.2, profile=True).profiles["optimized"]
    (name,) = found.nodes
    assert found.watched_ms == found.plain_ms == found.nodes[name].ms > 0
    assert any("product0" in item.nodes for item in found.layers[name])
