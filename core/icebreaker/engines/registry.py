"""Which engines there are, and what each says of this machine.

Adding an engine is one module with a class that follows `protocol.Engine`, and one line in `_MODULES`. Vendor libraries
are imported only when their engine is asked.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from icebreaker import gpu
from icebreaker.engines.protocol import Engine
from icebreaker.reports.reports import EngineStatus, Machine
from icebreaker.storage import crash_journal

# Engine name → "module:class". `tensorrt` and `tensorrt-rtx` are the same code over two vendor modules.
_MODULES: Mapping[str, str] = {
    "openvino": "icebreaker.engines.openvino:OpenVINO",
    "onnxruntime": "icebreaker.engines.onnxruntime:OnnxRuntime",
    "tensorrt": "icebreaker.engines.tensorrt:TensorRT",
    "tensorrt-rtx": "icebreaker.engines.tensorrt:TensorRTRTX",
}

# Their payload is an ONNX model, or OpenVINO's own form of one: data for a parser. Any other is code for a device, and
# is trusted like code.
ONNX_PAYLOADS = frozenset({"openvino", "onnxruntime"})


def get(name: str) -> Engine:
    """The engine of that name; asking for it loads no vendor library yet."""
    module, _, attribute = _MODULES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)()


def status(name: str) -> EngineStatus:
    """What an engine says of this machine; one that has crashed the process when it was asked counts as absent."""
    attempt = crash_journal.Attempt(name, crash_journal.key("status", name), lasting=False)
    if why := crash_journal.reason(attempt):
        return EngineStatus(name, False, False, why)
    with crash_journal.step(f"asking {name}", [attempt]):
        return get(name).status()


def machine() -> Machine:
    """What every engine says of this machine, and its NVIDIA GPU."""
    device = gpu.find()
    return Machine(
        tuple(map(status, _MODULES)),
        gpu=device.name if device else "",
        gpu_memory_bytes=device.memory_bytes if device else 0,
    )
