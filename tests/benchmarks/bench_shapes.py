"""Batches in turn, and threads side by side: an optimized graph against TensorFlow's own session on the original.

    python -m benchmarks.bench_shapes GRAPH.pb [--engine openvino] [--most 32]      (with tests/ on PYTHONPATH)

The first table has one call of each batch size, 1 to `--most`, in the order 1, 2, 3 …: the first round as a fresh
process meets them, compilation and all, then more rounds. The second has the calls a second that threads get together.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from icebreaker.conversion.pipeline import convert
from icebreaker.formats import graph_files
from icebreaker.runtime import loader
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

Call = Callable[[np.ndarray], Any]
_SECONDS = 1.0  # for each number of threads
_TURNS = 5


def main(arguments: list[str]) -> None:
    """Measures one graph with one input whose first dimension is open."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graph", type=Path)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--most", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "fast.pb"
        report = convert(options.graph, made, ConvertSettings.of(engine=options.engine))
        print(f"{options.graph.name}, {options.engine}: {report.coverage:.0%} in engines, {os.cpu_count()} processors")
        graph = graph_files.read_graph(options.graph)
        (entry,) = (item for item in graph.placeholders if not item.optional)
        outputs = [Tensor.parse(name) for name in graph.candidate_outputs]
        model = loader.load(made, trust=True)
        plain = GraphSession(graph.definition).callable(outputs, [entry.name])
        ways: Mapping[str, Call] = {"TensorFlow": plain, options.engine: model}
        random = np.random.default_rng(0)
        inner = [dim or 1 for dim in (entry.shape or ())[1:]]
        values = {rows: random.random((rows, *inner)).astype(entry.dtype) for rows in range(1, options.most + 1)}
        _batches(ways, values, options.rounds)
        _threads(ways, values[1])


def _batches(ways: Mapping[str, Call], values: Mapping[int, np.ndarray], rounds: int) -> None:
    times: dict[str, list[list[float]]] = {name: [[] for _ in range(rounds + 1)] for name in ways}
    for turn in range(rounds + 1):
        for value in values.values():
            for name, call in ways.items():
                begun = time.perf_counter()
                call(value)
                times[name][turn].append(1000 * (time.perf_counter() - begun))
    print(
        "\n| | first round, all batches | later rounds, all batches (median) | slowest call later |\n|---|---|---|---|"
    )
    for name, turns in times.items():
        later = statistics.median(sum(turn) for turn in turns[1:])
        slowest = max(map(max, turns[1:]))
        print(f"| {name} | {sum(turns[0]):.0f} ms | {later:.0f} ms | {slowest:.0f} ms |")
    by_batch = {
        name: [statistics.median(turn[i] for turn in turns[1:]) for i in range(len(values))]
        for name, turns in times.items()
    }
    base, fast = by_batch.values()
    slower = [rows for rows, a, b in zip(values, base, fast, strict=True) if b > a]
    print(
        f"\nspeed-up by batch: {min(a / b for a, b in zip(base, fast, strict=True)):.2f} at least; slower at {slower}"
    )


def _threads(ways: Mapping[str, Call], value: np.ndarray) -> None:
    print("\ncalls a second (processor time of one)\n")
    print("| threads | " + " | ".join(ways) + " |\n" + "|---" * (len(ways) + 1) + "|")
    for count in (1, 2, 4, 8):
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(_TURNS):
            for name, call in ways.items():
                rates[name].append(_rate(call, value, count))
        told = (
            f"{statistics.median(rate for rate, _ in item):.1f} ({statistics.median(ms for _, ms in item):.1f} ms)"
            for item in rates.values()
        )
        print(f"| {count} | " + " | ".join(told) + " |", flush=True)


def _rate(call: Call, value: np.ndarray, count: int) -> tuple[float, float]:
    """Calls a second of so many threads together, and what processor time each took, in milliseconds."""
    calls = [0] * count
    end = time.perf_counter() + _SECONDS

    def work(number: int) -> None:
        while time.perf_counter() < end:
            call(value)
            calls[number] += 1

    begun, used = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(calls) / (time.perf_counter() - begun), 1000 * (time.process_time() - used) / sum(calls)


if __name__ == "__main__":
    main(sys.argv[1:])
