"""Icebreaker's own INT8 beside NNCF's ONNX backend, on the same models and rows.

What came of it is told in docs/decisions/0011-int8-algorithms.md. Each network is exported to ONNX by our code once,
with the rows that calibration gets and others to judge by. Each way to INT8 runs in a process of its own, so that its
peak of memory is its own, without TensorFlow. What it gives is compared with TensorFlow's outputs, in the engines and
simulated; looked at (zero points, types, scales, what is quantized); and timed in turns. With the extra `rtx`,
TensorRT-RTX is asked to build it.

    python tests/benchmarks/try_nncf_onnx.py --only second third magika --ways own nncf nncf-layers --seconds 10
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bench_int8
import numpy as np
from bench_int8 import SHARED, Case, photos

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIMULATED = "simulated"
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "MaxPool", "Slice", "Pad")
# Photos to calibrate on, out of all in their order; crops of the others judge.
SPLITS: dict[str, Callable[[int], bool]] = {
    "second": lambda place: place % 2 == 0,
    "others": lambda place: place % 2 == 1,
    "third": lambda place: place % 3 == 0,
    "third-2": lambda place: place % 3 == 1,
    "third-3": lambda place: place % 3 == 2,
}


@dataclass(frozen=True)
class Way:
    """A way to INT8.

    Attributes:
        whose: "own" or "nncf".
        method: One of ours, or of NNCF's sets of range estimators ("": its default).
        correction: Of biases: "own", "fast", "full" or "".
        layers_only: NNCF leaves all but convolutions and matrix products alone, as we do.
        free: NNCF may use uint8 where values are never negative, which TensorRT does not have.
        raw: NNCF gets the model before our preparation.
        halved: Weights in 7 bits, NNCF's remedy for processors whose 16-bit sums overflow (those without VNNI).
        exact: Our own choices are made by what INT8 means, not by what ONNX Runtime makes of it on this processor.
    """

    whose: str
    method: str
    correction: str
    layers_only: bool = False
    free: bool = False
    raw: bool = False
    halved: bool = False
    exact: bool = False


WAYS = {
    "own": Way("own", "auto", "own"),
    "own-minmax": Way("own", "minmax", "own"),
    "own-exact": Way("own", "minmax", "own", exact=True),
    "own-halved": Way("own", "minmax", "own", halved=True),
    "own-bare": Way("own", "minmax", ""),
    "nncf": Way("nncf", "", "fast"),
    "nncf-minmax": Way("nncf", "MINMAX", "fast"),
    "nncf-bare": Way("nncf", "MINMAX", ""),
    "nncf-full": Way("nncf", "MINMAX", "full"),
    "nncf-layers": Way("nncf", "MINMAX", "fast", layers_only=True),
    "nncf-layers-full": Way("nncf", "MINMAX", "full", layers_only=True),
    "nncf-raw": Way("nncf", "MINMAX", "fast", raw=True),
    "nncf-free": Way("nncf", "", "fast", free=True),
    "nncf-free-halved": Way("nncf", "", "fast", free=True, halved=True),
    "nncf-free-layers": Way("nncf", "MINMAX", "fast", layers_only=True, free=True),
}


def mobilenet(split: str) -> Case:
    """MobileNetV2 on one split of the photos: 160 crops, of which the conversion holds 40 back, and 200 to judge by."""
    files = sorted(item for item in (SHARED / "images").iterdir() if item.suffix in (".png", ".jpg"))
    inside = SPLITS[split]
    chosen, others = ([item for k, item in enumerate(files) if inside(k) is side] for side in (True, False))
    case = bench_int8.mobilenet()
    return replace(case, calibration=photos(chosen, 160, 0), test=photos(others, 200, 1))


def resnet(folder: Path, count: int) -> Case:
    """ResNet-50 with random weights and images: for speed and memory, not for accuracy."""
    from icebreaker import samples

    target = folder / "resnet50.pb"
    samples.write_sample("resnet50", target)
    random = np.random.default_rng(0)
    return Case(target, "input", random.random((count, 224, 224, 3), np.float32), random.random((8, 224, 224, 3),
                np.float32), None, (0, 0, None))  # fmt: skip


def case_of(name: str, folder: Path) -> Case:
    """A case by name; `resnet:1000` has so many images to calibrate with."""
    if name in SPLITS:
        return mobilenet(name)
    if name.startswith("resnet"):
        return resnet(folder, int(name.partition(":")[2] or 16))
    return bench_int8.CASES[name]()


# -- steps, each in a process of its own ---------------------------------------------------------------------------


def export(name: str, folder: Path) -> None:
    """Writes the largest segment as ONNX, the rows at its inputs, and what TensorFlow makes of those to judge by."""
    from icebreaker import convert
    from icebreaker.settings import ConvertSettings

    case = case_of(name, folder)
    data = folder / "data.npz"
    # The conversion holds a quarter back; where the number of images matters, all of them calibrate.
    given = case.calibration
    if name.startswith("resnet"):
        given = given[:8]
    np.savez(data, **{case.name: given})
    settings = ConvertSettings(precision="int8", engine="openvino", calibration=str(data))
    work = convert._begin(case.graph, settings, lambda event: None, folder)
    found, exports = work.partition()
    segment = max(found.segments, key=lambda item: len(item.nodes))
    exported = exports[segment.key]
    (folder / "float.onnx").write_bytes(exported.model)
    assert work.int8 is not None
    rows = list(work.int8.values(segment, back=False))
    if name.startswith("resnet"):
        rows = [[case.calibration[start : start + 8]] for start in range(0, len(case.calibration), 8)]
    for place, values in enumerate(rows):
        np.savez(folder / f"calibration-{place:05}.npz", **dict(zip(exported.inputs, values, strict=True)))
    test, expected = [], []
    for start in range(0, len(case.test), 50):
        part = case.test[start : start + 50]
        feeds = {f"{case.name}:0": part.astype(object) if part.dtype.kind == "S" else part}
        both = [*segment.inputs, *segment.outputs]
        values = work.original.run(both, feeds)
        test.append(values[: len(segment.inputs)])
        expected.append(values[len(segment.inputs) :])
    columns = [[np.concatenate(item) for item in zip(*side, strict=True)] for side in (test, expected)]
    np.savez(folder / "test.npz", **dict(zip(exported.inputs, columns[0], strict=True)))
    np.savez(folder / "expected.npz", **{str(k): value for k, value in enumerate(columns[1])})
    if case.labels is not None:
        numbers = [DIGITS.index(item.decode()) if isinstance(item, bytes) else int(item) for item in case.labels]
        np.savez(folder / "labels.npz", labels=np.array(numbers))
    print(json.dumps({"segments": len(found.segments), "nodes": len(segment.nodes), "rows": sum(map(_rows, rows))}))


def _rows(values: list[np.ndarray]) -> int:
    return max((len(value) for value in values if value.ndim), default=1)


def _weights_int7(value: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """What our `weights_int8` would be with half of the range."""
    from icebreaker.qdq import along

    others = None if axis is None else tuple(a for a in range(value.ndim) if a != axis)
    largest = np.abs(value)
    least = (float(largest.max()) or 1.0) * 1e-4
    scale = np.maximum(largest.max(axis=others), least).astype(np.float32) / np.float32(63)
    return np.clip(np.rint(value / along(scale, value.ndim, axis)), -63, 63).astype(np.int8), scale


class Batches:
    """The rows to calibrate on, read from files as they are asked for."""

    def __init__(self, folder: Path, prepared: Any = None) -> None:
        self.files = sorted(folder.glob("calibration-*.npz"))
        self.prepared = prepared  # then single rows

    def __length_hint__(self) -> int:
        return len(self.files)

    def count(self) -> int:
        """Number of rows."""
        total = 0
        for file in self.files:
            with np.load(file) as archive:
                total += _rows([archive[name] for name in archive.files])
        return total

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        from icebreaker import quantize

        for file in self.files:
            with np.load(file) as archive:
                batch = {name: archive[name] for name in archive.files}
            if self.prepared is None:
                yield batch
            else:
                yield from quantize.parts(self.prepared, quantize.fit_batch(self.prepared, batch), 1)


def make(name: str, folder: Path, subset: int) -> None:
    """Quantizes `float.onnx` in one way, and tells what it took."""
    way, model = WAYS[name], (folder / "float.onnx").read_bytes()
    tried: dict[str, float] = {}
    if way.whose == "own":
        from icebreaker import qdq, quantize

        if way.halved:
            quantize.weights_int8 = qdq.weights_int8 = _weights_int7
        if way.exact:
            quantize.open_session = _plain_session
        begun = time.perf_counter()
        table = quantize.calibrate(model, Batches(folder), way.method)
        if not way.correction:
            table = replace(table, layers={key: value and () for key, value in table.layers.items()})
        (folder / f"{name}.onnx").write_bytes(quantize.quantize(model, table))
        (folder / f"{name}.unsigned.onnx").write_bytes(quantize.quantize(model, table, unsigned=True))
        seconds, tried = time.perf_counter() - begun, {table.method: 0.0, **table.tried}
    else:
        import nncf
        import onnx

        from icebreaker.qdq import Prepared

        begun = time.perf_counter()
        prepared = Prepared(model)
        data = Batches(folder, prepared)
        # What our own way quantizes, too: batch norms are folded there.
        given = onnx.load_from_string(model) if way.raw else prepared.model
        quantized = nncf_onnx(given, nncf.Dataset(data), subset or data.count(), way)
        seconds = time.perf_counter() - begun
        (folder / f"{name}.onnx").write_bytes(quantized.SerializeToString())
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not `ru_maxrss`: a child begins with that of its parent.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    told = {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "gb": int(peak.split()[1]) / 1e6, "tried": tried}
    print(json.dumps(told))


def nncf_onnx(model: Any, data: Any, rows: int, way: Way) -> Any:
    """NNCF's INT8 in the form that we need: symmetric, zero point 0, weights per channel, activations per tensor."""
    import nncf
    from nncf.common.quantization.structs import QuantizationScheme
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        OverflowFix,
        QuantizationParameters,
    )
    from nncf.quantization.range_estimator import RangeEstimatorParameters, RangeEstimatorParametersSet

    symmetric = QuantizationScheme.SYMMETRIC
    if not way.free:
        _force_signed()
    ranges = getattr(RangeEstimatorParametersSet, way.method) if way.method else RangeEstimatorParameters()
    ignored = None
    if way.layers_only:
        types = sorted({node.op_type for node in model.graph.node} - set(LAYERS))
        ignored = nncf.IgnoredScope(types=types, validate=False)
    return nncf.quantize(
        model, data, preset=nncf.QuantizationPreset.PERFORMANCE, target_device=nncf.TargetDevice.ANY, subset_size=rows,
        fast_bias_correction=way.correction != "full", ignored_scope=ignored,
        advanced_parameters=AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.ENABLE if way.halved else OverflowFix.DISABLE,
            disable_bias_correction=not way.correction,
            activations_quantization_params=QuantizationParameters(
                mode=symmetric, signedness_to_force=None if way.free else True, per_channel=False
            ),
            weights_quantization_params=QuantizationParameters(
                mode=symmetric, signedness_to_force=True, per_channel=True
            ),
            activations_range_estimator_params=ranges,
        ),
    )  # fmt: skip


def _force_signed() -> None:
    """Lets NNCF 3.4 take `signedness_to_force=True` for activations.

    It documents that parameter and refuses it for every target device ("incompatible with HW capabilities"): its
    tables of what devices can do leave the sign open, and a constraint must equal what a table says. So the tables are
    changed, which are private; only so does NNCF give the form for TensorRT at all.
    """
    from nncf.common.hardware import qspaces

    for space in (qspaces.q8_a, qspaces.q8_a_ch, qspaces.q8_a_sym):
        object.__setattr__(space, "signedness_to_force", True)


def step(told: Path, *arguments: str) -> dict[str, Any]:
    """Runs a step; what it prints last is JSON, which is kept: what was made need not be made again."""
    if not told.exists():
        done = subprocess.run(
            [sys.executable, __file__, "--step", *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["it gives no reason"])[-1])
        told.write_text(done.stdout.strip().splitlines()[-1])
    return json.loads(told.read_text())


# -- looking at what came out --------------------------------------------------------------------------------------


def form(model: bytes) -> dict[str, Any]:
    """What a Q/DQ model quantizes and how: whether it is the form that TensorRT takes."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model).graph
    made = {name: node for node in graph.node for name in node.output}
    constants = {item.name: item for item in graph.initializer}

    def pairs(name: str, through: bool = False) -> Any:
        node = made.get(name)
        while through and node is not None and node.op_type in MOVES:
            node = made.get(node.input[0])
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    layers = [node for node in graph.node if node.op_type in LAYERS]
    whole, weights_bad, biases = 0, 0, 0
    for node in layers:
        sides = [pairs(name, through=True) for name in node.input[:2]]
        whole += all(sides)
        biases += len(node.input) > 2 and pairs(node.input[2]) is not None
        for side in filter(None, sides):
            if side.input[0] in constants:
                rank = len(constants[side.input[0]].dims)
                scale = numpy_helper.to_array(constants[side.input[1]])
                weights_bad += constants[side.input[0]].data_type != onnx.TensorProto.INT8
                weights_bad += scale.size < 2 and not (node.op_type == "MatMul" and rank != 2)
    zeros, types, per_channel = 0, set(), 0
    other: dict[str, int] = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            zero = numpy_helper.to_array(constants[node.input[2]])
            types.add(zero.dtype.name)
            per_channel += zero.size > 1
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zeros += bool(numpy_helper.to_array(constants[node.input[2]]).any())
        elif node.op_type not in LAYERS and any(pairs(name) is not None for name in node.input):
            other[node.op_type] = other.get(node.op_type, 0) + 1
    return {
        "layers": f"{whole} of {len(layers)}", "activations": "/".join(sorted(types)), "zero points not 0": zeros,
        "activations per channel": per_channel, "weights not int8 per channel": weights_bad, "biases quantized": biases,
        "other ops quantized": other,
    }  # fmt: skip


def judge(folder: Path, engine: str, model: bytes, expected: list[np.ndarray], labels: np.ndarray | None) -> str:
    """Its figures against TensorFlow's outputs, run by an engine."""
    from icebreaker.differences import difference

    run = runner(engine, model, "int8") if engine != SIMULATED else simulated(model)
    with np.load(folder / "test.npz") as archive:
        test = [archive[name] for name in archive.files]
    count = max(len(value) for value in test)
    parts = [run([value[at : at + 50] for value in test]) for at in range(0, count, 50)]
    after = [np.concatenate(column) for column in zip(*parts, strict=True)]
    scores = next(k for k, value in enumerate(expected) if value.ndim == 2)
    before, found = expected[scores], difference(expected[scores], after[scores])
    rows = [difference(a[None], b[None]).sqnr_db for a, b in zip(before, after[scores], strict=True)]
    mean = float(np.mean([120.0 if row is None else min(row, 120.0) for row in rows]))
    text = f"{found.top1_agreement or 0:7.2%} {found.sqnr_db or float('inf'):6.1f} dB (mean of rows {mean:5.1f})"
    if labels is not None:
        right = [float(np.mean(side.argmax(1) == labels)) for side in (before, after[scores])]
        text += f" right {right[0]:.2%} → {right[1]:.2%}"
    return text


def runner(engine: str, model: bytes, precision: str) -> Callable[[Any], Any]:
    """What an engine makes of it."""
    from icebreaker import engines

    built = engines.get(engine).build(model, engines.BuildOptions(precision=precision))
    return engines.get(engine).load(built.payload, built.precision)


def _plain_session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def simulated(model: bytes) -> Callable[[Any], Any]:
    """The model node by node, in float between Q and DQ: INT8 as such, without what a processor's INT8 adds to it."""
    session = _plain_session(model)
    names = [item.name for item in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def by_rtx(model: bytes, rows: list[np.ndarray]) -> str:
    """How many of its layers TensorRT-RTX would run in INT8, where it is installed."""
    import onnx

    from icebreaker import engines

    if not engines.status("tensorrt-rtx").builds:
        return "not installed"
    names = [item.name for item in onnx.load_from_string(model).graph.input]
    profiles = {name: (row.shape,) * 3 for name, row in zip(names, rows, strict=True)}
    options = engines.BuildOptions(precision="int8", profiles=profiles, samples=[rows])
    try:
        built = engines.get("tensorrt-rtx").build(model, options)
    except Exception as error:  # its words are the result
        return f"refused: {str(error)[:300]}"
    kinds: dict[str, int] = {}
    for layer in built.layers:
        kinds[str(layer["precision"])] = kinds.get(str(layer["precision"]), 0) + 1
    return f"built, its layers by precision: {kinds}"


def speeds(folder: Path, models: dict[str, bytes], engine: str, seconds: float) -> None:
    """Prints ratios of medians, one row at a time, measured in turns."""
    import bench

    with np.load(folder / "test.npz") as archive:
        inputs = [archive[name][:1] for name in archive.files]
    runs = {key: runner(engine, model, "fp32" if key == "FP32" else "int8") for key, model in models.items()}
    times = bench.in_turns({key: lambda run=run: run(inputs) for key, run in runs.items()}, seconds)
    for key in runs:
        gain = bench.ratio(times["FP32"], times[key])
        print(f"  {engine:12} {key:18} {np.median(times[key]):8.3f} ms   FP32 over it {gain}", flush=True)
    first = next(key for key in runs if key != "FP32")
    for key in runs:
        if key not in ("FP32", first):
            print(f"  {engine:12} {key:18} over {first}: {bench.ratio(times[key], times[first])}", flush=True)


def main() -> int:
    """Prints the figures of every case and way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cases = (*SPLITS, "digits", "magika")
    parser.add_argument("--only", nargs="+", default=cases, help=f"of {', '.join(cases)}, mnist, resnet, resnet:IMAGES")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seconds", type=float, default=0, help="seconds per comparison of speed; 0: none")
    parser.add_argument("--subset", type=int, default=0, help="at most so many rows for NNCF; 0: all")
    parser.add_argument("--rtx", action="store_true", help="ask TensorRT-RTX, too")
    parser.add_argument("--keep", type=Path, help="folder for models and rows, for another run to go on from")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        kind, name, folder = arguments.step
        export(name, Path(folder)) if kind == "export" else make(name, Path(folder), arguments.subset)
        return 0
    for name in arguments.only:
        with tempfile.TemporaryDirectory(prefix="icebreaker-try-") as text:
            folder = Path(arguments.keep or text, name.replace(":", "-"))
            folder.mkdir(parents=True, exist_ok=True)
            told = step(folder / "told.json", "export", name, str(folder))
            print(f"\n{name}: {told}", flush=True)
            with np.load(folder / "expected.npz") as archive:
                expected = [archive[key] for key in archive.files]
            labels = None
            if (folder / "labels.npz").exists():
                with np.load(folder / "labels.npz") as archive:
                    labels = archive["labels"]
            models = {"FP32": (folder / "float.onnx").read_bytes()}
            signed: dict[str, bytes] = {}
            for way in arguments.ways:
                try:
                    took = step(folder / f"{way}.json", "make", way, str(folder), "--subset", str(arguments.subset))
                except RuntimeError as error:
                    print(f"  {way:18} refused: {error}", flush=True)
                    continue
                signed[way] = (folder / f"{way}.onnx").read_bytes()
                words = f"{took['seconds']:6.1f} s, {took['cpu']:6.1f} CPU s, {took['gb']:.2f} GB"
                print(f"  {way:18} {words} {took['tried'] or ''}\n  {'':18} {form(signed[way])}")
                models[way] = signed[way]
                if (folder / f"{way}.unsigned.onnx").exists():
                    models[way] = (folder / f"{way}.unsigned.onnx").read_bytes()
                judged = [] if WAYS[way].free else [(SIMULATED, signed[way]), ("onnxruntime", signed[way])]
                if WAYS[way].free or models[way] is not signed[way]:
                    judged += [(SIMULATED, models[way]), ("openvino", models[way])]
                for engine, model in judged:
                    kind = " uint8" if WAYS[way].free or model is not signed[way] else ""
                    print(f"  {'':18} {engine + kind:17} {judge(folder, engine, model, expected, labels)}", flush=True)
                if arguments.rtx:
                    with np.load(folder / "test.npz") as archive:
                        rows = [archive[key][:1] for key in archive.files]
                    print(f"  {'':18} TensorRT-RTX: {by_rtx(signed[way], rows)}", flush=True)
            if arguments.seconds:
                speeds(folder, models, "openvino", arguments.seconds)
                speeds(folder, {"FP32": models["FP32"], **signed}, "onnxruntime", arguments.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
