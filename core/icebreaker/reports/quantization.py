"""What INT8 costs in a segment, layer by layer, and the ranges that calibration found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icebreaker import codec
from icebreaker.reports.accuracy import Accuracy
from icebreaker.reports.words import Word, Words


@dataclass(frozen=True)
class LayerCost:
    """What INT8 costs at one layer; signal to noise in dB, None where it was not measured or there is no error.

    Attributes:
        layer: The layer's name in the segment's ONNX model.
        node: The original node it came from; empty if it serves no single one.
        op: ONNX op.
        output_db: At the segment's outputs, if this layer alone is quantized.
        own_db: The same at the layer's own output.
        db: At the layer's output, with all quantized layers before it too.
        kept: Whether it stayed in 16 or 32 bits.
    """

    layer: str
    node: str
    op: str
    output_db: float | None
    own_db: float | None
    db: float | None
    kept: bool


@dataclass(frozen=True)
class TradeOff:
    """A point of the curve of error against latency: the worst `kept` layers stay in higher precision."""

    kept: int
    error: float
    disagreement: float | None
    latency_ms: float | None
    chosen: bool


@dataclass(frozen=True)
class TensorRange:
    """A tensor that INT8 rounds: what calibration found, and how its values lie on held-back data.

    Attributes:
        tensor: Its name in the segment's ONNX model.
        node: The original node that gives it; empty if no single one does.
        low: Smallest value in calibration.
        high: Largest value in calibration.
        threshold: The |x| that becomes 127.
        counts: How many values of |x| lie in equal bins from 0 to `span`; empty without held-back data.
        span: Upper end of the last bin.
    """

    tensor: str
    node: str
    low: float
    high: float
    threshold: float
    counts: tuple[float, ...] = ()
    span: float = 0.0


@dataclass(frozen=True)
class Quantization:
    """How a segment became INT8, or why it did not.

    Attributes:
        method: How thresholds were chosen; `tried` has the dB at the outputs of each method, if they were compared.
        samples: Rows that were calibrated with; 0: the ranges were in the graph or in a table.
        int8_layers: Layers that compute in INT8.
        layers: All of them, the worst first.
        curve: The search for the accuracy budget, by number of layers kept; empty if there was none.
        accuracy: On held-back data; None if there was none.
        message: The result in a line for the user.
        tensors: The tensors that are rounded, in the order in which layers read them.
    """

    method: str
    samples: int
    int8_layers: int
    tried: Mapping[str, float] = field(default_factory=dict[str, float])
    layers: tuple[LayerCost, ...] = ()
    curve: tuple[TradeOff, ...] = ()
    accuracy: Accuracy | None = None
    message: Words = ""
    tensors: tuple[TensorRange, ...] = ()


@dataclass(frozen=True)
class CalibratedSegment:
    """The ranges that were found for a segment.

    Attributes:
        name: The engine node that it would become.
        nodes: How many nodes are in it.
        method: How thresholds were chosen.
        tried: Method → signal to noise at the outputs in dB, if methods were compared.
        samples: Rows that were calibrated with.
        tensors: How many tensors have a range.
    """

    name: str
    nodes: int
    method: str
    tried: Mapping[str, float]
    samples: int
    tensors: int


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found; `segments` in the table's order: how each would become INT8, before it is judged."""

    output: str
    seconds: float
    samples: int
    segments: tuple[CalibratedSegment, ...]
    notes: tuple[Words, ...] = ()
    warnings: tuple[Words, ...] = ()

    def to_json(self, word: Word = str) -> dict[str, Any]:
        """The contract of `icebreaker calibrate --json`."""
        told = {"notes": [word(note) for note in self.notes], "warnings": [word(text) for text in self.warnings]}
        return codec.to_plain(self) | told
