"""What partitioning a graph gives: segments, and why each other node stays in TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from icebreaker.messages import Message
from icebreaker.tensors import Tensor


@dataclass(frozen=True)
class Refusal:
    """Why a node stays in TensorFlow.

    Attributes:
        code: The kind of reason, a key of `reports.REASONS`.
        text: What there is to tell the user; a plain text is a vendor's words.
    """

    code: str
    text: Message | str


@dataclass(frozen=True)
class Segment:
    """Nodes that become one engine node.

    Attributes:
        name: `TRTEngineOp_000` and so on, in topological order of the segments.
        nodes: Members, which move in, in topological order.
        constants: Constants, and what only forwards them, which are copied in, in topological order.
        inputs: Tensors from outside that members read, each once.
        outputs: Members' tensors that are read outside or are outputs of the graph, each once.
        controls: Nodes outside that must run before it.
        size: Number of real ops among the members.
    """

    name: str
    nodes: tuple[str, ...]
    constants: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    controls: tuple[str, ...]
    size: int

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes outside that it reads or waits for."""
        return (*(tensor.node for tensor in self.inputs), *self.controls)

    @property
    def key(self) -> tuple[tuple[str, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What stays the same when the graph is partitioned again, which may change its name."""
        return self.nodes, self.inputs, self.outputs


@dataclass(frozen=True)
class Partition:
    """A graph split into what engines run and what TensorFlow does.

    Attributes:
        segments: In topological order.
        left: Node → why it stays in TensorFlow, for each node outside of segments that the outputs need; constants
            that are only copied into segments are not among them.
    """

    segments: tuple[Segment, ...]
    left: Mapping[str, Refusal]
