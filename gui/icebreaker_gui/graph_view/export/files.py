"""Pictures and files of a graph: PNG, SVG, PDF with legend; files for TensorBoard and Netron."""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QMarginsF, QRectF, QSizeF
from PySide6.QtGui import QImage, QPageSize, QPainter, QPdfWriter
from PySide6.QtSvg import QSvgGenerator

from icebreaker.errors import IcebreakerError
from icebreaker.formats import structure
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import Event
from icebreaker.storage.files import write_together, write_whole
from icebreaker_gui.graph_view.canvas.pane import Pane
from icebreaker_gui.graph_view.painting.legend import LegendEntry, legend_size, paint_legend
from icebreaker_gui.graph_view.painting.look import Look
from icebreaker_gui.graph_view.painting.picture import Picture
from icebreaker_gui.graph_view.painting.view import Camera, View
from icebreaker_gui.layout import Scene
from icebreaker_gui.style import theme

# PNGs of whole graphs are scaled down to this many pixels.
_MOST_PIXELS = 60_000_000


@dataclasses.dataclass(frozen=True)
class Shot:
    """What a picture is to show: what a pane does, or the whole graph; as it was when this was made."""

    scene: Scene
    look: Look
    morph: float
    legend: Sequence[LegendEntry]
    size: tuple[float, float]
    camera: Camera

    @classmethod
    def of(cls, pane: Pane, picture: Picture, legend: Sequence[LegendEntry], whole: bool) -> Shot:
        """What a pane shows, which is this picture, or the whole graph, with this legend."""
        scene = picture.scene
        size, camera = (float(pane.width()), float(pane.height())), pane.camera
        if whole:
            size, camera = (scene.size[0] + 48, scene.size[1] + 48), Camera(scene.size[0] / 2, scene.size[1] / 2, 1.0)
        return cls(scene, picture.look, pane.morph, legend, size, camera)


def save(path: Path, shot: Shot) -> None:
    """Draws a picture and saves it; in a thread, as a large graph takes a second.

    Raises:
        IcebreakerError: The name does not end in .png, .svg or .pdf, or the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in (".png", ".svg", ".pdf"):
        raise IcebreakerError(
            "picture_name_unknown", "{subject} is no name of a picture", "end_as_picture", subject=path.name
        )
    # Not the pane's own, whose caches the pane goes on using.
    picture, legend, (width, height) = Picture(shot.scene, shot.look), shot.legend, shot.size
    probe = QImage(8, 8, QImage.Format.Format_ARGB32)
    painter = QPainter(probe)
    legend_width, legend_height = legend_size(painter, legend)
    painter.end()
    below = legend_height + 24 if legend else 0.0
    full_width = max(width, legend_width + 24)

    def draw(painter: QPainter) -> None:
        painter.fillRect(QRectF(0, 0, full_width, height + below), theme.current().color("panel"))
        painter.save()
        painter.setClipRect(QRectF(0, 0, full_width, height))
        picture.paint(painter, View(shot.camera, full_width, height, shot.morph))
        painter.restore()
        paint_legend(painter, legend, QRectF(12, 0, 1e6, height + below - 12))

    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    if kind == ".png":
        factor = min(
            2.0,
            (_MOST_PIXELS / (full_width * (height + below))) ** 0.5,
            30000 / max(full_width, height + below),
        )
        image = QImage(
            round(full_width * factor),
            round((height + below) * factor),
            QImage.Format.Format_ARGB32_Premultiplied,
        )
        image.setDevicePixelRatio(factor)
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        draw(painter)
        painter.end()
        image.save(buffer, "PNG")  # pyright: ignore[reportCallIssue, reportArgumentType]
    elif kind == ".svg":
        svg = QSvgGenerator()
        svg.setOutputDevice(buffer)
        svg.setViewBox(QRectF(0, 0, full_width, height + below))
        svg.setSize(QSizeF(full_width, height + below).toSize())
        svg.setTitle("Icebreaker")
        painter = QPainter(svg)
        draw(painter)
        painter.end()
    else:
        pdf = QPdfWriter(buffer)
        pdf.setResolution(72)
        pdf.setPageSize(QPageSize(QSizeF(full_width, height + below), QPageSize.Unit.Point))
        pdf.setPageMargins(QMarginsF(0, 0, 0, 0))
        pdf.setTitle("Icebreaker")
        painter = QPainter(pdf)
        draw(painter)
        painter.end()
    data: QByteArray = buffer.data()
    write_whole(path, bytes(data.data()))


def save_files(
    folder: Path, before: Graph, after: Graph | None, before_file: Path | None = None, after_file: Path | None = None
) -> list[Path]:
    """Writes `before` and `after` as .pb (Netron, TensorBoard's upload) and as TensorBoard runs; in a thread.

    `tensorboard --logdir FOLDER` shows both under Graphs. The .pb is a copy of the graph's file where that is one: the
    graphs themselves may have been read without their weights.
    """
    # Not its EventFileWriter, which loads TensorFlow where that is installed.
    from tensorboard.summary.writer.record_writer import RecordWriter

    written = []
    for name, graph, file in (("before", before, before_file), ("after", after, after_file)):
        if graph is None:
            continue
        data = graph.definition.SerializeToString()
        run = folder / name
        try:
            run.mkdir(parents=True, exist_ok=True)
            now = time.time()
            records = io.BytesIO()
            for event in (Event(wall_time=now, file_version="brain.Event:2"), Event(wall_time=now, graph_def=data)):
                RecordWriter(records).write(event.SerializeToString())
            write_together({
                run / f"{name}.pb": file if file and structure.is_binary(file) else data,
                run / f"events.out.tfevents.{int(now)}.icebreaker": records.getvalue(),
            })  # fmt: skip
        except OSError as error:
            reason = error.strerror or str(error)
            raise IcebreakerError(
                "graph_files_not_written",
                "{subject} could not be written: {reason}; choose another folder",
                subject=run,
                reason=reason,
            ) from error
        written.append(run / f"{name}.pb")
    return written
