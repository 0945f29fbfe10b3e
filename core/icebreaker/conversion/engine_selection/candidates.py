"""What comes of trying engines on a segment: candidates, and the one that is accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from icebreaker.conversion.sample_values import Exchange
from icebreaker.engine.protocol import Built, Engine, Runner
from icebreaker.messages import Message, message
from icebreaker.partitioning.partition import Refusal, Segment
from icebreaker.quantization.nncf import NncfSegment
from icebreaker.reports import Accuracy, SegmentReport, Tried
from icebreaker.runtime.artifact_writer import EngineNode
from icebreaker.storage.crash_journal import Attempt


@dataclass(frozen=True)
class FailedOn:
    """The values on which a check failed, the limit that it broke, and what the values are, in words after "on"."""

    exchange: Exchange
    limit: float
    words: str = ""


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
        milliseconds: Median of a call, hand-over included; by processor time where the machine was busy.
        tensorflow_ms: The same of the segment in TensorFlow, measured in turns with it, if it was measured alone.
        times: Of each round of the race that it was in, hand-over included.
        tensorflow_times: The same of TensorFlow.
        was_busy: Whether other programs had much of the machine meanwhile.
        failure: Why it is out of the question.
        failed_on: The values that showed it, if some did.
        accuracy: On held-back data, for INT8 or where there is a budget.
        rival: Its INT8 is NNCF's.
        notes: What the user should know of it though it is right.
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
    times: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    tensorflow_times: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    was_busy: bool = False
    failure: Refusal | None = None
    failed_on: FailedOn | None = None
    accuracy: Accuracy | None = None
    rival: NncfSegment | None = None
    notes: list[Message] = field(default_factory=list[Message])

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
class Narrowed:
    """No engine has a segment as it is, but one does without these nodes: node → why it stays in TensorFlow."""

    refusals: Mapping[str, Refusal]


def joined(refusals: Sequence[Refusal]) -> Refusal:
    """What several engines have against the same thing, as one reason: each text once, of the first one's kind."""
    first, *others = refusals
    text = first.text
    said = [str(first.text)]
    for other in others:
        if str(other.text) not in said:
            said.append(str(other.text))
            text = message("reasons", "{first}; {second}", first=text, second=other.text)
    return Refusal(first.code, text)


@dataclass(frozen=True)
class Accepted:
    """A segment that goes to an engine.

    Attributes:
        node: What is written into the optimized graph.
        report: What is told of it.
        attempt: What a crash is remembered by.
        runner: Runs it; None where it was built for another machine.
        tolerance: How much it may deviate, as a share of the output's range.
        omits: Kinds of hard values that its precision does not promise.
        fallback: The best in higher precision, should its INT8 spoil the whole graph.
    """

    node: EngineNode
    report: SegmentReport
    attempt: Attempt
    runner: Runner | None
    tolerance: float
    omits: frozenset[str] = frozenset()
    fallback: Accepted | None = None

    def renamed(self, segment: Segment) -> Accepted:
        """The same for a segment that is the same but for its name, as after another partition."""
        fallback = self.fallback.renamed(segment) if self.fallback else None
        node, report = replace(self.node, segment=segment), replace(self.report, name=segment.name)
        return replace(self, node=node, report=report, fallback=fallback)
