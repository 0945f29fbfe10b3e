"""The inputs of the graph, and the shapes of those that it leaves open."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSignalBlocker, Qt
from PySide6.QtGui import QBrush
from PySide6.QtWidgets import QAbstractItemView, QTreeWidget, QTreeWidgetItem

from icebreaker.data.source import shape_fits
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Placeholder
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import Section, label
from icebreaker_gui.style.wording import error_text


class Inputs(Section):
    """Placeholders; an open shape can be edited in place."""

    _SHAPE = 2

    def __init__(self, session: Session) -> None:
        super().__init__("")
        self._session = session
        self._by_name: dict[str, Placeholder] = {}
        self._list = QTreeWidget()
        self._list.setAccessibleName(self.tr("Inputs"))
        self._list.setToolTip(self.tr("What the graph is fed with; a shape with a ? can be set by a double click"))
        self._list.setHeaderLabels([self.tr("Input"), self.tr("Type"), self.tr("Shape")])
        self._list.setRootIsDecorated(False)
        self._list.setUniformRowHeights(True)
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._list.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._list.itemClicked.connect(self._edit)
        self._list.itemActivated.connect(lambda row, _column: self._edit(row, self._SHAPE))
        self._list.itemChanged.connect(self._on_edited)
        self._problem = label(look="error", wrap=True)
        self._problem.hide()
        self.body.addWidget(self._list)
        self.body.addWidget(self._problem)
        session.graphChanged.connect(self._update)
        session.settingsChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        graph, settings = self._session.graph, self._session.settings
        if graph is None:
            return
        needed = graph.ancestors(name.split(":")[0] for name in settings.outputs)
        self._by_name = {placeholder.name: placeholder for placeholder in graph.placeholders}
        with QSignalBlocker(self._list):
            self._list.clear()
            for placeholder in graph.placeholders:
                shape = settings.input_shapes.get(placeholder.name) or placeholder.shape
                row = QTreeWidgetItem([placeholder.name, placeholder.dtype, formatting.shape(shape)])
                row.setToolTip(0, tip(placeholder.name))
                if placeholder.shape is None or None in placeholder.shape:
                    row.setFlags(row.flags() | Qt.ItemFlag.ItemIsEditable)
                    row.setForeground(self._SHAPE, QBrush(theme.current().color("accent")))
                    row.setToolTip(
                        self._SHAPE,
                        self.tr("Open in the graph: click to give sizes, such as 1, 224, 224, 3; empty leaves it open"),
                    )
                if placeholder.name not in needed:
                    for column in range(3):
                        row.setForeground(column, QBrush(theme.current().color("faint")))
                    row.setToolTip(
                        0, tip(self.tr("{name}: the chosen outputs do not need it").format(name=placeholder.name))
                    )
                self._list.addTopLevelItem(row)
        self._list.resizeColumnToContents(1)
        self._list.resizeColumnToContents(2)
        width = self._list.viewport().width() - self._list.columnWidth(1) - self._list.columnWidth(2)
        self._list.setColumnWidth(0, max(90, width))
        rows = max(1, min(5, len(graph.placeholders)))
        height = self._list.sizeHintForRow(0) if graph.placeholders else theme.CONTROL_HEIGHT
        self._list.setFixedHeight(self._list.header().sizeHint().height() + rows * max(height, 20) + theme.SPACE)

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme: items keep the colours they were made with."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_problem"):
            self._update()

    def _edit(self, row: QTreeWidgetItem, column: int) -> None:
        if column == self._SHAPE and row.flags() & Qt.ItemFlag.ItemIsEditable:
            self._list.editItem(row, column)

    def _on_edited(self, row: QTreeWidgetItem, column: int) -> None:
        name = row.text(0)
        shapes = dict(self._session.settings.input_shapes)
        self._problem.hide()
        try:
            chosen = parse_shape(row.text(column), self._by_name[name])
        except IcebreakerError as error:
            self._problem.setText(error_text(error))
            self._problem.show()
            chosen = shapes.get(name)
        shapes.pop(name, None)
        profiles = dict(self._session.settings.profiles)
        if chosen is not None:
            shapes[name] = chosen
            profiles.pop(name, None)  # one of them counts
        self._session.change(input_shapes=shapes, profiles=profiles)
        self._update()


def parse_shape(text: str, placeholder: Placeholder) -> tuple[int, ...] | None:
    """Reads a concrete shape for an input, such as `1, 224, 224, 3`; None where none was chosen.

    Raises:
        IcebreakerError: It is no shape, or does not fit the one that the graph leaves open.
    """
    parts = [part.strip() for part in text.replace("×", ",").replace("x", ",").strip("[]() ").split(",")]
    if parts == [""] or "?" in parts:
        return None
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise IcebreakerError("sizes_malformed", "{subject!r} is not a shape", "sizes_with_commas", subject=text)
    sizes = tuple(int(part) for part in parts)
    check_shape(placeholder, sizes)
    return sizes


def check_shape(placeholder: Placeholder, shape: tuple[int, ...]) -> None:
    """Checks that an input can have a shape.

    Raises:
        IcebreakerError: It cannot: the graph says another rank, or other sizes.
    """
    if not shape_fits(placeholder.shape, shape):
        raise IcebreakerError(
            "shape_misfit", "{shape} does not fit {subject}: it takes {wanted}",
            subject=placeholder.name, shape=formatting.shape(shape), wanted=formatting.shape(placeholder.shape),
        )  # fmt: skip
