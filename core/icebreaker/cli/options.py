"""The options of every command, and how their words become settings."""

from __future__ import annotations

import argparse
import importlib.metadata
import math
from collections.abc import Callable, Mapping
from typing import Any

from icebreaker import sample_models
from icebreaker.cli import commands
from icebreaker.cli.console import Console
from icebreaker.cli.wording import worded
from icebreaker.engine import registry
from icebreaker.errors import IcebreakerError
from icebreaker.preprocessing import Preprocessing
from icebreaker.settings import (
    CALIBRATION_METHODS,
    HARDWARE_COMPATIBILITY,
    MOST_OPTIMIZATION,
    OUTPUT_FORMATS,
    PRECISIONS,
    QUANTIZERS,
    WEIGHTS,
    BuilderSettings,
    Consent,
    ConvertSettings,
    Limits,
    QuantizationSettings,
    parse_fixed_input,
    parse_profile,
    parse_size,
)
from icebreaker.tensors import Tensor, canonical


def make_parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and that of each command by its name."""
    parser = argparse.ArgumentParser(
        prog="icebreaker",
        description="Makes frozen TensorFlow graphs run faster, and shows why.",
        usage="icebreaker [FILE]\n       icebreaker COMMAND [OPTION ...]\n       icebreaker [-h | --version]",
        epilog="Without a command the app opens, on FILE if given. Help on a command: icebreaker COMMAND --help",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=16),
    )
    parser.add_argument("--version", action="version", version=importlib.metadata.version("icebreaker"))
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND [OPTION ...]", required=True, prog="icebreaker"
    )

    def add(
        name: str, run: Callable[[argparse.Namespace, Console], commands.Answer], text: str
    ) -> argparse.ArgumentParser:
        command = subparsers.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.add_argument("-v", "--verbose", action="store_true", help="print the log, engines' words included")
        return command

    _add_inspect(add("inspect", commands.inspect, "tell what is in a graph"))
    _add_convert(add("convert", commands.convert, "write a graph that runs faster"))
    text = "find the ranges that INT8 needs, for conversions without data"
    _add_calibrate(add("calibrate", commands.calibrate, text))
    _add_benchmark(add("benchmark", commands.benchmark, "measure a graph, or original and optimized in turns"))
    _add_compare(add("compare", commands.compare, "compare what original and optimized answer"))
    _add_diff(add("diff", commands.diff, "tell what is different in a second graph, whatever it is"))
    _add_sample(add("sample", commands.sample, "write a graph to try things on"))
    add("engines", commands.engines, "tell which engines work here, and why the rest does not")
    _add_demo(add("demo", commands.demo, "convert the digits sample and measure it, with a chart"))
    return parser, subparsers.choices


def _add_inspect(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    _add_signature(command)
    command.add_argument(
        "--allow-side-effects", action="store_true", help="load a SavedModel although its initializers read files"
    )


def _add_convert(command: argparse.ArgumentParser) -> None:
    defaults = ConvertSettings()
    _add_model(command)
    text = "the optimized graph to write; NAME/ is a SavedModel's folder"
    command.add_argument("-o", "--output", required=True, metavar="OUT", help=text)
    command.add_argument(
        "--format", choices=OUTPUT_FORMATS, default="",
        help="what to write; default: a SavedModel if OUT ends in a slash or has no suffix, else a graph",
    )  # fmt: skip
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
    _add_builder(command)
    command.add_argument(
        "--memory-fraction", type=float, metavar="F",
        help="share of the GPU's memory for TensorFlow, such as 0.67; default: what it wants",
    )  # fmt: skip
    _add_segments(command)
    command.add_argument("--retry-crashed", action="store_true", help="try again what has crashed an engine before")
    _add_quantization(command)
    _add_calibration(command)
    _add_trust(command)
    _add_safety(command)


def _add_builder(command: argparse.ArgumentParser) -> None:
    defaults = BuilderSettings()
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


def _add_quantization(command: argparse.ArgumentParser) -> None:
    defaults = QuantizationSettings()
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


def _add_calibrate(command: argparse.ArgumentParser) -> None:
    defaults = ConvertSettings()
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


def _add_benchmark(command: argparse.ArgumentParser) -> None:
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


def _add_compare(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    command.add_argument("optimized", metavar="OPTIMIZED", help="what convert made of MODEL")
    _add_inputs(command)
    _add_trust(command)
    _add_safety(command)


def _add_diff(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    command.add_argument("other", metavar="OTHER", help="another graph, in any of these forms")
    command.add_argument(
        "--allow-side-effects", action="store_true", help="load a SavedModel although its initializers read files"
    )


def _add_sample(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "name", choices=tuple(sample_models.SAMPLES), help="; ".join(map(": ".join, sample_models.SAMPLES.items()))
    )
    command.add_argument("-o", "--output", required=True, metavar="FILE", help="the frozen graph to write")


def _add_demo(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--output-dir", default="icebreaker-demo", metavar="DIR", help="where the files go; default: %(default)s"
    )
    command.add_argument("--seconds", type=_checked(_duration), default=5.0, metavar="S", help=argparse.SUPPRESS)


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "model", metavar="MODEL", help="a .pb, .pbtxt, either as .gz, SavedModel folder, .keras or .h5"
    )


def _add_signature(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--signature", default="", metavar="NAME",
        help="of a SavedModel; default: serving_default, or the first by name",
    )  # fmt: skip


def _add_input_names(command: argparse.ArgumentParser) -> None:
    _add_signature(command)
    command.add_argument(
        "--freeze-input", dest="freeze_inputs", action="append", type=_checked(parse_fixed_input), default=[],
        metavar="NAME=VALUE", help="an input that always has this value, such as keras_learning_phase=0",
    )  # fmt: skip
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
    defaults = ConvertSettings().quantization
    command.add_argument(
        "--calibration-method", choices=("auto", *CALIBRATION_METHODS), default=defaults.calibration_method,
        help="how ranges are chosen; default: auto, which takes the one with the smallest error",
    )  # fmt: skip
    command.add_argument(
        "--calibration-samples", type=_checked(_positive), metavar="N", help="rows to take, at random; default: all"
    )
    command.add_argument(
        "--calibration-seed",
        type=int,
        default=defaults.calibration_seed,
        metavar="N",
        help="of that choice",
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
    command.add_argument(
        "--allow-side-effects", action="store_true", help="run the graph although it reads or writes files or the like"
    )
    command.add_argument(
        "--memory-limit", dest="memory_bytes", type=_checked(parse_size), metavar="SIZE",
        help="memory that the worker process may take, such as 8GB; default: nine tenths of the machine's",
    )  # fmt: skip
    command.add_argument(
        "--time-limit", dest="time_seconds", type=_checked(_duration), metavar="S",
        help="seconds that the whole job may take; default: as long as it needs",
    )  # fmt: skip
    command.add_argument(
        "--patience", dest="patience_seconds", type=_checked(_duration), default=Limits().patience_seconds, metavar="S",
        help="seconds without a word before the worker counts as hanging; default: %(default)g",
    )  # fmt: skip


def _checked(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Makes our errors usage errors of argparse."""

    def parse(text: str) -> Any:
        try:
            return read(text)
        except (IcebreakerError, ValueError) as error:
            words = worded(error.message) if isinstance(error, IcebreakerError) else str(error)
            raise argparse.ArgumentTypeError(words) from error

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
                raise IcebreakerError(
                    "input_shape_malformed", "{subject!r} is not a shape", "write_whole_numbers", subject=dims
                )
            shape = tuple(map(int, sizes))
        found.append((canonical(name), shape))
    return tuple(found)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise IcebreakerError("count_malformed", "{subject!r} is not a whole number above 0", subject=text)
    return int(text)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise IcebreakerError(
            "share_malformed", "{subject!r} is not a share from 0 to 1, such as 0.01 for 1 %", subject=text
        )
    return value


def _preprocessing(text: str) -> Preprocessing:
    """Reads `224x224,BGR,mean=104/117/123`."""
    size, *rest = text.split(",")
    numbers = size.replace("×", "x").split("x")
    if len(numbers) != 2 or not all(item.isascii() and item.isdigit() for item in numbers):
        raise IcebreakerError(
            "image_size_malformed", "{subject!r} is not the size of an image", "write_width_height", subject=size
        )
    found: dict[str, Any] = {"width": int(numbers[0]), "height": int(numbers[1])}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals:
            found["channels"] = part.upper()
        elif key in ("mean", "std"):
            found[key] = tuple(float(item) for item in value.split("/"))
        elif key in ("crop", "layout"):
            found[key] = value
        else:
            raise IcebreakerError("preprocessing_unknown", "{subject!r} is unknown", "give_preprocessing", subject=part)
    return Preprocessing(**found)


def _duration(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise IcebreakerError("time_malformed", "{subject!r} is not a time in seconds above 0", subject=text)
    return seconds


def settings(arguments: argparse.Namespace) -> ConvertSettings:
    """The settings that a command's options give; what it has no option for keeps its default.

    Raises:
        IcebreakerError: A value is out of its range.
    """
    given = vars(arguments)
    values = {name: _frozen(given[name]) for name in ConvertSettings().flat if name in given}
    values["inputs"] = tuple(name for name, _ in arguments.inputs)
    values["freeze_inputs"] = dict(values.get("freeze_inputs", ()))
    if "profiles" in values:
        values["profiles"] = dict(values["profiles"])
    values["input_shapes"] = {name: shape for name, shape in arguments.inputs if shape is not None}
    return ConvertSettings.of(**values)


def consent(arguments: argparse.Namespace) -> Consent:
    """What a command's options allow."""
    given = vars(arguments)
    return Consent(
        side_effects=given.get("allow_side_effects", False),
        engines=given.get("trust_engines", False),
        python=given.get("allow_python", False),
        crashed=given.get("retry_crashed", False),
    )


def limits(arguments: argparse.Namespace) -> Limits:
    """What a command's options let the worker take.

    Raises:
        IcebreakerError: A value is out of its range.
    """
    given = vars(arguments)
    return Limits(**{name: given[name] for name in vars(Limits()) if name in given})


def _frozen(value: Any) -> Any:
    """Argparse collects lists; settings have tuples."""
    return tuple(value) if isinstance(value, list) else value
