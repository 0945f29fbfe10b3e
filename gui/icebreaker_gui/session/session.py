"""The app's state and the signals that tell of its changes.

Panels observe the one `Session` and do not know one another. It knows no widgets and loads nothing heavy: TensorFlow
and engines live in the children of `icebreaker.jobs`, files are read and written in threads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from icebreaker import events, reports
from icebreaker.errors import ConsentNeeded, IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.jobs import requests
from icebreaker.jobs.supervisor import Job
from icebreaker.messages import Message
from icebreaker.settings import Consent, ConvertSettings, Limits
from icebreaker_gui.session import folders, graph_io
from icebreaker_gui.session.activity import Activity, Foreground
from icebreaker_gui.session.background import Work
from icebreaker_gui.session.consent import Permissions
from icebreaker_gui.session.log_book import LogBook
from icebreaker_gui.session.recent_files import RecentFiles
from icebreaker_gui.style import formatting
from icebreaker_gui.style.wording import error_text, worded

_BREATH_MILLISECONDS = 20  # in which the window hears its user, between showing a result and going on


@dataclass(frozen=True)
class Problem:
    """Something that went wrong, to be shown and copied into a bug report.

    Attributes:
        title: What was tried.
        text: Why it failed, and what helps.
        details: What a bug report wants, such as a traceback.
    """

    title: str
    text: str
    details: str = ""


@dataclass(frozen=True)
class _Outcome:
    """What else is known of a conversion's result: more than its settings if it was not `made_here`, but restored."""

    settings: ConvertSettings
    saved_path: Path | None = None
    benchmark: reports.Benchmark | None = None
    made_here: bool = True  # what was not is not measured unasked


class Session(QObject):
    """Everything the app knows. Read the attributes, change them by the methods, listen to the signals.

    Attributes:
        folder: Where this session keeps its files until it ends.
        path: The file that is open, as the user knows it.
        graph: What is in it, without its large weights.
        inspection: The facts about it.
        settings: What the next conversion will be made with.
        limits: What workers may take.
        machine: Which engines there are and what they can do; None until they have answered.
        conversion: The result of the last conversion of this graph.
        converted_with: The settings that it was made with.
        optimized_graph: The graph that it wrote; None if that could not be read.
        saved_path: Where the user saved it.
        samples: The calls of the measurement that runs or ran last.
        benchmark: What was found by it; None until it has ended.
        problem: What went wrong last, until the user has read it.
        measure_after_convert: Whether a conversion is followed by a measurement.
        batch: Rows of each input in a measurement.
        seconds: How long a measurement takes.
        log: What the app and its workers said.
        recent: Files opened lately.
    """

    graphChanged = Signal()  # `graph`, `inspection`, `path`
    settingsChanged = Signal()  # `settings`, `limits`, `consent`
    machineChanged = Signal()  # `machine`
    activityChanged = Signal()  # `activity`
    conversionChanged = Signal()  # `conversion`, `optimized_graph`
    savedChanged = Signal()  # `saved_path`, of the same conversion
    samplesArrived = Signal(list)  # new `events.Sample`s; an empty list: measuring begins anew
    benchmarkChanged = Signal()  # `benchmark`
    problemChanged = Signal()  # `problem`
    ending = Signal()  # `folder` goes next
    consentWanted = Signal(str, object)  # what the graph does outside itself, and what to call if the user allows it
    trustWanted = Signal(list, object)  # engines built elsewhere, and what to call with whether they may be loaded

    def __init__(self, parent: QObject | None = None) -> None:
        """Makes an empty session; `start` asks the engines."""
        super().__init__(parent)
        self._own_folder = folders.SessionFolder()
        self.folder = self._own_folder.path
        self.path: Path | None = None
        self.graph: Graph | None = None
        self.inspection: reports.Inspection | None = None
        self.settings = ConvertSettings()
        self.limits = Limits()
        self.machine: reports.Machine | None = None
        self.conversion: reports.Conversion | None = None
        self.converted_with: ConvertSettings | None = None
        self.optimized_graph: Graph | None = None
        self.saved_path: Path | None = None
        self.samples = events.Samples()
        self.benchmark: reports.Benchmark | None = None
        self.problem: Problem | None = None
        self.measure_after_convert = True
        self.batch = 1
        self.seconds = 10.0
        self.log = LogBook(self)
        self.recent = RecentFiles(self)
        self._permissions = Permissions(self)
        self._permissions.changed.connect(self.settingsChanged)
        self._permissions.consentWanted.connect(self.consentWanted)
        self._permissions.trustWanted.connect(self.trustWanted)
        self._foreground = Foreground(self, self.log)
        self._foreground.changed.connect(self.activityChanged)
        self._foreground.sampled.connect(self._on_samples)
        self._foreground.failed.connect(self._on_failed)
        self._model_path: Path | None = None  # what jobs read: the file, or what it was frozen into
        self._asking: Work[events.Event] | None = None  # the job that asks the engines
        self._runs = 0

    # What is known

    @property
    def activity(self) -> Activity | None:
        """What is being done, if anything is."""
        return self._foreground.activity

    @property
    def busy(self) -> bool:
        """True while a file is read or written or a job runs."""
        return self.activity is not None

    @property
    def job(self) -> Job | None:
        """The running job, if there is one."""
        return self._foreground.job

    @property
    def can_cancel(self) -> bool:
        """True while something is going on that `cancel` ends."""
        return self._foreground.can_cancel

    @property
    def cancelled(self) -> bool:
        """True while what ended last did so because the user cancelled it."""
        return self._foreground.cancelled

    @property
    def consent(self) -> Consent:
        """What the user has allowed for the open graph."""
        return self._permissions.consent

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
    def stem(self) -> str:
        """The open file's name without its suffixes, to make other names from."""
        return graph_io.stem(self.path or Path("graph"))

    # Choices

    def change(self, **values: Any) -> None:
        """Changes settings, by their flat names (`ConvertSettings.flat`).

        Raises:
            IcebreakerError: A value is out of its range; nothing is changed.
        """
        settings = self.settings.changed(**values)
        if settings != self.settings:
            self.settings = settings
            self.settingsChanged.emit()

    def replace_settings(self, settings: ConvertSettings) -> None:
        """Goes back, or forth, to settings as a whole."""
        if settings != self.settings:
            self.settings = settings
            self.settingsChanged.emit()

    def allow(self, **values: bool) -> None:
        """Changes what the user has allowed, by the fields of `Consent`."""
        self._permissions.allow(**values)

    def limit(self, **values: int | float | None) -> None:
        """Changes what a worker may take, by the fields of `Limits`.

        Raises:
            IcebreakerError: A value is out of its range; nothing is changed.
        """
        limits = dataclasses.replace(self.limits, **values)  # type: ignore[arg-type] - it checks them itself
        if limits != self.limits:
            self.limits = limits
            self.settingsChanged.emit()

    def exclude(self, *nodes: str) -> None:
        """Leaves nodes in TensorFlow in the next conversion."""
        self.change(exclude=tuple(dict.fromkeys((*self.settings.exclude, *nodes))))

    def include(self, *nodes: str) -> None:
        """Lets nodes go to engines again that were left in TensorFlow by the user."""
        taken = frozenset(nodes)
        self.change(exclude=tuple(name for name in self.settings.exclude if name not in taken))

    # The machine

    def start(self) -> None:
        """Asks, in the background, which engines are here."""
        self._asking = Work(self, self._on_engines).run_job(requests.AskEngines())

    def _on_engines(self, batch: list[events.Event]) -> None:
        self.log.add_events(batch)
        match batch[-1]:
            case events.Done(result):
                self.machine = result
                self.machineChanged.emit()
            case events.Failed(message, details):
                self.machine = reports.Machine(())
                self.machineChanged.emit()
                self.report(self.tr("The engines could not be asked"), worded(message), details)

    # Opening a graph

    def open(self, path: Path | str, consent: Consent = Consent(), signature: str = "") -> None:
        """Reads a graph; what was going on is cancelled, what was there goes away once the new graph is here.

        Args:
            path: A graph in any form.
            consent: What the user has allowed: with side effects, also a SavedModel is frozen that acts outside itself
                while it is loaded.
            signature: Which signature of a SavedModel; empty: `serving_default`, or the first by name.
        """
        path = Path(path)
        self._begin(Activity("open", self.tr("Reading {name}").format(name=path.name)))
        if not graph_io.needs_worker(path):
            self._read(path, path)
            return
        frozen = self.folder / f"{path.stem}.frozen.pb"
        self._foreground.run_job(
            requests.Inspect(
                model=str(path), frozen=str(frozen), signature=signature, consent=consent, limits=self.limits
            ),
            lambda inspection: self._read(Path(inspection.frozen_path or path), path, inspection),
            self._could_not_open(path),
            partial(self._ask_to_freeze, path, signature),
        )

    def make_sample(self, name: str) -> None:
        """Opens the sample graph `name`; one that does not ship is made in the session's folder first."""
        from icebreaker import sample_models

        shipped = sample_models.sample_path(name)
        if shipped:
            self.open(shipped)
            return
        self._begin(Activity("sample", self.tr("Making the sample")))
        self._foreground.run_job(
            requests.MakeSample(sample=name, output=str(self.folder / f"{name}.pb")),
            lambda made: self.open(made.output),
            self.tr("The sample could not be made"),
        )

    def _ask_to_freeze(self, path: Path, signature: str, failure: Message) -> bool:
        """Asks for consent if that is what was missing to freeze `path`."""
        error = IcebreakerError.of(failure)
        if not isinstance(error, ConsentNeeded):
            return False
        self._permissions.ask_again(error, lambda: self.open(path, Consent(side_effects=True), signature))
        return True

    def ask_again(self, refused: ConsentNeeded, then: Callable[[], object]) -> None:
        """Asks the user to allow what was refused for want of consent; `then` is called if they do."""
        self._permissions.ask_again(refused, then)

    def _could_not_open(self, path: Path) -> str:
        return self.tr("{name} could not be opened").format(name=path.name)

    def _read(self, file: Path, path: Path, told: reports.Inspection | None = None) -> None:
        """Reads the GraphDef in `file`, which shows the user's `path`; `told` is what was told of that."""
        self._foreground.run_thread(
            lambda: graph_io.read_graph(file, told), lambda outcome: self._on_read(outcome, file, path)
        )

    def _on_read(self, outcome: tuple[Graph, reports.Inspection] | Exception, file: Path, path: Path) -> None:
        self._foreground.end()
        if isinstance(outcome, Exception):
            self.report(self._could_not_open(path), error_text(outcome))
            return
        self.path, self._model_path = path, file
        graph, self.inspection = outcome
        self.graph = graph
        self._remove_results()
        frozen = [other for other in self.folder.glob("*.pb*") if not other.name.startswith(file.name)]
        folders.remove_later(*frozen)  # what graphs before this one were frozen into
        self.conversion = self.converted_with = self.optimized_graph = self.saved_path = self.benchmark = None
        self.samples = events.Samples()
        data = graph_io.sample_data(file)
        int8 = self.settings.precision == "int8" and data is None  # chosen for another graph, whose data this is not
        self.settings = self.settings.changed(
            precision="fp32" if int8 else self.settings.precision, outputs=graph.candidate_outputs, inputs=(),
            input_shapes={}, profiles={}, exclude=(),
            data=data, calibration=None, calibration_table=None, preprocessing=None,
            keep_float=(),
        )  # fmt: skip
        self._permissions.forget()
        if self.folder not in path.parents:
            self.recent.add(path)
        self.log.add("info", self.tr("Opened {path}: {n} nodes").format(path=path, n=len(graph)))
        for signal in (self.graphChanged, self.settingsChanged, self.conversionChanged, self.benchmarkChanged):
            signal.emit()
        self.samplesArrived.emit([])

    # Converting

    def convert(self, *, retry_crashed: bool = False) -> None:
        """Converts the open graph with the settings of now.

        Args:
            retry_crashed: Try also what has crashed an engine in an earlier conversion; ends a measurement that runs.
        """
        busy = self.busy and not (retry_crashed and self.activity and self.activity.kind == "measure")
        if self._model_path is None or busy or not self._may_run(self.convert):
            return
        output = self._next_run_folder() / f"{self.stem}.optimized.pb"
        try:
            graph_io.refuse_shown(self.graph, self.path)
        except IcebreakerError as error:
            self.report(self.tr("The conversion failed"), error_text(error))
            return
        try:
            output.parent.mkdir(parents=True)  # the cache folder may have been emptied meanwhile
        except OSError as error:
            self.report(self.tr("The conversion could not begin"), error_text(error))
            return
        settings = self.settings
        # The form for INT8 keeps what it holds while another precision is chosen.
        heeded = settings.changed(**dict.fromkeys(settings.unheeded))
        consent = dataclasses.replace(self.consent, crashed=retry_crashed or self.consent.crashed)
        self._begin(Activity("convert", self.tr("Starting"), 0.0))
        self._foreground.run_job(
            requests.Convert(
                model=str(self._model_path), output=str(output), settings=heeded, consent=consent, limits=self.limits
            ),
            lambda conversion: self._read_result(conversion, _Outcome(settings)),
            self.tr("The conversion failed"),
        )

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
        output, folder = Path(conversion.output), self._next_run_folder()
        try:
            output.parent.rename(folder)
        except OSError as error:
            self.report(self.tr("The result could not be restored"), error_text(error))
            return
        self._begin(Activity("open", self.tr("Restoring the result")))
        moved = dataclasses.replace(conversion, output=str(folder / output.name))
        self._read_result(moved, _Outcome(settings, saved_path, benchmark, made_here=False))

    def _next_run_folder(self) -> Path:
        self._runs += 1
        return self.folder / f"run{self._runs}"

    def _remove_results(self, keep: Path | None = None) -> None:
        """Removes what earlier conversions left in the session's folder: each may be as large as the graph."""
        folders.remove_later(*(folder for folder in self.folder.glob("run*") if folder != keep))

    def _read_result(self, conversion: reports.Conversion, outcome: _Outcome) -> None:
        self._foreground.advance(self.tr("Reading the optimized graph"), 1.0)
        self._foreground.run_thread(
            lambda: graph_io.read_graph(Path(conversion.output))[0],
            lambda graph: self._on_result(conversion, graph, outcome),
        )

    def _on_result(self, conversion: reports.Conversion, graph: Graph | Exception, outcome: _Outcome) -> None:
        self._foreground.end()
        if isinstance(graph, Exception):
            self.report(self.tr("The optimized graph could not be read"), error_text(graph))
        self._remove_results(keep=Path(conversion.output).parent)
        self.conversion, self.converted_with = conversion, outcome.settings
        self.optimized_graph = None if isinstance(graph, Exception) else graph
        self.saved_path, self.benchmark = outcome.saved_path, outcome.benchmark
        self.samples = events.Samples()
        done = self.tr("Converted in {seconds:.1f} s: {share} of the real ops in {engines}").format(
            seconds=conversion.seconds,
            share=formatting.percent(conversion.coverage),
            engines=formatting.count(len(conversion.segments), self.tr("{n} engine node"), self.tr("{n} engine nodes")),
        )
        self.log.add("info", done, *(("warning", worded(warning)) for warning in conversion.warnings))
        self.conversionChanged.emit()
        # Not at once: showing the result takes a while, and the window is to hear its user in between.
        QTimer.singleShot(_BREATH_MILLISECONDS, lambda: self._after_conversion(outcome.made_here))

    def _after_conversion(self, made_here: bool) -> None:
        if self.busy or self.conversion is None:
            return
        if self.measure_after_convert and made_here:
            self.measure()
        if not self.busy:  # else that has told already
            self.benchmarkChanged.emit()
            self.samplesArrived.emit([])

    # Measuring

    def measure(self, *, engines: bool = True) -> None:
        """Measures the original and, if there is one, the optimized graph; of an open optimized graph both in one.

        Args:
            engines: Load also those that the open graph has in it; the user is asked if some were built elsewhere.
        """
        if self._model_path is None or self.busy or not self._may_run(partial(self.measure, engines=engines)):
            return
        optimized = self.optimized_path
        if optimized is None and engines and self.inspection and self.inspection.engines:
            if not self._permissions.may_load(self.inspection.engines, lambda trusted: self.measure(engines=trusted)):
                return
            optimized = self._model_path
        self.samples = events.Samples()
        self.benchmark = None
        self._begin(Activity("measure", self.tr("Starting"), 0.0))
        self.samplesArrived.emit([])
        self.benchmarkChanged.emit()
        self._foreground.run_job(
            requests.Benchmark(
                model=str(self._model_path), optimized=str(optimized) if optimized else "", batch=self.batch,
                seconds=self.seconds, settings=self.converted_with or self.settings, profile=True,
                consent=self.consent, limits=self.limits,
            ),
            self._on_measured,
            self.tr("Measuring failed"),
        )  # fmt: skip

    def _may_run(self, then: Callable[[], object]) -> bool:
        return self._permissions.may_run(self.inspection.side_effects if self.inspection else (), then)

    def _on_samples(self, samples: list[events.Sample]) -> None:
        self.samples.extend(samples)
        self.samplesArrived.emit(samples)

    def _on_measured(self, benchmark: reports.Benchmark) -> None:
        self._foreground.end()
        self.benchmark = benchmark
        self.log.add("info", self.tr("Measured: {finding}, {sure}").format(**formatting.headline(benchmark)))
        self.benchmarkChanged.emit()

    # Saving

    def save(self, path: Path | str) -> None:
        """Writes the optimized graph, and its engines' side files, under a name of the user's."""
        source, path = self.optimized_path, Path(path)
        if source is None or self.busy:
            return
        self._begin(Activity("save", self.tr("Saving {name}").format(name=path.name)))
        self._foreground.run_thread(
            lambda: graph_io.copy_graph(source, path), lambda outcome: self._on_saved(outcome, path)
        )

    def save_model(self, path: Path | str) -> None:
        """Writes the optimized graph as a SavedModel, with what the one that it was made from has beside its graph."""
        source, path = self.optimized_path, Path(path)
        if source is None or self.busy:
            return
        self._begin(Activity("save", self.tr("Saving {name}").format(name=path.name)))
        self._foreground.run_job(
            requests.WriteSavedModel(
                model=str(self.path), optimized=str(source), output=str(path),
                settings=self.converted_with or self.settings,
            ),
            lambda _: self._on_saved(None, path),
            self.tr("The optimized graph could not be saved"),
        )  # fmt: skip

    def _on_saved(self, outcome: Exception | None, path: Path) -> None:
        self._foreground.end()
        if isinstance(outcome, Exception):
            self.report(self.tr("The optimized graph could not be saved"), error_text(outcome))
            return
        self.saved_path = path
        self.log.add("info", self.tr("Saved {path}").format(path=path))
        self.savedChanged.emit()

    # What goes on, and what goes wrong

    def _begin(self, activity: Activity) -> None:
        """Drops what is going on, and says what begins."""
        self.dismiss_problem()
        self._foreground.begin(activity)

    def cancel(self) -> None:
        """Ends what is going on; `activity` becomes None when it has ended. A file that is being saved is saved."""
        self._foreground.cancel()

    def report(self, title: str, text: str, details: str = "") -> None:
        """Shows a problem and logs it."""
        self.problem = Problem(title, text, details)
        self.problemChanged.emit()
        self.log.add("error", f"{title}: {text}", *(("debug", line) for line in details.splitlines()))

    def dismiss_problem(self) -> None:
        """The user has read it."""
        if self.problem:
            self.problem = None
            self.problemChanged.emit()

    def _on_failed(self, title: str, message: Message, details: str) -> None:
        self.report(title, worded(message), details)

    def shutdown(self, seconds: float = 3.0) -> None:
        """Ends every job and removes the session's files. Blocks up to `seconds`; for the app's end."""
        self.ending.emit()
        if self._asking:
            self._asking.drop()
        self._foreground.shutdown(seconds)
        if self._asking:
            self._asking.wait(seconds)
        self._own_folder.remove()
