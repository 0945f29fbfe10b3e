"""The latency chart: live in its panel, and as a PNG, SVG or CSV file.

`python -m icebreaker_gui.panels.latency_chart BENCHMARK.json OUT.png` draws a finished measurement without a display.
The JSON is `{"samples": [[series, seconds, milliseconds], …], "benchmark": …}`, the latter as `codec` gives it.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QBuffer, QByteArray, QEvent, QIODevice, QRectF, QSize, Qt
from PySide6.QtGui import QImage, QImageWriter, QPaintDevice, QPainter
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QApplication, QWidget

from icebreaker import codec, reports
from icebreaker.errors import IcebreakerError
from icebreaker.events import Sample
from icebreaker.storage.files import write_whole
from icebreaker_gui.style import formatting, theme

SERIES = ("original", "optimized")
_BINS = 80  # points along the chart; each is the median of the calls in its slice of time
_BAND = (0.1, 0.9)
_EXPORT_SIZE = QSize(1600, 800)


class _Series:
    """The calls of one series, thinned to one point a slice of time."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.times: list[float] = []
        self.medians: list[float] = []
        self.lows: list[float] = []
        self.highs: list[float] = []
        self._slice = -1
        self._values: list[float] = []

    def add(self, seconds: float, milliseconds: float) -> None:
        """Takes a call, which came after all that were taken before it.

        Args:
            seconds: When it was, since measuring began.
            milliseconds: How long it took.
        """
        index = int(seconds / self.width)
        if index != self._slice:
            self.settle()
            self._slice, self._values = index, []
            for values in (self.times, self.medians, self.lows, self.highs):
                values.append(milliseconds)
            self.times[-1] = seconds
        self._values.append(milliseconds)

    def settle(self) -> None:
        """Brings the newest point up to date."""
        if self._values:
            ordered = sorted(self._values)
            last = len(ordered) - 1
            self.medians[-1] = statistics.median(ordered)
            self.lows[-1], self.highs[-1] = (ordered[round(share * last)] for share in _BAND)


class LatencyChart(pg.PlotWidget):
    """Two curves over time: medians as lines, the middle 80 % of the calls as bands around them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        self._plot = plot = pg.PlotItem()
        super().__init__(parent, plotItem=plot)
        self._box: Any = plot.vb
        self._seconds = 10.0
        self._benchmark: reports.Benchmark | None = None
        self._series: dict[str, _Series] = {}
        self._items: dict[str, tuple[pg.PlotDataItem, pg.PlotDataItem, pg.PlotDataItem, pg.FillBetweenItem]] = {}
        plot.setMenuEnabled(False)
        plot.hideButtons()
        self._box.setMouseEnabled(x=False, y=False)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # there is nothing in it that keys do
        plot.showGrid(x=False, y=True, alpha=0.6)
        for name in reversed(SERIES):  # the original lies above where they meet
            low, high, line = (pg.PlotDataItem(connect="all", antialias=True) for _ in range(3))
            band = pg.FillBetweenItem(low, high)
            for part in (low, high, band, line):
                plot.addItem(part)
            self._items[name] = (low, high, line, band)
        self.restyle()
        self.begin(self._seconds)

    def begin(self, seconds: float) -> None:
        """Empties the chart and makes room for `seconds` of measuring."""
        self._seconds = seconds
        self._benchmark = None
        self._series = {name: _Series(seconds / _BINS) for name in SERIES}
        self.redraw()

    def add(self, samples: Iterable[Sample]) -> None:
        """Takes new samples; `redraw` shows them."""
        for sample in samples:
            if sample.series in self._series:
                self._series[sample.series].add(sample.seconds, sample.milliseconds)

    def finish(self, benchmark: reports.Benchmark) -> None:
        """Shows the statistics of a finished measurement in the legend."""
        self._benchmark = benchmark
        self.redraw()

    def medians(self) -> dict[str, float]:
        """Series → about its median so far, in milliseconds."""
        return {name: statistics.median(series.medians) for name, series in self._series.items() if series.medians}

    def redraw(self) -> None:
        """Draws what has been added."""
        top, end = 0.0, self._seconds
        for name, series in self._series.items():
            series.settle()
            low, high, line, _ = self._items[name]
            low.setData(series.times, series.lows)
            high.setData(series.times, series.highs)
            line.setData(series.times, series.medians)
            if series.medians:
                # A lone slow call must not press the curves flat.
                usual = sorted(series.highs)[len(series.highs) * 9 // 10]
                top = max(top, statistics.median(series.medians) * 1.6, usual)
                end = max(end, series.times[-1])
        for side in ("left", "bottom"):
            self._plot.showAxis(side, bool(top))
        self._box.setYRange(0, top * 1.1 or 1, padding=0)
        self._box.setXRange(0, end, padding=0.01)
        self._write_legend()

    def restyle(self) -> None:
        """Takes the colours of the current theme."""
        look = theme.current()
        for name, (low, high, line, band) in self._items.items():
            color = look.color(name)
            line.setPen(pg.mkPen(color, width=2))
            for edge in (low, high):
                edge.setPen(None)
            band.setBrush(look.color(name, 0.18))
        plot = self._plot
        self.setBackground(look.color("panel"))
        for side, words in (("left", self.tr("latency (ms)")), ("bottom", self.tr("seconds of measuring"))):
            axis = plot.getAxis(side)
            axis.setPen(look.color("grid"))
            axis.setTextPen(look.color("muted"))
            axis.setTickFont(theme.font(0.85))
            # Without ranges for prefixes: what lies below 1 would be shown a thousandfold.
            axis.setLabel(words, siPrefixEnableRanges=(), color=look.muted)
        self._write_legend()

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_items"):
            self.restyle()

    def _write_legend(self) -> None:
        look = theme.current()
        words = {"original": self.tr("Original"), "optimized": self.tr("Optimized")}
        parts = []
        medians = self.medians()
        for name in SERIES:
            latency = getattr(self._benchmark, name) if self._benchmark else None
            value = latency.p50_ms if latency else medians.get(name)
            if value is not None:
                parts.append(
                    f"<span style='color:{getattr(look, name)}'>●</span> "
                    f"<span style='color:{look.text}'>{words[name]} {formatting.milliseconds(value)}</span>"
                )
        self._plot.setTitle("&nbsp;&nbsp;&nbsp;&nbsp;".join(parts) or None, size="10pt", justify="left")


def export(
    path: Path, samples: Iterable[Sample], benchmark: reports.Benchmark | None, size: QSize = _EXPORT_SIZE
) -> None:
    """Writes the chart as `path`'s suffix says: .png, .svg, or .csv with every call.

    Raises:
        IcebreakerError: The suffix is another one, or the file could not be written.
    """
    match path.suffix.lower():
        case ".csv":
            lines = ["series,seconds,milliseconds"]
            lines += [f"{call.series},{call.seconds:.6f},{call.milliseconds:.6f}" for call in samples]
            data = ("\n".join(lines) + "\n").encode()
        case ".png":
            image = QImage(size, QImage.Format.Format_RGB32)
            _paint(image, samples, benchmark, size)
            data = _saved(lambda buffer: QImageWriter(buffer, QByteArray(b"png")).write(image))
        case ".svg":

            def draw(buffer: QBuffer) -> None:
                generator = QSvgGenerator()
                generator.setOutputDevice(buffer)
                generator.setSize(size)
                generator.setViewBox(QRectF(0, 0, size.width(), size.height()))
                _paint(generator, samples, benchmark, size)

            data = _saved(draw)
        case "":
            raise IcebreakerError(
                "chart_without_suffix", "{subject}: a name without suffix is no chart format", "use_chart_suffix",
                subject=path,
            )  # fmt: skip
        case suffix:
            raise IcebreakerError(
                "chart_suffix_unknown", "{subject}: {suffix} is no chart format", "use_chart_suffix",
                subject=path, suffix=suffix,
            )  # fmt: skip
    write_whole(path, data)


def _saved(write: Callable[[QBuffer], object]) -> bytes:
    content = QByteArray()
    buffer = QBuffer(content)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    write(buffer)
    buffer.close()
    return bytes(content.data())


def _paint(device: QPaintDevice, samples: Iterable[Sample], benchmark: reports.Benchmark | None, size: QSize) -> None:
    """Draws headline and chart at twice the screen's scale, for print and slides."""
    look = theme.current()
    chart = LatencyChart()
    chart.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    chart.resize(size.width() // 2 - 24, size.height() // 2 - (56 if benchmark else 16))
    chart.show()
    chart.begin(max((call.seconds for call in samples), default=1.0) or 1.0)
    chart.add(samples)
    chart.redraw()
    if benchmark:
        chart.finish(benchmark)
    QApplication.processEvents()
    painter = QPainter(device)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.fillRect(QRectF(0, 0, size.width(), size.height()), look.color("panel"))
    painter.scale(2, 2)
    top = 8
    if benchmark:
        top = 48
        finding, sure = formatting.headline(benchmark).values()
        painter.setFont(theme.font(1.6, bold=True))
        painter.setPen(look.color("optimized"))
        painter.drawText(20, 30, finding)
        left = 20 + painter.fontMetrics().horizontalAdvance(finding) + 12
        painter.setFont(theme.font())
        painter.setPen(look.color("muted"))
        painter.drawText(left, 30, sure)
    target = QRectF(12, top, chart.width(), chart.height())
    chart.render(painter, target)  # type: ignore[call-overload]
    painter.end()
    chart.close()
    chart.deleteLater()
    QApplication.sendPostedEvents(chart, QEvent.Type.DeferredDelete)  # now: closed, it must not hear of a new theme


def main(arguments: list[str]) -> int:
    """Draws a measurement that lies in a file."""
    if len(arguments) != 2:
        print("usage: python -m icebreaker_gui.panels.latency_chart BENCHMARK.json OUT.png", file=sys.stderr)
        return 2
    app = QApplication.instance() or QApplication([*sys.argv[:1], "-platform", "offscreen"])
    theme.install(app, "light")  # type: ignore[arg-type]
    try:
        data = json.loads(Path(arguments[0]).read_text("utf-8"))
        samples = [Sample(*call) for call in data["samples"]]
        benchmark = codec.from_plain(data["benchmark"], reports.Benchmark)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{arguments[0]} could not be read as a measurement: {error}", file=sys.stderr)
        return 1
    try:
        export(Path(arguments[1]), samples, benchmark)
    except IcebreakerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
