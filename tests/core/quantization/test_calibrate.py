"""INT8: that TensorRT-RTX takes it, that it keeps its accuracy, and that a table rebuilds it without data.

A small network is trained-looking enough: random weights with uneven channels, depthwise layers, Relu6, a residual
and a classifier, so that every part of the scheme is at work.
"""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers.paths import SHARED
from icebreaker.engine.onnx_sessions import open_session
from icebreaker.errors import IcebreakerError
from icebreaker.export import fake_quant
from icebreaker.quantization import accuracy_control, bias_correction, calibrate, thresholds
from icebreaker.quantization.calibration_table import Range, Table, read_tables, write_tables
from icebreaker.quantization.qdq import qdq_writer
from icebreaker.quantization.qdq.quantizable_model import QuantizableModel


class Net:
    """Builds a small ONNX model, node by node."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants = [], []
        self.count = 0

    def constant(self, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def whole(self, values):
        self.constants.append(numpy_helper.from_array(np.asarray(values, np.int64), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def add(self, op, *inputs, name="", **attributes):
        self.count += 1
        name = name or f"{op.lower()}{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [f"{name}:0"], name, **attributes))
        return f"{name}:0"

    def conv(self, x, out, per_group, *, size=3, group=1, name=""):
        spread = np.exp(self.random.normal(size=(out, 1, 1, 1)))  # uneven channels
        weights = self.random.normal(size=(out, per_group, size, size)) * spread / np.sqrt(per_group * size * size)
        bias = self.random.normal(size=out) * 0.3
        pads = [size // 2] * 4
        return self.add("Conv", x, self.constant(weights), self.constant(bias), name=name, group=group, pads=pads)

    def relu6(self, x):
        return self.add("Clip", x, self.constant(0), self.constant(6))

    def model(self, x, shape, y, *, batch: str | int = "n"):
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, [batch, *shape])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def small_net() -> bytes:
    net = Net()
    x = net.relu6(net.conv("x:0", 16, 3, name="stem"))
    for k in range(3):
        wide = net.relu6(net.conv(x, 48, 16, size=1, name=f"expand{k}"))
        deep = net.relu6(net.conv(wide, 48, 1, group=48, name=f"depthwise{k}"))
        x = net.add("Add", x, net.conv(deep, 16, 48, size=1, name=f"project{k}"))
    gate = net.conv(x, 16, 16, size=1, name="swish")
    x = net.add("Mul", gate, net.add("Sigmoid", gate))
    x = net.add("ReduceMean", x, net.whole([2, 3]), keepdims=0)
    hidden = net.add(
        "Add", net.add("MatMul", x, net.constant(net.random.normal(size=(16, 32)) / 4)), net.constant(np.ones(32))
    )
    y = net.add(
        "Gemm", net.add("Relu", hidden), net.constant(net.random.normal(size=(10, 32)) / 6), transB=1, name="head"
    )
    return net.model("x:0", [3, 16, 16], net.add("Softmax", y, axis=1))


def data(count, seed):
    random = np.random.default_rng(seed)
    smooth = random.normal(size=(count, 3, 4, 4)).repeat(4, axis=2).repeat(4, axis=3)
    return (smooth + 0.3 * random.normal(size=(count, 3, 16, 16))).astype("f4")


def batches(values, size=8):
    return [{"x": values[k : k + size]} for k in range(0, len(values), size)]


def run(model, values, name="x:0") -> np.ndarray:
    return np.asarray(open_session(model).run(None, {name: values})[0])


def decibels(exact, other):
    return 10 * np.log10(np.square(exact).sum() / np.square(exact - other).sum())


@pytest.fixture(scope="module")
def net():
    return small_net()


@pytest.fixture(scope="module")
def table(net):
    return calibrate.calibrate(net, batches(data(64, 0)), "minmax")


def test_every_layer_is_symmetric_int8(net, table):
    made = onnx.load_from_string(qdq_writer.quantize(net, table))
    onnx.checker.check_model(made, full_check=True)
    constants = {item.name: numpy_helper.to_array(item) for item in made.graph.initializer}
    producer = {name: node for node in made.graph.node for name in node.output}
    seen = 0
    for node in made.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8 and not zero.any()
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            seen += 1
            assert [producer[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2, node.name
            # A scale of shape [1] counts as one per channel, and TensorRT would run the layer in float.
            assert constants[producer[node.input[0]].input[1]].shape == ()
            weights = constants[producer[node.input[1]].input[0]]
            assert weights.dtype == np.int8 and np.abs(weights.astype(int)).max() == 127
            assert all(constants[name].dtype == np.float32 for name in node.input[2:]), "biases stay float"
    assert seen == len(QuantizableModel(net).layers) == 13


def test_bias_correction_pays(net, table):
    test = data(200, 1)
    exact = run(net, test)
    plain = Table(table.graph, "", 0, "minmax", table.tensors)
    before, after = (decibels(exact, run(qdq_writer.quantize(net, item), test)) for item in (plain, table))
    assert after > before + 1 and after > 20, (before, after)
    unsigned = decibels(exact, run(qdq_writer.quantize(net, table, unsigned=True), test))
    assert unsigned > after, "twice as many levels where nothing is negative"


def test_tensorrt_rtx_runs_it_in_int8(net, table):
    trt = pytest.importorskip("tensorrt_rtx")

    class Logger(trt.ILogger):
        report = ""

        def log(self, severity, text):
            if text.startswith("Layers:"):
                self.report = text

    logger = Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(qdq_writer.quantize(net, table)), [parser.get_error(k).desc() for k in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    profile.set_shape("x:0", (1, 3, 16, 16), (4, 3, 16, 16), (8, 3, 16, 16))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
    lines = [
        line for line in logger.report.splitlines() if "LayerType: correlation" in line or "LayerType: gemm" in line
    ]
    assert len(lines) == 13
    for line in lines:
        assert "Datatype: Int8" in line.split("Inputs: [")[1].split("Constants:")[0], line


@pytest.mark.skipif(
    not re.search(r"vnni|amx_int8", Path("/proc/cpuinfo").read_text()),
    reason="OpenVINO's sums of 8-bit products saturate on a processor without VNNI or AMX",
)
@pytest.mark.parametrize("unsigned", [False, True])
def test_openvino_takes_it(net, table, unsigned):
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    test = data(32, 1)
    compiled = core.compile_model(core.read_model(qdq_writer.quantize(net, table, unsigned=unsigned), b""), "CPU")
    result = compiled(test)[0]
    assert decibels(run(net, test), result) > 20
    info = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    layers = [str(item["runtimePrecision"].value) for item in info if item["layerType"].value == "Convolution"]
    eight_bits = {"u8"} if unsigned else {"u8", "i8"}  # without AMX, OpenVINO makes signed values unsigned itself
    assert sum(item in eight_bits for item in layers) >= 7


def test_a_saved_table_rebuilds_the_same_model(net, table, tmp_path: Path):
    path = tmp_path / "table.json"
    write_tables(path, {"segment": table})
    assert json.loads(path.read_text())["segments"][0]["table"]["samples"] == 64
    (again,) = read_tables(path).values()
    test = data(16, 1)
    np.testing.assert_allclose(
        run(qdq_writer.quantize(net, again), test), run(qdq_writer.quantize(net, table), test), atol=1e-5
    )
    # An export of the same graph in another process has other names.
    renamed = onnx.load_from_string(net)
    for node in renamed.graph.node:
        node.name = f"new_{node.name}"
        for names in (node.input, node.output):
            for k, name in enumerate(names):
                names[k] = name if name == "x:0" else f"{name}__7"
    for item in (*renamed.graph.initializer, *renamed.graph.output):
        item.name = f"{item.name}__7"
    other = qdq_writer.quantize(renamed.SerializeToString(), again)
    np.testing.assert_allclose(run(other, test), run(qdq_writer.quantize(net, table), test), atol=1e-5)
    changed = onnx.load_from_string(net)
    changed.graph.initializer[0].raw_data = bytes(len(changed.graph.initializer[0].raw_data))
    with pytest.raises(IcebreakerError, match="another graph"):
        qdq_writer.quantize(changed.SerializeToString(), again)
    path.write_text(path.read_text().replace('"threshold": ', '"threshold": -'))
    with pytest.raises(IcebreakerError, match=r"table\.json is no calibration table"):
        read_tables(path)


@pytest.mark.parametrize("dead", [0.0, 1e-25])
def test_a_channel_without_weights_keeps_its_bias(dead):
    """ONNX Runtime holds biases in 32 bits as multiples of the weights' scale, which such a channel has hardly any."""
    net = Net()
    weights = net.random.normal(size=(8, 3, 3, 3)) / 5
    weights[2] = dead
    x = net.add("Conv", "x:0", net.constant(weights), net.constant(np.full(8, 2.0)), pads=[1] * 4)
    zero = net.add("Relu", net.add("Neg", net.add("Relu", "x:0")))  # a tensor that is always 0
    late = net.relu6(net.conv(zero, 8, 3))
    y = net.add("Add", net.conv(net.relu6(x), 8, 8), net.conv(late, 8, 8))
    model = net.model("x:0", [3, 16, 16], y)
    made = qdq_writer.quantize(model, calibrate.calibrate(model, batches(data(16, 0)), "minmax"))
    assert decibels(run(model, data(16, 1)), run(made, data(16, 1))) > 30


def test_kept_layers_stay_float(net, table):
    made = onnx.load_from_string(qdq_writer.quantize(net, table, keep={"stem", "head"}))
    inputs = {node.name: node.input for node in made.graph.node}
    assert inputs["stem"][0] == "x:0" and not inputs["head"][0].endswith("/dequantized")
    assert inputs["expand0"][0].endswith("/dequantized")
    everything = {layer.name for layer in QuantizableModel(net).layers}
    test = data(8, 1)
    np.testing.assert_allclose(run(qdq_writer.quantize(net, table, keep=everything), test), run(net, test), atol=1e-6)


def test_auto_chooses_by_error_and_tells(net):
    made = calibrate.calibrate(net, batches(data(32, 0)))
    assert set(made.tried) == set(thresholds.METHODS)
    best = max(made.tried.values())
    assert made.tried[made.method] == best or (made.method == "minmax" and made.tried["minmax"] >= best - 1.5)


def test_auto_heeds_all_rows_and_not_the_few_in_doubt():
    """Two rows between two classes have most of the error; coarse steps that happen to suit them must not win."""
    net = Net()
    y = net.add("MatMul", net.add("Relu", "x:0"), net.constant(np.eye(4) * 4))
    model = net.model("x:0", [4], net.add("Softmax", y, axis=1))
    prepared, step = QuantizableModel(model), 24 / 127
    doubt = np.array([[8, 7, 0, 0], [0, 0, 7, 8]]) * step
    values = np.concatenate([np.tile(np.eye(4) * 2, (8, 1)), doubt]).astype("f4")
    judge = calibrate.mean_decibels(prepared, [{"x:0": row[None]} for row in values])

    def written(threshold):
        return qdq_writer.write(prepared, {"relu1:0": Range(0, 3.1, threshold, "")}, {}, (), unsigned=False)

    fine, coarse = written(3.1), written(24.0)
    exact = run(model, values)
    assert decibels(exact, run(coarse, values)) > decibels(exact, run(fine, values))
    assert judge(fine) > judge(coarse) + 6


class Cancelled(Exception):
    pass


def test_data_streams_and_can_be_cancelled(net):
    def endless():
        for k in itertools.count():
            yield {"x:0": data(4, k)}

    phases = []

    def progress(phase, fraction):
        phases.append(fraction)
        if len(phases) == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        calibrate.calibrate(net, endless(), "minmax", progress=progress)
    assert len(phases) == 5 and all(0 <= fraction <= 1 for fraction in phases)


def test_bad_data_is_refused(net):
    with pytest.raises(IcebreakerError, match="empty"):
        calibrate.calibrate(net, [])
    with pytest.raises(IcebreakerError, match="no values for input x: it has y"):
        calibrate.calibrate(net, [{"y": data(2, 0)}])
    with pytest.raises(IcebreakerError, match="does not run"):
        calibrate.calibrate(net, [{"x": data(2, 0)[:, :2]}])
    broken = data(4, 0)
    broken[2, 0, 0, 0] = np.nan
    with pytest.raises(IcebreakerError, match="not finite"):
        calibrate.calibrate(net, [{"x": broken}])
    with pytest.raises(IcebreakerError, match="method 'best' is unknown"):
        calibrate.calibrate(net, [{"x": data(4, 0)}], "best")
    bare = Net()
    with pytest.raises(IcebreakerError, match="no convolution or matrix product"):
        calibrate.calibrate(bare.model("x:0", [3], bare.add("Relu", "x:0")), [{"x": np.ones((9, 3), "f4")}])


def test_odd_layers():
    """A product of two computed tensors, weights on the left, a transposed convolution in groups, a fixed batch."""
    net = Net()
    up = net.add("ConvTranspose", "x:0", net.constant(net.random.normal(size=(4, 3, 2, 2))), group=2, strides=[2, 2])
    turned = net.add("Transpose", up, perm=[0, 1, 3, 2])
    product = net.add("MatMul", up, turned)
    y = net.add("MatMul", net.constant(net.random.normal(size=(3, 8))), product)
    model = net.model("x:0", [4, 4, 4], y, batch=1)
    assert len(QuantizableModel(model).layers) == 3
    values = net.random.normal(size=(12, 4, 4, 4)).astype("f4")
    table = calibrate.calibrate(model, [{"x": value[None]} for value in values], "minmax")
    assert table.samples == 12
    made = qdq_writer.quantize(model, table)
    assert decibels(run(model, values[:1]), run(made, values[:1])) > 25


def test_memory_stays_bounded_whatever_a_batch_has(net):
    """A batch is split before it runs, and a walk takes only as many rows as fit."""
    prepared = QuantizableModel(net)
    big = {"x:0": data(300, 0)}
    assert [len(part["x:0"]) for part in prepared.split(big, 128)] == [128, 128, 44]
    seen = calibrate.observe(prepared, [big])
    assert seen.samples == 300 and len(seen.rows) == 128 and all(len(row["x:0"]) == 1 for row in seen.rows)


def test_a_walk_keeps_no_tensor_that_nobody_reads_any_more(monkeypatch):
    """An activation takes its input's place row by row, so that more rows fit: they make better corrections."""
    net = Net()
    wide = net.add("Relu", net.relu6(net.conv("x:0", 64, 3)))
    model = net.model("x:0", [3, 16, 16], net.conv(wide, 4, 64))
    one = 64 * 16 * 16 * 4  # bytes of the wide tensor of a row
    monkeypatch.setattr(bias_correction, "WALK_BYTES", 40 * 2 * one)
    rows = [{"x:0": row[None]} for row in data(64, 0)]
    prepared = QuantizableModel(model)
    assert (
        sum(len(chunk["x:0"]) for chunk in bias_correction.chunks(prepared, rows)) == 32
    )  # every second; 16 if both stayed
    table = calibrate.calibrate(model, batches(data(64, 0)), "minmax")
    test = data(32, 1)
    assert decibels(run(model, test), run(qdq_writer.quantize(model, table), test)) > 30


@pytest.mark.parametrize("scale", [1e-3, 1.0, 7e4])
def test_histograms_grow_without_losing_counts(scale):
    random = np.random.default_rng(0)
    values = [random.normal(size=5000) * scale * 10**k for k in range(3)]
    histogram = thresholds.Histogram()
    for value in values:
        histogram.add(value.astype("f4"))
    everything = np.abs(np.concatenate(values)).astype("f4")
    assert histogram.counts.sum() == everything.size
    assert histogram.largest == everything.max() and histogram.span / 2 < everything.max() <= histogram.span
    width = histogram.span / thresholds.BINS
    exact, _ = np.histogram(everything, thresholds.BINS, (0, histogram.span))
    assert np.abs(exact.cumsum() - histogram.counts.cumsum()).max() <= 3, "only rounding at bin edges"
    for share in (0.5, 0.99, 0.9999):
        found = thresholds.percentile(histogram, share)
        assert abs(found - np.quantile(everything, share, method="higher")) <= 2 * width


def test_methods_clip_outliers_as_they_should():
    random = np.random.default_rng(0)
    histogram = thresholds.Histogram()
    values = np.append(random.normal(size=200_000), 50.0).astype("f4")
    histogram.add(values)
    assert thresholds.minmax(histogram) == 50
    assert 3.5 < thresholds.percentile(histogram) < 5
    threshold = thresholds.mse(histogram)
    assert threshold < 30

    def error(limit):
        step = limit / 127
        return np.square(np.clip(np.rint(values / step), -127, 127) * step - values).mean()

    assert error(threshold) <= 1.05 * min(error(limit) for limit in np.linspace(1, 50, 200))
    assert 2 < thresholds.entropy(histogram) < 15
    flat = thresholds.Histogram()
    flat.add(np.zeros(10, "f4"))
    assert [method(flat) for method in thresholds.METHODS.values()] == [0, 0, 0, 0]


def judged(net, model, values):
    """What a model costs against the float one."""
    return accuracy_control.accuracy(["y"], [run(net, values)], [run(model, values)])


def test_worst_layers_and_budget(net, table):
    learn, held = data(32, 0), data(120, 1)
    layers = accuracy_control.worst_layers(net, table, batches(learn))
    assert len(layers) == 13 and [item.output_db for item in layers] == sorted(item.output_db for item in layers)
    whole = judged(net, qdq_writer.quantize(net, table), held)
    assert whole.samples == 120 and whole.top1_agreement is not None and whole.top1_agreement > 0.5
    assert accuracy_control.disagreement(whole) == pytest.approx(1 - whole.top1_agreement)
    assert whole.top5_agreement is not None and whole.top5_agreement >= whole.top1_agreement
    sizes = []

    def latency(model):
        sizes.append(len(model))
        return float(len(sizes))

    limit = whole.error * 0.7
    budget = accuracy_control.Budget(error=limit)
    found = accuracy_control.search(net, table, batches(learn), budget, layers, batches(held), latency=latency)
    (chosen,) = [point for point in found.curve if point.chosen]
    assert found.table and 0 < chosen.kept < 13 and chosen.error <= limit
    counts = [point.kept for point in found.curve]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 13 and found.curve[-1].error == 0
    assert all(point.latency_ms for point in found.curve)
    fewer = found.curve[counts.index(chosen.kept) - 1]
    assert fewer.kept == chosen.kept - 1 and fewer.error > limit, "no layer too many"
    rebuilt = qdq_writer.quantize(net, Table.from_json(found.table.to_json()))
    assert judged(net, rebuilt, held).error == pytest.approx(chosen.error, rel=1e-3)
    assert f"{chosen.kept} of 13 layers stay float" in str(found.message)


def test_a_budget_that_cannot_be_kept_is_refused_in_words(net, table):
    layers = accuracy_control.worst_layers(net, table, batches(data(8, 0)))
    budget = accuracy_control.Budget(error=0)
    found = accuracy_control.search(net, table, batches(data(8, 0)), budget, layers, batches(data(16, 1)))
    assert found.table is None and found.message.code == "budget_not_kept" and "choose fp16" in str(found.message)
    with pytest.raises(IcebreakerError, match="empty"):
        accuracy_control.Budget()
    with pytest.raises(IcebreakerError, match="not from 0 to 1"):
        accuracy_control.Budget(2.0)
    assert str(accuracy_control.Budget(0.01, 1e-6)) == "1% top-1 disagreement and 0.0001% error"


def qat_graph(tf, op):
    """A convolution and a product between quantization nodes with fixed ranges."""
    random = np.random.default_rng(0)
    quant = tf.quantization

    def between(value, low, high, narrow=False):
        if op == "vars":
            return quant.fake_quant_with_min_max_vars(value, low, high, narrow_range=narrow)
        if op == "args":
            return quant.fake_quant_with_min_max_args(value, low, high, narrow_range=narrow)
        call = {"v2": tf.raw_ops.QuantizeAndDequantizeV2, "v4": tf.raw_ops.QuantizeAndDequantizeV4}.get(op)
        given = {"input": value, "input_min": low, "input_max": high, "range_given": True, "narrow_range": narrow}
        if call is None:
            return tf.raw_ops.QuantizeAndDequantizeV3(num_bits=8, **given)
        return call(num_bits=8, **given)

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        weights = tf.constant(random.normal(size=(3, 3, 3, 8)), tf.float32)
        y = tf.nn.conv2d(between(x, -2.0, 2.0), between(weights, -3.0, 3.0, narrow=True), 1, "SAME")
        y = tf.reduce_mean(between(tf.nn.relu6(y), 0.0, 6.0), [1, 2])
        tf.linalg.matmul(between(y, -4.0, 4.0), tf.constant(random.normal(size=(8, 5)), tf.float32), name="y")
    return graph


@pytest.mark.parametrize("op", ["vars", "args", "v2", "v3", "v4"])
def test_trained_ranges_are_kept(op):
    tf = pytest.importorskip("tensorflow")
    from tf2onnx import optimizer, tfonnx

    graph = qat_graph(tf, op)
    values = np.random.default_rng(1).normal(size=(32, 8, 8, 3)).astype("f4")
    with tf.compat.v1.Session(graph=graph) as session:
        exact = session.run("y:0", {"x:0": values})
    fixed = fake_quant.with_fixed_ranges(graph.as_graph_def())
    assert {node.op for node in fixed.node} & fake_quant.OPS <= {
        "FakeQuantWithMinMaxArgs",
        "FakeQuantWithMinMaxVars",
    }
    with tf.Graph().as_default() as other:
        tf.import_graph_def(fixed, name="")
        made = tfonnx.process_tf_graph(
            other, opset=18, input_names=["x:0"], output_names=["y:0"], custom_op_handlers=dict(fake_quant.HANDLERS)
        )
    model = optimizer.optimize_graph(made).make_model("qat").SerializeToString()
    table = calibrate.trained_table(model)
    scales = sorted(item.threshold for item in table.tensors.values())
    whole = qdq_writer.quantize(model, table)
    made = onnx.load_from_string(whole)
    kinds = [node.op_type for node in made.graph.node]
    producer = {name: node.op_type for node in made.graph.node for name in node.output}
    for node in made.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            assert [producer[name] for name in node.input[:2]] == ["DequantizeLinear"] * 2, (op, kinds, scales)
    floor = 30 if op in ("vars", "args") else 35  # FakeQuant's asymmetric steps are a little finer
    assert decibels(exact, run(whole, values)) > floor


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} with its real graphs is not here")
def test_the_digits_network_of_tf_trt():
    """tftrt_mnist_qdq: 97.87 % in TensorFlow; its ranges are found anew for every batch, so data tells them."""
    tf = pytest.importorskip("tensorflow")
    from icebreaker.export import exporter
    from icebreaker.tensors import Tensor

    definition = tf.compat.v1.GraphDef.FromString((SHARED / "graphs/tftrt_mnist_qdq.pb").read_bytes())
    fixed = fake_quant.with_fixed_ranges(definition, calibrated=True)
    model = exporter.export(fixed, [Tensor("input")], [Tensor("output")]).model
    with np.load(SHARED / "images/mnist_10k.npz") as digits:
        values, labels = digits["x"][..., None].astype("f4") * 2 / 255 - 1, digits["y"]
    table = calibrate.calibrate(model, [{"input": values[k : k + 50]} for k in range(0, 300, 50)])
    made = qdq_writer.quantize(model, table)
    found = np.concatenate([run(made, values[k : k + 500], "input:0") for k in range(300, 10000, 500)])
    assert (found.argmax(1) == labels[300:]).mean() > 0.976
