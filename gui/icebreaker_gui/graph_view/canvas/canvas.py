"""One pane that shows a graph: pan, zoom, hover, click, open and close."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QContextMenuEvent,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QNativeGestureEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QWidget

from icebreaker_gui.graph_view.painting.look import NO_MARKS, Look, Marks
from icebreaker_gui.graph_view.painting.picture import Picture
from icebreaker_gui.graph_view.painting.view import Camera, Moved, View
from icebreaker_gui.layout import Scene
from icebreaker_gui.style import theme

_MOST_SCALE = 4.0
_READABLE = 0.55  # the least scale at which names can be read: nothing but the user goes below it
_COMFORTABLE = 0.85  # of what does not fit, so much is shown where there is room
_TITLE = 48  # height of what lies over the upper edge
_OPENING = 260  # milliseconds an opening takes
_GLIDING = 320  # milliseconds a jump of the camera takes


@dataclass(frozen=True)
class _Glide:
    """A jump of the camera that is on its way; `began` by `time.perf_counter`."""

    start: Camera
    end: Camera
    began: float

    def done(self, now: float) -> bool:
        return (now - self.began) * 1000 >= _GLIDING

    def camera(self, now: float) -> Camera:
        a, b = self.start, self.end
        e = _eased((now - self.began) * 1000 / _GLIDING)
        # Zooming is even to the eye when the logarithm of the scale moves evenly.
        scale = a.scale * (b.scale / a.scale) ** e
        s = (1 / a.scale - 1 / scale) / (1 / a.scale - 1 / b.scale) if abs(a.scale - b.scale) > 1e-09 else e
        return Camera(a.x + (b.x - a.x) * s, a.y + (b.y - a.y) * s, scale)


@dataclass(frozen=True)
class _Opening:
    """A group that is being opened or closed; `began` by `time.perf_counter`."""

    start: Moved
    end: Moved
    began: float

    def done(self, now: float) -> bool:
        return (now - self.began) * 1000 >= _OPENING

    def moved(self, now: float) -> Moved:
        a, b = self.start, self.end
        e = _eased((now - self.began) * 1000 / _OPENING)
        return Moved(a.boxes + (b.boxes - a.boxes) * e, a.points + (b.points - a.points) * e)


def _eased(share: float) -> float:
    """How far something is that comes to rest slowly, when `share` of its time is over."""
    return 1 - (1 - min(1.0, share)) ** 3


class Canvas(QWidget):
    """Paints a scene and turns gestures into signals. It keeps the camera; what is open or chosen is told to it."""

    cameraMoved = Signal(object)  # Camera, moved by the user or by an animation here
    itemClicked = Signal(int)
    itemOpened = Signal(int)  # double click, or Return on the chosen item
    itemHovered = Signal(int)
    menuWanted = Signal(int, object)  # item, global position
    stepWanted = Signal(str)  # an arrow key: "up", "down", "left", "right"

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(160, 120)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.grabGesture(Qt.GestureType.PinchGesture)
        self.setAccessibleName(self.tr("Graph"))
        self.picture: Picture | None = None
        self.camera = Camera()
        self.morph = 0.0
        self.marks = NO_MARKS
        self.empty_text = ""
        self.frame_ms = 0.0
        self.pointer = QPoint()  # where it was last
        self._pressed: QPointF | None = None
        self._dragged = False
        self._moving = False
        self._fitted = False
        self._lasting = False
        self._whole = self._all = False  # what was asked for, and what is seen
        self._glide: _Glide | None = None
        self._opening: _Opening | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(12)
        self._timer.timeout.connect(self._tick)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(140)
        self._rest.timeout.connect(self._rested)

    # ---- what to show -----------------------------------------------------------------------------------------------

    def show_picture(self, picture: Picture | None, anchor: int = -1) -> None:
        """Shows a scene. Boxes that were there before glide to their new places; `anchor` stays where it is."""
        before = self.picture
        self._opening = None
        self.picture = picture
        if picture is None:
            self._fitted = False
            self.update()
            return
        scene = picture.scene
        if before is None or not self._fitted or before.scene.sideways != scene.sideways:
            self.fit(animated=False)
        elif before.scene is not scene:
            self._hold(before.scene, scene, anchor)
            if before.scene.outline is scene.outline and len(scene.items) < 4000 and self.isVisible():
                self._animate_from(before.scene, scene)
        self.update()

    def show_look(self, look: Look) -> None:
        """Shows the same scene in other colours."""
        if self.picture:
            self.picture = Picture(self.picture.scene, look)
            self.update()

    def set_morph(self, morph: float) -> None:
        """0 shows the graph before, 1 the one after."""
        self.morph = morph
        self.update()

    def set_marks(self, marks: Marks) -> None:
        """What to emphasize."""
        self.marks = dataclasses.replace(marks, focus=self.hasFocus())
        self.update()

    def set_camera(self, camera: Camera) -> None:
        """Follows another pane; does not say `cameraMoved`."""
        self.camera = camera
        self._glide = None
        self._fitted, self._lasting = True, False
        self._move()

    @property
    def lasting(self) -> bool:
        """True while the canvas keeps fitted whatever its size: until the user moves."""
        return self._lasting

    @property
    def shows_all(self) -> bool:
        """True if all of the scene is in sight, readable or not."""
        return self._lasting and self._all

    def fit(self, animated: bool = True, item: int = -1, whole: bool = False) -> None:
        """Shows everything, or one item, as large as it fits, and keeps to that until the user moves.

        Args:
            animated: Glide there.
            item: The item to show; -1: everything.
            whole: Show everything even where names can no longer be read then; else of what is too large the beginning
                is shown.
        """
        if not self.picture or self.width() < 10:
            return
        scene = self.picture.scene
        box = scene.box(item) if item >= 0 else None
        x, y, w, h = box or (0.0, 0.0, *scene.size)
        margin, above = 12, _TITLE  # the title lies above
        room = self.width() - 2 * margin, self.height() - margin - above
        scale = min(room[0] / max(w, 1), room[1] / max(h, 1), 1.25 if box is None else 1.6)
        camera = Camera(x + w / 2, y + h / 2 - (above - margin) / 2 / scale, scale)
        if box is None and not whole and scale < _READABLE:
            camera = self._beginning(scene, room)
        self._fitted = True
        self.glide(camera, animated)
        self._lasting, self._whole, self._all = box is None, whole, whole or camera.scale == scale

    def _beginning(self, scene: Scene, room: tuple[float, float]) -> Camera:
        """Where the inputs of a scene are seen that is too large to be read as a whole."""
        across, width = (1, room[1]) if scene.sideways else (0, room[0])
        scale = max(_READABLE, min(width / max(scene.size[across], 1), _COMFORTABLE))
        middle = scene.size[across] / 2
        if scene.size[across] * scale > width:  # where the first boxes are
            closed = scene.boxes[~scene.is_open]
            along = closed[:, 1 - across]
            first = closed[along <= along.min() + 1]
            half = width / 2 / scale
            middle = float((first[:, across] + first[:, across + 2] / 2).mean())
            middle = min(max(middle, half), scene.size[across] - half)
        if scene.sideways:
            return Camera((self.width() / 2 - 12) / scale, middle - (_TITLE - 12) / 2 / scale, scale)
        return Camera(middle, (self.height() / 2 - _TITLE) / scale, scale)

    def reveal(self, item: int, animated: bool = True) -> None:
        """Moves the camera so that an item can be seen and read."""
        if not self.picture:
            return
        row = self.picture.scene.row(item)
        if row < 0:
            return
        x, y, w, h = self.picture.scene.boxes[row].tolist()
        scale, ox, oy = self.camera.to_view(self.width(), self.height())
        inside = x * scale + ox >= 0 and (x + w) * scale + ox <= self.width()
        inside &= y * scale + oy >= 0 and (y + h) * scale + oy <= self.height()
        if inside and scale >= 0.55:
            return
        wanted = scale if scale >= 0.55 else 0.9
        self.glide(Camera(x + w / 2, y + h / 2, wanted), animated)

    def glide(self, camera: Camera, animated: bool = True) -> None:
        """Moves the camera, in a smooth way if it is asked for."""
        self._lasting = False
        if animated and self.isVisible():
            self._glide = _Glide(self.camera, camera, time.perf_counter())
            self._timer.start()
            return
        self.camera = camera
        self.cameraMoved.emit(camera)
        self.update()

    def zoom(self, factor: float, at: QPointF | None = None) -> None:
        """Zooms about a point of the view; None: about its middle."""
        at = at or QPointF(self.width() / 2, self.height() / 2)
        scale, ox, oy = self.camera.to_view(self.width(), self.height())
        least = 0.001
        if self.picture:
            size = self.picture.scene.size
            least = min(0.25, 0.4 * min(self.width() / max(size[0], 1), self.height() / max(size[1], 1)))
        new = min(_MOST_SCALE, max(least, scale * factor))
        sx, sy = (at.x() - ox) / scale, (at.y() - oy) / scale
        self.camera = Camera(sx - (at.x() - self.width() / 2) / new, sy - (at.y() - self.height() / 2) / new, new)
        self._glide = None
        self._fitted, self._lasting = True, False
        self._move()
        self.cameraMoved.emit(self.camera)

    def item_at(self, point: QPointF) -> int:
        """The item at a point of the view, -1 without one."""
        if not self.picture:
            return -1
        scale, ox, oy = self.camera.to_view(self.width(), self.height())
        return self.picture.at((point.x() - ox) / scale, (point.y() - oy) / scale, self.morph)

    # ---- animation --------------------------------------------------------------------------------------------------

    def _hold(self, old: Scene, new: Scene, anchor: int) -> None:
        """Keeps the beginning of the anchor (or the middle of the view) where it is on the screen."""
        scale, _, _ = self.camera.to_view(self.width(), self.height())
        a = old.box(anchor) if anchor >= 0 else None
        b = new.box(anchor) if anchor >= 0 and old.outline is new.outline else None
        if a and b:
            if new.sideways:
                cx, top = a[0], a[1] + a[3] / 2
                nx, ntop = b[0], b[1] + b[3] / 2
            else:
                cx, top = a[0] + a[2] / 2, a[1]
                nx, ntop = b[0] + b[2] / 2, b[1]
            camera = Camera(self.camera.x + nx - cx, self.camera.y + ntop - top, scale)
            # What opens should be in sight.
            ntop = b[1]
            height = b[3] * scale
            bottom = (ntop - camera.y) * scale + self.height() / 2 + height
            if new.is_open[new.row(anchor)] and bottom > self.height() and height < self.height() - 40:
                camera = Camera(camera.x, camera.y + (bottom - self.height() + 20) / scale, scale)
            self.camera = camera
            self.cameraMoved.emit(camera)
        elif old.outline is new.outline:
            self._keep_middle(old, new)
        else:
            self.fit(animated=False)
            # Panes that come or go change this one's size a moment later.
            QTimer.singleShot(0, lambda: self.fit(animated=False))

    def _keep_middle(self, old: Scene, new: Scene) -> None:
        """Leaves what is in the middle of the view there, whatever opens or closes around it."""
        x, y = self.camera.x, self.camera.y
        left, top, wide, tall = old.boxes.T
        beside, above = np.maximum(left - x, x - left - wide), np.maximum(top - y, y - top - tall)
        away = np.hypot(beside.clip(0), above.clip(0))
        away[old.is_open] += 1e9  # what is closed says best where one is
        nearest = int(away.argmin())
        row = new.row(int(old.items[nearest]))
        if row < 0:
            return
        before, now = old.boxes[nearest], new.boxes[row]
        share = np.clip((np.array([x, y]) - before[:2]) / np.maximum(before[2:], 1), 0, 1)
        x, y = (now[:2] + now[2:] * share).tolist()
        self.camera = Camera(x, y, self.camera.scale)
        self.cameraMoved.emit(self.camera)

    def _animate_from(self, old: Scene, new: Scene) -> None:
        """Prepares an opening or closing: each box starts where it, or the group around it, was."""
        start = np.empty_like(new.boxes)
        for row, item in enumerate(new.items.tolist()):
            known = old.row(item)
            if known < 0:
                start[row] = new.boxes[row]
            elif int(old.items[known]) == item:
                start[row] = old.boxes[known]
            else:
                bx, by, bw, bh = old.boxes[known].tolist()
                start[row] = (bx + bw / 2 - 1, by + bh / 2 - 1, 2, 2)
        shift = (start[:, :2] + start[:, 2:] / 2) - (new.boxes[:, :2] + new.boxes[:, 2:] / 2)
        first = np.array([new.row(int(item)) for item in new.edge_from.tolist()], np.int64)
        last = np.array([new.row(int(item)) for item in new.edge_to.tolist()], np.int64)
        counts = np.diff(new.starts)
        share = np.arange(len(new.points)) - np.repeat(new.starts[:-1], counts)
        share = (share / np.maximum(np.repeat(counts - 1, counts), 1))[:, None]
        a = np.where(first[:, None] >= 0, shift[first], 0.0)
        b = np.where(last[:, None] >= 0, shift[last], 0.0)
        moved = new.points + np.repeat(a, counts, axis=0) * (1 - share) + np.repeat(b, counts, axis=0) * share
        # The camera was moved to hold the anchor, so old places move with it.
        self._opening = _Opening(Moved(start, moved), Moved(new.boxes, new.points), time.perf_counter())
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        busy = False
        if self._glide:
            if self._glide.done(now):
                self.camera, self._glide = self._glide.end, None
            else:
                self.camera = self._glide.camera(now)
                busy = True
            self.cameraMoved.emit(self.camera)
        if self._opening:
            if self._opening.done(now):
                self._opening = None
            else:
                busy = True
        if not busy:
            self._timer.stop()
        self._move()

    def _move(self) -> None:
        self._moving = True
        self._rest.start()
        self.update()

    def _rested(self) -> None:
        self._moving = False
        self.update()

    # ---- events -----------------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints what the pane shows, and takes the time that it took."""
        began = time.perf_counter()
        painter = QPainter(self)
        self.paint_into(painter)
        painter.end()
        self.frame_ms = (time.perf_counter() - began) * 1000

    def paint_into(self, painter: QPainter) -> None:
        """Paints what the pane shows."""
        colors = theme.current()
        painter.fillRect(self.rect(), colors.color("panel"))
        picture = self.picture
        if picture is None:
            painter.setPen(colors.color("muted"))
            painter.setFont(theme.font(1.05))
            painter.drawText(
                self.rect().adjusted(24, 24, -24, -24), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap,
                self.empty_text,
            )  # fmt: skip
            return
        moved = self._opening.moved(time.perf_counter()) if self._opening else None
        view = View(self.camera, self.width(), self.height(), self.morph, self._moving)
        picture.paint(painter, view, self.marks, moved)
        if self.marks.selected >= 0 and moved is None:
            picture.highlight(painter, view, self.marks.selected)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fits what depends on the size."""
        if self.picture and (self._lasting or not self._fitted):
            self.fit(animated=False, whole=self._whole)
        super().resizeEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zooms; on a touchpad, or with Shift, moves."""
        pixels, degrees = event.pixelDelta(), event.angleDelta()
        # A wheel zooms; a touchpad, which tells pixels, moves, and zooms with Ctrl.
        touchpad = not pixels.isNull() and event.source() == Qt.MouseEventSource.MouseEventSynthesizedBySystem
        if touchpad and not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._pan(pixels.x(), pixels.y())
        elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            delta = degrees.y() or degrees.x()
            self._pan(delta / 2, 0)
        else:
            self.zoom(1.0016 ** degrees.y(), event.position())
        event.accept()

    def event(self, event: QEvent) -> bool:
        """Zooms by pinching; keeps Escape while something is chosen."""
        match event:
            case QKeyEvent() if event.type() == QEvent.Type.ShortcutOverride and event.key() == Qt.Key.Key_Escape:
                if self.marks.selected >= 0:
                    event.accept()  # here it chooses nothing; it cancels nothing
                    return True
        if event.type() == QEvent.Type.Gesture:
            pinch = event.gesture(Qt.GestureType.PinchGesture)  # type: ignore[attr-defined]
            if pinch:
                self.zoom(pinch.scaleFactor(), QPointF(self.mapFromGlobal(pinch.hotSpot().toPoint())))
                return True
        if isinstance(event, QNativeGestureEvent) and event.gestureType() == Qt.NativeGestureType.ZoomNativeGesture:
            self.zoom(1 + event.value(), event.position())
            return True
        return super().event(event)

    def _pan(self, dx: float, dy: float) -> None:
        self.camera = Camera(
            self.camera.x - dx / self.camera.scale, self.camera.y - dy / self.camera.scale, self.camera.scale
        )
        self._glide = None
        self._fitted, self._lasting = True, False
        self._move()
        self.cameraMoved.emit(self.camera)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begins a click or a drag."""
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        if event.button() in (Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton):
            self._pressed = event.position()
            self._dragged = False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drags, or tells what the pointer is over."""
        if self._pressed is not None:
            delta = event.position() - self._pressed
            if self._dragged or delta.manhattanLength() > 4:
                self._dragged = True
                self._pressed = event.position()
                self.setCursor(Qt.CursorShape.ClosedHandCursor)
                self._pan(delta.x(), delta.y())
            return
        self.pointer = event.position().toPoint()
        self.itemHovered.emit(self.item_at(event.position()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Ends a click or a drag."""
        self.unsetCursor()
        clicked = self._pressed is not None and not self._dragged and event.button() == Qt.MouseButton.LeftButton
        self._pressed = None
        if clicked:
            self.itemClicked.emit(self.item_at(event.position()))

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Opens or closes what was clicked."""
        self._pressed = None
        if event.button() == Qt.MouseButton.LeftButton:
            item = self.item_at(event.position())
            if item >= 0:
                self.itemOpened.emit(item)

    def leaveEvent(self, event: QEvent) -> None:
        """The pointer is over nothing any more."""
        self.itemHovered.emit(-1)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Asks for the menu of what the pointer is over; by the key, of what is chosen."""
        if event.reason() == QContextMenuEvent.Reason.Keyboard:
            item, place = self.marks.selected, self._place_of(self.marks.selected)
            self.menuWanted.emit(item, self.mapToGlobal(place.toPoint()))
            return
        item = self.item_at(QPointF(event.pos()))
        self.menuWanted.emit(item, event.globalPos())

    def _place_of(self, item: int) -> QPointF:
        """Where in the view an item is, or the middle of the view."""
        row = self.picture.scene.row(item) if self.picture and item >= 0 else -1
        if not self.picture or row < 0:
            return QPointF(self.width() / 2, self.height() / 2)
        x, y, w, h = self.picture.scene.boxes[row].tolist()
        scale, ox, oy = self.camera.to_view(self.width(), self.height())
        right, bottom = self.width() - 1.0, self.height() - 1.0
        return QPointF(min(max((x + w / 2) * scale + ox, 0), right), min(max((y + h / 2) * scale + oy, 0), bottom))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Walks with the arrow keys, moves with Shift, opens with Return, zooms with + and −."""
        steps = {
            Qt.Key.Key_Up: "up", Qt.Key.Key_Down: "down", Qt.Key.Key_Left: "left", Qt.Key.Key_Right: "right",
        }  # fmt: skip
        key = Qt.Key(event.key())
        if key in steps and not event.modifiers() & Qt.KeyboardModifier.AltModifier:
            if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                dx, dy = {"up": (0, 60), "down": (0, -60), "left": (60, 0), "right": (-60, 0)}[steps[key]]
                self._pan(dx, dy)
            else:
                self.stepWanted.emit(steps[key])
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space) and self.marks.selected >= 0:
            self.itemOpened.emit(self.marks.selected)
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.zoom(1.25)
        elif key == Qt.Key.Key_Minus:
            self.zoom(0.8)
        elif key in (Qt.Key.Key_0, Qt.Key.Key_Home):
            self.fit()
        elif key == Qt.Key.Key_Escape:
            self.itemClicked.emit(-1)
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Shows that keys come here."""
        super().focusInEvent(event)
        self.set_marks(self.marks)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Shows that they do no longer."""
        super().focusOutEvent(event)
        self.set_marks(self.marks)

    def say(self, text: str) -> None:
        """Tells screen readers what has the focus now."""
        self.setAccessibleDescription(text)
        QAccessible.updateAccessibility(QAccessibleEvent(self, QAccessible.Event.DescriptionChanged))

    def changeEvent(self, event: QEvent) -> None:
        """Follows light and dark."""
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        super().changeEvent(event)
