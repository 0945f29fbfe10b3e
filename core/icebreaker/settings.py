"""What the user chose: names, defaults and limits of every setting. Checks that need the graph are `conversion`'s."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.messages import Message, message
from icebreaker.preprocessing import Preprocessing
from icebreaker.reports import EngineStatus, Words
from icebreaker.tensors import canonical

PRECISIONS = ("fp32", "fp16", "int8")
CALIBRATION_METHODS = ("minmax", "percentile", "mse", "entropy")
OUTPUT_FORMATS = ("graph", "saved_model")
QUANTIZERS = ("auto", "own", "nncf")
HARDWARE_COMPATIBILITY = ("none", "same-compute-capability", "ampere-plus")
WEIGHTS = ("fixed", "refittable", "weightless")
MOST_OPTIMIZATION = 5
# Settings that only some engines have (`EngineStatus.options`), and how they are called.
ENGINE_OPTIONS: Mapping[str, str] = {
    "optimization_level": "a builder optimization level",
    "hardware_compatibility": "hardware compatibility",
    "version_compatible": "version compatibility",
    "weights": "refitting",
    "compute_capabilities": "a choice of compute capabilities",
}
DEFAULT_WORKSPACE = 1 << 30
FEWEST_MEMORY = 1 << 30
Profile = tuple[tuple[int, ...], ...]
_INT8_ONLY = ("accuracy_budget", "calibration", "calibration_table")
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def output_format(output: str, chosen: str = "") -> str:
    """The form that a conversion writes, one of `OUTPUT_FORMATS`.

    Args:
        output: The path that was given. A folder, one that ends in a slash, and a new one whose name has no suffix are
            a SavedModel's.
        chosen: What the user chose; empty: the path tells.

    Raises:
        IcebreakerError: There is no such form.
    """
    if chosen:
        _check_choice("format", chosen, OUTPUT_FORMATS)
        return chosen
    place = Path(os.path.realpath(output))
    is_folder = output.endswith("/") or place.is_dir() or not (place.suffix or os.path.lexists(place))
    return "saved_model" if is_folder else "graph"


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise IcebreakerError(
            "choice_unknown", "{what} {value!r} is unknown", "choose_from",
            subject=what.replace(" ", "_"), what=what, value=value, choices=choices,
        )  # fmt: skip


@dataclass(frozen=True)
class BuilderSettings:
    """How an engine builder works; what an engine has of this, it says in `EngineStatus.options`.

    Attributes:
        workspace_bytes: Scratch memory that a TensorRT builder may use, in bytes.
        optimization_level: How long a TensorRT builder searches, 0 to `MOST_OPTIMIZATION`; None: its own default, 3.
        hardware_compatibility: Which GPUs a plan of TensorRT runs on beside those of this machine's kind, one of
            `HARDWARE_COMPATIBILITY`.
        version_compatible: Build plans that later versions of TensorRT load, too.
        weights: One of `WEIGHTS`: part of the plan, part of it and replaceable, or put into it when it is loaded.
        compute_capabilities: What TensorRT-RTX builds plans for, such as `8.9`; empty: all from 8.0 on.
    """

    workspace_bytes: int = DEFAULT_WORKSPACE
    optimization_level: int | None = None
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    weights: str = "fixed"
    compute_capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            IcebreakerError: A value is out of its range.
        """
        if self.workspace_bytes < 0:
            raise IcebreakerError(
                "workspace_negative", "workspace {size} is negative", "give_bytes", size=self.workspace_bytes
            )
        if self.optimization_level is not None and not 0 <= self.optimization_level <= MOST_OPTIMIZATION:
            raise IcebreakerError(
                "optimization_level_unknown", "optimization level {level} is unknown", "choose_range",
                level=self.optimization_level, low=0, high=MOST_OPTIMIZATION,
            )  # fmt: skip
        _check_choice("hardware compatibility", self.hardware_compatibility, HARDWARE_COMPATIBILITY)
        _check_choice("weights", self.weights, WEIGHTS)
        for item in self.compute_capabilities:
            if not re.fullmatch(r"[0-9]{1,2}\.[0-9]", item):
                raise IcebreakerError(
                    "compute_capability_malformed", "{subject!r} is not a compute capability", "write_capability",
                    subject=item,
                )  # fmt: skip


@dataclass(frozen=True)
class QuantizationSettings:
    """How segments become INT8; none of it means anything for another precision.

    Attributes:
        calibration: What to calibrate on: a path that `data.dataset.open_data` takes, or `random`; None: the
            conversion's `data`. A quarter of it is held back, to judge by.
        calibration_method: `auto` (measured) or one of `CALIBRATION_METHODS`.
        quantizer: Who makes a segment INT8 for OpenVINO: `own`, `nncf` (if that is installed), or `auto`: both, and the
            faster of those within the limit stays. For every other engine it is `own`.
        calibration_table: Where the ranges are kept as JSON. With calibration data it is written (None: beside the
            output), without it is read, so that INT8 is built again without data.
        calibration_samples: How many rows to take of the data, at random; None: all.
        calibration_seed: Of that choice.
        preprocessing: How images become values; None: guessed.
        accuracy_budget: Share of rows, 0 to 1, whose top class INT8 may change; for outputs without classes, the
            error's share of the output (root mean squares). None: what is clearly broken is refused.
        keep_float: Nodes that stay in 16 or 32 bits; patterns such as `head/*` too.
    """

    calibration: str | None = None
    calibration_method: str = "auto"
    quantizer: str = "auto"
    calibration_table: str | None = None
    calibration_samples: int | None = None
    calibration_seed: int = 0
    preprocessing: Preprocessing | None = None
    accuracy_budget: float | None = None
    keep_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            IcebreakerError: A value is out of its range.
        """
        _check_choice("calibration method", self.calibration_method, ("auto", *CALIBRATION_METHODS))
        _check_choice("quantizer", self.quantizer, QUANTIZERS)
        if self.calibration_samples is not None and self.calibration_samples < 1:
            raise IcebreakerError(
                "calibration_samples_few", "{count} calibration samples are too few", "give_at_least_8",
                count=self.calibration_samples,
            )  # fmt: skip
        if self.accuracy_budget is not None and not 0 <= self.accuracy_budget <= 1:
            raise IcebreakerError(
                "accuracy_budget_range", "accuracy budget {share} is not from 0 to 1", "give_share",
                share=self.accuracy_budget,
            )  # fmt: skip


@dataclass(frozen=True)
class ConvertSettings:
    """What is to be converted, and how.

    Attributes:
        signature: Which signature of a SavedModel; empty: `serving_default`, or the first by name.
        freeze_inputs: Input name → the value that it always has, as text, such as `0` or `false`.
        outputs: Tensors to keep, under these names; empty: the graph's candidate outputs.
        inputs: Placeholders to keep as inputs; empty: all that the outputs need.
        input_shapes: Input name → concrete shape, where the graph leaves it open.
        profiles: Input name → the smallest, the usual and the largest shape that engines must take; they are tuned for
            the usual one, and checked at all three. Such an input's batch is its profile's.
        engine: `auto` (measure the available ones, keep the fastest) or the name of one, which
            `engines.registry.require` checks.
        precision: One of `PRECISIONS`. On a CPU, `fp16` runs as bfloat16 where the processor has it.
        max_batch_size: Largest batch the engines must take (optimization profile 1..max, opt = max).
        memory_fraction: Share of the GPU's memory, 0 to 1, that TensorFlow may take; None: all it wants.
        minimum_segment_size: Segments with fewer real ops than this stay in TensorFlow.
        exclude: Nodes to leave in TensorFlow.
        data: An `.npz` with sample values by input name; None: values are made up from dtype and shape.
        builder: Options of engine builders.
        quantization: What INT8 needs to know.
    """

    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    profiles: Mapping[str, Profile] = field(default_factory=dict[str, Profile])
    engine: str = "auto"
    precision: str = "fp32"
    max_batch_size: int = 1
    memory_fraction: float | None = None
    minimum_segment_size: int = 3
    exclude: tuple[str, ...] = ()
    data: str | None = None
    builder: BuilderSettings = BuilderSettings()
    quantization: QuantizationSettings = QuantizationSettings()
    signature: str = ""
    freeze_inputs: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            IcebreakerError: A value is out of its range.
        """
        _check_choice("precision", self.precision, PRECISIONS)
        if self.max_batch_size < 1:
            raise IcebreakerError(
                "batch_small", "max batch size {size} is too small", "at_least_1", size=self.max_batch_size
            )
        for name, profile in self.profiles.items():
            _check_profile(name, profile)
            if name in self.input_shapes:
                raise IcebreakerError(
                    "shape_and_profile", "input {subject} has both a shape and a profile", "give_one_of_them",
                    subject=name,
                )  # fmt: skip
        if self.memory_fraction is not None and not 0 < self.memory_fraction <= 1:
            raise IcebreakerError(
                "memory_fraction_range", "memory fraction {share} is not above 0 and at most 1, such as 0.67",
                share=self.memory_fraction,
            )  # fmt: skip
        if self.minimum_segment_size < 1:
            raise IcebreakerError(
                "segment_size_small", "minimum segment size {size} must be at least 1", size=self.minimum_segment_size
            )

    @classmethod
    def of(cls, **values: Any) -> ConvertSettings:
        """Settings from flat names: those of this class, of `BuilderSettings` and of `QuantizationSettings`.

        Raises:
            IcebreakerError: A value is out of its range.
            TypeError: There is no setting of that name.
        """
        return cls().changed(**values)

    def changed(self, **values: Any) -> ConvertSettings:
        """The same settings but for some, by flat names as in `of`.

        Raises:
            IcebreakerError: A value is out of its range.
            TypeError: There is no setting of that name.
        """
        groups = {
            name: dataclasses.replace(getattr(self, name), **{key: values.pop(key) for key in keys & set(values)})
            for name, keys in _GROUPS.items()
        }
        return dataclasses.replace(self, **groups, **values)

    @property
    def flat(self) -> dict[str, Any]:
        """Every setting by its flat name, which is unique."""
        values: dict[str, Any] = {**vars(self), **vars(self.builder), **vars(self.quantization)}
        return {name: value for name, value in values.items() if name not in _GROUPS}

    def unmet(self, engines: Iterable[EngineStatus]) -> Message | None:
        """Why none of the engines can do what only some engines can, where that was asked for."""
        engines, defaults = tuple(engines), BuilderSettings()
        for name, words in ENGINE_OPTIONS.items():
            asked = getattr(self.builder, name)
            if asked == getattr(defaults, name) or any(item.options.get(name) == "" for item in engines):
                continue
            reasons: Words = ""
            for why in filter(None, (item.options.get(name) for item in engines)):
                reasons = message("both_reasons", "{first}; {second}", first=reasons, second=why) if reasons else why
            who = " or ".join(item.name for item in engines) or "any engine here"
            return message(
                "option_unmet", "{option} is not to be had with {engines}: {reasons}; leave it out",
                subject=name, option=words, engines=who, reasons=reasons or "it is for TensorRT",
            )  # fmt: skip
        for item in engines:
            asked = set(self.builder.compute_capabilities)
            if item.targets and (unknown := sorted(asked - set(item.targets))):
                return message(
                    "target_unknown", "{subject} does not build for compute capability {target}", "choose_from",
                    subject=item.name, target=unknown[0], choices=item.targets,
                )  # fmt: skip
        return None

    @property
    def unheeded(self) -> tuple[str, ...]:
        """Settings that are given but only mean something for INT8, while the precision is another."""
        if self.precision == "int8":
            return ()
        return tuple(name for name in _INT8_ONLY if getattr(self.quantization, name) is not None)


_GROUPS: Mapping[str, frozenset[str]] = {
    "builder": frozenset(item.name for item in dataclasses.fields(BuilderSettings)),
    "quantization": frozenset(item.name for item in dataclasses.fields(QuantizationSettings)),
}


@dataclass(frozen=True)
class Consent:
    """What the user was asked and said yes to. A file never consents.

    Attributes:
        side_effects: Run also a graph that acts outside itself (`graph.side_effects`).
        engines: Load also engines that were built elsewhere.
        python: Run calibration data that is a Python program.
        crashed: Try again what has crashed a worker in an earlier job.
    """

    side_effects: bool = False
    engines: bool = False
    python: bool = False
    crashed: bool = False


@dataclass(frozen=True)
class Limits:
    """What a worker may take before it is stopped.

    Attributes:
        memory_bytes: Memory it may have for itself; None: nine tenths of the machine's.
        time_seconds: How long the whole job may take; None: as long as it needs.
        patience_seconds: How long it may work without a word before it counts as hanging.
        threads: Processor cores that it may use, where the system can bind it to some; None: all.
    """

    memory_bytes: int | None = None
    time_seconds: float | None = None
    patience_seconds: float = 900.0
    threads: int | None = None

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            IcebreakerError: A value is out of its range.
        """
        if self.memory_bytes is not None and self.memory_bytes < FEWEST_MEMORY:
            raise IcebreakerError(
                "memory_limit_small", "memory limit {size} is too small: TensorFlow alone takes {least} GiB",
                size=self.memory_bytes, least=FEWEST_MEMORY >> 30,
            )  # fmt: skip
        if self.time_seconds is not None and not self.time_seconds >= 1:
            raise IcebreakerError(
                "time_limit_short", "time limit {seconds} is too short", "at_least_1_second", seconds=self.time_seconds
            )
        if self.threads is not None and self.threads < 1:
            raise IcebreakerError(
                "threads_few", "{threads} processor cores are too few", "at_least_1", threads=self.threads
            )
        if not self.patience_seconds >= 1:
            raise IcebreakerError(
                "patience_short", "patience {seconds} is too short", "at_least_1_second", seconds=self.patience_seconds
            )


def _check_profile(name: str, profile: Profile) -> None:
    shapes = profile_text(profile)
    if len(profile) != 3 or len({len(shape) for shape in profile}) != 1:
        raise IcebreakerError(
            "profile_malformed", "the profile of {subject} is not three shapes of one length", "smallest_usual_largest",
            subject=name,
        )  # fmt: skip
    if any(size < 1 for shape in profile for size in shape):
        raise IcebreakerError(
            "profile_size", "the profile of {subject} has a size below 1: {shapes}", subject=name, shapes=shapes
        )
    if any(not low <= usual <= high for low, usual, high in zip(*profile, strict=True)):
        raise IcebreakerError(
            "profile_order",
            "the profile of {subject} does not grow from the smallest to the usual to the largest shape: {shapes}",
            subject=name, shapes=shapes,
        )  # fmt: skip


def parse_profile(text: str) -> tuple[str, Profile]:
    """Reads `NAME=MIN,USUAL,MAX`, such as `image=1x64x64x3,4x224x224x3,8x512x512x3`; one shape stands for all three.

    Raises:
        IcebreakerError: It is none.
    """
    name, _, rest = text.rpartition("=")
    shapes: list[tuple[int, ...]] = []
    for part in rest.replace(" ", "").replace("×", "x").split(","):
        sizes = part.split("x")
        if not all(size.isascii() and size.isdigit() and len(size) < 10 for size in sizes):
            raise IcebreakerError("shape_malformed", "{subject!r} is not a shape", "write_shapes", subject=part)
        shapes.append(tuple(map(int, sizes)))
    if not name:
        raise IcebreakerError("profile_unnamed", "{subject!r} names no input", "write_profile", subject=text)
    profile = tuple(shapes * 3 if len(shapes) == 1 else shapes)
    _check_profile(name, profile)
    return canonical(name), profile


def parse_fixed_input(text: str) -> tuple[str, str]:
    """Reads `NAME=VALUE`, such as `keras_learning_phase=0`.

    Raises:
        IcebreakerError: It is none.
    """
    name, equals, value = text.rpartition("=")
    if not (name and equals and value):
        raise IcebreakerError("fixed_input_malformed", "{subject!r} fixes no input", "write_fixed_input", subject=text)
    return canonical(name), value


def profile_text(profile: Profile) -> str:
    """A profile as `parse_profile` reads it, without the name."""
    return ", ".join("x".join(map(str, shape)) for shape in profile)


def parse_size(text: str) -> int:
    """Reads a size in bytes: `4GB` is 4,000,000,000, `4GiB` is 4 · 2³⁰, a bare number is bytes.

    Raises:
        IcebreakerError: It is not a size.
    """
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    if not match or match[2] not in _UNITS:
        raise IcebreakerError("size_malformed", "{subject!r} is not a size", "write_size", subject=text)
    return round(float(match[1]) * _UNITS[match[2]])
