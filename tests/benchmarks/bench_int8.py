"""Measures what INT8 promises: accuracy on data disjoint from calibration, and speed; run by `make bench-int8`.

Accuracy: trained networks of ../shared with real inputs and the digits sample, each calibrated on one part of its data
and judged on another. Speed: ResNet-50 against TensorFlow, MobileNetV2 within a budget of 1 % against its FP32 engine,
in turns with a 95 % interval. The machine may be shared: run it when nothing else does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.paths import SAMPLES, SHARED

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclass(frozen=True)
class Case:
    """A graph with inputs to calibrate on and others to judge by.

    `least` are the figures to reach: agreement with the original's top class, dB of signal to noise, and how much of
    the original's accuracy may be lost, as a share; None where there are no labels.
    """

    graph: Path
    name: str
    calibration: np.ndarray
    test: np.ndarray
    labels: np.ndarray | None
    least: tuple[float, float, float | None]


def photos(files: list[Path], count: int, seed: int) -> np.ndarray:
    """Random crops of some photos, 224×224, from 0 to 1."""
    from PIL import Image

    random, found = np.random.default_rng(seed), []
    for index in range(count):
        image = Image.open(files[index % len(files)]).convert("RGB")
        size = int(min(image.size) * random.uniform(0.35, 1))
        left, top = (int(random.integers(0, side - size + 1)) for side in image.size)
        image = image.crop((left, top, left + size, top + size)).resize((224, 224), Image.Resampling.BILINEAR)
        found.append(np.asarray(image, np.float32) / 255)
    return np.stack(found)


def mobilenet() -> Case:
    """Trained MobileNetV2: calibrated on crops of half of the photos, judged on those of the other half."""
    files = sorted(item for item in (SHARED / "images").iterdir() if item.suffix in (".png", ".jpg"))
    calibration, test = photos(files[::2], 160, 0), photos(files[1::2], 200, 1)
    return Case(SHARED / "graphs/nsfwjs_mobilenet_v2.pb", "input_1", calibration, test, None, (0.96, 25, None))


def magika() -> Case:
    """A transformer-like classifier of files: every second file is for calibration."""
    with np.load(SHARED / "images/magika_files.npz") as archive:
        x = archive["v1"].astype(np.float32)
    return Case(SHARED / "graphs/magika_v1.pb", "model_input", x[::2], x[1::2], None, (0.96, 10, None))


def mnist() -> Case:
    """TF-TRT's own network with trained ranges."""
    with np.load(SHARED / "images/mnist_10k.npz") as archive:
        x, labels = archive["x"][..., None].astype(np.float32) * 2 / 255 - 1, archive["y"]
    return Case(SHARED / "graphs/tftrt_mnist_qdq.pb", "input", x[:300], x[300:], labels[300:], (0.96, 15, 0.003))


def digits() -> Case:
    """The sample that ships: half of its test split calibrates, the other half judges."""
    with np.load(SAMPLES / "digits_test.npz") as archive:
        x, labels = archive["image_bytes"], archive["label"]
    return Case(SAMPLES / "digits.pb", "image_bytes", x[::2], x[1::2], labels[1::2], (0.96, 25, 0.003))


CASES: dict[str, Callable[[], Case]] = {"mobilenet": mobilenet, "magika": magika, "mnist": mnist, "digits": digits}


def convert(case: Case, folder: Path, **changes: Any) -> tuple[Path, Any]:
    """Converts a case to INT8; returns the file and the report."""
    from icebreaker.conversion.pipeline import convert as run
    from icebreaker.settings import ConvertSettings

    data, target = folder / f"{case.graph.stem}.npz", folder / f"{case.graph.stem}.int8.pb"
    np.savez(data, **{case.name: case.calibration})
    chosen = ConvertSettings.of(**{"precision": "int8", "engine": "openvino", "calibration": str(data), **changes})
    return target, run(case.graph, target, chosen)


def signed(case: Case, folder: Path, table: str) -> tuple[Path, Any]:
    """A case in the form that TensorRT takes, run by ONNX Runtime."""
    from icebreaker.conversion.pipeline import convert as run
    from icebreaker.settings import ConvertSettings

    target = folder / f"{case.graph.stem}.signed.pb"
    chosen = ConvertSettings.of(precision="int8", engine="onnxruntime", calibration_table=table)
    return target, run(case.graph, target, chosen)


def answers(call: Callable[[np.ndarray], list[Any]], values: np.ndarray) -> list[np.ndarray]:
    """All outputs for all rows."""
    parts = [call(values[start : start + 50]) for start in range(0, len(values), 50)]
    return [np.concatenate([np.asarray(item) for item in column]) for column in zip(*parts, strict=True)]


def judge(case: Case, target: Path, report: Any) -> bool:
    """Prints a line of the table; True if the figures are reached."""
    import icebreaker
    from icebreaker.formats import graph_files
    from icebreaker.metrics.output_difference import difference
    from icebreaker.runtime import artifact_reader
    from icebreaker.tf.session import GraphSession

    definition = graph_files.read_graph(case.graph)
    outputs = artifact_reader.stored_outputs(definition)
    call = GraphSession(definition.definition).callable(outputs, [case.name])
    model = icebreaker.load(target, fallback=False)
    test = case.test.astype(object) if case.test.dtype.kind == "S" else case.test
    before, after = answers(call, test), answers(lambda x: list(model(x).values()), test)
    scores = next(k for k, value in enumerate(before) if value.ndim == 2)
    found = difference(before[scores], after[scores])
    agreement, sqnr = found.top1_agreement or 0.0, found.sqnr_db or float("inf")
    lost, words = 0.0, ""
    if case.labels is not None:
        texts = [k for k, value in enumerate(before) if value.dtype == object]
        left, right = (
            float(np.mean((side[texts[0]] if texts else side[scores].argmax(1)) == case.labels))
            for side in (before, after)
        )
        lost, words = left - right, f"{left:.2%} → {right:.2%}"
    told = report.segments[0].quantization
    good = agreement >= case.least[0] and sqnr >= case.least[1] and lost <= (case.least[2] or 0.0)
    print(
        f"{case.graph.stem:22} {report.segments[0].engine:12} "
        f"{len(test):6} {agreement:9.1%} {sqnr:8.1f} dB  {words:18} {told.int8_layers:3} layers, "
        f"{told.method:10} {report.seconds:5.0f} s  {'reached' if good else 'MISSED'}",
        flush=True,
    )
    return good


def speed(folder: Path, seconds: float) -> bool:
    """ResNet-50 against TensorFlow, and MobileNetV2 within its budget against its FP32 engine."""
    import icebreaker
    from benchmarks import bench
    from icebreaker import sample_models
    from icebreaker.conversion.pipeline import convert as run
    from icebreaker.formats import graph_files
    from icebreaker.runtime import artifact_reader
    from icebreaker.settings import ConvertSettings
    from icebreaker.tf.session import GraphSession

    model = folder / "resnet50.pb"
    sample_models.write_sample("resnet50", model)
    # Random weights, so the data need not mean anything; the speed is that of trained ones.
    settings = ConvertSettings.of(
        precision="int8", engine="openvino", calibration="random", calibration_method="minmax", calibration_samples=16
    )
    run(model, folder / "resnet50.int8.pb", settings)
    graph = graph_files.read_graph(model)
    plain = GraphSession(graph.definition).callable(artifact_reader.stored_outputs(graph), [graph.placeholders[0].name])
    loaded = icebreaker.load(folder / "resnet50.int8.pb", fallback=False)
    image = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)
    times = bench.in_turns({"TensorFlow": lambda: plain(image), "INT8": lambda: loaded(image)}, seconds)
    print(f"ResNet-50, batch 1: INT8 {bench.ratio(times['TensorFlow'], times['INT8'])} of TensorFlow (at least 4×)")
    good = bool(np.median(times["TensorFlow"]) >= 4 * np.median(times["INT8"]))

    case = mobilenet()
    target, report = convert(case, folder, accuracy_budget=0.01)
    (segment,) = report.segments
    print(f"MobileNetV2, budget 1 %: {segment.quantization.message}")
    if segment.precision == "int8":
        run(case.graph, folder / "float.pb", ConvertSettings.of(engine="openvino"))
        small, large = (icebreaker.load(item, fallback=False) for item in (target, folder / "float.pb"))
        image = case.test[:1]
        times = bench.in_turns({"FP32": lambda: large(image), "INT8": lambda: small(image)}, seconds)
        print(
            f"MobileNetV2, batch 1: INT8 {bench.ratio(times['FP32'], times['INT8'])} of its FP32 engine (at least 1.3×)"
        )
        good &= bool(np.median(times["FP32"]) >= 1.3 * np.median(times["INT8"]))
        good &= judge(case, target, report)
    return good


def main() -> int:
    """Prints the figures; 1 if one is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="seconds per comparison of speed")
    parser.add_argument("--only", nargs="+", choices=(*CASES, "speed"), default=(*CASES, "speed"))
    arguments = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        print("graph                  engine         rows  agreement  signal/noise  accuracy")
        for key in arguments.only:
            if key in ("mobilenet", "magika", "mnist") and not SHARED.is_dir():
                print(f"{key}: its graph is not here: {SHARED} is missing")
            elif key != "speed":
                case = CASES[key]()
                target, report = convert(case, Path(name))
                good &= judge(case, target, report)
                if report.calibration_table:  # the same ranges in TensorRT's form: int8 throughout, no uint8
                    good &= judge(case, *signed(case, Path(name), report.calibration_table))
        if "speed" in arguments.only:
            good &= speed(Path(name), arguments.seconds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
