"""From scene to view: what the camera sees, and where boxes and edge points are in the view then.

Scene units are pixels at a scale of 1; view coordinates are device-independent pixels from its upper left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PySide6.QtCore import QRectF
from PySide6.QtGui import QTransform

from icebreaker_gui.layout import LEAF_HEIGHT

# Heights in view pixels of a leaf at which it is drawn with more detail: single pixels below the first, plain boxes
# below the second, then boxes with one line of words, and with two.
PIXELS, PLAIN, ONE_LINE, TWO_LINES = 3.0, 8.0, 11.0, 27.0
_BORDER = 8.0  # what lies so far outside the view is painted still: pens have a width


@dataclass(frozen=True)
class Camera:
    """What is looked at: the scene point in the middle and device-independent pixels a scene unit."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0

    def to_view(self, width: float, height: float) -> tuple[float, float, float]:
        """Scale and offset from scene to view coordinates, for a view of that size."""
        return self.scale, width / 2 - self.x * self.scale, height / 2 - self.y * self.scale


@dataclass(frozen=True)
class View:
    """One look at a scene.

    Attributes:
        camera: Where to look.
        width: Of the view.
        height: Of the view.
        morph: 0 for the graph before, 1 for after, between them on the way.
        moving: True while the view moves: smoothing is left out where it costs too much.
    """

    camera: Camera
    width: float
    height: float
    morph: float = 0.0
    moving: bool = False

    @property
    def scale(self) -> float:
        """View pixels a scene unit."""
        return self.camera.scale

    @cached_property
    def offset(self) -> tuple[float, float]:
        """Where the scene's origin is in the view."""
        return self.camera.to_view(self.width, self.height)[1:]

    @property
    def leaf(self) -> float:
        """Height of a leaf in view pixels, which decides how much of it is drawn."""
        return LEAF_HEIGHT * self.camera.scale

    @cached_property
    def rect(self) -> QRectF:
        """The whole view."""
        return QRectF(0, 0, self.width, self.height)

    @cached_property
    def transform(self) -> QTransform:
        """From scene to view coordinates."""
        return QTransform(self.scale, 0, 0, self.scale, *self.offset)

    @cached_property
    def window(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is seen, in scene coordinates, with a small border."""
        scale, (dx, dy) = self.scale, self.offset
        return (
            (-_BORDER - dx) / scale,
            (-_BORDER - dy) / scale,
            (self.width + _BORDER - dx) / scale,
            (self.height + _BORDER - dy) / scale,
        )


@dataclass(frozen=True, eq=False)
class Moved:
    """Where everything is while a group opens or closes: in place of the scene's own boxes and edge points.

    Attributes:
        boxes: As `Scene.boxes`, [n, 4].
        points: As `Scene.points`, [m, 2].
    """

    boxes: np.ndarray
    points: np.ndarray


@dataclass(frozen=True, eq=False)
class Boxes:
    """Where the boxes of a scene are in the view; one entry a row of the scene, in each array.

    Attributes:
        x: Left sides.
        y: Upper sides.
        w: Widths.
        h: Heights.
        fade: Opacities, 1 for what is not about to go.
    """

    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    h: np.ndarray
    fade: np.ndarray

    @classmethod
    def of(cls, boxes: np.ndarray, view: View) -> Boxes:
        """From boxes in scene coordinates, [n, 4]."""
        scale, (dx, dy) = view.scale, view.offset
        x, y = boxes[:, 0] * scale + dx, boxes[:, 1] * scale + dy
        return cls(x, y, boxes[:, 2] * scale, boxes[:, 3] * scale, np.ones(len(x)))

    def in_sight(self, view: View) -> np.ndarray:
        """True for each row that the view shows, if only in part, [n]."""
        x, y = self.x, self.y
        seen = (x < view.width + _BORDER) & (y < view.height + _BORDER)
        return seen & (x + self.w > -_BORDER) & (y + self.h > -_BORDER)

    def rect(self, row: int) -> QRectF:
        """One row as a rectangle."""
        return QRectF(self.x[row], self.y[row], self.w[row], self.h[row])

    def rects(self, rows: np.ndarray) -> list[QRectF]:
        """Many rows as rectangles."""
        corners = np.stack([self.x[rows], self.y[rows], self.w[rows], self.h[rows]], axis=1)
        return [QRectF(*values) for values in corners.tolist()]
