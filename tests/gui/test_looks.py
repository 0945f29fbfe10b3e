"""Colours, figures and charts."""

import ast
import csv
import dataclasses
import json
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QApplication, QWidget

from icebreaker import codec, reports
from icebreaker.engine import registry
from icebreaker.errors import IcebreakerError
from icebreaker.events import Sample
from icebreaker_gui.panels import latency_chart
from icebreaker_gui.style import formatting, theme


def _luminance(color: QColor) -> float:
    """WCAG 2.2, relative luminance."""
    parts = (color.redF(), color.greenF(), color.blueF())
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: QColor, other: QColor) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("look", theme.THEMES.values(), ids=lambda look: look.name)
def test_words_can_be_read(look: theme.Theme) -> None:
    backgrounds = ("window", "panel", "raised", "field")
    for words, least in (("text", 7), ("muted", 4.5), ("accent", 4.5), ("warning", 4.5), ("error", 4.5), ("faint", 3)):
        for ground in backgrounds:
            assert _contrast(look.color(words), look.color(ground)) >= least, f"{words} on {ground}"
    assert _contrast(look.color("on_accent"), look.color("accent")) >= 4.5
    for ground in ("error_soft", "warning_soft", "success_soft", "accent_soft"):
        assert _contrast(look.color("text"), look.color(ground)) >= 7, ground
    for name in registry.names():
        assert _contrast(look.engine(name), look.color("panel")) >= 3, name


def test_every_reason_has_a_colour() -> None:
    for look in theme.THEMES.values():
        for code in reports.REASONS:
            assert look.reason(code).isValid()


def test_widgets_hear_of_a_new_theme(qapp: QApplication) -> None:
    seen = []

    class Watcher(QWidget):
        def changeEvent(self, event) -> None:
            if event.type() == event.Type.PaletteChange:
                seen.append(theme.current().name)

    watcher = Watcher()
    watcher.show()
    theme.show(qapp, theme.DARK)
    qapp.processEvents()
    theme.show(qapp, theme.LIGHT)
    qapp.processEvents()
    assert seen[0] == "dark" and seen[-1] == "light"


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (formatting.size(999), "999 B"), (formatting.size(1_640_000), "1.6 MB"), (formatting.size(12e9), "12.0 GB"),
        (formatting.milliseconds(0.0234), "23.4 µs"), (formatting.milliseconds(4.5), "4.5 ms"),
        (formatting.milliseconds(2345), "2.35 s"), (formatting.ratio(1.284), "1.28×"), (formatting.ratio(2.41), "2.4×"),
        (formatting.percent(0.9999), "99.9 %"), (formatting.percent(1), "100 %"),
        (formatting.percent(0.0001), "0.1 %"), (formatting.shape((None, 224, 3)), "? × 224 × 3"),
        (formatting.shape(None), "?"), (formatting.shape(()), "scalar"),
    ],
)  # fmt: skip
def test_figures(got: str, want: str) -> None:
    assert got == want


_SHOWS = {
    "setText", "setToolTip", "setWindowTitle", "addTab", "setTabText", "setTabToolTip", "setPlaceholderText",
    "setAccessibleName", "setStatusTip", "setSuffix", "setPrefix", "setTitle", "addItem", "addAction", "addMenu",
    "setHeaderLabels", "setLabel", "label", "button", "number", "Section", "Elided", "QLabel", "QPushButton",
    "QCheckBox", "QRadioButton", "QGroupBox", "QDockWidget", "report", "fill", "Activity", "ask", "format",
}  # fmt: skip
_NAMES = {"Icebreaker", " – Icebreaker", "SQNR"}  # the same in every language


def test_all_visible_text_can_be_translated() -> None:
    """Words that are given to a widget come from `tr`; keys of looks and the like are single words in small letters."""
    found = []
    for path in Path(theme.__file__).parents[1].rglob("*.py"):
        calls = [item for item in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(item, ast.Call)]
        names = {id(item): getattr(item.func, "attr", getattr(item.func, "id", "")) for item in calls}
        translated = {id(part) for item in calls if names[id(item)] in ("tr", "translate") for part in ast.walk(item)}
        for item in calls:
            if names[id(item)] not in _SHOWS:
                continue
            for part in (part for given in (*item.args, *item.keywords) for part in ast.walk(given)):
                if not isinstance(part, ast.Constant) or not isinstance(text := part.value, str):
                    continue
                if id(part) in translated or text in _NAMES or set(text) & set("<>=&*"):
                    continue
                if re.search(r"[^\W\d_]{2}", text) and (" " in text.strip() or text[0].isupper()):
                    found.append(f"{path.name}:{part.lineno}: {text!r}")
    assert not found


def _benchmark(median: float, low: float, high: float) -> reports.Benchmark:
    latency = reports.Latency(41, 44, 45, 50, 41.5, 24, 120)
    return reports.Benchmark(latency, dataclasses.replace(latency, p50_ms=15.3), reports.Speedup(median, (low, high)))


@pytest.mark.parametrize(
    ("speedup", "finding"),
    [((2.4, 2.3, 2.5), "2.4× faster"), ((1.01, 0.98, 1.04), "No clear difference"), ((0.5, 0.4, 0.6), "2.0× slower")],
)
def test_headline(speedup: tuple[float, float, float], finding: str) -> None:
    assert formatting.headline(_benchmark(*speedup))["finding"] == finding


@pytest.fixture
def samples() -> list[Sample]:
    chance = random.Random(1)
    found, now = [], 0.0
    while now < 5:
        for series, median in (("original", 41), ("optimized", 15.3)):
            took = median * chance.lognormvariate(0, 0.1)
            now += took / 1000
            found.append(Sample(series, now, took))
    return found


def test_exported_charts(qapp: QApplication, samples: list[Sample], tmp_path: Path) -> None:
    benchmark = _benchmark(2.7, 2.6, 2.8)
    for suffix in ("png", "svg", "csv"):
        latency_chart.export(tmp_path / f"chart.{suffix}", samples, benchmark)
    picture = QImage(str(tmp_path / "chart.png"))
    colors = {picture.pixelColor(x, y).name() for x in range(0, 1600) for y in range(200, 700, 2)}
    assert {theme.LIGHT.original, theme.LIGHT.optimized} <= colors, "both curves are drawn"
    text = ET.parse(tmp_path / "chart.svg").getroot()  # noqa: S314
    assert "2.7× faster" in "".join(text.itertext())
    with (tmp_path / "chart.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(samples) and rows[0]["series"] == "original"
    with pytest.raises(IcebreakerError, match=r"\.bmp"):
        latency_chart.export(tmp_path / "chart.bmp", samples, benchmark)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["chart.csv", "chart.png", "chart.svg"]


def test_the_axes_tell_milliseconds_as_they_are(qapp: QApplication) -> None:
    chart = latency_chart.LatencyChart()
    axes = [chart._plot.getAxis(side) for side in ("left", "bottom")]
    assert not any(axis.isVisible() for axis in axes), "without calls there is no scale"
    chart.show()
    theme.show(qapp, theme.DARK)
    qapp.processEvents()
    assert not any(axis.isVisible() for axis in axes), "nor after a change of colours"
    chart.add([Sample("original", second / 10, 0.2) for second in range(50)])
    chart.redraw()
    chart.grab()
    assert all(axis.isVisible() for axis in axes) and axes[0].autoSIPrefixScale == 1
    assert "x0.001" not in axes[0].labelString()
    chart.close()


def test_charts_from_the_terminal(samples: list[Sample], tmp_path: Path) -> None:
    source, target = tmp_path / "benchmark.json", tmp_path / "out.png"
    data = {
        "samples": [msgspec.structs.astuple(item) for item in samples],
        "benchmark": codec.to_plain(_benchmark(2, 1.9, 2.1)),
    }
    source.write_text(json.dumps(data))
    command = [sys.executable, "-m", "icebreaker_gui.panels.latency_chart"]
    subprocess.run([*command, str(source), str(target)], check=True)
    assert QImage(str(target)).width() == 1600
    source.write_text("{}")
    broken = subprocess.run([*command, str(source), str(target)], capture_output=True, text=True)
    assert broken.returncode == 1 and broken.stderr.count("\n") == 1
