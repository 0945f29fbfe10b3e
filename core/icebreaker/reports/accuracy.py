"""How far the values of an optimized graph are from the original's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icebreaker import codec


@dataclass(frozen=True)
class OutputDifference:
    """How one output of the optimized graph differs from the original's on the same inputs.

    `max_rel` is the largest absolute difference over the original's largest absolute value; `sqnr_db` the signal to
    quantization noise ratio in dB (None: identical); `top1_agreement` the share of rows with the same arg max
    (None: the output has no class axis); `values` how many elements were compared: 0 says nothing.
    """

    max_abs: float
    max_rel: float
    cosine: float
    sqnr_db: float | None
    top1_agreement: float | None
    values: int = 1


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
class Comparison:
    """Outputs of original and optimized on the same inputs, by canonical output name."""

    outputs: Mapping[str, OutputDifference]

    def to_json(self) -> dict[str, Any]:
        """The contract of `icebreaker compare --json`."""
        return codec.to_plain(self)["outputs"]
