"""What INT8 costs in accuracy, which layers cost most, and how few must stay float for a budget to hold.

Owns: judging a quantized model against its float model on held-back data, ranking layers, the search for a budget.
Refuses: timing (a hook measures), quantizing (`quantize`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.metrics.output_difference import difference
from icebreaker.quantization import calibrate
from icebreaker.quantization.calibrate import Batch, Progress
from icebreaker.quantization.qdq_writer import Prepared, Table, open_session
from icebreaker.reports.reports import OutputDifference

# Held-back samples that are kept in memory for a search, in bytes of input.
_JUDGED_BYTES = 512 << 20
_RANK_ROWS = 16
_PART_ROWS = 16

# Takes an ONNX model, gives what runs it: input name → array to the outputs in the model's order.
Run = Callable[[bytes], Callable[[Batch], Sequence[np.ndarray]]]


@dataclass(frozen=True)
class Budget:
    """What INT8 may cost at most. At least one limit must be set.

    Attributes:
        disagreement: Share of rows, 0 to 1, whose top class may differ from the float model's.
        error: Root mean square of the error over that of the output, of the worst output: 0.1 is 20 dB.
    """

    disagreement: float | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        """Checks both limits.

        Raises:
            IcebreakerError: No limit is set, or one is out of its range.
        """
        if self.disagreement is None and self.error is None:
            raise IcebreakerError("the accuracy budget is empty: give a disagreement or an error, such as 0.01")
        if self.disagreement is not None and not 0 <= self.disagreement <= 1:
            raise IcebreakerError(f"accuracy budget {self.disagreement} is not from 0 to 1, such as 0.01 for 1 %")
        if self.error is not None and not self.error >= 0:
            raise IcebreakerError(f"error budget {self.error} is negative: give a share such as 0.1")

    def holds(self, judged: Judged) -> bool:
        """Whether the figures are within every limit."""
        enough = self.disagreement is None or (judged.disagreement or 0.0) <= self.disagreement + 1e-9
        return enough and (self.error is None or judged.error <= self.error)

    def __str__(self) -> str:
        """In words, for the user."""
        disagreement = None if self.disagreement is None else f"{self.disagreement * 100:.3g}% top-1 disagreement"
        error = None if self.error is None else f"{self.error * 100:.3g}% error"
        return " and ".join(text for text in (disagreement, error) if text)


@dataclass(frozen=True)
class Judged:
    """How a quantized model differs from its float model on held-back data.

    Attributes:
        samples: Rows that were compared.
        outputs: Output → its difference.
        disagreement: Share of rows with another top class, of the worst output with classes; None without one.
        top5_agreement: Share of rows whose top class is among the other's five best; None with fewer than six classes.
        error: Root mean square of the error over that of the output, of the worst output.
        accuracy: Share of rows that the float and the quantized model get right, where labels are given.
    """

    samples: int
    outputs: Mapping[str, OutputDifference]
    disagreement: float | None
    top5_agreement: float | None
    error: float
    accuracy: tuple[float, float] | None = None


@dataclass(frozen=True)
class LayerCost:
    """One line of the table of worst layers; figures in dB, less is worse, inf is no error.

    Attributes:
        layer: ONNX node name.
        op: ONNX op.
        output_db: Signal to noise at the model's outputs if this layer alone is quantized. The search goes by it.
        own_db: The same at the layer's own output.
        db: At the layer's output with all quantized layers before it too.
    """

    layer: str
    op: str
    output_db: float
    own_db: float
    db: float


@dataclass(frozen=True)
class Point:
    """One point of the trade-off curve: the layers that stay float, what it costs, how long a call takes.

    `table` is the calibration that `quantize.quantize` makes this point from.
    """

    kept: tuple[str, ...]
    judged: Judged
    latency_ms: float | None
    table: Table = field(repr=False)


@dataclass(frozen=True)
class Search:
    """What a search for a budget found.

    Attributes:
        layers: Every layer, the worst first.
        points: The trade-off curve, by number of layers kept; the last is the float model itself.
        chosen: The first point within the budget; None if only the float model is.
        message: The result in a line for the user.
    """

    layers: tuple[LayerCost, ...]
    points: tuple[Point, ...]
    chosen: Point | None
    message: str


def judge(
    model: bytes,
    quantized: bytes,
    batches: Iterable[Batch],
    *,
    labels: np.ndarray | None = None,
    run: Run | None = None,
) -> Judged:
    """Compares a quantized model with its float model.

    Args:
        model: The float ONNX model.
        quantized: The same with Q/DQ nodes.
        batches: Held-back data: none of it was used to calibrate.
        labels: The right class of every row.
        run: Runs both models; None: ONNX Runtime.
    """
    run = run or _onnxruntime
    rows = _held(model, batches)
    return figures(_output_names(model), _outputs(run(model), rows), _outputs(run(quantized), rows), labels)


def worst_layers(
    model: bytes,
    table: Table,
    batches: Iterable[Batch],
    *,
    progress: Progress = lambda phase, fraction: True,
) -> tuple[LayerCost, ...]:
    """Every layer with what quantizing it costs, the worst first.

    Args:
        model: The float ONNX model.
        table: Its calibration.
        batches: Some data; its first 16 rows are used.
        progress: Told how far it is; returning False cancels.
    """
    prepared = Prepared(model)
    ranges, shifts, kept = prepared.match(table)
    rows = calibrate.first_rows(prepared, batches, _RANK_ROWS)
    walked = calibrate.walk(prepared, ranges, rows, keep=kept, own=True)
    reference = _outputs(_onnxruntime(model), rows)
    names = {layer.name for layer in prepared.layers}
    found = []
    for index, item in enumerate(walked.layers):
        if not progress(f"Judging {item.layer}", index / len(walked.layers)):
            raise IcebreakerError("the search was cancelled")
        alone = prepared.write(ranges, shifts, names - {item.layer}, unsigned=False)
        error = _error(reference, _outputs(_onnxruntime(alone), rows))
        found.append(LayerCost(item.layer, item.op, _db(error), item.own_db, item.db))
    return tuple(sorted(found, key=lambda cost: cost.output_db))


def search(
    model: bytes,
    table: Table,
    calibration: Iterable[Batch],
    budget: Budget,
    layers: Sequence[LayerCost],
    held_back: Iterable[Batch],
    *,
    keep: Collection[str] = (),
    latency: Callable[[bytes], float] | None = None,
    labels: np.ndarray | None = None,
    unsigned: bool = False,
    run: Run | None = None,
    progress: Progress = lambda phase, fraction: True,
) -> Search:
    """Keeps as few of the worst layers in float as the budget allows.

    Args:
        model: The float ONNX model.
        table: Its calibration.
        calibration: The calibration data: with fewer layers in INT8, biases are corrected anew.
        budget: What must hold.
        layers: What `worst_layers` gave: they are kept in this order.
        held_back: Data to judge with: none of it was used to calibrate.
        keep: Layers and tensors that stay float in any case.
        latency: Measures a model in milliseconds, for the curve; None: not measured.
        labels: The right class of every held-back row.
        unsigned: As in `quantize.quantize`.
        run: Runs a model; None: ONNX Runtime.
        progress: Told how far it is; returning False cancels.

    Raises:
        IcebreakerError: The budget is of classes and no output has classes, or cancelled.
    """
    layers = tuple(item for item in layers if item.layer not in keep)
    runner = run or _onnxruntime
    rows = _held(model, held_back)
    names, reference = _output_names(model), _outputs(runner(model), rows)
    few = calibrate.first_rows(Prepared(model), calibration, 32)
    points: dict[int, Point] = {}

    def at(count: int) -> Point:
        if count not in points:
            if not progress(f"Keeping {count} layers in float", len(points) / (len(points) + 4)):
                raise IcebreakerError("the search was cancelled")
            kept = tuple(item.layer for item in layers[:count])
            whole = count == len(layers) and not keep
            own = calibrate.correct(model, table, few, keep={*keep, *kept}) if kept else table
            made = model if whole else calibrate.quantize(model, own, keep=keep, unsigned=unsigned)
            judged = figures(names, reference, reference if whole else _outputs(runner(made), rows), labels)
            points[count] = Point(kept, judged, latency(made) if latency else None, own)
        return points[count]

    last = at(len(layers))
    if budget.disagreement is not None and last.judged.disagreement is None:
        raise IcebreakerError("no output has classes to agree on: give the accuracy budget as an error instead")
    below, steps = -1, (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    found = len(layers)
    for count in itertools.takewhile(lambda k: k < len(layers), steps):
        if budget.holds(at(count).judged):
            found = count
            break
        below = count
    while found - below > 1 and found < len(layers):  # between two steps, halve
        middle = (below + found) // 2
        below, found = (below, middle) if budget.holds(at(middle).judged) else (middle, found)
    chosen = points[found] if found < len(layers) else None
    curve = tuple(points[count] for count in sorted(points))
    return Search(layers, curve, chosen, _message(budget, chosen, len(layers), last.judged.samples))


def _message(budget: Budget, chosen: Point | None, total: int, samples: int) -> str:
    doubt = ""
    if budget.disagreement and samples < 1 / budget.disagreement:
        doubt = f"; {samples} held-back samples are too few to tell {budget.disagreement:.2%}"
    if chosen is None:
        text = (
            f"INT8 cannot keep the budget of {budget}, whichever of its {total} layers stay float: choose fp16 or fp32"
        )
    elif not chosen.kept:
        text = f"all {total} layers in INT8 keep the budget of {budget}"
    else:
        text = f"{len(chosen.kept)} of {total} layers stay float to keep the budget of {budget}"
    return text + doubt


def _held(model: bytes, batches: Iterable[Batch]) -> list[dict[str, np.ndarray]]:
    """Held-back data in parts that a model can take, as much as may be kept in memory."""
    prepared = Prepared(model)
    held, size = [], 0
    for batch in batches:
        for part in calibrate.parts(prepared, calibrate.fit_batch(prepared, batch), _PART_ROWS):
            size += sum(value.nbytes for value in part.values())
            held.append({name: value.copy() for name, value in part.items()})
        if size > _JUDGED_BYTES:
            break
    if not held:
        raise IcebreakerError("there is no held-back data to judge INT8 with: give more samples")
    return held


def _onnxruntime(model: bytes) -> Callable[[Batch], Sequence[np.ndarray]]:
    session = open_session(model)
    return lambda batch: session.run(None, dict(batch))


def _outputs(call: Callable[[Batch], Sequence[np.ndarray]], parts: Sequence[Batch]) -> list[np.ndarray]:
    """Every output over all parts."""
    columns = zip(*(call(part) for part in parts), strict=True)
    return [np.concatenate(column) if np.ndim(column[0]) else np.stack(column) for column in columns]


def _error(reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Root mean square of the error over that of the output, of the worst floating-point output."""
    ratios = [0.0]
    for left, right in zip(reference, other, strict=True):
        if left.dtype.kind == "f":
            signal, noise = (float(np.square(item, dtype=np.float64).sum()) for item in (left, left - right))
            ratios.append(math.sqrt(noise / signal) if signal else math.inf if noise else 0.0)
    return max(ratios)


def _db(error: float) -> float:
    return -20 * math.log10(error) if error else math.inf


def _output_names(model: bytes) -> list[str]:
    import onnx

    return [item.name for item in onnx.load_from_string(model).graph.output]


def figures(
    names: Sequence[str],
    reference: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    labels: np.ndarray | None = None,
) -> Judged:
    """How outputs differ from their reference, all rows of each in one array."""
    pairs = list(zip(names, reference, other, strict=True))
    classes = [(a, b) for _, a, b in pairs if a.ndim == 2 and a.shape[1] > 1 and a.dtype.kind == "f"]
    outputs = {name: difference(a, b) for name, a, b in pairs}
    agreements = [outputs[name].top1_agreement for name, a, _ in pairs if a.ndim == 2]
    worst = min((item for item in agreements if item is not None), default=None)
    top5 = [
        float((np.argpartition(b, -5)[:, -5:] == a.argmax(1)[:, None]).any(1).mean())
        for a, b in classes
        if a.shape[1] > 5
    ]
    accuracy = None
    if labels is not None and len(classes) == 1:
        truth = np.asarray(labels).reshape(-1)[: len(classes[0][0])]
        left, right = (float((item[: len(truth)].argmax(1) == truth).mean()) for item in classes[0])
        accuracy = left, right
    return Judged(
        len(reference[0]) if reference and reference[0].ndim else 1,
        outputs,
        None if worst is None else 1 - worst,
        min(top5, default=None),
        _error(reference, other),
        accuracy,
    )
