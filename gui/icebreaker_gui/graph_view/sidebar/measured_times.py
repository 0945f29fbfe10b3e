"""What was measured of one node, group or layer, in words."""

from __future__ import annotations

from icebreaker.reports import LayerTime, NodeTime, Profile
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.overlays import leaf_of
from icebreaker_gui.graph_view.sidebar.attribute_table import Row
from icebreaker_gui.layout import Outline
from icebreaker_gui.style import formatting
from icebreaker_gui.style.wording import translate


def node_times(data: GraphData, key: str) -> list[Row]:
    """What a node, a node inside a function or an engine node took before and after; empty if nothing is known."""
    rows: list[Row] = []
    for after, title in ((False, translate("graph", "before")), (True, translate("graph", "after"))):
        profile = data.profile(after)
        timed = profile.nodes.get(key) if profile else None
        if profile and timed:
            rows.append(Row(title, _words(data, key, timed, profile)))
        elif profile and not after and data.graph is not None and key in data.graph:
            rows.append(Row(title, translate("graph", "none of its own: computed ahead, or fused into another op")))
    profile, segment = data.profile(True), data.segment_of.get(key)
    if segment and profile:
        # A layer of several ops was measured as one.
        for layer in profile.layers.get(segment.name, ()):
            if key in layer.nodes:
                others = len(layer.nodes) - 1
                words = f"{formatting.milliseconds(layer.ms)} · {layer.type}"
                if others:
                    words += " · " + translate("graph", "together with {n} other ops").format(n=others)
                rows.append(Row(translate("graph", "in a layer"), words))
    return rows


def _words(data: GraphData, key: str, timed: NodeTime, profile: Profile) -> str:
    """One measured time, how often it ran, and as what."""
    words = [_share(timed.ms, profile)]
    if timed.calls > 1:
        words.append(translate("graph", "{n} times a run").format(n=f"{timed.calls:,}"))
    engines = {segment.name for segment in data.conversion.segments} if data.conversion else set()
    if timed.ran_as and key not in engines:
        words.append(translate("graph", "as {op}, the ops fused into it included").format(op=timed.ran_as))
    return " · ".join(words)


def group_times(data: GraphData, outline: Outline, group: int) -> list[Row]:
    """What the ops in a group took together, before and after."""
    rows = []
    inside = set(outline.leaves_of(group))
    for after, title in ((False, translate("graph", "before")), (True, translate("graph", "after"))):
        profile = data.profile(after)
        if profile:
            ms = sum(timed.ms for key, timed in profile.nodes.items() if leaf_of(outline, key) in inside)
            if after:  # with the engines that lie in it
                homes = [name for name, home in outline.segments.items() if group in outline.ancestors(home)]
                ms += sum(profile.nodes[name].ms for name in homes if name in profile.nodes)
            if ms:
                rows.append(Row(title, _share(ms, profile)))
    return rows


def layer_at(data: GraphData, key: str) -> LayerTime | None:
    """What was measured of the engine's layer that an outline knows by this key; None for all else."""
    for segment in data.conversion.segments if data.conversion else ():
        for number, layer in enumerate(data.layer_times(segment)):
            if layer is not None and key == f"{segment.name} layer {number}":
                return layer
    return None


def _share(ms: float, profile: Profile) -> str:
    """A time with its share of all that was measured."""
    return f"{formatting.milliseconds(ms)} · {formatting.percent(ms / (profile.total_ms or 1.0))}"
