"""How much of a graph runs in engines, by number of ops and by measured time, and why the rest does not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.overlays import REASON_STYLES
from icebreaker_gui.style import formatting, theme


@dataclass(frozen=True)
class Shares:
    """What runs where: shares of the ops, or of the measured time.

    Attributes:
        engines: Engine → its share.
        reasons: Why the rest does not → its share.
    """

    engines: Mapping[str, float]
    reasons: Mapping[str, float]

    @property
    def inside(self) -> float:
        """The share of all engines."""
        return sum(self.engines.values())


def op_shares(data: GraphData) -> Shares:
    """By number of ops; constants and the like do not count."""
    conversion, graph = data.conversion, data.graph
    engines: Counter[str] = Counter()
    for segment in conversion.segments if conversion else ():
        engines[segment.engine] += sum(
            1 for name in segment.nodes if graph is None or name not in graph or graph[name].op != "Const"
        )
    left = conversion.left_in_tensorflow if conversion else ()
    reasons = Counter(node.code for node in left if node.code != "passive")
    # The engines' part is the coverage itself, so that bar and figure agree.
    share = conversion.coverage if conversion and engines else 0.0
    return Shares(_scaled(engines, share), _scaled(reasons, 1 - share))


def time_shares(data: GraphData, after: bool) -> Shares | None:
    """By measured time, of the graph before or of the one after; None if it was not measured."""
    profile, conversion = data.profile(after), data.conversion
    if profile is None or conversion is None or not profile.total_ms:
        return None
    by_name = {segment.name: segment for segment in conversion.segments}
    engines: defaultdict[str, float] = defaultdict(float)
    reasons: defaultdict[str, float] = defaultdict(float)
    for key, timed in profile.nodes.items():
        segment = by_name.get(key) if after else data.segment_of.get(key)
        name = key
        while segment is None and name and name not in data.left:
            name = name.rpartition("/")[0]  # inside the function of a loop that is left
        if segment is not None:
            engines[segment.engine] += timed.ms
        else:
            reasons[data.left[name].code if name else "passive"] += timed.ms
    reasons["passive"] += profile.other_ms
    inside = sum(engines.values()) / profile.total_ms
    return Shares(_scaled(engines, inside), _scaled(reasons, 1 - inside))


def _scaled(parts: Mapping[str, float], total: float) -> dict[str, float]:
    whole = sum(parts.values())
    return {key: total * part / whole for key, part in parts.items()} if whole else {}


class Coverage(QWidget):
    """A bar: how much runs in engines, and why not the rest."""

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = title
        self._shares: Shares | None = None
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """As high as a line of words, so that the words beside the bar fit."""
        return QSize(200, max(14, self.fontMetrics().height()))

    def show_shares(self, shares: Shares | None) -> None:
        """Shows these shares; None: there are none."""
        self._shares = shares
        self.setVisible(shares is not None)
        if shares is not None:
            self.setAccessibleName(
                self.tr("{share} of {what} in engines").format(
                    share=formatting.percent(shares.inside), what=self._title
                )
            )
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints title, bar and share."""
        if self._shares is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(theme.current().color("muted"))
        words = formatting.percent(self._shares.inside)
        # Both bars begin and end in the same places.
        before = self.fontMetrics().horizontalAdvance(self.tr("time before") + " ")
        behind = self.fontMetrics().horizontalAdvance("99.9 % ")
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self._title)
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, words)
        parts = [
            (theme.current().engine(name), Qt.BrushStyle.SolidPattern, part)
            for name, part in self._shares.engines.items()
        ]
        for code, part in sorted(self._shares.reasons.items(), key=lambda entry: -entry[1]):
            hue, pattern = REASON_STYLES.get(code, REASON_STYLES["passive"])
            parts.append((theme.hue(hue), pattern, part))
        left, room = float(before), self.width() - before - behind
        for color, pattern, part in parts:
            wide = part * room
            rect = QRectF(left, (self.height() - 12) / 2, max(1.0, wide - 1), 12)
            soft = QColor(color)
            soft.setAlphaF(1.0 if pattern == Qt.BrushStyle.SolidPattern else 0.35)
            painter.fillRect(rect, soft)
            if pattern != Qt.BrushStyle.SolidPattern:
                painter.fillRect(rect, QBrush(color, pattern))
            left += wide
        painter.end()
