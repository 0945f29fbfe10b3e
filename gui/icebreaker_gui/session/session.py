"""The app's state and the signals that tell of its changes.

Panels observe the one `Session` and do not know one another. Owns: the open file and its graph, the settings being
edited, the running job, its results, the session's temporary folder. Refuses: widgets, and anything heavy: TensorFlow
and engines live in the children of `icebreaker.jobs`, files are read and written in a thread.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QSettings, QTimer, Signal

from icebreaker import events
from icebreaker.errors import ConsentNeeded, IcebreakerError
from icebreaker.graph import external_weights
from icebreaker.graph.graph import Graph
from icebreaker.jobs import requests
from icebreaker.jobs.supervisor import Job
from icebreaker.reports import reports
from icebreaker.settings import Consent, ConvertSettings, Limits
from icebreaker.storage.files import write_together
from icebreaker_gui.problem import Problem
from icebreaker_gui.session import folders
from icebreaker_gui.session.background import Work
from icebreaker_gui.style import formatting
from icebreaker_gui.style.wording import worded

KEPT_LOG_LINES = 5_000
_RECENT_FILES = 8
_SUFFIXES = (".gz", ".pb", ".pbtxt", ".keras", ".h5")


@dataclass(frozen=True)
class Activity:
    """What the session is doing: `kind` is open, sample, convert, measure or save; `fraction` None if unknown."""

    kind: str
    stage: str
    fraction: float | None = None
    cancelling: bool = False


@dataclass(frozen=True, slots=True)  # thousands are kept
class LogLine:
    """One line of the log."""

    time: datetime.datetime
    level: str
    text: str


@dataclass(frozen=True)
class _Outcome:
    """What else is known of a conversion's result: more than its settings if it was not `made_here`, but restored."""

    settings: ConvertSettings
    saved_path: Path | None = None
    benchmark: reports.Benchmark | None = None
    made_here: bool = True  # what was not is not measured unasked


class Session(QObject):
    """Everything the app knows. Read the attributes, change them by the methods, listen to the signals."""

    graphChanged = Signal()  # `graph`, `inspection`, `path`
    settingsChanged = Signal()  # `settings`
    machineChanged = Signal()  # `machine`
    activityChanged = Signal()  # `activity`
    conversionChanged = Signal()  # `conversion`, `optimized_graph`
    savedChanged = Signal()  # `saved_path`, of the same conversion
    samplesArrived = Signal(list)  # new `events.Sample`s; an empty list: measuring begins anew
    benchmarkChanged = Signal()  # `benchmark`
    logged = Signal(list)  # new `LogLine`s
    problemChanged = Signal()  # `problem`
    recentChanged = Signal()  # `recent`
    ending = Signal()  # `folder` goes next
    consentWanted = Signal(str, object)  # what the graph does to the world, and what to call if the user allows it
    trustWanted = Signal(list, object)  # engines built elsewhere, and what to call with whether they may be loaded

    def __init__(self, parent: QObject | None = None) -> None:
        """Makes an empty session; `start` asks the engines."""
        super().__init__(parent)
        self._own = folders.SessionFolder()
        self.folder = self._own.path
        self.path: Path | None = None
        self.graph: Graph | None = None
        self.inspection: reports.Inspection | None = None
        self.settings = ConvertSettings()
        self.consent = Consent()
        self.limits = Limits()
        self.machine: reports.Machine | None = None
        self.activity: Activity | None = None
        self.conversion: reports.Conversion | None = None
        self.converted_with: ConvertSettings | None = None  # what `conversion` was made with
        self.optimized_graph: Graph | None = None
        self.saved_path: Path | None = None
        self.samples = events.Samples()
        self.benchmark: reports.Benchmark | None = None
        self.log: collections.deque[LogLine] = collections.deque(maxlen=KEPT_LOG_LINES)
        self.problem: Problem | None = None
        self.measure_after_convert = True
        self.batch = 1
        self.seconds = 10.0
        self._model_path: Path | None = None  # what jobs read: the file, or what it was frozen into
        self._work: Work | None = None
        self._engines: Work | None = None
        self._ended: list[Work] = []  # dropped, but perhaps still ending
        self._runs = 0

    # What is known

    @property
    def job(self) -> Job | None:
        """The running job, if there is one."""
        return self._work.job if self._work else None

    @property
    def busy(self) -> bool:
        """True while a file is read or written or a job runs."""
        return self.activity is not None

    @property
    def optimized_path(self) -> Path | None:
        """Where the optimized graph lies until it is saved."""
        return Path(self.conversion.output) if self.conversion else None

    @property
    def graph_file(self) -> Path | None:
        """Where the graph lies with its weights: the file itself, or what it was frozen into."""
        return self._model_path

    @property
    def unsaved(self) -> bool:
        """True while there is an optimized graph that has not been saved."""
        return self.conversion is not None and self.saved_path is None

    @property
    def recent(self) -> list[str]:
        """Files opened lately, the last one first."""
        value = QSettings().value("recent", [])
        return [value] if isinstance(value, str) else list(value or [])  # type: ignore[call-overload]

    @property
    def stem(self) -> str:
        """The open file's name without its suffixes, to make other names from."""
        path = self.path or Path("graph")
        while path.suffix.lower() in _SUFFIXES:
            path = path.with_suffix("")
        return path.name

    # What the user does

    def start(self) -> None:
        """Asks, in the background, which engines are here; removes what killed sessions have left."""
        self._engines = Work(self, self._on_engines).run_job(requests.AskEngines())

    def open(self, path: Path | str, consent: Consent = Consent()) -> None:
        """Reads a graph; what was going on is cancelled, what was there goes away once the new graph is here.

        Args:
            path: A graph in any form.
            consent: What the user has allowed: with side effects, also a SavedModel is frozen that acts outside itself
                while it is loaded.
        """
        path = Path(path)
        from icebreaker.formats import graph_files

        self._begin(Activity("open", self.tr("Reading {name}").format(name=path.name)))
        if (path.is_file() or path.is_dir()) and graph_files.needs_worker(path):
            frozen = self.folder / f"{path.stem}.frozen.pb"
            self._work = Work(self, lambda batch: self._on_inspected(batch, path)).run_job(
                requests.Inspect(model=str(path), frozen=str(frozen), consent=consent, limits=self.limits)
            )
        else:
            self._read(path, path)

    def adopt(
        self,
        conversion: reports.Conversion,
        settings: ConvertSettings,
        saved_path: Path | None,
        benchmark: reports.Benchmark | None,
    ) -> None:
        """Takes over the result of a session that is gone; its folder is moved into this one's.

        Args:
            conversion: The open graph's.
            settings: What it was made with.
            saved_path: Where it was saved, if it was.
            benchmark: What was measured, if anything was.
        """
        output = Path(conversion.output)
        self._runs += 1
        folder = self.folder / f"run{self._runs}"
        try:
            output.parent.rename(folder)
        except OSError as error:
            self.report(self.tr("The result could not be restored"), _words(error))
            return
        self._begin(Activity("open", self.tr("Restoring the result")))
        moved = dataclasses.replace(conversion, output=str(folder / output.name))
        self._on_converted(moved, _Outcome(settings, saved_path, benchmark, made_here=False))

    def make_sample(self, name: str) -> None:
        """Opens the sample graph `name`; one that does not ship is made in the session's folder first."""
        from icebreaker import sample_models

        shipped = sample_models.sample_path(name)
        if shipped:
            self.open(shipped)
            return
        target = self.folder / f"{name}.pb"
        self._begin(Activity("sample", self.tr("Making the sample")))
        failed = self.tr("The sample could not be made")
        self._work = Work(self, lambda batch: self._on_job(batch, failed, lambda made: self.open(made.output))).run_job(
            requests.MakeSample(sample=name, output=str(target))
        )

    def change(self, **values: Any) -> None:
        """Changes settings, by their flat names (`ConvertSettings.flat`).

        Raises:
            IcebreakerError: A value is out of its range; nothing is changed.
        """
        self._become(self.settings.changed(**values), self.consent, self.limits)

    def allow(self, **values: bool) -> None:
        """Changes what the user has allowed, by the fields of `Consent`."""
        self._become(self.settings, dataclasses.replace(self.consent, **values), self.limits)

    def limit(self, **values: Any) -> None:
        """Changes what a worker may take, by the fields of `Limits`.

        Raises:
            IcebreakerError: A value is out of its range; nothing is changed.
        """
        self._become(self.settings, self.consent, dataclasses.replace(self.limits, **values))

    def _become(self, settings: ConvertSettings, consent: Consent, limits: Limits) -> None:
        if (settings, consent, limits) != (self.settings, self.consent, self.limits):
            self.settings, self.consent, self.limits = settings, consent, limits
            self.settingsChanged.emit()

    def exclude(self, node: str) -> None:
        """Leaves a node in TensorFlow in the next conversion."""
        if node not in self.settings.exclude:
            self.change(exclude=(*self.settings.exclude, node))

    def convert(self, *, retry_crashed: bool = False) -> None:
        """Converts the open graph with the settings of now.

        Args:
            retry_crashed: Try also what has crashed an engine in an earlier conversion; ends a measurement that runs.
        """
        busy = self.busy and not (retry_crashed and self.activity and self.activity.kind == "measure")
        if self._model_path is None or busy or not self._allowed(self.convert):
            return
        self._runs += 1
        output = self.folder / f"run{self._runs}" / f"{self.stem}.optimized.pb"
        try:
            output.parent.mkdir(parents=True)  # the cache folder may have been emptied meanwhile
        except OSError as error:
            self.report(self.tr("The conversion could not begin"), _words(error))
            return
        settings = self.settings
        # The form for INT8 keeps what it holds while another precision is chosen.
        chosen = settings.changed(**dict.fromkeys(settings.unheeded))
        consent = dataclasses.replace(self.consent, crashed=retry_crashed or self.consent.crashed)
        self._begin(Activity("convert", self.tr("Starting"), 0.0))
        failed = self.tr("The conversion failed")
        self._work = Work(
            self,
            lambda batch: self._on_job(batch, failed, lambda result: self._on_converted(result, _Outcome(settings))),
        ).run_job(
            requests.Convert(
                model=str(self._model_path), output=str(output), settings=chosen, consent=consent, limits=self.limits
            )
        )

    def measure(self, *, engines: bool = True) -> None:
        """Measures the original and, if there is one, the optimized graph; of an open optimized graph both in one.

        Args:
            engines: Load also those that the open graph has in it; the user is asked if some were built elsewhere.
        """
        if self._model_path is None or self.busy or not self._allowed(partial(self.measure, engines=engines)):
            return
        optimized = self.optimized_path
        if optimized is None and engines and self.inspection and self.inspection.engines:
            if not self._trusted(self.inspection.engines):
                return
            optimized = self._model_path
        settings = self.converted_with or self.settings
        request = requests.Benchmark(
            model=str(self._model_path), optimized=str(optimized) if optimized else "", batch=self.batch,
            seconds=self.seconds, settings=settings, profile=True, consent=self.consent, limits=self.limits,
        )  # fmt: skip
        self.samples = events.Samples()
        self.benchmark = None
        self._begin(Activity("measure", self.tr("Starting"), 0.0))
        self.samplesArrived.emit([])
        self.benchmarkChanged.emit()
        failed = self.tr("Measuring failed")
        self._work = Work(self, lambda batch: self._on_job(batch, failed, self._on_measured)).run_job(request)

    def _allowed(self, then: Callable[[], None]) -> bool:
        """True if the graph may run: it does nothing to the world, or the user allows it; else asks for that."""
        effects = self.inspection.side_effects if self.inspection else ()
        if not effects or self.consent.side_effects:
            return True

        def allow() -> None:
            self.allow(side_effects=True)
            then()

        shown = "; ".join(f"{item.where} ({item.op}) {item.effect}" for item in effects[:3])
        if len(effects) > 3:
            shown += self.tr("; and {n} more nodes").format(n=len(effects) - 3)
        self.consentWanted.emit(shown, allow)
        return False

    def _trusted(self, engines: Mapping[str, bool]) -> bool:
        """True if these were built here, or the user trusts them; else asks for that, and then measures."""
        elsewhere = [name for name, here in engines.items() if not here]
        if not elsewhere or self.consent.engines:
            return True

        def answer(trusted: bool) -> None:
            if trusted:
                self.allow(engines=True)
            self.measure(engines=trusted)

        self.trustWanted.emit(elsewhere, answer)
        return False

    def cancel(self) -> None:
        """Ends what is going on; `activity` becomes None when it has ended. A file that is being saved is saved."""
        if self.activity is None or self._work is None:
            return
        if self._work.job:
            self._set_activity(dataclasses.replace(self.activity, cancelling=True))
            self._work.job.cancel()
        elif self.can_cancel:  # a thread that reads: it ends by itself, and nobody listens any more
            self._work.drop()
            self._end()

    @property
    def can_cancel(self) -> bool:
        """True while something is going on that `cancel` ends."""
        return self.activity is not None and self.activity.kind != "save" and not self.activity.cancelling

    def save(self, path: Path | str) -> None:
        """Writes the optimized graph, and its engines' side files, under a name of the user's."""
        source, path = self.optimized_path, Path(path)
        if source is None or self.busy:
            return
        self._begin(Activity("save", self.tr("Saving {name}").format(name=path.name)))
        self._work = Work(self, lambda batch: self._on_saved(batch[0], path)).run_thread(
            lambda: _copy_graph(source, path)
        )

    def dismiss_problem(self) -> None:
        """The user has read it."""
        if self.problem:
            self.problem = None
            self.problemChanged.emit()

    def report(self, title: str, text: str, details: str = "") -> None:
        """Shows a problem and logs it."""
        self.problem = Problem(title, text, details)
        self.problemChanged.emit()
        self._log([("error", f"{title}: {text}"), *(("debug", line) for line in details.splitlines())])

    def clear_recent(self) -> None:
        """Forgets the files opened lately."""
        QSettings().setValue("recent", [])
        self.recentChanged.emit()

    def shutdown(self, seconds: float = 3.0) -> None:
        """Ends every job and removes the session's files. Blocks up to `seconds`; for the app's end."""
        self.ending.emit()
        works = [work for work in (self._work, self._engines) if work]
        self._work = self._engines = None
        for work in works:
            work.drop()
        for work in (*works, *self._ended):
            work.wait(seconds)
        self._ended.clear()
        self._own.remove()

    # What comes back

    def _begin(self, activity: Activity) -> None:
        """Drops what is going on, and says what begins."""
        if self._work:
            self._work.drop()
        self._follow(None)
        self.dismiss_problem()
        self._set_activity(activity)

    def _set_activity(self, activity: Activity | None) -> None:
        if activity != self.activity:
            self.activity = activity
            self.activityChanged.emit()

    def _end(self) -> None:
        self._follow(None)
        self._set_activity(None)

    def _follow(self, work: Work | None) -> None:
        """Awaits `work` from now on; the inbox of what was awaited goes when nothing can write to it any more."""
        if self._work:
            self._ended.append(self._work)
        self._work = work
        running = [item for item in self._ended if item.alive]
        for item in self._ended:
            if item not in running:
                item.wait(0)
        self._ended = running

    def _log(self, lines: list[tuple[str, str]]) -> None:
        if lines:
            now = datetime.datetime.now()
            entries = [LogLine(now, level, text) for level, text in lines]
            self.log.extend(entries)
            self.logged.emit(entries)

    def _on_job(self, batch: list[events.Event], failed: str, then: Callable[[Any], None]) -> None:
        """Takes a job's events; `then` gets its result."""
        self._log([(item.level, worded(item.text)) for item in batch if isinstance(item, events.Log)])
        samples = [item for item in batch if isinstance(item, events.Sample)]
        if samples:
            self.samples.extend(samples)
            self.samplesArrived.emit(samples)
        progress = [item for item in batch if isinstance(item, events.Progress)]
        if progress and self.activity and not self.activity.cancelling:
            last = progress[-1]
            fraction = last.fraction or self.activity.fraction  # some jobs only ever say 0: not known, then
            self._set_activity(dataclasses.replace(self.activity, stage=worded(last.stage), fraction=fraction))
        match batch[-1]:
            case events.Done(result):
                then(result)
            case events.Failed(message, details):
                self._end()
                self.report(failed, worded(message), details)
            case events.Cancelled():
                self._end()
                self._log([("info", self.tr("Cancelled"))])

    def _on_engines(self, batch: list[events.Event]) -> None:
        self._log([(item.level, worded(item.text)) for item in batch if isinstance(item, events.Log)])
        match batch[-1]:
            case events.Done(result):
                self.machine = result
                self.machineChanged.emit()
            case events.Failed(message, details):
                self.machine = reports.Machine(())
                self.machineChanged.emit()
                self.report(self.tr("The engines could not be asked"), worded(message), details)

    def _on_inspected(self, batch: list[events.Event], path: Path) -> None:
        failed = self.tr("{name} could not be opened").format(name=path.name)
        last = batch[-1]
        error = IcebreakerError.of(last.message) if isinstance(last, events.Failed) else None
        if isinstance(error, ConsentNeeded):
            self._end()
            shown = "; ".join(map(worded, error.effects))
            if error.more:
                shown += self.tr("; and {n} more nodes").format(n=error.more)
            self.consentWanted.emit(shown, lambda: self.open(path, Consent(side_effects=True)))
            return
        self._on_job(batch, failed, lambda found: self._read(Path(found.frozen_path or path), path))

    def _read(self, file: Path, path: Path) -> None:
        """Reads the GraphDef in `file`, which shows the user's `path`."""
        self._follow(
            Work(self, lambda batch: self._on_read(batch[0], file, path)).run_thread(lambda: _read_graph(file))
        )

    def _on_read(self, outcome: Any, file: Path, path: Path) -> None:
        self._end()
        if isinstance(outcome, Exception):
            title = self.tr("{name} could not be opened").format(name=path.name)
            self.report(title, _words(outcome))
            return
        self.path, self._model_path = path, file
        graph, self.inspection = outcome
        self.graph = graph
        self._remove_results()
        frozen = [item for item in self.folder.glob("*.pb*") if not item.name.startswith(file.name)]
        folders.remove_later(*frozen)  # what graphs before this one were frozen into
        self.conversion = self.converted_with = self.optimized_graph = self.saved_path = self.benchmark = None
        self.samples = events.Samples()
        self.settings = self.settings.changed(
            outputs=graph.candidate_outputs,
            inputs=(),
            input_shapes={},
            profiles={},
            exclude=(),
            data=_sample_data(file),
            calibration=None,
            calibration_table=None,
            preprocessing=None,
            keep_float=(),
        )
        self.consent = Consent()  # what is opened anew is asked for anew
        self._remember(path)
        self._log([("info", self.tr("Opened {path}: {n} nodes").format(path=path, n=len(graph)))])
        for signal in (self.graphChanged, self.settingsChanged, self.conversionChanged, self.benchmarkChanged):
            signal.emit()
        self.samplesArrived.emit([])

    def _remember(self, path: Path) -> None:
        if self.folder not in path.parents:
            text = str(path.absolute())
            kept = [item for item in self.recent if item != text]
            QSettings().setValue("recent", [text, *kept][:_RECENT_FILES])
            self.recentChanged.emit()

    def _remove_results(self, keep: Path | None = None) -> None:
        """Removes what earlier conversions left in the session's folder: each may be as large as the graph."""
        folders.remove_later(*(folder for folder in self.folder.glob("run*") if folder != keep))

    def _on_converted(self, conversion: reports.Conversion, outcome: _Outcome) -> None:
        if self.activity:
            self._set_activity(
                dataclasses.replace(self.activity, stage=self.tr("Reading the optimized graph"), fraction=1.0)
            )

        def read() -> tuple[reports.Conversion, Graph | Exception]:
            try:
                return conversion, _read_graph(Path(conversion.output))[0]
            except IcebreakerError as error:
                return conversion, error

        self._follow(Work(self, lambda batch: self._on_optimized_read(batch[0], outcome)).run_thread(read))

    def _on_optimized_read(self, found: Any, outcome: _Outcome) -> None:
        self._end()
        if isinstance(found, Exception):
            self.report(self.tr("The conversion's result could not be read"), _words(found))
            return
        conversion, graph = found
        if isinstance(graph, Exception):
            self.report(self.tr("The optimized graph could not be read"), _words(graph))
            graph = None
        self._remove_results(keep=Path(conversion.output).parent)
        self.conversion, self.converted_with, self.optimized_graph = conversion, outcome.settings, graph
        self.saved_path, self.benchmark = outcome.saved_path, outcome.benchmark
        self.samples = events.Samples()
        done = self.tr("Converted in {seconds:.1f} s: {share} of the real ops in {engines}").format(
            seconds=conversion.seconds,
            share=formatting.percent(conversion.coverage),
            engines=formatting.count(len(conversion.segments), self.tr("{n} engine node"), self.tr("{n} engine nodes")),
        )
        self._log([("info", done), *(("warning", worded(text)) for text in conversion.warnings)])
        self.conversionChanged.emit()
        # Not at once: showing the result takes a while, and the window is to hear its user in between.
        QTimer.singleShot(20, lambda: self._after_conversion(outcome.made_here))

    def _after_conversion(self, made_here: bool) -> None:
        if self.busy or self.conversion is None:
            return
        if self.measure_after_convert and made_here:
            self.measure()
        if not self.busy:  # else that has told already
            self.benchmarkChanged.emit()
            self.samplesArrived.emit([])

    def _on_measured(self, benchmark: reports.Benchmark) -> None:
        self._end()
        self.benchmark = benchmark
        self._log([("info", self.tr("Measured: {finding}, {sure}").format(**formatting.headline(self.benchmark)))])
        self.benchmarkChanged.emit()

    def _on_saved(self, outcome: Any, path: Path) -> None:
        self._end()
        if isinstance(outcome, Exception):
            self.report(self.tr("The optimized graph could not be saved"), _words(outcome))
            return
        self.saved_path = path
        self._log([("info", self.tr("Saved {path}").format(path=path))])
        self.savedChanged.emit()


def _words(error: Exception) -> str:
    """What the user is told of an exception; only those of our own are written for users."""
    if isinstance(error, IcebreakerError):
        return worded(error.message)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror or error}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _read_graph(path: Path) -> tuple[Graph, reports.Inspection]:
    """Runs in a thread: the graph and what is in it; its lazy values are computed here, not while painting."""
    from icebreaker.formats import graph_files

    graph = graph_files.read_structure(path)
    return graph, graph_files.describe(graph)


def _sample_data(file: Path) -> str | None:
    """The values that ship with a sample graph; a graph of the user's has none until they choose some."""
    from icebreaker import sample_models

    for name in sample_models.SAMPLES:
        graph, data = sample_models.sample_path(name), sample_models.sample_data(name)
        if graph and data and graph.samefile(file):
            return str(data)
    return None


def _copy_graph(source: Path, target: Path) -> None:
    """Runs in a thread: copies a graph and the side files that lie in its folder, which bear its name there."""
    if not target.parent.is_dir():
        raise IcebreakerError(f"{target.parent} is not a folder: choose another place")
    home = source.parent
    sides = {
        target.parent / path.relative_to(home): path for path in home.rglob("*") if path.is_file() and path != source
    }
    write_together(sides | {target: source})  # the graph last, so that it never names a file that is not there
    external_weights.sweep(target.with_name(source.name), {*sides, target})
