"""A second way to INT8 for OpenVINO: NNCF, where it is installed; it competes with our own scheme."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from icebreaker.data.source import Batch
from icebreaker.engine import registry
from icebreaker.engine.openvino import nncf_version, quantized_by_nncf
from icebreaker.engine.protocol import Progress
from icebreaker.errors import IcebreakerError
from icebreaker.export.exporter import Exported
from icebreaker.messages import message
from icebreaker.quantization.qdq.quantizable_model import QuantizableModel
from icebreaker.quantization.segment_data import SegmentRows
from icebreaker.reports import Quantization
from icebreaker.settings import ConvertSettings


@dataclass(frozen=True)
class NncfSegment:
    """A segment as INT8 in NNCF's way: a payload for OpenVINO, and what there is to tell of it."""

    payload: bytes
    quantization: Quantization


def is_wanted(settings: ConvertSettings, has_data: bool) -> bool:
    """Whether NNCF is to quantize, too.

    Raises:
        IcebreakerError: It was asked for and cannot: it is not installed, or data or OpenVINO are missing.
    """
    takes_nncf = any(engine.takes_nncf for engine in registry.chosen(settings.engine))
    wanted = has_data and settings.quantization.quantizer != "own" and takes_nncf
    if settings.quantization.quantizer == "nncf" and not wanted:
        raise IcebreakerError(
            "nncf_lacks_data", "NNCF needs calibration data, and openvino or auto as the engine",
            "give_both_or_neither", subject="nncf",
        )  # fmt: skip
    if wanted and not nncf_version():
        if settings.quantization.quantizer == "nncf":
            raise IcebreakerError("nncf_missing", "NNCF is not installed", "install_nncf", subject="nncf")
        return False
    return wanted


def quantize(exported: Exported, stream: SegmentRows, keep: Collection[str], report: Progress) -> NncfSegment | None:
    """What NNCF makes of a segment; None where it has nothing to do.

    Args:
        exported: The segment's float model.
        stream: Its calibration data.
        keep: Layers that stay float, by ONNX name.
        report: Told how far it is.

    Raises:
        IcebreakerError: NNCF refuses it.
    """
    rows = _SingleRows(stream, QuantizableModel(exported.model), report)
    payload, count = quantized_by_nncf(exported.model, rows, keep)
    if not count:
        return None
    told = message("nncf_quantized", "NNCF: {count} layers in INT8", count=count)
    return NncfSegment(payload, Quantization("nncf", rows.read, count, message=told))


class _SingleRows:
    """A segment's rows one at a time, which tell how far NNCF is: it has no progress of its own to hook into."""

    def __init__(self, stream: SegmentRows, model: QuantizableModel, report: Progress) -> None:
        self._stream, self._model, self._report = stream, model, report
        self.read = 0

    def __iter__(self) -> Iterator[Batch]:
        self.read = 0
        for batch in self._stream:
            for row in self._model.split(self._model.fit(batch), 1):
                self.read += 1
                self._report(message("stage_nncf", "NNCF: {count} samples", count=self.read), 1.0)
                yield row
