"""Paints a scene with any QPainter: the screen, a minimap, a PNG, an SVG or a PDF.

A widget that owns an item a node takes 100 ms a frame at 10,000 nodes. Here everything comes from arrays: one
comparison finds what is visible; far away, boxes are written as pixels or drawn one call a colour; only what is near
enough to be read gets rounded corners, words and curves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PySide6.QtCore import QCoreApplication, QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import (
    QBrush,
    QColor,
    QFont,
    QFontMetricsF,
    QImage,
    QLinearGradient,
    QPainter,
    QPainterPath,
    QPen,
    QPolygonF,
    QStaticText,
    QTransform,
)

from icebreaker_gui.graph_view.op_categories import KINDS, kind
from icebreaker_gui.layout import BACK, CONTROL, Scene
from icebreaker_gui.style import theme

# Heights in device pixels of a leaf at which it is drawn with more detail.
_PIXELS, _PLAIN, _ONE_LINE, _TWO_LINES = 3.0, 8.0, 11.0, 27.0
_LEAF = 38.0


@dataclass(frozen=True)
class Camera:
    """What is looked at: the scene point in the middle and device-independent pixels a scene unit."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0

    def to_view(self, width: float, height: float) -> tuple[float, float, float]:
        """Scale and offset from scene to view coordinates."""
        return self.scale, width / 2 - self.x * self.scale, height / 2 - self.y * self.scale


@dataclass(frozen=True)
class Capsule:
    """How one engine node is drawn."""

    title: str
    lines: tuple[str, ...]
    color: QColor
    dashed: bool = False


@dataclass(frozen=True)
class Look:
    """Colours of a scene's items, apart from the scene.

    Attributes:
        name: Key of the overlay; "kind" draws a coloured bar, all others tint the whole box.
        colors: Palette; entry 0 means "no colour".
        patterns: For each palette entry a brush pattern, for those who do not see the colour.
        of: For each outline item its palette entry.
        calm: Entries that do not tint the box: what is as it should be.
        notes: Outline item → a few words under its name.
        capsules: Segment group item → how its engine node is drawn.
        after_only: Outline items that the original graph does not have.
        flows: Tells dtype and shape of what an outline leaf gives, written on its edges when near enough.
        alone: Only the graph after is shown: open engines show what is inside.
        gone: Leaves that the optimized graph does not have any more.
    """

    name: str = "kind"
    colors: tuple[QColor, ...] = (QColor(0, 0, 0, 0),)
    patterns: tuple[Qt.BrushStyle, ...] = (Qt.BrushStyle.SolidPattern,)
    of: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int16))
    calm: frozenset[int] = frozenset()
    notes: Mapping[int, str] = field(default_factory=dict)
    capsules: Mapping[int, Capsule] = field(default_factory=dict)
    after_only: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()
    alone: bool = False
    flows: Callable[[int], str] = lambda leaf: ""


@dataclass(frozen=True)
class Marks:
    """What is emphasized now: outline items."""

    selected: int = -1
    hovered: int = -1
    lit: frozenset[int] = frozenset()  # counterparts of the selection in the other graph
    found: frozenset[int] = frozenset()  # search results
    focus: bool = False


class Picture:
    """A scene made ready for painting in one look."""

    def __init__(self, scene: Scene, look: Look) -> None:
        self.scene, self.look = scene, look
        outline = scene.outline
        boxes = scene.boxes
        self.left, self.top = boxes[:, 0], boxes[:, 1]
        self.right, self.bottom = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
        self.color_of = look.of[scene.items] if len(look.of) else np.zeros(len(scene.items), np.int16)
        self.segment = outline.segment_of[scene.items] if len(scene.items) else np.zeros(0, np.int64)
        self.is_capsule = self.segment == scene.items
        self.in_segment = (self.segment >= 0) & ~self.is_capsule
        extra = look.after_only
        self.is_extra = np.array([item in extra for item in scene.items.tolist()], bool)
        self.edge_in_segment = outline.segment_of[scene.edge_in] >= 0
        self.edge_extra = np.zeros(len(scene.edge_kind), bool)
        if extra:
            self._find_extra(extra)
        if len(scene.starts) > 1:
            low = np.minimum.reduceat(scene.points, scene.starts[:-1], axis=0)
            high = np.maximum.reduceat(scene.points, scene.starts[:-1], axis=0)
        else:
            low = high = np.zeros((0, 2))
        self.edge_low, self.edge_high = low, high
        self._rects: list[QRectF] | None = None
        self._lines: tuple[list[QLineF], np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None
        self._paths: dict[int, QPainterPath] = {}
        self._texts: dict[tuple, tuple[QStaticText, float, float]] = {}
        self._by_producer: dict[int, list[int]] | None = None

    def _find_extra(self, extra: frozenset[int]) -> None:
        """Marks the edge pieces that lead to nothing but boxes of the graph after."""
        scene, outline = self.scene, self.scene.outline
        readers: dict[int, list[int]] = {}
        feeding = set(outline.source[np.isin(outline.target, list(extra))].tolist())
        for a, b in zip(outline.source.tolist(), outline.target.tolist(), strict=True):
            if a in feeding:
                readers.setdefault(a, []).append(b)
        around = {item: set(outline.ancestors(item)) for item in {b for found in readers.values() for b in found}}
        for edge, producers in enumerate(scene.producers):
            a, b, home = int(scene.edge_from[edge]), int(scene.edge_to[edge]), int(scene.edge_in[edge])
            if a in extra or b in extra:
                self.edge_extra[edge] = True
            elif b == home and feeding.issuperset(producers):
                # Out of a group: the readers that are not in the group count.
                self.edge_extra[edge] = all(
                    reader in extra for p in producers for reader in readers[p] if home not in around[reader]
                )

    # ---- questions --------------------------------------------------------------------------------------------------

    def at(self, x: float, y: float, morph: float = 0.0) -> int:
        """The innermost item at a scene point, -1 without one."""
        hit = (self.left <= x) & (x <= self.right) & (self.top <= y) & (y <= self.bottom)
        hit &= ~self.in_segment if morph > 0.5 else ~self.is_extra
        rows = np.flatnonzero(hit)
        return int(self.scene.items[rows[-1]]) if len(rows) else -1

    def edges_of(self, item: int) -> list[tuple[int, bool]]:
        """Numbers of the edge pieces of an item with whether they leave it: every piece on the way is included."""
        scene, outline = self.scene, self.scene.outline
        if item < 0:
            return []
        if self._by_producer is None:
            self._by_producer = {}
            for edge, producers in enumerate(scene.producers):
                for producer in producers:
                    self._by_producer.setdefault(producer, []).append(edge)
        inside = self._inside(item)
        found: list[tuple[int, bool]] = []
        readers = np.isin(outline.target, inside)
        own = set(inside.tolist())
        above = {item, *outline.ancestors(item)}
        for producer in np.unique(outline.source[readers]).tolist():
            if producer in own:
                continue
            for edge in self._by_producer.get(producer, ()):
                to, home = int(scene.edge_to[edge]), int(scene.edge_in[edge])
                # On the way: towards a group around the item, or out of a group around the producer.
                if (to in above and to != home) or (to == home and home not in above):
                    found.append((edge, False))
        for producer in inside.tolist():
            for edge in self._by_producer.get(producer, ()):
                if int(scene.edge_in[edge]) not in own_groups(outline, item):
                    found.append((edge, True))
        return found

    def _inside(self, item: int) -> np.ndarray:
        return np.array(self.scene.outline.leaves_of(item), np.int64)

    # ---- painting ---------------------------------------------------------------------------------------------------

    def paint(
        self,
        painter: QPainter,
        camera: Camera,
        width: float,
        height: float,
        morph: float = 0.0,
        marks: Marks | None = None,
        moving: bool = False,
        boxes: np.ndarray | None = None,
        points: np.ndarray | None = None,
    ) -> None:
        """Paints what the camera sees.

        Args:
            painter: A painter whose units are device-independent pixels.
            camera: Where to look.
            width: Of the view.
            height: Of the view.
            morph: 0 for the graph before, 1 for after, between them on the way.
            marks: What to emphasize.
            moving: True while the view moves: smoothing is left out where it costs too much.
            boxes: Other boxes than the scene's, while something opens or closes.
            points: Other edge points.
        """
        marks = marks or Marks()
        scene, _look = self.scene, self.look
        scale, ox, oy = camera.to_view(width, height)
        steady = boxes is None
        frame = scene.boxes if boxes is None else boxes
        x, y = frame[:, 0] * scale + ox, frame[:, 1] * scale + oy
        w, h = frame[:, 2] * scale, frame[:, 3] * scale
        visible = (x < width + 8) & (y < height + 8) & (x + w > -8) & (y + h > -8)
        if morph < 1:
            if morph == 0:
                visible &= ~self.is_extra
        else:
            visible &= ~self.in_segment
        fade = np.ones(len(x))
        if 0 < morph < 1 and self.in_segment.any():
            x, y, w, h, fade = self._flow(x, y, w, h, morph)
        leaf = _LEAF * scale
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not (moving and leaf < _ONE_LINE))
        self._open_groups(painter, np.flatnonzero(visible & scene.is_open), x, y, w, h, morph, marks, scale)
        self._edges(painter, camera, width, height, morph, marks, moving, steady, points)
        self._titles(painter, np.flatnonzero(visible & scene.is_open), x, y, w, h, morph, scale)
        closed = visible & ~scene.is_open
        tiny = closed & (h < _PIXELS)
        plain = closed & ~tiny & (h < _PLAIN)
        full = closed & ~tiny & ~plain
        if tiny.any():
            self._pixels(painter, np.flatnonzero(tiny), x, y, w, h, width, height)
        if plain.any():
            self._plain(painter, np.flatnonzero(plain), x, y, w, h)
        if full.any():
            self._boxes(painter, np.flatnonzero(full), x, y, w, h, fade, leaf, marks, morph)
        if morph > 0:
            self._capsules(painter, x, y, w, h, width, height, morph, marks, scale)
        if leaf >= _PLAIN:
            self._stubs(painter, scale, ox, oy, width, height, morph)
        self._marks(painter, marks, x, y, w, h, visible, scale)

    def _flow(self, x, y, w, h, morph):
        """Ops of a segment on their way into the capsule."""
        rows = np.flatnonzero(self.in_segment)
        home = {int(item): row for row, item in enumerate(self.scene.items.tolist()) if self.is_capsule[row]}
        capsule = np.array([home.get(int(item), -1) for item in self.segment[rows].tolist()])
        rows, capsule = rows[capsule >= 0], capsule[capsule >= 0]
        cx, cy = x[capsule] + w[capsule] / 2, y[capsule] + h[capsule] / 2
        # Those far from the middle start first, so that the stream closes in.
        far = np.abs(y[rows] + h[rows] / 2 - cy) / np.maximum(h[capsule] / 2, 1)
        if self.scene.sideways:
            far = np.abs(x[rows] + w[rows] / 2 - cx) / np.maximum(w[capsule] / 2, 1)
        start = 0.35 * (1 - np.clip(far, 0, 1))
        t = np.clip((morph - start) / 0.65, 0, 1)
        t = t * t * (3 - 2 * t)
        x, y, w, h = x.copy(), y.copy(), w.copy(), h.copy()
        fade = np.ones(len(x))
        shrink = 1 - 0.8 * t
        mx, my = x[rows] + w[rows] / 2, y[rows] + h[rows] / 2
        mx, my = mx + (cx - mx) * t, my + (cy - my) * t
        w[rows], h[rows] = w[rows] * shrink, h[rows] * shrink
        x[rows], y[rows] = mx - w[rows] / 2, my - h[rows] / 2
        fade[rows] = 1 - t
        return x, y, w, h, fade

    def _open_groups(self, painter, rows, x, y, w, h, morph, marks, scale):
        colors = theme.current()
        scene, look = self.scene, self.look
        alphas = np.where(self.in_segment, max(0.0, 1 - 2 * morph), 1.0)
        line = colors.color("border")
        fills = (colors.color("group"), colors.color("panel"))
        small = rows[(np.minimum(w[rows], h[rows]) < 16) & (alphas[rows] >= 1) & ~self.is_capsule[rows]]
        if len(small) > 60:
            rows = np.setdiff1d(rows, small)
            self._small_groups(painter, small, x, y, w, h, fills, line)
        for row in rows.tolist():
            item = int(scene.items[row])
            rect = QRectF(x[row], y[row], w[row], h[row])
            capsule = look.capsules.get(item)
            radius = min(10.0, 10.0 * scale + 2)
            painter.setOpacity(float(alphas[row]))
            if capsule:
                if morph >= 1:
                    continue
                tint = QColor(capsule.color)
                tint.setAlphaF(0.07 if colors.dark else 0.06)
                painter.setBrush(tint)
                pen = QPen(capsule.color, 1.4, Qt.PenStyle.DashLine if capsule.dashed else Qt.PenStyle.SolidLine)
                painter.setPen(pen)
            else:
                painter.setBrush(fills[scene.nesting[row] % 2])
                painter.setPen(QPen(line, 1))
            painter.drawRoundedRect(rect, radius, radius)
            painter.setOpacity(1.0)

    def _small_groups(self, painter, rows, x, y, w, h, fills, line):
        """Open groups of a few pixels: a call a level of nesting."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        rows = rows[np.maximum(w[rows], h[rows]) > 3]
        level = self.scene.nesting[rows]
        for depth in np.unique(level).tolist():
            chosen = rows[level == depth]
            painter.setBrush(fills[depth % 2])
            painter.setPen(QPen(line, 0) if float(w[chosen].max()) > 5 else Qt.PenStyle.NoPen)
            painter.drawRects(_rectangles(chosen, x, y, w, h))
        painter.restore()

    def _titles(self, painter, rows, x, y, w, h, morph, scale):
        """Names of open groups, over the edges that enter there."""
        colors = theme.current()
        scene, look, outline = self.scene, self.look, self.scene.outline
        if _LEAF * scale < _ONE_LINE - 2:
            return
        places: list[tuple[QRectF, bool, QStaticText, int, QColor, QColor, float, bool]] = []
        for row in rows.tolist():
            item = int(scene.items[row])
            capsule = look.capsules.get(item)
            if capsule and morph >= 1:
                continue
            alpha = max(0.0, 1 - 2 * morph) if self.in_segment[row] else 1.0 - morph if capsule else 1.0
            if alpha <= 0:
                continue
            rect = QRectF(x[row], y[row], w[row], h[row])
            px = max(9, min(13, round(12 * scale)))
            title = capsule.title if capsule else outline.labels[item]
            left = rect.left() + max(5.0, 11 * scale)
            wide = _metrics(px, True).horizontalAdvance(title)
            # Where the name needs the room, the mark goes: that a group is open can be seen.
            mark = px * 0.95 if wide + px * 0.95 < rect.right() - left - 4 else 0.0
            room = rect.right() - left - mark - 4
            if capsule and wide > room:
                title = title.rpartition("_")[2]
            if room < 20:
                continue
            text, tw, th = self._text(title, px, True, room)
            # The title of a group that fills the view stays in sight, below those around it.
            below = 2.0 + 17 * int(scene.nesting[row])
            top = max(rect.top(), below) if below < 60 and rect.bottom() - below > 220 else rect.top()
            plate = QRectF(left - 3, top + max(3.0, (28 * scale - th) / 2) - 1, tw + mark + 6, th + 2)
            back = colors.color("group" if scene.nesting[row] % 2 == 0 or capsule else "panel", 0.85)
            ink = capsule.color if capsule else colors.color("muted")
            places.append((plate, top > rect.top(), text, px, back, ink, alpha, mark > 0))
        held = [plate for plate, stays, *_ in places if stays]
        for plate, stays, text, px, back, ink, alpha, marked in places:
            if not stays and any(plate.intersects(other) for other in held):
                continue  # what stays in sight counts more
            painter.setOpacity(alpha)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(back)
            painter.drawRoundedRect(plate, 4, 4)
            painter.setPen(ink)
            painter.setFont(_font(px, True))
            if marked:
                _chevron(painter, QPointF(plate.left() + 3 + px * 0.3, plate.center().y()), px * 0.28, True, ink)
            painter.drawStaticText(QPointF(plate.left() + 3 + (px * 0.95 if marked else 0), plate.top() + 1), text)
        painter.setOpacity(1.0)

    def _edges(self, painter, camera, width, height, morph, marks, moving, steady, points):
        scene = self.scene
        if not len(scene.edge_kind):
            return
        scale, ox, oy = camera.to_view(width, height)
        left, top = (-8 - ox) / scale, (-8 - oy) / scale
        right, bottom = (width + 8 - ox) / scale, (height + 8 - oy) / scale
        low, high = self.edge_low, self.edge_high
        if steady:
            seen = (low[:, 0] < right) & (low[:, 1] < bottom) & (high[:, 0] > left) & (high[:, 1] > top)
        else:
            seen = np.ones(len(low), bool)
        alpha_inside = 1.0
        if morph == 0:
            seen &= ~self.edge_extra
        else:
            alpha_inside = max(0.0, 1 - 2.2 * morph)
            if alpha_inside <= 0:
                seen &= ~self.edge_in_segment
        colors = theme.current()
        leaf = _LEAF * scale
        edges = np.flatnonzero(seen)
        if not len(edges):
            return
        painter.save()
        painter.setTransform(QTransform(scale, 0, 0, scale, ox, oy), True)
        data, control = colors.color("edge"), colors.color("control_edge")
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if steady and (leaf < _PLAIN or len(edges) > 2500):
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, not moving and len(edges) < 3000)
            # Mixed, not transparent: blending takes twice the time.
            soft = _mix(data, colors.color("panel"), 0.25 if len(edges) < 3000 else 0.5)
            painter.setPen(QPen(soft, 0))
            self._draw_straight(painter, seen, scale, (left, top, right, bottom), 25_000 if moving else 10**9)
            painter.restore()
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not moving or len(edges) < 250)
        pens = {}
        for kind_, color, style in (
            (0, data, Qt.PenStyle.SolidLine),
            (CONTROL, control, Qt.PenStyle.DashLine),
            (BACK, data, Qt.PenStyle.DotLine),
        ):
            pen = QPen(color, 0 if scale < 0.75 else 1.25 / scale, style)
            pens[kind_] = pen
        inside = self.edge_in_segment
        kinds = scene.edge_kind
        arrow = leaf >= _ONE_LINE + 2
        heads: dict[int, list[QPolygonF]] = {}
        for edge in edges.tolist():
            path = (
                self._path(edge)
                if points is None
                else _curve(points[scene.starts[edge] : scene.starts[edge + 1]], scene.sideways)
            )
            kind_ = int(kinds[edge])
            painter.setPen(pens[kind_])
            if alpha_inside < 1:
                painter.setOpacity(alpha_inside if inside[edge] else 1.0)
            painter.drawPath(path)
            if arrow and (alpha_inside == 1 or not inside[edge]):
                source = scene.points if points is None else points
                if scene.edge_to[edge] != scene.edge_in[edge]:
                    end = source[scene.starts[edge + 1] - 1]
                    heads.setdefault(kind_, []).append(_arrow(end[0], end[1], scene.sideways))
        painter.setOpacity(1.0)
        for kind_, polygons in heads.items():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(control if kind_ == CONTROL else data)
            for polygon in polygons:
                painter.drawPolygon(polygon)
        painter.restore()
        if scale >= 0.8 and not moving and steady:
            self._flow_words(painter, edges, scale, ox, oy)

    def _flow_words(self, painter, edges, scale, ox, oy):
        """What flows along an edge, beside its beginning."""
        scene, flows = self.scene, self.look.flows
        px = max(8, round(9 * scale))
        painter.setFont(_font(px, False))
        painter.setPen(theme.current().color("muted"))
        told: set[tuple[float, float]] = set()
        for edge in edges.tolist():
            producers = scene.producers[edge]
            if len(producers) != 1 or scene.edge_from[edge] == scene.edge_in[edge]:
                continue
            x, y = scene.points[scene.starts[edge]].tolist()
            if (x, y) not in told and scene.edge_kind[edge] != CONTROL:
                told.add((x, y))
                text, _, th = self._text(flows(producers[0]), px, False, (60 if scene.sideways else 150) * scale)
                place = QPointF(x * scale + ox + 5 * scale, y * scale + oy + 9 * scale)
                if scene.sideways:
                    place = QPointF(x * scale + ox + 5 * scale, y * scale + oy - th - 1)
                painter.drawStaticText(place, text)

    def prepare(self) -> tuple[list[QLineF], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All edges as straight lines, the longest first; may be called in a worker thread, ahead of the first frame.

        Returns:
            Lines, their lengths, the edge each belongs to, and the corners of the boxes around them.
        """
        if self._lines is None:
            points, starts = self.scene.points, self.scene.starts
            inner = np.ones(len(points), bool)
            inner[starts[1:] - 1] = False
            first = np.flatnonzero(inner)
            a, b = points[first], points[first + 1]
            order = np.argsort(-np.abs(b - a).max(axis=1), kind="stable")
            a, b = a[order], b[order]
            edge = np.searchsorted(starts, first[order], side="right") - 1
            lines = [QLineF(*values) for values in np.hstack([a, b]).tolist()]
            self._lines = lines, np.abs(b - a).max(axis=1), edge, np.minimum(a, b), np.maximum(a, b)
        return self._lines

    def _draw_straight(self, painter, seen, scale, view, most):
        """Edges as straight lines, in one call, the longest first; what is shorter than a pixel is left out."""
        lines, length, edge, low, high = self.prepare()
        count = int(np.searchsorted(-length, -1.2 / scale))
        left, top, right, bottom = view
        use = seen[edge[:count]] & (low[:count, 0] < right) & (low[:count, 1] < bottom)
        use &= (high[:count, 0] > left) & (high[:count, 1] > top)
        chosen = np.flatnonzero(use)[:most]
        if len(chosen) == count:
            painter.drawLines(lines[:count])
        elif len(chosen):
            painter.drawLines([lines[i] for i in chosen.tolist()])

    def _path(self, edge: int) -> QPainterPath:
        path = self._paths.get(edge)
        if path is None:
            scene = self.scene
            points = scene.points[scene.starts[edge] : scene.starts[edge + 1]]
            path = self._paths[edge] = _curve(points, scene.sideways)
        return path

    def _fills(self) -> list[QColor]:
        """Palette for boxes too small for words; entry 0 is the plain node."""
        colors = theme.current()
        return [colors.color("node_border"), *self.look.colors[1:]]

    def _pixels(self, painter, rows, x, y, w, h, width, height):
        """Boxes of less than three pixels, written straight into an image."""
        ratio = painter.device().devicePixelRatioF() if painter.device() else 1.0
        columns, lines = max(1, int(width * ratio)), max(1, int(height * ratio))
        if self.is_vector(painter) or columns * lines > 40_000_000:
            self._plain(painter, rows, x, y, w, h)
            return
        image = np.zeros((lines, columns), np.uint32)
        palette = np.array([color.rgba() for color in self._fills()], np.uint32)
        value = palette[self.color_of[rows]]
        x0 = np.clip((x[rows] * ratio).astype(np.int64), 0, columns - 1)
        y0 = np.clip((y[rows] * ratio).astype(np.int64), 0, lines - 1)
        wide = np.maximum((w[rows] * ratio).astype(np.int64), 1)
        tall = np.maximum((h[rows] * ratio).astype(np.int64), 1)
        for dy in range(int(tall.max())):
            for dx in range(int(min(wide.max(), 24 * ratio))):
                use = (dy < tall) & (dx < wide)
                image[np.minimum(y0[use] + dy, lines - 1), np.minimum(x0[use] + dx, columns - 1)] = value[use]
        picture = QImage(image.data, columns, lines, columns * 4, QImage.Format.Format_ARGB32_Premultiplied)
        picture.setDevicePixelRatio(ratio)
        painter.drawImage(0, 0, picture)

    @staticmethod
    def is_vector(painter: QPainter) -> bool:
        """True for SVG and PDF."""
        return painter.paintEngine().type().name in ("SVG", "Pdf")

    def _plain(self, painter, rows, x, y, w, h):
        """Boxes too small for words: one call a colour."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(Qt.PenStyle.NoPen)
        entries = self.color_of[rows]
        fills = self._fills()
        for entry in np.unique(entries).tolist():
            chosen = rows[entries == entry]
            painter.setBrush(fills[entry])
            painter.drawRects(_rectangles(chosen, x, y, w, h))
        painter.restore()

    def _boxes(self, painter, rows, x, y, w, h, fade, leaf, marks, morph):
        """Boxes with words."""
        colors = theme.current()
        scene, look, outline = self.scene, self.look, self.scene.outline
        node, border = colors.color("node"), colors.color("node_border")
        raised = colors.color("raised")
        ink, muted = colors.color("text"), colors.color("muted")
        scale = leaf / _LEAF
        two = leaf >= _TWO_LINES
        big, small = max(7, round(12 * scale)), max(6, round(10 * scale))
        tinted = look.name != "kind"
        # Heat is told by the colour alone: the more of it the better, as far as words can be read on it.
        tint = 0.5 if look.notes else 0.24 if colors.dark else 0.2
        calm = look.calm
        quiet = look.gone if morph >= 1 or look.alone else frozenset()
        words: list[tuple[QPointF, QStaticText, QColor, int, bool, float]] = []
        for row in rows.tolist():
            item = int(scene.items[row])
            rect = QRectF(x[row], y[row], w[row], h[row])
            opacity = float(fade[row]) * (0.3 if item in quiet else 1.0)
            if self.is_extra[row]:
                opacity *= morph
            if opacity <= 0.02:
                continue
            painter.setOpacity(opacity)
            entry = int(self.color_of[row])
            color = look.colors[entry]
            if item in look.capsules:
                self._capsule(painter, rect, look.capsules[item], scale, outline, item, 1.0)
                continue
            group = bool(outline.members[item])
            radius = min(6.0, 6.0 * scale + 1)
            if group:
                painter.setPen(QPen(border, 1))
                painter.setBrush(colors.color("group"))
                for step in (2, 1):
                    back = rect.adjusted(4 * step * scale, 3 * step * scale, -4 * step * scale, 3 * step * scale)
                    painter.drawRoundedRect(back, radius, radius)
                painter.setBrush(raised)
            else:
                painter.setBrush(node)
            edge = border
            kind_ = "" if group else kind(outline.ops[item])
            if kind_ == "io":
                radius = rect.height() / 2
            strong = tinted and entry and entry not in calm
            if strong:
                painter.setBrush(_mix(raised if group else node, color, tint))
                edge = color
            painter.setPen(QPen(edge, 1))
            painter.drawRoundedRect(rect, radius, radius)
            painter.setPen(Qt.PenStyle.NoPen)
            indent = 11 * scale
            if strong and look.patterns[entry] != Qt.BrushStyle.SolidPattern and leaf > 14 and kind_ != "io":
                # A pattern tells what the colour tells.
                band = QRectF(rect.left() + 1, rect.top() + radius, 9 * scale, rect.height() - 2 * radius)
                painter.setBrush(QBrush(color, look.patterns[entry]))
                painter.drawRect(band)
                indent = 15 * scale
            elif not group and kind_ != "io" and not (tinted and not entry):
                painter.setBrush(color if entry else muted)
                bar = QRectF(
                    rect.left() + 5 * scale,
                    rect.top() + 8 * scale,
                    max(2.0, 3 * scale),
                    rect.height() - 16 * scale,
                )
                painter.drawRoundedRect(bar, 1.5, 1.5)
                indent = 14 * scale
            if group:
                self._composition(painter, rect, item, scale)
            if leaf < _ONE_LINE:
                continue
            right = 8 * scale
            if not group and item in outline.folded and two:
                text, tw, th = self._text(f"+{len(outline.folded[item])}", small, False, 60)
                pill = QRectF(rect.right() - tw - 10 * scale, rect.top() + 5 * scale, tw + 6 * scale, th)
                painter.setBrush(colors.color("constant"))
                painter.drawRoundedRect(pill, th / 2, th / 2)
                words.append((QPointF(pill.left() + 3 * scale, pill.top()), text, muted, small, False, opacity))
                right = tw + 14 * scale
            room = rect.width() - indent - 8 * scale
            if group:
                first, second = outline.labels[item], look.notes.get(item) or self._summary(item)
            else:
                first = outline.ops[item]
                second = look.notes.get(item) or outline.labels[item]
                if kind_ == "io":
                    indent = 15 * scale
                    room = rect.width() - 2 * indent
                    right = indent
                    first, second = outline.labels[item], look.notes.get(item) or outline.ops[item]
            text, tw, th = self._text(first, big, True, rect.width() - indent - right)
            if two:
                below, _, bh = self._text(second, small, False, room)
                gap = (rect.height() - (4 * scale if group else 0) - th - bh) / 2
                words.append((QPointF(rect.left() + indent, rect.top() + gap), text, ink, big, True, opacity))
                tone = ink if item in look.notes else muted  # figures are to be read on any colour
                place = QPointF(rect.left() + indent, rect.top() + gap + th)
                words.append((place, below, tone, small, False, opacity))
            else:
                words.append((QPointF(rect.left() + indent, rect.center().y() - th / 2), text, ink, big, True, opacity))
                # A figure where there is room for it beside the name.
                note = look.notes.get(item, "")
                free = rect.width() - indent - tw - 14 * scale
                if note and leaf > 15 and _metrics(small, False).horizontalAdvance(note) > free:
                    note = note.partition(" · ")[0]
                if note and leaf > 15 and _metrics(small, False).horizontalAdvance(note) <= free:
                    text, tw, th = self._text(note, small, False, free + 2)
                    place = QPointF(rect.right() - tw - 6 * scale, rect.center().y() - th / 2)
                    words.append((place, text, ink, small, False, opacity))
        painter.setOpacity(1.0)
        for bold, tone in ((True, ink), (False, muted), (False, ink)):
            chosen = [entry for entry in words if entry[4] == bold and entry[2] is tone]
            if not chosen:
                continue
            painter.setFont(_font(chosen[0][3], bold))
            painter.setPen(tone)
            for point, text, _, _, _, opacity in chosen:
                if opacity < 1:
                    painter.setOpacity(opacity)
                    painter.drawStaticText(point, text)
                    painter.setOpacity(1.0)
                else:
                    painter.drawStaticText(point, text)

    def _composition(self, painter, rect, item, scale):
        """A thin bar under a closed group: what it is made of."""
        outline = self.scene.outline
        counts: dict[int, int] = {}
        of = self.look.of
        if not len(of):
            return
        for leaf in outline.leaves_of(item) if outline.leaves[item] < 4000 else []:
            entry = int(of[leaf])
            counts[entry] = counts.get(entry, 0) + 1
        total = sum(counts.values())
        if not total:
            return
        room = rect.width() - 22 * scale
        left = rect.left() + 11 * scale
        tall = max(2.0, 3 * scale)
        for entry in sorted(counts, key=lambda e: (e == 0, e)):
            share = room * counts[entry] / total
            painter.setBrush(self.look.colors[entry] if entry else theme.current().color("node_border"))
            painter.drawRect(QRectF(left, rect.bottom() - 5 * scale - tall / 2, max(1.0, share - 1), tall))
            left += share

    def _summary(self, item: int) -> str:
        outline = self.scene.outline
        counts = outline.op_counts(item)
        # What works hardest says most: convolutions before additions.
        order = list(KINDS)
        most = [
            f"{op} ×{n}" if n > 1 else op
            for op, n in sorted(counts.items(), key=lambda entry: (order.index(kind(entry[0])), -entry[1]))[:2]
        ]
        words = QCoreApplication.translate("graph", "{n} ops").format(n=int(outline.leaves[item]))
        return " · ".join([words, *most])

    def _capsules(self, painter, x, y, w, h, width, height, morph, marks, scale):
        scene = self.scene
        for row in np.flatnonzero(self.is_capsule & scene.is_open).tolist():
            item = int(scene.items[row])
            capsule = self.look.capsules.get(item)
            rect = QRectF(x[row], y[row], w[row], h[row])
            if capsule and rect.intersects(QRectF(0, 0, width, height)):
                view = QRectF(0, 0, width, height)
                self._capsule(
                    painter,
                    rect,
                    capsule,
                    scale,
                    scene.outline,
                    item,
                    min(1.0, morph * 1.1),
                    view,
                    row,
                    morph,
                )

    def _capsule(self, painter, rect, capsule, scale, outline, item, alpha, view=None, row=-1, morph=1.0):
        """One engine node: a solid block of its engine's colour."""
        colors = theme.current()
        painter.save()
        painter.setOpacity(painter.opacity() * alpha)
        base, deep = QColor(capsule.color), QColor(capsule.color)
        if colors.dark:
            base, deep = _mix(base, colors.color("panel"), 0.70), _mix(deep, colors.color("panel"), 0.80)
        else:
            base, deep = _mix(base, colors.color("panel"), 0.80), _mix(deep, colors.color("panel"), 0.68)
        gradient = QLinearGradient(rect.topLeft(), rect.bottomRight())
        gradient.setColorAt(0, base)
        gradient.setColorAt(1, deep)
        radius = min(16.0, 14 * scale + 2, rect.height() / 2)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(QBrush(gradient))
        painter.setPen(QPen(capsule.color, 2 if rect.height() > 12 else 1,
                            Qt.PenStyle.DashLine if capsule.dashed else Qt.PenStyle.SolidLine))  # fmt: skip
        painter.drawRoundedRect(rect, radius, radius)
        shown = rect.intersected(view.adjusted(8, 8, -8, -8)) if view else rect
        # Words and shadows come when the ops have arrived.
        painter.setOpacity(max(0.0, min(1.0, (morph - 0.55) / 0.4)))
        if row >= 0 and rect.height() > 60 and morph > 0.55:
            self._ghosts(painter, item, rect, capsule.color, scale)
        if shown.height() > 15 and shown.width() > 46 and morph > 0.55:
            self._capsule_words(painter, capsule, shown, _mix(base, deep, 0.5) if row >= 0 else None)
        painter.restore()

    def _capsule_words(self, painter, capsule, shown, back) -> None:
        colors = theme.current()
        room = shown.width() - 10
        largest = 20 if shown.height() > 90 else 14
        px = int(max(9, min(largest, shown.height() * 0.36)))
        while px > 8 and _metrics(px, True).horizontalAdvance(capsule.title) > room:
            px -= 1
        small = max(8, min(14, round(px * 0.8)))
        title = capsule.title
        if _metrics(px, True).horizontalAdvance(title) > room:
            title = title.rpartition("_")[2]  # the number alone
        shaped = [(*self._text(title, px, True, room), px, True)]
        for words in capsule.lines:
            size = small
            while size > 8 and _metrics(size, False).horizontalAdvance(words) > room:
                size -= 1
            if _metrics(size, False).horizontalAdvance(words) <= room:
                shaped.append((*self._text(words, size, False, room), size, False))
        total = sum(entry[2] for entry in shaped)
        while len(shaped) > 1 and total + 6 > shown.height():
            total -= shaped.pop()[2]
        middle = shown.center()
        if back is not None and shown.height() > 60:
            widest = min(room + 8, max(entry[1] for entry in shaped) + 20)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(back)
            tall = min(total + 16, shown.height() - 8)
            painter.drawRoundedRect(QRectF(middle.x() - widest / 2, middle.y() - tall / 2, widest, tall), 8, 8)
        ty = middle.y() - total / 2
        for text, tw, th, size, bold in shaped:
            painter.setFont(_font(size, bold))
            painter.setPen(colors.color("text"))
            painter.drawStaticText(QPointF(middle.x() - tw / 2, ty), text)
            ty += th

    def _ghosts(self, painter, item, rect, color, scale):
        """What went into the capsule, as faint shadows where it was."""
        scene = self.scene
        rows = np.flatnonzero((self.segment == item) & ~self.is_capsule & ~scene.is_open)
        row = scene.row(item)
        if not len(rows) or len(rows) > 3000:
            return
        origin = scene.boxes[row]
        factor = rect.width() / origin[2] if origin[2] else 1.0
        shade = QColor(color)
        shade.setAlphaF(0.16)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(shade)
        found = scene.boxes[rows]
        rects = [
            QRectF(
                rect.left() + (bx - origin[0]) * factor,
                rect.top() + (by - origin[1]) * factor,
                bw * factor,
                bh * factor,
            )
            for bx, by, bw, bh in found.tolist()
        ]
        if len(rects) < 400:
            for inner in rects:
                painter.drawRoundedRect(inner, 4 * scale + 1, 4 * scale + 1)
        else:
            painter.drawRects(rects)

    def _stubs(self, painter, scale, ox, oy, width, height, morph):
        """Ends of edges that are not drawn as lines."""
        scene = self.scene
        if not scene.stubs:
            return
        colors = theme.current()
        outline = scene.outline
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        px = max(7, round(9 * scale))
        painter.setFont(_font(px, False))
        inside = outline.segment_of
        told: set[tuple[float, float]] = set()
        for producer, reader, sx, sy, at_reader in scene.stubs:
            if (sx, sy) in told:
                continue
            told.add((sx, sy))
            vx, vy = sx * scale + ox, sy * scale + oy
            if not (-60 < vx < width + 60 and -30 < vy < height + 30):
                continue
            end = reader if at_reader else producer
            if morph > 0 and inside[end] >= 0 and (reader < 0 or inside[producer] == inside[end]):
                continue
            painter.setPen(QPen(colors.color("edge"), 1.2))
            step = (-9 if at_reader else 9) * scale
            tip = QPointF(vx + step, vy) if scene.sideways else QPointF(vx, vy + step)
            painter.drawLine(QPointF(vx, vy), tip)
            painter.setBrush(colors.color("edge"))
            painter.setPen(Qt.PenStyle.NoPen)
            painter.drawEllipse(tip, 2.2 * scale + 0.4, 2.2 * scale + 0.4)
            if at_reader and 38 * scale >= _TWO_LINES:
                text, tw, th = self._text(outline.labels[producer], px, False, (52 if scene.sideways else 90) * scale)
                painter.setPen(colors.color("muted"))
                place = QPointF(vx + 5 * scale, tip.y() - th * 0.6)
                if scene.sideways:
                    place = QPointF(tip.x() - tw - 5 * scale, vy - th / 2)
                painter.drawStaticText(place, text)

    def _marks(self, painter, marks, x, y, w, h, visible, scale):
        colors = theme.current()
        scene = self.scene
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)

        def ring(row: int, color: QColor, pen_width: float, grow: float) -> None:
            rect = QRectF(x[row], y[row], max(w[row], 3), max(h[row], 3)).adjusted(-grow, -grow, grow, grow)
            painter.setPen(QPen(color, pen_width))
            painter.drawRoundedRect(rect, 7 * scale + 2, 7 * scale + 2)

        accent = colors.color("accent")
        if marks.found:
            rows = {scene.row(item) for item in marks.found}
            warm = theme.hue("orange")
            for row in sorted(rows):
                if row >= 0 and visible[row]:
                    ring(row, warm, 2, 2)
        for item in marks.lit:
            row = scene.row(item)
            if row >= 0 and visible[row]:
                ring(row, accent, 1.6, 1.5)
        if marks.hovered >= 0 and marks.hovered != marks.selected:
            row = scene.row(marks.hovered)
            if row >= 0 and visible[row]:
                faint = QColor(accent)
                faint.setAlphaF(0.6)
                ring(row, faint, 1.4, 0.5)
        if marks.selected >= 0:
            row = scene.row(marks.selected)
            if row >= 0 and visible[row]:
                if marks.focus:
                    soft = QColor(accent)
                    soft.setAlphaF(0.3)
                    ring(row, soft, 6, 3)
                ring(row, accent, 2.4, 1.5)

    def highlight(self, painter, camera, width, height, item, morph):
        """The edges of one item, on top of all others."""
        scene = self.scene
        scale, ox, oy = camera.to_view(width, height)
        painter.save()
        painter.setTransform(QTransform(scale, 0, 0, scale, ox, oy), True)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        # What comes in is the graph's own colour, what goes out the accent.
        for edge, leaves in self.edges_of(item)[:2000]:
            if (morph > 0.5 and self.edge_in_segment[edge]) or (morph == 0 and self.edge_extra[edge]):
                continue
            color = theme.current().color("accent") if leaves else theme.current().color("original")
            pen = QPen(color, 2.0)
            pen.setCosmetic(True)
            if int(scene.edge_kind[edge]) == CONTROL:
                pen.setStyle(Qt.PenStyle.DashLine)
            painter.setPen(pen)
            painter.drawPath(self._path(edge))
            if scene.edge_to[edge] != scene.edge_in[edge]:
                end = scene.points[scene.starts[edge + 1] - 1]
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(color)
                painter.drawPolygon(_arrow(end[0], end[1], scene.sideways))
                painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.restore()

    def _text(self, words: str, px: int, bold: bool, room: float) -> tuple[QStaticText, float, float]:
        key = (words, px, bold, int(room))
        found = self._texts.get(key)
        if found is None:
            if len(self._texts) > 20000:
                self._texts.clear()
            font = _font(px, bold)
            metrics = _metrics(px, bold)
            # Names differ at their ends; sentences and ops are known by their beginnings.
            op = " " in words or (words[:1].isupper() and "_" not in words)
            mode = Qt.TextElideMode.ElideRight if op else Qt.TextElideMode.ElideMiddle
            shown = metrics.elidedText(words, mode, max(8.0, room))
            text = QStaticText(shown)
            text.setTextFormat(Qt.TextFormat.PlainText)
            text.setPerformanceHint(QStaticText.PerformanceHint.AggressiveCaching)
            text.prepare(QTransform(), font)
            found = self._texts[key] = (text, metrics.horizontalAdvance(shown), metrics.height())
        return found


def _rectangles(rows, x, y, w, h) -> list[QRectF]:
    return [QRectF(*values) for values in np.stack([x[rows], y[rows], w[rows], h[rows]], axis=1).tolist()]


def own_groups(outline, item: int) -> frozenset[int]:
    """A group and all groups in it; empty for a leaf."""
    found, stack = [], [item]
    while stack:
        group = stack.pop()
        if outline.members[group]:
            found.append(group)
            stack.extend(outline.members[group])
    return frozenset(found)


_fonts: dict[tuple[int, bool], tuple[QFont, QFontMetricsF]] = {}


def _font(px: int, bold: bool) -> QFont:
    return _made(px, bold)[0]


def _metrics(px: int, bold: bool) -> QFontMetricsF:
    return _made(px, bold)[1]


def _made(px: int, bold: bool) -> tuple[QFont, QFontMetricsF]:
    found = _fonts.get((px, bold))
    if found is None:
        font = theme.font(bold=bold)
        font.setPixelSize(max(1, px))
        found = _fonts[px, bold] = (font, QFontMetricsF(font))
    return found


def _mix(a: QColor, b: QColor, share: float) -> QColor:
    """`share` of b, the rest a."""
    return QColor.fromRgbF(
        a.redF() + (b.redF() - a.redF()) * share,
        a.greenF() + (b.greenF() - a.greenF()) * share,
        a.blueF() + (b.blueF() - a.blueF()) * share,
    )


def _curve(points: np.ndarray, sideways: bool) -> QPainterPath:
    values = points.tolist()
    path = QPainterPath(QPointF(*values[0]))
    for (ax, ay), (bx, by) in itertools.pairwise(values):
        if abs(ay - by if sideways else ax - bx) < 0.6:
            path.lineTo(bx, by)
        elif sideways:
            middle = (ax + bx) / 2
            path.cubicTo(middle, ay, middle, by, bx, by)
        else:
            middle = (ay + by) / 2
            path.cubicTo(ax, middle, bx, middle, bx, by)
    return path


def _arrow(x: float, y: float, sideways: bool) -> QPolygonF:
    if sideways:
        return QPolygonF([QPointF(x, y), QPointF(x - 7, y - 3.4), QPointF(x - 7, y + 3.4)])
    return QPolygonF([QPointF(x, y), QPointF(x - 3.4, y - 7), QPointF(x + 3.4, y - 7)])


def _chevron(painter: QPainter, at: QPointF, size: float, down: bool, color: QColor) -> None:
    painter.save()
    painter.setPen(QPen(color, max(1.2, size * 0.5), Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    if down:
        painter.drawPolyline([at + QPointF(-size, -size / 2), at + QPointF(0, size / 2), at + QPointF(size, -size / 2)])
    else:
        painter.drawPolyline([at + QPointF(-size / 2, -size), at + QPointF(size / 2, 0), at + QPointF(-size / 2, size)])
    painter.restore()
