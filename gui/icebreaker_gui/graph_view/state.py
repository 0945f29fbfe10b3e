"""What the graph view shows, apart from any widget: what is open, what is chosen, in which colours.

Everything large is computed in a worker thread; a result that comes late, because something newer was asked for, is
dropped.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import QObject, Signal

from icebreaker.formats import graph_files
from icebreaker.graph import costs, shape_inference
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import PASSIVE
from icebreaker.reports import Benchmark, Conversion
from icebreaker.tensors import Tensor
from icebreaker_gui.graph_view.background import Background
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.outlines import Side, make_sides
from icebreaker_gui.graph_view.overlays import make_look
from icebreaker_gui.graph_view.painting.legend import LegendEntry
from icebreaker_gui.graph_view.painting.look import Look
from icebreaker_gui.graph_view.painting.picture import Picture
from icebreaker_gui.layout import Cancelled, Outline, Scene

# Work on more boxes than this leaves the window's thread.
_LARGE = 1200
# Graphs above this are laid out anew in the background: the window must not stand still for 50 ms.
_SMALL = 150


class GraphState(QObject):
    """The one model behind all parts of the graph view.

    Attributes:
        data: The graph and what is known of it; another object for each graph.
        shared: The outline that before and after share; None until it is made.
        alone: That of the graph after alone.
        scene: Before and after, laid out on the same coordinates.
        after_scene: The graph after alone, laid out.
        after_wanted: True while the graph after is shown alone.
        opened: Keys of the open groups.
        opened_engines: Keys of the engine nodes that are open where the graph after is shown alone.
        selected: Key of the chosen item, "" for none: a node's name, or a group's path.
        hovered: Key of what the pointer is over.
        found: Keys of search results, to be marked.
        excluded: Names of the nodes that the user leaves in TensorFlow.
        show_folded: True to draw constants and identities as boxes of their own.
        sideways: From left to right instead of from top to bottom.
        overlay_name: What colours mean, a key of `overlays.OVERLAYS`.
    """

    graphChanged = Signal()
    scenesChanged = Signal(str)  # key of the group that was opened or closed, or ""
    lookChanged = Signal()
    selectionChanged = Signal()
    hoverChanged = Signal()
    foundChanged = Signal()
    excludedChanged = Signal()
    busyChanged = Signal(str)
    tensorsChanged = Signal()
    factsChanged = Signal()  # costs, conversion or measurement
    valuesChanged = Signal(str)  # name of the constant whose values were read
    _learned = Signal(object, object)
    _counted = Signal(object, object)
    _read = Signal(object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.data = GraphData()
        self.shared: Side | None = None
        self.alone: Side | None = None
        self.scene: Scene | None = None
        self.after_scene: Scene | None = None
        self._scene_late = False
        self.after_wanted = False
        self.opened: set[str] = set()
        self.opened_engines: set[str] = set()
        self.selected = ""
        self.hovered = ""
        self.found: tuple[str, ...] = ()
        self.excluded: frozenset[str] = frozenset()
        self.show_folded = False
        self.sideways = False
        self.overlay_name = "kind"
        self._looks: dict[tuple[int, bool], tuple[Look, list[LegendEntry]]] = {}
        self._pictures: dict[bool, Picture] = {}
        self._tensors_of: Graph | None = None
        self._background = Background(self)
        self._background.busyChanged.connect(
            lambda busy: self.busyChanged.emit(self.tr("Laying out the graph …") if busy else "")
        )
        self._learned.connect(self._set_tensors)
        self._counted.connect(self._set_costs)
        self._read.connect(self._set_constant)

    @property
    def busy(self) -> bool:
        """True while a layout is waited for."""
        return self._background.busy

    @property
    def side(self) -> Side | None:
        """What is shown now: what before and after share, or the graph after alone."""
        return self.alone if self.after_wanted and self.alone else self.shared

    # ---- graphs -----------------------------------------------------------------------------------------------------

    def set_graph(self, graph: Graph | None, outputs: Sequence[str] = (), file: Path | None = None) -> None:
        """Shows a new graph, without a conversion; `file` has what was left out of it."""
        self.data = GraphData(graph, tuple(outputs), file)
        self._tensors_of = None
        self.opened, self.opened_engines = set(), set()
        self.selected = self.hovered = ""
        self.found = ()
        self.overlay_name = "kind"
        self.shared = self.alone = self.scene = self.after_scene = None
        self.scenesChanged.emit("")
        self._rebuild(fresh=True)

    def set_conversion(self, conversion: Conversion | None, after: Graph | None) -> None:
        """Shows what became of the graph; None goes back to before only."""
        had = self.data.conversion is not None
        self.data.set_conversion(conversion, after)
        if conversion and not had:
            self.overlay_name = "conversion"
        elif not conversion and self.overlay_name in ("conversion", "engine", "precision"):
            self.overlay_name = "kind"
        if self.overlay_name == "time":  # what was measured was another pair of graphs
            self.overlay_name = "conversion" if conversion else "kind"
        self.opened_engines = set()
        self.factsChanged.emit()
        if self.data.graph is not None:
            self._rebuild(fresh=True)

    def set_show_folded(self, show: bool) -> None:
        """Draws constants and identities as boxes of their own, or not."""
        if show != self.show_folded:
            self.show_folded = show
            if self.data.graph is not None:
                self._rebuild(fresh=False)

    def set_sideways(self, sideways: bool) -> None:
        """Draws the graph from left to right, or from top to bottom."""
        if sideways == self.sideways:
            return
        self.sideways = sideways
        sides = [side for side in (self.shared, self.alone) if side is not None]
        if self.data.graph is None or self.busy or not sides:
            if self.data.graph is not None:
                self._rebuild(fresh=not sides)
            return
        turned = [Side(side.outline, side.layout.turned()) for side in sides]
        self.shared, self.alone = turned[0], turned[1] if len(turned) > 1 else None
        self._scenes("")

    def set_benchmark(self, benchmark: Benchmark | None) -> None:
        """Shows what was measured; None: nothing was."""
        self.data.benchmark = benchmark
        if self.overlay_name == "time" and self.data.profile(False) is None:
            self.overlay_name = "conversion" if self.data.conversion else "kind"
        self.factsChanged.emit()
        self.restyle()

    def _rebuild(self, fresh: bool) -> None:
        """Outlines the graph anew and lays it out: with the groups open that are open now, or, `fresh`, as at first."""
        data = dataclasses.replace(self.data)  # as it is now
        graph = data.graph
        self._looks.clear()
        if graph is None:
            self._background.cancel()
            self.graphChanged.emit()
            return
        show_folded, sideways = self.show_folded, self.sideways
        opened = None if fresh else frozenset(self.opened)

        def job(cancelled: Cancelled) -> tuple[Side, Side | None, Scene]:
            shared, alone = make_sides(data, show_folded, sideways, cancelled)
            outline = shared.outline
            start = outline.first_open() if opened is None else _open_items(outline, opened)
            scene = shared.layout.scene(start | frozenset(outline.segments.values()), cancelled)
            self._prepare(scene)
            return shared, alone, scene

        def then(result: tuple[Side, Side | None, Scene]) -> None:
            self.shared, self.alone, self.scene = result
            self.after_scene, self._scene_late = None, False
            outline = self.shared.outline
            self.opened = {outline.keys[item] for item in self.scene.opened if item not in outline.segments.values()}
            if self.item(outline, self.selected) < 0:
                self.selected = ""
            self.graphChanged.emit()
            self.scenesChanged.emit("")
            if self.after_wanted:
                self._scenes("")
            self._learn_tensors(graph)

        self._background.run(job, then, len(graph) > _SMALL)

    # ---- types and shapes -------------------------------------------------------------------------------------------

    def _learn_tensors(self, graph: Graph) -> None:
        """Finds out what flows between nodes, once the graph is on show."""
        if self._tensors_of is graph:
            return
        self._tensors_of = graph
        if len(graph) <= _SMALL:
            self._set_tensors(graph, shape_inference.infer(graph))
            self._set_costs(graph, costs.op_costs(graph, costs.one_row(graph)))
        else:
            self._background.start(lambda: self._infer(graph))

    def _infer(self, graph: Graph) -> None:
        def cancelled() -> bool:
            return self._background.closing or self.data.graph is not graph

        tensors = shape_inference.infer(graph, cancelled)
        with contextlib.suppress(RuntimeError):  # the view was closed
            self._learned.emit(graph, tensors)
            self._counted.emit(graph, costs.op_costs(graph, costs.one_row(graph, cancelled), cancelled))

    def _set_costs(self, graph: Graph, found: Mapping[str, costs.Cost]) -> None:
        if graph is self.data.graph:
            self.data.costs = found
            self.factsChanged.emit()

    def _set_tensors(self, graph: Graph, tensors: Mapping[Tensor, shape_inference.Known]) -> None:
        if graph is self.data.graph:
            self.data.tensors = tensors
            self.tensorsChanged.emit()

    def read_constant(self, name: str) -> None:
        """Reads the values of a constant that are still in the file; `valuesChanged` tells when they are here."""
        graph, file = self.data.graph, self.data.file
        if graph is not None and file is not None:

            def read() -> None:
                if self.selected == name and not self._background.closing:
                    constant = graph_files.read_constant(file, name)
                    with contextlib.suppress(RuntimeError):  # the view was closed
                        self._read.emit(graph, constant)

            self._background.start(read)

    def _set_constant(self, graph: Graph, node: Node | None) -> None:
        if node is not None and graph is self.data.graph and node.name == self.selected:
            self.data.constant = node
            self.valuesChanged.emit(node.name)

    # ---- opening ----------------------------------------------------------------------------------------------------

    def toggle(self, key: str) -> None:
        """Opens a closed group, closes an open one."""
        side = self.side
        if side is None:
            return
        item = side.outline.item(key)
        if item is None or not side.outline.members[item] or item == 0:
            return
        segment = item in side.outline.segments.values()
        chosen = self.opened_engines if segment else self.opened
        if key in chosen:
            chosen.discard(key)
        elif segment and side is not self.alone:
            return  # segments stay open where before and after share their places
        else:
            chosen.add(key)
        self._scenes(key)

    def open_to(self, key: str) -> None:
        """Opens the groups around an item, so that it is shown."""
        side = self.side
        if side is None:
            return
        outline = side.outline
        item = self.item(outline, key)
        if item < 0:
            return
        closed = [group for group in outline.ancestors(item) if outline.keys[group] not in self._open_keys()]
        for group in closed:
            chosen = self.opened_engines if group in outline.segments.values() else self.opened
            chosen.add(outline.keys[group])
        if closed:
            self._scenes(outline.keys[closed[-1]])

    def open_all(self, most: int = 60000) -> None:
        """Opens every group."""
        side = self.side
        if side is None or len(side.outline) > most:
            return
        outline = side.outline
        self.opened = {outline.keys[i] for i, members in enumerate(outline.members) if members}
        self._scenes("")

    def close_all(self) -> None:
        """Goes back to what was open at first."""
        if self.shared is None:
            return
        outline = self.shared.outline
        self.opened = {outline.keys[item] for item in outline.first_open()}
        self.opened_engines = set()
        self._scenes("")

    def want_after(self, wanted: bool) -> None:
        """True while the graph after is shown alone."""
        self.after_wanted = wanted
        late = self.after_scene is None if wanted else self._scene_late
        if late and self.alone is not None:
            self._scenes("")

    def _open_keys(self) -> set[str]:
        if self.after_wanted and self.alone:
            return self.opened | self.opened_engines | {""}
        keys = {self.shared.outline.keys[i] for i in self.shared.outline.segments.values()} if self.shared else set()
        return self.opened | keys | {""}

    def _scenes(self, anchor: str) -> None:
        """Lays out anew what is on show."""
        side = self.side
        if side is None:
            return
        alone = side is self.alone
        outline = side.outline
        segments = frozenset(outline.segments.values())
        items = _open_items(outline, frozenset(self.opened))
        if alone:
            items = (items - segments) | _open_items(outline, frozenset(self.opened_engines))
        else:
            items |= segments
        count = sum(len(outline.members[item]) for item in items)

        def job(cancelled: Cancelled) -> Scene:
            scene = side.layout.scene(items, cancelled)
            self._prepare(scene, alone)
            return scene

        def then(scene: Scene) -> None:
            if alone:
                self.after_scene, self._scene_late = scene, True  # what was opened is to be open in the other, too
            else:
                self.scene, self.after_scene, self._scene_late = scene, None, False
            self.scenesChanged.emit(anchor)

        self._background.run(job, then, count > _LARGE)

    # ---- choosing ---------------------------------------------------------------------------------------------------

    def select(self, key: str) -> None:
        """Chooses an item by its key (a node's name or a group's path); "" for none."""
        if key != self.selected:
            self.selected = key
            self.selectionChanged.emit()

    def hover(self, key: str) -> None:
        """Marks what the pointer is over, in all panes."""
        if key != self.hovered:
            self.hovered = key
            self.hoverChanged.emit()

    def set_found(self, keys: Sequence[str]) -> None:
        """Search results, to be marked."""
        self.found = tuple(keys)
        self.foundChanged.emit()

    def set_excluded(self, names: frozenset[str]) -> None:
        """What the user leaves in TensorFlow from the next conversion on, to be marked."""
        if names != self.excluded:
            self.excluded = names
            self.excludedChanged.emit()

    def ops_of(self, key: str) -> list[str]:
        """The node of that name, or the nodes in a group or segment that compute something."""
        graph, side = self.data.graph, self.side
        if graph is None or not key:
            return []
        if key in graph:
            return [key] if graph[key].op != "Const" else []
        item = self.item(side.outline, key) if side else -1
        if side is None or item < 0:
            return []
        keys = (side.outline.keys[leaf] for leaf in side.outline.leaves_of(item))
        return [name for name in keys if name in graph and graph[name].op not in PASSIVE]

    def item(self, outline: Outline, key: str) -> int:
        """The item of an outline for a key, or the leaf that a folded node is drawn on; -1 without one."""
        if not key:
            return -1
        item = outline.item(key)
        return outline.leaf.get(key, -1) if item is None else item

    # ---- colours ----------------------------------------------------------------------------------------------------

    def set_overlay(self, name: str) -> None:
        """Chooses what colours mean."""
        if name != self.overlay_name:
            self.overlay_name = name
            self.restyle()

    def look(self, outline: Outline, after: bool = False) -> tuple[Look, list[LegendEntry]]:
        """Colours of an outline in the current overlay, and the legend's entries.

        Only measured time is another before and `after`.
        """
        key = id(outline), after and self.overlay_name == "time"
        kept = self._looks.get(key)
        if kept is None:
            # Where the graph after is shown alone, all that is drawn belongs to it.
            alone = self.alone is not None and outline is self.alone.outline
            kept = self._looks[key] = make_look(self.data, outline, self.overlay_name, alone=alone, after=key[1])
        return kept

    def picture(self, scene: Scene, after: bool = False) -> Picture:
        """The scene made ready for painting; panes that show the same share it."""
        look, _ = self.look(scene.outline, after)
        after = after and self.overlay_name == "time"
        kept = self._pictures.get(after)
        if kept is None or kept.scene is not scene or kept.look is not look:
            kept = self._pictures[after] = Picture(scene, look)
        return kept

    def _prepare(self, scene: Scene, after: bool = False) -> None:
        """Does what a large scene's first frame needs ahead of it, in the thread that laid it out."""
        if len(scene.items) > _LARGE:
            picture = Picture(scene, self.look(scene.outline, after)[0])
            picture.prepare()
            self._pictures = {after and self.overlay_name == "time": picture}

    def restyle(self) -> None:
        """Makes the colours anew, after a change of what they mean or between light and dark."""
        self._looks.clear()
        self.lookChanged.emit()

    def close(self) -> None:
        """Stops work in the background and waits for its end."""
        self._background.close()


def _open_items(outline: Outline, keys: frozenset[str]) -> frozenset[int]:
    """The items of an outline with these keys, and the root."""
    return frozenset(item for key in keys if (item := outline.item(key)) is not None) | {0}
