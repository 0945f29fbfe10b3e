"""Sizes of boxes in scene units: pixels at 100 %."""

from __future__ import annotations

from icebreaker.graph.ops import PASSIVE
from icebreaker_gui.layout.outline import Outline

LEAF_HEIGHT = 38.0
GROUP_HEIGHT = 48.0
TITLE = 28.0  # height of an open group's title
MARGIN = 14.0  # between an open group's border and what is in it


def estimated_size(outline: Outline, item: int) -> tuple[float, float]:
    """Width and height of a leaf or closed group from the length of its words, without a font."""
    label = outline.labels[item]
    if item in outline.segments.values():
        return 224.0, 84.0
    if outline.members[item]:
        return min(230.0, max(160.0, 7.4 * len(label) + 44.0)), GROUP_HEIGHT
    op = outline.ops[item]
    if op in PASSIVE:  # inputs and outputs are told by their names
        return min(220.0, max(96.0, 8.2 * max(len(label), len(op) * 0.8) + 38.0)), LEAF_HEIGHT
    badge = 22.0 if item in outline.folded else 0.0
    return min(200.0, max(92.0, 7.8 * len(op) + 34.0 + badge, min(5.6 * len(label), 120.0) + 30.0 + badge)), LEAF_HEIGHT
