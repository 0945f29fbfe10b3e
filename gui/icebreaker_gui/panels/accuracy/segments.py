"""What a conversion tells of INT8, segment by segment."""

from __future__ import annotations

from icebreaker.reports import Conversion, Quantization
from icebreaker_gui.style.wording import translate


def quantizations(conversion: Conversion | None) -> dict[str, Quantization]:
    """Segment → how it became INT8, or why it did not; empty where INT8 was not asked for."""
    segments = conversion.segments if conversion else ()
    return {segment.name: segment.quantization for segment in segments if segment.quantization}


def tells_no_layers(conversion: Conversion | None) -> bool:
    """True if NNCF has made a segment INT8, which says nothing of single layers and tensors."""
    return any(quantization.method == "nncf" for quantization in quantizations(conversion).values())


def no_layers_text() -> str:
    """Why layers and tensors are missing, where `tells_no_layers`."""
    return translate(
        "accuracy",
        "NNCF's INT8 was chosen, which does not tell of single layers. Choose Icebreaker as the quantizer to see them.",
    )
