"""Results as values: what a job found out, for the app to show and the command line to print.

The shapes that `to_json` of `Inspection`, `Conversion`, `Calibration`, `Benchmark`, `Comparison`, `GraphDiff` and
`Machine` gives are a contract: others script against them. `codec` carries whole values between processes.

Each subject has its module in here; all other packages import the values from `icebreaker.reports` itself.
"""

from __future__ import annotations

from icebreaker.reports.accuracy import Accuracy, Comparison, OutputDifference
from icebreaker.reports.benchmark import Benchmark, Latency, LayerTime, NodeTime, Profile, Speedup
from icebreaker.reports.conversion import REASONS, Conversion, EngineLayer, Left, SegmentReport, Tried
from icebreaker.reports.diff import GraphDiff, NodeChange, OneSided
from icebreaker.reports.inspection import GraphInput, Inspection, SampleFile, SavedFolder, SideEffect
from icebreaker.reports.machine import EngineStatus, Machine
from icebreaker.reports.quantization import (
    CalibratedSegment,
    Calibration,
    LayerCost,
    Quantization,
    TensorRange,
    TradeOff,
)
from icebreaker.reports.words import Word, Words

__all__ = [
    "REASONS",
    "Accuracy",
    "Benchmark",
    "CalibratedSegment",
    "Calibration",
    "Comparison",
    "Conversion",
    "EngineLayer",
    "EngineStatus",
    "GraphDiff",
    "GraphInput",
    "Inspection",
    "Latency",
    "LayerCost",
    "LayerTime",
    "Left",
    "Machine",
    "NodeChange",
    "NodeTime",
    "OneSided",
    "OutputDifference",
    "Profile",
    "Quantization",
    "SampleFile",
    "SavedFolder",
    "SegmentReport",
    "SideEffect",
    "Speedup",
    "TensorRange",
    "TradeOff",
    "Tried",
    "Word",
    "Words",
]
