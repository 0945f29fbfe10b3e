"""Layout of graphs of any size as nested groups: pure, deterministic, without Qt.

`build` makes the outline (groups, folding, edges between siblings), `Layout.scene` finds where everything is.
"""

from icebreaker_gui.layout.build import build
from icebreaker_gui.layout.layout import Layout
from icebreaker_gui.layout.outline import Cancelled, Extra, Inner, LayoutCancelled, Outline
from icebreaker_gui.layout.scene import BACK, CONTROL, DATA, Scene
from icebreaker_gui.layout.sizes import LEAF_HEIGHT

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
