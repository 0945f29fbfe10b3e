"""Converts the real graphs in ../shared/graphs and the models in ../shared/models, and compares; prints one table.

Run by `make conformance`. For each graph: `icebreaker convert --engine auto`, then the optimized graph on the reference
inputs in plain TensorFlow and through `icebreaker.load`. An output agrees if its largest difference is at most 1e-4 of
its range, or of the noise that TensorFlow itself shows on that graph (with and without oneDNN, in the manifest).

Models have no reference outputs: what comes out of one (of a SavedModel a SavedModel) is compared with what went in, on
values that are made up, in plain TensorFlow and with its engines. Those that their README says must not get in have to
end in one line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from helpers.paths import GRAPHS as SHARED
from helpers.paths import MODELS

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
    names = ",".join(item["name"] for item in entry["outputs"])
    return run("convert", SHARED / entry["file"], "-o", folder / entry["file"], "--outputs", names, *options)


def run(*words: object) -> dict[str, Any]:
    """The JSON of a command.

    Raises:
        RuntimeError: It failed; the text is its error line.
    """
    command = [sys.executable, "-m", "icebreaker.cli", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or "no error text")
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
    row |= told(report)
    inputs, expected = reference(entry)
    names = [item["name"] for item in entry["outputs"]]
    path = folder / entry["file"]
    model = icebreaker.load(path, fallback=False)
    loaded = model(inputs)
    row["plain"] = worst(expected, names, run_plain(path, inputs, names))
    row["loaded"] = worst(expected, names, [loaded[name] for name in names])
    row["agrees"] = max(row["plain"], row["loaded"]) <= max(TOLERANCE, 2 * noise(entry))
    return row


def told(report: dict[str, Any]) -> dict[str, Any]:
    """What a row has of a conversion's report."""
    return {
        "segments": len(report["segments"]),
        "engines": "+".join(sorted({item["engine"] for item in report["segments"]})),
        "coverage": report["coverage"],
        "seconds": report["seconds"],
    }


def models() -> dict[str, bool]:
    """Model → whether it gets in, as the table in their README says."""
    found = {}
    for line in (MODELS / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4:
            names = [name.strip(" /") for name in cells[0].split(",")]
            found |= {name: "one clear line" not in cells[3] for name in names if (MODELS / name).exists()}
    return found


def check_model(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """Converts a model and compares what came out with what went in."""
    source, output = MODELS / name, folder / name
    row = {"name": name} | told(run("convert", source, "-o", output, *options))
    # The first of two runs in plain TensorFlow, the second with the engines that it has.
    for column, pair in {"plain": (output, source), "loaded": (source, output)}.items():
        outputs = run("compare", *pair)["outputs"]
        row[column] = max((item["max_rel"] for item in outputs.values()), default=0.0)
    return row | {"agrees": max(row["plain"], row["loaded"]) <= TOLERANCE}


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"{row['name']:34} {row['segments']:4} {row['engines'] or '-':24} {row['coverage']:6.0%} "
        f"{row['seconds']:6.1f} {row['plain']:10.1e} {row['loaded']:10.1e} {'' if row['agrees'] else 'DEVIATES'}"
    )


def main() -> int:
    """Prints the table; 0 if every graph and model is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="graphs and models to check; all of them by default")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    options = ("--engine", arguments.engine, "--precision", arguments.precision)
    # Name → whether it gets in, and what checks it.
    checks: dict[str, tuple[bool, Callable[..., dict[str, Any]]]] = {}
    for folder in (SHARED, MODELS):
        if not folder.is_dir():
            print(f"{folder} is not there: nothing to check in it")
    if SHARED.is_dir():
        checks |= {entry["name"]: (True, partial(check, entry)) for entry in manifest()}
    if MODELS.is_dir():
        checks |= {name: (gets_in, partial(check_model, name)) for name, gets_in in models().items()}
    wrong = 0
    print(f"{'graph or model':34} {'segs':>4} {'engine':24} {'cover':>6} {'sec':>6} {'TensorFlow':>10} {'load':>10}")
    for name, (gets_in, run_check) in checks.items():
        if arguments.names and name not in arguments.names:
            continue
        with tempfile.TemporaryDirectory() as place:
            try:
                row = run_check(Path(place), *options)
            except Exception as error:
                right = not gets_in and isinstance(error, RuntimeError) and "\n" not in str(error)
                wrong += not right
                print(f"{name:34} {'refused' if right else 'FAILED'}: {str(error)[:160]}", flush=True)
                continue
        wrong += not (gets_in and row["agrees"])
        print(line(row) if gets_in else f"{name:34} GOT IN, which it must not", flush=True)
    print(f"{wrong} deviate or failed" if wrong else "everything is as it must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
