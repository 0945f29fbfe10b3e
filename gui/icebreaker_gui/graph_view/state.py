"""What the graph view shows, apart from any widget: outlines, what is open, what is chosen, in which colours.

Everything large is computed in a worker thread; a result that comes late, because something newer was asked for, is
dropped.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from icebreaker.formats import graph_files
from icebreaker.graph import shape_inference
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import PASSIVE
from icebreaker.reports.reports import Benchmark, Conversion, LayerTime, Left, Profile, SegmentReport
from icebreaker.tensors import Tensor
from icebreaker_gui.graph_view.overlays import make_look
from icebreaker_gui.graph_view.painting.picture import Look, Picture
from icebreaker_gui.layout import Extra, Layout, LayoutCancelled, Outline, Scene, build

# Work on more boxes than this leaves the window's thread.
_LARGE = 1200
# Graphs above this are laid out anew in the background: the window must not stand still for 50 ms.
_SMALL = 150
# Python searches as many for circles within a frame or two.
_MANY_OBJECTS = 100_000


@dataclass(frozen=True, eq=False)
class Side:
    """One outline with its layout: the shared one of before and after, or the one of the graph after alone."""

    outline: Outline
    layout: Layout


class GraphState(QObject):
    """The one model behind all parts of the graph view."""

    graphChanged = Signal()
    scenesChanged = Signal(str)  # key of the group that was opened or closed, or ""
    lookChanged = Signal()
    selectionChanged = Signal()
    hoverChanged = Signal()
    foundChanged = Signal()
    busyChanged = Signal(str)
    tensorsChanged = Signal()
    _finished = Signal(int, object)
    valuesChanged = Signal(str)  # name of the constant whose values were read
    _learned = Signal(object, object)
    _read = Signal(object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.graph: Graph | None = None
        self.file: Path | None = None  # where the values of large constants are
        self.constant: Node | None = None  # the one that was read from there
        self.outputs: tuple[str, ...] = ()
        self.conversion: Conversion | None = None
        self.after: Graph | None = None
        self.benchmark: Benchmark | None = None
        self.shared: Side | None = None
        self.alone: Side | None = None
        self.scene: Scene | None = None  # before and after on the same coordinates
        self.after_scene: Scene | None = None  # after only
        self._scene_late = False
        self.after_wanted = False
        self.opened: set[str] = set()
        self.opened_capsules: set[str] = set()
        self.selected = ""
        self.hovered = ""
        self.found: tuple[str, ...] = ()
        self.show_folded = False
        self.sideways = False
        self.overlay_name = "kind"
        self.looks: dict[tuple[int, bool], tuple[Look, Any]] = {}
        self.tensors: Mapping[
            Tensor, shape_inference.Known
        ] = {}  # of the graph before, as far as they can be told unrun
        self._tensors_of: Graph | None = None
        self._closing = False
        self.left: Mapping[str, Left] = {}
        self.segment_of: Mapping[str, SegmentReport] = {}
        self._pictures: dict[bool, Picture] = {}
        # Not a QThreadPool: from Python that one keeps all that it has ever run, and with it old graphs.
        self._threads: list[threading.Thread] = []
        self._turn = threading.Lock()
        self._generation = 0
        self._then: Callable[[Any], None] | None = None
        self._finished.connect(self._arrived)
        self._learned.connect(self._set_tensors)
        self._read.connect(self._set_constant)

    # ---- graphs -----------------------------------------------------------------------------------------------------

    def set_graph(self, graph: Graph | None, outputs: Sequence[str] = (), file: Path | None = None) -> None:
        """Shows a new graph, without a conversion; `file` has what was left out of it."""
        self.graph, self.outputs = graph, tuple(outputs)
        self.file, self.constant = file, None
        self.conversion = self.after = self.benchmark = None
        self.left, self.segment_of = {}, {}
        self.tensors, self._tensors_of = {}, None
        self.opened, self.opened_capsules = set(), set()
        self.selected = self.hovered = ""
        self.found = ()
        self.overlay_name = "kind"
        self.shared = self.alone = self.scene = self.after_scene = None
        self.scenesChanged.emit("")
        self._rebuild(fresh=True)

    def set_conversion(self, conversion: Conversion | None, after: Graph | None) -> None:
        """Shows what became of the graph; None goes back to before only."""
        had = self.conversion is not None
        self.benchmark = None
        self.conversion = conversion if self.graph is not None else None
        self.after = after
        self.left = {left.node: left for left in conversion.left_in_tensorflow} if conversion else {}
        self.segment_of = (
            {node: segment for segment in conversion.segments for node in segment.nodes} if conversion else {}
        )
        if conversion and not had:
            self.overlay_name = "conversion"
        elif not conversion and self.overlay_name in ("conversion", "engine", "precision"):
            self.overlay_name = "kind"
        if self.overlay_name == "time":  # what was measured was another pair of graphs
            self.overlay_name = "conversion" if conversion else "kind"
        self.opened_capsules = set()
        if self.graph is not None:
            self._rebuild(fresh=True)

    def set_show_folded(self, show: bool) -> None:
        """Draws constants and identities as boxes of their own, or not."""
        if show != self.show_folded:
            self.show_folded = show
            if self.graph is not None:
                self._rebuild(fresh=False)

    def set_sideways(self, sideways: bool) -> None:
        """Draws the graph from left to right, or from top to bottom."""
        if sideways == self.sideways:
            return
        self.sideways = sideways
        sides = [side for side in (self.shared, self.alone) if side is not None]
        if self.graph is None or self._then is not None or not sides:
            if self.graph is not None:
                self._rebuild(fresh=not sides)
            return
        turned = [Side(side.outline, side.layout.turned()) for side in sides]
        self.shared, self.alone = turned[0], turned[1] if len(turned) > 1 else None
        self._scenes("")

    def set_benchmark(self, benchmark: Benchmark | None) -> None:
        """Shows what was measured; None: nothing was."""
        self.benchmark = benchmark
        if self.overlay_name == "time" and self.profile(False) is None:
            self.overlay_name = "conversion" if self.conversion else "kind"
        self.looks.clear()
        self.lookChanged.emit()

    def profile(self, after: bool) -> Profile | None:
        """Where the time of the graph before, or of the one after, goes; None if that was not measured."""
        return self.benchmark.profiles.get("optimized" if after else "original") if self.benchmark else None

    def layer_times(self, segment: SegmentReport) -> list[LayerTime | None]:
        """What each of an engine's layers took, None where that is not known.

        An engine that was loaded anew may have made other layers than the one in the report.
        """
        profile = self.profile(True)
        timed = profile.layers.get(segment.name, ()) if profile else ()
        if [item.type for item in timed] == [item.get("type") for item in segment.layers]:
            return list(timed)
        by_name = {item.name: item for item in timed}
        return [by_name.get(str(item.get("name"))) for item in segment.layers]

    def _rebuild(self, fresh: bool) -> None:
        graph, conversion, after = self.graph, self.conversion, self.after
        self.looks.clear()
        if graph is None:
            self._cancel()
            self.graphChanged.emit()
            return
        segments = _segments(graph, conversion, after) if conversion else {}
        extras = _extras(graph, conversion, after) if conversion and after is not None else []
        layers = _layers(conversion) if conversion else []
        outputs, show, sideways = self.outputs, self.show_folded, self.sideways
        opened = None if fresh else frozenset(self.opened)

        def job(cancelled: Callable[[], bool]) -> tuple[Side, Side | None, Scene]:
            kept = outputs or graph.candidate_outputs
            outline = build(graph, segments, kept, extras, show, cancelled)
            shared = Side(outline, Layout(outline, sideways=sideways))
            alone = None
            if conversion:
                other = build(graph, segments, kept, [*extras, *layers], show, cancelled)
                alone = Side(other, Layout(other, sideways=sideways))
            start = outline.first_open() if opened is None else self._open_items(outline, opened)
            scene = shared.layout.scene(start | frozenset(outline.segments.values()), cancelled)
            self._prepare(scene)
            return shared, alone, scene

        def then(result: tuple[Side, Side | None, Scene]) -> None:
            self.shared, self.alone, self.scene = result
            self.after_scene, self._scene_late = None, False
            outline = self.shared.outline
            self.opened = {outline.keys[item] for item in self.scene.opened if item not in outline.segments.values()}
            if self._item(outline, self.selected) is None:
                self.selected = ""
            self.graphChanged.emit()
            self.scenesChanged.emit("")
            if self.after_wanted:
                self._scenes("")
            self._learn_tensors(graph)

        self._run(job, then, len(graph) > _SMALL)

    # ---- types and shapes -------------------------------------------------------------------------------------------

    def _learn_tensors(self, graph: Graph) -> None:
        """Finds out what flows between nodes, once the graph is on show."""
        if self._tensors_of is graph:
            return
        self._tensors_of = graph
        if len(graph) <= _SMALL:
            self._set_tensors(graph, shape_inference.infer(graph))
        else:
            self._start(lambda: self._infer(graph))

    def _infer(self, graph: Graph) -> None:
        found = shape_inference.infer(graph, lambda: self._closing or self.graph is not graph)
        with contextlib.suppress(RuntimeError):  # the view was closed
            self._learned.emit(graph, found)

    def _set_tensors(self, graph: Graph, found: Mapping[Tensor, shape_inference.Known]) -> None:
        if graph is self.graph:
            self.tensors = found
            self.tensorsChanged.emit()

    def read_constant(self, name: str) -> None:
        """Reads the values of a constant that are still in the file; `valuesChanged` tells when they are here."""
        graph, file = self.graph, self.file
        if graph is not None and file is not None:

            def read() -> None:
                if self.selected == name and not self._closing:
                    found = graph_files.read_constant(file, name)
                    with contextlib.suppress(RuntimeError):  # the view was closed
                        self._read.emit(graph, found)

            self._start(read)

    def _set_constant(self, graph: Graph, node: Node | None) -> None:
        if node is not None and graph is self.graph and node.name == self.selected:
            self.constant = node
            self.valuesChanged.emit(node.name)

    # ---- opening ----------------------------------------------------------------------------------------------------

    def toggle(self, key: str) -> None:
        """Opens a closed group, closes an open one."""
        side = self.alone if self.after_wanted and self.alone else self.shared
        if side is None:
            return
        item = side.outline.item(key)
        if item is None or not side.outline.members[item] or item == 0:
            return
        segment = item in side.outline.segments.values()
        chosen = self.opened_capsules if segment else self.opened
        if key in chosen:
            chosen.discard(key)
        elif segment and not (self.after_wanted and self.alone):
            return  # segments stay open where before and after share their places
        else:
            chosen.add(key)
        self._scenes(key)

    def open_to(self, key: str) -> None:
        """Opens the groups around an item, so that it is shown."""
        side = self.alone if self.after_wanted and self.alone else self.shared
        if side is None:
            return
        item = self._item(side.outline, key)
        if item is None:
            return
        closed = [group for group in side.outline.ancestors(item) if side.outline.keys[group] not in self._open_keys()]
        if closed:
            for group in closed:
                name = side.outline.keys[group]
                if group in side.outline.segments.values():
                    self.opened_capsules.add(name)
                else:
                    self.opened.add(name)
            self._scenes(side.outline.keys[closed[-1]])

    def open_all(self, most: int = 60000) -> None:
        """Opens every group."""
        side = self.alone if self.after_wanted and self.alone else self.shared
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
        self.opened_capsules = set()
        self._scenes("")

    def want_after(self, wanted: bool) -> None:
        """True while the graph after is shown alone."""
        self.after_wanted = wanted
        late = self.after_scene is None if wanted else self._scene_late
        if late and self.alone is not None:
            self._scenes("")

    def _open_keys(self) -> set[str]:
        if self.after_wanted and self.alone:
            return self.opened | self.opened_capsules | {""}
        keys = {self.shared.outline.keys[i] for i in self.shared.outline.segments.values()} if self.shared else set()
        return self.opened | keys | {""}

    @staticmethod
    def _open_items(outline: Outline, keys: frozenset[str]) -> frozenset[int]:
        return frozenset(item for key in keys if (item := outline.item(key)) is not None) | {0}

    def _scenes(self, anchor: str) -> None:
        """Lays out anew what is on show."""
        alone = self.after_wanted and self.alone is not None
        side = self.alone if alone else self.shared
        if side is None:
            return
        outline = side.outline
        capsules = frozenset(outline.segments.values())
        items = self._open_items(outline, frozenset(self.opened))
        if alone:
            items = (items - capsules) | self._open_items(outline, frozenset(self.opened_capsules))
        else:
            items |= capsules
        count = sum(len(outline.members[item]) for item in items)

        def job(cancelled: Callable[[], bool]) -> Scene:
            scene = side.layout.scene(items, cancelled)
            self._prepare(scene, alone)
            return scene

        def then(scene: Scene) -> None:
            if alone:
                self.after_scene, self._scene_late = scene, True  # what was opened is to be open in the other, too
            else:
                self.scene, self.after_scene, self._scene_late = scene, None, False
            self.scenesChanged.emit(anchor)

        self._run(job, then, count > _LARGE)

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

    @staticmethod
    def _item(outline: Outline, key: str) -> int | None:
        if not key:
            return None
        found = outline.item(key)
        return outline.leaf.get(key) if found is None else found

    def item(self, outline: Outline, key: str) -> int:
        """The item of an outline for a key, or the leaf that a folded node is drawn on; -1 without one."""
        found = self._item(outline, key)
        return -1 if found is None else found

    def tensor_words(self, tensor: Tensor) -> str:
        """Dtype and shape of a tensor as far as they are known, such as `float32[?,56,56,64]`; "" if not at all."""
        told = self.conversion.tensors.get(str(tensor), "") if self.conversion else ""
        if told and not told.endswith("[…]"):
            return told
        graph = self.graph
        if graph is not None and tensor.node in graph and (value := graph[tensor.node].value) is not None:
            return str(shape_inference.Known(value.dtype, value.shape))
        return str(self.tensors.get(tensor, "")) or told

    # ---- colours ----------------------------------------------------------------------------------------------------

    def set_overlay(self, name: str) -> None:
        """Chooses what colours mean."""
        if name != self.overlay_name:
            self.overlay_name = name
            self.looks.clear()
            self.lookChanged.emit()

    def look(self, outline: Outline, after: bool = False) -> tuple[Look, Any]:
        """Colours of an outline in the current overlay, and the legend's entries.

        Only measured time is another before and `after`.
        """
        key = id(outline), after and self.overlay_name == "time"
        found = self.looks.get(key)
        if found is None:
            found = self.looks[key] = make_look(self, outline, key[1])
        return found

    def picture(self, scene: Scene, after: bool = False) -> Picture:
        """The scene made ready for painting; panes that show the same share it."""
        look, _ = self.look(scene.outline, after)
        after = after and self.overlay_name == "time"
        found = self._pictures.get(after)
        if found is None or found.scene is not scene or found.look is not look:
            found = self._pictures[after] = Picture(scene, look)
        return found

    def _prepare(self, scene: Scene, after: bool = False) -> None:
        """Does what a large scene's first frame needs ahead of it, in the thread that laid it out."""
        if len(scene.items) > _LARGE:
            picture = Picture(scene, self.look(scene.outline, after)[0])
            picture.prepare()
            self._pictures = {after and self.overlay_name == "time": picture}

    def restyle(self) -> None:
        """Makes the colours anew, after a change between light and dark."""
        self.looks.clear()
        self.lookChanged.emit()

    # ---- work in the background -------------------------------------------------------------------------------------

    def _run(self, job: Callable[[Callable[[], bool]], Any], then: Callable[[Any], None], large: bool) -> None:
        self._cancel()
        generation = self._generation
        if not large:
            then(job(lambda: False))
            return
        self._then = then
        self.busyChanged.emit(self.tr("Laying out the graph …"))
        self._start(lambda: self._compute(generation, job))

    def _start(self, work: Callable[[], None]) -> None:
        """Does one work after another."""

        def run() -> None:
            with self._turn:
                work()

        thread = threading.Thread(target=run, name="layout", daemon=True)
        self._threads = [*(item for item in self._threads if item.is_alive()), thread]
        thread.start()

    def _cancel(self) -> None:
        self._generation += 1
        if self._then is not None:
            self._then = None
            self.busyChanged.emit("")

    def _arrived(self, generation: int, result: object) -> None:
        if generation != self._generation or self._then is None:
            return
        then, self._then = self._then, None
        self.busyChanged.emit("")
        if isinstance(result, BaseException):
            raise result
        then(result)

    def wait(self) -> None:
        """Stops work in the background and waits for its end; for closing."""
        self._closing = True
        self._cancel()
        for thread in self._threads:
            thread.join()

    def _compute(self, number: int, job: Callable[[Callable[[], bool]], Any]) -> None:
        # A layout makes millions of objects and no circles of them. Python's search for circles would stop the window
        # for a quarter of a second, again and again, and double the time: it waits, and then leaves out what lives on.
        # After a smaller layout nothing is left out: what others have made and dropped meanwhile would stay for ever.
        gc.disable()
        try:
            result: object = job(lambda: self._generation != number)
        except LayoutCancelled:
            return
        except Exception as error:
            result = error
        finally:
            if gc.get_count()[0] > _MANY_OBJECTS:
                gc.freeze()
            gc.enable()
        with contextlib.suppress(RuntimeError):  # the view was closed
            self._finished.emit(number, result)


def _segments(graph: Graph, conversion: Conversion, after: Graph | None) -> dict[str, tuple[str, ...]]:
    """The nodes to show in each segment.

    A passive node whose name the optimized graph keeps (an output that is an Identity) stays outside: there it is the
    same thing before and after, whatever the engine has inside.
    """
    kept = {node.name for node in after} if after is not None else set()
    return {
        segment.name: tuple(
            name for name in segment.nodes
            if not (name in kept and name in graph and graph[name].op in PASSIVE and graph[name].op != "Const")
        )
        for segment in conversion.segments
    }  # fmt: skip


def _extras(graph: Graph, conversion: Conversion, after: Graph) -> list[Extra]:
    """Nodes of the optimized graph that are neither engine nodes nor nodes that were left in TensorFlow."""
    inside = {node for nodes in _segments(graph, conversion, after).values() for node in nodes}
    engines = {segment.name: segment for segment in conversion.segments}
    # A node of the same name as one that is inside an engine is a new node, which keeps an output's name.
    new = [
        node for node in after if node.name not in engines and (node.name not in graph or node.name in inside)
        and node.op not in ("Const", "NoOp")
    ]  # fmt: skip
    if len(new) > 400:
        return []
    keys = {node.name: f"{node.name} (after)" for node in new}

    def origin(tensor: Tensor) -> str:
        engine = engines.get(tensor.node)
        if engine and tensor.port < len(engine.outputs):
            return Tensor.parse(engine.outputs[tensor.port]).node
        return keys.get(tensor.node, tensor.node)

    return [
        Extra(
            keys[node.name],
            node.op,
            node.name,
            tuple(dict.fromkeys(origin(tensor) for tensor in node.inputs)),
        )
        for node in new
    ]


def _layers(conversion: Conversion) -> list[Extra]:
    """The engines' own layers inside each engine node: as the engine joins them, or else as a chain."""
    found = []
    for segment in conversion.segments:
        before = ""
        keys: dict[str, str] = {}
        for number, layer in enumerate(segment.layers):
            key = f"{segment.name} layer {number}"
            words = [str(layer[name]) for name in ("name", "precision") if layer.get(name)]
            inputs = (before,) if before else ()
            if "inputs" in layer:
                inputs = tuple(keys[name] for name in layer["inputs"] if name in keys)
            found.append(Extra(key, str(layer.get("type", "layer")), " · ".join(words), inputs, segment.name))
            keys[str(layer.get("name", ""))] = before = key
    return found
