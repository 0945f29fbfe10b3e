"""Measures what converting a big graph takes of memory and prints it as a table; run by `make bench-memory`.

Two networks of about 500 MB with random weights are made: one of matrix products alone, and one like VGG-16, most of
whose weights are in one product. Each is converted by the command line with default settings, in FP32 and FP16, while
the memory of the worker and all its children is sampled; then the app opens the graph. Two figures: what is resident in
all (with the libraries' code and with what is mapped from files, which the system takes back when it needs it), and
what of that is the process's own (anonymous), which is what a worker's limit counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from helpers.graph_maker import vgg, wide

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def memory(pid: int, children_too: bool) -> tuple[int, int]:
    """Bytes resident in a process and all its children, and how many of these are its own."""
    total = own = 0
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        total, own = (int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "RssAnon"))
        children = [
            int(item) for file in Path(f"/proc/{pid}/task").glob("*/children") for item in file.read_text().split()
        ]
    except (OSError, KeyError):  # it has ended
        return total, own
    for child in children if children_too else ():
        more, of_its_own = memory(child, True)
        total, own = total + more, own + of_its_own
    return total, own


def peak(command: list[str], children_too: bool = True) -> tuple[int, int, str]:
    """Runs a command; its largest figures of `memory`, each by itself, and what it printed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    most = most_own = 0
    while process.poll() is None:
        total, own = memory(process.pid, children_too)
        most, most_own = max(most, total), max(most_own, own)
        time.sleep(0.005)
    assert process.stdout
    return most, most_own, process.stdout.read()


def large_saved_model(folder: Path) -> None:
    """Writes a SavedModel of 2.7 GB, more than protobuf holds: ten matrix products of 268 MB each."""
    import tensorflow as tf

    width = 8192

    class Products(tf.Module):
        def __init__(self) -> None:
            random = tf.random.Generator.from_seed(1)
            self.weights = [tf.Variable(random.normal((width, width), stddev=2**0.5 / 90)) for _ in range(10)]

        @tf.function(input_signature=[tf.TensorSpec((None, width), tf.float32, name="x")])
        def call(self, x: Any) -> Any:
            for weight in self.weights:
                x = tf.nn.relu(tf.matmul(x, weight))
            return {"y": x}

    module = Products()
    tf.saved_model.save(module, str(folder), signatures=module.call)


def main() -> int:
    """Prints the figures; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", action="store_true", help="a SavedModel of 2.7 GB in place of the graphs of 500 MB")
    parser.add_argument("--make-large", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make_large:
        large_saved_model(arguments.make_large)
        return 0
    broken = False
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'graph':10} {'MB':>5} {'':16} {'resident':>16} {'of its own':>16}")
        if arguments.large:
            model = Path(folder) / "saved_model"
            # In a process of its own, which takes TensorFlow's memory with it.
            subprocess.run(
                [sys.executable, __file__, "--make-large", str(model)], check=True, stderr=subprocess.DEVNULL
            )
            broken = measure("SavedModel", model, ("fp32",), Path(folder))
        else:
            for name, make in (("wide", lambda: wide(8)), ("VGG-16", vgg)):
                model = Path(folder) / f"{name}.pb"
                model.write_bytes(make().SerializeToString())
                broken = measure(name, model, ("fp32", "fp16"), Path(folder)) or broken
    print(
        "a promise is broken: 4 times the graph of its own while converting, 1 time in all in the app, equal outputs"
        if broken
        else "all as promised"
    )
    return int(broken)


def measure(name: str, model: Path, precisions: tuple[str, ...], folder: Path) -> bool:
    """Converts a graph, compares what it answers, opens it in the app, and prints the memory; True if too much."""
    broken = False
    files = [model] if model.is_file() else [item for item in model.rglob("*") if item.is_file()]
    size, output = sum(item.stat().st_size for item in files), folder / "out.pb"

    def tell(what: str, total: int, own: int, note: str = "") -> None:
        figures = (f"{value / 1e6:7.0f} MB {value / size:4.2f}×" for value in (total, own))
        print(
            f"{name:10} {size / 1e6:5.0f} {what:16} {' '.join(f'{text:>16}' for text in figures)}  {note}", flush=True
        )

    for precision in precisions:
        order = ("convert", str(model), "-o", str(output), "--precision", precision, "--json")
        total, own, printed = peak([sys.executable, "-m", "icebreaker.cli", *order])
        report = json.loads(printed)
        used = ", ".join(f"{item['engine']} {item['precision']}" for item in report["segments"]) or "TensorFlow"
        tell(f"convert {precision}", total, own, f"{used}, {report['seconds']:.0f} s")
        broken = broken or own >= 4 * size
        order = ("compare", str(model), str(output), "--json")
        total, own, printed = peak([sys.executable, "-m", "icebreaker.cli", *order])
        worst = max(item["max_rel"] for item in json.loads(printed).values())
        tell("compare", total, own, f"outputs differ by {worst:.1e} of the largest value")
        broken = broken or worst > (1e-4 if precision == "fp32" else 0.05)
    order = (str(model), "--screenshot", str(folder / "app.png"))
    total, own, _ = peak([sys.executable, "-m", "icebreaker_gui", *order], children_too=False)  # workers: TensorFlow
    tell("opened in the app", total, own)
    return broken or total >= size


if __name__ == "__main__":
    sys.exit(main())
