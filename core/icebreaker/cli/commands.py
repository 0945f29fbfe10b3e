"""What each command does: a request for the worker, and the answer as JSON and as lines for people."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icebreaker import codec, sample_models
from icebreaker.cli import text
from icebreaker.cli.console import Console
from icebreaker.cli.diff_text import diff_lines
from icebreaker.cli.wording import worded
from icebreaker.diffing.diff import diff_files
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.jobs import requests
from icebreaker.settings import Consent, ConvertSettings
from icebreaker.storage.files import write_whole

# What a command gives: the value for --json, and the lines for people.
Answer = tuple[Any, Sequence[str]]


def inspect(arguments: argparse.Namespace, console: Console) -> Answer:
    """What is in a graph."""
    path = Path(arguments.model)
    if graph_files.needs_worker(path):
        request = requests.Inspect(model=str(path), signature=arguments.signature, consent=arguments.consent)
        found = console.run(request)
    else:
        found = graph_files.inspect(path, signature=arguments.signature)  # needs no TensorFlow: answers at once
    engines = ", ".join(name if here else f"{name} (built elsewhere)" for name, here in found.engines.items())
    inputs = [(entry.name, entry.dtype, text.shape(entry.shape)) for entry in found.inputs]
    ops = [(op, str(count)) for op, count in list(found.ops.items())[: text.FEW]]
    lines = [
        *text.table([
            ("nodes", str(found.nodes)),
            ("constants", text.size(found.bytes)),
            ("parameters", text.exact(found.parameters)),
            ("FLOPs", text.flops(found)),
            ("control flow", "yes" if found.control_flow else "no"),
            ("functions", str(len(found.functions))),
            *([("engines", engines)] if engines else []),
            *text.signature_rows(found.signature, found.other_signatures),
        ]),
        "",
        *text.table([("input", "type", "shape"), *inputs]),
        "",
        *text.table([("output",), *((name,) for name in text.few(found.outputs))]),
        "",
        *text.table([("op", "nodes"), *ops], right={1}),
    ]  # fmt: skip
    if len(found.ops) > text.FEW:
        lines.append(f"and {len(found.ops) - text.FEW} more ops")
    if found.side_effects:
        rows = [(item.where, item.op, item.effect) for item in found.side_effects[: text.FEW]]
        lines += ["", *text.table([("acts outside the graph", "op", ""), *rows])]
        if len(found.side_effects) > text.FEW:
            lines.append(f"and {len(found.side_effects) - text.FEW} more nodes")
    return found.to_json(), lines


def convert(arguments: argparse.Namespace, console: Console) -> Answer:
    """Writes a graph that runs faster."""
    made = console.run(
        requests.Convert(
            model=arguments.model, output=arguments.output, format=arguments.format, settings=arguments.settings,
            consent=arguments.consent, limits=arguments.limits,
        )
    )  # fmt: skip
    if arguments.json:  # the contract has no room for them
        for line in made.warnings:
            console.say(f"warning: {worded(line)}")
    return made.to_json(worded), text.conversion_lines(made)


def calibrate(arguments: argparse.Namespace, console: Console) -> Answer:
    """Writes the ranges that INT8 needs."""
    made = console.run(
        requests.Calibrate(
            model=arguments.model, output=arguments.output, settings=arguments.settings,
            consent=arguments.consent, limits=arguments.limits,
        )
    )  # fmt: skip
    lines = [
        f"wrote {made.output} in {made.seconds:.1f} s, from {text.count(made.samples, 'sample')}",
        *map(worded, made.notes),
        "",
    ]
    rows = [("segment", "nodes", "tensors", "method", "signal to noise")]
    for segment in made.segments:
        tried = ", ".join(f"{method} {db:.1f} dB" for method, db in segment.tried.items())
        rows.append((segment.name, str(segment.nodes), str(segment.tensors), segment.method, tried))
    lines += text.table(rows, right={1, 2})
    lines += [f"warning: {worded(line)}" for line in made.warnings]
    return made.to_json(worded), lines


def benchmark(arguments: argparse.Namespace, console: Console) -> Answer:
    """Measures one graph, or two in turns."""
    found = console.run(
        requests.Benchmark(
            model=arguments.model, optimized=arguments.optimized or "", batch=arguments.batch,
            seconds=arguments.seconds, settings=arguments.settings, profile=arguments.profile,
            consent=arguments.consent, limits=arguments.limits,
        )
    )  # fmt: skip
    return found.to_json(), text.benchmark_lines(found)


def compare(arguments: argparse.Namespace, console: Console) -> Answer:
    """Compares what two graphs answer."""
    found = console.run(
        requests.Compare(
            model=arguments.model, optimized=arguments.optimized, settings=arguments.settings,
            consent=arguments.consent, limits=arguments.limits,
        )
    )  # fmt: skip
    return found.to_json(), text.difference_lines(found.outputs)


def diff(arguments: argparse.Namespace, console: Console) -> Answer:
    """What is different in a second graph."""
    files = Path(arguments.model), Path(arguments.other)
    if any(map(graph_files.needs_worker, files)):
        found = console.run(requests.Diff(model=str(files[0]), other=str(files[1]), consent=arguments.consent))
    else:
        found = diff_files(*files)  # needs no TensorFlow: answers at once
    return found.to_json(), diff_lines(found)


def sample(arguments: argparse.Namespace, console: Console) -> Answer:
    """Writes a sample model."""
    made = console.run(requests.MakeSample(sample=arguments.name, output=arguments.output))
    return codec.to_plain(made), [f"wrote {made.output}"]


def engines(arguments: argparse.Namespace, console: Console) -> Answer:
    """Which engines work here."""
    machine = console.run(requests.AskEngines())
    lines = text.table([
        ("engine", "builds", "runs", ""),
        *((item.name, text.yes(item.builds), text.yes(item.runs), worded(item.detail)) for item in machine.engines),
    ])  # fmt: skip
    if machine.gpu:
        lines += ["", f"{machine.gpu}, {text.size(machine.gpu_memory_bytes)}"]
    return machine.to_json(worded), lines


def demo(arguments: argparse.Namespace, console: Console) -> Answer:
    """Converts the digits sample, measures it and draws the chart."""
    folder = Path(arguments.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IcebreakerError(
            "folder_not_made", "{subject} could not be made: {error}", "another_output_folder",
            subject=folder, error=str(error.strerror),
        ) from error  # fmt: skip
    model, output = str(folder / "digits.pb"), str(folder / "digits.optimized.pb")
    data = sample_models.sample_data("digits")
    settings = ConvertSettings(data=str(data) if data else None)
    # Trusted: what is measured was made here a moment ago, also where no cache folder can keep a note of that.
    trusting = Consent(engines=True)
    console.run(requests.MakeSample(sample="digits", output=model))
    made = console.run(requests.Convert(model=model, output=output, settings=settings, consent=trusting))
    found = console.run(
        requests.Benchmark(
            model=model, optimized=output, seconds=arguments.seconds, settings=settings, consent=trusting
        )
    )
    result, chart = folder / "result.json", folder / "latency.png"
    drawn = {
        "samples": [[item.series, item.seconds, item.milliseconds] for item in console.samples],
        "benchmark": text.finite(codec.to_plain(found)),
    }
    write_whole(result, json.dumps(drawn).encode())
    files = {"original": model, "optimized": output, "result": str(result)}
    if problem := _draw_chart(result, chart):
        console.say(f"warning: no chart was drawn: {problem}")
    else:
        files["chart"] = str(chart)
    answer = {"conversion": made.to_json(worded), "benchmark": found.to_json(), "files": files}
    lines = [*text.conversion_lines(made), "", *text.benchmark_lines(found), "", *text.table(list(files.items()))]
    return answer, lines


def _draw_chart(result: Path, chart: Path) -> str:
    """Has the app's package draw the latencies; returns why that failed, or nothing."""
    if importlib.util.find_spec("icebreaker_gui") is None:
        return "the app is not installed"
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", "icebreaker_gui.panels.latency_chart", str(result), str(chart)],
        capture_output=True,
        text=True,
    )
    words = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (words[-1] if words else f"exit status {done.returncode}")
