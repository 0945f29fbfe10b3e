"""What a build gives: one line of JSON, the plan, and of a weightless plan the ONNX model whose weights go into it.

The line has names, types, versions and GPUs, so that a plan for another version, GPU or driver is recognized before it
is loaded, and types that TensorRT narrows (float64) are given back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from icebreaker.errors import IcebreakerError

_HEADER: Mapping[str, type] = {
    "version": str, "version_compatible": bool, "device": str, "gpu": str, "driver": str, "bytes": int, "weights": str,
    "inputs": list, "outputs": list,
}  # fmt: skip


def parts(payload: bytes, title: str) -> tuple[Mapping[str, Any], bytes, bytes]:
    """A payload's header, plan and ONNX model, which only a weightless plan has."""
    line, _, rest = payload.partition(b"\n")
    try:
        header = json.loads(line)
        if any(type(header[key]) is not kind for key, kind in _HEADER.items()):
            raise TypeError("a value is of another type")
        if not re.fullmatch(r"sm_\d+(,sm_\d+)*\+?", header["device"]) or not 0 < header["bytes"] <= len(rest):
            raise ValueError("the target or the length is wrong")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IcebreakerError(
            "plan_damaged", "the stored {subject} engine is damaged", "convert_again", subject=title
        ) from error
    return header, rest[: header["bytes"]], rest[header["bytes"] :]
