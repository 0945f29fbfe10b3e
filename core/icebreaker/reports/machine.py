"""What engines there are on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icebreaker import codec
from icebreaker.reports.words import Word, Words


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
    options: Mapping[str, Words] = field(default_factory=dict[str, Words])
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What the app may offer on this machine."""

    engines: tuple[EngineStatus, ...]
    gpu: str = ""  # name of the NVIDIA GPU, empty without one
    gpu_memory_bytes: int = 0
    hand_over: Words = ""  # how TensorFlow calls engines here: through Python, or by the native op

    def to_json(self, word: Word = str) -> dict[str, Any]:
        """The contract of `icebreaker engines --json`."""
        data = codec.to_plain(self)
        for plain, status in zip(data["engines"], self.engines, strict=True):
            plain["detail"] = word(status.detail)
            plain["options"] = {name: word(why) for name, why in status.options.items()}
        data["hand_over"] = word(self.hand_over)
        return data
