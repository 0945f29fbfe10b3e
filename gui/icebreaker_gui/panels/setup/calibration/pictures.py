"""The first samples as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from icebreaker_gui.style import theme

_COLUMNS = 4
_SMALLEST_SIDE = 24
_USUAL_WIDTH = 240


class Pictures(QWidget):
    """A grid of pictures, as many as the width has room for, hidden while there are none."""

    def __init__(self) -> None:
        super().__init__()
        self._images: list[QImage] = []
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def show_pictures(self, pictures: Sequence[np.ndarray]) -> None:
        """Replaces what is shown by pictures of uint8 [H, W, 3] each."""
        self._images = []
        for picture in pictures:
            pixels = np.ascontiguousarray(picture)
            height, width = pixels.shape[:2]
            image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            self._images.append(image.copy())  # it must not depend on bytes that go away
        self.setVisible(bool(self._images))
        self.setAccessibleName(self.tr("{n} pictures of what the network will see").format(n=len(self._images)))
        self.setToolTip(self.tr("What the network will really see of the first samples"))
        self.updateGeometry()
        self.update()

    def hasHeightForWidth(self) -> bool:
        """Its height follows from its width."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Height in pixels of all rows."""
        rows = -(-len(self._images) // _COLUMNS)
        return rows * (_side(width) + theme.SMALL)

    def sizeHint(self) -> QSize:
        """As high as it is at its width of now."""
        return QSize(_USUAL_WIDTH, self.heightForWidth(max(_USUAL_WIDTH, self.width())))

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme."""
        super().changeEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draws them, small ones without smoothing: their pixels are what the network gets."""
        painter, side = QPainter(self), _side(self.width())
        for index, image in enumerate(self._images):
            row, column = divmod(index, _COLUMNS)
            left, top = column * (side + theme.SMALL), row * (side + theme.SMALL)
            smooth = max(image.width(), image.height()) > side
            mode = Qt.TransformationMode.SmoothTransformation if smooth else Qt.TransformationMode.FastTransformation
            scaled = image.scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio, mode)
            painter.drawImage(left + (side - scaled.width()) // 2, top + (side - scaled.height()) // 2, scaled)
            painter.setPen(theme.current().color("border"))
            painter.drawRect(left, top, side - 1, side - 1)


def _side(width: int) -> int:
    """Length of a picture's side in pixels where all columns take so much room."""
    return max(_SMALLEST_SIDE, (width - (_COLUMNS - 1) * theme.SMALL) // _COLUMNS)
