"""Settings, events and reports: the plain values that travel between processes and into scripts."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icebreaker import codec, events, reports
from icebreaker.errors import IcebreakerError
from icebreaker.messages import message
from icebreaker.reports import EngineStatus
from icebreaker.settings import PRECISIONS, ConvertSettings, parse_profile, parse_size, profile_text

LATENCY = reports.Latency(1.0, 2.0, 3.0, 4.0, 1.5, 666.7, 100)
DIFFERENCE = reports.OutputDifference(1e-6, 1e-7, 1.0, 120.0, 1.0)
SEGMENT = reports.SegmentReport(
    "TRTEngineOp_000", "openvino", "bf16", ("a", "b"), ("x",), ("b",), 0.5, 10.0, 5.0, 1e-7, True,
    (reports.EngineLayer("a", "Convolution", "bf16"),), (reports.Tried("openvino", "bf16", 5.0),),
)  # fmt: skip


def through_json(value):
    return codec.decode(codec.encode(value), type(value))


@pytest.mark.parametrize(
    "value",
    [
        reports.Inspection(
            3, {"Conv2D": 2, "Relu": 1}, (reports.GraphInput("x", "float32", (None, 3)),), ("y",), True, 12
        ),
        reports.Conversion("out.pb", 2.5, 0.9, (SEGMENT,), (reports.Left("n", "Foo", "because", "unsupported_op"),)),
        reports.Benchmark(LATENCY, LATENCY, reports.Speedup(2.0, (1.9, 2.1)), {"y": DIFFERENCE}, 8),
        reports.Calibration(
            "t.json", 1.5, 8, (reports.CalibratedSegment("TRTEngineOp_000", 3, "mse", {"mse": 41.5}, 8, 4),)
        ),
        reports.Benchmark(LATENCY),
        reports.Comparison({"y": DIFFERENCE, "z": reports.OutputDifference(0.0, 0.0, 1.0, None, None)}),
        reports.Machine((reports.EngineStatus("openvino", True, True, "2026.4", {"fp16": "bf16"}),), "H100", 1 << 36),
    ],
    ids=lambda value: type(value).__name__,
)
def test_reports_survive_the_way_between_processes(value):
    assert through_json(value) == value


def test_a_report_of_another_version_is_refused():
    with pytest.raises(ValueError, match="'more' is unknown: it comes from another version"):
        codec.from_plain({"node": "n", "op": "o", "reason": "r", "code": "c", "more": 1}, reports.Left)


def test_contract_of_inspect():
    found = reports.Inspection(1, {"Neg": 1}, (reports.GraphInput("x", "int32", None),), ("y",), False, 0, ("f",))
    assert found.to_json() == {
        "nodes": 1,
        "ops": {"Neg": 1},
        "inputs": ({"name": "x", "dtype": "int32", "shape": None},),
        "outputs": ("y",),
        "control_flow": False,
        "bytes": 0,
    }


def test_contract_of_convert():
    left = reports.Left("n", "Foo", "because", "unsupported_op")
    data = json.loads(json.dumps(reports.Conversion("out.pb", 2.5, 0.9, (SEGMENT,), (left,), ("careful",)).to_json()))
    assert data == {
        "output": "out.pb",
        "seconds": 2.5,
        "coverage": 0.9,
        "segments": [
            {
                "name": "TRTEngineOp_000",
                "engine": "openvino",
                "precision": "bf16",
                "nodes": ["a", "b"],
                "inputs": ["x"],
                "outputs": ["b"],
                "build_seconds": 0.5,
            }
        ],
        "left_in_tensorflow": [{"node": "n", "op": "Foo", "reason": "because"}],
    }


def test_contract_of_benchmark():
    latency = {
        "p50_ms": 1.0, "p90_ms": 2.0, "p95_ms": 3.0, "p99_ms": 4.0, "mean_ms": 1.5, "throughput": 666.7, "samples": 100
    }  # fmt: skip
    both = reports.Benchmark(LATENCY, LATENCY, reports.Speedup(2.0, (1.9, 2.1)), {"y": DIFFERENCE}, 8)
    assert json.loads(json.dumps(both.to_json())) == {
        "original": latency,
        "optimized": latency,
        "speedup": {"median": 2.0, "ci95": [1.9, 2.1]},
    }
    assert reports.Benchmark(LATENCY).to_json() == {"original": latency}


def test_contract_of_compare():
    assert reports.Comparison({"y": DIFFERENCE}).to_json() == {
        "y": {"max_abs": 1e-6, "max_rel": 1e-7, "cosine": 1.0, "sqnr_db": 120.0, "top1_agreement": 1.0}
    }


@pytest.mark.parametrize(
    "event",
    [
        events.Progress("Building", 0.5),
        events.Log("info", 'two\nlines "and" ä'),
        events.Sample("original", 1.5, 2.5),
        events.Done({"output": "x", "nested": [1, None, {"a": 0.5}]}),
        events.Failed(message("worker_broke", "it broke with {figure}", figure=1.5), "Traceback"),
        events.Cancelled(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_are_one_line_each(event):
    line = events.encode(event)
    assert "\n" not in line and events.decode(line) == event


def test_infinite_figures_survive_between_processes():
    done = events.decode(events.encode(events.Done({"max_abs": math.inf})))
    assert isinstance(done, events.Done) and done.result["max_abs"] == math.inf


@pytest.mark.parametrize("line", ["", "{", "5", "[]", "{}", '{"event":"Bang"}', '{"event":"Progress"}', '"Progress"'])
def test_what_is_no_event(line):
    with pytest.raises(ValueError):
        events.decode(line)


@given(st.text())
def test_no_line_breaks_the_reader(line):
    with pytest.raises(ValueError):
        events.decode(line)


def test_settings_survive_the_way_to_the_worker():
    settings = ConvertSettings.of(
        outputs=("y",), inputs=("x",), input_shapes={"x": (1, 3)}, engine="openvino", precision="fp16",
        max_batch_size=8, workspace_bytes=1, memory_fraction=0.5, minimum_segment_size=1, exclude=("n",), data="d.npz",
        profiles={"z": ((1, 2), (3, 4), (5, 6))}, optimization_level=0, hardware_compatibility="ampere-plus",
        version_compatible=True, weights="weightless", compute_capabilities=("8.9", "12.0"),
    )  # fmt: skip
    assert through_json(settings) == settings
    assert codec.from_plain({}, ConvertSettings) == ConvertSettings()


def test_settings_of_another_version_are_refused():
    for data in ({"turbo": True}, {"builder": {"turbo": True}}, {"quantization": {"turbo": True}}):
        with pytest.raises(ValueError, match="'turbo' is unknown"):
            codec.from_plain(data, ConvertSettings)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"precision": "fp8"}, "precision 'fp8' is unknown: choose " + ", ".join(PRECISIONS)),
        ({"max_batch_size": 0}, "max batch size 0"),
        ({"workspace_bytes": -1}, "workspace -1"),
        ({"memory_fraction": 0.0}, "memory fraction 0.0"),
        ({"memory_fraction": 1.5}, "memory fraction 1.5"),
        ({"minimum_segment_size": 0}, "minimum segment size 0"),
        ({"optimization_level": 6}, "optimization level 6 is unknown: choose 0 to 5"),
        ({"hardware_compatibility": "all"}, "hardware compatibility 'all' is unknown: choose none, "),
        ({"weights": "gone"}, "weights 'gone' is unknown: choose fixed, refittable, weightless"),
        ({"compute_capabilities": ("sm_89",)}, "'sm_89' is not a compute capability: write it like 8.9"),
        ({"profiles": {"x": ((1,), (2,))}}, "the profile of x is not three shapes"),
        ({"profiles": {"x": ((1,), (2,), (3, 4))}}, "the profile of x is not three shapes of one length"),
        ({"profiles": {"x": ((1,), (3,), (2,))}}, "the profile of x does not grow"),
        ({"profiles": {"x": ((0,), (1,), (2,))}}, "the profile of x has a size below 1"),
        ({"profiles": {"x": ((1,), (1,), (2,))}, "input_shapes": {"x": (1,)}}, "input x has both"),
    ],
)
def test_values_out_of_range_are_refused(values, words):
    with pytest.raises(IcebreakerError) as raised:
        ConvertSettings.of(**values)
    assert str(raised.value).startswith(words)


def test_profiles_are_read_and_written():
    name, profile = parse_profile("^image:0=1x64x3, 4×224x3,8x512x3")
    assert (name, profile) == ("image", ((1, 64, 3), (4, 224, 3), (8, 512, 3)))
    assert parse_profile(f"image={profile_text(profile)}") == (name, profile)
    assert parse_profile("ids=1x8") == ("ids", ((1, 8),) * 3)
    for text in ("1x2", "x=", "x=1x2,3", "x=1xA", "x=1,2,3,4", "=1,2,3"):
        with pytest.raises(IcebreakerError):
            parse_profile(text)


def test_what_no_engine_has_is_told_with_its_reason():
    rich = EngineStatus("rich", True, True, "", options={"optimization_level": "", "weights": "it melts"})
    poor = EngineStatus("poor", True, True, "")
    asked = ConvertSettings.of(optimization_level=5)
    assert asked.unmet([rich]) == asked.unmet([poor, rich]) == ConvertSettings().unmet([poor]) is None
    assert str(asked.unmet([poor])) == (
        "a builder optimization level is not to be had with poor: it is for TensorRT; leave it out"
    )
    assert "with poor or rich: it melts" in str(ConvertSettings.of(weights="weightless").unmet([poor, rich]))
    some = EngineStatus("some", True, True, "", options={"compute_capabilities": ""}, targets=("8.0", "8.9"))
    assert ConvertSettings.of(compute_capabilities=("8.9",)).unmet([some]) is None
    assert "does not build for compute capability 9.0: choose 8.0, 8.9" in (
        str(ConvertSettings.of(compute_capabilities=("8.0", "9.0")).unmet([some]))
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("4 GiB", 4 << 30), ("1.5mb", 1_500_000), ("512", 512), (" 2kib ", 2048), ("0", 0), ("7B", 7)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4TB", "-1", "1e9", "4 G B", "٤GB", "4GB!", "inf"])
def test_what_is_no_size(text):
    with pytest.raises(IcebreakerError, match="is not a size"):
        parse_size(text)


def test_errors_are_one_line():
    assert str(IcebreakerError("quoted", "{words}", words="a:\n  b\tc\r\n")) == "a: b c"
    long = str(IcebreakerError("size_malformed", "{subject!r} is not a size", "write_size", subject="x" * 1_000_000))
    assert len(long) < 2100 and long.startswith("'xxx") and long.endswith("MiB or GiB")
