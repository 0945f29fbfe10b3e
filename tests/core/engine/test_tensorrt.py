"""The TensorRT engines: real builds with TensorRT-RTX, which needs no GPU to build; names checked for the rest."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import parser
from tensorboard.compat.proto import graph_pb2, types_pb2

from helpers.paths import GRAPHS
from icebreaker import events, gpu, reports, sample_models
from icebreaker.engine import cuda as engine_memory
from icebreaker.engine import protocol, registry
from icebreaker.engine.protocol import BuildOptions
from icebreaker.engine.segment_model import SegmentModel
from icebreaker.engine.tensorrt import builder, layer_report, runner, targets
from icebreaker.engine.tensorrt import engine as engine_module
from icebreaker.engine.tensorrt import rtx as rtx_module
from icebreaker.engine.tensorrt.builder import add_profile, make_logger, make_parser
from icebreaker.engine.tensorrt.engine import TensorRT
from icebreaker.engine.tensorrt.payload import parts
from icebreaker.engine.tensorrt.rtx import TensorRTRTX
from icebreaker.errors import IcebreakerError
from icebreaker.jobs import supervisor
from icebreaker.jobs.requests import Convert
from icebreaker.settings import ENGINE_OPTIONS, ConvertSettings
from icebreaker.storage import cache

rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install tensorrt-rtx-cu13")
engine = registry.get("tensorrt-rtx")
without_gpu = pytest.mark.skipif(gpu.find() is not None, reason="this machine has an NVIDIA GPU")
rng = np.random.default_rng(0)


def network(body: str, signature: str = "(float[N,3,32,32] x) => (float[N,?,32,32] y)", layers: int = 3) -> bytes:
    """Convolutions and Relus from x to h, then `body`; nodes are named after their output."""
    lines, weights, current = [], [], "x"
    for index in range(layers):
        weights.append((f"w{index}", rng.normal(scale=0.1, size=(16, 3 if index == 0 else 16, 3, 3))))
        target = "h" if index == layers - 1 else f"r{index}"
        lines += [f"c{index} = Conv <pads = [1, 1, 1, 1]> ({current}, w{index})", f"{target} = Relu (c{index})"]
        current = target
    text = "\n".join(['<ir_version: 9, opset_import: ["" : 18]>', f"net {signature} {{", *lines, body, "}"])
    proto = parser.parse_model(text.replace("?", "C"))
    for name, value in weights:
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    for node in proto.graph.node:
        node.name = f"node_{node.output[0]}"
    return proto.SerializeToString()


def profile(most: int) -> dict[str, Any]:
    return {"x": ((1, 3, 32, 32), (most, 3, 32, 32), (most, 3, 32, 32))}


def header(payload: bytes) -> dict[str, Any]:
    return json.loads(payload.partition(b"\n")[0])


# Building


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_builds_with_dynamic_batch_and_tells_its_layers(precision: str) -> None:
    built = engine.build(
        SegmentModel.of_onnx(network("y = Sigmoid (h)")), BuildOptions(precision=precision, profiles=profile(8))
    )
    assert built.precision == precision and built.version == rtx.__version__
    assert len(built.payload) > 10_000, "the weights are inside"
    assert header(built.payload)["outputs"] == [["y", "float32"]]
    convolutions = [layer for layer in built.layers if layer.type in ("correlation", "CaskConvolution")]
    assert [layer.precision for layer in convolutions] == [precision] * 3
    assert {f"node_c{index}" for index in range(3)} <= {name for layer in built.layers for name in layer.nodes}


@without_gpu
def test_says_where_a_plan_runs_that_was_built_without_a_gpu() -> None:
    built = engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), BuildOptions(profiles=profile(1)))
    assert not built.runs_here
    assert {"sm_80", "sm_86", "sm_89", "sm_120"} <= set(built.device.split(","))
    assert str(built.note).startswith("built here, runs on NVIDIA GPUs of compute capability 8.0, 8.6, 8.9, 12.0")
    with pytest.raises(IcebreakerError, match="no NVIDIA GPU"):
        engine.load(built.payload, built.precision)


def test_int8_layers_are_reported_as_such() -> None:
    text = """<ir_version: 9, opset_import: ["" : 18]>
    net (float[N,3,32,32] x) => (float[N,8,32,32] y) {
        xq = QuantizeLinear (x, sx, zero)
        xd = DequantizeLinear (xq, sx, zero)
        wd = DequantizeLinear (w, sw, zero)
        y = Conv <pads = [1, 1, 1, 1]> (xd, wd)
    }"""
    proto = parser.parse_model(text)
    values = {"sx": np.float32(0.05), "sw": np.float32(0.01), "zero": np.int8(0)}
    values["w"] = rng.integers(-127, 127, (8, 3, 3, 3)).astype(np.int8)
    for name, value in values.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    built = engine.build(
        SegmentModel.of_onnx(proto.SerializeToString()), BuildOptions(precision="int8", profiles=profile(4))
    )
    assert "int8" in {layer.precision for layer in built.layers}


def test_progress_rises_and_the_log_has_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "icebreaker")
    steps: list[tuple[str, float]] = []
    options = BuildOptions(
        profiles=profile(2),
        progress=lambda phase, fraction: steps.append((phase, fraction)),
    )
    engine.build(SegmentModel.of_onnx(network("y = Abs (h)")), options)
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and 0 < fractions[0] < 0.5
    assert len({str(phase) for phase, _ in steps}) > 3
    levels = {record.levelname for record in caplog.records}
    assert levels and levels <= {"INFO", "WARNING", "ERROR"}


def test_cancel_stops_the_builder_at_its_next_step() -> None:
    def steps_of(cancel: bool) -> int:
        steps = 0

        def progress(phase: str, fraction: float) -> None:
            nonlocal steps
            steps += 1
            if cancel and steps == 10:
                raise KeyboardInterrupt

        if cancel:
            with pytest.raises(KeyboardInterrupt):
                engine.build(SegmentModel.of_onnx(data), BuildOptions(profiles=profile(8), progress=progress))
        else:
            engine.build(SegmentModel.of_onnx(data), BuildOptions(profiles=profile(8), progress=progress))
        return steps

    data = network("y = Neg (h)", layers=120)
    assert steps_of(cancel=True) == 10 < steps_of(cancel=False) / 3


def test_cancelling_the_job_ends_a_long_build_in_its_midst(tmp_path: Path) -> None:
    """One step of the builder compiles everything, for seconds in a big graph; the job ends in the midst of it."""
    path = tmp_path / "long.pb"
    path.write_bytes(tower(200))
    building = threading.Event()

    def on_event(event: events.Event) -> None:
        if isinstance(event, events.Log) and "timing cache" in str(event.text):  # the last line before that step
            building.set()

    wanted = ConvertSettings.of(engine="tensorrt-rtx", max_batch_size=64)
    job = supervisor.Job(Convert(model=str(path), output=str(tmp_path / "o.pb"), settings=wanted), on_event)
    job.start()
    assert building.wait(300), job.wait(1)
    time.sleep(0.2)
    job.cancel()
    assert isinstance(job.wait(60), events.Cancelled)
    assert list(tmp_path.iterdir()) == [path]


def tower(layers: int) -> bytes:
    """A frozen graph of convolutions, one on top of the other."""
    float_type = cast(Any, types_pb2).DT_FLOAT
    graph = cast(Any, graph_pb2).GraphDef()
    entry = graph.node.add(name="x", op="Placeholder")
    entry.attr["dtype"].type = float_type
    for size in (-1, 32, 32, 16):
        entry.attr["shape"].shape.dim.add(size=size)
    current = "x"
    for index in range(layers):
        weight = graph.node.add(name=f"w{index}", op="Const")
        weight.attr["dtype"].type = float_type
        tensor = weight.attr["value"].tensor
        tensor.dtype = float_type
        for size in (3, 3, 16, 16):
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = rng.normal(scale=0.08, size=(3, 3, 16, 16)).astype(np.float32).tobytes()
        node = graph.node.add(name=f"c{index}", op="Conv2D", input=[current, weight.name])
        node.attr["T"].type = float_type
        node.attr["strides"].list.i.extend([1, 1, 1, 1])
        node.attr["padding"].s = b"SAME"
        graph.node.add(name=f"r{index}", op="Relu", input=[node.name]).attr["T"].type = float_type
        current = f"r{index}"
    return graph.SerializeToString()


def test_an_error_in_a_callback_comes_out_of_the_build() -> None:
    def progress(phase: str, fraction: float) -> None:
        raise KeyError("from the callback")

    with pytest.raises(KeyError, match="from the callback"):
        engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), BuildOptions(profiles=profile(1), progress=progress))


def test_what_cannot_be_built_is_an_error_with_the_vendors_words() -> None:
    with pytest.raises(IcebreakerError, match=r"node node_y \(BitwiseNot\): TensorRT-RTX: BitwiseNot is not supported"):
        engine.build(SegmentModel.of_onnx(network("y = BitwiseNot (h)")), BuildOptions(profiles=profile(1)))
    with pytest.raises(IcebreakerError, match="input x has open dimensions"):
        engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), BuildOptions())
    with pytest.raises(IcebreakerError, match="do not go together: x"):
        wrong = {"x": ((4, 3, 32, 32), (2, 3, 32, 32), (1, 3, 32, 32))}
        engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), BuildOptions(profiles=wrong))
    with pytest.raises(IcebreakerError, match="ONNX model cannot be read"):
        engine.build(SegmentModel.of_onnx(b"\xff\xff nothing"), BuildOptions())


def test_the_builders_phases_drive_the_jobs_progress(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from icebreaker.conversion.pipeline import convert

    path = tmp_path / "tower.pb"
    path.write_bytes(tower(12))
    caplog.set_level("INFO", "icebreaker")
    seen: list[events.Event] = []
    convert(path, tmp_path / "o.pb", ConvertSettings.of(engine="tensorrt-rtx"), emit=seen.append)
    steps = [item for item in seen if isinstance(item, events.Progress)]
    phases = [item for item in steps if "tensorrt-rtx: " in str(item.stage)]
    assert len(phases) > 10 and len({str(item.stage) for item in phases}) > 3
    fractions = [item.fraction for item in steps]
    assert fractions == sorted(fractions) and phases[-1].fraction - phases[0].fraction > 0.4
    assert {record.levelname for record in caplog.records} >= {"INFO"}


# Refusals


def test_nothing_is_refused_of_a_model_it_takes() -> None:
    assert engine.refusals(SegmentModel.of_onnx(network("y = Sigmoid (h)"))) == {}


def test_every_refused_node_is_named_with_its_reason() -> None:
    data = network("""
        a = BitwiseNot (h)
        b = Relu (a)
        i = Cast <to = 6> (b)
        m = MatMul (i, i)
        f = Cast <to = 1> (m)
        n = NonZero (f)
        k = Cast <to = 1> (n)
        y = Add (f, h)
    """)
    refused = engine.refusals(SegmentModel.of_onnx(data))
    assert refused.keys() == {"node_a", "node_m", "node_n"}, "and none of their neighbours"
    assert "BitwiseNot is not supported" in str(refused["node_a"])
    assert "INT32" in str(refused["node_m"]), "found although it lies behind a refused node"
    assert all(str(text).startswith("TensorRT-RTX: ") for text in refused.values())


NMS = """<ir_version: 9, opset_import: ["" : 18]>
net (float[1,100,4] b, float[1,1,100] s, int64[1] m) => (float[N,3] y) {
    kept = NonMaxSuppression (b, s, m)
    y = Cast <to = 1> (kept)
}"""


def test_what_only_the_builder_refuses_is_refused_before(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = parser.parse_model(NMS)
    for node in proto.graph.node:
        node.name = f"node_{node.output[0]}"
    data = proto.SerializeToString()
    assert engine.refusals(SegmentModel.of_onnx(data)) == {
        "node_kept": "TensorRT-RTX: its builder has no runners for NonMaxSuppression"
    }
    with pytest.raises(IcebreakerError, match="has no runners"):  # a version that has them should be asked to build it
        engine.build(SegmentModel.of_onnx(data), BuildOptions())
    monkeypatch.setattr(TensorRTRTX, "_unbuilt", {})
    assert engine.refusals(SegmentModel.of_onnx(data)) == {}, "the parser takes it"


def test_an_input_that_tells_a_shape_is_bounded_by_what_was_seen() -> None:
    text = """<ir_version: 9, opset_import: ["" : 18]>
    net (float[N,12] x, int64[3] s) => (float[A,B,C] y) { y = Reshape (x, s) }"""
    data = parser.parse_model(text).SerializeToString()
    profiles = {"x": ((1, 12), (2, 12), (4, 12)), "s": ((3,), (3,), (3,))}
    samples = [(np.zeros((rows, 12), np.float32), np.array([rows, 3, 4])) for rows in (2, 1, 4)]
    assert engine.build(SegmentModel.of_onnx(data), BuildOptions(profiles=profiles, samples=samples)).payload
    with pytest.raises(IcebreakerError, match="missing values for shape input tensor s"):
        engine.build(SegmentModel.of_onnx(data), BuildOptions(profiles=profiles))


def test_a_type_it_does_not_know_refuses_the_nodes_that_read_it() -> None:
    refused = engine.refusals(
        SegmentModel.of_onnx(
            network(
                "f = Cast <to = 1> (s)\ny = Add (h, f)", "(float[N,3,32,32] x, int16[1] s) => (float[N,16,32,32] y)"
            )
        )
    )
    assert "node_f" in refused


def test_a_refused_result_is_not_laid_to_those_before_it() -> None:
    data = network("a = Relu (h)\nb = Neg (a)\ny = Cast <to = 5> (b)", "(float[N,3,32,32] x) => (int16[N,16,32,32] y)")
    assert engine.refusals(SegmentModel.of_onnx(data)).keys() == {"node_y"}


def test_a_refused_result_behind_an_unknown_rank_is_all_that_is_told() -> None:
    data = network("r = Squeeze (h)\ny = Det (r)", "(float[N,3,32,32] x) => (float[A] y)")
    assert engine.refusals(SegmentModel.of_onnx(data)).keys() == {"node_y"}


# Loading


def test_a_plan_that_does_not_fit_is_recognized_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine with another GPU would be told; that GPU cannot be had here."""
    payload = engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), BuildOptions(profiles=profile(1))).payload
    assert isinstance(payload, bytes)

    def have(name: str, *capability: int) -> None:
        card = gpu.Gpu(name, (capability[0], capability[1]), "580", 1 << 33, 0, 0.0)
        monkeypatch.setattr(gpu, "read", lambda: card)
        monkeypatch.setattr(gpu, "find", lambda: card)

    have("NVIDIA H100", 9, 0)
    with pytest.raises(
        IcebreakerError, match=r"NVIDIA H100 has compute capability 9.0, which TensorRT-RTX does not support"
    ):
        engine.load(payload, "fp32")
    status = engine.status()
    assert status.builds and not status.runs and "NVIDIA H100 has compute capability 9.0" in str(status.detail)
    assert not engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), BuildOptions(profiles=profile(1))).runs_here
    have("GeForce RTX 2080", 7, 5)
    with pytest.raises(IcebreakerError, match=r"GeForce RTX 2080 has compute capability 7.5: convert again here"):
        engine.load(payload, "fp32")
    turing = engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), BuildOptions(profiles=profile(1)))
    assert turing.device == "sm_75"
    with pytest.raises(IcebreakerError, match="damaged"):
        engine.load(payload[10:], "fp32")


def header_of(**values: Any) -> dict[str, Any]:
    whole = {
        "version": "10.13.0", "version_compatible": False, "device": "sm_89", "gpu": "NVIDIA L4", "driver": "570.1",
        "bytes": 1, "weights": "fixed", "inputs": [], "outputs": [],
    }  # fmt: skip
    return whole | values


@pytest.mark.parametrize(
    ("values", "version", "card", "words"),
    [
        ({}, "10.13.0", ("NVIDIA L4", 8, 9, "570.1"), ""),
        ({}, "10.13.0", ("NVIDIA L4", 8, 9, "580.2"), ""),
        ({}, "10.16.0", ("NVIDIA L4", 8, 9, "570.1"), "was built with TensorRT 10.13.0, and this is 10.16.0"),
        ({"version_compatible": True}, "11.4.0", ("NVIDIA L4", 8, 9, "570.1"), ""),
        ({"version_compatible": True}, "10.9.0", ("NVIDIA L4", 8, 9, "570.1"), "and this is 10.9.0: convert again"),
        ({}, "10.13.0", ("NVIDIA L4", 8, 9, "560.9"), "built under driver 570.1, and this is 560.9: update the driver"),
        ({}, "10.13.0", ("NVIDIA L40", 8, 9, "570.1"), "built for NVIDIA L4, and this is NVIDIA L40: .*compatibility"),
        ({"gpu": ""}, "10.13.0", ("NVIDIA L40", 8, 9, "570.1"), ""),
        ({"gpu": ""}, "10.13.0", ("NVIDIA A10", 8, 6, "570.1"), "8.9, and NVIDIA A10 has compute capability 8.6"),
        ({"gpu": "", "device": "sm_80+"}, "10.13.0", ("NVIDIA B200", 10, 0, "580.1"), ""),
        ({"gpu": "", "device": "sm_80+"}, "10.13.0", ("Tesla T4", 7, 5, "580.1"), "8.0 and later, and Tesla T4 has"),
    ],
)  # fmt: skip
def test_another_version_gpu_or_driver_is_told_from_the_header(
    values: dict[str, Any], version: str, card: Any, words: str
) -> None:
    """TensorRT itself is not needed for this, and cannot be had here."""
    name, major, minor, driver = card
    device = gpu.Gpu(name, (major, minor), driver, 1 << 33, 0, 0.0)
    why = TensorRT()._misfit(SimpleNamespace(__version__=version), header_of(**values), device)
    assert re.search(words, str(why)) if words else why is None


@pytest.mark.parametrize(
    "wrong", [{"device": "cpu"}, {"bytes": 10**9}, {"bytes": 0}, {"bytes": True}, {"weights": None}, {"inputs": "x"}]
)
def test_a_header_that_was_changed_is_damaged(wrong: dict[str, Any]) -> None:
    good = json.dumps(header_of(bytes=3)).encode() + b"\nPLANMODEL"
    assert parts(good, "TensorRT")[1:] == (b"PLA", b"NMODEL")
    with pytest.raises(IcebreakerError, match="damaged: convert the graph again"):
        parts(json.dumps(header_of(bytes=3) | wrong).encode() + b"\nPLAN", "TensorRT")


def test_rtx_says_itself_what_it_does_not_load() -> None:
    payload = engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), BuildOptions(profiles=profile(1))).payload
    plan = parts(payload, "TensorRT-RTX")[1]
    asked = TensorRTRTX()
    assert "does not fit: malformed engine" in str(asked._invalid(rtx, b"?" * len(plan)))
    if gpu.find() is None:
        assert "driver" in str(asked._invalid(rtx, plan)), "it wants to see the GPU"


# Options


def test_options_that_rtx_does_not_have_are_refused_with_a_reason() -> None:
    options = engine.status().options
    assert options.keys() == set(ENGINE_OPTIONS)
    assert [name for name, why in options.items() if not why] == ["compute_capabilities"]
    for name, value in {
        "optimization_level": 5, "hardware_compatibility": "ampere-plus", "version_compatible": True,
        "weights": "weightless",
    }.items():  # fmt: skip
        with pytest.raises(IcebreakerError, match=re.escape(str(options[name]))):
            engine.build(SegmentModel.of_onnx(b""), BuildOptions(**{name: value}))


def test_rtx_really_has_no_levels_and_no_hardware_compatibility() -> None:
    """What the user is told of it; a version that has them should offer them."""
    lines: list[str] = []
    log = make_logger(rtx, lambda level, text: lines.append(text))
    plans, data = [], network("y = Sigmoid (h)")
    for level in (0, 5):
        builder = rtx.Builder(log)
        net, reader = make_parser(rtx, builder, log)
        assert reader.parse(data)
        config = builder.create_builder_config()
        config.builder_optimization_level = level
        config.hardware_compatibility_level = rtx.HardwareCompatibilityLevel.AMPERE_PLUS
        add_profile(builder, net, config, profile(2), {})
        plans.append(bytes(builder.build_serialized_network(net, config)))
    assert plans[0] == plans[1]
    assert any("setHardwareCompatibilityLevel() is unsupported" in line for line in lines)


def test_a_warning_is_given_once() -> None:
    """RTX says of every layer of the digits sample in INT8 that it converts the scales: 32 lines."""
    lines: list[str] = []
    log = make_logger(rtx, lambda level, text: lines.append(text))
    for severity, text in (("WARNING", "scales"), ("INFO", "took 1 ms"), ("ERROR", "no")) * 2:
        log.log(getattr(rtx.ILogger.Severity, severity), text)
    assert lines == ["scales", "took 1 ms", "no", "took 1 ms", "no"] and log.errors == ["no", "no"]


def test_tensorrts_options_reach_the_builders_config() -> None:
    """On RTX's own config object, which has the same members; see the table of names below."""
    log = make_logger(rtx)
    builder = rtx.Builder(log)
    wanted = BuildOptions(
        optimization_level=5, hardware_compatibility="ampere-plus", version_compatible=True, weights="weightless"
    )
    config = builder.create_builder_config()
    TensorRT()._aim(rtx, config, None, wanted)
    assert config.builder_optimization_level == 5
    assert config.get_flag(rtx.BuilderFlag.VERSION_COMPATIBLE) and config.get_flag(rtx.BuilderFlag.STRIP_PLAN)
    config = builder.create_builder_config()
    TensorRT()._aim(rtx, config, None, BuildOptions(weights="refittable"))
    assert config.get_flag(rtx.BuilderFlag.REFIT) and not config.get_flag(rtx.BuilderFlag.STRIP_PLAN)
    assert not config.get_flag(rtx.BuilderFlag.VERSION_COMPATIBLE)
    card = gpu.Gpu("NVIDIA L4", (8, 9), "580", 1 << 33, 0, 0.0)
    assert TensorRT()._target(None, card, wanted) == ("sm_80+", True)
    assert TensorRT()._target(None, card, BuildOptions()) == ("sm_89", True)


def test_rtx_builds_for_the_capabilities_that_were_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def built(*chosen: str) -> protocol.Built:
        options = BuildOptions(profiles=profile(1), compute_capabilities=chosen)
        return engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), options)

    assert set(engine.status().targets) >= {"7.5", "8.0", "8.6", "8.9", "12.0"}
    plan = built("12.0", "8.9")
    assert plan.device == "sm_89,sm_120"
    assert built("7.5").device == "sm_75"
    with pytest.raises(IcebreakerError, match=r"does not build for compute capability 9\.0"):
        built("9.0")
    card = gpu.Gpu("GeForce RTX 4060", (8, 9), "580", 1 << 33, 0, 0.0)
    monkeypatch.setattr(gpu, "read", lambda: card)
    monkeypatch.setattr(gpu, "find", lambda: card)
    monkeypatch.setattr(engine_module, "inspected_layers", lambda *_: ())  # which would load it
    assert built("8.9").runs_here and not built("8.6").runs_here
    assert str(built("8.6").note) == "built here, runs on NVIDIA GPUs of compute capability 8.6"
    with pytest.raises(IcebreakerError, match=r"built for compute capability 8\.6, and GeForce RTX 4060 has .* 8\.9"):
        engine.load(built("8.6").payload, "fp32")


@pytest.mark.filterwarnings("ignore:.*no-ops in TensorRT-RTX:DeprecationWarning")
def test_timings_are_kept_between_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TensorRT's way with its timing cache, on RTX's builder, which takes one though it times nothing."""
    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path))
    monkeypatch.setattr(TensorRTRTX, "_timings", TensorRT._timings)
    reads: list[bytes] = []
    read = cache.read_blob
    monkeypatch.setattr(cache, "read_blob", lambda kind, key: reads.append(found := read(kind, key)) or found)
    for _ in range(2):
        engine.build(SegmentModel.of_onnx(network("y = Neg (h)")), BuildOptions(profiles=profile(1)))
    assert reads[0] == b"" and len(reads[1]) > 0
    (file,) = (tmp_path / "tensorrt").iterdir()
    assert file.read_bytes()
    asked = TensorRT()
    cards = [gpu.Gpu(name, (8, 9), driver, 1, 0, 0.0) for name, driver in (("a", "1"), ("b", "1"), ("a", "2"))]
    versions = [SimpleNamespace(__version__=text) for text in ("10.13", "11.4")]
    assert len({asked._timings(trt, card) for trt in versions for card in cards}) == 6


@without_gpu
def test_status_tells_what_is_missing_and_what_helps() -> None:
    status = engine.status()
    assert status.builds and not status.runs
    assert (
        rtx.__version__ in str(status.detail) and "no NVIDIA GPU" in str(status.detail) and "8.9" in str(status.detail)
    )
    if importlib.util.find_spec("tensorrt") is None:
        full = registry.get("tensorrt").status()
        assert not full.builds and not full.runs and "pip install tensorrt" in str(full.detail)
        with pytest.raises(IcebreakerError, match="not installed"):
            registry.get("tensorrt").build(SegmentModel.of_onnx(b""), BuildOptions())


# Real graphs, through the whole conversion

REAL = (
    "t2o_mnist_fc", "t2o_ae0", "t2o_mnist_lstm", "human_emotion", "human_gender", "human_blazeface",
    "facenet_mtcnn_pnet", "facenet_mtcnn_rnet", "human_blazeface-front", "magika_v1", "tftrt_mnist_qdq",
)  # fmt: skip


def converted(model: Path, folder: Path, precision: str = "fp32") -> reports.Conversion:
    from icebreaker.conversion.pipeline import convert

    wanted = ConvertSettings.of(engine="tensorrt-rtx", precision=precision, max_batch_size=4)
    report = convert(model, folder / "optimized.pb", wanted)
    for segment in report.segments:
        assert segment.engine == "tensorrt-rtx" and segment.precision == precision and segment.layers
    return report


@pytest.mark.parametrize("name", REAL)
def test_real_graphs_are_built_or_refused_with_the_parsers_words(name: str, tmp_path: Path) -> None:
    if not GRAPHS.is_dir():
        pytest.skip("the folder of real graphs, ../shared/graphs, is not here")
    report = converted(GRAPHS / f"{name}.pb", tmp_path)
    refused = [item for item in report.left_in_tensorflow if item.code == "engine_refused"]
    assert all("TensorRT-RTX: " in str(item.reason) for item in refused)
    assert report.segments and report.coverage > 0.3
    if gpu.find() is None:
        assert sum("built here, runs on" in text for text in map(str, report.warnings)) == 1, "once for all segments"


@without_gpu
def test_the_digits_sample_becomes_one_engine_for_another_machine(tmp_path: Path) -> None:
    path = sample_models.sample_path("digits")
    assert path is not None
    report = converted(path, tmp_path, "fp16")
    assert len(report.segments) == 1 and not report.segments[0].runs_here
    assert "fp16" in {layer.precision for layer in report.segments[0].layers}
    text = "TRTEngineOp_000: built here, runs on NVIDIA GPUs of compute capability 8.0, "
    assert all(str(item).startswith(text) for item in report.warnings)


# Names: TensorRT itself cannot be installed here, and its runtime part runs on GPUs only. The table holds the members
# of every class that is used, taken from the type stubs of 10.13 (package tensorrt-stubs) and, by introspection, from
# the bindings of 10.16 and 11.4 (package tensorrt-cu13-bindings).

NAMES = json.loads(Path(__file__).with_name("tensorrt_names.json").read_text())
VERSIONS = ("10.13", "10.16", "11.4")
# How the module calls its objects → their class; `""` is the vendor's module itself.
OBJECTS = {
    "trt": "", "builder": "Builder", "config": "IBuilderConfig", "network": "INetworkDefinition", "tensor": "ITensor",
    "parser": "OnnxParser", "error": "ParserError", "profile": "IOptimizationProfile", "runtime": "Runtime",
    "engine": "ICudaEngine", "context": "IExecutionContext", "usage": "IRuntimeConfig",
    "compiled": "IRuntimeCache", "refitter": "Refitter",
}  # fmt: skip
RTX_ONLY = {
    ("", "ComputeCapability"),
    ("", "EngineInvalidityDiagnostics"),
    ("", "EngineValidity"),
    ("", "CudaGraphStrategy"),
    ("IRuntimeConfig", "cuda_graph_strategy"),
    ("Runtime", "engine_header_size"),
    ("Runtime", "get_engine_validity"),
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
    ("IRuntimeConfig", "create_runtime_cache"),
    ("IRuntimeConfig", "set_runtime_cache"),
    ("IRuntimeCache", "deserialize"),
    ("IRuntimeCache", "serialize"),
}


MODULES = (builder, engine_module, layer_report, rtx_module, runner, targets)  # that speak to TensorRT


def used_names() -> Iterator[tuple[str, str]]:
    """(class, member) for every use of the vendor's API in the module's source."""
    for node in (node for module in MODULES for node in ast.walk(ast.parse(inspect.getsource(module)))):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        if isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "trt":
            if name in NAMES and node.attr != "__init__":
                yield name, node.attr  # such as trt.BuilderFlag.TF32
        elif name.lstrip("_") in OBJECTS:
            yield OBJECTS[name.lstrip("_")], node.attr


def test_the_check_sees_the_uses() -> None:
    found = set(used_names())
    assert {("Builder", "build_serialized_network"), ("IExecutionContext", "execute_async_v3"), ("", "nptype")} <= found
    assert len(found) > 40


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_is_used_exists_in_tensorrt(version: str) -> None:
    def has(kind: str, member: str) -> bool:
        if (kind, member) in RTX_ONLY or (kind == "" and member in NAMES):
            return True
        return member in NAMES[kind]["all"] or member in NAMES[kind].get(version, ())

    missing = [f"{kind}.{name}" for kind, name in used_names() if not has(kind, name)]
    assert not missing


def test_every_name_that_is_used_exists_in_rtx() -> None:
    assert not [
        f"{kind}.{name}" for kind, name in used_names() if not hasattr(getattr(rtx, kind) if kind else rtx, name)
    ]


def test_cuda_calls_exist() -> None:
    binding = pytest.importorskip("cuda.bindings.runtime", reason="no cuda-bindings", exc_type=ImportError)
    nodes = [node for item in (engine_memory, *MODULES) for node in ast.walk(ast.parse(inspect.getsource(item)))]
    strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    copies = {text for text in strings if text.startswith("cudaMemcpy") and text != "cudaMemcpyAsync"}
    names = {text for text in strings if re.match("cuda[A-Z]", text) and text.isidentifier()} - copies
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and re.match("cuda[A-Z]", node.attr)}
    members = dict.fromkeys((name for name in names if re.match("cudaError[A-Z]", name)), binding.cudaError_t) | {
        "cudaSuccess": binding.cudaError_t,
        "cudaStreamCaptureModeThreadLocal": binding.cudaStreamCaptureMode,
    }
    assert not [name for name, kind in members.items() if not hasattr(kind, name)]
    assert len(names) > 12 and not [name for name in names - members.keys() if not hasattr(binding, name)]
    assert len(copies) == 3 and not [name for name in copies if not hasattr(binding.cudaMemcpyKind, name)]


def test_nvml_calls_exist() -> None:
    nvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    names = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(gpu)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pynvml"
    }
    assert len(names) > 8 and not [name for name in names if not hasattr(nvml, name)]
