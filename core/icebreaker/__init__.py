"""Icebreaker: makes frozen TensorFlow graphs run faster, and shows why.

`icebreaker.convert("model.pb", "fast.pb")` is the main job; `inspect`, `calibrate`, `benchmark`, `compare`, `engines`
and `load` stand beside it (`icebreaker.api`). TF-TRT's old calls are in `icebreaker.tftrt`.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from icebreaker.errors import ConsentNeeded, IcebreakerError, JobCancelled

if TYPE_CHECKING:
    from icebreaker.api import benchmark, calibrate, compare, convert, engines, inspect, load
    from icebreaker.runtime.engine_node import EngineWarning
    from icebreaker.runtime.model import Model
    from icebreaker.settings import Consent, ConvertSettings, Limits
    from icebreaker.tftrt import (
        TrtGraphConverter,
        TrtGraphConverterV2,
        calib_graph_to_infer_graph,
        create_inference_graph,
        portable,
        save,
    )

# Nothing is sent from the user's machine. Without this, ONNX Runtime uploads what it is used for, and importing
# OpenVINO forks the process to do the same; it takes a stub where its telemetry module cannot be imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]

__all__ = [
    "Consent",
    "ConsentNeeded",
    "ConvertSettings",
    "EngineWarning",
    "IcebreakerError",
    "JobCancelled",
    "Limits",
    "Model",
    "TrtGraphConverter",
    "TrtGraphConverterV2",
    "benchmark",
    "calib_graph_to_infer_graph",
    "calibrate",
    "compare",
    "convert",
    "create_inference_graph",
    "engines",
    "inspect",
    "load",
    "portable",
    "save",
]

# Where each public name is. Imported when it is first asked for, so that `import icebreaker` stays light.
_HOMES = {
    **dict.fromkeys(("benchmark", "calibrate", "compare", "convert", "engines", "inspect", "load"), "icebreaker.api"),
    **dict.fromkeys(("Consent", "ConvertSettings", "Limits"), "icebreaker.settings"),
    "EngineWarning": "icebreaker.runtime.engine_node",
    "Model": "icebreaker.runtime.model",
    **dict.fromkeys(
        (
            "TrtGraphConverter",
            "TrtGraphConverterV2",
            "calib_graph_to_infer_graph",
            "create_inference_graph",
            "portable",
            "save",
        ),
        "icebreaker.tftrt",
    ),
}


def __getattr__(name: str) -> Any:
    """Gives a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'icebreaker' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
