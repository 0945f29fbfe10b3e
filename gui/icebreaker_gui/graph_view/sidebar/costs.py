"""What a node or a group computes and moves, in words."""

from __future__ import annotations

from collections.abc import Sequence

from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.sidebar.attribute_table import Row
from icebreaker_gui.layout import Outline
from icebreaker_gui.style import formatting
from icebreaker_gui.style.wording import translate


def node_costs(data: GraphData, name: str) -> list[Row]:
    """FLOPs, parameters and bytes of a node; what is unknown says so."""
    cost = data.costs.get(name)
    if cost is None:
        return []
    unknown = translate("graph", "unknown")
    rows = [] if cost.flops == 0 else [Row("FLOPs", _exact(cost.flops) if cost.flops else unknown)]
    if cost.parameters:
        rows.append(Row(translate("graph", "parameters"), _exact(cost.parameters)))
    if cost.bytes != 0:
        rows.append(Row(translate("graph", "bytes"), formatting.size(cost.bytes) if cost.bytes else unknown))
    return rows


def group_costs(data: GraphData, leaves: Sequence[int], outline: Outline) -> list[Row]:
    """The same of what is drawn as some boxes, constants included."""
    if not data.costs:
        return []
    names = {name for leaf in leaves for name in (outline.keys[leaf], *outline.folded.get(leaf, ()))}
    found = [data.costs[name] for name in names if name in data.costs]
    flops = sum(cost.flops or 0 for cost in found)
    unknown = sum(cost.flops is None for cost in found)
    words = [_exact(flops)] if flops or not unknown else []
    if unknown:
        words.append(translate("graph", "unknown of {n} ops").format(n=f"{unknown:,}"))
    graph = data.graph
    learned = sum(
        data.costs[name].parameters for name in names if name in data.costs and graph and graph[name].op == "Const"
    )
    rows = [Row("FLOPs", " · ".join(words))]
    if learned:
        rows.append(Row(translate("graph", "parameters"), _exact(learned)))
    return rows


def _exact(number: int) -> str:
    short = formatting.short_number(number)
    return f"{number:,}" if number < 10_000 else f"{short} · {number:,}"
