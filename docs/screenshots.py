"""Makes pictures of the app's states, in both themes and three sizes, and one sheet of them: `make screenshots`.

The sample is converted and measured once, for real, unless `--results FOLDER` has what an earlier run kept there. Each
state is the real window, brought there by what its user would do.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEventLoop, QPoint, QPointF, QRectF, QSettings, QSize, Qt
from PySide6.QtGui import QColor, QFont, QImage, QPainter
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from icebreaker import codec, events, reports
from icebreaker.messages import message
from icebreaker.settings import ConvertSettings
from icebreaker_gui.main_window import Window
from icebreaker_gui.session.activity import Activity
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "resources" / "samples" / "digits.pb"
SIZES = (QSize(1024, 700), QSize(1280, 800), QSize(1920, 1080))
_MOST_SECONDS = 300.0
_SHEET_WIDTH, _COLUMNS, _GAP, _TITLE = 1500, 4, 10, 22


def wait(done: Callable[[], object], seconds: float = _MOST_SECONDS) -> None:
    """Lets the app work until something is done."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)


def settle(seconds: float = 0.5) -> None:
    """Lets animations end and the last frame be drawn."""
    end = time.monotonic() + seconds
    wait(lambda: time.monotonic() > end)


# ---- results, made once ---------------------------------------------------------------------------------------------


def make_results(folder: Path) -> None:
    """Converts and measures the sample in FP32 and INT8, and keeps what came of it."""
    session = Session()
    session.start()
    wait(lambda: session.machine)
    for precision in ("fp32", "int8"):
        session.open(SAMPLE)
        wait(lambda: not session.busy)
        session.seconds = 3
        session.change(precision=precision)
        session.convert()
        wait(lambda: session.problem or session.benchmark)
        wait(lambda: not session.busy)
        if session.problem or session.conversion is None:
            sys.exit(f"{session.problem}")
        home = folder / precision
        shutil.copytree(Path(session.conversion.output).parent, home / "run", dirs_exist_ok=True)
        for name, value in (
            ("machine", session.machine), ("conversion", session.conversion), ("benchmark", session.benchmark),
            ("settings", session.converted_with),
        ):  # fmt: skip
            (home / f"{name}.json").write_text(codec.encode(value), "utf-8")
        rows = [f"{call.series},{call.seconds},{call.milliseconds}" for call in session.samples]
        (home / "samples.csv").write_text("\n".join(rows), "utf-8")
    session.shutdown()


@dataclasses.dataclass
class Stage:
    """A window with its session, and the kept results that it can be given."""

    window: Window
    session: Session
    results: Path

    def open(self) -> None:
        """Opens the sample."""
        machine = (self.results / "fp32" / "machine.json").read_text("utf-8")
        self.session.machine = codec.decode(machine, reports.Machine)
        self.session.machineChanged.emit()
        self.session.open(SAMPLE)
        wait(lambda: not self.session.busy and self.window.graph_panel.state.scene)

    def convert(self, precision: str = "fp32") -> None:
        """Opens the sample and brings a kept result back."""
        self.open()
        home, session = self.results / precision, self.session
        run = session.folder / "kept"
        shutil.copytree(home / "run", run, dirs_exist_ok=True)
        conversion = codec.decode((home / "conversion.json").read_text("utf-8"), reports.Conversion)
        conversion = dataclasses.replace(conversion, output=str(run / Path(conversion.output).name))
        settings = codec.decode((home / "settings.json").read_text("utf-8"), ConvertSettings)
        session.settings = settings
        session.settingsChanged.emit()
        session.adopt(conversion, settings, None, self._benchmark(home))
        wait(lambda: session.conversion and not session.busy)
        settle(0.2)
        for row in (home / "samples.csv").read_text("utf-8").splitlines():
            series, seconds, milliseconds = row.split(",")
            session.samples.extend([events.Sample(series, float(seconds), float(milliseconds))])
        session.samplesArrived.emit([])
        session.samplesArrived.emit(list(session.samples))
        session.benchmarkChanged.emit()

    def _benchmark(self, home: Path) -> reports.Benchmark:
        return codec.decode((home / "benchmark.json").read_text("utf-8"), reports.Benchmark)

    def gain_nothing(self) -> None:
        """A result in which no engine is faster than TensorFlow, as the conversion tells it."""
        self.open()
        session = self.session
        graph = session.graph
        if graph is None:
            return
        kept = codec.decode((self.results / "fp32" / "conversion.json").read_text("utf-8"), reports.Conversion)
        why = message(
            "engine_slower",
            "{subject} takes {engine_ms:.2f} ms here, hand-over included, TensorFlow {tensorflow_ms:.2f} ms",
            subject="onnxruntime", engine_ms=5.3, tensorflow_ms=4.1,
        )  # fmt: skip
        inside = tuple(
            reports.Left(name, graph[name].op, why, "not_faster")
            for segment in kept.segments
            for name in segment.nodes
            if graph[name].op != "Const"
        )
        session.conversion = dataclasses.replace(
            kept, coverage=0.0, segments=(), left_in_tensorflow=(*kept.left_in_tensorflow, *inside)
        )
        session.converted_with, session.optimized_graph = session.settings, graph
        session.conversionChanged.emit()
        session.benchmarkChanged.emit()


# ---- states ---------------------------------------------------------------------------------------------------------


def _welcome(stage: Stage) -> None:
    stage.window.show()


def _opened(stage: Stage) -> None:
    stage.open()


def _converting(stage: Stage) -> None:
    stage.open()
    stage.session._foreground._become(  # as it is after a while of converting
        Activity("convert", "Measuring OpenVINO on 57 ops", 0.62, began=time.monotonic() - 21)
    )


def _result(stage: Stage) -> None:
    stage.convert()


def _nothing(stage: Stage) -> None:
    stage.gain_nothing()


def _chosen(stage: Stage) -> None:
    stage.convert()
    panel = stage.window.graph_panel
    panel.set_mode("after")
    settle(0.3)
    left = stage.session.conversion.left_in_tensorflow if stage.session.conversion else ()
    panel.go_to(next(item.node for item in left if item.code != "passive"))


def _hovering(stage: Stage) -> None:
    stage.convert()
    panel = stage.window.graph_panel
    panel.set_mode("before")
    settle(0.5)
    pane = panel.before_pane
    spot = next(
        (QPoint(x, y) for y in range(pane.height() // 3, pane.height(), 7) for x in range(20, pane.width(), 11)
         if pane.picture and (item := pane.item_at(QPointF(x, y))) > 0
         and not pane.picture.scene.is_open[pane.picture.scene.row(item)]),
        pane.rect().center(),
    )  # fmt: skip
    QTest.mouseMove(pane, spot)
    settle(0.5)


def _excluded(stage: Stage) -> None:
    stage.convert()
    panel = stage.window.graph_panel
    panel.set_mode("before")
    graph = stage.session.graph
    name = next(node.name for node in graph or () if node.op == "Conv2D")
    panel.go_to(name)
    panel.details.excludeWanted.emit(name)


def _int8(stage: Stage) -> None:
    stage.convert("int8")
    stage.window.show_panel("result")


def _problem(stage: Stage) -> None:
    stage.open()
    stage.session.open(ROOT / "README.md")
    wait(lambda: stage.session.problem)


def _closing(stage: Stage) -> None:
    stage.convert()
    stage.window.close()


STATES: dict[str, Callable[[Stage], None]] = {
    "welcome": _welcome, "opened": _opened, "converting": _converting, "result": _result,
    "nothing gained": _nothing, "a node chosen": _chosen, "hovering": _hovering, "left out": _excluded,
    "INT8": _int8, "a problem": _problem, "closing": _closing,
}  # fmt: skip


@contextmanager
def staged(results: Path, size: QSize) -> Iterator[Stage]:
    """A window of its own for one picture."""
    session = Session()
    window = Window(session)
    window.resize(size)
    window.show()
    settle(0.1)
    try:
        yield Stage(window, session, results)
    finally:
        session._foreground.activity = None  # nothing of it is going on
        window._is_closing = True  # nobody is asked
        window.close()
        session.shutdown()
        window.deleteLater()


def sheet(pictures: list[tuple[str, QImage]], path: Path) -> None:
    """All pictures on one sheet, in few colours: it is for looking at, not for measuring."""
    wide = (_SHEET_WIDTH - _GAP) // _COLUMNS - _GAP
    small = [(name, image.scaledToWidth(wide, Qt.TransformationMode.SmoothTransformation)) for name, image in pictures]
    rows = [small[start : start + _COLUMNS] for start in range(0, len(small), _COLUMNS)]
    tall = sum(max(image.height() for _, image in row) + _TITLE + _GAP for row in rows) + _GAP
    result = QImage(_SHEET_WIDTH, tall, QImage.Format.Format_RGB32)
    result.fill(QColor("#dfe5ec"))
    painter = QPainter(result)
    painter.setFont(QFont("", 9))
    y = _GAP
    for row in rows:
        for column, (name, image) in enumerate(row):
            x = _GAP + column * (wide + _GAP)
            painter.setPen(QColor("#10223a"))
            painter.drawText(QRectF(x, y, wide, _TITLE), Qt.AlignmentFlag.AlignVCenter, name)
            painter.drawImage(x, y + _TITLE, image)
        y += max(image.height() for _, image in row) + _TITLE + _GAP
    painter.end()
    result.convertToFormat(QImage.Format.Format_Indexed8).save(str(path))


def main() -> None:
    """Makes the pictures that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="keep results here, and take those of an earlier run")
    parser.add_argument("--folder", type=Path, help="save every picture here too, in full size")
    parser.add_argument("--states", nargs="*", choices=tuple(STATES), default=list(STATES))
    parser.add_argument("--themes", nargs="*", choices=tuple(theme.THEMES), default=list(theme.THEMES))
    parser.add_argument("--sizes", nargs="*", type=int, choices=range(len(SIZES)), default=list(range(len(SIZES))))
    parser.add_argument("--sheet", type=Path, default=ROOT / "docs" / "images" / "window.png")
    options = parser.parse_args()
    app = QApplication.instance() or QApplication([])
    with tempfile.TemporaryDirectory(prefix="icebreaker-pictures-", ignore_cleanup_errors=True) as scratch:
        os.environ["ICEBREAKER_CACHE"] = str(Path(scratch) / "cache")
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, scratch)
        app.setOrganizationName("Icebreaker")  # pyright: ignore[reportAttributeAccessIssue]
        results = options.results or Path(scratch) / "results"
        if not (results / "int8" / "samples.csv").exists():
            make_results(results)
        if options.folder:
            options.folder.mkdir(parents=True, exist_ok=True)
        pictures = []
        for state in options.states:
            for size in (SIZES[index] for index in options.sizes):
                for name in options.themes:
                    theme.install(app, name)  # pyright: ignore[reportArgumentType]
                    QSettings().clear()
                    with staged(results, size) as stage:
                        STATES[state](stage)
                        settle()
                        image = stage.window.grab().toImage()
                    title = f"{state}, {name}, {size.width()} × {size.height()}"
                    pictures.append((title, image))
                    if options.folder:
                        image.save(str(options.folder / f"{state.replace(' ', '-')}-{name}-{size.width()}.png"))
        sheet(pictures, options.sheet)
    print(f"{len(pictures)} pictures in {options.sheet}, {math.ceil(options.sheet.stat().st_size / 1000)} kB")


if __name__ == "__main__":
    main()
