"""Layout of graphs of any size as nested groups: pure, deterministic, without Qt.

`build` makes the outline (groups, folding, edges between siblings), `Layout.scene` finds where everything is.
"""

from icebreaker_gui.layout.outline import Cancelled, Extra, Inner, LayoutCancelled, Outline, build
from icebreaker_gui.layout.scene import BACK, CONTROL, DATA, LEAF_HEIGHT, Layout, Scene

__all__ = [
    "BACK",
    "CONTROL",
    "DATA",
    "LEAF_HEIGHT",
    "Cancelled",
    "Extra",
    "Inner",
    "Layout",
    "LayoutCancelled",
    "Outline",
    "Scene",
    "build",
]
