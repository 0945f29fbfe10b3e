"""What is different in two graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icebreaker import codec


@dataclass(frozen=True)
class NodeChange:
    """A node that is in both graphs, and not the same.

    Attributes:
        node: Its name in the first graph.
        other: Its name in the second.
        op: What it does in the first; `op` is among `attributes` if it does something else in the second.
        attributes: Name → how the first graph has it, and how the second; empty where one lacks it.
        inputs: What it reads in the first and in the second graph, where that is not the same; empty for nothing.
        shape: Type and shape of what it gives in the first and in the second graph, if both are known and differ.
        largest: Largest difference of a constant's values; None: they are equal, or cannot be compared.
        relative: The same as a share of the largest value in the first graph.
        values: How many of a constant's values differ.
    """

    node: str
    other: str
    op: str
    attributes: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    inputs: tuple[tuple[str, str], ...] = ()
    shape: tuple[str, str] | None = None
    largest: float | None = None
    relative: float | None = None
    values: int = 0

    @property
    def is_own(self) -> bool:
        """Whether the node itself was changed, and not only what comes to it."""
        return bool(self.attributes or self.inputs or self.values)


@dataclass(frozen=True)
class OneSided:
    """A node that only one of the graphs has."""

    node: str
    op: str


@dataclass(frozen=True)
class GraphDiff:
    """What is different in a second graph.

    Attributes:
        nodes: How many nodes the first graph has, and the second.
        same: How many are in both and alike, renamed ones included.
        renamed: Name in the first graph → its name in the second, of nodes that are alike but for their name.
        changed: Nodes that are in both, and not alike.
        added: Nodes that only the second graph has.
        removed: Nodes that only the first has.
        functions: Function of the libraries → `added`, `removed` or `changed`.
        frozen_path: A .pb with the second graph, where its file is a SavedModel or Keras model.
    """

    nodes: tuple[int, int]
    same: int
    renamed: Mapping[str, str]
    changed: tuple[NodeChange, ...]
    added: tuple[OneSided, ...]
    removed: tuple[OneSided, ...]
    functions: Mapping[str, str] = field(default_factory=dict[str, str])
    frozen_path: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is different."""
        return not (self.renamed or self.changed or self.added or self.removed or self.functions)

    def to_json(self) -> dict[str, Any]:
        """The contract of `icebreaker diff --json`."""
        data = codec.to_plain(self)
        del data["frozen_path"]
        return data
