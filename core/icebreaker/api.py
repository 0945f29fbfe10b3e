"""Icebreaker from Python: each function does one job in a worker process and returns its result as a value.

The process that calls stays clean: TensorFlow and the engines are loaded in a child, which may crash or be cancelled
without harm. So the functions work the same in a script, in a notebook, and on a thread, and need no
`if __name__ == "__main__"`. `load` is the exception: it runs an optimized graph here.

All of them raise `IcebreakerError` for what a user can cause and mend, `ConsentNeeded` where a graph would act outside
itself and nobody has allowed it, `JobCancelled` when `cancel` is set, and pass `KeyboardInterrupt` on once the child is
gone. A value of a wrong type is a TypeError, before anything starts.
"""

from __future__ import annotations

import logging
import operator
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from icebreaker import codec, events
from icebreaker.jobs import requests, supervisor
from icebreaker.jobs.progress_bar import ProgressBar
from icebreaker.jobs.requests import Request
from icebreaker.reports import (
    Benchmark,
    Calibration,
    Comparison,
    Conversion,
    EngineStatus,
    Inspection,
)
from icebreaker.settings import Consent, ConvertSettings, Limits
from icebreaker.tensors import Tensor, canonical

if TYPE_CHECKING:
    from icebreaker.runtime.model import Model

FilePath = str | os.PathLike[str]
ProgressCallback = Callable[[events.Progress], object]
_log = logging.getLogger("icebreaker")


def convert(
    model: FilePath,
    output: FilePath,
    *,
    format: Literal["graph", "saved_model"] | None = None,
    precision: Literal["fp32", "fp16", "int8"] | None = None,
    engine: str | None = None,
    outputs: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    profiles: Mapping[str, Sequence[Sequence[int]]] | None = None,
    max_batch_size: int | None = None,
    minimum_segment_size: int | None = None,
    exclude: Sequence[str] | None = None,
    data: FilePath | None = None,
    memory_fraction: float | None = None,
    workspace_bytes: int | None = None,
    calibration: FilePath | None = None,
    calibration_table: FilePath | None = None,
    accuracy_budget: float | None = None,
    keep_float: Sequence[str] | None = None,
    signature: str | None = None,
    freeze_inputs: Mapping[str, object] | None = None,
    settings: ConvertSettings | None = None,
    consent: Consent = Consent(),
    limits: Limits = Limits(),
    progress: ProgressCallback | bool = False,
    cancel: threading.Event | None = None,
) -> Conversion:
    """Writes a graph that gives the same answers as `model` and runs faster.

    Args:
        model: A frozen graph (`.pb`, `.pbtxt`, either as `.gz`), a SavedModel folder, or a Keras file.
        output: The optimized graph to write: a frozen graph that plain TensorFlow runs anywhere, and `load` with its
            engines. A name that ends in a slash or has no suffix is the folder of a SavedModel, with the signatures of
            the SavedModel that came in, or `serving_default`.
        format: What to write, whatever the name of `output`.
        precision: What engines compute in; None: `fp32`. On a CPU, `fp16` is bfloat16 where the processor has it.
        engine: Name of an engine (`engines`); None: `auto`, which measures every engine that works here and keeps the
            fastest.
        outputs: Tensors to keep, such as `logits` or `split:1`; None: all that carry data.
        inputs: Placeholders to keep as inputs; None: all that the outputs need.
        input_shapes: Input name → shape, where the graph leaves it open.
        profiles: Input name → smallest, usual and largest shape that engines must take.
        max_batch_size: Largest batch, in rows, that engines must take; None: 1.
        minimum_segment_size: Segments with fewer real ops than this stay in TensorFlow; None: 3.
        exclude: Nodes to leave in TensorFlow; patterns such as `head/*` too.
        data: An `.npz` with sample values by input name; None: they are made up from types and shapes.
        memory_fraction: Share of the GPU's memory that TensorFlow may take, 0 to 1; None: what it wants.
        workspace_bytes: Scratch memory that a TensorRT builder may use, in bytes; None: 1 GiB.
        calibration: For INT8: a folder of images, an `.npz`, `.npy`, `.tfrecord` or `.py`, or `random`; None: `data`.
        calibration_table: For INT8: ranges of an earlier calibration; with `calibration` they are written there.
        accuracy_budget: For INT8: share of rows, 0 to 1, whose top class may change.
        keep_float: For INT8: nodes that stay in 16 or 32 bits; patterns too.
        signature: Which signature of a SavedModel; None: `serving_default`, or the first by name.
        freeze_inputs: Input name → the value that it always has, such as `{"keras_learning_phase": False}`.
        settings: All of the above and more as one value; what is given beside it changes it.
        consent: What you allow: side effects of the graph, engines built elsewhere, calibration data that is a program.
        limits: Memory, in bytes, and time, in seconds, that the worker may take.
        progress: Receives `events.Progress`, on another thread; True: a bar on the terminal. What it raises ends the
            job and is raised here.
        cancel: Ends the job when it is set, from any thread.

    Returns:
        What was made: segments with their times, what stays in TensorFlow and why, warnings.

    Raises:
        IcebreakerError: The graph, a setting or the target is at fault; nothing is written then.
    """
    given: dict[str, Any] = {
        "precision": precision,
        "engine": engine,
        "outputs": _names(outputs),
        "inputs": _names(inputs),
        "input_shapes": input_shapes and {canonical(name): _shape(sizes) for name, sizes in input_shapes.items()},
        "profiles": profiles and {canonical(name): tuple(map(_shape, shapes)) for name, shapes in profiles.items()},
        "max_batch_size": max_batch_size,
        "minimum_segment_size": minimum_segment_size,
        "exclude": _nodes(exclude),
        "data": _path(data),
        "memory_fraction": memory_fraction,
        "workspace_bytes": workspace_bytes,
        "calibration": _path(calibration),
        "calibration_table": _path(calibration_table),
        "accuracy_budget": accuracy_budget,
        "keep_float": _nodes(keep_float),
        "signature": signature,
        "freeze_inputs": freeze_inputs and {canonical(name): _value(value) for name, value in freeze_inputs.items()},
    }
    changes = {name: value for name, value in given.items() if value is not None}
    request = requests.Convert(
        model=_file(model), output=_file(output), format=format or "",
        settings=(settings or ConvertSettings()).changed(**changes), consent=consent, limits=limits,
    )  # fmt: skip
    return _run(request, progress, cancel)


def calibrate(
    model: FilePath,
    data: FilePath,
    output: FilePath,
    *,
    outputs: Sequence[str] | None = None,
    settings: ConvertSettings | None = None,
    consent: Consent = Consent(),
    limits: Limits = Limits(),
    progress: ProgressCallback | bool = False,
    cancel: threading.Event | None = None,
) -> Calibration:
    """Finds the ranges that INT8 needs, so that `convert(…, calibration_table=output)` needs no data.

    Args:
        model: As for `convert`.
        data: A folder of images, an `.npz`, `.npy`, `.tfrecord` or `.py`, or `random`.
        output: The table to write, as JSON.
        outputs: Tensors that count; None: all that carry data.
        settings: What else `ConvertSettings` has.
        consent: As for `convert`.
        limits: As for `convert`.
        progress: As for `convert`.
        cancel: As for `convert`.

    Returns:
        How each segment would become INT8, before it is judged.

    Raises:
        IcebreakerError: The graph, the data or the target is at fault; nothing is written then.
    """
    chosen = (settings or ConvertSettings()).changed(precision="int8", calibration=_file(data))
    if outputs is not None:
        chosen = chosen.changed(outputs=_names(outputs))
    request = requests.Calibrate(
        model=_file(model), output=_file(output), settings=chosen, consent=consent, limits=limits
    )
    return _run(request, progress, cancel)


def inspect(
    model: FilePath,
    *,
    signature: str = "",
    consent: Consent = Consent(),
    limits: Limits = Limits(),
    progress: ProgressCallback | bool = False,
    cancel: threading.Event | None = None,
) -> Inspection:
    """Tells what is in a graph, without running it: inputs, outputs, ops, what it would do to the world.

    Args:
        model: As for `convert`.
        signature: Which signature of a SavedModel; empty: `serving_default`, or the first by name.
        consent: As for `convert`.
        limits: As for `convert`.
        progress: As for `convert`.
        cancel: As for `convert`.

    Raises:
        IcebreakerError: The file is not a graph, or not a sound one.
    """
    request = requests.Inspect(model=_file(model), signature=signature, consent=consent, limits=limits)
    return _run(request, progress, cancel)


def benchmark(
    model: FilePath,
    optimized: FilePath | None = None,
    *,
    batch: int = 1,
    seconds: float = 5.0,
    data: FilePath | None = None,
    outputs: Sequence[str] | None = None,
    profile: bool = False,
    settings: ConvertSettings | None = None,
    consent: Consent = Consent(),
    limits: Limits = Limits(),
    progress: ProgressCallback | bool = False,
    cancel: threading.Event | None = None,
) -> Benchmark:
    """Measures a graph, or the original and the optimized graph in turns on the same inputs.

    Args:
        model: The original graph, run by plain TensorFlow.
        optimized: What `convert` made of it, run with its engines; None: the original alone.
        batch: Rows of every input whose first dimension is open.
        seconds: How long to measure, warm-up excluded.
        data: An `.npz` with input values; None: made up.
        outputs: Tensors to compute; None: those of `optimized`, or all that carry data.
        profile: Find out where the time goes, too, by node and by layer inside an engine.
        settings: What else `ConvertSettings` has for inputs and memory.
        consent: As for `convert`.
        limits: As for `convert`.
        progress: As for `convert`.
        cancel: As for `convert`.

    Returns:
        Latencies in milliseconds, throughput in rows a second, and the speed-up as a ratio of medians with its 95 %
        interval.

    Raises:
        IcebreakerError: A file, a name or the inputs do not fit.
    """
    request = requests.Benchmark(
        model=_file(model), optimized=_file(optimized) if optimized is not None else "", batch=batch, seconds=seconds,
        profile=profile, settings=_inputs(settings, data, outputs), consent=consent, limits=limits,
    )  # fmt: skip
    return _run(request, progress, cancel)


def compare(
    model: FilePath,
    optimized: FilePath,
    *,
    data: FilePath | None = None,
    settings: ConvertSettings | None = None,
    consent: Consent = Consent(),
    limits: Limits = Limits(),
    progress: ProgressCallback | bool = False,
    cancel: threading.Event | None = None,
) -> Comparison:
    """Compares what the original and the optimized graph answer to the same inputs.

    Args:
        model: The original graph, run by plain TensorFlow.
        optimized: What `convert` made of it, run with its engines.
        data: An `.npz` with input values, each row asked by itself; None: one row that is made up.
        settings: What else `ConvertSettings` has for inputs and memory.
        consent: As for `convert`.
        limits: As for `convert`.
        progress: As for `convert`.
        cancel: As for `convert`.

    Returns:
        The difference of each output by its name.

    Raises:
        IcebreakerError: A file, a name or the inputs do not fit.
    """
    request = requests.Compare(
        model=_file(model), optimized=_file(optimized), settings=_inputs(settings, data, None), consent=consent,
        limits=limits,
    )  # fmt: skip
    return _run(request, progress, cancel)


def engines() -> tuple[EngineStatus, ...]:
    """Which engines there are, whether each builds and runs on this machine, and why not."""
    return _run(requests.AskEngines(), False, None).engines


def load(path: FilePath, fallback: bool = True, *, trust: bool = False, allow_side_effects: bool = False) -> Model:
    """Loads an optimized graph with its engines into this process; see `icebreaker.runtime.loader.load`."""
    from icebreaker.runtime import loader

    return loader.load(path, fallback=fallback, trust=trust, allow_side_effects=allow_side_effects)


def _run(request: Request, progress: ProgressCallback | bool, cancel: threading.Event | None) -> Any:
    """Does a job in a worker; its log goes to the logger `icebreaker`.

    Raises:
        TypeError: A value in the request is not of the type that it says.
    """
    try:
        codec.from_plain(codec.to_plain(request), type(request))
    except ValueError as error:
        raise TypeError(str(error)) from error
    bar = ProgressBar() if progress is True else None

    def on_event(event: events.Event) -> None:
        match event:
            case events.Progress(stage, fraction):
                if bar:
                    bar.show(str(stage), fraction)
                elif callable(progress):
                    progress(event)
            case events.Log(level, text):
                _log.log(logging.getLevelNamesMapping().get(level.upper(), logging.INFO), "%s", text)
            case _:
                pass

    try:
        return supervisor.run(request, on_event, cancel)
    finally:
        if bar:
            bar.clear()


def _file(path: FilePath) -> str:
    """A path as text, with the home folder for `~`; `random` is a kind of data, not a file."""
    text = os.fspath(path)
    return text if text == "random" else os.path.expanduser(text)  # noqa: PTH111 - a slash at the end says something


def _path(path: FilePath | None) -> str | None:
    return None if path is None else _file(path)


def _shape(sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(map(operator.index, sizes))  # NumPy's integers, too


def _value(value: object) -> str:
    """A number, a text or a sequence of them, as settings have it."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, cast("Sequence[object]", value)))
    return str(value)


def _listed(names: Sequence[str] | None) -> Sequence[str]:
    """One name may stand for a list of one."""
    return (names,) if isinstance(names, str) else names or ()


def _names(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of tensors as settings have them."""
    return None if names is None else tuple(canonical(name) for name in _listed(names))


def _nodes(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of nodes, or patterns, as settings have them."""
    return None if names is None else tuple(Tensor.parse(name).node for name in _listed(names))


def _inputs(settings: ConvertSettings | None, data: FilePath | None, outputs: Sequence[str] | None) -> ConvertSettings:
    chosen = settings or ConvertSettings()
    if data is not None:
        chosen = chosen.changed(data=_file(data))
    return chosen if outputs is None else chosen.changed(outputs=_names(outputs))
