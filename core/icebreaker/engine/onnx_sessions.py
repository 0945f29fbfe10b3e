"""ONNX Runtime as a tool on the CPU: what a float or quantized model gives; the engine itself is `onnxruntime`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from icebreaker.errors import IcebreakerError

# On processors with AVX2 but without VNNI, sums of products of 8-bit integers saturate at 16 bits unless this is set.
EXACT_INT8 = ("session.x64quantprecision", "1")


def quiet_options() -> Any:
    """Session options under which ONNX Runtime writes nothing but fatal errors to stderr."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(*EXACT_INT8)
    return options


def open_session(model: bytes, options: Any = None, disabled_optimizers: Sequence[str] = ()) -> Any:
    """An `InferenceSession` on the CPU.

    Args:
        model: The ONNX model, its weights inside.
        options: Its `SessionOptions`; None: those of `quiet_options`.
        disabled_optimizers: ONNX Runtime's names of graph transformers that must not run.

    Raises:
        IcebreakerError: ONNX Runtime does not take the model.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(
            model, options or quiet_options(), providers=["CPUExecutionProvider"],
            disabled_optimizers=list(disabled_optimizers),
        )  # fmt: skip
    except Exception as error:
        raise IcebreakerError(
            "session_refused", "ONNX Runtime does not run the segment: {reason}", reason=str(error)
        ) from error
