"""What partitioning a graph gives: segments, and why each other node stays in TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from icebreaker.messages import Message, message
from icebreaker.tensors import Tensor


@dataclass(frozen=True, init=False)
class Refusal:
    """Why a node stays in TensorFlow.

    Attributes:
        message: The reason; its code is a key of `reports.REASONS`, which many messages share.
    """

    message: Message

    def __init__(
        self,
        code: str,
        text: str,
        remedy: str = "",
        *,
        subject: object = "",
        **values: str | int | float | Message | tuple[str | int | float | Message, ...],
    ) -> None:
        """Makes a reason, as `messages.message` makes a message.

        Args:
            code: A key of `reports.REASONS`.
            text: An English template; without `values` and `subject` it is taken as it stands, braces included.
            remedy: A key of `messages.REMEDIES`, or empty.
            subject: The engine, input or the like that it is about; the node is the key that it is kept under.
            values: What fills the templates.
        """
        if not (values or subject):
            text = text.replace("{", "{{").replace("}", "}}")
        object.__setattr__(self, "message", message(code, text, remedy, subject=subject, **values))

    @property
    def code(self) -> str:
        """A key of `reports.REASONS`."""
        return self.message.code

    @property
    def text(self) -> str:
        """The reason in English, on one line."""
        return str(self.message)


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
