"""Judging on held-back data: what INT8 costs against TensorFlow, and what is good enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from icebreaker.data.source import Batch
from icebreaker.export.exporter import Exported
from icebreaker.partitioning.partition import Segment
from icebreaker.quantization import accuracy_control
from icebreaker.quantization.accuracy_control import Budget
from icebreaker.quantization.segment_data import SegmentData
from icebreaker.reports import Accuracy
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

# Without a budget: a signal 10 dB above the noise, and nine rows of ten with the same top class, is what the worst of
# the usual schemes reach on networks that INT8 suits; below, something is broken.
_DEFAULT = Budget(disagreement=0.1, error=0.316)
_DEFAULT_FEW = Budget(error=0.316)  # one row of a handful says nothing
_FEW_ROWS = 30
_NOT_NOISE_ALONE = Budget(error=1.0)  # of data that means nothing
_SEGMENT_BYTES = 256 << 20  # of one segment's inputs and outputs
_GRAPH_BYTES = 128 << 20  # of the graph's outputs

# Runs a segment: ONNX input name → array to its outputs, in the segment's order.
Call = Callable[[Batch], Sequence[np.ndarray]]


@dataclass
class HeldValues:
    """A segment's held-back values: batches by ONNX input name, and what TensorFlow makes of each."""

    batches: list[Batch] = field(default_factory=list)
    expected: list[list[np.ndarray]] = field(default_factory=list)


class HeldBackJudge:
    """Compares with TensorFlow on data that calibration has not seen."""

    def __init__(self, data: SegmentData, original: GraphSession, settings: ConvertSettings) -> None:
        """Takes the data, the graph in TensorFlow, and the settings for their accuracy budget."""
        self._data, self._original, self.settings = data, original, settings
        self._held: dict[Any, HeldValues] = {}

    def values(self, segment: Segment, exported: Exported) -> HeldValues:
        """A segment's held-back values and what TensorFlow makes of them, as much as may be kept in memory."""
        key = segment.nodes, segment.inputs
        if key not in self._held:
            held, size = HeldValues(), 0
            for batch in self._data.rows_for(segment, exported, back=True) if self._data.can_judge else ():
                fed = dict(zip(map(str, segment.inputs), batch.values(), strict=True))
                observed = self._original.observe(segment.outputs, fed)
                if len(observed) < len(segment.outputs):
                    continue
                held.batches.append(batch)
                held.expected.append([observed[tensor] for tensor in segment.outputs])
                size += sum(value.nbytes for value in (*batch.values(), *observed.values()))
                if size > _SEGMENT_BYTES:
                    break
            self._held = {key: held}  # of one segment at a time
        return self._held[key]

    def judge(self, segment: Segment, exported: Exported, call: Call) -> Accuracy | None:
        """How what `call` gives differs from TensorFlow's; None without held-back values."""
        held = self.values(segment, exported)
        if not held.batches:
            return None
        results = [list(call(batch)) for batch in held.batches]
        return accuracy_control.accuracy(
            list(map(str, segment.outputs)), _columns(held.expected), _columns(results)
        )  # fmt: skip

    def whole(self, original: GraphSession, outputs: Sequence[Tensor], model: Callable[..., Any]) -> Accuracy | None:
        """Compares the optimized graph with the original on held-back data; None without such data."""
        data = self._data.held_back
        if data is None:
            return None
        before: list[list[np.ndarray]] = []
        after: list[list[np.ndarray]] = []
        size = 0
        for batch in data:
            feeds = self._data.defaults | batch
            observed = original.observe(outputs, feeds)
            if len(observed) < len(outputs):
                continue
            results = model(feeds)
            before.append([np.asarray(observed[tensor]) for tensor in outputs])
            after.append([np.asarray(results[str(tensor)]) for tensor in outputs])
            size += sum(value.nbytes for value in (*before[-1], *after[-1]))
            if size > _GRAPH_BYTES:
                break
        if not before:
            return None
        left, right = _columns(before), _columns(after)
        figures = accuracy_control.accuracy(list(map(str, outputs)), left, right)
        return replace(figures, **_right_answers(data.labels, left, right))

    def limit(self, held: HeldValues) -> Budget:
        """What INT8 may cost of these values: the user's budget, or what any quantization should keep."""
        firsts = [next(iter(batch.values())) for batch in held.batches]
        rows = sum(len(value) if np.ndim(value) else 1 for value in firsts)
        has_classes = any(value.ndim == 2 and value.shape[1] > 1 for value in (held.expected or [[]])[0])
        return self._limit(rows, has_classes)

    def _limit(self, rows: int, has_classes: bool) -> Budget:
        budget = self.settings.quantization.accuracy_budget
        if budget is not None:
            return Budget(disagreement=budget) if has_classes else Budget(error=budget)
        if self._data.is_random:
            return _NOT_NOISE_ALONE
        return _DEFAULT if has_classes and rows >= _FEW_ROWS else _DEFAULT_FEW

    def refusal(self, figures: Accuracy | None) -> str:
        """Why these figures are not good enough, in words that follow what was judged; empty if they are."""
        if figures is None:
            return ""
        limit = self._limit(figures.samples, figures.top1_agreement is not None)
        changed = accuracy_control.disagreement(figures) or 0.0
        if limit.disagreement is not None and changed > limit.disagreement:
            return (
                f"its top class differs from TensorFlow's in {changed:.2%} of {figures.samples} held-back rows "
                f"(at most {limit.disagreement:.2%} is accepted)"
            )
        if limit.error is not None and not figures.error <= limit.error:
            return f"its error is {figures.error:.1%} of the output (at most {limit.error:.1%} is accepted)"
        return ""


def _columns(rows: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Every output over all batches; values whose shapes differ from batch to batch one after another."""
    return [
        np.stack(column)
        if not np.ndim(column[0])
        else np.concatenate(column if len({np.shape(v)[1:] for v in column}) == 1 else [v.ravel() for v in column])
        for column in zip(*rows, strict=True)
    ]


def _right_answers(
    labels: np.ndarray | None, before: Sequence[np.ndarray], after: Sequence[np.ndarray]
) -> Mapping[str, float]:
    """`Accuracy.original` and `.optimized`, by class number or by an output that is text; empty without labels."""
    if labels is None:
        return {}
    if labels.dtype.kind in "iu":
        pairs = [
            (a.argmax(1), b.argmax(1)) for a, b in zip(before, after, strict=True) if a.ndim == 2 and a.shape[1] > 1
        ]
        truth = labels.reshape(-1)
    else:
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.dtype == object and a.ndim == 1]
        texts = labels.tolist()
        truth = np.array([text if isinstance(text, bytes) else str(text).encode() for text in texts], object)
    if len(pairs) != 1:
        return {}
    left, right = pairs[0]
    truth = truth[: len(left)]
    return {"original": float(np.mean(left == truth)), "optimized": float(np.mean(right == truth))}
