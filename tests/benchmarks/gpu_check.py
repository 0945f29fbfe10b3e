"""Converts and measures on an NVIDIA GPU; run by `make gpu-check`, on any machine that has one.

For each precision and batch: TensorFlow (FP32 with and without TF32, and XLA), the optimized graph, and its engine
alone, called in turns in one process after a warm-up. Inputs lie in the GPU's memory and the outputs are fetched,
unless a row says "session": there both graphs are fed from the host. What a call costs over the engine alone is taken
where neither fetches: inputs and outputs of both lie in the GPU's memory. Speed-ups are ratios of medians with 95 %
bootstrap intervals. What is found is printed as it comes, and written as JSON after every step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # the engines need memory too

import numpy as np

from icebreaker import gpu, sample_models
from icebreaker.benchmarking import benchmark
from icebreaker.conversion import pipeline
from icebreaker.data.sample_inputs import sample_run
from icebreaker.engine import registry
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.metrics import timing
from icebreaker.metrics.output_difference import difference
from icebreaker.runtime import artifact_reader, loader
from icebreaker.runtime.model import Model
from icebreaker.settings import ConvertSettings
from icebreaker.tf.rewrite import to_tensorflow
from icebreaker.tf.session import GraphSession

_LIMIT_MS = 7.0  # "images a second within 7 ms", as inference benchmarks have it
Calls = dict[str, Callable[[], Any]]


class Report:
    """What was found, printed and kept."""

    def __init__(self, path: Path | None) -> None:
        """Starts with the machine and its versions."""
        import onnxruntime
        import tensorflow as tf

        card = gpu.read()
        self._path = path
        self._begun = time.perf_counter()
        self.data: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d"),
            "gpu": card.name,
            "compute_capability": ".".join(map(str, card.compute_capability)),
            "driver": card.driver,
            "memory_bytes": card.memory_bytes,
            "tensorflow": tf.__version__,
            "onnxruntime": onnxruntime.__version__,
            "engines": {name: registry.status(name).detail for name in ("onnxruntime", "tensorrt", "tensorrt-rtx")},
            "rows": [],
            "checks": {},
        }
        self.note(
            json.dumps({key: value for key, value in self.data.items() if key not in ("rows", "checks")}, indent=1)
        )

    def note(self, text: str) -> None:
        """Prints a line with the time since the start."""
        print(f"[{time.perf_counter() - self._begun:6.1f} s] {text}", flush=True)

    def row(self, **row: Any) -> None:
        """Keeps a measurement and prints it."""
        self.data["rows"].append(row)
        self.note(
            " ".join(
                f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()
            )
        )
        self.save()

    def check(self, name: str, **values: Any) -> None:
        """Keeps the result of a check and prints it."""
        self.data["checks"][name] = values
        self.note(f"{name}: {values}")
        self.save()

    def save(self) -> None:
        """Writes everything so far."""
        if self._path is not None:
            self._path.write_text(json.dumps(self.data, indent=1) + "\n")


def turns(calls: Calls, seconds: float) -> dict[str, list[np.ndarray]]:
    """Milliseconds of the calls of each variant, in turns; a variant that fails is left out and named."""
    for name, call in list(calls.items()):
        try:
            benchmark.warm_up(call)
        except Exception as error:
            print(f"    {name} does not run: {' '.join(str(error).split())[:300]}", flush=True)
            del calls[name]
    times: dict[str, list[np.ndarray]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or min(map(len, times.values()), default=6) < 6:
        for name, call in calls.items():
            found = []
            stop = time.perf_counter() + 0.05
            while not found or time.perf_counter() < stop:
                begun = time.perf_counter()
                call()
                found.append(1e3 * (time.perf_counter() - begun))
            times[name].append(np.array(found))
    return times


def tensorflow_on_device(definition: Any, names: list[str], output: str, xla: bool = False) -> Callable[..., Any]:
    """The original as a function over tensors that stay on the GPU, its cheapest form in TensorFlow."""
    import tensorflow as tf

    def body(*tensors: Any) -> Any:
        inputs = dict(zip(names, tensors, strict=True))
        return tf.import_graph_def(definition, input_map=inputs, return_elements=[output])[0]

    made: dict[Any, Any] = {}

    def call(*tensors: Any) -> Any:
        key = tuple(tuple(item.shape) for item in tensors)
        if key not in made:
            plain = tf.compat.v1.wrap_function(body, [tf.TensorSpec(item.shape, item.dtype) for item in tensors])
            made[key] = tf.function(lambda *values: plain(*values), jit_compile=True) if xla else plain
        return made[key](*tensors)

    return call


def alone(engine: Any, arrays: list[np.ndarray]) -> Callable[[], Any] | None:
    """The engine with inputs and outputs in place: what no hand-over can beat. ONNX Runtime's only."""
    if not hasattr(engine, "_graph_for"):
        return None
    values = [runtime_value(array) for array in arrays]
    with engine._lock:
        graph = engine._graph_for([array.shape for array in arrays])
    if graph is None:
        return lambda: engine._run_bound(engine._without_graph(), values, None)
    for target, array in zip(graph.inputs, arrays, strict=True):
        target.update_inplace(array)

    def call() -> None:
        graph.replay()
        engine._stream.wait()

    return call


def fetched(outputs: Mapping[str, Any]) -> np.ndarray:
    """The first output, from the GPU."""
    return next(iter(outputs.values())).numpy()


def runtime_value(array: np.ndarray) -> Any:
    """An array in the GPU's memory, as ONNX Runtime holds it."""
    from onnxruntime import OrtValue

    return OrtValue.ortvalue_from_numpy(array, "cuda", 0)


def measure_model(model: Path, label: str, arguments: argparse.Namespace, report: Report, folder: Path) -> Path | None:
    """All precisions and batches of one graph; returns the last optimized graph."""
    import tensorflow as tf

    graph = graph_files.read_graph(model)
    definition = to_tensorflow(graph.definition)
    original = GraphSession(graph.definition)
    outputs = [graph.require(name, "output") for name in graph.candidate_outputs]
    target: Path | None = None
    for precision in arguments.precisions:
        target = folder / f"{label}_{precision}.pb"
        wanted = ConvertSettings.of(engine=arguments.engine, precision=precision, max_batch_size=max(arguments.batches))
        begun = time.perf_counter()
        done = pipeline.convert(model, target, wanted)
        used = [f"{item.engine} {item.precision}" for item in done.segments]
        report.check(
            f"convert {label} {precision}", seconds=round(time.perf_counter() - begun, 1), coverage=done.coverage,
            segments=used, warnings=list(map(str, done.warnings)),
            left={item.op: str(item.reason) for item in done.left_in_tensorflow},
        )  # fmt: skip
        optimized = loader.load(target, fallback=False, trust=True)
        runner = next(iter(optimized.nodes.values())).runner if optimized.engines else None
        for batch in arguments.batches:
            feeds, _ = sample_run(original, graph, tuple(outputs), wanted, batch)
            reference = original.callable(tuple(outputs), tuple(feeds))
            feed_values = list(feeds.values())
            calls: Calls = {
                "TensorFlow session": lambda r=reference, v=feed_values: r(*v),
                "optimized session": session_call(optimized, feeds),
            }
            if optimized.is_direct and hasattr(runner, "on_device"):
                with tf.device("/GPU:0"):
                    tensors = {name: tf.identity(tf.constant(value)) for name, value in feeds.items()}
                names, first = [f"{name}:0" for name in feeds], f"{outputs[0].node}:{outputs[0].port}"
                plain = tensorflow_on_device(definition, names, first)
                calls["TensorFlow"] = lambda c=plain, t=tensors: c(*t.values()).numpy()
                calls["optimized"] = lambda o=optimized, t=tensors: fetched(o(t))
                calls["optimized, in TensorFlow's graph"] = lambda o=optimized, t=tensors: o.function(*t.values())[
                    0
                ].numpy()
                calls["optimized, not fetched"] = lambda o=optimized, t=tensors: o(t)
                if (engine_call := alone(runner, feed_values)) is not None:
                    calls["engine alone"] = engine_call
            tf.config.experimental.enable_tensor_float_32_execution(False)
            times = turns(calls, arguments.seconds)
            medians = {name: float(np.median(np.concatenate(values))) for name, values in times.items()}
            figures: dict[str, Any] = {name: timing.latency(np.concatenate(v), batch) for name, v in times.items()}
            cost = None
            if "engine alone" in medians and "optimized, not fetched" in medians:
                cost = medians["optimized, not fetched"] / medians["engine alone"] - 1
            for base, better in (
                ("TensorFlow session", "optimized session"),
                ("TensorFlow", "optimized, in TensorFlow's graph"),
                ("TensorFlow", "optimized"),
            ):
                if base in times and better in times:
                    speedup = timing.speedup(times[base], times[better])
                    deviation = max(
                        difference(want, have).max_rel
                        for want, have in zip(reference(*feed_values), optimized(feeds).values(), strict=True)
                    )
                    report.row(
                        model=label, precision=precision, batch=batch, how=better, ms=medians[better],
                        tensorflow_ms=medians[base], speedup=speedup.median, low=speedup.ci95[0], high=speedup.ci95[1],
                        p99_ms=figures[better].p99_ms, images_per_second=figures[better].throughput,
                        engine_alone_ms=medians.get("engine alone"),
                        not_fetched_ms=medians.get("optimized, not fetched") if better == "optimized" else None,
                        cost=cost if better == "optimized" else None,
                        deviation=deviation, gpu_memory_bytes=gpu.read().used_bytes,
                    )  # fmt: skip
    baselines(definition, original, graph, outputs, label, arguments, report)
    original.close()
    return target


def session_call(optimized: Model, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
    """The optimized graph in TensorFlow's graph, engines called from inside a session."""
    session = optimized.session
    get = session.graph.get_tensor_by_name
    fetches = [get(name if ":" in name else f"{name}:0") for name in optimized.outputs]
    run = session.make_callable(fetches, [get(f"{name}:0") for name in feeds])
    values = list(feeds.values())
    return lambda: run(*values)


def baselines(
    definition: Any,
    original: GraphSession,
    graph: Any,
    outputs: Any,
    label: str,
    arguments: argparse.Namespace,
    report: Report,
) -> None:
    """TensorFlow with TF32, and with XLA, with inputs on the GPU."""
    import tensorflow as tf

    for batch in arguments.batches:
        feeds, _ = sample_run(original, graph, tuple(outputs), ConvertSettings.of(max_batch_size=batch), batch)
        with tf.device("/GPU:0"):
            tensors = [tf.identity(tf.constant(value)) for value in feeds.values()]
        names, first = [f"{name}:0" for name in feeds], f"{outputs[0].node}:{outputs[0].port}"
        for how, tf32, xla in (
            ("FP32", False, False),
            ("TF32", True, False),
            ("XLA FP32", False, True),
            ("XLA TF32", True, True),
        ):
            if xla and not arguments.xla:
                continue
            tf.config.experimental.enable_tensor_float_32_execution(tf32)
            function = tensorflow_on_device(definition, names, first, xla)
            times = turns({how: lambda f=function, t=tensors: f(*t).numpy()}, arguments.seconds)
            if how in times:
                figures = timing.latency(np.concatenate(times[how]), batch)
                report.row(
                    model=label, precision="fp32", batch=batch, how=f"TensorFlow {how}", ms=figures.p50_ms,
                    p99_ms=figures.p99_ms, images_per_second=figures.throughput,
                )  # fmt: skip
    tf.config.experimental.enable_tensor_float_32_execution(True)


def check_leaks(target: Path, calls: int, report: Report) -> None:
    """Calls the optimized graph many times and compares the GPU's memory."""
    import tensorflow as tf

    optimized = loader.load(target, fallback=False, trust=True)
    if not optimized.is_direct:
        return
    with tf.device("/GPU:0"):
        tensors = {item.name: tf.random.uniform([size or 1 for size in item.shape or ()]) for item in optimized.inputs}
    for _ in range(200):
        optimized(tensors)
    before = gpu.read().used_bytes
    begun = time.perf_counter()
    for _ in range(calls):
        optimized(tensors)
    report.check(
        "leak", calls=calls, seconds=round(time.perf_counter() - begun, 1), grown_bytes=gpu.read().used_bytes - before
    )


_FRACTION = """
import sys, numpy as np, tensorflow as tf
from icebreaker import gpu
from icebreaker.original import session_config
before = gpu.read().used_bytes
graph = tf.Graph()
with graph.as_default():
    out = tf.linalg.matmul(tf.ones([64, 64]), tf.ones([64, 64]))
session = tf.compat.v1.Session(graph=graph, config=session_config(float(sys.argv[1])))
session.run(out)
print(gpu.read().used_bytes - before)
"""


def check_memory_fraction(report: Report) -> None:
    """What TensorFlow takes of the memory when a fraction is set, read by NVML; the CUDA context counts along."""
    total = gpu.read().memory_bytes
    environment = {key: value for key, value in os.environ.items() if key != "TF_FORCE_GPU_ALLOW_GROWTH"}
    for fraction in (0.3, 0.67):
        done = subprocess.run(
            [sys.executable, "-c", _FRACTION, str(fraction)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            report.check(f"memory fraction {fraction}", failed=done.stderr.strip().splitlines()[-1:])
            continue
        taken = int(done.stdout.split()[-1])
        report.check(
            f"memory fraction {fraction}", taken_bytes=taken, share=taken / total, off=taken / total / fraction - 1
        )


def explore(target: Path, batches: list[int], seconds: float, report: Report) -> None:
    """Times the engine alone under other settings of ONNX Runtime's CUDA provider."""
    import onnxruntime

    from icebreaker.engine import cuda
    from icebreaker.engine import onnxruntime as engine

    stored = artifact_reader.stored_engines(graph_files.read_graph(target), target.parent)[0]
    payload = stored.payload()
    variants: dict[str, dict[str, str]] = {
        "as is": {}, "nhwc": {"prefer_nhwc": "1"}, "heuristic": {"cudnn_conv_algo_search": "HEURISTIC"},
        "fuse": {"fuse_conv_bias": "1"}, "nhwc+fuse": {"prefer_nhwc": "1", "fuse_conv_bias": "1"},
        "tf32": {"use_tf32": "1"}, "big arena": {"arena_extend_strategy": "kNextPowerOfTwo"},
    }  # fmt: skip
    usual = onnxruntime.InferenceSession
    for name, extra in variants.items():

        def session(model: Any, options: Any, providers: Any, extra: dict[str, str] = extra) -> Any:
            kind, settings = providers[0]
            return usual(model, options, providers=[(kind, settings | extra), *providers[1:]])

        try:
            onnxruntime.InferenceSession = session  # pyright: ignore[reportAttributeAccessIssue]
            runner = engine._OnCuda(payload)
        except IcebreakerError as error:
            report.note(f"{name}: {error}")
            continue
        finally:
            onnxruntime.InferenceSession = usual  # pyright: ignore[reportAttributeAccessIssue]
        for batch in batches:
            shapes = [
                [batch if isinstance(d, str) or d is None else d for d in item.shape]
                for item in (runner._new or runner._without_graph()).get_inputs()
            ]
            arrays = [np.random.default_rng(0).random(shape, np.float32) for shape in shapes]
            call = alone(runner, arrays)
            times = turns({name: call} if call else {}, seconds)
            if name in times:
                ms = float(np.median(np.concatenate(times[name])))
                report.row(
                    model=target.stem,
                    precision=stored.precision,
                    batch=batch,
                    how=f"engine alone, {name}",
                    ms=ms,
                    captured=runner._captures,
                )
        del runner
    cuda.Stream().wait()


def table(data: Mapping[str, Any]) -> str:
    """The rows as a table for the README."""
    versions = f"driver {data['driver']}, TensorFlow {data['tensorflow']}, ONNX Runtime {data['onnxruntime']}"
    heads = ("model", "precision", "batch", "how", "ms", "p99 ms", "images/s", "speed-up (95 %)")
    heads += ("over the engine alone", "deviation")
    lines = [f"{data['gpu']}, {versions}, {data['date']}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]

    def cell(row: Mapping[str, Any], key: str, form: str) -> str:
        return "" if row.get(key) is None else form.format(row[key])

    for row in data["rows"]:
        cells = [row["model"], row["precision"], str(row["batch"]), row["how"], f"{row['ms']:.2f}"]
        cells += [cell(row, "p99_ms", "{:.2f}"), cell(row, "images_per_second", "{:,.0f}")]
        cells += [f"{row['speedup']:.2f} ({row['low']:.2f}–{row['high']:.2f})" if "speedup" in row else ""]
        cells += [cell(row, "cost", "{:+.1%}"), cell(row, "deviation", "{:.1g}")]
        lines.append(f"| {' | '.join(cells)} |")
    within: dict[str, float] = {}
    for row in data["rows"]:
        if row.get("images_per_second") and row["ms"] <= _LIMIT_MS:
            key = f"{row['model']} {row['how']} {row['precision']}"
            within[key] = max(within.get(key, 0.0), row["images_per_second"])
    lines += ["", f"Images a second within {_LIMIT_MS:g} ms:", ""]
    lines += [f"- {name}: {value:,.0f}" for name, value in within.items()]
    return "\n".join(lines)


def main() -> int:
    """Runs everything that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="another graph to measure, after ResNet-50")
    parser.add_argument("--engine", default="onnxruntime", help="engine to convert to, or auto")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"])
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds for each variant")
    parser.add_argument("--calls", type=int, default=10_000, help="calls of the check for leaks; 0: none")
    parser.add_argument("--no-xla", dest="xla", action="store_false", help="leave XLA out: it compiles for long")
    parser.add_argument("--explore", action="store_true", help="also time other settings of ONNX Runtime")
    parser.add_argument("--json", type=Path, help="write what was found here")
    parser.add_argument("--table", type=Path, help="write the table for the README here")
    arguments = parser.parse_args()
    try:
        gpu.read()
    except IcebreakerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report = Report(arguments.json)
    with tempfile.TemporaryDirectory() as folder:
        check_memory_fraction(report)
        resnet = Path(folder) / "resnet50.pb"
        sample_models.write_sample("resnet50", resnet)
        target = measure_model(resnet, "ResNet-50", arguments, report, Path(folder))
        if target is not None and arguments.calls:
            check_leaks(target, arguments.calls, report)
        if target is not None and arguments.explore:
            explore(target, arguments.batches, arguments.seconds, report)
        if arguments.model:
            measure_model(arguments.model, arguments.model.stem, arguments, report, Path(folder))
    text = table(report.data)
    print("\n" + text)
    if arguments.table:
        arguments.table.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
