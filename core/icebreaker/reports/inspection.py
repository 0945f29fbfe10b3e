"""What is in a graph; and where a sample graph was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icebreaker import codec


@dataclass(frozen=True)
class GraphInput:
    """A placeholder of a graph; `shape` has None where a dimension is open, and is None where even the rank is."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class SideEffect:
    """A node that acts outside the graph when it runs; `function` is the library function it is in, or empty."""

    node: str
    op: str
    effect: str  # in words that follow the node's name, such as "writes files"
    function: str = ""

    @property
    def where(self) -> str:
        """Its name for the user."""
        return f"{self.function}/{self.node}" if self.function else self.node


@dataclass(frozen=True)
class Inspection:
    """What is in a graph.

    Attributes:
        nodes: How many nodes it has.
        ops: Op type → number of nodes.
        inputs: Its placeholders.
        outputs: Canonical names of the tensors that nothing reads and that carry data.
        control_flow: Whether nodes of it run sometimes, or again and again.
        bytes: Of the constants.
        functions: Names of the functions in its library.
        frozen_path: A .pb with the graph, where the file itself is a SavedModel or Keras model.
        side_effects: Nodes that act outside the graph.
        engines: In an optimized graph: engine → whether all of its parts were built here.
        signature: Of a SavedModel: which one this is.
        other_signatures: The others that it has.
        flops: Of one run with one row of the inputs, a multiplication and an addition being two; of each op once, also
            where it runs again and again. None: not counted.
        flops_unknown: Ops that are not in `flops`, because their shapes are open or there is no rule for them.
        parameters: Elements of the learned constants; None: not counted.
    """

    nodes: int
    ops: Mapping[str, int]
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    control_flow: bool
    bytes: int
    functions: tuple[str, ...] = ()
    frozen_path: str = ""
    side_effects: tuple[SideEffect, ...] = ()
    engines: Mapping[str, bool] = field(default_factory=dict[str, bool])
    signature: str = ""
    other_signatures: tuple[str, ...] = ()
    flops: int | None = None
    flops_unknown: int | None = None
    parameters: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The contract of `icebreaker inspect --json`; what comes after `bytes` only if the graph has some."""
        data = codec.to_plain(self)
        optional = ("side_effects", "engines", "signature", "other_signatures")
        keys = ["nodes", "ops", "inputs", "outputs", "control_flow", "bytes", "flops", "flops_unknown", "parameters"]
        return {key: data[key] for key in (*keys, *(key for key in optional if data[key]))}


@dataclass(frozen=True)
class SampleFile:
    """A sample model that was written to `output`."""

    output: str


@dataclass(frozen=True)
class SavedFolder:
    """A SavedModel whose folder `output` was written."""

    output: str
