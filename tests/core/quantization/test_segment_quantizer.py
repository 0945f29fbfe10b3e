"""INT8 within a conversion: data and tables, the budget, what is told, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import icebreaker
from helpers.paths import SAMPLES, SHARED
from icebreaker import codec
from icebreaker.cli import main
from icebreaker.conversion.pipeline import calibrate, convert
from icebreaker.engine import registry
from icebreaker.engine.openvino import nncf_version, quantized_by_nncf
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.quantization import nncf
from icebreaker.reports import Conversion
from icebreaker.runtime import artifact_reader
from icebreaker.settings import ConvertSettings

CLASSES = 6


def settings(**changes: Any) -> ConvertSettings:
    chosen = {"precision": "int8", "engine": "openvino", "calibration_method": "minmax", "quantizer": "own"}
    return ConvertSettings.of(**(chosen | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose second convolution is all but noise in INT8; the original's answers are the labels."""
    import tensorflow as tf

    v1, random = tf.compat.v1, np.random.default_rng(3)

    def weights(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    kernels = [weights(3, 3, 3, 16), weights(3, 3, 16, 16), weights(3, 3, 16, 16), weights(16, CLASSES)]
    kernels[1][:, :, 0] = 1e-9
    # One channel far above the others: a range for all of them leaves the others nothing.
    scale = np.where(np.arange(16) == 0, 1e5, 1).astype(np.float32)

    def build(offset: np.ndarray) -> Any:
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [None, 10, 10, 3], name="x")
            first = tf.nn.relu(tf.nn.conv2d(x, kernels[0], 1, "SAME", name="first"))
            spread = tf.multiply(first, scale, name="spread")
            second = tf.nn.relu(tf.nn.conv2d(spread, kernels[1], 1, "SAME", name="second"))
            third = tf.nn.relu(tf.nn.conv2d(second, kernels[2], 2, "SAME", name="third"))
            scores = tf.linalg.matmul(tf.reduce_mean(third, [1, 2]), kernels[3], name="dense")
            tf.nn.softmax(20 * (scores - tf.constant(offset)), name="classes")
        return graph

    def run(graph: Any, name: str) -> np.ndarray:
        with v1.Session(graph=graph) as session:
            return session.run(name, {"x:0": x})

    # Rows differ in colour, so that their classes do.
    x = (random.random((96, 10, 10, 3)) * random.random((96, 1, 1, 3))).astype(np.float32)
    graph = build(run(build(np.zeros(CLASSES, np.float32)), "dense:0").mean(0))
    labels = run(graph, "classes:0").argmax(1)
    assert len(set(labels)) > 3
    path = tmp_path_factory.mktemp("int8")
    (path / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    np.savez(path / "data.npz", x=x, label=labels)
    return path


@pytest.fixture(scope="module")
def kept(folder: Path) -> Conversion:
    """Converted with the bad layer kept in float."""
    return convert(
        folder / "model.pb", folder / "kept.pb", settings(calibration=str(folder / "data.npz"), keep_float=("second",))
    )


def test_calibrated_and_judged_on_held_back_data(folder: Path, kept: Conversion) -> None:
    (segment,) = kept.segments
    told = segment.quantization
    assert segment.precision == "int8" and told is not None and told.accuracy is not None
    assert (told.method, told.samples, told.accuracy.samples) == ("minmax", 72, 24)
    assert told.int8_layers == 3 and {item.node for item in told.layers if not item.kept} >= {"first", "third"}
    assert told.accuracy.error < 0.1 and told.accuracy.top1_agreement > 0.9
    for tensor in told.tensors:
        assert tensor.low <= tensor.high and 0 < tensor.threshold <= max(-tensor.low, tensor.high)
        assert len(tensor.counts) == 64 and sum(tensor.counts) >= 24 and tensor.span >= 0
    assert sum(told.tensors[0].counts) == 24 * 300
    whole = kept.accuracy
    assert whole is not None and whole.samples == 24 and set(whole.outputs) == {"classes"}
    assert whole.original == 1 and whole.optimized == whole.top1_agreement  # labels are the original's own answers
    data = kept.to_json()
    assert data["accuracy"]["samples"] == 24 and data["segments"][0]["quantization"]["int8_layers"] == 3
    assert codec.decode(codec.encode(kept), Conversion) == kept
    with np.load(folder / "data.npz") as archive:
        model = icebreaker.load(folder / "kept.pb", fallback=False)
        agreement = np.mean(model(x=archive["x"])["classes"].argmax(1) == archive["label"])
    assert agreement > 0.95


def test_a_table_stands_for_the_data(folder: Path, kept: Conversion) -> None:
    table = Path(kept.calibration_table)
    assert table == folder / "kept.pb.calibration.json" and "minmax" in table.read_text()
    again = convert(folder / "model.pb", folder / "again.pb", settings(calibration_table=str(table)))
    (segment,) = again.segments
    assert segment.precision == "int8" and not again.calibration_table
    assert segment.quantization is not None and segment.quantization.int8_layers == 3  # what was kept stays kept
    assert any("nobody has judged" in str(text) for text in again.warnings)
    engines = [
        artifact_reader.stored_engines(graph_files.read_graph(folder / name), folder)[0]
        for name in ("kept.pb", "again.pb")
    ]
    x = np.random.default_rng(0).random((4, 10, 10, 3), np.float32)
    first, second = (icebreaker.load(folder / name)(x=x)["classes"] for name in ("kept.pb", "again.pb"))
    assert engines[0].precision == engines[1].precision == "int8"
    np.testing.assert_allclose(first, second, atol=1e-5)  # tables are written with six digits
    judged = convert(
        folder / "model.pb",
        folder / "again.pb",
        settings(calibration_table=str(table), data=str(folder / "data.npz"), accuracy_budget=0.1),
    )
    assert judged.accuracy is not None and judged.accuracy.samples == 96


def test_a_budget_keeps_the_layer_that_breaks_it(folder: Path) -> None:
    report = convert(
        folder / "model.pb", folder / "budget.pb", settings(calibration=str(folder / "data.npz"), accuracy_budget=0.05)
    )
    (segment,) = report.segments
    told = segment.quantization
    assert segment.precision == "int8" and told is not None
    assert told.layers[0].node == "second" and told.layers[0].kept and not told.layers[-1].kept
    chosen = [point for point in told.curve if point.chosen]
    assert len(chosen) == 1 and 0 < chosen[0].kept < 4 and chosen[0].disagreement <= 0.05
    assert told.curve[0].kept == 0 and told.curve[0].disagreement > 0.05 and all(p.latency_ms for p in told.curve)
    assert report.accuracy is not None and report.accuracy.top1_agreement >= 0.95
    assert "stay float" in str(told.message)


def test_what_is_plainly_broken_is_mended_without_a_budget_too(folder: Path) -> None:
    report = convert(folder / "model.pb", folder / "mended.pb", settings(calibration=str(folder / "data.npz")))
    (segment,) = report.segments
    told = segment.quantization
    assert segment.precision == "int8" and told is not None and told.accuracy is not None
    assert [item.node for item in told.layers if item.kept] == ["second"]
    assert told.curve[0].error > 0.316 > told.accuracy.error


def test_what_breaks_the_budget_is_not_given(folder: Path) -> None:
    """Without classes, a budget is an error: INT8 cannot keep one in ten thousand."""
    report = convert(
        folder / "model.pb",
        folder / "refused.pb",
        settings(outputs=("third",), calibration=str(folder / "data.npz"), accuracy_budget=1e-6),
    )
    (segment,) = report.segments
    assert segment.precision == "fp32"  # bf16 does not hold it either
    assert segment.quantization is not None and segment.quantization.int8_layers == 0
    assert "cannot keep the budget" in str(segment.quantization.message)
    assert any("is not INT8" in text and "cannot keep the budget" in text for text in map(str, report.warnings))


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"accuracy_budget": 0.01}, "accuracy budget"), ({"calibration": "random"}, "calibration")],
)
def test_what_only_int8_heeds_is_not_dropped_without_a_word(folder: Path, changes: Any, text: str) -> None:
    with pytest.raises(IcebreakerError, match=f"the {text} is for INT8, not fp16: choose int8"):
        convert(folder / "model.pb", folder / "never.pb", settings(precision="fp16", **changes))
    assert not (folder / "never.pb").exists()


def test_calibrate_writes_a_table_of_every_segment(folder: Path) -> None:
    found = calibrate(
        folder / "model.pb",
        folder / "table.json",
        settings(calibration=str(folder / "data.npz"), calibration_method="auto", exclude=("second",)),
    )
    assert [segment.name for segment in found.segments] == ["TRTEngineOp_000", "TRTEngineOp_001"]
    assert all(set(segment.tried) == {"minmax", "percentile", "mse", "entropy"} for segment in found.segments)
    stored = json.loads((folder / "table.json").read_text())
    assert [item["segment"] for item in stored["segments"]] == ["TRTEngineOp_000", "TRTEngineOp_001"]
    report = convert(
        folder / "model.pb",
        folder / "two.pb",
        settings(calibration_table=str(folder / "table.json"), exclude=("second",)),
    )
    assert [item.precision for item in report.segments] == ["int8", "int8"]


def test_random_data_is_for_speed_only(folder: Path) -> None:
    report = convert(
        folder / "model.pb",
        folder / "random.pb",
        settings(calibration="random", calibration_samples=16, keep_float=("sec*",)),
    )
    assert report.segments[0].precision == "int8"
    assert any("random data" in str(text) and "mean nothing" in str(text) for text in report.warnings)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "needs data to calibrate with"),
        ({"calibration": "nowhere.npz"}, "does not exist"),
        ({"calibration_table": "nowhere.json"}, "could not be read"),
        ({"calibration": "code.py"}, "allow that first"),
        ({"calibration": "random", "keep_float": ("nobody",)}, "nobody"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(folder: Path, changes: Any, text: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(folder)
    Path("code.py").write_text("raise SystemExit")
    with pytest.raises(IcebreakerError, match=text):
        convert(folder / "model.pb", folder / "never.pb", settings(**changes))
    assert not (folder / "never.pb").exists()


def test_a_foreign_table_is_refused_in_words(folder: Path) -> None:
    calibrate(
        folder / "model.pb", folder / "third.json", settings(calibration=str(folder / "data.npz"), outputs=("third",))
    )
    report = convert(folder / "model.pb", folder / "foreign.pb", settings(calibration_table=str(folder / "third.json")))
    assert report.segments[0].precision != "int8"
    assert any("has no ranges for it" in str(text) for text in report.warnings)


def test_the_digits_sample_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text goes in, so the data passes TensorFlow's part on its way to the segment."""
    words = ["convert", str(SAMPLES / "digits.pb"), "-o", str(tmp_path / "digits.pb"), "--precision", "int8"]
    words += ["--calibration", str(SAMPLES / "digits_test.npz"), "--calibration-method", "minmax", "--quantizer", "own"]
    assert main.main([*words, "--engine", "openvino", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {item["precision"] for item in answer["segments"]} == {"int8"}
    assert answer["accuracy"]["optimized"] >= answer["accuracy"]["original"] - 0.003
    assert answer["accuracy"]["samples"] >= 80


@pytest.mark.skipif(not nncf_version(), reason="NNCF is not installed: pip install 'icebreaker[nncf]'")
@pytest.mark.parametrize("quantizer", ["auto", "nncf"])
def test_nncf_competes_with_our_own(folder: Path, tmp_path: Path, quantizer: str) -> None:
    output = tmp_path / "made.pb"
    data = settings(calibration=str(folder / "data.npz"), keep_float=("second",), quantizer=quantizer)
    report = convert(folder / "model.pb", output, data)
    (segment,) = report.segments
    tried = {item.quantizer: item for item in segment.candidates if item.precision == "int8"}
    assert set(tried) == ({"own", "nncf"} if quantizer == "auto" else {"nncf"})
    told = segment.quantization
    assert segment.precision == "int8" and told is not None and told.int8_layers == 3, "what is kept is kept by both"
    assert told.accuracy is not None and told.accuracy.samples == 24 and told.accuracy.error < 0.316
    # On this network NNCF's ranges are far from as good as our own: being faster must not buy it the place.
    is_nncf = quantizer == "nncf"
    assert (told.method == "nncf") == is_nncf
    assert is_nncf or ("NNCF's error is" in str(tried["nncf"].note) and "NNCF's error is" in str(told.message))
    stored = artifact_reader.stored_engines(graph_files.read_graph(output), tmp_path)[0]
    payload = stored.payload()
    assert isinstance(payload, bytes) and (b"<net" in payload[:100]) == is_nncf
    with np.load(folder / "data.npz") as archive:
        held = np.arange(96) // 8 % 4 == 3
        found = icebreaker.load(output, fallback=False)(x=archive["x"][held])["classes"].argmax(1)
        assert (found == archive["label"][held]).mean() == pytest.approx(told.accuracy.top1_agreement)
    # The ranges are our own, so that INT8 can be built again without data.
    again = convert(folder / "model.pb", tmp_path / "again.pb", settings(calibration_table=report.calibration_table))
    assert again.segments[0].precision == "int8" and again.segments[0].quantization.method == "minmax"
    with pytest.raises(IcebreakerError, match="NNCF needs calibration data"):
        convert(folder / "model.pb", output, settings(calibration_table=report.calibration_table, quantizer="nncf"))


@pytest.mark.skipif(not nncf_version(), reason="NNCF is not installed: pip install 'icebreaker[nncf]'")
def test_of_two_within_the_budget_the_faster_stays(folder: Path, tmp_path: Path) -> None:
    report = convert(
        folder / "model.pb", tmp_path / "made.pb",
        settings(
            calibration=str(folder / "data.npz"), outputs=("first",), minimum_segment_size=1, quantizer="auto",
            accuracy_budget=0.2,
        ),
    )  # fmt: skip
    (segment,) = report.segments
    tried = {item.quantizer: item for item in segment.candidates if item.precision == "int8"}
    assert set(tried) == {"own", "nncf"} and all(item.ms > 0 for item in tried.values()), tried
    told = segment.quantization
    assert segment.precision == "int8" and told is not None
    is_nncf = told.method == "nncf"  # ours stays unless NNCF's is clearly faster, which one median does not tell
    assert not is_nncf or tried["nncf"].ms < tried["own"].ms
    assert ("Icebreaker's own INT8" if is_nncf else "NNCF's INT8") in str(told.message)


@pytest.mark.skipif(not nncf_version(), reason="NNCF is not installed: pip install 'icebreaker[nncf]'")
def test_a_damaged_network_of_nncf_is_refused() -> None:
    net = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "conv")], "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")],
    )  # fmt: skip
    model = helper.make_model(net, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    rows = np.random.default_rng(0).random((16, 1, 3, 8, 8), np.float32)
    payload, layers = quantized_by_nncf(model, [{"x": row} for row in rows])
    engine = registry.get("openvino")
    assert layers == 1 and engine.load(payload, "int8")([rows[0]])[0].shape == (1, 4, 6, 6)
    for damaged in (payload[:-50], payload[:200], payload[:30]):
        with pytest.raises(IcebreakerError, match="OpenVINO refuses the segment"):
            engine.load(damaged, "int8")


@pytest.mark.parametrize(
    ("installed", "changes", "text"),
    [
        ("", {"calibration": "random"}, "NNCF is not installed: pip install"),
        ("3", {"calibration": "random", "engine": "onnxruntime"}, "openvino or auto as the engine"),
    ],
)
def test_nncf_that_cannot_be_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, installed: str, changes: Any, text: str
) -> None:
    monkeypatch.setattr(nncf, "nncf_version", lambda: installed)
    with pytest.raises(IcebreakerError, match=text):
        convert(folder / "model.pb", folder / "never.pb", settings(quantizer="nncf", **changes))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} with its real graphs is not here")
def test_trained_ranges_need_no_data(tmp_path: Path) -> None:
    """TF-TRT made one INT8 engine of this network, which is right about 97.87 % of these digits in TensorFlow."""
    output = tmp_path / "digits.pb"
    report = convert(SHARED / "graphs/tftrt_mnist_qdq.pb", output, settings())
    (segment,) = report.segments
    assert segment.precision == "int8" and report.coverage == 1
    assert segment.quantization is not None and segment.quantization.int8_layers == 4
    model = icebreaker.load(output, fallback=False)
    with np.load(SHARED / "images/mnist_10k.npz") as digits:
        x, labels = digits["x"][..., None].astype(np.float32) * 2 / 255 - 1, digits["y"]
    found = np.concatenate([model(x[k : k + 1000])["output"].argmax(1) for k in range(0, len(x), 1000)])
    assert (found == labels).mean() > 0.977
    # Calibrated with data, its nodes are left out; a table of that must find the same network again.
    table = tmp_path / "table.json"
    np.savez(tmp_path / "digits.npz", input=x[:64])
    calibrate(SHARED / "graphs/tftrt_mnist_qdq.pb", table, settings(calibration=str(tmp_path / "digits.npz")))
    again = convert(SHARED / "graphs/tftrt_mnist_qdq.pb", output, settings(calibration_table=str(table)))
    assert again.segments[0].precision == "int8" and again.segments[0].quantization.samples == 48
