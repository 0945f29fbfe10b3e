"""What the user chose: plain values that travel to the worker as JSON.

Owns: names, defaults and limits of every setting. Refuses: checks that need the graph (`convert`).
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.reports.reports import EngineStatus
from icebreaker.tensors import canonical

PRECISIONS = ("fp32", "fp16", "int8")
CALIBRATION_METHODS = ("minmax", "percentile", "mse", "entropy")
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


@dataclass(frozen=True)
class ConvertSettings:
    """One conversion's settings.

    Attributes:
        outputs: Tensors to keep, under these names; empty: the graph's candidate outputs.
        inputs: Placeholders to keep as inputs; empty: all that the outputs need.
        input_shapes: Input name → concrete shape, where the graph leaves it open.
        profiles: Input name → the smallest, the usual and the largest shape that engines must take; they are tuned for
            the usual one, and checked at all three. Such an input's batch is its profile's.
        engine: `auto` (measure the available ones, keep the fastest) or the name of one, which
            `engines.registry.require` checks.
        precision: One of `PRECISIONS`. On a CPU, `fp16` runs as bfloat16 where the processor has it.
        max_batch_size: Largest batch the engines must take (optimization profile 1..max, opt = max).
        workspace_bytes: Scratch memory that a TensorRT builder may use, in bytes.
        optimization_level: How long a TensorRT builder searches, 0 to `MOST_OPTIMIZATION`; None: its own default, 3.
        hardware_compatibility: Which GPUs a plan of TensorRT runs on beside those of this machine's kind, one of
            `HARDWARE_COMPATIBILITY`.
        version_compatible: Build plans that later versions of TensorRT load, too.
        weights: One of `WEIGHTS`: part of the plan, part of it and replaceable, or put into it when it is loaded.
        compute_capabilities: What TensorRT-RTX builds plans for, such as `8.9`; empty: all from 8.0 on.
        memory_fraction: Share of the GPU's memory, 0 to 1, that TensorFlow may take; None: all it wants.
        minimum_segment_size: Segments with fewer real ops than this stay in TensorFlow.
        exclude: Nodes to leave in TensorFlow.
        data: An `.npz` with sample values by input name; None: values are made up from dtype and shape.
        calibration: For INT8, what to calibrate on: a path that `calibration.open_data` takes, or `random`; None:
            `data`. A quarter of it is held back, to judge by.
        calibration_method: `auto` (measured) or one of `CALIBRATION_METHODS`.
        quantizer: Who makes a segment INT8 for OpenVINO: `own`, `nncf` (if that is installed), or `auto`: both, and the
            faster of those within the limit stays. For every other engine it is `own`.
        calibration_table: Where the ranges are kept as JSON. With calibration data it is written (None: beside the
            output), without it is read, so that INT8 is built again without data.
        calibration_samples: How many rows to take of the data, at random; None: all.
        calibration_seed: Of that choice.
        preprocessing: How images become values: the fields of `calibration.Preprocessing`; None: guessed.
        allow_python: Run calibration data that is a Python program: the user was asked.
        accuracy_budget: Share of rows, 0 to 1, whose top class INT8 may change; for outputs without classes, the
            error's share of the output (root mean squares). None: what is clearly broken is refused.
        keep_float: Nodes that stay in 16 or 32 bits; patterns such as `head/*` too.
        allow_side_effects: Run also a graph that acts outside itself (`safety.side_effects`): the user was asked.
        trust_engines: Load also engines that were built elsewhere (`runtime.load`): the user was asked.
        retry_crashed: Try again what has crashed a worker in an earlier job.
        memory_limit_bytes: Memory the worker may take; None: nine tenths of the machine's.
        time_limit_seconds: How long the whole job may take; None: as long as it needs.
        patience_seconds: How long the worker may work without a word before it counts as hanging.
    """

    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    input_shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    profiles: Mapping[str, Profile] = dataclasses.field(default_factory=dict)
    engine: str = "auto"
    precision: str = "fp32"
    max_batch_size: int = 1
    workspace_bytes: int = DEFAULT_WORKSPACE
    optimization_level: int | None = None
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    weights: str = "fixed"
    compute_capabilities: tuple[str, ...] = ()
    memory_fraction: float | None = None
    minimum_segment_size: int = 3
    exclude: tuple[str, ...] = ()
    data: str | None = None
    calibration: str | None = None
    calibration_method: str = "auto"
    quantizer: str = "auto"
    calibration_table: str | None = None
    calibration_samples: int | None = None
    calibration_seed: int = 0
    preprocessing: Mapping[str, Any] | None = None
    allow_python: bool = False
    accuracy_budget: float | None = None
    keep_float: tuple[str, ...] = ()
    allow_side_effects: bool = False
    trust_engines: bool = False
    retry_crashed: bool = False
    memory_limit_bytes: int | None = None
    time_limit_seconds: float | None = None
    patience_seconds: float = 900.0

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            IcebreakerError: A value is out of its range.
        """
        if self.precision not in PRECISIONS:
            raise IcebreakerError(f"precision {self.precision!r} is unknown: choose {', '.join(PRECISIONS)}")
        if self.max_batch_size < 1:
            raise IcebreakerError(f"max batch size {self.max_batch_size} is too small: it must be at least 1")
        if self.workspace_bytes < 0:
            raise IcebreakerError(f"workspace {self.workspace_bytes} is negative: give bytes, or a size such as 4GB")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= MOST_OPTIMIZATION:
            raise IcebreakerError(
                f"optimization level {self.optimization_level} is unknown: choose 0 to {MOST_OPTIMIZATION}"
            )
        for name, known in (("hardware_compatibility", HARDWARE_COMPATIBILITY), ("weights", WEIGHTS)):
            if getattr(self, name) not in known:
                spelled = name.replace("_", " ")
                raise IcebreakerError(f"{spelled} {getattr(self, name)!r} is unknown: choose {', '.join(known)}")
        for item in self.compute_capabilities:
            if not re.fullmatch(r"[0-9]{1,2}\.[0-9]", item):
                raise IcebreakerError(f"{item!r} is not a compute capability: write it like 8.9")
        for name, profile in self.profiles.items():
            _check_profile(name, profile)
            if name in self.input_shapes:
                raise IcebreakerError(f"input {name} has both a shape and a profile: give one of them")
        if self.memory_fraction is not None and not 0 < self.memory_fraction <= 1:
            raise IcebreakerError(f"memory fraction {self.memory_fraction} is not above 0 and at most 1, such as 0.67")
        if self.minimum_segment_size < 1:
            raise IcebreakerError(f"minimum segment size {self.minimum_segment_size} must be at least 1")
        if self.calibration_method not in ("auto", *CALIBRATION_METHODS):
            known = ", ".join(CALIBRATION_METHODS)
            raise IcebreakerError(f"calibration method {self.calibration_method!r} is unknown: choose auto, {known}")
        if self.quantizer not in QUANTIZERS:
            raise IcebreakerError(f"quantizer {self.quantizer!r} is unknown: choose {', '.join(QUANTIZERS)}")
        if self.calibration_samples is not None and self.calibration_samples < 1:
            raise IcebreakerError(f"{self.calibration_samples} calibration samples are too few: give at least 8")
        if self.accuracy_budget is not None and not 0 <= self.accuracy_budget <= 1:
            raise IcebreakerError(
                f"accuracy budget {self.accuracy_budget} is not from 0 to 1: give a share, such as 0.01"
            )
        if self.memory_limit_bytes is not None and self.memory_limit_bytes < FEWEST_MEMORY:
            raise IcebreakerError(
                f"memory limit {self.memory_limit_bytes} is too small: TensorFlow alone takes {FEWEST_MEMORY >> 30} GiB"
            )
        if self.time_limit_seconds is not None and not self.time_limit_seconds >= 1:
            raise IcebreakerError(f"time limit {self.time_limit_seconds} is too short: give at least 1 second")
        if not self.patience_seconds >= 1:
            raise IcebreakerError(f"patience {self.patience_seconds} is too short: give at least 1 second")

    def unmet(self, engines: Iterable[EngineStatus]) -> str:
        """Why none of the engines can do what only some engines can, where that was asked for; else nothing."""
        engines, defaults = tuple(engines), ConvertSettings()
        for name, words in ENGINE_OPTIONS.items():
            asked = getattr(self, name)
            if asked == getattr(defaults, name) or any(item.options.get(name) == "" for item in engines):
                continue
            reasons = "; ".join(item.options[name] for item in engines if item.options.get(name))
            who = " or ".join(item.name for item in engines) or "any engine here"
            return f"{words} is not to be had with {who}: {reasons or 'it is for TensorRT'}; leave it out"
        for item in engines:
            if item.targets and (unknown := sorted(set(self.compute_capabilities) - set(item.targets))):
                return (
                    f"{item.name} does not build for compute capability {unknown[0]}: choose {', '.join(item.targets)}"
                )
        return ""

    @property
    def unheeded(self) -> tuple[str, ...]:
        """Fields that are set but only mean something for INT8, while the precision is another."""
        return () if self.precision == "int8" else tuple(name for name in _INT8_ONLY if getattr(self, name) is not None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConvertSettings:
        """Reads what `to_json` wrote, or a stranger; lists become tuples, unknown keys and wrong types are an error."""
        if not isinstance(data, Mapping):
            raise IcebreakerError("the settings are no JSON object: save them again")
        hints = typing.get_type_hints(cls)
        if unknown := set(data) - set(hints):
            raise IcebreakerError(f"setting {min(map(str, unknown))!r} is unknown: it comes from another version")
        values = {key: _revive(hints[key], value) for key, value in data.items()}
        if wrong := [key for key, value in values.items() if value is _WRONG]:
            raise IcebreakerError(f"setting {wrong[0]!r} cannot be {str(data[wrong[0]])[:40]!r}: correct or remove it")
        return cls(**values)


def _check_profile(name: str, profile: Profile) -> None:
    if len(profile) != 3 or len({len(shape) for shape in profile}) != 1:
        raise IcebreakerError(f"the profile of {name} is not three shapes of one length: smallest, usual, largest")
    if any(size < 1 for shape in profile for size in shape):
        raise IcebreakerError(f"the profile of {name} has a size below 1: {profile_text(profile)}")
    if any(not low <= usual <= high for low, usual, high in zip(*profile, strict=True)):
        raise IcebreakerError(
            f"the profile of {name} does not grow from the smallest to the usual to the largest shape: "
            f"{profile_text(profile)}"
        )


_WRONG = object()


def _revive(hint: Any, value: Any) -> Any:
    """The value as `hint` wants it, or `_WRONG`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is types.UnionType:  # X | None
        return None if value is None else _revive(args[0], value)
    if origin is tuple and isinstance(value, list | tuple):
        items = tuple(_revive(args[0], item) for item in value)
        return _WRONG if _WRONG in items else items
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, Mapping):
        entries = {key: _revive(args[1], item) for key, item in value.items()}
        return _WRONG if _WRONG in entries.values() or not all(isinstance(key, str) for key in entries) else entries
    if hint is float and isinstance(value, int):
        return value
    if origin is None and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    return _WRONG


def parse_profile(text: str) -> tuple[str, Profile]:
    """Reads `NAME=MIN,USUAL,MAX`, such as `image=1x64x64x3,4x224x224x3,8x512x512x3`; one shape stands for all three.

    Raises:
        IcebreakerError: It is none.
    """
    name, _, rest = text.rpartition("=")
    shapes = []
    for part in rest.replace(" ", "").replace("×", "x").split(","):
        sizes = part.split("x")
        if not all(size.isascii() and size.isdigit() and len(size) < 10 for size in sizes):
            raise IcebreakerError(
                f"{part!r} is not a shape: write the smallest, the usual and the largest, "
                f"such as 1x64x64x3,4x224x224x3,8x512x512x3"
            )
        shapes.append(tuple(map(int, sizes)))
    if not name:
        raise IcebreakerError(f"{text!r} names no input: write NAME=MIN,USUAL,MAX")
    profile = tuple(shapes * 3 if len(shapes) == 1 else shapes)
    _check_profile(name, profile)
    return canonical(name), profile


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
        raise IcebreakerError(f"{text!r} is not a size: write bytes or a number with KB, MB, GB, KiB, MiB or GiB")
    return round(float(match[1]) * _UNITS[match[2]])
