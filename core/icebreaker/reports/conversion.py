"""What a conversion made: the engine nodes, and what stays in TensorFlow with its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icebreaker import codec
from icebreaker.reports.accuracy import Accuracy
from icebreaker.reports.quantization import Quantization
from icebreaker.reports.words import Word, Words

# Why a node is left in TensorFlow: code → words. The app colours by code; `Left.reason` has the full text.
REASONS: Mapping[str, str] = {
    "unsupported_op": "no converter for this op",
    "unsupported_attribute": "the converter refuses these attributes or types",
    "unknown_shape": "a shape the engine needs is unknown",
    "excluded": "excluded by you",
    "control_flow": "control flow",
    "too_small": "segment below the minimum size",
    "engine_refused": "the engine refused it",
    "deviates": "the engine's result deviates from TensorFlow's",
    "not_faster": "the engine is not faster here",
    "no_data": "no values to check an engine against",
    "side_effect": "touches state or the outside world",
    "passive": "carries values only, computes nothing",
}


@dataclass(frozen=True)
class EngineLayer:
    """A layer that an engine made of a segment, as the engine tells of it.

    Attributes:
        name: The engine's name for it, or the names of the segment's nodes that were fused into it, joined with commas.
        type: The vendor's word for what it does, such as `Convolution`.
        precision: What it computes in, in the vendor's words (TensorRT: in ours); empty if that is not told.
        inputs: Names of the layers that it reads; None if the engine does not tell how its layers are joined.
        provider: ONNX Runtime's execution provider, such as `CPU`.
        tactic: The kernel that TensorRT chose.
        nodes: The nodes of the ONNX model that TensorRT says are in it.
    """

    name: str
    type: str
    precision: str
    inputs: tuple[str, ...] | None = None
    provider: str = ""
    tactic: str = ""
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tried:
    """An engine and precision that a segment was tried in.

    Attributes:
        engine: The engine.
        precision: What it computed in, or was to compute in.
        ms: Median milliseconds of a call, hand-over included; 0 where it was not measured.
        deviation: Largest difference from TensorFlow, as a share of the output's range.
        note: Why it is out of the question, or what the engine has to tell; empty mostly.
        quantizer: Who made its INT8: `own` or `nncf`; empty in other precisions.
    """

    engine: str
    precision: str
    ms: float = 0.0
    deviation: float = 0.0
    note: Words = ""
    quantizer: str = ""


@dataclass(frozen=True)
class SegmentReport:
    """One segment that became an engine node.

    Attributes:
        name: The engine node, `TRTEngineOp_000` and so on.
        engine: Engine that runs it, such as `openvino`.
        precision: What it really computes in, such as `fp32` or `bf16`.
        nodes: Names of the original nodes inside, constants included.
        inputs: Canonical names of the tensors that enter it.
        outputs: Canonical names of the original tensors that leave it.
        build_seconds: Seconds for export and build.
        tensorflow_ms: Median milliseconds of the segment in TensorFlow; 0 where not measured. Where the machine was
            busy, of processor time.
        engine_ms: The same in the engine, hand-over included.
        deviation: Largest difference from TensorFlow, as a share of the output's range.
        runs_here: False for an engine that was built for another machine.
        layers: The engine's own layers, where it tells them.
        candidates: Everything that was tried, what was chosen included.
        quantization: Where INT8 was asked for.
        notes: What the user should know of the engine though it is right, such as that it holds to one batch.
    """

    name: str
    engine: str
    precision: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    build_seconds: float
    tensorflow_ms: float = 0.0
    engine_ms: float = 0.0
    deviation: float = 0.0
    runs_here: bool = True
    layers: tuple[EngineLayer, ...] = ()
    candidates: tuple[Tried, ...] = ()
    quantization: Quantization | None = None
    notes: tuple[Words, ...] = ()


@dataclass(frozen=True)
class Left:
    """A node left in TensorFlow. `code` is a key of `REASONS`, `reason` what there is to tell the user."""

    node: str
    op: str
    reason: Words
    code: str


@dataclass(frozen=True)
class Conversion:
    """What a conversion made.

    Attributes:
        output: Path of the optimized graph.
        seconds: Time it took after imports.
        coverage: Share of the real ops that are in engines, 0 to 1.
        segments: The engine nodes.
        left_in_tensorflow: Every other node that the outputs need, with its reason.
        warnings: What the user should read.
        accuracy: Of the whole graph on held-back data, where INT8 was asked for.
        calibration_table: Path of the ranges that were written; empty if none were.
        others: Largest share of the processors' time that other programs had while engines were timed, 0 to 1. Where it
            is large, a warning says so, and times are processor time.
        tensors: Canonical tensor name → dtype and shape as TensorFlow infers them, such as `float32[?,56,56,64]`.
        signature: Of a SavedModel, the signature that was converted.
        other_signatures: Its other signatures.
    """

    output: str
    seconds: float
    coverage: float
    segments: tuple[SegmentReport, ...]
    left_in_tensorflow: tuple[Left, ...]
    warnings: tuple[Words, ...] = ()
    accuracy: Accuracy | None = None
    calibration_table: str = ""
    others: float = 0.0
    tensors: Mapping[str, str] = field(default_factory=dict[str, str])
    signature: str = ""
    other_signatures: tuple[str, ...] = ()

    def to_json(self, word: Word = str) -> dict[str, Any]:
        """The contract of `icebreaker convert --json`; what INT8 adds is there only where it was asked for."""
        segment_keys = ["name", "engine", "precision", "nodes", "inputs", "outputs", "build_seconds"]
        data = codec.to_plain(self)
        extra = {key: data[key] for key in ("signature", "other_signatures") if data[key]}
        if any(segment.quantization for segment in self.segments):
            segment_keys.append("quantization")
            for plain, segment in zip(data["segments"], self.segments, strict=True):
                if segment.quantization:
                    plain["quantization"]["message"] = word(segment.quantization.message)
                    del plain["quantization"]["tensors"]  # for the app: long, and in the table
            extra |= {key: data[key] for key in ("accuracy", "calibration_table")}
            extra["warnings"] = [word(warning) for warning in self.warnings]
        return {
            "output": self.output,
            "seconds": self.seconds,
            "coverage": self.coverage,
            "segments": [{key: plain[key] for key in segment_keys} for plain in data["segments"]],
            "left_in_tensorflow": [
                {"node": left.node, "op": left.op, "reason": word(left.reason)} for left in self.left_in_tensorflow
            ],
            **extra,
        }
