"""Where the ranges of INT8 come from."""

from __future__ import annotations

from icebreaker.settings import ConvertSettings
from icebreaker_gui.session.session import Session

RANDOM = "random"  # in the place of a path: made-up values
_TRAINED = ("FakeQuant", "QuantizeAndDequantize")  # ops that have ranges


def data_source(settings: ConvertSettings) -> str | None:
    """The data INT8 is calibrated on, as the conversion chooses it: a path or `RANDOM`; None if there is none."""
    return settings.quantization.calibration or (None if settings.quantization.calibration_table else settings.data)


def lacks_data(session: Session) -> bool:
    """True if INT8 was chosen and neither data nor ranges are there, nor ranges that the graph was trained with."""
    settings, inspection = session.settings, session.inspection
    if settings.precision != "int8" or inspection is None:
        return False
    if data_source(settings) or settings.quantization.calibration_table:
        return False
    return not any(op.startswith(_TRAINED) for op in inspection.ops)
