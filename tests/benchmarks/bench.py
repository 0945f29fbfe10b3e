"""Measures what the README promises of ResNet-50 and prints it as a table; run by `make bench`.

Original and variants are called in turns in one process, after a warm-up; figures are medians, the speed-up is a ratio
of medians with a 95 % bootstrap interval. The machine may be shared: run it when nothing else does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def in_turns(runs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """Milliseconds of each call, by name; at least 10 rounds.

    Each round has an order of its own: who comes after TensorFlow finds its threads still spinning.
    """
    import numpy as np

    random = np.random.default_rng(0)

    for run in runs.values():
        run()
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds or len(next(iter(times.values()))) < 10:
        for name in random.permutation(list(runs)):
            start = time.perf_counter()
            runs[name]()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def ratio(before: Any, after: Any) -> str:
    """Ratio of medians with its 95 % bootstrap interval."""
    import numpy as np

    random = np.random.default_rng(0)
    rows = random.integers(0, len(before), (2000, len(before)))
    low, high = np.percentile(np.median(before[rows], 1) / np.median(after[rows], 1), [2.5, 97.5])
    return f"{np.median(before) / np.median(after):.2f}× [{low:.2f}, {high:.2f}]"


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="seconds per precision")
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()

    import numpy as np

    import icebreaker
    from icebreaker import sample_models
    from icebreaker.conversion import pipeline
    from icebreaker.engine import registry
    from icebreaker.formats import graph_files
    from icebreaker.graph.graph import Graph
    from icebreaker.runtime import artifact_reader
    from icebreaker.settings import ConvertSettings
    from icebreaker.tf.session import GraphSession

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "resnet50.pb"
        sample_models.write_sample("resnet50", model)
        original = GraphSession(graph_files.read_definition(model))
        graph: Graph = graph_files.read_graph(model)
        name = graph.placeholders[0].name
        batch = np.random.default_rng(0).random((arguments.batch, 224, 224, 3), np.float32)
        outputs = artifact_reader.stored_outputs(graph)
        plain = original.callable(outputs, [name])
        for precision in ("fp32", "fp16"):
            target = Path(folder) / f"{precision}.pb"
            settings = ConvertSettings.of(precision=precision, max_batch_size=arguments.batch)
            report = pipeline.convert(model, target, settings)
            loaded = icebreaker.load(target, fallback=False)
            runs: dict[str, Callable[[], Any]] = {
                "TensorFlow": lambda: plain(batch),
                "load": lambda loaded=loaded: loaded(batch),
            }
            if loaded.is_direct:
                stored = artifact_reader.stored_engines(graph_files.read_graph(target), target.parent)[0]
                direct = registry.get(stored.engine).load(stored.payload(), stored.precision)
                runs["engine alone"] = lambda direct=direct: direct([batch])
            call = loaded.session.make_callable(
                [loaded.session.graph.get_tensor_by_name(f"{item}:0") for item in loaded.outputs],
                [loaded.session.graph.get_tensor_by_name(f"{name}:0")],
            )
            runs["session"] = lambda call=call: call(batch)
            times = in_turns(runs, arguments.seconds)
            used = ", ".join(f"{item.engine} {item.precision}" for item in report.segments) or "TensorFlow"
            print(f"\nResNet-50, batch {arguments.batch}, {precision}: {used}; converted in {report.seconds:.1f} s")
            for key, values in times.items():
                speed = "" if key == "TensorFlow" else ratio(times["TensorFlow"], values)
                print(f"  {key:14} {np.median(values):8.2f} ms   {speed}")
            if "engine alone" in times:
                cost = np.median(times["load"]) / np.median(times["engine alone"]) - 1
                print(f"  the call through icebreaker.load costs {cost:+.1%} over the engine alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
