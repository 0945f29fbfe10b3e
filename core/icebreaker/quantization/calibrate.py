"""Calibration of a segment: runs data through its float ONNX model and chooses a threshold for every tensor.

Three parts: one pass over the data (`observe`), the choice of a method by what it costs at the outputs, and bias
correction (`bias_correction`) with the ranges that were chosen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from icebreaker.data.source import Batch
from icebreaker.engine.onnx_sessions import open_session
from icebreaker.engine.protocol import Progress
from icebreaker.errors import IcebreakerError
from icebreaker.messages import Message, message
from icebreaker.metrics.signal_to_noise import noise_ratio, power_decibels
from icebreaker.quantization.bias_correction import walk
from icebreaker.quantization.calibration_table import Range, Table
from icebreaker.quantization.qdq import qdq_writer
from icebreaker.quantization.qdq.quantizable_model import QuantizableModel, no_samples
from icebreaker.quantization.qdq.quantization_rules import known_range
from icebreaker.quantization.thresholds import METHODS, Histogram
from icebreaker.reports import Words
from icebreaker.storage.weight_store import give_memory_back

_AUTO = ("minmax", "percentile", "mse", "entropy")
_CALL_BYTES = 64 << 20
_KEPT_BYTES = 256 << 20
_KEPT_ROWS = 128
_AUTO_ROWS = 16
_CORRECT_ROWS = 32
_MOST_DB = 120.0  # what a row without any error counts as
# What clipping must gain at least: what it gains on held-back rows of the same pictures is lost again on others.
_CLIPPING_DB = 1.5


def silent(phase: Words, fraction: float) -> None:
    """Progress that nobody wants to see."""


def calibrate(
    model: bytes,
    batches: Iterable[Mapping[str, np.ndarray]],
    method: str = "auto",
    *,
    keep: Collection[str] = (),
    progress: Progress = silent,
) -> Table:
    """Finds thresholds and bias corrections for a float model.

    The data is read once, in order, and never held as a whole: about 1 GB at most, whatever its size.

    Args:
        model: The float ONNX model (opset 17 or later, weights inside, unique node names).
        batches: Input name → array; its `operator.length_hint` only serves the progress.
        method: A key of `thresholds.METHODS`, or `auto`: the one with the least noise at the outputs, of rows
            that biases are not corrected on; `minmax`, which clips nothing, if no other is clearly better.
        keep: Layers and tensors that stay float, by ONNX name.
        progress: Told how far it is.

    Raises:
        IcebreakerError: No layer to quantize, no data or data that does not fit, or values that are not finite.
    """
    if method != "auto" and method not in METHODS:
        raise IcebreakerError(
            "method_unknown", "calibration method {subject!r} is unknown", "choose_from",
            subject=method, choices=("auto", *METHODS),
        )  # fmt: skip
    prepared = QuantizableModel(model)
    give_memory_back()
    if not prepared.layers:
        raise IcebreakerError(
            "nothing_to_quantize", "there is no convolution or matrix product with float32 values to quantize"
        )
    trained = {name: known for name in prepared.tensors if (known := known_range(prepared, name, trained_only=True))}
    seen = observe(prepared, batches, lambda phase, fraction: progress(phase, fraction * 0.5))
    # Biases are corrected on one half of the rows; the other half judges, since clipping may look good by chance.
    learn, held = (seen.rows[::2], seen.rows[1::2]) if len(seen.rows) > 1 else (seen.rows, seen.rows)
    judge = mean_decibels(prepared, held)

    def corrections(
        ranges: Mapping[str, Range], rows: Sequence[Batch], phase: Message, start: float, share: float
    ) -> Mapping[str, tuple[float, ...]]:
        give_memory_back()
        return walk(
            prepared, ranges, rows, keep=keep, progress=lambda done: progress(phase, start + share * done)
        ).shifts

    tried: dict[str, float] = {}
    chosen = method
    if method == "auto":
        few = learn[:: max(1, len(learn) // _AUTO_ROWS)][:_AUTO_ROWS]
        for index, name in enumerate(_AUTO):
            ranges = seen.ranges(name) | trained
            shifts = corrections(
                ranges, few, message("stage_try_method", "Trying {method}", method=name), 0.5 + 0.08 * index, 0.08
            )
            written = (qdq_writer.write(prepared, ranges, used, keep, unsigned=False) for used in (shifts, {}))
            tried[name] = round(max(map(judge, written)), 2)
        best = max(tried, key=lambda name: tried[name])
        chosen = best if tried[best] > tried["minmax"] + _CLIPPING_DB else "minmax"
    ranges = seen.ranges(chosen) | trained
    start = 0.82 if method == "auto" else 0.5
    shifts = corrections(ranges, learn, message("stage_correct_biases", "Correcting biases"), start, 1 - start)
    give_memory_back()
    corrected, plain = (judge(qdq_writer.write(prepared, ranges, used, keep, unsigned=False)) for used in (shifts, {}))
    layers = prepared.table_layers(ranges, shifts if corrected > plain else {}, keep)
    return Table(prepared.digest, seen.data, seen.samples, chosen, ranges, layers, tried)


def mean_decibels(prepared: QuantizableModel, rows: Sequence[Batch]) -> Callable[[bytes], float]:
    """A function that runs a quantized model on some rows and gives its signal to noise in dB, as a mean over rows.

    The mean is of dB, not of errors: a few rows between two classes have most of the error of a classifier, and with
    a few dozen rows it would be those few that choose.
    """

    def outputs(model: bytes) -> list[list[np.ndarray]]:
        session = open_session(model)
        return [session.run(None, dict(row)) for row in rows]

    exact = outputs(prepared.proto.SerializeToString())

    def quality(model: bytes) -> float:
        pairs = [pair for ours in zip(exact, outputs(model), strict=True) for pair in zip(*ours, strict=True)]
        decibels = [min(power_decibels(noise_ratio([a], [b])), _MOST_DB) for a, b in pairs if a.dtype.kind == "f"]
        return float(np.mean(decibels)) if decibels else 0.0

    return quality


def correct(model: bytes, table: Table, batches: Iterable[Mapping[str, np.ndarray]], *, keep: Collection[str]) -> Table:
    """A table with the same ranges for fewer quantized layers, whose biases are corrected anew.

    Args:
        model: The float ONNX model.
        table: Its calibration.
        batches: The calibration data; its first 32 rows are used.
        keep: Layers and tensors that stay float, by ONNX name.
    """
    prepared = QuantizableModel(model)
    ranges, _, kept = prepared.match(table)
    keep = {*keep, *kept}
    walked = walk(prepared, ranges, prepared.first_rows(batches, _CORRECT_ROWS), keep=keep)
    return dataclasses.replace(table, tensors=ranges, layers=prepared.table_layers(ranges, walked.shifts, keep))


def trained_table(model: bytes) -> Table:
    """A calibration without data: the ranges that follow from the graph alone.

    They come from Q/DQ nodes that the graph carries (quantization-aware training) and from bounded activations such as
    Relu6. A layer whose input has no such range stays float.
    """
    prepared = QuantizableModel(model)
    ranges = {name: known for name in prepared.tensors if (known := known_range(prepared, name))}
    return Table(prepared.digest, "", 0, "graph", ranges)


@dataclass(frozen=True)
class Observed:
    """What one pass over the data left.

    Attributes:
        histograms: Tensor that gets Q/DQ → how its values lie.
        rows: Rows drawn at random, each a batch of its own, to correct biases with.
        samples: Rows that were seen.
        data: Hash of them.
    """

    histograms: Mapping[str, Histogram]
    rows: tuple[Batch, ...]
    samples: int
    data: str

    def ranges(self, method: str) -> dict[str, Range]:
        """Thresholds by one method."""
        return {
            name: Range(histogram.low, histogram.high, METHODS[method](histogram), method)
            for name, histogram in self.histograms.items()
        }


def observe(
    prepared: QuantizableModel, batches: Iterable[Mapping[str, np.ndarray]], progress: Progress = silent, seed: int = 0
) -> Observed:
    """Runs the data through the float model once.

    Args:
        prepared: The model.
        batches: Input name → array.
        progress: Told how far it is.
        seed: Of the rows that are kept.

    Raises:
        IcebreakerError: No data, data that does not fit the model, or values that are not finite.
    """
    pass_ = _Pass(prepared, seed)
    total = operator.length_hint(batches)
    for index, batch in enumerate(batches):
        pass_.add(prepared.fit(batch), index)
        fraction = (index + 1) / total if total else 1 - 1 / (1 + 0.1 * pass_.samples)
        told = message("stage_calibrate", "Calibrating: {count} samples", count=pass_.samples)
        progress(told, min(1.0, fraction))
    if not pass_.samples:
        raise no_samples()
    return Observed(pass_.histograms, tuple(pass_.rows), pass_.samples, pass_.hash.hexdigest())


class _Pass:
    """A pass over the data in progress: what `Observed` is made of."""

    def __init__(self, model: QuantizableModel, seed: int) -> None:
        self._model = model
        self._fed = {item.name for item in model.inputs}
        self._wanted = [name for name in model.tensors if name not in self._fed]
        self._session = model.observed(self._wanted)
        self._random = np.random.default_rng(seed)
        self._rows_per_call = 0  # 0: not known yet
        self.histograms = {name: Histogram() for name in model.tensors}
        self.rows: list[Batch] = []
        self.samples = 0
        self.hash = hashlib.sha256()

    def add(self, batch: Batch, index: int) -> None:
        """Counts a fitted batch, the `index`th."""
        for name in sorted(batch):
            value = batch[name]
            self.hash.update(f"{name.rpartition(':')[0] or name}{value.dtype}{value.shape}".encode())
            self.hash.update(np.ascontiguousarray(value).tobytes())
        for part in self._model.split(batch, self._rows_per_call or 1):
            self._count(part, index)
        for row in self._model.split(batch, 1):
            self._keep(row)

    def _count(self, part: Batch, index: int) -> None:
        wanted = self._wanted
        try:
            values = dict(zip(wanted, self._session.run(wanted, part), strict=True)) if wanted else {}
        except Exception as error:
            raise IcebreakerError(
                "calibration_does_not_run", "the calibration data does not run through the segment: {reason}",
                reason=str(error),
            ) from error  # fmt: skip
        for name, histogram in self.histograms.items():
            try:
                histogram.add(part[name] if name in self._fed else values[name])
            except ValueError as error:
                raise IcebreakerError(
                    "calibration_not_finite",
                    "{subject} has values that are not finite on the calibration data (batch {batch})",
                    "check_preprocessing", subject=name, batch=index + 1,
                ) from error  # fmt: skip
        if not self._rows_per_call:
            bytes_per_row = sum(value.nbytes for value in values.values()) + 1
            self._rows_per_call = int(max(1, min(64, _CALL_BYTES // bytes_per_row)))

    def _keep(self, row: Batch) -> None:
        """Reservoir sampling: every row has the same chance, whatever their number."""
        self.samples += 1
        room = max(2, min(_KEPT_ROWS, _KEPT_BYTES // max(1, sum(value.nbytes for value in row.values()))))
        own = {name: value.copy() for name, value in row.items()}
        if len(self.rows) < room:
            self.rows.append(own)
        elif (place := int(self._random.integers(self.samples))) < room:
            self.rows[place] = own
