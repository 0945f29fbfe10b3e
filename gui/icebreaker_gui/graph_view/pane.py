"""A canvas with what lies over it: title, legend, minimap."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from icebreaker_gui.graph_view.canvas import Canvas
from icebreaker_gui.graph_view.overlays import Entry
from icebreaker_gui.graph_view.painting.picture import Camera, Picture
from icebreaker_gui.graph_view.why_not import paint_swatch
from icebreaker_gui.style import theme


class Minimap(QWidget):
    """The whole scene in a corner, with the part that the canvas shows; drag it to move."""

    def __init__(self, canvas: Canvas) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self._image: QImage | None = None
        self._made_of: object = None
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(self.tr("Minimap"))
        canvas.cameraMoved.connect(self._follow)

    def _follow(self) -> None:
        self.setVisible(self.useful())
        self.update()

    def useful(self) -> bool:
        """True while the canvas shows only a part."""
        picture = self._canvas.picture
        if picture is None or self._canvas.width() < 300 or self._canvas.height() < 260:
            return False
        scale = self._canvas.camera.scale
        w, h = picture.scene.size
        return w * scale > self._canvas.width() * 1.02 or h * scale > self._canvas.height() * 1.02

    def place(self) -> None:
        """Takes its corner, shaped like the scene."""
        picture = self._canvas.picture
        if picture is None:
            self.hide()
            return
        w, h = picture.scene.size
        scale = min(150 / max(w, 1), 170 / max(h, 1))
        size = QSize(max(26, int(w * scale) + 10), max(26, int(h * scale) + 10))
        self.resize(size)
        self.move(self._canvas.width() - size.width() - 12, self._canvas.height() - size.height() - 12)
        self.setVisible(self.useful())
        self.update()

    def _fit(self) -> tuple[float, float, float]:
        w, h = self._canvas.picture.scene.size if self._canvas.picture else (1.0, 1.0)
        scale = min((self.width() - 10) / max(w, 1), (self.height() - 10) / max(h, 1))
        return scale, (self.width() - w * scale) / 2, (self.height() - h * scale) / 2

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints."""
        picture = self._canvas.picture
        if picture is None:
            return
        colors = theme.current()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        back = colors.color("window", 0.92)
        painter.setBrush(back)
        painter.setPen(QPen(colors.color("border"), 1))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 5, 5)
        made_of = (picture, self.size(), self._canvas.morph >= 0.5, colors.name)
        if self._image is None or self._made_of != made_of:
            ratio = self.devicePixelRatioF()
            image = QImage(self.size() * ratio, QImage.Format.Format_ARGB32_Premultiplied)
            image.setDevicePixelRatio(ratio)
            image.fill(Qt.GlobalColor.transparent)
            inner = QPainter(image)
            scale, _, _ = self._fit()
            w, h = picture.scene.size
            picture.paint(
                inner,
                Camera(w / 2, h / 2, scale),
                self.width(),
                self.height(),
                float(self._canvas.morph >= 0.5),
            )
            inner.end()
            self._image, self._made_of = image, made_of
        painter.drawImage(0, 0, self._image)
        scale, ox, oy = self._fit()
        canvas, camera = self._canvas, self._canvas.camera
        w, h = canvas.width() / camera.scale * scale, canvas.height() / camera.scale * scale
        view = QRectF(camera.x * scale + ox - w / 2, camera.y * scale + oy - h / 2, w, h)
        view = view.intersected(QRectF(self.rect()).adjusted(1, 1, -1, -1))
        soft = colors.color("accent", 0.18)
        painter.setBrush(soft)
        painter.setPen(QPen(colors.color("accent"), 1.2))
        painter.drawRoundedRect(view, 2, 2)

    def _go(self, at: QPointF) -> None:
        scale, ox, oy = self._fit()
        camera = Camera((at.x() - ox) / scale, (at.y() - oy) / scale, self._canvas.camera.scale)
        self._canvas.set_camera(camera)
        self._canvas.cameraMoved.emit(camera)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begins a click or a drag."""
        self._go(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drags, or tells what the pointer is over."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event.position())


class Pane(Canvas):
    """A canvas with its title, legend and minimap."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = ""
        self.subtitle = ""
        self.title_color = "text"
        self.legend: list[Entry] = []
        self.legend_open: bool | None = None  # None: where there is room, and nothing else tells the same
        self.legend_told = False
        self._legend_box = QRectF()
        self.minimap = Minimap(self)
        self.minimap.hide()

    def show_title(self, title: str, subtitle: str, color: str) -> None:
        """What the pane shows, in its upper left corner."""
        self.title, self.subtitle, self.title_color = title, subtitle, color
        self.update()

    def show_legend(self, legend: list[Entry], told: bool = False) -> None:
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

    def show_look(self, look) -> None:
        """Shows other colours; the minimap too."""
        super().show_look(look)
        self.minimap.update()

    def set_camera(self, camera: Camera) -> None:
        """Follows another pane; the minimap too."""
        super().set_camera(camera)
        self.minimap.setVisible(self.minimap.useful())
        self.minimap.update()

    def resizeEvent(self, event) -> None:
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


def legend_size(painter: QPainter, legend: list[Entry]) -> tuple[float, float]:
    """Width and height that a legend takes."""
    if not legend:
        return 0.0, 0.0
    painter.setFont(theme.font(0.88))
    metrics = painter.fontMetrics()
    widest = max(metrics.horizontalAdvance(_words(entry)) for entry in legend)
    return widest + 42.0, len(legend) * (metrics.height() + 3) + 12.0


def _words(entry: Entry) -> str:
    return f"{entry.words}   {entry.number:,}" if entry.number else entry.words


def paint_legend(painter: QPainter, legend: list[Entry], room: QRectF, title: str = "", opened: bool = True) -> QRectF:
    """Paints a legend into the lower left corner of `room`, folded to its title where it does not fit.

    Returns:
        Where it was painted.
    """
    if not legend:
        return QRectF()
    colors = theme.current()
    wide, tall = legend_size(painter, legend)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setFont(theme.font(0.88))
    line = painter.fontMetrics().height() + 3
    if title and (not opened or wide > room.width() * 0.75 or tall > room.height() * 0.6):
        box = QRectF(
            room.left(),
            room.bottom() - line - 6,
            painter.fontMetrics().horizontalAdvance(title) + 20,
            line + 6,
        )
        painter.setPen(QPen(colors.color("border"), 1))
        painter.setBrush(colors.color("window", 0.94))
        painter.drawRoundedRect(box, 6, 6)
        painter.setPen(colors.color("muted"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, title)
        return box
    box = QRectF(room.left(), room.bottom() - tall, wide, tall)
    painter.setPen(QPen(colors.color("border"), 1))
    painter.setBrush(colors.color("window", 0.94))
    painter.drawRoundedRect(box, 6, 6)
    y = box.top() + 6
    for entry in legend:
        if entry.color.alpha():
            swatch = QRectF(box.left() + 10, y + line / 2 - 5, 10, 10)
            paint_swatch(painter, swatch, QColor(entry.color), entry.pattern)
        painter.setPen(colors.color("text"))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        left = box.left() + (28 if entry.color.alpha() else 10)
        painter.drawText(QRectF(left, y, wide, line), Qt.AlignmentFlag.AlignVCenter, entry.words)
        if entry.number:
            painter.setPen(colors.color("muted"))
            painter.drawText(
                QRectF(box.left(), y, wide - 10, line),
                Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, f"{entry.number:,}",
            )  # fmt: skip
        y += line
    return box
