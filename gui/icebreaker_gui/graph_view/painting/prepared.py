"""A scene in one look, made ready for painting: what of it belongs to the graph before, to the one after, to both."""

from __future__ import annotations

import numpy as np

from icebreaker_gui.graph_view.painting.look import Look
from icebreaker_gui.layout import Scene


class Prepared:
    """Arrays that every frame needs; one entry a row of the scene, or an edge piece of it.

    Attributes:
        scene: What is painted.
        look: In which colours.
        color_of: Palette entry of each row.
        segment: The segment's group item of each row that lies in one, else -1.
        is_engine_node: True for segments themselves.
        in_segment: True for what lies inside a segment.
        is_extra: True for what only the graph after has.
        edge_in_segment: True for edge pieces drawn inside a segment.
        edge_extra: True for edge pieces that lead to nothing but boxes of the graph after.
        edge_low, edge_high: Upper left and lower right corner around each edge piece, [k, 2].
    """

    def __init__(self, scene: Scene, look: Look) -> None:
        self.scene, self.look = scene, look
        outline = scene.outline
        self.color_of = look.of[scene.items] if len(look.of) else np.zeros(len(scene.items), np.int16)
        self.segment = outline.segment_of[scene.items] if len(scene.items) else np.zeros(0, np.int64)
        self.is_engine_node = self.segment == scene.items
        self.in_segment = (self.segment >= 0) & ~self.is_engine_node
        extra = look.after_only
        self.is_extra = np.array([item in extra for item in scene.items.tolist()], bool)
        self.edge_in_segment = outline.segment_of[scene.edge_in] >= 0
        self.edge_extra = _extra_edges(scene, extra) if extra else np.zeros(len(scene.edge_kind), bool)
        if len(scene.starts) > 1:
            low = np.minimum.reduceat(scene.points, scene.starts[:-1], axis=0)
            high = np.maximum.reduceat(scene.points, scene.starts[:-1], axis=0)
        else:
            low = high = np.zeros((0, 2))
        self.edge_low, self.edge_high = low, high


def _extra_edges(scene: Scene, extra: frozenset[int]) -> np.ndarray:
    """True for each edge piece that leads to nothing but boxes of the graph after, [k]."""
    outline = scene.outline
    only_after = np.zeros(len(scene.edge_kind), bool)
    readers: dict[int, list[int]] = {}
    feeding = set(outline.source[np.isin(outline.target, list(extra))].tolist())
    for a, b in zip(outline.source.tolist(), outline.target.tolist(), strict=True):
        if a in feeding:
            readers.setdefault(a, []).append(b)
    around = {leaf: set(outline.ancestors(leaf)) for leaf in {b for leaves in readers.values() for b in leaves}}
    for edge, producers in enumerate(scene.producers):
        a, b, home = int(scene.edge_from[edge]), int(scene.edge_to[edge]), int(scene.edge_in[edge])
        if a in extra or b in extra:
            only_after[edge] = True
        elif b == home and feeding.issuperset(producers):
            # Out of a group: the readers that are not in the group count.
            only_after[edge] = all(
                reader in extra for p in producers for reader in readers[p] if home not in around[reader]
            )
    return only_after
