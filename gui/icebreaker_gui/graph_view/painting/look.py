"""What is shown of a scene and in which colours: values that are handed to a `Picture`, apart from the scene itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor


@dataclass(frozen=True)
class EngineNode:
    """How one engine node is drawn: a solid block in its engine's colour.

    Attributes:
        title: Its name.
        lines: What is written under the name, as far as there is room.
        color: Its engine's colour.
        dashed: True for an engine that cannot run on this machine.
    """

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
        engine_nodes: Segment group item → how its engine node is drawn.
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
    engine_nodes: Mapping[int, EngineNode] = field(default_factory=dict)
    after_only: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()
    alone: bool = False
    flows: Callable[[int], str] = lambda leaf: ""


@dataclass(frozen=True)
class Marks:
    """What is emphasized now: outline items, -1 for none.

    Attributes:
        selected: The chosen item.
        hovered: What the pointer is over.
        lit: Counterparts of the selection in the other graph.
        found: Search results.
        kept: What the user leaves in TensorFlow from the next conversion on.
        focus: True if the keyboard goes to this view.
    """

    selected: int = -1
    hovered: int = -1
    lit: frozenset[int] = frozenset()
    found: frozenset[int] = frozenset()
    kept: frozenset[int] = frozenset()
    focus: bool = False


NO_MARKS = Marks()
