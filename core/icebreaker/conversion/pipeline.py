"""Converts a frozen graph: find segments, try engines, put together, write. Runs in a worker.

Nothing is taken on trust: a node goes to an engine only if the converter and the engine take it when asked for real,
and a built segment stays only if it is right and, with `auto`, faster: alone, and in the graph as a whole. Whatever is
refused stays in TensorFlow, with its reason.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from icebreaker import events, gpu
from icebreaker.conversion import scope
from icebreaker.conversion.context import Context, Emit, Notices
from icebreaker.conversion.engine_selection.candidates import Accepted, Narrowed
from icebreaker.conversion.engine_selection.segment_forms import SegmentForms
from icebreaker.conversion.engine_selection.selection import EngineSelection
from icebreaker.conversion.report import conversion_report
from icebreaker.conversion.sample_values import SampleValues, nothing_checked
from icebreaker.conversion.segment_search import SegmentSearch
from icebreaker.conversion.verification import Verified, verify
from icebreaker.engine import registry
from icebreaker.engine.protocol import Runner
from icebreaker.errors import IcebreakerError
from icebreaker.export import exporter
from icebreaker.export.recurrent.finding import find_recurrences
from icebreaker.formats import graph_files
from icebreaker.formats.saved_model.lookup_tables import spare_initializers, wait_for_tables
from icebreaker.formats.saved_model.signatures import Frozen
from icebreaker.graph import side_effects
from icebreaker.graph.fixed_inputs import fix_inputs
from icebreaker.graph.graph import Graph
from icebreaker.graph.node_patterns import matching_nodes
from icebreaker.graph.placement import placed_anywhere
from icebreaker.messages import message
from icebreaker.partitioning.partition import Refusal, Segment
from icebreaker.quantization.segment_quantizer import SegmentQuantizer
from icebreaker.reports import CalibratedSegment, Calibration, Conversion, Left
from icebreaker.runtime import artifact_reader, artifact_writer, loader, saved_model_writer
from icebreaker.settings import Consent, ConvertSettings
from icebreaker.storage import crash_journal, trusted_engines
from icebreaker.storage.weight_store import Store, give_memory_back
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import inline_functions, prune, spare_inputs
from icebreaker.tf.session import GraphSession

_log = logging.getLogger(__name__)

_MOST_NARROWINGS = 6  # times that the graph is split again because of single nodes
_BIG_BYTES_INT8 = 32 << 20  # calibrating takes memory of its own


def convert(
    model: Path,
    output: Path,
    settings: ConvertSettings,
    consent: Consent = Consent(),
    emit: Emit = lambda event: None,
    job_id: str = "",
    form: str = "graph",
) -> Conversion:
    """Converts the graph in `model` and writes the optimized one to `output`.

    Args:
        model: A frozen graph, SavedModel or Keras model.
        output: The file or folder to write, or replace.
        settings: What the user chose.
        consent: What the user has allowed.
        emit: Receives `Progress` and `Log`.
        job_id: Part of the names of temporary files, by which the parent finds those of a job that died.
        form: What to write, one of `settings.OUTPUT_FORMATS`.

    Raises:
        IcebreakerError: The graph, a setting, or the target is at fault; nothing is written then.
    """
    if names := settings.unheeded:  # a promise must not be dropped without a word
        raise IcebreakerError(
            "setting_for_int8", "the {subject} is for INT8, not {precision}", "choose_int8_or_leave_out",
            subject=names[0].replace("_", " "), precision=settings.precision,
        )  # fmt: skip
    registry.require(settings.engine)
    scope.check_target(output, form)
    table = Path(settings.quantization.calibration_table or f"{output}.calibration.json")
    if settings.precision == "int8":
        scope.check_target(table)
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:
        work = _begin(model, settings, consent, emit, Path(folder))
        _check_side_files(work.context.graph, model, output if form == "graph" else None)
        verified = work.optimize()
        emit(events.Progress(message("stage_write", "Writing the optimized graph"), 0.98))
        written_table = ""
        if (int8 := work.context.int8) is not None and int8.has_tables:
            int8.save_tables(table, job_id)
            written_table = str(table)
        nodes = [item.node for item in verified.accepted]
        store = work.context.graph.store
        if form == "saved_model":
            payloads = artifact_writer.payload_files(nodes)
            saved_model_writer.write(
                verified.definition, output, job_id, payloads=payloads, store=store, frozen=work.context.frozen
            )
            built = artifact_writer.built_engines(verified.definition, nodes)
        else:
            built = artifact_writer.write(verified.definition, output, job_id, engines=nodes, store=store)
    trusted_engines.remember_engines(built)
    report = work.report(verified, str(output), written_table)
    emit(events.Progress(message("stage_converted", "Converted"), 1.0))
    return report


def optimize(
    graph: Graph, settings: ConvertSettings, consent: Consent = Consent(), emit: Emit = lambda event: None
) -> tuple[Any, Mapping[str, Runner], Conversion]:
    """Converts a graph that is in memory, in this process.

    Returns:
        The optimized GraphDef, its runners by engine node, and the report, whose `output` is empty.

    Raises:
        IcebreakerError: As `convert`.
    """
    work = _begin_with(graph, settings, consent, emit, "the graph")
    verified = work.optimize()
    nodes = [item.node for item in verified.accepted]
    trusted_engines.remember_engines(artifact_writer.built_engines(verified.definition, nodes))
    runners = {item.report.name: item.runner for item in verified.accepted if item.runner is not None}
    return verified.definition, runners, work.report(verified, "", "")


def segments(
    graph: Graph, settings: ConvertSettings, consent: Consent = Consent()
) -> tuple[Graph, tuple[Segment, ...], Mapping[str, Left]]:
    """What would be calibrated: the graph, cut to its inputs and outputs, its segments, and why the rest would not."""
    work = _begin_with(graph, settings, consent, lambda event: None, "the graph", calibrates=False)
    split, _ = work.search.run()
    graph = work.context.graph
    left = {name: Left(name, graph[name].op, refusal.text, refusal.code) for name, refusal in split.left.items()}
    work.context.original.close()
    return graph, split.segments, left


def dtypes(graph: Graph, tensors: Sequence[Tensor]) -> list[Any]:
    """TensorFlow's types of some tensors."""
    original = GraphSession(graph.definition)
    found = [original.graph.get_tensor_by_name(f"{tensor.node}:{tensor.port}").dtype for tensor in tensors]
    original.close()
    return found


def calibrate(
    model: Path,
    output: Path,
    settings: ConvertSettings,
    consent: Consent = Consent(),
    emit: Emit = lambda event: None,
    job_id: str = "",
) -> Calibration:
    """Finds the ranges of all segments and writes them to `output`, for conversions without data.

    Args:
        model: As for `convert`.
        output: The table to write, JSON.
        settings: As for `convert`; the precision is INT8.
        consent: What the user has allowed.
        emit: Receives `Progress` and `Log`.
        job_id: As for `convert`.

    Raises:
        IcebreakerError: The graph, a setting, the data or the target is at fault; nothing is written then.
    """
    registry.require(settings.engine)
    scope.check_target(output)
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:
        work = _begin(model, replace(settings, precision="int8"), consent, emit, Path(folder))
        told = work.calibrate()
        int8 = work.context.int8
        assert int8 is not None  # noqa: S101 - that is what the precision says
        int8.save_tables(output, job_id)
    emit(events.Progress(message("stage_calibrated", "Calibrated"), 1.0))
    return Calibration(
        str(output), time.perf_counter() - work.started, max((segment.samples for segment in told), default=0),
        tuple(told), tuple(int8.notes), tuple(work.context.notices.warnings),
    )  # fmt: skip


@dataclass
class _Work:
    """One conversion, ready to begin: the graph was run once, and its engines are known."""

    context: Context
    selection: EngineSelection
    search: SegmentSearch
    started: float
    left: dict[str, Refusal] = field(default_factory=dict)

    def optimize(self) -> Verified:
        """Finds the segments, chooses engines for them, and verifies the whole."""
        accepted = self._choose_engines()
        self.context.notices.progress(message("stage_assemble", "Putting the graph together"), 0.9)
        verified = verify(self.context, accepted)
        self.left.update(verified.left)
        return verified

    def report(self, verified: Verified, output: str, table: str) -> Conversion:
        """What was made, and why the rest was not."""
        return conversion_report(
            self.context, verified.accepted, self.left, self.selection.elsewhere, output=output,
            seconds=time.perf_counter() - self.started, accuracy=verified.accuracy, table=table,
        )  # fmt: skip

    def _choose_engines(self) -> list[Accepted]:
        """Tries engines on each segment; where single nodes are to blame, splits the graph again without them."""
        context = self.context
        split, found = self.search.run()
        context.samples.add_hard_values(self._guarded)
        results: dict[Any, Accepted | Refusal] = {}
        names: dict[Any, str] = {}  # of segments, when they were tried: another split changes them
        for turn in itertools.count():
            context.samples.observe(split.segments)
            context.original.close()
            give_memory_back()
            narrows = turn < _MOST_NARROWINGS
            blamed: dict[str, Refusal] = {}
            for index, segment in enumerate(split.segments):
                if segment.key in results:
                    continue
                result = self._choose_engine(found[segment.key], index, len(split.segments), narrows=narrows)
                if isinstance(result, Narrowed):
                    blamed.update(result.refusals)
                else:
                    results[segment.key], names[segment.key] = result, segment.name
            if not blamed:
                break
            for name, refusal in blamed.items():
                _log.info(message("node_refused", "{subject}: {why}", subject=name, why=refusal.text))
            split, found = self.search.run(blamed)
        self.left.update(split.left)
        if context.int8 is not None:
            context.int8.rename({names[segment.key]: segment.name for segment in split.segments})
        accepted = []
        for segment in split.segments:
            result = results[segment.key]
            if isinstance(result, Refusal):
                self.left.update(dict.fromkeys(segment.nodes, result))
                _log.info(message(
                    "segment_stays", "{subject} stays in TensorFlow: {why}", subject=segment.name, why=result.text
                ))  # fmt: skip
            else:
                accepted.append(result.renamed(segment))
        return accepted

    def _choose_engine(
        self, forms: SegmentForms, index: int, count: int, *, narrows: bool
    ) -> Accepted | Narrowed | Refusal:
        notices = self.context.notices
        start, share = 0.3 + 0.6 * index / count, 0.6 / count
        notices.progress(
            message("stage_segment", "Building and checking segment {index} of {count}", index=index + 1, count=count),
            start,
        )
        name = forms.segment.name
        return self.selection.choose(
            forms, count,
            lambda phase, part: notices.progress(
                message("stage_of_segment", "{subject}: {phase}", subject=name, phase=phase),
                start + share * 0.8 * part,
            ),
            narrows=narrows,
        )  # fmt: skip

    @contextlib.contextmanager
    def _guarded(self, kind: str) -> Iterator[bool]:
        """Around runs on hard values: a graph on which TensorFlow itself aborts is not run on such ones again."""
        graph = self.context.graph
        ops = crash_journal.key("hard values", kind, *(f"{node.name} {node.op}" for node in graph))
        attempt = crash_journal.Attempt("hard values", ops)
        if crash_journal.reason(attempt, self.context.consent.crashed):
            yield False
            return
        with crash_journal.step("running the original graph on hard values", [attempt]):
            yield True

    def calibrate(self) -> list[CalibratedSegment]:
        """The ranges of every segment, kept in the INT8 side; what there is to tell of each."""
        context, notices, int8 = self.context, self.context.notices, self.context.int8
        assert int8 is not None  # noqa: S101 - the caller saw to it
        split, found = self.search.run()
        context.original.close()
        give_memory_back()
        told: list[CalibratedSegment] = []
        for index, segment in enumerate(split.segments):
            start, share = 0.3 + 0.68 * index / len(split.segments), 0.68 / len(split.segments)
            try:
                _, table, _ = int8.table(
                    segment, found[segment.key].exported,
                    lambda phase, part, at=start, of=share: notices.progress(phase, at + of * part),
                )  # fmt: skip
            except IcebreakerError as error:
                notices.warn(message(
                    "segment_stays_float", "{subject} stays in float: {why}", subject=segment.name, why=error.message
                ))  # fmt: skip
                continue
            int8.remember(segment.name, table)
            told.append(CalibratedSegment(
                segment.name, len(segment.nodes), table.method, dict(table.tried), table.samples, len(table.tensors)
            ))  # fmt: skip
        if not told:
            reasons = "; ".join(map(str, notices.warnings or ["there is none"]))
            raise IcebreakerError("nothing_int8", "no segment can be INT8: {reasons}", reasons=reasons)
        return told


def _begin(model: Path, settings: ConvertSettings, consent: Consent, emit: Emit, folder: Path) -> _Work:
    """Reads the graph; its weights, if they are big, go to `folder`."""
    emit(events.Progress(message("stage_read", "Reading the graph"), 0.0))
    # TensorFlow would bring weights that lie in files to a GPU again in every call.
    store = Store(folder) if gpu.find() is None else None
    big = _BIG_BYTES_INT8 if settings.precision == "int8" else None
    graph, frozen = graph_files.read_model(model, consent.side_effects, store, big, settings.signature)
    return _begin_with(graph, settings, consent, emit, str(model), frozen=frozen)


def _begin_with(
    graph: Graph, settings: ConvertSettings, consent: Consent, emit: Emit, name: str, *, calibrates: bool = True,
    frozen: Frozen | None = None,
) -> _Work:  # fmt: skip
    """Runs the graph once, and gathers what a conversion needs.

    Args:
        graph: The graph.
        settings: What the user chose.
        consent: What the user has allowed.
        emit: Receives events.
        name: What the graph is called in errors.
        calibrates: False if only the segments are wanted, without INT8's data.
        frozen: What the SavedModel says that the graph is from.
    """
    registry.require(settings.engine)
    graph = fix_inputs(placed_anywhere(wait_for_tables(graph)), settings.freeze_inputs)
    # Before TensorFlow sees it: importing a graph already runs what the shapes of others depend on.
    side_effects.require_consent(side_effects.find_side_effects(graph.definition), consent.side_effects, name)
    outputs = scope.chosen_outputs(graph, settings, frozen)
    excluded = matching_nodes(graph, settings.exclude)
    emit(events.Progress(message("stage_start_tensorflow", "Starting TensorFlow"), 0.02))
    notices = Notices(emit)
    # Imports first: they are not the conversion's time. Without an engine there is nothing to do.
    engines, versions = scope.usable_engines(settings, notices)
    exporter.supported_ops()
    started = time.perf_counter()
    whole, named = graph, {graph.require(name, "input").node for name in settings.inputs or ()}
    graph = prune(inline_functions(scope.cut_at_inputs(graph, outputs, settings)), outputs)
    original = GraphSession(graph.definition, settings.memory_fraction, reference=True, store=graph.store)
    scope.check_ports(outputs, original)
    notices.progress(message("stage_run_original", "Running the original graph"), 0.05)
    samples = SampleValues(original, graph, outputs, settings)
    if samples.failure is not None:
        notices.warn(nothing_checked(samples.failure))
    if graph.store is not None:  # its weights take much of what converting may take; a new session takes a second
        original.close()
        give_memory_back()
    int8 = None
    if settings.precision == "int8" and calibrates:
        int8 = _open_int8(graph, original, settings, consent, samples, notices)
    context = Context(
        graph, outputs, original, settings, consent, engines, versions, samples, int8, notices,
        (*spare_inputs(whole, graph, named), *spare_initializers(whole, graph)), frozen,
        find_recurrences(graph, original.shape),
    )  # fmt: skip
    selection = EngineSelection(context)
    return _Work(context, selection, SegmentSearch(context, selection, excluded), started)


def _open_int8(
    graph: Graph, original: GraphSession, settings: ConvertSettings, consent: Consent, samples: SampleValues,
    notices: Notices,
) -> SegmentQuantizer:  # fmt: skip
    """Opens the calibration data; where nothing else is known, its first batch is the sample, too."""
    int8 = SegmentQuantizer(graph, original, settings, samples.feeds[0] if samples.feeds else {}, consent.python)
    for warning in int8.warnings:
        notices.warn(warning)
    for note in int8.notes:
        _log.info(note)
    if not samples.feeds and (feeds := int8.first_batch(settings.max_batch_size)):
        samples.keep(feeds, {})
        notices.withdraw("nothing_checked")
    return int8


def _check_side_files(graph: Graph, model: Path, output: Path | None) -> None:
    """Raises IcebreakerError if the graph has engines in files beside it, and is to be written into another folder.

    `output` is None for one of its own.
    """
    if (output is None or loader.home(model) != output.absolute().parent) and any(
        stored.has_side_file for stored in artifact_reader.stored_engines(graph, Path())
    ):
        raise IcebreakerError(
            "side_files_stay",
            "{subject} is optimized already, and the side files of its engines would stay behind",
            "convert_its_original", subject=model,
        )  # fmt: skip
