"""Icebreaker: makes frozen TensorFlow graphs run faster, and shows why."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from icebreaker.errors import IcebreakerError

if TYPE_CHECKING:
    from icebreaker.runtime.loader import EngineWarning, Model, load
    from icebreaker.tftrt import TrtGraphConverter, calib_graph_to_infer_graph, create_inference_graph, portable, save

# Nothing is sent from the user's machine. Without this, ONNX Runtime uploads what it is used for, and importing
# OpenVINO forks the process to do the same; it takes a stub where its telemetry module cannot be imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]

__all__ = [
    "EngineWarning",
    "IcebreakerError",
    "Model",
    "TrtGraphConverter",
    "calib_graph_to_infer_graph",
    "create_inference_graph",
    "load",
    "portable",
    "save",
]


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is first asked for, so that `import icebreaker` stays light."""
    if name in ("TrtGraphConverter", "calib_graph_to_infer_graph", "create_inference_graph", "portable", "save"):
        from icebreaker import tftrt

        return getattr(tftrt, name)
    if name in ("load", "Model", "EngineWarning"):
        from icebreaker.runtime import loader

        return getattr(loader, name)
    raise AttributeError(f"module 'icebreaker' has no attribute {name!r}")
