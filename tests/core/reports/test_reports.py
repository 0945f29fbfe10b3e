"""Results: what scripts see of them is a contract, and they survive the way between processes."""

import json

import pytest

from icebreaker import codec, reports

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
        "y": {"max_abs": 1e-6, "max_rel": 1e-7, "cosine": 1.0, "sqnr_db": 120.0, "top1_agreement": 1.0, "values": 1}
    }
