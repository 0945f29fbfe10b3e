"""Words, laid out once and painted often."""

from __future__ import annotations

from typing import NamedTuple

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QFontMetricsF, QStaticText, QTransform

from icebreaker_gui.style import theme

_MOST_TEXTS = 20_000

_fonts: dict[tuple[int, bool], tuple[QFont, QFontMetricsF]] = {}


def font(px: int, bold: bool) -> QFont:
    """The app's font in that many pixels."""
    return _made(px, bold)[0]


def metrics(px: int, bold: bool) -> QFontMetricsF:
    """How much room that font takes."""
    return _made(px, bold)[1]


def _made(px: int, bold: bool) -> tuple[QFont, QFontMetricsF]:
    made = _fonts.get((px, bold))
    if made is None:
        new = theme.font(bold=bold)
        new.setPixelSize(max(1, px))
        made = _fonts[px, bold] = (new, QFontMetricsF(new))
    return made


class Shaped(NamedTuple):
    """Words ready for painting, with the room that they take."""

    text: QStaticText
    width: float
    height: float


class Texts:
    """Words by size and room, kept between frames."""

    def __init__(self) -> None:
        self._shaped: dict[tuple[str, int, bool, int], Shaped] = {}

    def shape(self, words: str, px: int, bold: bool, room: float) -> Shaped:
        """The words in a font of that many pixels, shortened with … where they are wider than `room`."""
        key = (words, px, bold, int(room))
        shaped = self._shaped.get(key)
        if shaped is None:
            if len(self._shaped) > _MOST_TEXTS:
                self._shaped.clear()
            measure = metrics(px, bold)
            # Names differ at their ends; sentences and ops are known by their beginnings.
            op = " " in words or (words[:1].isupper() and "_" not in words)
            mode = Qt.TextElideMode.ElideRight if op else Qt.TextElideMode.ElideMiddle
            shown = measure.elidedText(words, mode, max(8.0, room))
            text = QStaticText(shown)
            text.setTextFormat(Qt.TextFormat.PlainText)
            text.setPerformanceHint(QStaticText.PerformanceHint.AggressiveCaching)
            text.prepare(QTransform(), font(px, bold))
            shaped = self._shaped[key] = Shaped(text, measure.horizontalAdvance(shown), measure.height())
        return shaped
