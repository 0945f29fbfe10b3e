"""INT8 within a conversion: where ranges come from, which layers stay in float, what is good enough.

Per segment: calibration data streams through the original graph up to the segment's inputs (`segment_data`), ranges are
found there (`calibrate`), and held-back data, a quarter of the whole, judges what comes out of the engine against
TensorFlow (`held_back`). Ranges also come from a table of an earlier calibration, from a recording of segments' inputs,
or from the graph itself. Engines are built by the caller, who lends a function.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.data.source import Batch
from icebreaker.engine.onnx_sessions import open_session
from icebreaker.engine.protocol import Progress
from icebreaker.errors import IcebreakerError
from icebreaker.export import fake_quant
from icebreaker.export.exporter import Exported
from icebreaker.graph.graph import Graph
from icebreaker.graph.node_patterns import matching_nodes
from icebreaker.messages import Message, message
from icebreaker.partitioning.partition import Segment
from icebreaker.quantization import accuracy_control, calibrate, nncf
from icebreaker.quantization.accuracy_control import Budget
from icebreaker.quantization.bias_correction import walk
from icebreaker.quantization.calibration_table import Table, read_tables, write_tables
from icebreaker.quantization.held_back import HeldBackJudge, HeldValues
from icebreaker.quantization.nncf import NncfSegment
from icebreaker.quantization.qdq.qdq_writer import quantize
from icebreaker.quantization.qdq.quantizable_model import QuantizableModel
from icebreaker.quantization.segment_data import SegmentData
from icebreaker.quantization.thresholds import Histogram
from icebreaker.reports import Accuracy, LayerCost, Quantization, TensorRange
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

_WALKED_ROWS = 16
_SHOWN_BINS = 64

# Makes an ONNX model in a precision runnable in the engine that comes first; None where none runs here.
Build = Callable[[bytes, str], Callable[[Sequence[np.ndarray]], list[np.ndarray]] | None]


@dataclass(frozen=True)
class QuantizedSegment:
    """A segment as INT8.

    Attributes:
        signed: ONNX with int8 activations, for every engine.
        unsigned: The same with uint8 where values are never negative, for OpenVINO.
        quantization: What there is to tell so far.
    """

    signed: bytes
    unsigned: bytes
    quantization: Quantization

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What ONNX Runtime makes of it."""
        session = open_session(self.signed)
        return session.run(None, dict(zip((item.name for item in session.get_inputs()), inputs, strict=True)))


class Unfit(IcebreakerError):
    """INT8 cannot keep the budget; `quantization` tells how far it got."""

    def __init__(self, result: Message, quantization: Quantization) -> None:
        """Keeps both."""
        super().__init__(result)
        self.quantization = replace(quantization, int8_layers=0, message=str(result))


class SegmentQuantizer:
    """The INT8 side of one conversion.

    Attributes:
        has_data: Whether ranges are found on data.
        is_calibrated: Whether they are or were, for a table that is given; else the graph's own count.
        notes: What was guessed, for the log.
        warnings: What the user should know.
    """

    def __init__(
        self, graph: Graph, original: GraphSession, settings: ConvertSettings, defaults: Mapping[str, np.ndarray],
        allow_python: bool = False,
    ) -> None:  # fmt: skip
        """Opens and checks the data or the table, before anything else is done.

        Args:
            graph: The graph, cut to what the outputs need.
            original: The same in TensorFlow.
            settings: All that begins with `calibration`, and the budget.
            defaults: Sample values of inputs; those of scalars are used where images are the data.
            allow_python: Run data that is a Python program: the user was asked.

        Raises:
            IcebreakerError: There is nothing to calibrate with, or it does not fit.
        """
        self.settings = settings
        self._kept_nodes = matching_nodes(graph, settings.quantization.keep_float)
        self._data = SegmentData(graph, original, settings, defaults, allow_python)
        self._judge = HeldBackJudge(self._data, original, settings)
        self._made: dict[str, Table] = {}
        self._saved: dict[str, Table] = {}
        self.notes, self.warnings = list(self._data.notes), list(self._data.warnings)
        self.has_data = self._data.can_calibrate
        self.is_calibrated = self.has_data or settings.quantization.calibration_table is not None
        if not self.has_data and settings.quantization.calibration_table:
            self._saved = read_tables(Path(settings.quantization.calibration_table))
        elif not self.has_data and not any(node.op in fake_quant.OPS for node in graph):
            raise IcebreakerError("nothing_to_calibrate_with", "INT8 needs data to calibrate with", "give_calibration")
        self._wants_nncf = nncf.is_wanted(settings, self.has_data)
        if settings.quantization.accuracy_budget is not None and not self.has_judge:
            raise IcebreakerError(
                "budget_without_data", "an accuracy budget needs data to be judged with", "give_data_to_judge"
            )

    # -- making ----------------------------------------------------------------------------------------------------

    def table(
        self, segment: Segment, exported: Exported, report: Progress
    ) -> tuple[QuantizableModel, Table, tuple[str, ...]]:
        """Calibrates a segment.

        Returns:
            The prepared model, its ranges, and the layers that stay float, by ONNX name.

        Raises:
            IcebreakerError: It has nothing to quantize, or its data does not reach it or is not finite.
        """
        prepared = QuantizableModel(exported.model)
        if not prepared.layers:
            raise IcebreakerError("segment_without_layers", "it has no convolution or matrix product to quantize")
        keep = self._kept_layers(exported)
        if self.has_data:
            rows = self._data.rows_for(segment, exported, back=False)
            method = self.settings.quantization.calibration_method
            table = calibrate.calibrate(exported.model, rows, method, keep=keep, progress=report)
        elif self._saved:
            saved = self._saved.get(prepared.digest)
            if saved is None:
                raise IcebreakerError(
                    "table_lacks_segment", "the calibration table has no ranges for it", "calibrate_graph_again"
                )
            table = saved
        else:
            table = calibrate.trained_table(exported.model)
        return prepared, table, keep

    def _kept_layers(self, exported: Exported) -> tuple[str, ...]:
        """ONNX nodes of a segment that the user wants in float."""
        return tuple(name for name, origin in exported.nodes.items() if origin in self._kept_nodes)

    def make(self, segment: Segment, exported: Exported, build: Build, report: Progress) -> QuantizedSegment:
        """Calibrates and quantizes a segment; layers stay float where accuracy demands it.

        Raises:
            IcebreakerError: It cannot be INT8, in words that follow its name.
        """
        model = exported.model
        prepared, table, keep = self.table(segment, exported, lambda text, share: report(text, 0.6 * share))
        if not _count(prepared, table, keep):
            raise IcebreakerError("no_known_range", "no layer of it has a known range", "give_calibration_data")
        held = self._judge.values(segment, exported)
        costs: Sequence[LayerCost] = ()
        search = None
        fails = self.settings.quantization.accuracy_budget is not None
        if held.batches and not fails and not self._data.is_random:
            fails = self._breaks_limit(segment, exported, build, quantize(model, table, keep=keep, unsigned=True))
        if fails and self.has_data and held.batches:
            costs = accuracy_control.worst_layers(
                model,
                table,
                held.batches,
                progress=_reporting(report, 0.6, 0.2, message("stage_judge_layers", "Judging layers")),
            )
            limit = self._judge.limit(held)
            search = self._search(table, limit, costs, held, keep, segment, exported, build, report)
            if search.table is None:
                raise Unfit(search.message, _told(prepared, table, keep, exported, costs, search))
            table = search.table
        elif held.batches:
            costs = _walked(prepared, table, keep, held.batches)
        self._made[segment.name] = table
        told = _told(prepared, table, keep, exported, costs, search)
        return QuantizedSegment(
            quantize(model, table, keep=keep),
            quantize(model, table, keep=keep, unsigned=True),
            replace(told, tensors=_ranges(prepared, table, exported, held.batches)),
        )

    def _breaks_limit(self, segment: Segment, exported: Exported, build: Build, candidate: bytes) -> bool:
        """Whether a quantized model costs too much in the engine; one that does not run here cannot be judged so."""
        call = _named(build(candidate, "int8"), exported)
        figures = None if call is None else self._judge.judge(segment, exported, call)
        if figures is None:
            return False
        limit = self._judge.limit(self._judge.values(segment, exported))
        return not limit.holds(figures.error, accuracy_control.disagreement(figures))

    def rival(self, segment: Segment, exported: Exported, report: Progress) -> NncfSegment | None:
        """What NNCF makes of a segment; None where it was not asked for, or has nothing to do.

        Raises:
            IcebreakerError: NNCF refuses it.
        """
        if not self._wants_nncf:
            return None
        rows = self._data.rows_for(segment, exported, back=False)
        return nncf.quantize(exported, rows, self._kept_layers(exported), report)

    def _search(
        self, table: Table, limit: Budget, costs: Sequence[LayerCost], held: HeldValues, keep: Sequence[str],
        segment: Segment, exported: Exported, build: Build, report: Progress,
    ) -> accuracy_control.Search:  # fmt: skip
        """Searches for the layers that must stay float, each try built and run in the engine; see `search`."""
        model = exported.model

        def run(candidate: bytes) -> Callable[[Batch], Sequence[np.ndarray]]:
            # The float model is what the others are compared with, so it runs in full precision.
            call = _named(build(candidate, "fp32" if candidate is model else "int8"), exported)
            if call is None:
                session = open_session(candidate)
                return lambda batch: session.run(None, dict(batch))
            return call

        def latency(candidate: bytes) -> float:
            call, rows = run(candidate), self.settings.max_batch_size
            batch = {
                name: value[:rows] if value.ndim and exported.shapes[name][0] is None else value
                for name, value in held.batches[0].items()
            }
            return _milliseconds(lambda: call(batch))

        return accuracy_control.search(
            model, table, self._data.rows_for(segment, exported, back=False), limit, costs, held.batches, keep=keep,
            latency=latency, unsigned=True, run=run, progress=_reporting(report, 0.8, 0.2),
        )  # fmt: skip

    # -- judging: see `HeldBackJudge` ------------------------------------------------------------------------------

    @property
    def has_judge(self) -> bool:
        """Whether there is held-back data."""
        return self._data.can_judge

    def judge(
        self, segment: Segment, exported: Exported, runner: Callable[[Sequence[np.ndarray]], list[np.ndarray]] | None,
        made: QuantizedSegment | None,
    ) -> Accuracy | None:  # fmt: skip
        """Compares a built segment with TensorFlow on held-back data; None without such data.

        Args:
            segment: The segment.
            exported: Its ONNX form.
            runner: What was built; None: the engine does not run here, so ONNX Runtime stands in.
            made: The INT8 form, for that.
        """
        if not self._judge.values(segment, exported).batches:
            return None
        if runner is not None:
            return self._judge.judge(segment, exported, lambda batch: runner(list(batch.values())))
        if made is None:
            return None
        session = open_session(made.signed)
        return self._judge.judge(segment, exported, lambda batch: session.run(None, dict(batch)))

    def whole(self, original: GraphSession, outputs: Sequence[Tensor], model: Callable[..., Any]) -> Accuracy | None:
        """Compares the optimized graph with the original on held-back data; None without such data."""
        return self._judge.whole(original, outputs, model)

    def refusal(self, figures: Accuracy | None) -> str:
        """Why these figures are not good enough, in words that follow what was judged; empty if they are."""
        return self._judge.refusal(figures)

    def first_batch(self, rows: int) -> dict[str, np.ndarray]:
        """Values for the graph's inputs, to measure with; empty without data."""
        return self._data.first_batch(rows)

    # -- tables ----------------------------------------------------------------------------------------------------

    @property
    def has_tables(self) -> bool:
        """Whether ranges were found on data, so that there is something to keep."""
        return self.has_data and bool(self._made)

    def remember(self, name: str, table: Table) -> None:
        """Takes a table in that `make` did not make."""
        self._made[name] = table

    def rename(self, names: Mapping[str, str]) -> None:
        """Keeps the tables of some segments only, by the names that these have now.

        Args:
            names: Name when it was calibrated → name now.
        """
        self._made = {new: self._made[old] for old, new in names.items() if old in self._made}

    def save_tables(self, path: Path, job_id: str = "") -> None:
        """Writes the ranges of all segments, for a conversion without data."""
        write_tables(path, self._made, job_id)


def _named(runner: Any, exported: Exported) -> Any:
    """A runner that takes inputs by name; None stays None."""
    if runner is None:
        return None
    return lambda batch: runner([batch[name] for name in exported.inputs])


def _reporting(report: Progress, start: float, share: float, text: Message | None = None) -> Progress:
    """Progress of a part of the whole, from `start` on; `text` stands for its phases."""
    return lambda phase, fraction: report(text or phase, start + share * fraction)


def _milliseconds(call: Callable[[], Any]) -> float:
    """The shortest of some calls: points of a curve are measured far apart in time, beside whatever else runs."""
    call()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.3 and len(times) < 50):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times) * 1000


def _count(prepared: QuantizableModel, table: Table, keep: Sequence[str]) -> int:
    """How many layers a table quantizes."""
    ranges, _, kept = prepared.match(table)
    return len(prepared.layers_to_quantize(ranges, {*keep, *kept}))


def _walked(
    prepared: QuantizableModel, table: Table, keep: Sequence[str], batches: Sequence[Batch]
) -> tuple[LayerCost, ...]:
    """Every layer with its own error: what can be had in one walk. The effect on the outputs is not known."""
    ranges, _, kept = prepared.match(table)
    rows = prepared.first_rows(batches, _WALKED_ROWS)
    walked = walk(prepared, ranges, rows, keep={*keep, *kept}, own=True)
    return tuple(sorted(walked.layers, key=lambda cost: math.inf if cost.own_db is None else cost.own_db))


def _told(
    prepared: QuantizableModel, table: Table, keep: Sequence[str], exported: Exported, costs: Sequence[LayerCost],
    search: accuracy_control.Search | None,
) -> Quantization:  # fmt: skip
    """What there is to tell of a segment's quantization, before an engine was judged."""
    _, _, kept = prepared.match(table)
    layers = tuple(
        replace(cost, node=exported.nodes.get(cost.layer, ""), kept=cost.layer in kept or cost.layer in keep)
        for cost in costs
    )
    count = _count(prepared, table, keep)
    words = (
        search.message
        if search
        else message("layers_in_int8", "{count} of {total} layers in INT8", count=count, total=len(prepared.layers))
    )
    curve = search.curve if search else ()
    return Quantization(table.method, table.samples, count, dict(table.tried), layers, curve, None, words)


def _ranges(
    prepared: QuantizableModel, table: Table, exported: Exported, batches: Sequence[Batch]
) -> tuple[TensorRange, ...]:
    """What is rounded, with the values that held-back data has there."""
    ranges, _, _ = prepared.match(table)
    seen: Mapping[str, Histogram] = calibrate.observe(prepared, batches).histograms if batches else {}
    origins = {output: exported.nodes.get(node.name, "") for node in prepared.nodes for output in node.output}
    tensors = []
    for name, values in ranges.items():
        counts, span = (), 0.0
        if name in seen:
            counts = tuple(seen[name].counts.reshape(_SHOWN_BINS, -1).sum(1).tolist())
            span = seen[name].span
        node = origins.get(name) or Tensor.parse(name).node
        tensors.append(TensorRange(name, node, values.low, values.high, values.threshold, counts, span))
    return tuple(tensors)
