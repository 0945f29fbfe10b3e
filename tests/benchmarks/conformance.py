"""Converts the real graphs in ../shared/graphs and compares with their reference outputs; prints a table.

Run by `make conformance`. For each graph: `icebreaker convert --engine auto`, then the optimized graph on the reference
inputs in plain TensorFlow and through `icebreaker.load`. An output agrees if its largest difference is at most 1e-4 of
its range, or of the noise that TensorFlow itself shows on that graph (with and without oneDNN, in the manifest).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from helpers.paths import GRAPHS as SHARED

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TOLERANCE = 1e-4


def manifest() -> list[dict[str, Any]]:
    """The graphs, as their manifest lists them."""
    return json.loads((SHARED / "manifest.json").read_text())


def convert(entry: dict[str, Any], folder: Path, *options: str) -> dict[str, Any]:
    """Converts one graph by the command line; returns its JSON.

    Raises:
        RuntimeError: The command failed; the text is its error line.
    """
    command = [
        sys.executable, "-m", "icebreaker.cli", "convert", str(SHARED / entry["file"]),
        "-o", str(folder / entry["file"]),
        "--outputs", ",".join(item["name"] for item in entry["outputs"]), "--json", *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no error text")
    return json.loads(done.stdout)


def reference(entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reference inputs and outputs by tensor name."""
    import numpy as np

    with np.load(SHARED / entry["reference"], allow_pickle=False) as archive:
        inputs = {key[3:]: archive[key] for key in archive.files if key.startswith("in|")}
        outputs = {key[4:]: archive[key] for key in archive.files if key.startswith("out|")}
    for item in entry["inputs"]:
        if item["dtype"] == "string":
            inputs[item["name"]] = inputs[item["name"]].astype(object)
    return inputs, outputs


def run_plain(path: Path, inputs: dict[str, Any], names: list[str]) -> list[Any]:
    """Runs a graph with nothing but TensorFlow."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run(names, inputs)


def worst(expected: dict[str, Any], names: list[str], values: list[Any]) -> float:
    """Largest deviation over the outputs, as a share of each one's range."""
    from icebreaker.metrics.output_difference import difference

    return max(difference(expected[name], value).max_rel for name, value in zip(names, values, strict=True))


def noise(entry: dict[str, Any]) -> float:
    """How far TensorFlow differs from itself on this graph, as a share of the output's range."""
    found = entry.get("default_vs_plain") or {}
    return max((item["max_abs"] / max(item["ref_absmax"], 1e-30) for item in found.values()), default=0.0)


def check(entry: dict[str, Any], folder: Path, *options: str) -> dict[str, Any]:
    """Converts and compares one graph."""
    import icebreaker

    row: dict[str, Any] = {"name": entry["name"]}
    report = convert(entry, folder, *options)
    inputs, expected = reference(entry)
    names = [item["name"] for item in entry["outputs"]]
    path = folder / entry["file"]
    model = icebreaker.load(path, fallback=False)
    loaded = model(inputs)
    row["plain"] = worst(expected, names, run_plain(path, inputs, names))
    row["loaded"] = worst(expected, names, [loaded[name] for name in names])
    row["segments"] = len(report["segments"])
    row["engines"] = "+".join(sorted({item["engine"] for item in report["segments"]}))
    row["coverage"] = report["coverage"]
    row["seconds"] = report["seconds"]
    row["tolerance"] = max(TOLERANCE, 2 * noise(entry))
    row["agrees"] = max(row["plain"], row["loaded"]) <= row["tolerance"]
    return row


def main() -> int:
    """Prints the table; 0 if every graph agrees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="graphs to check; all of them by default")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        print(f"{SHARED} is not there: nothing to check")
        return 0
    wrong = 0
    print(f"{'graph':34} {'segs':>4} {'engine':24} {'cover':>6} {'sec':>6} {'TensorFlow':>10} {'load':>10}")
    for entry in manifest():
        if arguments.names and entry["name"] not in arguments.names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = check(entry, Path(folder), "--engine", arguments.engine, "--precision", arguments.precision)
            except Exception as error:
                wrong += 1
                print(f"{entry['name']:34} failed: {str(error)[:160]}", flush=True)
                continue
        wrong += not row["agrees"]
        print(
            f"{row['name']:34} {row['segments']:4} {row['engines'] or '-':24} {row['coverage']:6.0%} "
            f"{row['seconds']:6.1f} {row['plain']:10.1e} {row['loaded']:10.1e} {'' if row['agrees'] else 'DEVIATES'}",
            flush=True,
        )
    print(f"{wrong} of the graphs deviate or failed" if wrong else "every graph agrees")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
