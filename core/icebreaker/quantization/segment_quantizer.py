"""INT8 within a conversion: where ranges come from, which layers stay in float, what is good enough.

Per segment: calibration data streams through the original graph up to the segment's inputs, `quantize` finds ranges
there, and held-back data, a quarter of the whole, judges what comes out of the engine against TensorFlow. Ranges also
come from a table of an earlier calibration, from a recording that `compat` made, or from the graph itself.

Owns: that flow, the acceptance, the file of tables. Refuses: building engines (`trial` does, and lends a function).
"""

from __future__ import annotations

import fnmatch
import itertools
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.data import dataset
from icebreaker.data.dataset import Batch, Data, Input, Preprocessing
from icebreaker.engines import registry
from icebreaker.engines.openvino import nncf_version, quantized_by_nncf
from icebreaker.errors import IcebreakerError
from icebreaker.export import fake_quant
from icebreaker.export.exporter import Exported
from icebreaker.graph.graph import Graph
from icebreaker.partitioning.partition import Segment
from icebreaker.quantization import accuracy_control, calibrate
from icebreaker.quantization.accuracy_control import Budget, Judged
from icebreaker.quantization.qdq_writer import Prepared, Table, open_session
from icebreaker.quantization.thresholds import Histogram
from icebreaker.reports.reports import Accuracy, LayerCost, Quantization, TensorRange, TradeOff
from icebreaker.settings import ConvertSettings
from icebreaker.storage.files import write_whole
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

# Without a budget: a signal 10 dB above the noise, and nine rows of ten with the same top class, is what the worst of
# the usual schemes reach on networks that INT8 suits; below, something is broken.
_DEFAULT = Budget(disagreement=0.1, error=0.316)
_DEFAULT_FEW = Budget(error=0.316)  # one row of a handful says nothing
_FEW_ROWS = 30
_NOT_NOISE_ALONE = Budget(error=1.0)  # of data that means nothing
_BATCH = 8
_WALKED_ROWS = 16
_SHOWN_BINS = 64
_HELD_BYTES = 256 << 20  # of one segment's inputs and outputs
_HELD_WHOLE_BYTES = 128 << 20  # of the graph's outputs
_FORMAT = "icebreaker calibrations 1"
RECORDING = "recording.json"  # marks a folder in which `compat` recorded segments' inputs

# Makes an ONNX model in a precision runnable in the engine that comes first; None where none runs here.
Build = Callable[[bytes, str], Callable[[Sequence[np.ndarray]], list[np.ndarray]] | None]
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class Made:
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


@dataclass(frozen=True)
class Rival:
    """A segment as INT8 in NNCF's way: a payload for OpenVINO, and what there is to tell of it."""

    payload: bytes
    quantization: Quantization


class Unfit(IcebreakerError):
    """INT8 cannot keep the budget; `quantization` tells how far it got."""

    def __init__(self, message: str, quantization: Quantization) -> None:
        """Keeps both."""
        super().__init__(message)
        self.quantization = replace(quantization, int8_layers=0, message=message)


@dataclass
class _Held:
    """A segment's held-back values: batches by ONNX input name, and what TensorFlow makes of them."""

    batches: list[Batch] = field(default_factory=list)
    expected: list[list[np.ndarray]] = field(default_factory=list)


class Int8:
    """The INT8 side of one conversion.

    Attributes:
        has_data: Whether ranges are found on data.
        is_calibrated: Whether they are or were, for a table that is given; else the graph's own count.
        is_random: Whether that data means nothing.
        notes: What was guessed, for the log.
        warnings: What the user should know.
    """

    def __init__(
        self,
        graph: Graph,
        original: GraphSession,
        settings: ConvertSettings,
        defaults: Mapping[str, np.ndarray],
        allow_python: bool = False,
    ) -> None:
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
        self._original = original
        self._settings = settings
        self._allow_python = allow_python
        self._defaults = {name: value for name, value in defaults.items() if not np.ndim(value)}
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._saved: dict[str, Table] = {}
        self._made: dict[str, Table] = {}
        self._kept_nodes = _matching(graph, settings.quantization.keep_float)
        self._recording: Path | None = None
        data = self._open(graph)
        self.is_random = data is not None and data.kind == "random"
        self.has_data = data is not None or self._recording is not None
        self.is_calibrated = self.has_data or settings.quantization.calibration_table is not None
        self._data = self._held_back = None
        if data is not None:
            self.notes += data.notes
            self.warnings += data.warnings
            self._data, self._held_back = data.split()
        elif not self.has_data:
            self._use_what_is_there(graph)
        takes_nncf = any(item.takes_nncf for item in registry.chosen(settings.engine))
        self._wants_nncf = self.has_data and settings.quantization.quantizer != "own" and takes_nncf
        if settings.quantization.quantizer == "nncf" and not self._wants_nncf:
            raise IcebreakerError(
                "NNCF needs calibration data, and openvino or auto as the engine: give both, or leave it out"
            )
        if self._wants_nncf and not nncf_version():
            if settings.quantization.quantizer == "nncf":
                raise IcebreakerError("NNCF is not installed: pip install 'icebreaker[nncf]', or leave it out")
            self._wants_nncf = False
        if settings.quantization.accuracy_budget is not None and self._held_back is None and self._recording is None:
            raise IcebreakerError(
                "an accuracy budget needs data to be judged with: give calibration data, or --data with the table"
            )
        self._held: dict[Any, _Held] = {}

    def _open(self, graph: Graph) -> Data | None:
        settings = self._settings
        path = settings.quantization.calibration or (None if settings.quantization.calibration_table else settings.data)
        if path is None:
            return None
        if Path(path, RECORDING).is_file():
            self._recording = Path(path)
            return None
        return self._open_path(graph, path)

    def _open_path(self, graph: Graph, path: str) -> Data:
        settings = self._settings
        inputs = [item for item in graph.placeholders if not item.optional]
        if Path(path).is_dir():
            inputs = [item for item in inputs if item.shape != () and item.name not in self._defaults]
        wanted = [Input(item.name, item.dtype, item.shape) for item in inputs]
        how = _preprocessing(settings.quantization.preprocessing)
        # Of few samples, a quarter is held back only if the batches are small.
        for batch in (_BATCH, 1):
            data = dataset.open_data(
                path, wanted, samples=settings.quantization.calibration_samples,
                seed=settings.quantization.calibration_seed, batch=batch,
                preprocessing=how, allow_code=self._allow_python,
            )  # fmt: skip
            if not data.samples or data.samples >= 8 * data.batch:
                break
        return data

    def _use_what_is_there(self, graph: Graph) -> None:
        """Ranges without data: from a table, or from the graph's own quantization nodes."""
        if self._settings.quantization.calibration_table:
            self._saved = _read_tables(Path(self._settings.quantization.calibration_table))
            if self._settings.data:
                self._held_back = self._open_path(graph, self._settings.data)
        elif not any(node.op in fake_quant.OPS for node in graph):
            raise IcebreakerError(
                "INT8 needs data to calibrate with: give --calibration with a folder of images, an .npz, or random "
                "(for speed only), or --calibration-table with the ranges of an earlier calibration"
            )

    # -- making ----------------------------------------------------------------------------------------------------

    def table(self, segment: Segment, exported: Exported, report: Report) -> tuple[Prepared, Table, tuple[str, ...]]:
        """Calibrates a segment.

        Returns:
            The prepared model, its ranges, and the layers that stay float, by ONNX name.

        Raises:
            IcebreakerError: It has nothing to quantize, or its data does not reach it or is not finite.
        """
        prepared = Prepared(exported.model)
        if not prepared.layers:
            raise IcebreakerError("it has no convolution or matrix product to quantize")
        keep = [name for name, origin in exported.nodes.items() if origin in self._kept_nodes]
        if self.has_data:
            stream = _Stream(self, segment, exported, back=False)

            def progress(phase: str, fraction: float) -> bool:
                report(phase, fraction)
                return True

            table = calibrate.calibrate(
                exported.model, stream, self._settings.quantization.calibration_method, keep=keep, progress=progress
            )
        elif self._saved:
            saved = self._saved.get(prepared.digest)
            if saved is None:
                raise IcebreakerError("the calibration table has no ranges for it: calibrate this graph again")
            table = saved
        else:
            table = calibrate.trained_table(exported.model)
        return prepared, table, tuple(dict.fromkeys(keep))

    def make(self, segment: Segment, exported: Exported, build: Build, report: Report) -> Made:
        """Calibrates and quantizes a segment; layers stay float where accuracy demands it.

        Raises:
            IcebreakerError: It cannot be INT8, in words that follow its name.
        """
        model = exported.model
        prepared, table, keep = self.table(segment, exported, lambda text, share: report(text, 0.6 * share))
        if not _count(prepared, table, keep):
            raise IcebreakerError("no layer of it has a known range: give calibration data")
        held = self.held(segment, exported)
        limit = self._limit(held)
        costs: Sequence[accuracy_control.LayerCost] = ()
        search = None
        fails = self._settings.quantization.accuracy_budget is not None
        if held.batches and not fails and not self.is_random:
            call = _named(build(calibrate.quantize(model, table, keep=keep, unsigned=True), "int8"), exported)
            fails = call is not None and not limit.holds(self._judge(segment, held, call))
        if fails and self.has_data and held.batches:
            costs = accuracy_control.worst_layers(
                model, table, held.batches, progress=_reporting(report, 0.6, 0.2, "Judging layers")
            )
            search = self._search(table, limit, costs, held, keep, segment, exported, build, report)
            if search.chosen is None:
                raise Unfit(search.message, _told(prepared, table, keep, exported, costs, search))
            table = search.chosen.table
        elif held.batches:
            costs = _walked(prepared, table, keep, held.batches)
        self._made[segment.name] = table
        told = _told(prepared, table, keep, exported, costs, search)
        return Made(
            calibrate.quantize(model, table, keep=keep),
            calibrate.quantize(model, table, keep=keep, unsigned=True),
            replace(told, tensors=_ranges(prepared, table, exported, held.batches)),
        )

    def rival(self, segment: Segment, exported: Exported, report: Report) -> Rival | None:
        """What NNCF makes of a segment; None where it was not asked for, or has nothing to do.

        Raises:
            IcebreakerError: NNCF refuses it.
        """
        if not self._wants_nncf:
            return None
        keep = [name for name, origin in exported.nodes.items() if origin in self._kept_nodes]
        rows = _Rows(_Stream(self, segment, exported, back=False), Prepared(exported.model), report)
        payload, count = quantized_by_nncf(exported.model, rows, keep)
        if not count:
            return None
        return Rival(payload, Quantization("nncf", rows.read, count, message=f"NNCF: {count} layers in INT8"))

    def _search(
        self, table: Table, limit: Budget, costs: Sequence[accuracy_control.LayerCost], held: _Held,
        keep: Sequence[str], segment: Segment, exported: Exported, build: Build, report: Report,
    ) -> accuracy_control.Search:  # fmt: skip
        model = exported.model

        def run(candidate: bytes) -> Callable[[Any], Sequence[np.ndarray]]:
            # The float model is what the others are compared with, so it runs in full precision.
            call = _named(build(candidate, "fp32" if candidate is model else "int8"), exported)
            if call is None:
                session = open_session(candidate)
                return lambda batch: session.run(None, dict(batch))
            return call

        def latency(candidate: bytes) -> float:
            call, rows = run(candidate), self._settings.max_batch_size
            batch = {
                name: value[:rows] if value.ndim and exported.shapes[name][0] is None else value
                for name, value in held.batches[0].items()
            }
            return _milliseconds(lambda: call(batch))

        return accuracy_control.search(
            model, table, _Stream(self, segment, exported, back=False), limit, costs, held.batches, keep=keep,
            latency=latency, unsigned=True, run=run, progress=_reporting(report, 0.8, 0.2, ""),
        )  # fmt: skip

    # -- judging ---------------------------------------------------------------------------------------------------

    def held(self, segment: Segment, exported: Exported) -> _Held:
        """A segment's held-back values and what TensorFlow makes of them, as much as may be kept in memory."""
        key = segment.nodes, segment.inputs
        if key not in self._held:
            held, size = _Held(), 0
            if self._held_back is not None or self._recording is not None:
                for batch in _Stream(self, segment, exported, back=True):
                    fed = dict(zip(map(str, segment.inputs), batch.values(), strict=True))
                    found = self._original.observe(segment.outputs, fed)
                    if len(found) < len(segment.outputs):
                        continue
                    held.batches.append(batch)
                    held.expected.append([found[tensor] for tensor in segment.outputs])
                    size += sum(value.nbytes for value in (*batch.values(), *found.values()))
                    if size > _HELD_BYTES:
                        break
            self._held = {key: held}  # of one segment at a time
        return self._held[key]

    def judge(
        self, segment: Segment, exported: Exported, runner: Callable[[Sequence[np.ndarray]], list[np.ndarray]] | None,
        made: Made | None,
    ) -> Accuracy | None:  # fmt: skip
        """Compares a built segment with TensorFlow on held-back data; None without such data.

        Args:
            segment: The segment.
            exported: Its ONNX form.
            runner: What was built; None: the engine does not run here, so ONNX Runtime stands in.
            made: The INT8 form, for that.
        """
        held = self.held(segment, exported)
        if not held.batches:
            return None
        if runner is None:
            if made is None:
                return None
            session = open_session(made.signed)
            return _accuracy(self._judge(segment, held, lambda batch: session.run(None, dict(batch))))
        return _accuracy(self._judge(segment, held, lambda batch: runner(list(batch.values()))))

    def refusal(self, found: Accuracy | None) -> str:
        """Why these figures are not good enough, or nothing."""
        if found is None:
            return ""
        limit = self._limit_for(found.samples, found.top1_agreement is not None)
        changed = 0.0 if found.top1_agreement is None else 1 - found.top1_agreement
        if limit.disagreement is not None and changed > limit.disagreement:
            return (
                f"its top class differs from TensorFlow's in {changed:.2%} of {found.samples} held-back rows "
                f"(at most {limit.disagreement:.2%} is accepted)"
            )
        if limit.error is not None and not found.error <= limit.error:
            return f"its error is {found.error:.1%} of the output (at most {limit.error:.1%} is accepted)"
        return ""

    def whole(self, original: GraphSession, outputs: Sequence[Tensor], model: Callable[..., Any]) -> Accuracy | None:
        """Compares the optimized graph with the original on held-back data; None without such data."""
        if self._held_back is None:
            return None
        before: list[list[np.ndarray]] = []
        after: list[list[np.ndarray]] = []
        size = 0
        for batch in self._held_back:
            feeds = self._defaults | batch
            found = original.observe(outputs, feeds)
            if len(found) < len(outputs):
                continue
            results = model(feeds)
            before.append([np.asarray(found[tensor]) for tensor in outputs])
            after.append([np.asarray(results[str(tensor)]) for tensor in outputs])
            size += sum(value.nbytes for value in (*before[-1], *after[-1]))
            if size > _HELD_WHOLE_BYTES:
                break
        if not before:
            return None
        left, right = _columns(before), _columns(after)
        judged = accuracy_control.figures(list(map(str, outputs)), left, right, None)
        return replace(_accuracy(judged), **_rightly(self._held_back.labels, left, right))

    def _judge(self, segment: Segment, held: _Held, call: Callable[[Batch], Sequence[np.ndarray]]) -> Judged:
        results = [list(call(batch)) for batch in held.batches]
        return accuracy_control.figures(
            list(map(str, segment.outputs)), _columns(held.expected), _columns(results), None
        )

    def _limit(self, held: _Held) -> Budget:
        rows = sum(
            len(next(iter(batch.values()))) if np.ndim(next(iter(batch.values()))) else 1 for batch in held.batches
        )
        has_classes = any(value.ndim == 2 and value.shape[1] > 1 for value in (held.expected or [[]])[0])
        return self._limit_for(rows, has_classes)

    def _limit_for(self, rows: int, has_classes: bool) -> Budget:
        budget = self._settings.quantization.accuracy_budget
        if budget is not None:
            return Budget(disagreement=budget) if has_classes else Budget(error=budget)
        if self.is_random:
            return _NOT_NOISE_ALONE
        return _DEFAULT if has_classes and rows >= _FEW_ROWS else _DEFAULT_FEW

    @property
    def has_judge(self) -> bool:
        """Whether there is held-back data."""
        return self._held_back is not None or self._recording is not None

    def first_batch(self, rows: int) -> dict[str, np.ndarray]:
        """Values for the inputs, to measure with; empty without data."""
        batch = next(iter(self._held_back or self._data or ()), None)
        if batch is None:
            return {}
        return self._defaults | {k: v if not v.ndim else np.resize(v, (rows, *v.shape[1:])) for k, v in batch.items()}

    # -- tables ------------------------------------------------------------------------------------------------------

    @property
    def has_tables(self) -> bool:
        """Whether ranges were found on data, so that there is something to keep."""
        return self.has_data and bool(self._made)

    def remember(self, name: str, table: Table) -> None:
        """Takes a table in that `make` did not make."""
        self._made[name] = table

    def save_tables(self, path: Path, job_id: str = "") -> None:
        """Writes the ranges of all segments, for a conversion without data."""
        parts = []
        for name, table in self._made.items():
            body = table.to_json().rstrip().replace("\n", "\n    ")
            parts.append(f'   {{"segment": {json.dumps(name)}, "table":\n    {body}}}')
        text = f'{{\n  "format": {json.dumps(_FORMAT)},\n  "segments": [\n' + ",\n".join(parts) + "\n  ]\n}\n"
        write_whole(path, text.encode(), job_id)

    # -- values ------------------------------------------------------------------------------------------------------

    def values(self, segment: Segment, back: bool) -> Iterator[list[np.ndarray]]:
        """A segment's inputs, batch by batch: of the data to calibrate with, or of what was held back."""
        if self._recording is not None:
            yield from _recorded(self._recording, segment, back)
            return
        for batch in (self._held_back if back else self._data) or ():
            feeds = self._defaults | batch
            if all(str(tensor) in feeds for tensor in segment.inputs):
                yield [feeds[str(tensor)] for tensor in segment.inputs]
                continue
            found = self._original.observe(segment.inputs, feeds)
            if len(found) == len(segment.inputs):  # else it lies in a branch that this batch does not take
                yield [found[tensor] for tensor in segment.inputs]

    def count(self, back: bool) -> int:
        """Number of batches, 0 if unknown."""
        data = self._held_back if back else self._data
        return data.__length_hint__() if data is not None else 0


@dataclass(frozen=True)
class _Stream:
    """A segment's inputs by ONNX name."""

    int8: Int8
    segment: Segment
    exported: Exported
    back: bool

    def __iter__(self) -> Iterator[Batch]:
        for values in self.int8.values(self.segment, self.back):
            yield dict(zip(self.exported.inputs, values, strict=True))

    def __length_hint__(self) -> int:
        return self.int8.count(self.back)


class _Rows:
    """A stream's batches as single samples, for NNCF, which has no progress of its own to hook into."""

    def __init__(self, stream: _Stream, prepared: Prepared, report: Report) -> None:
        self._stream, self._prepared, self._report = stream, prepared, report
        self.read = 0

    def __iter__(self) -> Iterator[Batch]:
        self.read = 0
        for batch in self._stream:
            for row in calibrate.parts(self._prepared, calibrate.fit_batch(self._prepared, batch), 1):
                self.read += 1
                self._report(f"NNCF: {self.read} samples", 1.0)
                yield row


def _named(runner: Any, exported: Exported) -> Any:
    """A runner that takes inputs by name; None stays None."""
    if runner is None:
        return None
    return lambda batch: runner([batch[name] for name in exported.inputs])


def _reporting(report: Report, start: float, share: float, text: str) -> calibrate.Progress:
    def progress(phase: str, fraction: float) -> bool:
        report(text or phase, start + share * fraction)
        return True

    return progress


def _milliseconds(call: Callable[[], Any]) -> float:
    """The shortest of some calls: points of a curve are measured far apart in time, beside whatever else runs."""
    call()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.3 and len(times) < 50):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times) * 1000


def _count(prepared: Prepared, table: Table, keep: Sequence[str]) -> int:
    """How many layers a table quantizes."""
    ranges, _, kept = prepared.match(table)
    return len(prepared.chosen(ranges, {*keep, *kept}))


def _walked(
    prepared: Prepared, table: Table, keep: Sequence[str], batches: Sequence[Batch]
) -> tuple[accuracy_control.LayerCost, ...]:
    """Every layer with its own error: what can be had in one walk. The effect on the outputs is not known."""
    ranges, _, kept = prepared.match(table)
    rows = calibrate.first_rows(prepared, batches, _WALKED_ROWS)
    walked = calibrate.walk(prepared, ranges, rows, keep={*keep, *kept}, own=True)
    found = [accuracy_control.LayerCost(item.layer, item.op, math.inf, item.own_db, item.db) for item in walked.layers]
    return tuple(sorted(found, key=lambda cost: cost.own_db))


def _told(
    prepared: Prepared, table: Table, keep: Sequence[str], exported: Exported,
    costs: Sequence[accuracy_control.LayerCost],    search: accuracy_control.Search | None,
) -> Quantization:  # fmt: skip
    _, _, kept = prepared.match(table)
    curve = tuple(
        TradeOff(
            len(point.kept), point.judged.error, point.judged.disagreement, point.latency_ms,
            search is not None and point is search.chosen,
        )
        for point in (search.points if search else ())
    )  # fmt: skip
    layers = tuple(
        LayerCost(
            item.layer, exported.nodes.get(item.layer, ""), item.op, _finite(item.output_db), _finite(item.own_db),
            _finite(item.db), item.layer in kept or item.layer in keep,
        )
        for item in costs
    )  # fmt: skip
    count = _count(prepared, table, keep)
    words = search.message if search else f"{count} of {len(prepared.layers)} layers in INT8"
    return Quantization(table.method, table.samples, count, dict(table.tried), layers, curve, None, words)


def _ranges(prepared: Prepared, table: Table, exported: Exported, batches: Sequence[Batch]) -> tuple[TensorRange, ...]:
    """What is rounded, with the values that held-back data has there."""
    ranges, _, _ = prepared.match(table)
    seen: Mapping[str, Histogram] = {}
    if batches:
        seen = calibrate.observe(prepared, batches, lambda phase, fraction: True).histograms
    origins = {output: exported.nodes.get(node.name, "") for node in prepared.nodes for output in node.output}
    found = []
    for name, item in ranges.items():
        counts, span = (), 0.0
        if name in seen:
            counts = tuple(seen[name].counts.reshape(_SHOWN_BINS, -1).sum(1).tolist())
            span = seen[name].span
        node = origins.get(name) or Tensor.parse(name).node
        found.append(TensorRange(name, node, item.low, item.high, item.threshold, counts, span))
    return tuple(found)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _accuracy(judged: Judged) -> Accuracy:
    right = judged.accuracy or (None, None)
    agreement = None if judged.disagreement is None else 1 - judged.disagreement
    return Accuracy(judged.samples, judged.outputs, agreement, judged.top5_agreement, judged.error, *right)


def _columns(rows: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Every output over all batches; values whose shapes differ from batch to batch one after another."""
    return [
        np.stack(column)
        if not np.ndim(column[0])
        else np.concatenate(column if len({np.shape(v)[1:] for v in column}) == 1 else [v.ravel() for v in column])
        for column in zip(*rows, strict=True)
    ]


def _rightly(labels: np.ndarray | None, before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> dict[str, float]:
    """The share of rows that both get right: by class number, or by an output that is text."""
    if labels is None:
        return {}
    if labels.dtype.kind in "iu":
        pairs = [
            (a.argmax(1), b.argmax(1)) for a, b in zip(before, after, strict=True) if a.ndim == 2 and a.shape[1] > 1
        ]
        truth = labels.reshape(-1)
    else:
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.dtype == object and a.ndim == 1]
        truth = np.array([item if isinstance(item, bytes) else str(item).encode() for item in labels.tolist()], object)
    if len(pairs) != 1:
        return {}
    left, right = pairs[0]
    truth = truth[: len(left)]
    return {"original": float(np.mean(left == truth)), "optimized": float(np.mean(right == truth))}


def _preprocessing(given: Mapping[str, Any] | None) -> Preprocessing | None:
    if given is None:
        return None
    values: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in given.items()}
    try:
        return Preprocessing(**values)
    except TypeError as error:
        raise IcebreakerError(f"the preprocessing cannot be read: {error}") from error


def _matching(graph: Graph, patterns: Sequence[str]) -> frozenset[str]:
    """Nodes by name, or by patterns such as `head/*`."""
    found: set[str] = set()
    for text in patterns:
        if any(sign in text for sign in "*?["):
            found.update(fnmatch.filter((node.name for node in graph), text))
        else:
            found.add(graph.require(text).node)
    return frozenset(found)


def _read_tables(path: Path) -> dict[str, Table]:
    """Tables by the digest of their model, from what `save_tables` or `Table.save` wrote."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IcebreakerError(f"{path} could not be read: {error.strerror}: give the table of a calibration") from error
    except (ValueError, RecursionError) as error:
        raise IcebreakerError(f"{path} is no calibration table ({error}): calibrate again") from error
    parts: Any = [data]
    if isinstance(data, dict) and data.get("format") == _FORMAT:
        parts = data.get("segments")
        if not isinstance(parts, list) or not all(isinstance(item, dict) and "table" in item for item in parts):
            raise IcebreakerError(f"{path} is no calibration table: calibrate again")
        parts = [item["table"] for item in parts]
    tables = [Table.from_json(json.dumps(item), str(path)) for item in parts]
    return {table.graph: table for table in tables}


def _recorded(folder: Path, segment: Segment, back: bool) -> Iterator[list[np.ndarray]]:
    """What `compat` recorded of a segment's inputs, in small batches: every fourth of them is held back."""
    wanted = [str(tensor) for tensor in segment.inputs]
    try:
        index = json.loads((folder / RECORDING).read_text(encoding="utf-8"))
        part = next((str(item["folder"]) for item in index["segments"] if item["inputs"] == wanted), None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IcebreakerError(f"{folder / RECORDING} cannot be read ({error!r}): calibrate again") from error
    if part is None or Path(part).name != part:
        raise IcebreakerError("nothing was recorded for it: the calibration graph belongs to another conversion")
    batches = (piece for file in sorted((folder / part).glob("*.npz")) for piece in _pieces(file, len(wanted)))
    found = list(itertools.islice(batches, 4))
    if len(found) < 4:  # too few to hold any back
        yield from found
        return
    for place, values in enumerate(itertools.chain(found, batches)):
        if (place % 4 == 3) is back:
            yield values


def _pieces(file: Path, count: int) -> Iterator[list[np.ndarray]]:
    """A recorded call in batches of a few rows, where all inputs have the same number of rows."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            values = [archive[f"input_{index}"] for index in range(count)]
    except (OSError, ValueError, KeyError, zlib.error) as error:
        raise IcebreakerError(f"{file} cannot be read ({error}): run the calibration graph again") from error
    rows = {len(value) for value in values if value.ndim}
    if len(rows) != 1 or rows == {1}:
        yield values
        return
    total = rows.pop()
    size = max(1, min(_BATCH, total // 8))
    for start in range(0, total, size):
        yield [value[start : start + size] if value.ndim else value for value in values]
