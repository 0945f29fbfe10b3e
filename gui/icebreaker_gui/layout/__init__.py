"""Layout of graphs of any size as nested groups: pure, deterministic, without Qt.

`build` makes the outline (groups, folding, edges between siblings), `Layout.scene` finds where everything is.
"""

from icebreaker_gui.layout.outline import Extra, Inner, LayoutCancelled, Outline, build
from icebreaker_gui.layout.scene import BACK, CONTROL, DATA, Layout, Scene

__all__ = [
    "BACK",
    "CONTROL",
    "DATA",
    "Extra",
    "Inner",
    "Layout",
    "LayoutCancelled",
    "Outline",
    "Scene",
    "build",
]
