"""Asks where to save pictures and files of a graph, and saves them beside the window."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from icebreaker.formats import constants
from icebreaker.graph.graph import Node
from icebreaker.storage.files import write_whole
from icebreaker_gui.graph_view.canvas.pane import Pane
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.export import files
from icebreaker_gui.graph_view.painting.legend import LegendEntry
from icebreaker_gui.session.background import Work
from icebreaker_gui.style.wording import error_text


class Exporter(QObject):
    """Saves one thing at a time; while it does, more is not asked for."""

    busyChanged = Signal(bool)
    failed = Signal(str, str)  # what could not be done, and why

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._saving: Work | None = None

    def save_picture(self, pane: Pane, legend: Sequence[LegendEntry], whole: bool, path: str = "") -> None:
        """Saves PNG, SVG or PDF of what a pane shows or of its whole graph; asks for a name where none is given."""
        if self._saving or pane.picture is None:
            return
        if not path:
            path, _ = QFileDialog.getSaveFileName(
                self._window, self.tr("Save picture"), "graph.png", self.tr("Pictures (*.png *.svg *.pdf)")
            )
            if path and not Path(path).suffix:
                path += ".png"
        if path and pane.picture is not None:
            shot = files.Shot.of(pane, pane.picture, legend, whole)
            self._save(self.tr("The picture could not be saved"), lambda: files.save(Path(path), shot))

    def save_files(self, data: GraphData, folder: str = "") -> None:
        """Saves before and after as files that TensorBoard and Netron open; asks for a folder where none is given."""
        graph, after, conversion = data.graph, data.after, data.conversion
        if graph is None or self._saving:
            return
        folder = folder or QFileDialog.getExistingDirectory(self._window, self.tr("Save for TensorBoard and Netron"))
        if folder:
            sources = data.file, Path(conversion.output) if conversion and conversion.output else None
            self._save(
                self.tr("The files could not be saved"), lambda: files.save_files(Path(folder), graph, after, *sources)
            )

    def save_table(self, name: str, content: Callable[[], bytes], path: str = "") -> None:
        """Saves a table as CSV; asks for a name, and proposes `name`, where none is given."""
        if self._saving:
            return
        if not path:
            path, _ = QFileDialog.getSaveFileName(
                self._window, self.tr("Save the table"), name, self.tr("Tables (*.csv)")
            )
        if path:
            target = Path(path) if Path(path).suffix else Path(path).with_suffix(".csv")
            self._save(self.tr("The table could not be saved"), lambda: write_whole(target, content()))

    def save_constant(self, node: Node, file: Path | None, path: str = "") -> None:
        """Saves what a constant holds as .npy; asks for a name where none is given."""
        if self._saving:
            return
        if not path:
            name = re.sub(r"[^\w.-]+", "_", node.name)[-80:]  # a name out of a file leads nowhere
            path, _ = QFileDialog.getSaveFileName(
                self._window, self.tr("Save the values"), f"{name}.npy", self.tr("NumPy arrays (*.npy)")
            )
        if path:
            target = Path(path) if Path(path).suffix else Path(path).with_suffix(".npy")
            failure = self.tr("The values could not be saved")
            self._save(failure, lambda: constants.save_constant(node, file, target))

    def _save(self, failure: str, do: Callable[[], object]) -> None:
        """Does it in a thread; `failed` tells if it could not be done, with these words first."""
        self.busyChanged.emit(True)
        self._saving = Work(self, partial(self._on_saved, failure)).run_thread(do)

    def _on_saved(self, failure: str, batch: list[Any]) -> None:
        self.busyChanged.emit(False)
        if self._saving:
            self._saving.wait(1)
            self._saving = None
        if isinstance(batch[0], Exception):
            self.failed.emit(failure, error_text(batch[0]))

    def close(self) -> None:
        """Waits until what is being saved is saved."""
        if self._saving:
            self._saving.wait(30)
