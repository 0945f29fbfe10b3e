"""What comes of trying engines on a segment: candidates, and the one that is accepted."""

from __future__ import annotations

from dataclasses import dataclass

from icebreaker.engine.protocol import Built, Engine, Runner
from icebreaker.partitioning.partition import Refusal
from icebreaker.quantization.nncf import NncfSegment
from icebreaker.reports import Accuracy, SegmentReport, Tried
from icebreaker.runtime.artifact_writer import EngineNode
from icebreaker.storage.crash_journal import Attempt


@dataclass
class Candidate:
    """A segment built in one engine and precision, and what was found out about it.

    Attributes:
        engine: The engine.
        built: What it built; empty if that failed.
        attempt: What a crash is remembered by.
        seconds: For building, loading and the first call.
        runner: Runs it; None if it failed, was built for another machine, or is unloaded to make room.
        shapes: Input shapes that it takes, None where a dimension is open.
        deviation: Largest difference from TensorFlow, as a share of the output's range (INT8: root mean squares).
        milliseconds: Median of a call, hand-over included.
        tensorflow_ms: The same of the segment in TensorFlow, measured in turns with it, if it was measured alone.
        failure: Why it is out of the question.
        accuracy: On held-back data, for INT8 or where there is a budget.
        rival: Its INT8 is NNCF's.
    """

    engine: Engine
    built: Built
    attempt: Attempt
    seconds: float = 0.0
    runner: Runner | None = None
    shapes: tuple[tuple[int | None, ...], ...] = ()
    deviation: float = 0.0
    milliseconds: float = 0.0
    tensorflow_ms: float = 0.0
    failure: Refusal | None = None
    accuracy: Accuracy | None = None
    rival: NncfSegment | None = None

    @property
    def is_int8(self) -> bool:
        """Whether it really computes in INT8."""
        return self.built.precision == "int8"

    def summary(self) -> Tried:
        """What `SegmentReport.candidates` says of it."""
        return Tried(
            engine=self.engine.name, precision=self.built.precision, ms=self.milliseconds, deviation=self.deviation,
            note=self.failure.text if self.failure else self.built.note,
            quantizer="" if not self.is_int8 else "nncf" if self.rival else "own",
        )  # fmt: skip


@dataclass(frozen=True)
class Accepted:
    """A segment that goes to an engine.

    Attributes:
        node: What is written into the optimized graph.
        report: What is told of it.
        attempt: What a crash is remembered by.
        runner: Runs it; None where it was built for another machine.
        tolerance: How much it may deviate, as a share of the output's range.
        fallback: The best in higher precision, should its INT8 spoil the whole graph.
    """

    node: EngineNode
    report: SegmentReport
    attempt: Attempt
    runner: Runner | None
    tolerance: float
    fallback: Accepted | None = None
