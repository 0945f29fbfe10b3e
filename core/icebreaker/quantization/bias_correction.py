"""Bias correction: float and quantized model walk in step, layer by layer, and each channel's mean error is taken out.

It is kept where it lowers the error after the activation that follows. This is what makes the scheme of `qdq_writer`
accurate.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.data.source import Batch
from icebreaker.engine.onnx_nodes import reads
from icebreaker.metrics.signal_to_noise import finite, power_decibels
from icebreaker.quantization.calibration_table import Range
from icebreaker.quantization.qdq.qdq_writer import activation_scale, along, pair, times, weights_int8
from icebreaker.quantization.qdq.quantizable_model import QuantizableModel
from icebreaker.quantization.qdq.quantization_rules import Layer, activation_after
from icebreaker.reports import LayerCost
from icebreaker.storage.weight_store import give_memory_back

WALK_BYTES = 320 << 20  # of tensors, in both models together
_CHUNK_ROWS = 4
_GONE = np.empty(0, np.float32)

# Tensor → its value for every chunk of rows, in the float and in the quantized model; one list twice where they agree.
_Live = dict[str, tuple[list[np.ndarray], list[np.ndarray]]]


@dataclass(frozen=True)
class Walked:
    """What a walk in step through the float and the quantized model found.

    Attributes:
        shifts: Layer → what is to be added to its output, per channel.
        layers: Every quantized layer's errors in order of execution, after the activation that follows it: `db`, and
            `own_db` if that was asked for.
    """

    shifts: Mapping[str, tuple[float, ...]]
    layers: tuple[LayerCost, ...]


def walk(
    model: QuantizableModel,
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
        model: The float model.
        ranges: Tensor → range.
        rows: Samples; as many of them are used as fit into memory.
        keep: Layers and tensors that stay float.
        own: Find each layer's own error too.
        progress: Told the fraction done.
    """
    walker = _Walker(model, ranges, chunks(model, rows), own)
    layers = model.layers_to_quantize(ranges, keep)
    shifts: dict[str, tuple[float, ...]] = {}
    costs: list[LayerCost] = []
    for index in range(len(model.nodes)):
        layer = layers.get(index)
        if layer is None:
            walker.waiting.append(index)
            continue
        walker.run_waiting(index)
        shift, cost = walker.step(layer)
        if shift is not None:
            shifts[layer.name] = tuple(float(x) for x in shift)
        costs.append(cost)
        progress(index / len(model.nodes))
        give_memory_back()  # the C library would keep as much again
    return Walked(shifts, tuple(costs))


class _Walker:
    """The two models at one place of the walk: the tensors that are still to be read, and the nodes still to run."""

    def __init__(self, model: QuantizableModel, ranges: Mapping[str, Range], rows: Sequence[Batch], own: bool) -> None:
        self._model, self._ranges, self._own = model, ranges, own
        self._count = len(rows)
        self._last_read = {name: max(places) for name, places in model.readers.items()}
        self._last_read.update(dict.fromkeys(model.outputs, len(model.nodes)))
        self._live: _Live = {}
        for item in model.inputs:
            values = [chunk[item.name] for chunk in rows]
            self._live[item.name] = (values, values)
        self.waiting: list[int] = []  # nodes that stay float, by index

    def run_waiting(self, until: int) -> None:
        """Runs the waiting nodes in both models; what no node from `until` on reads goes."""
        last, nodes = self._last_read, [self._model.nodes[index] for index in self.waiting]
        self.waiting.clear()
        outputs = [name for node in nodes for name in node.output if last.get(name, -1) >= until]
        if outputs:
            self._run(nodes, outputs, until)
        for name in [name for name in self._live if last.get(name, -1) < until]:
            del self._live[name]

    def _run(self, nodes: Sequence[Any], outputs: Sequence[str], until: int) -> None:
        live = self._live
        made = {name for node in nodes for name in node.output}
        names = [n for n in dict.fromkeys(n for node in nodes for n in reads(node)) if n in live and n not in made]
        session = self._model.part(nodes, {name: live[name][0][0] for name in names}, outputs)
        same = all(live[name][0] is live[name][1] for name in names)
        # What nobody reads any more goes chunk by chunk: the more rows fit, the better are the corrections.
        done = [n for n in names if self._last_read.get(n, -1) < until and (same or live[n][0] is not live[n][1])]

        def values(side: int) -> list[list[np.ndarray]]:
            results = []
            for k in range(self._count):
                results.append(session.run(outputs, {name: live[name][side][k] for name in names}))
                for name in done:
                    live[name][side][k] = _GONE
            return [list(column) for column in zip(*results, strict=True)]

        plain = values(0)
        live.update(zip(outputs, zip(plain, plain if same else values(1), strict=True), strict=True))

    def step(self, layer: Layer) -> tuple[np.ndarray | None, LayerCost]:
        """Runs one layer in float and quantized and corrects it; both results are live then.

        Returns:
            The correction per channel, None where there is no place for one; the layer's errors.
        """
        live = self._live
        names = [name for name in dict.fromkeys(self._model.nodes[layer.index].input) if name in live]
        plain, rounded = self._sessions(layer, {name: live[name][0][0] for name in names})

        def evaluate(session: Any, side: int, k: int) -> np.ndarray:
            return session.run([layer.output], {name: live[name][side][k] for name in names})[0]

        count = self._count
        exact = [evaluate(plain, 0, k) for k in range(count)]
        noisy = [evaluate(rounded, 1, k) for k in range(count)]
        finish = self._activation(layer, exact[0])
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
        for k in judge if self._own else ():
            value = finish(evaluate(rounded, 0, k) + shift)
            alone = alone + np.square(value - finish(exact[k])).sum(dtype=np.float64)
        live[layer.output] = (exact, noisy)
        noise = float(np.where(better, after, before).sum())
        own_db = power_decibels(float(alone) / signal) if signal and self._own else math.inf
        db = power_decibels(noise / signal) if signal else math.inf
        cost = LayerCost(layer.name, "", layer.op, None, finite(own_db), finite(db), kept=False)
        return (None if axis is None else shift.reshape(-1)), cost

    def _sessions(self, layer: Layer, sample: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
        """Sessions that run a layer in float, and with its inputs and weights rounded to int8."""
        from onnx import numpy_helper

        node = self._model.nodes[layer.index]
        constants, nodes, inside = [], [], copy.deepcopy(node)
        for name in layer.activations:
            for part, value in zip(
                ("scale", "zero"), activation_scale(self._ranges[name], unsigned=False), strict=True
            ):
                constants.append(numpy_helper.from_array(value, f"{name}/{part}"))
            nodes += pair(name, f"{name}/scale", f"{name}/zero")
        for slot, name in enumerate(inside.input):
            if name in layer.activations:
                inside.input[slot] = f"{name}/dequantized"
            elif name == layer.weights:
                whole, scale = weights_int8(self._model.constant(name), layer.weight_axis)
                inside.input[slot] = f"{name}/rounded"
                constants.append(numpy_helper.from_array(times(whole, scale, layer.weight_axis), f"{name}/rounded"))
        return (
            self._model.part([node], sample, [layer.output]),
            self._model.part([*nodes, inside], sample, [layer.output], constants=constants),
        )

    def _activation(self, layer: Layer, sample: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """What the activation after a layer makes of its output; the output itself where none follows."""
        region = activation_after(self._model, layer)
        if region:
            session = self._model.part(region[0], {layer.output: sample}, [region[1]])
            if session.run(None, {layer.output: sample})[0].shape == sample.shape:
                return lambda value: session.run(None, {layer.output: value})[0]
        return lambda value: value


def chunks(model: QuantizableModel, rows: Sequence[Batch]) -> list[Batch]:
    """Some of the rows, joined to small batches where they can be, so many that a walk stays within `WALK_BYTES`."""
    room = max(2, int(WALK_BYTES // (2 * _walk_peak(model, rows[0]) + 1)))
    picked = list(rows[:: max(1, -(-len(rows) // room))])
    first = next(iter(model.inputs), None)
    shapes = {tuple((name, value.shape) for name, value in row.items()) for row in picked}
    splittable = first is not None and len(list(model.split(_twice(picked[0]), 1))) == 2
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


def _walk_peak(model: QuantizableModel, row: Batch) -> int:
    """The most bytes of tensors that one model holds at once for a row."""
    sizes = model.sizes(row)
    layers = {layer.index for layer in model.layers}
    alive = peak = 0
    ends: dict[int, int] = {}
    for index, node in enumerate(model.nodes):
        for name in filter(None, node.output):
            alive += sizes[name]
            end = max(model.readers.get(name, [index]))
            ends[end] = ends.get(end, 0) + sizes[name]
        # A layer's inputs stay until all of its output is there; what other nodes read goes as they read it.
        peak = max(peak, alive if index in layers else 0)
        alive -= ends.get(index, 0)
        peak = max(peak, alive)
    return peak


def _twice(row: Batch) -> Batch:
    return {name: np.concatenate([value, value]) if value.ndim else value for name, value in row.items()}
