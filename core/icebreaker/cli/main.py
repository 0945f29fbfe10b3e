"""The command line: every job of the app, for terminals and scripts.

Owns: options, tables, the progress bar, exit codes (0; 1 failed, with one line on stderr; 2 usage; 130 interrupted).
Refuses: doing the work, which runs in the worker. With `--json`, stdout carries the JSON of `reports` and no more.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from icebreaker import events, sample_models
from icebreaker.engines import registry
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.jobs import supervisor
from icebreaker.reports import reports
from icebreaker.settings import (
    CALIBRATION_METHODS,
    HARDWARE_COMPATIBILITY,
    MOST_OPTIMIZATION,
    PRECISIONS,
    QUANTIZERS,
    WEIGHTS,
    ConvertSettings,
    parse_profile,
    parse_size,
)
from icebreaker.tensors import Tensor, canonical

_INTERRUPTED = 128 + signal.SIGINT
_FEW = 12  # rows of a list that are shown before "and N more"


class _Console:
    """What a person sees on stderr while a job runs: a progress bar on a terminal, warnings, and the log if asked."""

    _BAR = 24

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._drawn = ""
        self.samples: list[events.Sample] = []

    def __call__(self, event: events.Event) -> None:
        """Receives a job's events."""
        match event:
            case events.Progress(stage, fraction):
                self._draw(stage, fraction)
            case events.Log(level, text) if self._verbose or level in ("warning", "error"):
                self.say(text if level in ("debug", "info") else f"{level}: {text}")
            case events.Sample():
                self.samples.append(event)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the bar away."""
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = ""

    def _draw(self, stage: str, fraction: float) -> None:
        if not sys.stderr.isatty():
            return
        done = round(self._BAR * max(0.0, min(1.0, fraction)))
        line = f"[{'#' * done}{'.' * (self._BAR - done)}] {fraction:4.0%}  {stage}"
        line = line[: shutil.get_terminal_size().columns - 1]
        if line != self._drawn:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            self._drawn = line

    def run(self, kind: str, arguments: Mapping[str, Any]) -> Any:
        """Does a job in a child process and returns its result."""
        try:
            return supervisor.run(kind, arguments, self)
        finally:
            self.clear()


# What a command gives: the value for --json, and the lines for people.
_Answer = tuple[Any, Sequence[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after the program's name; None: those it was started with.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser, commands = _parser()
    if not words or not (words[0].startswith("-") or words[0] in commands):
        return _open_app(parser, words)
    arguments = parser.parse_args(words)
    if "inputs" in arguments:
        try:
            arguments.settings = _settings(arguments)
        except IcebreakerError as error:
            commands[words[0]].error(str(error))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] - a terminal without × still shows the rest
    console = _Console(arguments.verbose)
    try:
        with _ending_on_signals():
            value, lines = arguments.run(arguments, console)
        text = json.dumps(_plain(value), indent=2, allow_nan=False) if arguments.json else "\n".join(lines)
        print(text, flush=True)
    except IcebreakerError as error:
        console.clear()
        print(f"icebreaker: {error}", file=sys.stderr)
        if arguments.verbose:
            print(*getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        console.say("icebreaker: interrupted")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the job and its child as Ctrl+C does, so that no partial file stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _open_app(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    if len(words) > 1 or (words and not Path(words[0]).exists()):
        parser.error(f"{words[0]!r} is neither a command nor a file")
    if importlib.util.find_spec("icebreaker_gui") is None:
        print("icebreaker: the app is not installed: install icebreaker with it, or see --help", file=sys.stderr)
        return 1
    os.execv(sys.executable, [sys.executable, "-m", "icebreaker_gui", *words])  # noqa: S606 - our own module


# --- Options -----------------------------------------------------------------------------------------------------


def _parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="icebreaker",
        description="Makes frozen TensorFlow graphs run faster, and shows why.",
        usage="icebreaker [FILE]\n       icebreaker COMMAND [OPTION ...]\n       icebreaker [-h | --version]",
        epilog="Without a command the app opens, on FILE if given. Help on a command: icebreaker COMMAND --help",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=16),
    )
    parser.add_argument("--version", action="version", version=importlib.metadata.version("icebreaker"))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND [OPTION ...]", required=True, prog="icebreaker")

    def add(name: str, run: Callable[[argparse.Namespace, _Console], _Answer], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.add_argument("-v", "--verbose", action="store_true", help="print the log, engines' words included")
        return command

    command = add("inspect", _inspect, "tell what is in a graph")
    _add_model(command)
    command.add_argument(
        "--allow-side-effects", action="store_true", help="load a SavedModel although its initializers read files"
    )

    defaults = ConvertSettings()
    command = add("convert", _convert, "write a graph that runs faster")
    _add_model(command)
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="the optimized graph to write")
    _add_inputs(command)
    _add_outputs(command, "all that carry data")
    command.add_argument("--precision", choices=PRECISIONS, default=defaults.precision, help="default: %(default)s")
    command.add_argument(
        "--engine", choices=("auto", *registry.names()), default=defaults.engine,
        help="default: auto, which measures what is available and keeps the fastest",
    )  # fmt: skip
    command.add_argument(
        "--max-batch-size", type=int, default=defaults.max_batch_size, metavar="N",
        help="largest batch the engines must take; default: %(default)s",
    )  # fmt: skip
    command.add_argument(
        "--profile", dest="profiles", nargs="+", type=_checked(parse_profile), default=(),
        metavar="NAME=MIN,USUAL,MAX",
        help="shapes that engines must take of an input, and are tuned for: image=1x64x64x3,4x224x224x3,8x512x512x3",
    )  # fmt: skip
    command.add_argument(
        "--workspace", dest="workspace_bytes", metavar="SIZE",
        type=_checked(parse_size), default=defaults.workspace_bytes,
        help="scratch memory of a TensorRT builder, such as 4GB; default: 1GiB",
    )  # fmt: skip
    command.add_argument(
        "--optimization-level", type=int, choices=range(MOST_OPTIMIZATION + 1), metavar="0..5",
        help="TensorRT: how long its builder searches; default: its own, 3",
    )  # fmt: skip
    command.add_argument(
        "--hardware-compatibility", choices=HARDWARE_COMPATIBILITY, default=defaults.hardware_compatibility,
        help="TensorRT: other GPUs that an engine runs on, which may cost speed; default: none but the same model",
    )  # fmt: skip
    command.add_argument(
        "--version-compatible", action="store_true",
        help="TensorRT: engines that later versions load, too, which are larger",
    )  # fmt: skip
    command.add_argument(
        "--weights", choices=WEIGHTS, default=defaults.weights,
        help="TensorRT: refittable weights can be replaced later; weightless engines get theirs when they are loaded, "
        "from the ONNX model kept with them; default: fixed",
    )  # fmt: skip
    command.add_argument(
        "--compute-capability", dest="compute_capabilities", nargs="+", default=(), metavar="8.9",
        help="TensorRT-RTX: GPUs to build for, also without one; default: all from 8.0 on",
    )  # fmt: skip
    command.add_argument(
        "--memory-fraction", type=float, metavar="F",
        help="share of the GPU's memory for TensorFlow, such as 0.67; default: what it wants",
    )  # fmt: skip
    _add_segments(command)
    command.add_argument("--retry-crashed", action="store_true", help="try again what has crashed an engine before")
    command.add_argument(
        "--calibration", metavar="DATA",
        help="for INT8: a folder of images, .npz, .npy, .tfrecord or .py with batches(), or random; default: --data",
    )  # fmt: skip
    command.add_argument(
        "--calibration-table", metavar="TABLE.json",
        help="the ranges of an earlier calibration; with --calibration they are written there",
    )  # fmt: skip
    command.add_argument(
        "--quantizer", choices=QUANTIZERS, default=defaults.quantizer,
        help="for INT8 in OpenVINO: own, nncf (the extra nncf must be installed), or auto, which keeps the faster",
    )  # fmt: skip
    command.add_argument(
        "--accuracy-budget", type=_checked(_share), metavar="SHARE",
        help="share of rows whose top class INT8 may change, such as 0.01: the worst layers stay in 16 or 32 bits",
    )  # fmt: skip
    _add_calibration(command)
    _add_safety(command)

    command = add("calibrate", _calibrate, "find the ranges that INT8 needs, for conversions without data")
    _add_model(command)
    command.add_argument(
        "--data", dest="calibration", required=True, metavar="DATA",
        help="a folder of images, .npz, .npy, .tfrecord or .py with batches(), or random",
    )  # fmt: skip
    command.add_argument("-o", "--output", required=True, metavar="TABLE.json", help="the table to write")
    _add_input_names(command)
    _add_outputs(command, "all that carry data")
    command.add_argument(
        "--engine", choices=("auto", *registry.names()), default=defaults.engine, help="default: %(default)s"
    )
    _add_segments(command)
    _add_calibration(command)
    _add_safety(command)

    command = add("benchmark", _benchmark, "measure a graph, or original and optimized in turns")
    _add_model(command)
    command.add_argument("optimized", nargs="?", metavar="OPTIMIZED", help="what convert made of MODEL")
    _add_inputs(command)
    _add_outputs(command, "those of OPTIMIZED, or all that carry data")
    command.add_argument("--batch", type=_checked(_positive), default=1, metavar="N", help="rows; default: %(default)s")
    command.add_argument(
        "--seconds", type=_checked(_duration), default=5.0, metavar="S",
        help="how long to measure, warm-up not counted; default: %(default)g",
    )  # fmt: skip
    command.add_argument(
        "--profile", action="store_true", help="tell afterwards where the time goes, by node and by layer in an engine"
    )
    _add_trust(command)
    _add_safety(command)

    command = add("compare", _compare, "compare what original and optimized answer")
    _add_model(command)
    command.add_argument("optimized", metavar="OPTIMIZED", help="what convert made of MODEL")
    _add_inputs(command)
    _add_trust(command)
    _add_safety(command)

    command = add("sample", _sample, "write a graph to try things on")
    command.add_argument(
        "name", choices=tuple(sample_models.SAMPLES), help="; ".join(map(": ".join, sample_models.SAMPLES.items()))
    )
    command.add_argument("-o", "--output", required=True, metavar="FILE", help="the frozen graph to write")

    add("engines", _engines, "tell which engines work here, and why the rest does not")

    command = add("demo", _demo, "convert the digits sample and measure it, with a chart")
    command.add_argument(
        "--output-dir", default="icebreaker-demo", metavar="DIR", help="where the files go; default: %(default)s"
    )
    command.add_argument("--seconds", type=_checked(_duration), default=5.0, metavar="S", help=argparse.SUPPRESS)
    return parser, commands.choices


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "model", metavar="MODEL", help="a .pb, .pbtxt, either as .gz, SavedModel folder, .keras or .h5"
    )


def _add_input_names(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--inputs", type=_checked(_inputs), default=(), metavar="NAME[=DIMxDIM],..",
        help="inputs, with concrete shapes where the graph leaves them open; default: all",
    )  # fmt: skip


def _add_segments(command: argparse.ArgumentParser) -> None:
    defaults = ConvertSettings()
    command.add_argument(
        "--minimum-segment-size", type=int, default=defaults.minimum_segment_size, metavar="N",
        help="smaller segments stay in TensorFlow; default: %(default)s",
    )  # fmt: skip
    command.add_argument(
        "--exclude", nargs="+", type=_checked(_node), default=(), metavar="NODE", help="nodes to leave in TensorFlow"
    )


def _add_calibration(command: argparse.ArgumentParser) -> None:
    defaults = ConvertSettings()
    command.add_argument(
        "--calibration-method", choices=("auto", *CALIBRATION_METHODS), default=defaults.calibration_method,
        help="how ranges are chosen; default: auto, which takes the one with the smallest error",
    )  # fmt: skip
    command.add_argument(
        "--calibration-samples", type=_checked(_positive), metavar="N", help="rows to take, at random; default: all"
    )
    command.add_argument(
        "--calibration-seed", type=int, default=defaults.calibration_seed, metavar="N", help="of that choice"
    )
    command.add_argument(
        "--preprocess", dest="preprocessing", type=_checked(_preprocessing), metavar="WxH[,RGB|BGR|L][,KEY=VALUE]..",
        help="how images become values: 224x224,BGR,mean=104/117/123,std=1,crop=stretch,layout=NCHW; default: guessed",
    )  # fmt: skip
    command.add_argument(
        "--keep-fp", dest="keep_float", nargs="+", type=_checked(_node), default=(), metavar="NODE",
        help="nodes that stay in 16 or 32 bits; patterns such as 'head/*' too",
    )  # fmt: skip
    command.add_argument(
        "--allow-python", action="store_true", help="run calibration data that is a Python program, with your rights"
    )


def _add_inputs(command: argparse.ArgumentParser) -> None:
    _add_input_names(command)
    command.add_argument("--data", metavar="FILE.npz", help="values by input name; default: made up")


def _add_outputs(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument("--outputs", type=_checked(_names), default=(), metavar="NAME,..", help=f"default: {default}")


def _add_trust(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trust-engines", action="store_true", help="load also engines that were not built by you on this machine"
    )


def _add_safety(command: argparse.ArgumentParser) -> None:
    defaults = ConvertSettings()
    command.add_argument(
        "--allow-side-effects", action="store_true", help="run the graph although it reads or writes files or the like"
    )
    command.add_argument(
        "--memory-limit", dest="memory_limit_bytes", type=_checked(parse_size), metavar="SIZE",
        help="memory that the worker process may take, such as 8GB; default: nine tenths of the machine's",
    )  # fmt: skip
    command.add_argument(
        "--time-limit", dest="time_limit_seconds", type=_checked(_duration), metavar="S",
        help="seconds that the whole job may take; default: as long as it needs",
    )  # fmt: skip
    command.add_argument(
        "--patience", dest="patience_seconds", type=_checked(_duration), default=defaults.patience_seconds, metavar="S",
        help="seconds without a word before the worker counts as hanging; default: %(default)g",
    )  # fmt: skip


def _checked(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Makes our errors usage errors of argparse."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except (IcebreakerError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(canonical(part) for part in text.split(","))


def _node(text: str) -> str:
    return Tensor.parse(text).node


def _inputs(text: str) -> tuple[tuple[str, tuple[int, ...] | None], ...]:
    found = []
    for part in text.split(","):
        name, equals, dims = part.partition("=")
        shape = None
        if equals:
            sizes = dims.replace("×", "x").split("x") if dims else []
            if not all(size.isascii() and size.isdigit() for size in sizes):
                raise IcebreakerError(f"{dims!r} is not a shape: write whole numbers, such as 1x224x224x3")
            shape = tuple(map(int, sizes))
        found.append((canonical(name), shape))
    return tuple(found)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise IcebreakerError(f"{text!r} is not a whole number above 0")
    return int(text)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise IcebreakerError(f"{text!r} is not a share from 0 to 1, such as 0.01 for 1 %")
    return value


def _preprocessing(text: str) -> dict[str, Any]:
    """`224x224,BGR,mean=104/117/123` as the fields of `calibration.Preprocessing`."""
    size, *rest = text.split(",")
    numbers = size.replace("×", "x").split("x")
    if len(numbers) != 2 or not all(item.isascii() and item.isdigit() for item in numbers):
        raise IcebreakerError(f"{size!r} is not the size of an image: write width and height, such as 224x224")
    found: dict[str, Any] = {"width": int(numbers[0]), "height": int(numbers[1])}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals:
            found["channels"] = part.upper()
        elif key in ("mean", "std"):
            found[key] = [float(item) for item in value.split("/")]
        elif key in ("crop", "layout"):
            found[key] = value
        else:
            raise IcebreakerError(f"{part!r} is unknown: give RGB, BGR or L, mean=, std=, crop= or layout=")
    return found


def _duration(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise IcebreakerError(f"{text!r} is not a time in seconds above 0")
    return seconds


def _settings(arguments: argparse.Namespace) -> ConvertSettings:
    """The settings that a command's options give; what it has no option for keeps its default."""
    chosen = vars(arguments)
    values = {item.name: chosen[item.name] for item in dataclasses.fields(ConvertSettings) if item.name in chosen}
    values["inputs"] = tuple(name for name, _ in arguments.inputs)
    if "profiles" in values:
        values["profiles"] = dict(values["profiles"])
    values["input_shapes"] = {name: shape for name, shape in arguments.inputs if shape is not None}
    return ConvertSettings.from_json(values)  # makes tuples of lists


# --- Commands ----------------------------------------------------------------------------------------------------


def _inspect(arguments: argparse.Namespace, console: _Console) -> _Answer:
    path = Path(arguments.model)
    if graph_files.needs_worker(path):
        order = {"model": str(path), "allow_side_effects": arguments.allow_side_effects}
        found = reports.load(reports.Inspection, console.run("inspect", order))
    else:
        found = graph_files.inspect(path)  # needs no TensorFlow: answers at once
    engines = ", ".join(name if here else f"{name} (built elsewhere)" for name, here in found.engines.items())
    lines = [
        *_table([
            ("nodes", str(found.nodes)),
            ("constants", _bytes(found.bytes)),
            ("control flow", "yes" if found.control_flow else "no"),
            ("functions", str(len(found.functions))),
            *([("engines", engines)] if engines else []),
        ]),
        "",
        *_table([("input", "type", "shape"), *((i["name"], i["dtype"], _shape(i["shape"])) for i in found.inputs)]),
        "",
        *_table([("output",), *((name,) for name in _few(found.outputs))]),
        "",
        *_table([("op", "nodes"), *((op, str(count)) for op, count in list(found.ops.items())[:_FEW])], right={1}),
    ]  # fmt: skip
    if len(found.ops) > _FEW:
        lines.append(f"and {len(found.ops) - _FEW} more ops")
    if found.side_effects:
        rows = [(item.where, item.op, item.effect) for item in found.side_effects[:_FEW]]
        lines += ["", *_table([("acts outside the graph", "op", ""), *rows])]
        if len(found.side_effects) > _FEW:
            lines.append(f"and {len(found.side_effects) - _FEW} more nodes")
    return found.to_json(), lines


def _convert(arguments: argparse.Namespace, console: _Console) -> _Answer:
    order = {"model": arguments.model, "output": arguments.output, "settings": arguments.settings.to_json()}
    made = reports.load(reports.Conversion, console.run("convert", order))
    if arguments.json:  # the contract has no room for them
        for text in made.warnings:
            console.say(f"warning: {text}")
    return made.to_json(), _conversion_lines(made)


def _calibrate(arguments: argparse.Namespace, console: _Console) -> _Answer:
    order = {"model": arguments.model, "output": arguments.output, "settings": arguments.settings.to_json()}
    made = reports.load(reports.Calibration, console.run("calibrate", order))
    lines = [f"wrote {made.output} in {made.seconds:.1f} s, from {_count(made.samples, 'sample')}", *made.notes, ""]
    rows = [("segment", "nodes", "tensors", "method", "signal to noise")]
    for item in made.segments:
        tried = ", ".join(f"{name} {db:.1f} dB" for name, db in item["tried"].items())
        rows.append((item["name"], str(item["nodes"]), str(item["tensors"]), item["method"], tried))
    lines += _table(rows, right={1, 2})
    lines += [f"warning: {text}" for text in made.warnings]
    return reports.dump(made), lines


def _benchmark(arguments: argparse.Namespace, console: _Console) -> _Answer:
    order = {
        "model": arguments.model, "optimized": arguments.optimized, "batch": arguments.batch,
        "seconds": arguments.seconds, "settings": arguments.settings.to_json(), "profile": arguments.profile,
    }  # fmt: skip
    found = reports.load(reports.Benchmark, console.run("benchmark", order))
    return found.to_json(), _benchmark_lines(found)


def _compare(arguments: argparse.Namespace, console: _Console) -> _Answer:
    order = {"model": arguments.model, "optimized": arguments.optimized, "settings": arguments.settings.to_json()}
    found = reports.load(reports.Comparison, console.run("compare", order))
    return found.to_json(), _difference_lines(found.outputs)


def _sample(arguments: argparse.Namespace, console: _Console) -> _Answer:
    made = console.run("sample", {"name": arguments.name, "output": arguments.output})
    return made, [f"wrote {made['output']}"]


def _engines(arguments: argparse.Namespace, console: _Console) -> _Answer:
    machine = reports.load(reports.Machine, console.run("engines", {}))
    lines = _table([
        ("engine", "builds", "runs", ""),
        *((item.name, _yes(item.builds), _yes(item.runs), item.detail) for item in machine.engines),
    ])  # fmt: skip
    if machine.gpu:
        lines += ["", f"{machine.gpu}, {_bytes(machine.gpu_memory_bytes)}"]
    return reports.dump(machine), lines


def _demo(arguments: argparse.Namespace, console: _Console) -> _Answer:
    folder = Path(arguments.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IcebreakerError(f"{folder} could not be made: {error.strerror}: choose another --output-dir") from error
    model, output = str(folder / "digits.pb"), str(folder / "digits.optimized.pb")
    data = sample_models.sample_data("digits")
    # Trusted: what is measured was made here a moment ago, also where no cache folder can keep a note of that.
    settings = ConvertSettings(data=str(data) if data else None, trust_engines=True).to_json()
    console.run("sample", {"name": "digits", "output": model})
    made = reports.load(
        reports.Conversion, console.run("convert", {"model": model, "output": output, "settings": settings})
    )
    order = {"model": model, "optimized": output, "seconds": arguments.seconds, "settings": settings}
    found = reports.load(reports.Benchmark, console.run("benchmark", order))
    result, chart = folder / "result.json", folder / "latency.png"
    drawn = {
        "samples": [[item.series, item.seconds, item.milliseconds] for item in console.samples],
        "benchmark": _plain(reports.dump(found)),
    }
    result.write_text(json.dumps(drawn), encoding="utf-8")
    files = {"original": model, "optimized": output, "result": str(result)}
    if problem := _draw_chart(result, chart):
        console.say(f"warning: no chart was drawn: {problem}")
    else:
        files["chart"] = str(chart)
    answer = {"conversion": made.to_json(), "benchmark": found.to_json(), "files": files}
    lines = [*_conversion_lines(made), "", *_benchmark_lines(found), "", *_table(list(files.items()))]
    return answer, lines


def _draw_chart(result: Path, chart: Path) -> str:
    """Has the app's package draw the latencies; returns why that failed, or nothing."""
    if importlib.util.find_spec("icebreaker_gui") is None:
        return "the app is not installed"
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "icebreaker_gui.panels.latency_chart", str(result), str(chart)],
        capture_output=True,
        text=True,
    )
    words = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (words[-1] if words else f"exit status {done.returncode}")


# --- What people read --------------------------------------------------------------------------------------------


def _conversion_lines(made: reports.Conversion) -> list[str]:
    lines = [
        f"wrote {made.output} in {made.seconds:.1f} s",
        f"{made.coverage:.1%} of the operations run in {_count(len(made.segments), 'engine node')}",
    ]
    if made.segments:
        lines += [
            "",
            *_table(
                [
                    ("segment", "engine", "precision", "nodes", "TensorFlow", "engine", "deviation"),
                    *(
                        (
                            item.name, item.engine, item.precision, str(len(item.nodes)),
                            _ms(item.tensorflow_ms) if item.tensorflow_ms else "",
                            (_ms(item.engine_ms) if item.engine_ms else "") if item.runs_here else "not here",
                            f"{item.deviation:.1e}",
                        )
                        for item in made.segments
                    ),
                ],
                right={3, 4, 5, 6},
            ),
        ]  # fmt: skip
    lines += _accuracy_lines(made)
    if made.left_in_tensorflow:
        reasons = Counter(item.reason for item in made.left_in_tensorflow)
        example = {item.reason: item.node for item in reversed(made.left_in_tensorflow)}
        rows = [
            (str(count), _elided(reason, 90), _elided(example[reason], 50))
            for reason, count in reasons.most_common(_FEW)
        ]
        lines += ["", *_table([("nodes", "left in TensorFlow because", "such as"), *rows], right={0})]
        if len(reasons) > _FEW:
            lines.append(f"and {len(reasons) - _FEW} more reasons: --json lists every node")
    lines += [f"warning: {text}" for text in made.warnings]
    return lines


def _accuracy_lines(made: reports.Conversion) -> list[str]:
    """What INT8 costs, where it was asked for."""
    lines = []
    for item in made.segments:
        if item.quantization:
            lines.append(f"{item.name}: {item.quantization.message}")
            kept = [cost.node or cost.layer for cost in item.quantization.layers if cost.kept]
            lines += [f"  in higher precision: {name}" for name in _few(kept)]
    if found := made.accuracy:
        lines += ["", f"on {_count(found.samples, 'held-back row')}:", *_difference_lines(found.outputs)]
        if found.original is not None and found.optimized is not None:
            lines.append(f"right answers: {found.original:.2%} before, {found.optimized:.2%} after")
    if made.calibration_table:
        lines.append(f"the ranges are in {made.calibration_table}")
    return ["", *lines] if lines else []


def _benchmark_lines(found: reports.Benchmark) -> list[str]:
    series = {"original": found.original} | ({"optimized": found.optimized} if found.optimized else {})
    rows = [("", *series)]
    for name in ("p50", "p90", "p95", "p99", "mean"):
        rows.append((name, *(_ms(getattr(item, f"{name}_ms")) for item in series.values())))
    rows.append(("rows/s", *(_three(item.throughput) for item in series.values())))
    rows.append(("calls", *(str(item.samples) for item in series.values())))
    lines = _table(rows, right={1, 2})
    if found.batch != 1:
        lines.append(f"batch of {found.batch} rows")
    if found.speedup:
        low, high = found.speedup.ci95
        lines += ["", f"speed-up {found.speedup.median:.2f}× (95 % interval {low:.2f} to {high:.2f})"]
    if found.outputs:
        lines += ["", *_difference_lines(found.outputs)]
    for name, profile in found.profiles.items():
        lines += ["", *_profile_lines(name, profile)]
    return lines


def _profile_lines(series: str, found: reports.Profile) -> list[str]:
    """The nodes that take most of a graph's time, and the layers of its engines."""
    slower = f"watching slows it: {_ms(found.watched_ms)} a run, otherwise {_ms(found.plain_ms)}"
    lines = [f"where the time of the {series} graph goes ({_count(found.runs, 'run')}; {slower})"]

    def table(head: str, rows: Sequence[tuple[str, str, float]], total: float) -> list[str]:
        rows = sorted(rows, key=lambda row: -row[2])
        shown = [(name, what, _ms(ms), f"{ms / total:.1%}") for name, what, ms in rows[:_FEW]] if total else []
        more = [f"and {len(rows) - _FEW} more: --json lists all"] if len(rows) > _FEW else []
        return [*_table([(head, "runs as", "", "share"), *shown], right={2, 3}), *more]

    lines += table("node", [(_elided(n, 60), t.ran_as, t.ms) for n, t in found.nodes.items()], found.total_ms)
    for node, layers in found.layers.items():
        rows = [(_elided(item.name, 60), item.type, item.ms) for item in layers]
        lines += ["", *table(f"layer of {node}", rows, sum(item.ms for item in layers))]
    return lines


def _difference_lines(outputs: Mapping[str, reports.OutputDifference]) -> list[str]:
    rows = [("output", "max abs", "max rel", "cosine", "SQNR", "top-1")]
    for name, item in outputs.items():
        sqnr = "identical" if item.sqnr_db is None else f"{item.sqnr_db:.1f} dB"
        top1 = "" if item.top1_agreement is None else f"{item.top1_agreement:.1%}"
        rows.append((name, f"{item.max_abs:.1e}", f"{item.max_rel:.1e}", f"{item.cosine:.6f}", sqnr, top1))
    return _table(rows, right={1, 2, 3, 4, 5})


def _table(rows: Sequence[Sequence[str]], right: set[int] | None = None) -> list[str]:
    """Rows as lines with aligned columns; the columns in `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if right and index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _few(items: Sequence[str]) -> list[str]:
    return list(items) if len(items) <= _FEW else [*items[:_FEW], f"and {len(items) - _FEW} more"]


def _elided(text: str, width: int) -> str:
    """Long names differ at both ends, so the middle goes."""
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _three(value: float) -> str:
    """Three digits, never in exponents."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1e-3 else f"{value:.3f}"


def _ms(value: float) -> str:
    return f"{_three(value)} ms"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _shape(dims: Sequence[int | None] | None) -> str:
    if dims is None:
        return "unknown"
    return "×".join("?" if dim is None else str(dim) for dim in dims) or "scalar"


def _plain(value: Any) -> Any:
    """JSON has no infinity: the largest number stands for it, so that a script's `difference < limit` stays right."""
    match value:
        case float() if math.isinf(value):
            return math.copysign(sys.float_info.max, value)
        case float() if math.isnan(value):
            return None
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
