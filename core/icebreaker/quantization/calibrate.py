"""INT8 for a segment: chooses thresholds for its float ONNX model and corrects its biases.

What makes the scheme of `qdq` accurate is the bias correction: float and quantized graph walk in step, layer by layer,
and each channel's mean error is taken out where that lowers the error after the activation that follows.

Owns: choosing thresholds, correcting biases. Refuses: reading data (`calibration`), judging a whole model's accuracy
(`accuracy`), building engines.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
import math
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.engines.onnx_nodes import reads
from icebreaker.errors import IcebreakerError
from icebreaker.quantization.qdq_writer import (
    Layer,
    Prepared,
    Range,
    Table,
    activation_scale,
    along,
    open_session,
    pair,
    times,
    weights_int8,
)
from icebreaker.quantization.thresholds import METHODS, Histogram
from icebreaker.storage.weight_store import give_memory_back

Batch = Mapping[str, np.ndarray]
# Called with a phase in words and a fraction from 0 to 1; returning False cancels.
Progress = Callable[[str, float], bool]

_AUTO = ("minmax", "percentile", "mse", "entropy")
_CALL_BYTES = 64 << 20
_WALK_BYTES = 320 << 20
_KEPT_BYTES = 256 << 20
_KEPT_ROWS = 128
_CHUNK_ROWS = 4
_AUTO_ROWS = 16
_CORRECT_ROWS = 32
_GONE = np.empty(0, np.float32)
_MOST_DB = 120.0  # what a row without any error counts as
# What clipping must gain at least: what it gains on held-back rows of the same pictures is lost again on others.
_CLIPPING_DB = 1.5


@dataclass(frozen=True)
class LayerError:
    """What INT8 does to one layer's output, after the activation that follows it, in dB (inf: no error).

    Attributes:
        layer: ONNX node name.
        op: ONNX op.
        own_db: Signal to noise if this layer alone were quantized; inf unless it was asked for.
        db: Signal to noise with all quantized layers before it too.
        corrected: Channels whose bias was corrected.
    """

    layer: str
    op: str
    own_db: float
    db: float
    corrected: int


@dataclass(frozen=True)
class Walked:
    """What a walk in step through the float and the quantized model found."""

    shifts: Mapping[str, tuple[float, ...]]
    layers: tuple[LayerError, ...]
    outputs_db: float


def calibrate(
    model: bytes,
    batches: Iterable[Batch],
    method: str = "auto",
    *,
    keep: Collection[str] = (),
    progress: Progress = lambda phase, fraction: True,
) -> Table:
    """Finds thresholds and bias corrections for a float model.

    The data is read once, in order, and never held as a whole: about 1 GB at most, whatever its size.

    Args:
        model: The float ONNX model (opset 17 or later, weights inside, unique node names).
        batches: Input name → array; its `operator.length_hint` only serves the progress.
        method: A key of `ranges.METHODS`, or `auto`: the one with the least noise at the outputs, of rows
            that biases are not corrected on; `minmax`, which clips nothing, if no other is clearly better.
        keep: Layers and tensors that stay float, by ONNX name.
        progress: Told how far it is.

    Raises:
        IcebreakerError: No layer to quantize, no data or data that does not fit, values that are not finite, or
            cancelled.
    """
    if method != "auto" and method not in METHODS:
        raise IcebreakerError(f"calibration method {method!r} is unknown: choose auto, {', '.join(METHODS)}")
    prepared = Prepared(model)
    give_memory_back()
    if not prepared.layers:
        raise IcebreakerError("there is no convolution or matrix product with float32 values to quantize")
    trained = {name: found for name in prepared.tensors if (found := prepared.known_range(name, trained_only=True))}
    seen = observe(prepared, batches, lambda phase, fraction: progress(phase, fraction * 0.5))
    # Biases are corrected on one half of the rows; the other half judges, since clipping may look good by chance.
    learn, held = (seen.rows[::2], seen.rows[1::2]) if len(seen.rows) > 1 else (seen.rows, seen.rows)
    judge = _judge(prepared, held)
    tried: dict[str, float] = {}
    chosen = method
    if method == "auto":
        few = learn[:: max(1, len(learn) // _AUTO_ROWS)][:_AUTO_ROWS]
        for index, name in enumerate(_AUTO):
            give_memory_back()
            report = _part(progress, f"Trying {name}", 0.5 + 0.08 * index, 0.08)
            ranges = seen.ranges(name) | trained
            walked = walk(prepared, ranges, few, keep=keep, progress=report)
            found = (judge(prepared.write(ranges, shifts, keep, unsigned=False)) for shifts in (walked.shifts, {}))
            tried[name] = round(max(found), 2)
        best = max(tried, key=lambda name: tried[name])
        chosen = best if tried[best] > tried["minmax"] + _CLIPPING_DB else "minmax"
    ranges = seen.ranges(chosen) | trained
    give_memory_back()
    start = 0.82 if method == "auto" else 0.5
    report = _part(progress, "Correcting biases", start, 1 - start)
    shifts = walk(prepared, ranges, learn, keep=keep, progress=report).shifts
    give_memory_back()
    corrected, plain = (judge(prepared.write(ranges, item, keep, unsigned=False)) for item in (shifts, {}))
    layers = prepared.outcome(ranges, shifts if corrected > plain else {}, keep)
    return Table(prepared.digest, seen.data, seen.samples, chosen, ranges, layers, tried)


def _judge(prepared: Prepared, rows: Sequence[Batch]) -> Callable[[bytes], float]:
    """A function that runs a quantized model on some rows and gives its signal to noise in dB, as a mean over rows.

    The mean is of dB, not of errors: a few rows between two classes have most of the error of a classifier, and with
    a few dozen rows it would be those few that choose.
    """

    def outputs(model: bytes) -> list[list[np.ndarray]]:
        session = open_session(model)
        return [session.run(None, dict(row)) for row in rows]

    exact = outputs(prepared.model.SerializeToString())

    def quality(model: bytes) -> float:
        pairs = [pair for ours in zip(exact, outputs(model), strict=True) for pair in zip(*ours, strict=True)]
        found = [min(_db(_ratio([a], [b])), _MOST_DB) for a, b in pairs if a.dtype.kind == "f"]
        return float(np.mean(found)) if found else 0.0

    return quality


def correct(model: bytes, table: Table, batches: Iterable[Batch], *, keep: Collection[str]) -> Table:
    """A table with the same ranges for fewer quantized layers, whose biases are corrected anew.

    Args:
        model: The float ONNX model.
        table: Its calibration.
        batches: The calibration data; its first 32 rows are used.
        keep: Layers and tensors that stay float, by ONNX name.
    """
    prepared = Prepared(model)
    ranges, _, kept = prepared.match(table)
    keep = {*keep, *kept}
    walked = walk(prepared, ranges, first_rows(prepared, batches, _CORRECT_ROWS), keep=keep)
    return dataclasses.replace(table, tensors=ranges, layers=prepared.outcome(ranges, walked.shifts, keep))


def first_rows(prepared: Prepared, batches: Iterable[Batch], count: int) -> list[Batch]:
    """The first rows of some data, each as a batch of its own.

    Raises:
        IcebreakerError: There is no data.
    """
    split = (row for batch in batches for row in parts(prepared, fit_batch(prepared, batch), 1))
    rows: list[Batch] = list(itertools.islice(split, count))
    if not rows:
        raise IcebreakerError("the calibration data is empty: give at least one sample")
    return rows


def trained_table(model: bytes) -> Table:
    """A calibration without data: the ranges that follow from the graph alone.

    They come from Q/DQ nodes that the graph carries (quantization-aware training) and from bounded activations such as
    Relu6. A layer whose input has no such range stays float.
    """
    prepared = Prepared(model)
    ranges = {name: found for name in prepared.tensors if (found := prepared.known_range(name))}
    return Table(prepared.digest, "", 0, "graph", ranges)


def quantize(model: bytes, table: Table, *, keep: Collection[str] = (), unsigned: bool = False) -> bytes:
    """Writes the model with Q/DQ nodes.

    Args:
        model: The float ONNX model that was calibrated.
        table: Its calibration.
        keep: Further layers and tensors that stay float, by ONNX name; so does a layer whose input has no range.
        unsigned: Write activations that are never negative as uint8 with the same thresholds: OpenVINO runs that
            faster, TensorRT does not take it.

    Raises:
        IcebreakerError: The table belongs to another model.
    """
    prepared = Prepared(model)
    ranges, shifts, kept = prepared.match(table)
    return prepared.write(ranges, shifts, {*keep, *kept}, unsigned)


@dataclass(frozen=True)
class Observed:
    """What one pass over the data left: histograms of the tensors, and some rows to walk with."""

    histograms: Mapping[str, Histogram]
    rows: tuple[Batch, ...]
    samples: int
    data: str

    def ranges(self, method: str) -> dict[str, Range]:
        """Thresholds by one method."""
        found = {}
        for name, item in self.histograms.items():
            found[name] = Range(item.low, item.high, METHODS[method](item), method)
        return found


def observe(prepared: Prepared, batches: Iterable[Batch], progress: Progress, seed: int = 0) -> Observed:
    """Runs the data through the float model once.

    Raises:
        IcebreakerError: No data, data that does not fit the model, values that are not finite, or cancelled.
    """
    fed = {item.name for item in prepared.inputs}
    wanted = [name for name in prepared.tensors if name not in fed]
    session = prepared.telling(wanted)
    histograms = {name: Histogram() for name in prepared.tensors}
    total = operator.length_hint(batches)
    sha, random = hashlib.sha256(), np.random.default_rng(seed)
    kept: list[Batch] = []
    samples = part_rows = 0
    for index, batch in enumerate(batches):
        checked = fit_batch(prepared, batch)
        for name in sorted(checked):
            sha.update(f"{name.rpartition(':')[0] or name}{checked[name].dtype}{checked[name].shape}".encode())
            sha.update(np.ascontiguousarray(checked[name]).tobytes())
        for part in parts(prepared, checked, part_rows or 1):
            try:
                values = dict(zip(wanted, session.run(wanted, part), strict=True)) if wanted else {}
            except Exception as error:
                raise IcebreakerError(f"the calibration data does not run through the segment: {error}") from error
            for name in prepared.tensors:
                value = part[name] if name in fed else values[name]
                try:
                    histograms[name].add(value)
                except ValueError as error:
                    raise IcebreakerError(
                        f"{name} has values that are not finite on the calibration data (batch {index + 1}): "
                        "check the data's preprocessing"
                    ) from error
            if not part_rows:
                bytes_per_row = sum(value.nbytes for value in values.values()) + 1
                part_rows = int(max(1, min(64, _CALL_BYTES // bytes_per_row)))
        for row in parts(prepared, checked, 1):
            samples += 1
            room = max(2, min(_KEPT_ROWS, _KEPT_BYTES // max(1, sum(value.nbytes for value in row.values()))))
            own = {name: value.copy() for name, value in row.items()}
            # Reservoir sampling: every row has the same chance, whatever their number.
            if len(kept) < room:
                kept.append(own)
            elif (place := int(random.integers(samples))) < room:
                kept[place] = own
        fraction = (index + 1) / total if total else 1 - 1 / (1 + 0.1 * samples)
        if not progress(f"Calibrating: {samples} samples", min(1.0, fraction)):
            raise IcebreakerError("the calibration was cancelled")
    if not samples:
        raise IcebreakerError("the calibration data is empty: give at least one sample")
    return Observed(histograms, tuple(kept), samples, sha.hexdigest())


def walk(
    prepared: Prepared,
    ranges: Mapping[str, Range],
    rows: Sequence[Batch],
    *,
    keep: Collection[str] = (),
    own: bool = False,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Walked:
    """Walks the float and the quantized model in step and corrects each layer's bias on the way.

    A shift is estimated on one half of the rows and kept only where it lowers the error on the other.

    Args:
        prepared: The float model.
        ranges: Tensor → range.
        rows: Samples; as many of them are used as fit into memory.
        keep: Layers and tensors that stay float.
        own: Find each layer's own error too.
        progress: Told the fraction done.
    """
    chunks = _chunks(prepared, rows)
    by_index = prepared.chosen(ranges, keep)
    last = {name: max(places) for name, places in prepared.readers.items()}
    last.update(dict.fromkeys(prepared.outputs, len(prepared.nodes)))
    # Tensor → its value for every chunk, in the float and in the quantized model; one list twice where they agree.
    live: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for item in prepared.inputs:
        values = [chunk[item.name] for chunk in chunks]
        live[item.name] = (values, values)
    shifts: dict[str, tuple[float, ...]] = {}
    errors: list[LayerError] = []
    waiting: list[int] = []

    def run(nodes: Sequence[Any], outputs: Sequence[str], until: int) -> None:
        made = {name for node in nodes for name in node.output}
        names = [n for n in dict.fromkeys(n for node in nodes for n in reads(node)) if n in live and n not in made]
        session = prepared.session(nodes, {name: live[name][0][0] for name in names}, outputs)

        same = all(live[name][0] is live[name][1] for name in names)
        # What nobody reads any more goes chunk by chunk: the more rows fit, the better are the corrections.
        done = [n for n in names if last.get(n, -1) < until and (same or live[n][0] is not live[n][1])]

        def values(side: int) -> list[list[np.ndarray]]:
            results = []
            for k in range(len(chunks)):
                results.append(session.run(outputs, {name: live[name][side][k] for name in names}))
                for name in done:
                    live[name][side][k] = _GONE
            return [list(column) for column in zip(*results, strict=True)]

        plain = values(0)
        live.update(zip(outputs, zip(plain, plain if same else values(1), strict=True), strict=True))

    def flush(until: int) -> None:
        nodes = [prepared.nodes[index] for index in waiting]
        waiting.clear()
        outputs = [name for node in nodes for name in node.output if last.get(name, -1) >= until]
        if outputs:
            run(nodes, outputs, until)
        for name in [name for name in live if last.get(name, -1) < until]:
            del live[name]

    for index in range(len(prepared.nodes)):
        layer = by_index.get(index)
        if layer is None:
            waiting.append(index)
            continue
        flush(index)
        shift, error = _step(prepared, layer, ranges, live, own)
        if shift is not None:
            shifts[layer.name] = tuple(float(x) for x in shift)
        errors.append(error)
        progress(index / len(prepared.nodes))
        give_memory_back()  # the C library would keep as much again
    flush(len(prepared.nodes))
    ratios = [_ratio(*live[name]) for name in prepared.outputs if name in live and live[name][0][0].dtype.kind == "f"]
    return Walked(shifts, tuple(errors), _db(float(np.mean(ratios)) if ratios else 0.0))


def _step(
    prepared: Prepared,
    layer: Layer,
    ranges: Mapping[str, Range],
    live: dict[str, tuple[list[np.ndarray], list[np.ndarray]]],
    own: bool,
) -> tuple[np.ndarray | None, LayerError]:
    """Runs one layer in float and quantized, corrects it, and puts both results into `live`."""
    from onnx import numpy_helper

    node = prepared.nodes[layer.index]
    names = [name for name in dict.fromkeys(node.input) if name in live]
    sample = {name: live[name][0][0] for name in names}
    plain = prepared.session([node], sample, [layer.output])
    constants, nodes, inside = [], [], copy.deepcopy(node)
    for name in layer.activations:
        scale, zero = activation_scale(ranges[name], unsigned=False)
        constants += [numpy_helper.from_array(scale, f"{name}/scale"), numpy_helper.from_array(zero, f"{name}/zero")]
        nodes += pair(name, f"{name}/scale", f"{name}/zero")
    for slot, name in enumerate(inside.input):
        if name in layer.activations:
            inside.input[slot] = f"{name}/dequantized"
        elif name == layer.weights:
            whole, scale = weights_int8(prepared.constant(name), layer.weight_axis)
            inside.input[slot] = f"{name}/rounded"
            constants.append(numpy_helper.from_array(times(whole, scale, layer.weight_axis), f"{name}/rounded"))
    rounded = prepared.session([*nodes, inside], sample, [layer.output], constants=constants)
    count = len(live[names[0]][0])

    def evaluate(session: Any, side: int, k: int) -> np.ndarray:
        return session.run([layer.output], {name: live[name][side][k] for name in names})[0]

    exact = [evaluate(plain, 0, k) for k in range(count)]
    noisy = [evaluate(rounded, 1, k) for k in range(count)]
    region = prepared.region(layer)
    finish: Callable[[np.ndarray], np.ndarray] = lambda value: value  # noqa: E731
    if region:
        session = prepared.session(region[0], {layer.output: exact[0]}, [region[1]])
        if session.run(None, {layer.output: exact[0]})[0].shape == exact[0].shape:
            finish = lambda value: session.run(None, {layer.output: value})[0]  # noqa: E731
    # A shift is estimated on the even chunks and judged on the odd ones.
    estimate, judge = (range(0, count, 2), range(1, count, 2)) if count > 1 else (range(1), range(1))
    rank, axis = exact[0].ndim, layer.channel_axis
    others = tuple(a for a in range(rank) if axis is None or a != axis % rank)
    shift = np.zeros(1, np.float32)
    if axis is not None:
        weight = sum(exact[k].size for k in estimate) / exact[0].shape[axis]
        mean = sum((exact[k] - noisy[k]).sum(others, dtype=np.float64) for k in estimate) / weight
        shift = along(mean.astype(np.float32), rank, axis % rank)
    signal, before, after, alone = 0.0, np.zeros(()), np.zeros(()), np.zeros(())
    for k in judge:
        right = finish(exact[k])
        signal += float(np.square(right).sum(dtype=np.float64))
        before = before + np.square(finish(noisy[k]) - right).sum(others, dtype=np.float64)
        after = after + np.square(finish(noisy[k] + shift) - right).sum(others, dtype=np.float64)
    better = after < before
    shift = shift * along(better, rank, None if axis is None else axis % rank)
    for value in noisy:
        value += shift
    for k in judge if own else ():
        value = finish(evaluate(rounded, 0, k) + shift)
        alone = alone + np.square(value - finish(exact[k])).sum(dtype=np.float64)
    live[layer.output] = (exact, noisy)
    noise = float(np.where(better, after, before).sum())
    error = LayerError(
        layer.name,
        layer.op,
        _db(float(alone) / signal if signal else 0.0),
        _db(noise / signal if signal else 0.0),
        int(np.count_nonzero(shift)),
    )
    return (None if axis is None else shift.reshape(-1)), error


def fit_batch(prepared: Prepared, batch: Batch) -> dict[str, np.ndarray]:
    """A batch in the model's own input names (`x` stands for `x:0` too) and types.

    Raises:
        IcebreakerError: An input is missing.
    """
    from onnx import helper

    found = {}
    for item in prepared.inputs:
        short = item.name.removesuffix(":0")
        key = next((key for key in (item.name, short, f"{short}:0") if key in batch), None)
        if key is None:
            raise IcebreakerError(f"the calibration data has no values for input {short}: it has {', '.join(batch)}")
        wanted = helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
        found[item.name] = np.asarray(batch[key]).astype(wanted, copy=False)
    return found


def parts(prepared: Prepared, batch: dict[str, np.ndarray], rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Splits a batch along its first axis, where the model leaves that open in every input that has axes."""
    sizes = set()
    for item in prepared.inputs:
        if batch[item.name].ndim:
            dims = item.type.tensor_type.shape.dim
            if not dims or dims[0].HasField("dim_value"):
                yield batch
                return
            sizes.add(batch[item.name].shape[0])
    if len(sizes) != 1:
        yield batch
        return
    for start in range(0, sizes.pop(), rows):
        yield {name: value[start : start + rows] if value.ndim else value for name, value in batch.items()}


def _chunks(prepared: Prepared, rows: Sequence[Batch]) -> list[Batch]:
    """Some of the rows, joined to small batches where they can be, so many that a walk stays within its memory."""
    sizes = prepared.sizes(rows[0])
    layers = {layer.index for layer in prepared.layers}
    alive = peak = 0
    ends: dict[int, int] = {}
    for index, node in enumerate(prepared.nodes):
        for name in filter(None, node.output):
            alive += sizes[name]
            end = max(prepared.readers.get(name, [index]))
            ends[end] = ends.get(end, 0) + sizes[name]
        # A layer's inputs stay until all of its output is there; what other nodes read goes as they read it.
        peak = max(peak, alive if index in layers else 0)
        alive -= ends.get(index, 0)
        peak = max(peak, alive)
    room = max(2, int(_WALK_BYTES // (2 * peak + 1)))
    picked = list(rows[:: max(1, -(-len(rows) // room))])
    first = next(iter(prepared.inputs), None)
    shapes = {tuple((name, value.shape) for name, value in row.items()) for row in picked}
    splittable = first is not None and len(list(parts(prepared, _twice(picked[0]), 1))) == 2
    if len(shapes) > 1 or not splittable:
        return picked
    size = max(1, min(_CHUNK_ROWS, len(picked) // 2))
    return [
        {
            name: np.concatenate([row[name] for row in picked[start : start + size]]) if value.ndim else value
            for name, value in picked[0].items()
        }
        for start in range(0, len(picked), size)
    ]


def _twice(row: Batch) -> dict[str, np.ndarray]:
    return {name: np.concatenate([value, value]) if value.ndim else value for name, value in row.items()}


def _ratio(exact: Sequence[np.ndarray], noisy: Sequence[np.ndarray]) -> float:
    """Noise over signal, both as sums of squares."""
    signal = sum(float(np.square(a, dtype=np.float64).sum()) for a in exact)
    noise = sum(float(np.square(a - b, dtype=np.float64).sum()) for a, b in zip(exact, noisy, strict=True))
    return noise / signal if signal else float(noise > 0)


def _db(ratio: float) -> float:
    """Signal to noise in dB from noise over signal."""
    return -10 * math.log10(ratio) if ratio > 0 else math.inf


def _part(progress: Progress, phase: str, start: float, share: float) -> Callable[[float], None]:
    def report(fraction: float) -> None:
        if not progress(phase, start + share * fraction):
            raise IcebreakerError("the calibration was cancelled")

    return report
