"""What all steps of one conversion share: the graph, the settings, the engines, and how the user is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from icebreaker import events
from icebreaker.conversion.sample_values import SampleValues
from icebreaker.engine.protocol import Engine
from icebreaker.export.exporter import DTYPES
from icebreaker.export.recurrent.loops import Recurrence
from icebreaker.formats.saved_model.signatures import Frozen
from icebreaker.graph.graph import Graph
from icebreaker.messages import Message, message
from icebreaker.metrics.timing import Race
from icebreaker.quantization.segment_quantizer import SegmentQuantizer
from icebreaker.settings import Consent, ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

Emit = Callable[[events.Event], None]


class Notices:
    """Tells the user how a conversion goes, and keeps what is to stand in its report.

    Attributes:
        warnings: What the user should know, each once, in the order in which it was found.
        others: Largest share of the processors' time that other programs had while something was timed.
    """

    def __init__(self, emit: Emit) -> None:
        """Sends events with `emit`."""
        self._emit = emit
        self.warnings: list[Message | str] = []
        self.others = 0.0

    def progress(self, stage: Message | str, fraction: float) -> None:
        """Says what is being done, and how much of the whole is done, from 0 to 1."""
        self._emit(events.Progress(stage, fraction))

    def warn(self, warning: Message | str) -> None:
        """Keeps a warning for the report, if it is not there yet."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def timed(self, race: Race, decides: bool) -> None:
        """Keeps how busy the machine was while something was timed, and warns if the outcome `decides` something."""
        self.others = max(self.others, race.others)
        if race.is_busy and decides:
            self.withdraw("machine_busy")
            self.warn(message(
                "machine_busy",
                "other programs had {share:.0%} of the processors while engines were timed, so processor time decided "
                "what is faster", "convert_on_quiet_machine", share=self.others,
            ))  # fmt: skip

    def withdraw(self, code: str) -> None:
        """Takes the warnings with that code back."""
        self.warnings = [item for item in self.warnings if not isinstance(item, Message) or item.code != code]


@dataclass(frozen=True)
class Context:
    """One conversion, as far as all its steps need it.

    Attributes:
        graph: The graph, cut to what the outputs need, functions put in the place of their calls.
        outputs: The tensors that keep their names and values.
        original: The same graph in TensorFlow; its session may be closed.
        settings: What the user chose.
        consent: What the user has allowed.
        engines: Those to try, in order.
        versions: Engine name → what it said of its version and device.
        samples: Values of inputs, and what the graph computes from them.
        int8: The INT8 side of the conversion; None if that was not asked for.
        notices: How the user is told.
        spare_nodes: Inputs of the whole graph that the outputs do not need, and what fills its tables: they stay, so
            that they may be fed and run.
        frozen: What the SavedModel says that the graph is from; None: it is from none.
        recurrences: The loops that are recurrent networks, by the name of the While.
    """

    graph: Graph
    outputs: tuple[Tensor, ...]
    original: GraphSession
    settings: ConvertSettings
    consent: Consent
    engines: Sequence[Engine]
    versions: Mapping[str, str]
    samples: SampleValues
    int8: SegmentQuantizer | None
    notices: Notices
    spare_nodes: Sequence[Any] = ()
    frozen: Frozen | None = None
    recurrences: Mapping[str, Recurrence] = field(default_factory=dict)

    def can_be_handed(self, tensor: Tensor) -> bool:
        """Whether a tensor is of a type that an engine may read or give; others may be inside of a segment at most."""
        return self.original.dtype(tensor) in DTYPES
