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
from icebreaker.messages import Message, message

# How TensorFlow and engines say that memory is full; and how TensorFlow alone does.
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


def memory_message(text: str, fraction: float | None) -> Message | None:
    """What helps after an error that says that the GPU's memory is full: whose share was too small, and what to set.

    Args:
        text: The error, in TensorFlow's or an engine's words.
        fraction: TensorFlow's share; None: it takes what it wants.

    Returns:
        None for any other error, without a GPU, and where the text has such advice.
    """
    device = find()
    if device is None or not _FULL.search(text) or "memory fraction" in text or "allocator cpu" in text:
        return None
    total = device.memory_bytes / 1e9
    if _BY_TENSORFLOW.search(text):
        if fraction is None:
            return message(
                "gpu_full", "{free:.1f} GB of the GPU's {total:.1f} GB were free for TensorFlow", "end_other_programs",
                free=(device.memory_bytes - device.used_bytes) / 1e9, total=total,
            )  # fmt: skip
        return message(
            "gpu_share_of_tensorflow_small",
            "TensorFlow's share of the GPU was too small ({share:.2f} of {total:.1f} GB)",
            "raise_memory_fraction", share=fraction, total=total, better=min(0.95, fraction + 0.15),
        )  # fmt: skip
    if fraction is None:
        return message(
            "gpu_share_of_engines_unset",
            "the engines' share of the GPU was too small, since TensorFlow takes what it wants of {total:.1f} GB",
            "set_memory_fraction", total=total, better=0.67,
        )  # fmt: skip
    return message(
        "gpu_share_of_engines_small",
        "the engines' share of the GPU was too small ({left:.1f} GB beside TensorFlow's {share:.2f} of {total:.1f} GB)",
        "lower_memory_fraction", left=left_for_engines(device.memory_bytes, fraction) / 1e9, share=fraction,
        total=total, better=max(0.05, fraction - 0.15),
    )  # fmt: skip


def memory_advice(text: str, fraction: float | None) -> str:
    """`memory_message` as words to append to the error; empty where there is none."""
    advice = memory_message(text, fraction)
    return f"; {advice}" if advice else ""


def left_for_engines(memory_bytes: int, fraction: float | None) -> int:
    """Bytes of the GPU's memory that TensorFlow's share leaves; all of it where TensorFlow takes what it wants."""
    return round(memory_bytes * (1 - (fraction or 0.0)))


def workspace_message(workspace_bytes: int, fraction: float | None) -> Message | None:
    """What is wrong with a workspace that is larger than what is left for engines; None if it is not, or without a GPU.

    Args:
        workspace_bytes: What engines may use while they are built.
        fraction: TensorFlow's share of the GPU's memory; None: it takes what it wants.
    """
    device = find()
    if device is None or workspace_bytes <= (left := left_for_engines(device.memory_bytes, fraction)):
        return None
    figures = {"size": workspace_bytes / 1e9, "left": left / 1e9, "total": device.memory_bytes / 1e9}
    if fraction is None:
        return message(
            "workspace_beyond_gpu",
            "the workspace of {size:.1f} GB is more than the {left:.1f} GB that there are on the {subject} "
            "({total:.1f} GB)",
            "make_one_smaller", subject=device.name, **figures,
        )  # fmt: skip
    return message(
        "workspace_beyond_share",
        "the workspace of {size:.1f} GB is more than the {left:.1f} GB that a memory fraction of {share:.2f} leaves "
        "on the {subject} ({total:.1f} GB)",
        "make_one_smaller", subject=device.name, share=fraction, **figures,
    )  # fmt: skip


def workspace_warning(workspace_bytes: int, fraction: float | None) -> str:
    """`workspace_message` in English; empty where there is none."""
    return str(workspace_message(workspace_bytes, fraction) or "")


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
