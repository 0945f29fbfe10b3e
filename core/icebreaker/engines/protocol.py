"""Engines behind one protocol: each takes a segment as an ONNX model and gives back something that runs.

Adding an engine is one module with a class that follows `Engine`, and one line in `_MODULES`. Vendor libraries are
imported only when their engine is asked. Every engine takes the same ONNX (opset 17 or later, one graph, weights
inside), so a segment is exported once. The weights of big graphs lie in files instead: engines whose payload is an ONNX
model then get, and give, the path of a model beside which they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from icebreaker.reports.reports import EngineStatus

Shape = tuple[int, ...]
Model = bytes | Path  # of ONNX


@dataclass(frozen=True)
class BuildOptions:
    """What a build may depend on.

    Attributes:
        precision: `fp32`, `fp16` or `int8` (then the model already carries Q/DQ nodes).
        profiles: Input name → (min, opt, max) shape; inputs with one fixed shape have all three equal.
        workspace_bytes: Scratch memory that the builder may use.
        optimization_level: How long the builder searches; this and what follows as `settings.ConvertSettings` says.
        hardware_compatibility: Other GPUs that the engine shall run on.
        version_compatible: Whether later versions shall load it, too.
        weights: Whether they are fixed, refittable, or not in the plan.
        compute_capabilities: What it is built for, such as `8.9`.
        samples: Sets of values for the model's inputs, in their order, the usual ones first: from them FP16 learns what
            it cannot hold, and TensorRT which shapes an input tells of.
        progress: Called with a phase in words and a fraction from 0 to 1; returning False cancels the build.
        log: Called with a level (debug, info, warning, error) and a line of the builder's log.
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
    progress: Callable[[str, float], bool] = lambda phase, fraction: True
    log: Callable[[str, str], None] = lambda level, text: None


@dataclass(frozen=True)
class Built:
    """An engine for one segment, ready to be stored.

    Attributes:
        payload: What `Engine.load` takes: an ONNX model, OpenVINO's form of one, or a TensorRT plan.
        precision: What it really computes in: fp32, bf16, fp16, int8.
        version: Version of the engine that built it.
        device: Device it was built for, such as `CPU` or `sm_89`.
        runs_here: False if this machine cannot run it.
        note: What the user should know, in one line; empty mostly.
        layers: The engine's own layers where it tells them: {"name", "type", "precision"}.
    """

    payload: Model
    precision: str
    version: str
    device: str
    runs_here: bool = True
    note: str = ""
    layers: tuple[Mapping[str, Any], ...] = ()


# Takes the segment's inputs and gives its outputs, both in the order of the ONNX model's.
Runner = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class TellingRunner(Protocol):
    """A runner that can also tell what the engine made of the model."""

    def __call__(self, inputs: Sequence[np.ndarray], /) -> list[np.ndarray]:
        """Runs on arrays in the host's memory."""
        ...

    @property
    def layers(self) -> tuple[Mapping[str, Any], ...]:
        """The engine's own layers, once it ran: `name` (all the names in a fused one, with commas), `type`,
        `precision`, and in `inputs` the names of the layers it reads.
        """  # noqa: D205
        ...

    def layer_times(self, inputs: Sequence[np.ndarray], runs: int) -> tuple[Mapping[str, Any], ...]:
        """The layers with `ms`, the median of so many runs that are watched, which slows them."""
        ...


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


class Engine(Protocol):
    """What every engine can do. Each method raises IcebreakerError with the vendor's own words on failure."""

    name: str

    def status(self) -> EngineStatus:
        """Whether it builds and runs on this machine, and if not, why."""
        ...

    def refusals(self, model: Model) -> Mapping[str, str]:
        """ONNX node name → why this engine does not take it; empty if it takes the whole model."""
        ...

    def build(self, model: Model, options: BuildOptions) -> Built:
        """Builds an engine from an ONNX model."""
        ...

    def load(self, payload: Model, precision: str) -> Runner:
        """Makes what `build` gave runnable in this process."""
        ...
