"""The Latency dock: measures original and optimized in turns, live, and says how much faster and how sure that is."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from icebreaker.errors import IcebreakerError
from icebreaker.events import Sample
from icebreaker.reports import Benchmark
from icebreaker.reports import Latency as Statistics
from icebreaker_gui.panels import latency_chart
from icebreaker_gui.panels.gpu_meter import Meter
from icebreaker_gui.session.activity import Activity
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Table, button, label, number, set_look
from icebreaker_gui.style.wording import error_text

_FRAME_MILLISECONDS = 66


class Latency(QWidget):
    """Controls, the chart, the finding and its figures."""

    exported = Signal(str)  # the file that was written

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.chart = latency_chart.LatencyChart()
        self._finding = label()
        self._finding.setFont(theme.font(1.7, bold=True))
        self._sure = label(look="muted", wrap=True)
        self._percentiles = Table()
        self._outputs = Table()
        self._percentiles.setAccessibleName(self.tr("Latency"))
        self._percentiles.setToolTip(self.tr("How long calls took: half of them at most p50, and so on"))
        self._outputs.setAccessibleName(self.tr("Outputs"))
        self._outputs.setToolTip(self.tr("How far each output is from the original's"))
        self._tabs = tabs = QTabWidget()
        tabs.setDocumentMode(True)
        tabs.addTab(self._percentiles, self.tr("Percentiles"))
        tabs.addTab(self._outputs, self.tr("Outputs"))
        tabs.setTabToolTip(
            1, self.tr("How the optimized graph's outputs differ from the original's on the same inputs")
        )
        side = QWidget()
        column = QVBoxLayout(side)
        column.setContentsMargins(theme.SPACE, 0, 0, 0)
        column.setSpacing(theme.TINY)
        column.addWidget(self._finding)
        column.addWidget(self._sure)
        column.addWidget(tabs, 1)
        column.addStretch()
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(self.chart)
        split.addWidget(side)
        split.setStretchFactor(0, 3)
        split.setStretchFactor(1, 2)
        split.setSizes([500, 440])
        split.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, theme.SMALL, 12, theme.SPACE)
        layout.setSpacing(theme.SMALL)
        layout.addLayout(self._make_controls())
        layout.addWidget(split, 1)
        self._frame = QTimer(self, singleShot=True, interval=_FRAME_MILLISECONDS)
        self._frame.timeout.connect(self.draw)
        session.samplesArrived.connect(self._on_samples)
        session.benchmarkChanged.connect(self._update)
        session.settingsChanged.connect(self._show_choices)
        for signal in (session.activityChanged, session.graphChanged, session.conversionChanged):
            signal.connect(self._update_controls)
        self._update()

    def _make_controls(self) -> QHBoxLayout:
        session = self._session
        self._measure = button(
            self.tr("Measure"), self.tr("Time the original and the optimized graph in turns on the same inputs (F6)")
        )
        self._measure.clicked.connect(self._on_measure)
        self._pause = button(
            self.tr("Pause"), self.tr("Hold the drawing still; measuring goes on, and is shown when you let it go")
        )
        self._pause.setCheckable(True)
        self._pause.toggled.connect(self._on_pause)
        self._batch = number(1, 4096, session.batch, self.tr("Rows of each input in one call"))
        self._batch.valueChanged.connect(lambda value: setattr(session, "batch", value))
        tip = self.tr("How long to measure both graphs together; longer makes the interval narrower")
        self._seconds = number(1, 600, round(session.seconds), tip)
        self._seconds.setSuffix(self.tr(" s"))
        self._seconds.valueChanged.connect(lambda value: setattr(session, "seconds", float(value)))
        self._export = button(
            self.tr("Export…"), self.tr("Save the chart as PNG or SVG, or every call as CSV (Ctrl+E)")
        )
        self._export.clicked.connect(self.export)
        row = QHBoxLayout()
        row.setSpacing(theme.SPACE)
        row.addWidget(self._measure)
        row.addWidget(self._pause)
        row.addSpacing(theme.SPACE)
        for text, field in ((self.tr("Batch"), self._batch), (self.tr("Duration"), self._seconds)):
            name = label(text, "muted")
            name.setBuddy(field)
            row.addWidget(name)
            row.addWidget(field)
        row.addStretch()
        row.addWidget(Meter(session))
        row.addSpacing(theme.SPACE)
        row.addWidget(self._export)
        return row

    def _on_pause(self, paused: bool) -> None:
        self._pause.setText(self.tr("Resume") if paused else self.tr("Pause"))
        if not paused:
            self._frame.start()

    def _show_choices(self) -> None:
        self._batch.setValue(self._session.batch)
        self._seconds.setValue(round(self._session.seconds))

    def export(self) -> None:
        """Asks for a file and writes the charts into it."""
        if not self._session.samples:
            return
        kinds = self.tr("PNG image (*.png);;SVG drawing (*.svg);;CSV, every call (*.csv)")
        folder = self._session.path.parent if self._session.path else Path()
        path, chosen = QFileDialog.getSaveFileName(
            self, self.tr("Export charts"), str(folder / f"{self._session.stem}.latency.png"), kinds
        )
        if not path:
            return
        target = Path(path)
        if not target.suffix:
            target = target.with_suffix("." + chosen.rpartition("*.")[2].rstrip(")"))
        try:
            latency_chart.export(target, self._session.samples, self._session.benchmark)
            self._session.log.add("info", self.tr("Saved {path}").format(path=target))
            self.exported.emit(str(target))
        except IcebreakerError as error:
            self._session.report(self.tr("The charts could not be exported"), error_text(error))

    def _on_measure(self) -> None:
        if self._measuring:
            self._session.cancel()
        else:
            self._session.measure()

    @property
    def _measuring(self) -> bool:
        activity = self._session.activity
        return activity is not None and activity.kind == "measure"

    def _on_samples(self, samples: list[Sample]) -> None:
        if samples:
            self.chart.add(samples)
        else:
            self.chart.begin(self._session.seconds)
            self._pause.setChecked(False)
        if not self._frame.isActive() and not self._pause.isChecked():
            self._frame.start()

    def draw(self) -> None:
        """Shows the calls that have come since the last frame."""
        self.chart.redraw()
        if self._measuring:
            self._update_controls()

    def _update(self) -> None:
        benchmark = self._session.benchmark
        self._update_controls()
        self._tabs.setVisible(benchmark is not None)
        if benchmark:
            self.chart.finish(benchmark)
            self._show_percentiles(benchmark)
            self._show_outputs(benchmark)

    def _show_percentiles(self, benchmark: Benchmark) -> None:
        series: list[tuple[str, Statistics]] = [(self.tr("Original"), benchmark.original)]
        if benchmark.optimized:
            series.append((self.tr("Optimized"), benchmark.optimized))
        rows = [
            [words, *(formatting.milliseconds(getattr(statistics, field)) for _, statistics in series)]
            for words, field in (
                ("p50", "p50_ms"), ("p90", "p90_ms"), ("p95", "p95_ms"), ("p99", "p99_ms"),
                (self.tr("mean"), "mean_ms"),
            )
        ]  # fmt: skip
        rate = self.tr("{n:.4g} / s")
        rows.append([self.tr("throughput"), *(rate.format(n=statistics.throughput) for _, statistics in series)])
        rows.append([self.tr("calls"), *(str(statistics.samples) for _, statistics in series)])
        tip = self.tr("Rows of a batch a second; this measurement had a batch of {n}").format(n=benchmark.batch)
        self._percentiles.fill(["", *(words for words, _ in series)], rows, [""] * 5 + [tip, ""])

    def _show_outputs(self, benchmark: Benchmark) -> None:
        headers = [self.tr("Output"), self.tr("max abs"), self.tr("max rel"), "cosine", "SQNR", "top-1"]
        rows = [
            [
                name,
                formatting.scientific(difference.max_abs),
                formatting.scientific(difference.max_rel),
                f"{difference.cosine:.6f}",
                formatting.closeness(difference, 0),
                "–" if difference.top1_agreement is None else formatting.percent(difference.top1_agreement),
            ]
            for name, difference in benchmark.outputs.items()
        ]
        self._outputs.fill(headers, rows, list(benchmark.outputs))

    def _update_controls(self) -> None:
        session, measuring = self._session, self._measuring
        activity = session.activity
        self._measure.setText(self.tr("Stop") if measuring else self.tr("Measure"))
        self._measure.setEnabled(session.graph is not None and (not session.busy or measuring))
        self._pause.setEnabled(measuring)
        self._export.setEnabled(bool(session.samples) and not measuring)
        for field in (self._batch, self._seconds):
            field.setEnabled(not measuring)
        finding, sure = self._finding_text(activity if measuring else None)
        self._finding.setText(finding)
        self._sure.setText(sure)
        speedup = session.benchmark.speedup if session.benchmark else None
        slower = speedup is not None and speedup.ci95[1] < 1
        set_look(self._finding, "muted" if measuring or not session.benchmark else "warning" if slower else "finding")

    def _finding_text(self, measuring: Activity | None) -> tuple[str, str]:
        """What is known of the latency, or what to do to know it; and how sure that is, or what it needs."""
        session = self._session
        if measuring:
            medians = self.chart.medians()
            if len(medians) < 2:
                return self.tr("Measuring…"), measuring.stage
            so_far = formatting.ratio(medians["original"] / medians["optimized"])
            return self.tr("{ratio} so far").format(ratio=so_far), self.tr("still measuring")
        if session.benchmark:
            headline = formatting.headline(session.benchmark)
            return headline["finding"], headline["sure"]
        if session.samples:
            return self.tr("Stopped"), self.tr("The measurement was stopped before its end.")
        if session.graph is None:
            return self.tr("Nothing to measure"), self.tr("Open a graph first.")
        if session.conversion:
            advice = self.tr("Press Measure to let both graphs race.")
        elif session.inspection and session.inspection.engines:
            advice = self.tr("Press Measure to let its engines race plain TensorFlow.")
        else:
            advice = self.tr("Press Measure to time the graph as it is, or convert it first and let both race.")
        return self.tr("Not measured yet"), advice
