"""The graph view."""

from icebreaker_gui.graph_view.panel import GraphPanel

__all__ = ["GraphPanel"]
