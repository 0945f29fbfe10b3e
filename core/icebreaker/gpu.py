"""The machine's NVIDIA GPU, asked through NVML: name, memory, load, compute capability.

NVML needs no CUDA context, so even the app's own process may ask. Owns: which GPU is meant. Refuses: running anything.
"""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass
from typing import Any

from icebreaker.errors import IcebreakerError

_FULL = re.compile(
    r"out.?of.?memory|OOM when|failed to allocate|smaller than requested|resource.?exhausted|insufficient memory",
    re.IGNORECASE,
)
_BY_TENSORFLOW = re.compile(r"OOM when|by allocator|resource.?exhausted", re.IGNORECASE)


@dataclass(frozen=True)
class Gpu:
    """One GPU, as it is now.

    Attributes:
        name: Its product name.
        compute_capability: Major and minor, such as (8, 9).
        driver: Version of the driver.
        memory_bytes: All of its memory.
        used_bytes: What all processes together hold of it.
        utilization: Share of the last sampling period in which it computed, 0 to 1.
    """

    name: str
    compute_capability: tuple[int, int]
    driver: str
    memory_bytes: int
    used_bytes: int
    utilization: float

    @property
    def architecture(self) -> str:
        """The compute capability as compilers write it, such as `sm_89`."""
        return f"sm_{self.compute_capability[0]}{self.compute_capability[1]}"


def read() -> Gpu:
    """The GPU that CUDA takes first in this process.

    Raises:
        IcebreakerError: There is none, or it cannot be asked; the text says why.
    """
    try:
        pynvml: Any = importlib.import_module("pynvml")
    except ImportError as error:
        raise IcebreakerError(
            "gpu_unknown", "whether there is an NVIDIA GPU is unknown, since nvidia-ml-py is missing", "install_nvml"
        ) from error
    try:
        pynvml.nvmlInit()
        try:
            device = _first_visible(pynvml)
            memory = pynvml.nvmlDeviceGetMemoryInfo(device)
            try:
                load = pynvml.nvmlDeviceGetUtilizationRates(device).gpu / 100
            except pynvml.NVMLError:  # not told on a partition of a GPU
                load = 0.0
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(device)
            return Gpu(
                name=pynvml.nvmlDeviceGetName(device),
                compute_capability=(int(major), int(minor)),
                driver=pynvml.nvmlSystemGetDriverVersion(),
                memory_bytes=int(memory.total),
                used_bytes=int(memory.used),
                utilization=load,
            )
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise IcebreakerError("no_gpu_driver", "no NVIDIA GPU: its driver is not installed on this machine") from error
    except pynvml.NVMLError as error:
        raise IcebreakerError("gpu_not_answering", "no NVIDIA GPU can be asked: {reason}", reason=str(error)) from error


def find() -> Gpu | None:
    """Like `read`, but None where that raises."""
    try:
        return read()
    except IcebreakerError:
        return None


def memory_advice(text: str, fraction: float | None) -> str:
    """What helps after an error that says that the GPU's memory is full: whose share was too small, and what to set.

    Args:
        text: The error, in TensorFlow's or an engine's words.
        fraction: TensorFlow's share; None: it takes what it wants.

    Returns:
        Words to append; nothing for any other error, without a GPU, and where the text has such advice.
    """
    device = find()
    if device is None or not _FULL.search(text) or "memory fraction" in text or "allocator cpu" in text:
        return ""
    total = device.memory_bytes
    smaller = "or choose a smaller batch"
    if _BY_TENSORFLOW.search(text):
        if fraction is None:
            free = _size(total - device.used_bytes)
            return f"; {free} of the GPU's {_size(total)} were free for TensorFlow: end other programs on it, {smaller}"
        share, more = f"{fraction:.2f} of {_size(total)}", min(0.95, fraction + 0.15)
        return (
            f"; TensorFlow's share of the GPU was too small ({share}): "
            f"raise the memory fraction to {more:.2f}, {smaller}"
        )
    if fraction is None:
        return (
            f"; the engines' share of the GPU was too small, since TensorFlow takes what it wants of {_size(total)}: "
            f"set the memory fraction, such as to 0.67, {smaller}"
        )
    less = max(0.05, fraction - 0.15)
    share = f"{_size(left_for_engines(total, fraction))} beside TensorFlow's {fraction:.2f} of {_size(total)}"
    return (
        f"; the engines' share of the GPU was too small ({share}): lower the memory fraction to {less:.2f}, {smaller}"
    )


def left_for_engines(memory_bytes: int, fraction: float | None) -> int:
    """Bytes of the GPU's memory that TensorFlow's share leaves; all of it where TensorFlow takes what it wants."""
    return round(memory_bytes * (1 - (fraction or 0.0)))


def workspace_warning(workspace_bytes: int, fraction: float | None) -> str:
    """What is wrong with a workspace that is larger than what is left for engines; nothing if it is not."""
    device = find()
    if device is None or workspace_bytes <= (left := left_for_engines(device.memory_bytes, fraction)):
        return ""
    why = f"a memory fraction of {fraction:.2f} leaves" if fraction is not None else "there are"
    return (
        f"the workspace of {_size(workspace_bytes)} is more than the {_size(left)} that {why} "
        f"on the {device.name} ({_size(device.memory_bytes)}): make one of them smaller"
    )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def _first_visible(pynvml: Any) -> Any:
    """CUDA_VISIBLE_DEVICES counts for CUDA, not for NVML: follow its first entry, an index or the start of a UUID."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    count = pynvml.nvmlDeviceGetCount()
    if wanted.isdigit():
        if int(wanted) < count:
            return pynvml.nvmlDeviceGetHandleByIndex(int(wanted))
    elif wanted.startswith(("GPU-", "MIG-")):
        for index in range(count):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            if pynvml.nvmlDeviceGetUUID(device).startswith(wanted):
                return device
        return pynvml.nvmlDeviceGetHandleByUUID(wanted)
    raise IcebreakerError(
        "gpu_not_visible", "no NVIDIA GPU is visible: CUDA_VISIBLE_DEVICES is {devices!r} and the machine has {count}",
        devices=wanted, count=int(count),
    )  # fmt: skip
