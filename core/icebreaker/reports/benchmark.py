"""How long graphs take, and where in them the time goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icebreaker import codec
from icebreaker.reports.accuracy import OutputDifference


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
    """A measurement of original and, if given, optimized graph in turns; `profiles` by series, if asked for.

    `others` is the share of the processors' time that other programs had meanwhile, 0 to 1.
    """

    original: Latency
    optimized: Latency | None = None
    speedup: Speedup | None = None
    outputs: Mapping[str, OutputDifference] = field(default_factory=dict[str, OutputDifference])
    batch: int = 1
    profiles: Mapping[str, Profile] = field(default_factory=dict[str, Profile])
    others: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The contract of `icebreaker benchmark --json`; `profiles` is there only with `--profile`."""
        data = codec.to_plain(self)
        keys = ("original",) if self.optimized is None else ("original", "optimized", "speedup")
        return {key: data[key] for key in (*keys, *(["profiles"] if self.profiles else []))}
