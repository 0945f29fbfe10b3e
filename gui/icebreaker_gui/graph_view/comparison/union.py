"""Two graphs as one picture: what both have stands in the same place, what one lacks leaves a gap there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PySide6.QtCore import QT_TRANSLATE_NOOP, Qt
from PySide6.QtGui import QColor

from icebreaker.graph.graph import Graph
from icebreaker.reports import GraphDiff
from icebreaker_gui.graph_view.painting.look import Look
from icebreaker_gui.layout import Cancelled, Layout, Outline, build
from icebreaker_gui.style import theme

# What became of a node → hue, pattern for those who do not see it, words. The worst comes last.
KINDS: Mapping[str, tuple[str, Qt.BrushStyle, Any]] = {
    "renamed": ("sky", Qt.BrushStyle.SolidPattern, QT_TRANSLATE_NOOP("compare", "renamed")),
    "shape": ("gray", Qt.BrushStyle.Dense5Pattern, QT_TRANSLATE_NOOP("compare", "other shape")),
    "changed": ("orange", Qt.BrushStyle.SolidPattern, QT_TRANSLATE_NOOP("compare", "changed")),
    "added": ("green", Qt.BrushStyle.FDiagPattern, QT_TRANSLATE_NOOP("compare", "added")),
    "removed": ("vermilion", Qt.BrushStyle.BDiagPattern, QT_TRANSLATE_NOOP("compare", "removed")),
}


class Union:
    """Both graphs as one.

    Attributes:
        first: The first graph.
        second: The second.
        diff: What is different.
        graph: All nodes of the first, and those that only the second has.
        names: Node of the second graph → its name in `graph`.
        kinds: Name in `graph` → what became of it, a key of `KINDS`; what is the same is missing.
        outline: Its groups.
        layout: Where everything is.
    """

    def __init__(self, first: Graph, second: Graph, diff: GraphDiff, cancelled: Cancelled = lambda: False) -> None:
        """Joins and lays out; takes a while for large graphs.

        Raises:
            LayoutCancelled: `cancelled` became true.
        """
        self.first, self.second, self.diff = first, second, diff
        self.kinds: dict[str, str] = dict.fromkeys(diff.renamed, "renamed")
        for change in diff.changed:
            self.kinds[change.node] = "changed" if change.is_own else "shape"
        self.kinds |= dict.fromkeys((item.node for item in diff.removed), "removed")
        self.names = self._names()
        self.graph = self._join()
        kept = [*first.candidate_outputs, *(self.names[name.partition(":")[0]] for name in second.candidate_outputs)]
        self.outline: Outline = build(self.graph, {}, kept, (), False, cancelled)
        self.layout = Layout(self.outline, sideways=False)
        self.added = frozenset(self._leaves("added"))
        self.removed = frozenset(self._leaves("removed"))

    def _names(self) -> dict[str, str]:
        changed = {change.other: change.node for change in self.diff.changed}
        renamed = {other: node for node, other in self.diff.renamed.items()}
        names = {node.name: renamed.get(node.name) or changed.get(node.name, node.name) for node in self.second}
        for item in self.diff.added:
            name = item.node
            while name in self.first:  # another node of the first graph is called so
                name += "′"
            names[item.node] = name
            self.kinds[name] = "added"
        return names

    def _join(self) -> Graph:
        definition = type(self.first.definition)()
        definition.CopyFrom(self.first.definition)
        by_name = {node.name: node for node in definition.node}
        added = {item.node for item in self.diff.added}
        for node in self.second:
            if node.name in added:
                new = definition.node.add()
                new.CopyFrom(node.definition)
                new.name = self.names[node.name]
                new.input[:] = [_spelled(self.names[tensor.node], tensor.port) for tensor in node.inputs]
                new.input.extend(f"^{self.names[name]}" for name in node.controls)
        for node in self.second:  # what is read now, and was not
            if node.name not in added:
                old = by_name[self.names[node.name]]
                for tensor in node.inputs:
                    if tensor.node in added:
                        old.input.insert(
                            len(self.first[old.name].inputs), _spelled(self.names[tensor.node], tensor.port)
                        )
        return Graph(definition)

    def _leaves(self, kind: str) -> set[int]:
        """Leaves of one kind; what is folded into another one does not make that one new."""
        outline = self.outline
        found = {outline.leaf.get(name, -1) for name, what in self.kinds.items() if what == kind}
        return {leaf for leaf in found if leaf >= 0 and self.kinds.get(outline.keys[leaf]) == kind}

    def look(self) -> Look:
        """Colours of what is different."""
        outline, order = self.outline, list(KINDS)
        of = np.zeros(len(outline), np.int16)
        for name, kind in self.kinds.items():
            leaf = outline.leaf.get(name, -1)
            if leaf >= 0:
                folded = outline.keys[leaf] != name  # of another constant, its reader is changed
                entry = 1 + order.index("changed" if folded and kind != "renamed" else kind)
                of[leaf] = max(of[leaf], entry)
        for item in range(len(outline) - 1, 0, -1):  # groups tell of the worst in them
            parent = int(outline.parent[item])
            of[parent] = max(of[parent], of[item])
        return Look(
            name="diff",
            colors=(QColor(0, 0, 0, 0), *(theme.hue(hue) for hue, _, _ in KINDS.values())),
            patterns=(Qt.BrushStyle.SolidPattern, *(pattern for _, pattern, _ in KINDS.values())),
            of=of,
            after_only=self.added,
            gone=self.removed,
        )


def _spelled(name: str, port: int) -> str:
    return f"{name}:{port}" if port else name
