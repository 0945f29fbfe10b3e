"""What an engine is: a class that says what it is called, what it takes, and builds and runs segments.

Adding an engine is one module with a subclass of `Engine`, and one line in `registry`. All that the rest of the program
has to know of an engine is said by its class, so that nothing else names engines. Vendor libraries are imported only
inside methods: the app and `icebreaker --help` ask classes for titles and colours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np

from icebreaker.engine.segment_model import Model, SegmentModel
from icebreaker.errors import IcebreakerError
from icebreaker.messages import Message
from icebreaker.reports import EngineLayer, EngineStatus, Words

Shape = tuple[int, ...]


class GivesWay(IcebreakerError):
    """A runner raises it for values that its engine, right for others, would be wrong on: the call is TensorFlow's."""

    codes = frozenset({"numbers_beyond_engine", "nan_beyond_engine", "infinity_beyond_engine", "nothing_to_compute"})


# Told of work that goes on: what is being done, in words, and how much of it is done, from 0 to 1.
Progress = Callable[[Words, float], None]


@dataclass(frozen=True)
class BuildOptions:
    """What a build may depend on.

    Attributes:
        precision: `fp32`, `fp16` or `int8` (then the ONNX form already carries Q/DQ nodes).
        profiles: Input name → (min, opt, max) shape; inputs with one fixed shape have all three equal.
        workspace_bytes: Scratch memory that the builder may use.
        optimization_level: How long the builder searches; this and what follows as `settings.ConvertSettings` says.
        hardware_compatibility: Other GPUs that the engine shall run on.
        version_compatible: Whether later versions shall load it, too.
        weights: Whether they are fixed, refittable, or not in the plan.
        compute_capabilities: What it is built for, such as `8.9`.
        samples: Sets of values for the model's inputs, in their order, the usual ones first: from them FP16 learns what
            it cannot hold, and TensorRT which shapes an input tells of.
        progress: Called with a phase in words and a fraction from 0 to 1; what it raises ends the build.
    """

    precision: str = "fp32"
    profiles: Mapping[str, tuple[Shape, Shape, Shape]] = field(default_factory=dict)
    workspace_bytes: int = 1 << 30
    optimization_level: int | None = None
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    weights: str = "fixed"
    compute_capabilities: tuple[str, ...] = ()
    samples: Sequence[Sequence[np.ndarray]] = ()
    progress: Progress = lambda phase, fraction: None


@dataclass(frozen=True)
class Built:
    """An engine for one segment, ready to be stored.

    Attributes:
        payload: What `Engine.load` takes: an ONNX model (also as a path), a vendor's form of one, or device code.
        precision: What it really computes in: fp32, bf16, fp16, int8.
        version: Version of the engine that built it.
        device: Device it was built for, such as `CPU` or `sm_89`.
        runs_here: False if this machine cannot run it.
        note: What the user should know, in one line; empty mostly.
        layers: The engine's own layers, where `build` can tell them; else its runner may, once it ran.
    """

    payload: Model
    precision: str
    version: str
    device: str
    runs_here: bool = True
    note: Words = ""
    layers: tuple[EngineLayer, ...] = ()


# Takes the segment's inputs and gives its outputs, both in the order of the segment's.
Runner = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class DeviceRunner(Protocol):
    """A runner that can also take tensors where they are, in the GPU's memory."""

    def __call__(self, inputs: Sequence[np.ndarray], /) -> list[np.ndarray]:
        """Runs on arrays in the host's memory."""
        ...

    def on_device(self, inputs: Sequence[Any], /) -> list[Any]:
        """Runs on tensors of the GPU, without a copy through the host.

        Args:
            inputs: Objects with `__dlpack__`, or DLPack capsules; their values are ready.

        Returns:
            Objects with `__dlpack__`; no later call changes them. They are there to be read after `wait`, and until
            then the inputs must stay as they are.
        """
        ...

    def wait(self) -> None:
        """Returns once what `on_device` began is done: until then there is time to pass its results on."""
        ...


class Colour(NamedTuple):
    """A colour of the app as `#rrggbb`, for its light and its dark looks."""

    light: str
    dark: str


class Engine(ABC):
    """An inference engine. Each method raises IcebreakerError with the vendor's own words on failure.

    Attributes:
        starts_from: The form of a segment that it takes: `onnx`, or `tensorflow` (a GraphDef). A segment that cannot be
            exported to ONNX is only shown to the latter.
        name: What settings, files and scripts call it: lower case, such as `onnxruntime`.
        title: What users read: its name as its makers write it, such as `ONNX Runtime`.
        colour: Of its segments in the app's graph; at least 3:1 against both backgrounds. None: the app's accent.
        payload: What `build` gives: `model`, if that is an ONNX model or the vendor's own form of one, so that building
            costs next to nothing and `load` compiles; `code`, if it is machine code for a device; `function`, if it is
            a FunctionDef that goes into the written graph, where TensorFlow itself runs it.
        precisions: What can be asked of `build`, of `settings.PRECISIONS`. Asked for another, it is built in the next
            higher one that it has.
        widens_segments: Whether ops that it alone takes may be part of segments. If not, `auto` tries it on those that
            others take; only if it is chosen by name it has all that it takes.
        takes_open_shapes: Whether what it builds runs on other shapes than those of the usual sample. If not, it is
            checked and used for these alone.
        takes_unsigned_int8: Whether INT8 activations that are never negative come as unsigned numbers, which has twice
            as many steps for them; else all are signed and symmetric.
        takes_nncf: Whether its INT8 may also be made by NNCF, which then competes with Icebreaker's own.
        folds_constants: Whether it folds what only depends on constants, such as a batch norm into weights, by itself.
        builder_options: Those of `settings.ENGINE_OPTIONS` that it knows of → why it does not have them; empty if it
            has.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    colour: ClassVar[Colour | None] = None
    starts_from: ClassVar[Literal["onnx", "tensorflow"]] = "onnx"
    payload: ClassVar[Literal["model", "code", "function"]] = "code"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    widens_segments: ClassVar[bool] = True
    takes_open_shapes: ClassVar[bool] = True
    takes_unsigned_int8: ClassVar[bool] = False
    takes_nncf: ClassVar[bool] = False
    folds_constants: ClassVar[bool] = False
    builder_options: ClassVar[Mapping[str, Words]] = {}

    @abstractmethod
    def status(self) -> EngineStatus:
        """Whether it builds and runs on this machine, and if not, why, with what to install."""

    def joins_auto(self) -> bool:
        """Whether `auto` tries it, where it runs: one that would hardly ever win there only takes time."""
        return True

    def supported_ops(self) -> frozenset[str]:
        """TensorFlow ops that it takes, if it starts from TensorFlow; for ONNX the converter knows them."""
        return frozenset()

    def why_not(self, op: str) -> Message | None:
        """Why a TensorFlow op is not among these; None if there is no more to say."""
        return None

    def refusals(self, segment: SegmentModel) -> Mapping[str, Words]:
        """Node of the form it starts from → why this engine does not take it; empty if it takes the whole segment.

        An empty name stands for a node that the vendor does not tell.
        """
        return {}

    @abstractmethod
    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        """Builds an engine for a segment."""

    @abstractmethod
    def load(self, payload: Model, precision: str) -> Runner:
        """Makes what `build` gave runnable in this process; a path if `build` gave one, beside which weights lie."""

    def poisons_process(self, error: Exception) -> bool:
        """Whether an error of a call has broken this process for good, as a failed kernel breaks its use of a GPU.

        It counts as a crash of that call then: the job goes on in another process, without it. To be found by asking
        the device, or by the error's type; words say nothing for sure.
        """
        return False
