"""Measures what the graph view promises: `python -m benchmarks.bench_graph`.

Prints a table with the medians and exits with 1 if one is worse than promised. Needs no display.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QApplication

from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.overlays import make_look
from icebreaker_gui.graph_view.painting.look import Look
from icebreaker_gui.graph_view.painting.picture import Picture
from icebreaker_gui.graph_view.painting.view import Camera, View
from icebreaker_gui.layout import Layout, LayoutCancelled, Outline, Scene, build
from icebreaker_gui.style import theme

WIDTH, HEIGHT = 1200, 900


def residual(nodes: int, scopes: bool = True) -> Graph:
    """A deep network of residual blocks, in stages of scopes or with flat names; a third of it is constants."""
    definition = GraphDef()
    definition.node.add(name="input", op="Placeholder")
    before, block = "input", 0
    while len(definition.node) < nodes:
        stage = f"stage{block // 20}/block{block % 20}/" if scopes else f"n{block}_"
        skip = before
        for layer in range(3):
            names = {}
            for part in ("weights", "bias"):
                names[part] = f"{stage}conv{layer}/{part}" if scopes else f"{stage}{layer}_{part}"
                definition.node.add(name=names[part], op="Const")
            join = "/" if scopes else "_"
            for op, extra in (("Conv2D", ["weights"]), ("BiasAdd", ["bias"]), ("Relu", [])):
                name = f"{stage}conv{layer}{join}{op}"
                definition.node.add(name=name, op=op, input=[before, *(names[part] for part in extra)])
                before = name
        definition.node.add(name=f"{stage}add", op="AddV2", input=[before, skip])
        before, block = f"{stage}add", block + 1
    return Graph(definition)


def fan(readers: int) -> Graph:
    """Many nodes that all read one input."""
    definition = GraphDef()
    definition.node.add(name="mask", op="Placeholder")
    for i in range(readers):
        definition.node.add(name=f"read{i}", op="Relu", input=["mask"])
    return Graph(definition)


def scope_of(children: int) -> Graph:
    """A graph with one scope of so many boxes side by side and one after the other."""
    definition = GraphDef()
    definition.node.add(name="input", op="Placeholder")
    before = "input"
    for i in range(children // 4):
        for part in "abc":
            definition.node.add(name=f"scope/{i}{part}", op="Relu", input=[before])
        definition.node.add(name=f"scope/{i}join", op="AddN", input=[f"scope/{i}{part}" for part in "abc"])
        before = f"scope/{i}join"
    definition.node.add(name="output", op="Identity", input=[before])
    return Graph(definition)


def median(work: Callable[[], object], times: int = 3) -> float:
    """Median milliseconds of the processor: what others do on the machine does not count."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000)
    return statistics.median(taken)


def everything(outline: Outline) -> frozenset[int]:
    """All groups."""
    return frozenset(item for item, members in enumerate(outline.members) if members)


def first_view(graph: Graph) -> Scene:
    """What the app does between a parsed file and the first picture."""
    fresh = Graph(graph.definition)
    outline = build(fresh)
    return Layout(outline).scene(outline.first_open())


def frames(scene: Scene, look: Look, camera: Callable[[int], Camera]) -> float:
    """Median milliseconds of a frame while the camera moves."""
    picture = Picture(scene, look)
    image = QImage(WIDTH, HEIGHT, QImage.Format.Format_RGB32)
    taken = []
    for number in range(14):
        began = time.process_time()
        painter = QPainter(image)
        painter.fillRect(0, 0, WIDTH, HEIGHT, theme.current().color("panel"))
        picture.paint(painter, View(camera(number), WIDTH, HEIGHT, moving=True))
        painter.end()
        taken.append((time.process_time() - began) * 1000)
    return statistics.median(taken[3:])


def lateness(outline: Outline, after: float) -> float:
    """Milliseconds from the cancelling of a layout, so many seconds after its begin, to its end."""
    layout = Layout(outline)
    gc.disable()  # as in the app's thread
    asked = time.process_time() + after
    try:
        layout.scene(everything(outline), lambda: time.process_time() > asked)
    except LayoutCancelled:
        return (time.process_time() - asked) * 1000
    finally:
        gc.enable()
    return 0.0  # it was done before


def zooming(x: float, y: float, scale: float) -> Callable[[int], Camera]:
    """A camera that comes nearer."""
    return lambda number: Camera(x, y, scale * (1 + number / 50))


def panning(x: float, y: float, scale: float) -> Callable[[int], Camera]:
    """A camera that moves sideways and down."""
    return lambda number: Camera(x + number * 9 / scale, y + number * 5 / scale, scale)


def measure(quick: bool) -> list[tuple[str, float, float, str]]:
    """(what, measured, promised, unit)"""
    rows: list[tuple[str, float, float, str]] = []
    ten, fifty = residual(10_000), residual(10_000 if quick else 50_000)
    rows.append(("first view, 10,000 nodes", median(lambda: first_view(ten)), 1000, "ms"))
    rows.append(
        (
            "first view, 10,000 nodes without scopes",
            median(lambda: first_view(residual(10_000, False))),
            1000,
            "ms",
        )
    )
    if not quick:
        rows.append(("first view, 50,000 nodes", median(lambda: first_view(fifty)), 2000, "ms"))
    graph = scope_of(200)
    # Cut into parts there would be no scope of 200: this measures the layout itself.
    outline = build(graph)
    layout = Layout(outline)
    layout.scene(frozenset({0}))
    began = time.process_time()
    layout.scene(everything(outline))
    rows.append(("open a scope of 200, in parts", (time.process_time() - began) * 1000, 50, "ms"))
    taken = []
    for _ in range(3):
        outline = build(graph, most_members=10**9)
        layout = Layout(outline)
        layout.scene(frozenset({0}))
        began = time.process_time()
        layout.scene(everything(outline))
        taken.append((time.process_time() - began) * 1000)
    rows.append(("open a scope of 200, all at once", statistics.median(taken), 50, "ms"))
    flat = build(residual(10_000, scopes=False), show_folded=True, most_members=10**9)
    took = median(lambda: Layout(flat).scene(everything(flat)), 1)
    rows.append((f"flat layout, {len(flat):,} boxes", took, 5000, "ms"))
    rows.append(("cancelled after, at worst", max(lateness(flat, part / 10) for part in range(1, 10)), 100, "ms"))
    many = fan(5000)
    rows.append(("5,000 readers of one input", median(lambda: first_view(many), 1), 5000, "ms"))
    outline = build(many)
    Layout(outline).scene(everything(outline))
    rows.append(("its memory, with all above", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1024, "MB"))
    for graph, promised in ((ten, 16), (fifty, 33)):
        if quick and promised == 33:
            continue
        outline = build(graph, show_folded=True)
        look, _ = make_look(GraphData(), outline, "kind")
        scene = Layout(outline).scene(everything(outline))
        boxes = f"{len(scene.items):,} boxes"
        whole = min(WIDTH / scene.size[0], HEIGHT / scene.size[1])
        middle = scene.size[0] / 2, scene.size[1] / 2
        rows.append((f"frame, all of {boxes}", frames(scene, look, zooming(*middle, whole)), promised, "ms"))
        for scale in (0.02, 0.06, 0.15, 0.3, 0.6, 1.0):
            rows.append(
                (f"frame at {scale:.0%}, {boxes}", frames(scene, look, panning(*middle, scale)), promised, "ms")
            )
        grid = grid_of(scene)
        whole = min(WIDTH / grid.size[0], HEIGHT / grid.size[1])
        zoom = zooming(grid.size[0] / 2, grid.size[1] / 2, whole)
        rows.append((f"frame, {boxes} in a square", frames(grid, look, zoom), promised, "ms"))
    return rows


def measure_large(nodes: int = 200_000) -> list[tuple[str, float, float, str]]:
    """The same of a graph that no peer opens: first view, frames of it and of some groups open, memory.

    Call it in a process of its own, so that memory is that of this graph alone.
    """
    app = QApplication.instance() or QApplication([])
    theme.install(app, "light")  # type: ignore[arg-type]
    definition = residual(nodes).definition
    gc.disable()  # as in the app's thread
    began = time.process_time()
    graph = Graph(definition)
    outline = build(graph)
    layout = Layout(outline)
    scene = layout.scene(outline.first_open())
    rows = [(f"first view, {nodes:,} nodes", (time.process_time() - began) * 1000, 5000.0, "ms")]
    gc.enable()
    look, _ = make_look(GraphData(), outline, "kind")
    for what in ("first view", "all open"):
        shown = scene if what == "first view" else layout.scene(everything(outline))
        whole = min(WIDTH / shown.size[0], HEIGHT / shown.size[1])
        middle = shown.size[0] / 2, shown.size[1] / 2
        taken = [frames(shown, look, zooming(*middle, whole))]
        taken += [frames(shown, look, panning(*middle, scale)) for scale in (0.02, 0.06, 0.15, 0.3, 0.6, 1.0)]
        rows.append((f"frame at worst, {nodes:,} nodes, {what}", max(taken), 16.0, "ms"))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append((f"memory, {nodes:,} nodes, {what}", memory, 1024.0, "MB"))
    return rows


def grid_of(scene: Scene) -> Scene:
    """The same boxes and edges folded into columns of one square, so that all of them are large and on screen."""
    import dataclasses

    import numpy as np

    columns = max(1, round((scene.size[1] / max(scene.size[0], 1)) ** 0.5))
    tall = scene.size[1] / columns
    boxes, points = scene.boxes.copy(), scene.points.copy()
    boxes[scene.is_open, 2:] = 10
    for array in (boxes, points):
        column = np.minimum((array[:, 1] // tall), columns - 1)
        array[:, 0] += column * (scene.size[0] + 40)
        array[:, 1] -= column * tall
    return dataclasses.replace(
        scene, boxes=boxes, points=points, size=(columns * (scene.size[0] + 40), tall), generation=0
    )


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the graphs of 50,000 and 200,000 nodes")
    arguments = parser.parse_args()
    app = QApplication.instance() or QApplication([])
    theme.install(app, "light")  # type: ignore[arg-type]
    print(f"{'what':46} {'measured':>10} {'promised':>10}")
    bad = 0
    rows = measure(arguments.quick)
    if not arguments.quick:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
            rows += own.submit(measure_large).result()
    for what, value, promised, unit in rows:
        late = value > promised
        bad += late
        print(f"{what:46} {value:>7.1f} {unit:2} {promised:>7.0f} {unit:2}{'   <-- too slow' if late else ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
