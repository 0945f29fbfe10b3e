"""What colours mean: one overlay at a time, keyed by node name, apart from the graph itself."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import QT_TRANSLATE_NOOP, Qt
from PySide6.QtGui import QColor

from icebreaker.graph.ops import ITEM_BYTES
from icebreaker.reports import REASONS
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.op_categories import KINDS, kind
from icebreaker_gui.graph_view.painting.legend import LegendEntry
from icebreaker_gui.graph_view.painting.look import EngineNode, Look
from icebreaker_gui.layout import Outline
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.wording import translate, translated

_SOLID = Qt.BrushStyle.SolidPattern
# Reason → hue and pattern. What can be changed by a setting is told apart from what cannot.
REASON_STYLES: Mapping[str, tuple[str, Qt.BrushStyle]] = {
    "unsupported_op": ("vermilion", Qt.BrushStyle.BDiagPattern),
    "unsupported_attribute": ("orange", Qt.BrushStyle.FDiagPattern),
    "unknown_shape": ("yellow", Qt.BrushStyle.DiagCrossPattern),
    "excluded": ("ink", Qt.BrushStyle.CrossPattern),
    "control_flow": ("purple", Qt.BrushStyle.VerPattern),
    "too_small": ("gray", Qt.BrushStyle.Dense5Pattern),
    "engine_refused": ("vermilion", Qt.BrushStyle.DiagCrossPattern),
    "deviates": ("purple", Qt.BrushStyle.DiagCrossPattern),
    "not_faster": ("green", Qt.BrushStyle.HorPattern),
    "no_data": ("yellow", Qt.BrushStyle.HorPattern),
    "side_effect": ("orange", Qt.BrushStyle.VerPattern),
    "passive": ("gray", _SOLID),
}

# Overlay → words for the chooser, in its order. The last ones need figures.
OVERLAYS: Mapping[str, Any] = {
    "kind": QT_TRANSLATE_NOOP("graph", "Kind of op"),
    "conversion": QT_TRANSLATE_NOOP("graph", "Why not converted"),
    "engine": QT_TRANSLATE_NOOP("graph", "Engine"),
    "precision": QT_TRANSLATE_NOOP("graph", "Precision"),
    "time": QT_TRANSLATE_NOOP("graph", "Measured time"),
    "flops": QT_TRANSLATE_NOOP("graph", "FLOPs"),
    "parameters": QT_TRANSLATE_NOOP("graph", "Parameters"),
    "constants": QT_TRANSLATE_NOOP("graph", "Constant bytes"),
    "outputs": QT_TRANSLATE_NOOP("graph", "Output bytes"),
}


def available(data: GraphData) -> list[str]:
    """Overlays that have something to show."""
    names = ["kind"]
    if data.conversion:
        names += ["conversion", "engine", "precision"]
    if data.profile(False) or data.profile(True):
        names.append("time")
    if data.costs:
        names += ["flops", "parameters"]
    names.append("constants")
    if data.tensors or (data.conversion and data.conversion.tensors):
        names.append("outputs")
    return names


def make_look(
    data: GraphData, outline: Outline, name: str, *, alone: bool = False, after: bool = False
) -> tuple[Look, list[LegendEntry]]:
    """The colours of an outline in one overlay.

    Args:
        data: The graph and what is known of it.
        outline: What is to be coloured.
        name: The overlay, a key of `OVERLAYS`.
        alone: True for the outline of the graph after alone, where all that is drawn belongs to it.
        after: True for times of the graph after, where they were measured.

    Returns:
        The look and its legend.
    """
    base = _base(data, outline, alone)
    if name == "kind":
        return _kinds(outline, base)
    if name == "conversion":
        return _reasons(data, outline, base)
    if name in ("engine", "precision"):
        return _classes(data, outline, base, name)
    if name == "time":
        return _times(data, outline, base, after)
    if name in ("flops", "parameters"):
        return _costs(data, outline, base, name)
    values = _constant_bytes(data, outline) if name == "constants" else _output_bytes(data, outline)
    _add_up(outline, values)
    most = float(values[1:].max(initial=0.0)) or 1.0
    return _heat(base, name, values, most, formatting.size)


def _base(data: GraphData, outline: Outline, alone: bool) -> Look:
    conversion = data.conversion
    engine_nodes: dict[int, EngineNode] = {}
    if conversion:
        for segment in conversion.segments:
            item = outline.segments.get(segment.name)
            if item is None:
                continue
            title = f"{formatting.engine(segment.engine)} · {formatting.precision(segment.precision)}"
            words = translate("graph", "{n} op became one"), translate("graph", "{n} ops became one")
            lines = [formatting.count(data.ops_in(segment), *words)]
            if not segment.runs_here:
                lines.append(translate("graph", "built for another machine"))
            color = theme.current().engine(segment.engine)
            engine_nodes[item] = EngineNode(title, tuple(lines), color, not segment.runs_here)
    gone: set[int] = set()
    after = data.after
    if conversion and after is not None:
        for leaf in outline.leaves_of(0):
            if leaf not in outline.extra and outline.segment_of[leaf] < 0 and outline.keys[leaf] not in after:
                gone.add(leaf)
    return Look(
        engine_nodes=engine_nodes,
        after_only=frozenset() if alone else outline.extra,
        gone=frozenset(gone),
        alone=alone,
        flows=_flows(data, outline),
    )


def _flows(data: GraphData, outline: Outline) -> Callable[[int], str]:
    """Tells dtype and shape of what a leaf gives, "" where they are not known; asked only for what is in sight."""
    told: dict[int, str] = {}

    def words(leaf: int) -> str:
        if leaf not in told and (found := find(leaf)):  # what is not known may become known
            told[leaf] = found
        return told.get(leaf, "")

    def find(leaf: int) -> str:
        edges = np.flatnonzero((outline.source == leaf) & ~outline.control).tolist()
        found = dict.fromkeys(text for edge in edges if (text := data.tensor_words(outline.tensor[edge])))
        if len(found) != 1:
            return translate("graph", "{n} kinds of tensor").format(n=len(found)) if found else ""
        # On an edge there is little room: the usual dtype goes without saying.
        kind_, _, sizes = next(iter(found)).rstrip("]").partition("[")
        if sizes == "…":
            return "" if kind_ == "float32" else kind_
        short = sizes.replace(",", "×") or translate("graph", "scalar")
        return short if kind_ == "float32" else f"{kind_} {short}"

    return words


def _kinds(outline: Outline, base: Look) -> tuple[Look, list[LegendEntry]]:
    names = list(KINDS)
    colors = [QColor(0, 0, 0, 0), *(theme.hue(KINDS[name][0]) for name in names)]
    number = {name: i + 1 for i, name in enumerate(names)}
    of = np.array([number[kind(op)] if op else 0 for op in outline.ops], np.int16)
    counts = np.bincount(of, minlength=len(colors))
    legend = [
        LegendEntry(translate("graph", KINDS[name][1]), colors[i + 1], _SOLID, int(counts[i + 1]))
        for i, name in enumerate(names)
    ]
    return _with(base, "kind", colors, [_SOLID] * len(colors), of), [entry for entry in legend if entry.number]


def _reasons(data: GraphData, outline: Outline, base: Look) -> tuple[Look, list[LegendEntry]]:
    engines = sorted({segment.engine for segment in data.conversion.segments}) if data.conversion else []
    codes = list(REASON_STYLES)
    colors = [QColor(0, 0, 0, 0), *(theme.hue(REASON_STYLES[code][0]) for code in codes)]
    patterns = [_SOLID, *(REASON_STYLES[code][1] for code in codes)]
    first_engine = len(colors)
    colors += [theme.current().engine(name) for name in engines]
    patterns += [_SOLID] * len(engines)
    of = np.zeros(len(outline), np.int16)
    notes: dict[int, str] = {}
    for item, key in enumerate(outline.keys):
        if outline.members[item]:
            continue
        if key in outline.inner:
            key = outline.inner[key].owner
        left = data.left.get(key)
        if left and left.code in REASON_STYLES and left.code != "passive":
            of[item] = 1 + codes.index(left.code)
        elif not left and (segment := data.segment_of.get(key)):
            of[item] = first_engine + engines.index(segment.engine)
    _lift(outline, of)
    # Counted as in the list of reasons and on the engine nodes, whatever is folded on the screen.
    left, inside = Counter(item.code for item in data.left.values()), Counter[str]()
    for segment in data.conversion.segments if data.conversion else ():
        inside[segment.engine] += data.ops_in(segment)
    legend = [
        LegendEntry(
            translate("graph", "in {engine}").format(engine=formatting.engine(name)),
            colors[first_engine + i],
            _SOLID,
            inside[name],
        )
        for i, name in enumerate(engines)
    ] + [
        LegendEntry(translated(REASONS.get(code, code)), colors[i + 1], patterns[i + 1], left[code])
        for i, code in enumerate(codes)
        if code != "passive"
    ]
    calm = frozenset(range(first_engine, len(colors)))
    return _with(base, "conversion", colors, patterns, of, notes, calm), [entry for entry in legend if entry.number]


def _classes(data: GraphData, outline: Outline, base: Look, name: str) -> tuple[Look, list[LegendEntry]]:
    order = ["orange", "sky", "green", "yellow", "purple", "vermilion", "blue"]
    names: dict[str, int] = {}
    of = np.zeros(len(outline), np.int16)
    for item, key in enumerate(outline.keys):
        if not outline.members[item]:
            segment = data.segment_of.get(key)
            words = getattr(segment, name) if segment else "tensorflow"
            of[item] = names.setdefault(words, len(names) + 1)
    colors = [QColor(0, 0, 0, 0)]
    for i, words in enumerate(names):
        known = theme.current().engine_or_none(words)
        colors.append(QColor(known) if known else theme.hue("gray" if words == "tensorflow" else order[i % len(order)]))
    _lift(outline, of)
    counts = np.bincount(of[outline.leaves_of(0)], minlength=len(colors))
    legend = [
        LegendEntry(formatting.engine(formatting.precision(words)), colors[i], _SOLID, int(counts[i]))
        for words, i in names.items()
    ]
    return _with(base, name, colors, [_SOLID] * len(colors), of), legend


def leaf_of(outline: Outline, key: str) -> int:
    """The leaf that shows a node, or a node inside the function of one; -1 without one."""
    while key:
        if key in outline.leaf:
            return outline.leaf[key]
        key = key.rpartition("/")[0]
    return -1


def _add_up(outline: Outline, values: np.ndarray, kept: frozenset[int] = frozenset()) -> None:
    """Gives each group the sum of its members; what is in `kept` has a value of its own."""
    for item in range(len(outline) - 1, 0, -1):
        parent = int(outline.parent[item])
        if parent not in kept:
            values[parent] += values[item]


def _constant_bytes(data: GraphData, outline: Outline) -> np.ndarray:
    values = np.zeros(len(outline))
    for node in data.graph or ():
        if node.op == "Const" and node.value is not None and node.name in outline.leaf:
            values[outline.leaf[node.name]] += node.value.nbytes
    return values


def _output_bytes(data: GraphData, outline: Outline) -> np.ndarray:
    values = np.zeros(len(outline))
    read = dict.fromkeys(tensor for node in data.graph or () for tensor in node.inputs)
    for tensor in read:
        leaf = outline.leaf.get(tensor.node)
        if leaf is not None and data.graph is not None and data.graph[tensor.node].op != "Const":
            values[leaf] += tensor_bytes(data.tensor_words(tensor))
    return values


def _costs(data: GraphData, outline: Outline, base: Look, name: str) -> tuple[Look, list[LegendEntry]]:
    """FLOPs or parameters as heat; parameters are those of the constants, which are drawn with who reads them."""
    values = np.zeros(len(outline))
    unknown = 0
    for node in data.graph or ():
        leaf, cost = outline.leaf.get(node.name, -1), data.costs.get(node.name)
        if leaf < 0 or cost is None:
            continue
        if name == "flops":
            values[leaf] += cost.flops or 0
            unknown += cost.flops is None
        elif node.op == "Const":
            values[leaf] += cost.parameters
    _add_up(outline, values)
    look, legend = _heat(base, name, values, float(values[1:].max(initial=0.0)) or 1.0, formatting.short_number)
    if unknown:
        told = translate("graph", "unknown: {n} ops").format(n=f"{unknown:,}")
        legend = [*legend, LegendEntry(told, QColor(0, 0, 0, 0))]
    return look, legend


def _times(data: GraphData, outline: Outline, base: Look, after: bool) -> tuple[Look, list[LegendEntry]]:
    """Measured time as heat, on one scale before and after, so that both can be compared."""
    values = np.zeros(len(outline))
    profile = data.profile(after)
    if profile is None:
        return _heat(base, "time", values, 1.0, formatting.milliseconds)
    total = profile.total_ms or 1.0

    def words(ms: float) -> str:
        share = ms / total  # the scale of both graphs ends above the total of the faster one
        return formatting.milliseconds(ms) + (f" · {formatting.percent(share)}" if share < 1.001 else "")

    engines: dict[int, float] = {}
    for key, item in profile.nodes.items():
        if after and key in outline.segments:
            engines[outline.segments[key]] = item.ms
        elif (leaf := _leaf_after(outline, key) if after else leaf_of(outline, key)) >= 0:
            values[leaf] += item.ms
    for segment in data.conversion.segments if after and data.conversion else ():
        for number, layer in enumerate(data.layer_times(segment)):
            leaf = outline.leaf.get(f"{segment.name} layer {number}")
            if leaf is not None and layer is not None:
                values[leaf] = layer.ms
    for item, ms in engines.items():
        values[item] = ms
    _add_up(outline, values, frozenset(engines))
    other = data.profile(not after)
    most = max(total, other.total_ms if other else 0.0)
    look, legend = _heat(base, "time", values, most, words)
    engine_nodes = dict(look.engine_nodes)
    for item in engines:
        if item in engine_nodes:
            lines = (engine_nodes[item].lines[0], words(float(values[item])))
            color = look.colors[int(look.of[item])]
            engine_nodes[item] = dataclasses.replace(engine_nodes[item], lines=lines, color=color)
    told = translate("graph", "watching slows a run: {watched} in place of {plain}; the shares count").format(
        watched=formatting.milliseconds(profile.watched_ms), plain=formatting.milliseconds(profile.plain_ms)
    )
    return dataclasses.replace(look, engine_nodes=engine_nodes), [*legend, LegendEntry(told, QColor(0, 0, 0, 0))]


def _leaf_after(outline: Outline, key: str) -> int:
    """As `leaf_of`, for a node of the optimized graph: what bears the name of an op in an engine is another node."""
    found = outline.leaf.get(f"{key} (after)", -1)
    if found < 0:
        found = leaf_of(outline, key)
        if found >= 0 and outline.segment_of[found] >= 0:
            return -1
    return found


def _heat(
    base: Look, name: str, values: np.ndarray, most: float, words: Callable[[float], str]
) -> tuple[Look, list[LegendEntry]]:
    steps, bend = 16, 0.33  # between even steps, which show the largest only, and those of a logarithm, which level all
    colors = [QColor(0, 0, 0, 0), *(heat(i / (steps - 1)) for i in range(steps))]
    of = np.zeros(len(values), np.int16)
    shown = values > most / 1e4
    scale = np.clip(values / most, 0, 1) ** bend
    of[shown] = 1 + (scale[shown] * (steps - 1)).round().astype(np.int16)
    notes = {int(item): words(float(values[item])) for item in np.flatnonzero(shown)}
    legend = [
        LegendEntry(words(most * share), colors[1 + round(share**bend * (steps - 1))])
        for share in (0.001, 0.01, 0.1, 0.3, 1.0)
    ]
    return _with(base, name, colors, [_SOLID] * len(colors), of, notes), legend


def tensor_bytes(words: str) -> int:
    """Bytes of a tensor told as `float32[?,56,56,64]`; unknown sizes count as one."""
    found = re.fullmatch(r"(\w+)\[([\d,?]*)\]", words)
    if not found:
        return 0
    sizes = [int(size) for size in found[2].split(",") if size.isdigit()]
    return ITEM_BYTES.get(found[1], 0) * math.prod(sizes)


def heat(share: float) -> QColor:
    """From cool to hot in rising contrast with the background: readable without telling red from green."""
    dark = theme.current().dark
    stops = (
        ((38, 70, 110), (60, 130, 170), (230, 200, 90), (255, 140, 60))
        if dark
        else ((205, 222, 238), (120, 175, 215), (235, 170, 60), (200, 70, 10))
    )
    place = max(0.0, min(1.0, share)) * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    t = place - low
    return QColor(*(round(a + (b - a) * t) for a, b in zip(stops[low], stops[low + 1], strict=True)))


def _lift(outline: Outline, of: np.ndarray) -> None:
    """Gives a closed group the colour of the most of its leaves, if there is a clear one."""
    for group, members in enumerate(outline.members):
        if not members or outline.leaves[group] > 5000:
            continue
        leaves = outline.leaves_of(group)
        entries, counts = np.unique(of[leaves], return_counts=True)
        if counts.max() == counts.sum():
            of[group] = entries[int(counts.argmax())]


def _with(
    base: Look,
    name: str,
    colors: Sequence[QColor],
    patterns: Sequence[Qt.BrushStyle],
    of: np.ndarray,
    notes: Mapping[int, str] | None = None,
    calm: frozenset[int] = frozenset(),
) -> Look:
    """The base of all looks in the colours of one overlay."""
    return dataclasses.replace(
        base, name=name, colors=tuple(colors), patterns=tuple(patterns), of=of, calm=calm, notes=notes or {}
    )
