"""What a plan is built for: compute capabilities of GPUs, and versions, in numbers and in words."""

from __future__ import annotations

import re
from typing import Any

from icebreaker import gpu


def known_capabilities(trt: Any) -> list[int]:
    """Compute capabilities that this RTX knows by name, such as 89, in order."""
    names = (re.fullmatch(r"SM(\d+)", name) for name in trt.ComputeCapability.__members__)
    return sorted(int(match[1]) for match in names if match)


def capability_of(device: gpu.Gpu) -> int:
    """A GPU's compute capability as a number, such as 89."""
    return device.compute_capability[0] * 10 + device.compute_capability[1]


def dotted(number: int) -> str:
    """A compute capability as NVIDIA writes it: 89 is `8.9`."""
    return f"{number // 10}.{number % 10}"


def in_words(target: str) -> str:
    """A target such as `sm_80,sm_86+` in words."""
    numbers = [int(name.strip("sm_+")) for name in target.split(",")]
    return f"compute capability {', '.join(map(dotted, numbers))}{' and later' if target.endswith('+') else ''}"


def covers(target: str, number: int) -> bool:
    """Whether a target has a compute capability, such as 86 or, in `sm_80,sm_86+`, 120."""
    numbers = [int(name.strip("sm_+")) for name in target.split(",")]
    return number in numbers or (target.endswith("+") and number > numbers[-1])


def version_numbers(version: str) -> list[int]:
    """The numbers of a version, to compare it by."""
    return [int(part) for part in re.findall(r"\d+", version)]
