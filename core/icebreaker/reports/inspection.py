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
    """What is in a graph."""

    nodes: int
    ops: Mapping[str, int]
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    control_flow: bool
    bytes: int  # of the constants
    functions: tuple[str, ...] = ()
    frozen_path: str = ""  # a .pb with the graph, where the file itself is a SavedModel or Keras model
    side_effects: tuple[SideEffect, ...] = ()
    engines: Mapping[str, bool] = field(
        default_factory=dict[str, bool]
    )  # in an optimized graph: engine → built here, all of its
    signature: str = ""  # of a SavedModel: which one this is
    other_signatures: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The contract of `icebreaker inspect --json`; what comes after `bytes` only if the graph has some."""
        data = codec.to_plain(self)
        optional = ("side_effects", "engines", "signature", "other_signatures")
        keys = ["nodes", "ops", "inputs", "outputs", "control_flow", "bytes"]
        return {key: data[key] for key in (*keys, *(key for key in optional if data[key]))}


@dataclass(frozen=True)
class SampleFile:
    """A sample model that was written to `output`."""

    output: str


@dataclass(frozen=True)
class SavedFolder:
    """A SavedModel whose folder `output` was written."""

    output: str
