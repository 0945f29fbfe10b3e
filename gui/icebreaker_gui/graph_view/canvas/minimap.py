"""The whole scene in a corner of a canvas."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from icebreaker_gui.graph_view.canvas.canvas import Canvas
from icebreaker_gui.graph_view.painting.view import Camera, View
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
        """Paints the whole scene, and a frame around what the canvas shows of it."""
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
            camera = Camera(w / 2, h / 2, scale)
            picture.paint(inner, View(camera, self.width(), self.height(), float(self._canvas.morph >= 0.5)))
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
        """Moves the view there."""
        self._go(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Moves the view while a button is held."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event.position())
