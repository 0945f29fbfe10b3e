"""A graph with a segment in its middle, its conversion and measured times; and where things are in the graph view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QPoint, QPointF
from PySide6.QtGui import QImage

from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.reports import (
    Benchmark,
    Conversion,
    EngineLayer,
    Latency,
    LayerTime,
    Left,
    NodeTime,
    Profile,
    SegmentReport,
    Speedup,
    Tried,
)


def network() -> Graph:
    """Text in, two blocks of convolutions, text out: a segment in the middle."""
    definition = GraphDef()
    node = definition.node.add
    node(name="text", op="Placeholder")
    node(name="decode/split", op="StringSplit", input=["text"])
    node(name="decode/number", op="StringToNumber", input=["decode/split"])
    before = "decode/number"
    for block in ("one", "two"):
        start = before
        for layer in (1, 2):
            prefix = f"net/{block}/conv{layer}"
            weights = definition.node.add(name=f"{prefix}/weights", op="Const")
            tensor = weights.attr["value"].tensor
            tensor.dtype = 1
            for size in (3, 3, 2, 4):
                tensor.tensor_shape.dim.add(size=size)
            tensor.tensor_content = np.arange(72, dtype=np.float32).tobytes()
            conv = definition.node.add(name=f"{prefix}/Conv2D", op="Conv2D", input=[before, f"{prefix}/weights"])
            conv.attr["padding"].s = b"SAME"
            node(name=f"{prefix}/Relu", op="Relu", input=[f"{prefix}/Conv2D"])
            before = f"{prefix}/Relu"
        node(name=f"net/{block}/add", op="AddV2", input=[start, before])
        before = f"net/{block}/add"
    node(name="logits", op="Softmax", input=[before])
    node(name="label", op="LookupTableFindV2", input=["logits"])
    return Graph(definition)


def converted(graph: Graph) -> tuple[Conversion, Graph]:
    inside = tuple(node.name for node in graph if node.name.startswith("net/") or node.name == "logits")
    segment = SegmentReport(
        name="TRTEngineOp_000", engine="openvino", precision="fp32", nodes=inside, inputs=("decode/number",),
        outputs=("logits",), build_seconds=0.5, tensorflow_ms=4.0, engine_ms=1.0,
        layers=(EngineLayer("conv1+relu", "Convolution", "f32"), EngineLayer("add", "Eltwise", "f32")),
        candidates=(Tried("openvino", "fp32", ms=1.0),),
    )  # fmt: skip
    left = (
        Left("text", "Placeholder", "an input of the graph", "passive"),
        Left("decode/split", "StringSplit", "no converter for StringSplit", "unsupported_op"),
        Left("decode/number", "StringToNumber", "segment of 1 is below the minimum of 3", "too_small"),
        Left("label", "LookupTableFindV2", "no converter for LookupTableFindV2", "unsupported_op"),
    )
    definition = GraphDef()
    for name in ("text", "decode/split", "decode/number"):
        definition.node.add().CopyFrom(graph[name].definition)
    engine = definition.node.add(name="TRTEngineOp_000", op="PartitionedCall", input=["decode/number"])
    engine.attr["_icebreaker_engine"].s = b"openvino"
    definition.node.add(name="logits", op="Identity", input=["TRTEngineOp_000"])
    definition.node.add(name="label", op="LookupTableFindV2", input=["logits"])
    return Conversion("out.pb", 1.0, 0.77, (segment,), left), Graph(definition)


def measured() -> Benchmark:
    """Four of five milliseconds are in the segment, one of two afterwards."""
    before, after = (Latency(p50, p50, p50, p50, p50, 1000 / p50, 9) for p50 in (5.0, 2.0))
    original = {
        "decode/split": NodeTime(0.9), "label": NodeTime(0.05), "net/one/conv1/Relu": NodeTime(2.5, 1, "_FusedConv2D"),
        "net/two/conv1/Conv2D": NodeTime(1.5, 3),
    }  # fmt: skip
    optimized = {"decode/split": NodeTime(0.9), "label": NodeTime(0.1), "TRTEngineOp_000": NodeTime(1.0, 1, "openvino")}
    layers = (
        LayerTime("conv1+relu", "Convolution", "f32", 0.7, ("net/one/conv1/Conv2D", "net/one/conv1/Relu")),
        LayerTime("add", "Eltwise", "f32", 0.1, ("net/one/add",)),
    )
    profiles = {
        "original": Profile(original, 0.05, 6.0, 5.0, 9),
        "optimized": Profile(optimized, 0.0, 3.0, 2.0, 9, {"TRTEngineOp_000": layers}),
    }
    return Benchmark(before, after, Speedup(2.5, (2.4, 2.6)), profiles=profiles)


def chain(count: int) -> Graph:
    definition = GraphDef()
    definition.node.add(name="x", op="Placeholder")
    before = "x"
    for i in range(count):
        before_, before = before, f"s{i // 50}/n{i}"
        definition.node.add(name=before, op="Relu", input=[before_])
    return Graph(definition)


def where(pane, key: str) -> QPoint:
    """The middle of an item's box on the screen, of its upper part where it is open."""
    scene = pane.picture.scene
    row = scene.row(pane_item(pane, key))
    x, y, w, h = scene.boxes[row]
    scale, ox, oy = pane.camera.to_view(pane.width(), pane.height())
    cy = y + 8 if scene.is_open[row] and pane.morph < 1 else y + h / 2
    return QPointF((x + w / 2) * scale + ox, cy * scale + oy).toPoint()


def pane_item(pane, key: str) -> int:
    outline = pane.picture.scene.outline
    found = outline.item(key)
    return outline.leaf[key] if found is None else found


def shown(pane) -> set[str]:
    outline = pane.picture.scene.outline
    return {outline.keys[item] for item in pane.picture.scene.items}


def pixels(image: QImage) -> np.ndarray:
    image = image.convertToFormat(QImage.Format.Format_RGBA8888)
    data = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    return data[:, : image.width()].copy()


def coarse(picture: np.ndarray, step: int = 8) -> np.ndarray:
    """Means of squares, in which fonts that differ by a hair do not show."""
    high, wide = (size // step * step for size in picture.shape[:2])
    cut = picture[:high, :wide, :3].astype(float)
    return cut.reshape(high // step, step, wide // step, step, 3).mean(axis=(1, 3))


def save_picture(panel: Any, qtbot, whole: bool, path: Path) -> None:
    panel.save_picture(whole, str(path))
    qtbot.waitUntil(lambda: not panel.toolbar.busy.text(), timeout=10_000)
