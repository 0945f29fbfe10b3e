"""Leaves and closed groups: single pixels when far away, plain boxes nearer, then boxes with words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PySide6.QtCore import QCoreApplication, QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QImage, QPainter, QPen, QStaticText

from icebreaker_gui.graph_view.op_categories import KINDS, kind
from icebreaker_gui.graph_view.painting.engine_nodes import EngineNodePainter
from icebreaker_gui.graph_view.painting.prepared import Prepared
from icebreaker_gui.graph_view.painting.shapes import mix
from icebreaker_gui.graph_view.painting.text import Shaped, Texts, font, metrics
from icebreaker_gui.graph_view.painting.view import ONE_LINE, TWO_LINES, Boxes, View
from icebreaker_gui.style import theme

_MOST_PIXELS = 40_000_000  # larger views are painted box by box
_NOTE_LEAF = 15  # a leaf has to be higher for a figure beside its name
_PATTERN_LEAF = 14  # and for a pattern


@dataclass(frozen=True)
class _Style:
    """What all boxes of a frame share: sizes in view pixels, and the theme's colours.

    Attributes:
        scale: View pixels a scene unit.
        leaf: Height of a leaf.
        name_px: Height of the font of names.
        small_px: Height of the font of what stands below them.
        tinted: True if colours tint the whole box, not a bar at its side.
        tint: How strongly.
        fading: Items that are going.
    """

    scale: float
    leaf: float
    name_px: int
    small_px: int
    tinted: bool
    tint: float
    fading: frozenset[int]
    node: QColor
    border: QColor
    raised: QColor
    group: QColor
    badge: QColor
    ink: QColor
    muted: QColor

    @property
    def two_lines(self) -> bool:
        return self.leaf >= TWO_LINES


class _Box(NamedTuple):
    """One box: its item, place and opacity, its kind of op ("" for a group), its palette entry and that colour.

    It is `strong` where the colour tints the whole box.
    """

    item: int
    rect: QRectF
    opacity: float
    group: bool
    kind: str
    entry: int
    color: QColor
    strong: bool


class _Words(NamedTuple):
    """Words of a box, painted after all boxes: changing the font costs more than painting."""

    place: QPointF
    text: QStaticText
    ink: QColor
    px: int
    bold: bool
    opacity: float


class BoxPainter:
    """Paints leaves and closed groups."""

    def __init__(self, prepared: Prepared, texts: Texts, engine_nodes: EngineNodePainter) -> None:
        self._prepared, self._texts, self._engine_nodes = prepared, texts, engine_nodes

    # ---- far away ---------------------------------------------------------------------------------------------------

    def paint_pixels(self, painter: QPainter, rows: np.ndarray, view: View, boxes: Boxes) -> None:
        """Boxes of less than three pixels, written straight into an image."""
        ratio = painter.device().devicePixelRatioF() if painter.device() else 1.0
        columns, lines = max(1, int(view.width * ratio)), max(1, int(view.height * ratio))
        if _is_vector(painter) or columns * lines > _MOST_PIXELS:
            self.paint_plain(painter, rows, boxes)
            return
        pixels = np.zeros((lines, columns), np.uint32)
        palette = np.array([color.rgba() for color in self._fills()], np.uint32)
        value = palette[self._prepared.color_of[rows]]
        x0 = np.clip((boxes.x[rows] * ratio).astype(np.int64), 0, columns - 1)
        y0 = np.clip((boxes.y[rows] * ratio).astype(np.int64), 0, lines - 1)
        wide = np.maximum((boxes.w[rows] * ratio).astype(np.int64), 1)
        tall = np.maximum((boxes.h[rows] * ratio).astype(np.int64), 1)
        for dy in range(int(tall.max())):
            for dx in range(int(min(wide.max(), 24 * ratio))):
                use = (dy < tall) & (dx < wide)
                pixels[np.minimum(y0[use] + dy, lines - 1), np.minimum(x0[use] + dx, columns - 1)] = value[use]
        image = QImage(pixels.data, columns, lines, columns * 4, QImage.Format.Format_ARGB32_Premultiplied)
        image.setDevicePixelRatio(ratio)
        painter.drawImage(0, 0, image)

    def paint_plain(self, painter: QPainter, rows: np.ndarray, boxes: Boxes) -> None:
        """Boxes too small for words: one call a colour."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(Qt.PenStyle.NoPen)
        entries = self._prepared.color_of[rows]
        fills = self._fills()
        for entry in np.unique(entries).tolist():
            painter.setBrush(fills[entry])
            painter.drawRects(boxes.rects(rows[entries == entry]))
        painter.restore()

    def _fills(self) -> list[QColor]:
        """Palette for boxes too small for words; entry 0 is the plain node."""
        return [theme.current().color("node_border"), *self._prepared.look.colors[1:]]

    # ---- near enough to be read -------------------------------------------------------------------------------------

    def paint_readable(self, painter: QPainter, rows: np.ndarray, view: View, boxes: Boxes) -> None:
        """Boxes with words, or with room for a bar of colour at least."""
        prepared, scene, look = self._prepared, self._prepared.scene, self._prepared.look
        style = self._style(view)
        words: list[_Words] = []
        for row in rows.tolist():
            item = int(scene.items[row])
            opacity = float(boxes.fade[row]) * (0.3 if item in style.fading else 1.0)
            if prepared.is_extra[row]:
                opacity *= view.morph
            if opacity <= 0.02:
                continue
            painter.setOpacity(opacity)
            rect = boxes.rect(row)
            if item in look.engine_nodes:
                self._engine_nodes.paint_closed(painter, rect, look.engine_nodes[item], view.scale)
                continue
            entry = int(prepared.color_of[row])
            group = bool(scene.outline.members[item])
            op_kind = "" if group else kind(scene.outline.ops[item])
            strong = bool(style.tinted and entry and entry not in look.calm)
            box = _Box(item, rect, opacity, group, op_kind, entry, look.colors[entry], strong)
            indent = self._paint_box(painter, box, style)
            if style.leaf >= ONE_LINE:
                self._set_words(painter, box, style, indent, words)
        painter.setOpacity(1.0)
        _paint_words(painter, words, style)

    def _style(self, view: View) -> _Style:
        colors, look = theme.current(), self._prepared.look
        return _Style(
            scale=view.scale,
            leaf=view.leaf,
            # Where the name stands alone, there is room to write it larger.
            name_px=max(7, round(12 * view.scale) if view.leaf >= TWO_LINES else min(12, round(16 * view.scale))),
            small_px=max(6, round(10 * view.scale)),
            tinted=look.name != "kind",
            # Heat is told by the colour alone: the more of it the better, as far as words can be read on it.
            tint=0.5 if look.notes else 0.24 if colors.dark else 0.2,
            fading=look.gone if view.morph >= 1 or look.alone else frozenset(),
            node=colors.color("node"),
            border=colors.color("node_border"),
            raised=colors.color("raised"),
            group=colors.color("group"),
            badge=colors.color("constant"),
            ink=colors.color("text"),
            muted=colors.color("muted"),
        )

    def _paint_box(self, painter: QPainter, box: _Box, style: _Style) -> float:
        """Paints the box itself; returns how far from its left side words may begin."""
        look, rect, scale = self._prepared.look, box.rect, style.scale
        radius = min(6.0, 6.0 * scale + 1)
        if box.group:
            painter.setPen(QPen(style.border, 1))
            painter.setBrush(style.group)
            for step in (2, 1):
                back = rect.adjusted(4 * step * scale, 3 * step * scale, -4 * step * scale, 3 * step * scale)
                painter.drawRoundedRect(back, radius, radius)
        fill, edge = (style.raised if box.group else style.node), style.border
        if box.kind == "io":
            radius = rect.height() / 2
        if box.strong:
            fill, edge = mix(fill, box.color, style.tint), box.color
        painter.setBrush(fill)
        painter.setPen(QPen(edge, 1))
        painter.drawRoundedRect(rect, radius, radius)
        painter.setPen(Qt.PenStyle.NoPen)
        indent = 11 * scale
        patterned = look.patterns[box.entry] != Qt.BrushStyle.SolidPattern
        if box.strong and patterned and style.leaf > _PATTERN_LEAF and box.kind != "io":
            # A pattern tells what the colour tells.
            band = QRectF(rect.left() + 1, rect.top() + radius, 9 * scale, rect.height() - 2 * radius)
            painter.setBrush(QBrush(box.color, look.patterns[box.entry]))
            painter.drawRect(band)
            indent = 15 * scale
        elif not box.group and box.kind != "io" and not (style.tinted and not box.entry):
            painter.setBrush(box.color if box.entry else style.muted)
            tall = rect.height() - 16 * scale
            bar = QRectF(rect.left() + 5 * scale, rect.top() + 8 * scale, max(2.0, 3 * scale), tall)
            painter.drawRoundedRect(bar, 1.5, 1.5)
            indent = 14 * scale
        if box.group:
            self._paint_composition(painter, rect, box.item, scale)
        return indent

    def _paint_composition(self, painter: QPainter, rect: QRectF, item: int, scale: float) -> None:
        """A thin bar under a closed group: what it is made of."""
        outline, look = self._prepared.scene.outline, self._prepared.look
        if not len(look.of):
            return
        counts: dict[int, int] = {}
        for leaf in outline.leaves_of(item) if outline.leaves[item] < 4000 else []:
            entry = int(look.of[leaf])
            counts[entry] = counts.get(entry, 0) + 1
        total = sum(counts.values())
        if not total:
            return
        room = rect.width() - 22 * scale
        left = rect.left() + 11 * scale
        tall = max(2.0, 3 * scale)
        for entry in sorted(counts, key=lambda e: (e == 0, e)):
            share = room * counts[entry] / total
            painter.setBrush(look.colors[entry] if entry else theme.current().color("node_border"))
            painter.drawRect(QRectF(left, rect.bottom() - 5 * scale - tall / 2, max(1.0, share - 1), tall))
            left += share

    def _set_words(self, painter: QPainter, box: _Box, style: _Style, indent: float, words: list[_Words]) -> None:
        """Adds the words of a box to `words`, and paints the badge of what is folded into it."""
        outline, notes = self._prepared.scene.outline, self._prepared.look.notes
        item, rect, scale = box.item, box.rect, style.scale
        right = 8 * scale  # room kept free at the right
        room = rect.width() - indent - right  # for the second line
        if not box.group and item in outline.folded and style.two_lines:
            count = self._texts.shape(f"+{len(outline.folded[item])}", style.small_px, False, 60)
            words.append(_paint_badge(painter, box, count, style))
            right = count.width + 14 * scale
        first, second = outline.labels[item], notes.get(item)
        if box.group:
            second = second or self._summary(item)
        elif box.kind == "io":
            indent = right = 15 * scale
            room = rect.width() - 2 * indent
            second = second or outline.ops[item]
        else:
            second = second or first
            first = outline.ops[item]
        name = self._texts.shape(first, style.name_px, True, rect.width() - indent - right)
        left = rect.left() + indent
        if style.two_lines:
            below = self._texts.shape(second, style.small_px, False, room)
            gap = (rect.height() - (4 * scale if box.group else 0) - name.height - below.height) / 2
            top = rect.top() + gap
            words.append(_Words(QPointF(left, top), name.text, style.ink, style.name_px, True, box.opacity))
            ink = style.ink if item in notes else style.muted  # figures are to be read on any colour
            place = QPointF(left, top + name.height)
            words.append(_Words(place, below.text, ink, style.small_px, False, box.opacity))
            return
        place = QPointF(left, rect.center().y() - name.height / 2)
        words.append(_Words(place, name.text, style.ink, style.name_px, True, box.opacity))
        # A figure where there is room for it beside the name.
        note = notes.get(item, "")
        free = rect.width() - indent - name.width - 14 * scale
        if note and style.leaf > _NOTE_LEAF:
            measure = metrics(style.small_px, False)
            if measure.horizontalAdvance(note) > free:
                note = note.partition(" · ")[0]
            if note and measure.horizontalAdvance(note) <= free:
                figure = self._texts.shape(note, style.small_px, False, free + 2)
                place = QPointF(rect.right() - figure.width - 6 * scale, rect.center().y() - figure.height / 2)
                words.append(_Words(place, figure.text, style.ink, style.small_px, False, box.opacity))

    def _summary(self, item: int) -> str:
        """How many ops a group has, and the two that say most about it."""
        outline = self._prepared.scene.outline
        # What works hardest says most: convolutions before additions.
        order = list(KINDS)
        counts = sorted(outline.op_counts(item).items(), key=lambda entry: (order.index(kind(entry[0])), -entry[1]))
        most = [f"{op} ×{n}" if n > 1 else op for op, n in counts[:2]]
        words = QCoreApplication.translate("graph", "{n} ops").format(n=int(outline.leaves[item]))
        return " · ".join([words, *most])


def _paint_badge(painter: QPainter, box: _Box, count: Shaped, style: _Style) -> _Words:
    """Paints the badge of a leaf that others are folded into; returns its words, which are to be painted later."""
    scale = style.scale
    left = box.rect.right() - count.width - 10 * scale
    pill = QRectF(left, box.rect.top() + 5 * scale, count.width + 6 * scale, count.height)
    painter.setBrush(style.badge)
    painter.drawRoundedRect(pill, count.height / 2, count.height / 2)
    place = QPointF(pill.left() + 3 * scale, pill.top())
    return _Words(place, count.text, style.muted, style.small_px, False, box.opacity)


def _paint_words(painter: QPainter, words: list[_Words], style: _Style) -> None:
    """Paints words, those in one font and colour together."""
    for bold, ink in ((True, style.ink), (False, style.muted), (False, style.ink)):
        chosen = [entry for entry in words if entry.bold == bold and entry.ink is ink]
        if not chosen:
            continue
        painter.setFont(font(chosen[0].px, bold))
        painter.setPen(ink)
        for entry in chosen:
            if entry.opacity < 1:
                painter.setOpacity(entry.opacity)
                painter.drawStaticText(entry.place, entry.text)
                painter.setOpacity(1.0)
            else:
                painter.drawStaticText(entry.place, entry.text)


def _is_vector(painter: QPainter) -> bool:
    """True for SVG and PDF."""
    return painter.paintEngine().type().name in ("SVG", "Pdf")
