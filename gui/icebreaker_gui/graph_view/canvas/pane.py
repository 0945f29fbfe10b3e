"""A canvas with what lies over it: title, minimap, the card beside the pointer."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPen, QResizeEvent
from PySide6.QtWidgets import QWidget

from icebreaker_gui.graph_view.canvas.canvas import Canvas
from icebreaker_gui.graph_view.canvas.hover_card import HoverCard
from icebreaker_gui.graph_view.canvas.minimap import Minimap
from icebreaker_gui.graph_view.painting.look import Look
from icebreaker_gui.graph_view.painting.picture import Picture
from icebreaker_gui.graph_view.painting.view import Camera
from icebreaker_gui.style import theme


class Pane(Canvas):
    """A canvas with its title, minimap and the card beside the pointer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = ""
        self.subtitle = ""
        self.title_color = "text"
        self.minimap = Minimap(self)
        self.minimap.hide()
        self.card = HoverCard(self)
        self.cameraMoved.connect(lambda _camera: self.card.tell((), QPoint()))

    def show_title(self, title: str, subtitle: str, color: str) -> None:
        """What the pane shows, in its upper left corner."""
        self.title, self.subtitle, self.title_color = title, subtitle, color
        self.update()

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
        """Paints the pane with its title."""
        super().paint_into(painter)
        if self.picture is None:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_title(painter)
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

    def changeEvent(self, event: QEvent) -> None:
        """Follows light and dark."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.minimap.update()
