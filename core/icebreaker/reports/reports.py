"""Results as values: what a job found out, for the app to show and the command line to print.

The shapes of `Inspection.to_json`, `Conversion.to_json`, `Benchmark.to_json` and `Comparison.to_json` are a
contract: others script against them. `codec` carries whole values between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from icebreaker import codec
from icebreaker.messages import Message

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


Words = Message | str  # a plain text is somebody else's: a vendor's, or the user's
Word = Callable[[Words], str]  # how a front end words what it is told


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
class GraphInput:
    """A placeholder of a graph; `shape` has None where a dimension is open, and is None where even the rank is."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


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

    def to_json(self) -> dict[str, Any]:
        """The contract of `icebreaker inspect --json`; `side_effects` and `engines` only if the graph has some."""
        data = codec.to_plain(self)
        keys = ["nodes", "ops", "inputs", "outputs", "control_flow", "bytes"]
        return {key: data[key] for key in (*keys, *(key for key in ("side_effects", "engines") if data[key]))}


@dataclass(frozen=True)
class OutputDifference:
    """How one output of the optimized graph differs from the original's on the same inputs.

    `max_rel` is the largest absolute difference over the original's largest absolute value; `sqnr_db` the signal to
    quantization noise ratio in dB (None: identical); `top1_agreement` the share of rows with the same arg max
    (None: the output has no class axis).
    """

    max_abs: float
    max_rel: float
    cosine: float
    sqnr_db: float | None
    top1_agreement: float | None


@dataclass(frozen=True)
class Accuracy:
    """What INT8 costs, on data that calibration has not seen.

    Attributes:
        samples: Rows that were compared.
        outputs: Canonical output name → its difference from TensorFlow's.
        top1_agreement: Share of rows with the same top class, of the worst output; None without classes.
        top5_agreement: Share of rows whose top class is among the other's five best; None below six classes.
        error: Root mean square of the error over that of the output, of the worst output.
        original: Share of rows that the original gets right; None without labels.
        optimized: The same of the optimized graph.
    """

    samples: int
    outputs: Mapping[str, OutputDifference]
    top1_agreement: float | None
    top5_agreement: float | None
    error: float
    original: float | None = None
    optimized: float | None = None


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
        tensorflow_ms: Median milliseconds of the segment in TensorFlow; 0 where not measured.
        engine_ms: The same in the engine, hand-over included.
        deviation: Largest difference from TensorFlow, as a share of the output's range.
        runs_here: False for an engine that was built for another machine.
        layers: The engine's own layers, where it tells them.
        candidates: Everything that was tried, what was chosen included.
        quantization: Where INT8 was asked for.
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
        tensors: Canonical tensor name → dtype and shape as TensorFlow infers them, such as `float32[?,56,56,64]`.
    """

    output: str
    seconds: float
    coverage: float
    segments: tuple[SegmentReport, ...]
    left_in_tensorflow: tuple[Left, ...]
    warnings: tuple[Words, ...] = ()
    accuracy: Accuracy | None = None
    calibration_table: str = ""
    tensors: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_json(self, word: Word = str) -> dict[str, Any]:
        """The contract of `icebreaker convert --json`; what INT8 adds is there only where it was asked for."""
        segment_keys = ["name", "engine", "precision", "nodes", "inputs", "outputs", "build_seconds"]
        data = codec.to_plain(self)
        extra = {}
        if any(segment.quantization for segment in self.segments):
            segment_keys.append("quantization")
            for plain, segment in zip(data["segments"], self.segments, strict=True):
                if segment.quantization:
                    plain["quantization"]["message"] = word(segment.quantization.message)
                    del plain["quantization"]["tensors"]  # for the app: long, and in the table
            extra = {key: data[key] for key in ("accuracy", "calibration_table")}
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


@dataclass(frozen=True)
class SampleFile:
    """A sample model that was written to `output`."""

    output: str


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


@dataclass(frozen=True)
class Latency:
    """Statistics of one series of timed calls; throughput in items (batch rows) per second."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    throughput: float
    samples: int


@dataclass(frozen=True)
class Speedup:
    """Original over optimized: ratio of medians, with its 95 % bootstrap interval."""

    median: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class NodeTime:
    """What a node took in one run: `ms` is all its `calls` together, in a loop.

    `ran_as` is the op that TensorFlow made of it, such as `_FusedConv2D`, which has done the work of ops before it too;
    empty if it ran as it stands in the graph.
    """

    ms: float
    calls: int = 1
    ran_as: str = ""


@dataclass(frozen=True)
class LayerTime:
    """What a layer inside an engine took in one run; `nodes` are the original nodes in it, as far as names tell."""

    name: str
    type: str
    precision: str
    ms: float
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """Where the time of a graph goes, measured run by run; medians over the runs.

    Watching slows a run, and ops run beside one another, so that their sum is no latency: the shares count.

    Attributes:
        nodes: Node → its time. Nodes inside the function of a While have keys `NODE/ATTRIBUTE/INNER`.
        other_ms: Of what TensorFlow added to the graph.
        watched_ms: A run that was watched.
        plain_ms: A run that was not, in turns with those.
        runs: How many of each.
        layers: Engine node → its layers, where the engine tells them.
    """

    nodes: Mapping[str, NodeTime]
    other_ms: float
    watched_ms: float
    plain_ms: float
    runs: int
    layers: Mapping[str, tuple[LayerTime, ...]] = field(default_factory=dict[str, tuple[LayerTime, ...]])

    @property
    def total_ms(self) -> float:
        """The time of all nodes together."""
        return sum(item.ms for item in self.nodes.values()) + self.other_ms


@dataclass(frozen=True)
class Benchmark:
    """A measurement of original and, if given, optimized graph in turns; `profiles` by series, if asked for."""

    original: Latency
    optimized: Latency | None = None
    speedup: Speedup | None = None
    outputs: Mapping[str, OutputDifference] = field(default_factory=dict[str, OutputDifference])
    batch: int = 1
    profiles: Mapping[str, Profile] = field(default_factory=dict[str, Profile])

    def to_json(self) -> dict[str, Any]:
        """The contract of `icebreaker benchmark --json`; `profiles` is there only with `--profile`."""
        data = codec.to_plain(self)
        keys = ("original",) if self.optimized is None else ("original", "optimized", "speedup")
        return {key: data[key] for key in (*keys, *(["profiles"] if self.profiles else []))}


@dataclass(frozen=True)
class Comparison:
    """Outputs of original and optimized on the same inputs, by canonical output name."""

    outputs: Mapping[str, OutputDifference]

    def to_json(self) -> dict[str, Any]:
        """The contract of `icebreaker compare --json`."""
        return codec.to_plain(self)["outputs"]


@dataclass(frozen=True)
class EngineStatus:
    """Whether an engine can build and run here.

    Attributes:
        name: The engine.
        builds: Whether it builds here.
        runs: Whether it runs here.
        detail: Its version and device, or why it cannot and what helps.
        precisions: Asked → really used, such as fp16 → bf16.
        options: Those of `settings.ENGINE_OPTIONS` that it knows of → why it does not have them; empty if it has.
        targets: Compute capabilities that it builds for without a GPU of theirs, such as `8.9`.
    """

    name: str
    builds: bool
    runs: bool
    detail: Words
    precisions: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What the app may offer on this machine."""

    engines: tuple[EngineStatus, ...]
    gpu: str = ""  # name of the NVIDIA GPU, empty without one
    gpu_memory_bytes: int = 0

    def to_json(self, word: Word = str) -> dict[str, Any]:
        """The contract of `icebreaker engines --json`."""
        data = codec.to_plain(self)
        for plain, status in zip(data["engines"], self.engines, strict=True):
            plain["detail"] = word(status.detail)
        return data
