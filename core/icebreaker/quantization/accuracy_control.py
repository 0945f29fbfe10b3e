"""What INT8 costs in accuracy, which layers cost most, and how few must stay float for a budget to hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from icebreaker.data.source import Batch
from icebreaker.engine.onnx_sessions import open_session
from icebreaker.engine.protocol import Progress
from icebreaker.errors import IcebreakerError
from icebreaker.messages import Message, message
from icebreaker.metrics.output_difference import difference
from icebreaker.metrics.signal_to_noise import amplitude_decibels, finite, relative_error
from icebreaker.quantization import calibrate
from icebreaker.quantization.bias_correction import walk
from icebreaker.quantization.calibrate import silent
from icebreaker.quantization.calibration_table import Table
from icebreaker.quantization.qdq import qdq_writer
from icebreaker.quantization.qdq.quantizable_model import QuantizableModel
from icebreaker.reports import Accuracy, LayerCost, TradeOff

# Held-back samples that are kept in memory for a search, in bytes of input.
_JUDGED_BYTES = 512 << 20
_RANK_ROWS = 16
_PART_ROWS = 16
_CORRECT_ROWS = 32
# How many layers a search tries to keep in float, before it halves between two steps.
_STEPS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)

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
            raise IcebreakerError("budget_empty", "the accuracy budget is empty", "give_disagreement_or_error")
        if self.disagreement is not None and not 0 <= self.disagreement <= 1:
            raise IcebreakerError(
                "budget_no_share", "accuracy budget {budget} is not from 0 to 1, such as 0.01 for 1 %",
                budget=self.disagreement,
            )  # fmt: skip
        if self.error is not None and not self.error >= 0:
            raise IcebreakerError(
                "budget_negative", "error budget {budget} is negative", "give_share_such_as_tenth", budget=self.error
            )

    def holds(self, error: float, disagreement: float | None) -> bool:
        """Whether figures, in the sense of the attributes, are within every limit."""
        enough = self.disagreement is None or (disagreement or 0.0) <= self.disagreement + 1e-9
        return enough and (self.error is None or error <= self.error)

    def __str__(self) -> str:
        """In words, for the user."""
        disagreement = None if self.disagreement is None else f"{self.disagreement * 100:.3g}% top-1 disagreement"
        error = None if self.error is None else f"{self.error * 100:.3g}% error"
        return " and ".join(text for text in (disagreement, error) if text)


@dataclass(frozen=True)
class Search:
    """What a search for a budget found.

    Attributes:
        curve: The trade-off curve, by number of layers kept; the last is the float model itself.
        table: The calibration of the first point within the budget; None if only the float model is.
        message: The result in a line for the user.
    """

    curve: tuple[TradeOff, ...]
    table: Table | None
    message: Message


def worst_layers(
    model: bytes,
    table: Table,
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    progress: Progress = silent,
) -> tuple[LayerCost, ...]:
    """Every quantized layer with what quantizing it costs, the worst at the outputs first.

    Args:
        model: The float ONNX model.
        table: Its calibration.
        batches: Some data; its first 16 rows are used.
        progress: Told how far it is.
    """
    prepared = QuantizableModel(model)
    ranges, shifts, kept = prepared.match(table)
    rows = prepared.first_rows(batches, _RANK_ROWS)
    walked = walk(prepared, ranges, rows, keep=kept, own=True)
    reference = _outputs(_onnxruntime(model), rows)
    names = {layer.name for layer in prepared.layers}
    costs: list[tuple[float, LayerCost]] = []
    for index, cost in enumerate(walked.layers):
        progress(message("stage_judge_layer", "Judging {subject}", subject=cost.layer), index / len(walked.layers))
        alone = qdq_writer.write(prepared, ranges, shifts, names - {cost.layer}, unsigned=False)
        decibels = amplitude_decibels(_worst_error(reference, _outputs(_onnxruntime(alone), rows)))
        costs.append((decibels, replace(cost, output_db=finite(decibels))))
    return tuple(cost for _, cost in sorted(costs, key=lambda pair: pair[0]))


def search(
    model: bytes,
    table: Table,
    calibration: Iterable[Mapping[str, np.ndarray]],
    budget: Budget,
    layers: Sequence[LayerCost],
    held_back: Iterable[Mapping[str, np.ndarray]],
    *,
    keep: Collection[str] = (),
    latency: Callable[[bytes], float] | None = None,
    unsigned: bool = False,
    run: Run | None = None,
    progress: Progress = silent,
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
        unsigned: As in `qdq_writer.quantize`.
        run: Runs a model; None: ONNX Runtime.
        progress: Told how far it is.

    Raises:
        IcebreakerError: The budget is of classes and no output has classes, or there is no data.
    """
    layers = tuple(cost for cost in layers if cost.layer not in keep)
    runner = run or _onnxruntime
    rows = _held_rows(model, held_back)
    names, reference = _output_names(model), _outputs(runner(model), rows)
    few = QuantizableModel(model).first_rows(calibration, _CORRECT_ROWS)
    points: dict[int, tuple[TradeOff, Table]] = {}

    def at(count: int) -> TradeOff:
        """The point of the curve where the `count` worst layers stay float."""
        if count not in points:
            progress(
                message("stage_keep_layers", "Keeping {count} layers in float", count=count),
                len(points) / (len(points) + 4),
            )
            kept = {cost.layer for cost in layers[:count]}
            whole = count == len(layers) and not keep
            own = calibrate.correct(model, table, few, keep={*keep, *kept}) if kept else table
            made = model if whole else qdq_writer.quantize(model, own, keep=keep, unsigned=unsigned)
            judged = accuracy(names, reference, reference if whole else _outputs(runner(made), rows))
            milliseconds = latency(made) if latency else None
            points[count] = TradeOff(count, judged.error, disagreement(judged), milliseconds, False), own
        return points[count][0]

    def holds(count: int) -> bool:
        return budget.holds(at(count).error, at(count).disagreement)

    if at(len(layers)).disagreement is None and budget.disagreement is not None:
        raise IcebreakerError("no_classes", "no output has classes to agree on", "give_budget_as_error")
    below, kept = -1, len(layers)
    for count in itertools.takewhile(lambda k: k < len(layers), _STEPS):
        if holds(count):
            kept = count
            break
        below = count
    while kept - below > 1 and kept < len(layers):  # between two steps, halve
        middle = (below + kept) // 2
        below, kept = (below, middle) if holds(middle) else (middle, kept)
    chosen = points[kept][1] if kept < len(layers) else None
    curve = tuple(replace(points[n][0], chosen=chosen is not None and n == kept) for n in sorted(points))
    samples = len(reference[0]) if reference and reference[0].ndim else 1
    return Search(curve, chosen, _result(budget, None if chosen is None else kept, len(layers), samples))


def _result(budget: Budget, kept: int | None, total: int, samples: int) -> Message:
    """The result of a search in words; `kept` is None where no number of layers in float was enough."""
    doubt: Message | str = ""
    if budget.disagreement and samples < 1 / budget.disagreement:
        doubt = message(
            "too_few_to_tell", "; {samples} held-back samples are too few to tell {share:.2%}",
            samples=samples, share=budget.disagreement,
        )  # fmt: skip
    about = {"budget": str(budget), "total": total, "doubt": doubt}
    if kept is None:
        return message(
            "budget_not_kept", "INT8 cannot keep the budget of {budget}, whichever of its {total} layers stay float",
            "choose_float", subject="", **about,
        )  # fmt: skip
    if not kept:
        return message("budget_kept", "all {total} layers in INT8 keep the budget of {budget}{doubt}", **about)
    return message(
        "budget_kept_by_float", "{kept} of {total} layers stay float to keep the budget of {budget}{doubt}",
        kept=kept, **about,
    )  # fmt: skip


def _held_rows(model: bytes, batches: Iterable[Mapping[str, np.ndarray]]) -> list[Batch]:
    """Held-back data in parts that a model can take, as much as may be kept in memory."""
    prepared = QuantizableModel(model)
    held, size = [], 0
    for batch in batches:
        for part in prepared.split(prepared.fit(batch), _PART_ROWS):
            size += sum(value.nbytes for value in part.values())
            held.append({name: value.copy() for name, value in part.items()})
        if size > _JUDGED_BYTES:
            break
    if not held:
        raise IcebreakerError("nothing_held_back", "there is no held-back data to judge INT8 with", "give_more_samples")
    return held


def _onnxruntime(model: bytes) -> Callable[[Batch], Sequence[np.ndarray]]:
    session = open_session(model)
    return lambda batch: session.run(None, dict(batch))


def _outputs(call: Callable[[Batch], Sequence[np.ndarray]], parts: Sequence[Batch]) -> list[np.ndarray]:
    """Every output over all parts."""
    columns = zip(*(call(part) for part in parts), strict=True)
    return [np.concatenate(column) if np.ndim(column[0]) else np.stack(column) for column in columns]


def _worst_error(reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Root mean square of the error over that of the output, of the worst floating-point output; 0 without one."""
    pairs = zip(reference, other, strict=True)
    return max([0.0, *(relative_error(left, right) for left, right in pairs if left.dtype.kind == "f")])


def _output_names(model: bytes) -> list[str]:
    import onnx

    return [output.name for output in onnx.load_from_string(model).graph.output]


def accuracy(names: Sequence[str], reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> Accuracy:
    """How outputs differ from their reference.

    Args:
        names: Of the outputs.
        reference: The right values, all rows of an output in one array.
        other: The values to judge, likewise.

    Returns:
        The figures, without those that need labels.
    """
    outputs = {name: difference(a, b) for name, a, b in zip(names, reference, other, strict=True)}
    agreements = [outputs[name].top1_agreement for name, a in zip(names, reference, strict=True) if a.ndim == 2]
    top5 = [
        float((np.argpartition(b, -5)[:, -5:] == a.argmax(1)[:, None]).any(1).mean())
        for a, b in zip(reference, other, strict=True)
        if a.ndim == 2 and a.shape[1] > 5 and a.dtype.kind == "f"
    ]
    return Accuracy(
        samples=len(reference[0]) if reference and reference[0].ndim else 1,
        outputs=outputs,
        top1_agreement=min((share for share in agreements if share is not None), default=None),
        top5_agreement=min(top5, default=None),
        error=_worst_error(reference, other),
    )


def disagreement(figures: Accuracy) -> float | None:
    """Share of rows with another top class, 0 to 1, of the worst output with classes; None without one."""
    return None if figures.top1_agreement is None else 1 - figures.top1_agreement
