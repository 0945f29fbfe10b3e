"""Who is near: where an arrow key leads, and what is within so many edges."""

from __future__ import annotations

import numpy as np

from icebreaker_gui.graph_view.painting.view import Camera
from icebreaker_gui.layout import Outline, Scene


def step_from(scene: Scene, item: int, way: str, camera: Camera, after: bool = False) -> int:
    """The item to go to from `item`: along an edge up or down, to the nearest box left or right; -1: nowhere.

    Where the graph runs from left to right, edges are followed that way, and up and down lead to the nearest boxes.
    From nothing chosen it is the box nearest to the middle of the view.
    """
    outline = scene.outline
    boxes = scene.boxes
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    here = camera.x, camera.y
    if scene.sideways:  # the same with both axes exchanged
        middle, here = middle[:, ::-1], (camera.y, camera.x)
        way = {"left": "up", "right": "down", "up": "left", "down": "right"}[way]
    inside = outline.segment_of[scene.items]
    usable = ~scene.is_open & ~(after & (inside >= 0) & (inside != scene.items))
    if after:
        usable |= inside == scene.items
    row = scene.row(item) if item >= 0 else -1
    if not usable.any():
        return -1
    if row < 0:
        distance = np.abs(middle[:, 0] - here[0]) + np.abs(middle[:, 1] - here[1])
        return int(scene.items[np.where(usable, distance, np.inf).argmin()])
    item = int(scene.items[row])
    if way in ("up", "down"):
        # The other end of an edge, whatever lies between: through the leaves that it joins.
        inner = set(outline.leaves_of(item))
        ends, others = (outline.target, outline.source) if way == "up" else (outline.source, outline.target)
        chosen = np.isin(ends, np.fromiter(inner, np.int64, len(inner)))
        rows = {scene.row(int(leaf)) for leaf in np.unique(others[chosen]).tolist() if leaf not in inner}
        if after:
            rows = {scene.row(int(inside[r])) if inside[r] >= 0 else r for r in rows}
        rows = {r for r in rows if r >= 0 and r != row and usable[r]}
        if rows:
            best = min(
                rows,
                key=lambda r: (abs(middle[r, 1] - middle[row, 1]) + abs(middle[r, 0] - middle[row, 0]), r),
            )
            return int(scene.items[best])
    dx, dy = middle[:, 0] - middle[row, 0], middle[:, 1] - middle[row, 1]
    along, across = {"up": (-dy, dx), "down": (dy, dx), "left": (-dx, dy), "right": (dx, dy)}[way]
    ahead = usable & (along > 1) & (np.abs(across) < 3 * along + 30)
    if not ahead.any():
        return -1
    return int(scene.items[np.where(ahead, along + 2 * np.abs(across), np.inf).argmin()])


def neighbours(outline: Outline, item: int, hops: int) -> list[str]:
    """Keys of the leaves within so many edges of an item."""
    if item < 0:
        return []
    near: dict[int, list[int]] = {}
    for a, b in zip(outline.source.tolist(), outline.target.tolist(), strict=True):
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    found = dict.fromkeys(outline.leaves_of(item))
    edge = list(found)
    for _ in range(hops):
        edge = [other for leaf in edge for other in near.get(leaf, ()) if other not in found]
        found.update(dict.fromkeys(edge))
    return [outline.keys[leaf] for leaf in found]
