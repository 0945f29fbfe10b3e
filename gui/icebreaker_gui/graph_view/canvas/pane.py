"""A canvas with what lies over it: title, legend, minimap."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, Qt
from PySide6.QtGui import QMouseEvent, QPainter, QPen, QResizeEvent
from PySide6.QtWidgets import QWidget

from icebreaker_gui.graph_view.canvas.canvas import Canvas
from icebreaker_gui.graph_view.canvas.minimap import Minimap
from icebreaker_gui.graph_view.painting.legend import LegendEntry, paint_legend
from icebreaker_gui.graph_view.painting.look import Look
from icebreaker_gui.graph_view.painting.picture import Picture
from icebreaker_gui.graph_view.painting.view import Camera
from icebreaker_gui.style import theme


class Pane(Canvas):
    """A canvas with its title, legend and minimap."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = ""
        self.subtitle = ""
        self.title_color = "text"
        self.legend: Sequence[LegendEntry] = ()
        self.legend_open: bool | None = None  # None: where there is room, and nothing else tells the same
        self.legend_told = False
        self._legend_box = QRectF()
        self.minimap = Minimap(self)
        self.minimap.hide()

    def show_title(self, title: str, subtitle: str, color: str) -> None:
        """What the pane shows, in its upper left corner."""
        self.title, self.subtitle, self.title_color = title, subtitle, color
        self.update()

    def show_legend(self, legend: Sequence[LegendEntry], told: bool = False) -> None:
        """What the colours mean, in its lower left corner; folded if it is `told` elsewhere."""
        self.legend, self.legend_told = legend, told
        self.update()

    def _legend_open(self) -> bool:
        if self.legend_open is not None:
            return self.legend_open
        return self.width() > 620 and self.height() > 420 and not self.legend_told

    def show_picture(self, picture: Picture | None, anchor: int = -1) -> None:
        """Shows a scene; the minimap too."""
        super().show_picture(picture, anchor)
        self.minimap.place()

    def show_look(self, look: Look) -> None:
        """Shows other colours; the minimap too."""
        super().show_look(look)
        self.minimap.update()

    def set_camera(self, camera: Camera) -> None:
        """Follows another pane; the minimap too."""
        super().set_camera(camera)
        self.minimap.setVisible(self.minimap.useful())
        self.minimap.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fits what depends on the size."""
        super().resizeEvent(event)
        self.minimap.place()

    def paint_into(self, painter: QPainter) -> None:
        """Paints the pane with title and legend."""
        super().paint_into(painter)
        if self.picture is None:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_title(painter)
        room = QRectF(self.rect()).adjusted(12, 12, -12, -12)
        opened = self._legend_open()
        self._legend_box = paint_legend(painter, self.legend, room, self.tr("Legend"), opened)
        if self.marks.focus:
            painter.setPen(QPen(theme.current().color("accent"), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(QRectF(self.rect()).adjusted(1, 1, -1, -1))

    def _paint_title(self, painter: QPainter) -> None:
        if not self.title:
            return
        colors = theme.current()
        bold, plain = theme.font(1.0, bold=True), theme.font(0.92)
        painter.setFont(bold)
        w1 = painter.fontMetrics().horizontalAdvance(self.title)
        tall = painter.fontMetrics().height()
        painter.setFont(plain)
        w2 = painter.fontMetrics().horizontalAdvance(self.subtitle)
        plate = QRectF(12, 10, w1 + w2 + 36, tall + 10)
        painter.setPen(QPen(colors.color("border"), 1))
        painter.setBrush(colors.color("window", 0.94))
        painter.drawRoundedRect(plate, plate.height() / 2, plate.height() / 2)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colors.color(self.title_color))
        painter.drawEllipse(QPointF(plate.left() + 13, plate.center().y()), 3.5, 3.5)
        painter.setFont(bold)
        painter.setPen(colors.color("text"))
        painter.drawText(
            QRectF(plate.left() + 22, plate.top(), w1 + 4, plate.height()),
            Qt.AlignmentFlag.AlignVCenter,
            self.title,
        )
        painter.setFont(plain)
        painter.setPen(colors.color("muted"))
        painter.drawText(
            QRectF(plate.left() + 28 + w1, plate.top(), w2 + 4, plate.height()),
            Qt.AlignmentFlag.AlignVCenter,
            self.subtitle,
        )

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begins a click or a drag."""
        if self.legend and self._legend_box.contains(event.position()):
            self.legend_open = not self._legend_open()
            self.update()
            return
        super().mousePressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Follows light and dark."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.minimap.update()
