"""Clicking through the graph view: open, find, select across panes, slide, overlay, export; pixels."""

from __future__ import annotations

import dataclasses
import gc
import re
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, QRect, Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QApplication, QStyle, QStyleOptionViewItem

from helpers.paths import ROOT
from icebreaker.formats import graph_files
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.reports.reports import (
    Benchmark,
    Conversion,
    Latency,
    LayerTime,
    Left,
    NodeTime,
    Profile,
    SegmentReport,
    Speedup,
)
from icebreaker.tensors import Tensor
from icebreaker_gui.graph_view import GraphPanel, overlays
from icebreaker_gui.graph_view.constant_preview import preview
from icebreaker_gui.graph_view.painting.picture import Camera, Picture
from icebreaker_gui.graph_view.panel import AFTER, BEFORE, BOTH, SLIDER, neighbours
from icebreaker_gui.graph_view.search import search
from icebreaker_gui.graph_view.state import GraphState
from icebreaker_gui.style import theme

SNAPSHOTS = ROOT / "tests" / "gui" / "snapshots"


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
        layers=({"name": "conv1+relu", "type": "Convolution", "precision": "f32"},
                {"name": "add", "type": "Eltwise", "precision": "f32"}),
        candidates=({"engine": "openvino", "precision": "fp32", "ms": 1.0, "note": ""},),
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


@pytest.fixture
def panel(qtbot) -> Any:
    made = GraphPanel()
    qtbot.addWidget(made)
    made.resize(1200, 760)
    made.show()
    qtbot.waitExposed(made)
    made.show_graph(network(), ["label"])
    return made


@pytest.fixture
def both(panel: Any) -> Any:
    graph = panel.state.graph
    assert graph is not None
    panel.show_conversion(*converted(graph))
    QApplication.processEvents()
    return panel


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


# ---- opening --------------------------------------------------------------------------------------------------------


def test_a_double_click_opens_and_closes_a_group_in_place(panel: Any, qtbot) -> None:
    pane = panel.before_pane
    panel.state.close_all()
    if "net/" in panel.state.opened:
        panel.state.toggle("net/")
    assert "net/one/" not in shown(pane)
    qtbot.mouseDClick(pane, Qt.MouseButton.LeftButton, pos=where(pane, "net/"))
    assert {"net/one/", "net/two/"} <= shown(pane)
    qtbot.wait(350)
    top = where(pane, "net/").y()
    qtbot.mouseDClick(pane, Qt.MouseButton.LeftButton, pos=where(pane, "net/"))
    assert "net/one/" not in shown(pane)
    qtbot.wait(350)
    assert abs(where(pane, "net/").y() - top) < 80  # it did not jump away


def test_constants_are_folded_and_can_be_shown(panel: Any) -> None:
    panel.state.open_all()
    assert "net/one/conv1/weights" not in shown(panel.before_pane)
    panel.state.set_show_folded(True)
    panel.state.open_all()
    assert "net/one/conv1/weights" in shown(panel.before_pane)


def test_the_empty_state_invites(qtbot) -> None:
    made = GraphPanel()
    qtbot.addWidget(made)
    made.show_graph(None)
    assert made.before_pane.picture is None
    assert "Open" in made.before_pane.empty_text
    made.grab()


# ---- choosing -------------------------------------------------------------------------------------------------------


def test_a_click_tells_all_about_a_node(both: Any, qtbot) -> None:
    pane = both.before_pane
    both.go_to("decode/split")
    qtbot.wait(400)
    both.state.select("")
    with qtbot.waitSignal(both.nodeActivated) as signal:
        qtbot.mouseClick(pane, Qt.MouseButton.LeftButton, pos=where(pane, "decode/split"))
    assert signal.args == ["decode/split"]
    assert both.details._title.text() == "StringSplit"
    assert "no converter for StringSplit" in both.details._card_text.text()
    assert both.details._card.isVisible()


def test_an_engine_lights_up_what_went_in_and_the_other_way_round(both: Any, qtbot) -> None:
    assert both.mode == BOTH
    outline = both.state.shared.outline
    segment = outline.segments["TRTEngineOp_000"]
    qtbot.mouseClick(both.after_pane, Qt.MouseButton.LeftButton, pos=where(both.after_pane, outline.keys[segment]))
    assert both.state.selected == outline.keys[segment]
    assert set(outline.members[segment]) <= both.before_pane.marks.lit
    assert "4 ms in TensorFlow" in both.details._card_text.text()
    both.go_to("net/one/conv1/Relu")
    qtbot.wait(400)
    assert both.before_pane.marks.selected == outline.leaf["net/one/conv1/Relu"]
    assert segment in both.after_pane.marks.lit


def test_panes_move_together(both: Any, qtbot) -> None:
    both.before_pane.zoom(1.7, QPointF(40, 50))
    assert both.after_pane.camera == both.before_pane.camera
    both.after_pane.zoom(0.7)
    assert both.before_pane.camera == both.after_pane.camera
    both.state.open_all()
    assert both.before_pane.picture.scene is both.after_pane.picture.scene


def test_leaving_a_node_in_tensorflow_is_asked_for(both: Any, qtbot) -> None:
    both.state.select("net/one/conv1/Relu")
    assert both.details._exclude.isVisible()
    with qtbot.waitSignal(both.excludeRequested) as signal:
        both.details._exclude.click()
    assert signal.args == ["net/one/conv1/Relu"]


# ---- before and after -----------------------------------------------------------------------------------------------


def test_the_slider_flows_from_before_to_after(both: Any, qtbot) -> None:
    both.set_mode(SLIDER)
    pane = both.before_pane
    QApplication.processEvents()
    pictures = []
    for value in (0, 500, 1000):
        both.slider.setValue(value)
        assert pane.morph == value / 1000
        pictures.append(pixels(pane.grab().toImage()))
    inside, outside = where(pane, "TRTEngineOp_000/net/one/"), where(pane, "text")

    def patch(picture: np.ndarray, at: QPoint) -> np.ndarray:
        return picture[at.y() - 8 : at.y() + 8, at.x() - 8 : at.x() + 8].astype(int)

    # Everything else stays where it is; what is inside changes at every step.
    assert np.abs(patch(pictures[0], outside) - patch(pictures[2], outside)).max() == 0
    assert np.abs(patch(pictures[0], inside) - patch(pictures[1], inside)).mean() > 2
    assert np.abs(patch(pictures[1], inside) - patch(pictures[2], inside)).mean() > 1
    # Clicking there now means the engine.
    qtbot.mouseClick(pane, Qt.MouseButton.LeftButton, pos=inside)
    assert both.state.selected == "TRTEngineOp_000/"


def test_after_alone_opens_an_engine_with_its_ops_and_layers(both: Any, qtbot) -> None:
    both.set_mode(AFTER)
    qtbot.wait(30)
    pane = both.after_pane
    assert "TRTEngineOp_000/" in shown(pane)
    assert not any(key.startswith("net/") for key in shown(pane))
    qtbot.mouseDClick(pane, Qt.MouseButton.LeftButton, pos=where(pane, "TRTEngineOp_000/"))
    keys = shown(pane)
    assert any("net/" in key for key in keys)
    qtbot.wait(350)
    inner = next(key for key in keys if key.endswith("net/"))
    assert pane.item_at(QPointF(where(pane, inner))) == pane_item(pane, inner)  # it can be seen and pressed
    layers = next(key for key in keys if "engine layers" in key)
    both.state.toggle(layers)
    outline = pane.picture.scene.outline
    labels = {outline.labels[item] for item in pane.picture.scene.items}
    assert "conv1+relu · f32" in labels
    # Before knows nothing of layers or of nodes that only the result has.
    both.set_mode(BEFORE)
    assert not any("layer" in key for key in shown(both.before_pane))


def test_a_kept_output_is_mapped_by_what_it_is_not_by_its_name(both: Any) -> None:
    outline = both.state.shared.outline
    # The result's `logits` is an Identity after the engine; the original's is a Softmax inside.
    assert outline.ops[outline.leaf["logits"]] == "Softmax"
    assert outline.segment_of[outline.leaf["logits"]] >= 0
    new = outline.leaf["logits (after)"]
    assert outline.ops[new] == "Identity"
    assert new in outline.extra
    pane = both.before_pane
    box = pane.picture.scene.box(new)
    assert box is not None
    assert pane.picture.at(box[0] + 5, box[1] + 5, 0.0) != new  # before does not have it
    assert pane.picture.at(box[0] + 5, box[1] + 5, 1.0) == new


def test_no_conversion_goes_back_to_before(both: Any) -> None:
    both.show_conversion(None, None)
    assert both.mode == BEFORE
    assert not both.after_pane.isVisible()
    assert both.state.overlay_name == "kind"


# ---- why not --------------------------------------------------------------------------------------------------------


def test_the_why_not_list_counts_explains_and_jumps(both: Any, qtbot) -> None:
    tree = both.why_not._tree
    rows = [tree.topLevelItem(i).text(0) for i in range(tree.topLevelItemCount())]
    assert rows[0] == "2 ops: no converter for LookupTableFindV2, StringSplit"
    assert "1 op: segment of 1 is below the minimum of 3" in rows
    assert "77 %" in both.why_not._figure.text()
    first = tree.topLevelItem(0)
    tree.setCurrentItem(first)
    assert set(both.state.found) == {"decode/split", "label"}
    first.setExpanded(True)
    tree.setCurrentItem(first.child(0))
    assert both.state.selected == first.child(0).text(0)
    assert "decode/split" in shown(both.before_pane)
    small = next(i for i in range(tree.topLevelItemCount()) if "minimum" in rows[i])
    tree.setCurrentItem(tree.topLevelItem(small))
    assert "minimum segment size" in both.why_not._advice.text()


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


def test_coverage_of_time_once_it_is_measured(both: Any) -> None:
    assert both.why_not._bars[0].isVisibleTo(both) and not both.why_not._bars[1].isVisibleTo(both)
    both.show_benchmark(measured())
    assert [bar.accessibleName() for bar in both.why_not._bars] == [
        "77 % of ops in engines", "80 % of time before in engines", "50 % of time now in engines",
    ]  # fmt: skip
    tree = both.why_not._tree
    words = [tree.topLevelItem(row).text(0).replace("\u00a0", " ") for row in range(tree.topLevelItemCount())]
    assert any("no converter" in text and "50 % of the time now" in text for text in words)
    assert not any("minimum" in text and "time" in text for text in words)  # it took no time
    both.show_benchmark(None)
    assert not both.why_not._bars[1].isVisibleTo(both)


def test_every_reason_has_a_look_of_its_own() -> None:
    from icebreaker.reports.reports import REASONS

    assert set(overlays.REASON_STYLES) == set(REASONS)
    looks = [(hue, pattern) for hue, pattern in overlays.REASON_STYLES.values()]
    assert len(set(looks)) == len(looks)


# ---- types and shapes -----------------------------------------------------------------------------------------------


def test_shapes_are_known_before_anything_ran(qtbot, panel: Any) -> None:
    """Of a large graph, too, where they are found out beside."""
    for count in (3, 200):
        definition = GraphDef()
        node = definition.node.add
        image = node(name="image", op="Placeholder")
        image.attr["dtype"].type = 1
        for size in (-1, 32, 32, 4):
            image.attr["shape"].shape.dim.add(size=size)
        before = "image"
        for number in range(count):
            weights = definition.node.add(name=f"weights{number}", op="Const").attr["value"].tensor
            weights.dtype = 1
            for size in (3, 3, 4, 4):
                weights.tensor_shape.dim.add(size=size)
            conv = node(name=f"conv{number}", op="Conv2D", input=[before, f"weights{number}"])
            conv.attr["padding"].s = b"VALID" if number == 1 else b"SAME"
            conv.attr["strides"].list.i.extend([1, 1, 1, 1])
            before = conv.name
        node(name="out", op="Relu", input=[before])
        panel.show_graph(Graph(definition), ["out"])
        qtbot.waitUntil(lambda: bool(panel.state.tensors), timeout=10_000)
        assert panel.state.tensor_words(Tensor("conv0")) == "float32[?,32,32,4]"
        assert panel.state.tensor_words(Tensor(before)) == "float32[?,30,30,4]"
        assert panel.state.tensor_words(Tensor("weights0")) == "float32[3,3,4,4]"
        outline = panel.state.shared.outline
        look, _ = panel.state.look(outline)
        assert look.flows(outline.leaf["conv0"]) == "?×32×32×4"
        panel.go_to("conv1")
        assert any("float32[?,32,32,4]\tconv0" in line for line in panel.details._lines)
        assert panel._overlay.findData("outputs") >= 0


def test_what_the_conversion_says_of_a_tensor_counts(both: Any) -> None:
    state, name = both.state, "net/one/conv1/Conv2D"
    assert state.tensor_words(Tensor(name)) == ""
    told = dataclasses.replace(state.conversion, tensors={name: "float32[1,7,7,4]", "decode/number": "float32[…]"})
    both.show_conversion(told, state.after)
    assert state.tensor_words(Tensor(name)) == "float32[1,7,7,4]"


# ---- overlays -------------------------------------------------------------------------------------------------------


def test_overlays_change_colours_and_add_up_over_groups(both: Any) -> None:
    names = overlays.available(both.state)
    assert names == ["kind", "conversion", "engine", "precision", "constants", "outputs"]
    row = both._overlay.findData("time")
    assert "Measure" in both._overlay.itemText(row) and not both._overlay.model().item(row).isEnabled()
    seen = set()
    for name in names:
        both.state.set_overlay(name)
        picture = pixels(both.before_pane.grab().toImage())
        seen.add(picture.tobytes())
        assert both.before_pane.legend
    assert len(seen) >= 4
    both.state.set_overlay("constants")
    outline = both.state.shared.outline
    look, _ = both.state.look(outline)
    conv, net = outline.leaf["net/one/conv1/Conv2D"], outline.segments["TRTEngineOp_000"]
    assert look.notes[conv] == "288 B"
    assert look.notes[net] == "1.2 KB"


def test_measured_times_become_heat(both: Any) -> None:
    both.show_benchmark(measured())
    assert both._overlay.model().item(both._overlay.findData("time")).isEnabled()
    both.state.set_overlay("time")
    state, outline = both.state, both.state.shared.outline
    look, legend = state.look(outline)
    hot, cool = look.of[outline.leaf["decode/split"]], look.of[outline.leaf["label"]]
    assert hot > cool > 0
    assert look.notes[outline.leaf["decode/split"]] == "900 µs · 18 %"
    assert look.notes[outline.item("TRTEngineOp_000/net/two/")] == "1.5 ms · 30 %"  # groups add up
    assert look.notes[outline.segments["TRTEngineOp_000"]] == "4 ms · 80 %"
    assert outline.leaf["net/one/conv1/Conv2D"] not in look.notes  # what was not measured is not made up
    assert legend[-1].words == "watched: 6 ms a run, otherwise 5 ms"
    after, _ = state.look(outline, after=True)
    assert after.notes[outline.segments["TRTEngineOp_000"]] == "1 ms · 50 %"
    assert after.of[outline.leaf["decode/split"]] == hot  # the same scale on both sides
    assert after.capsules[outline.segments["TRTEngineOp_000"]].lines == ("OpenVINO · FP32", "1 ms · 50 %")
    assert not any(outline.segment_of[item] >= 0 for item in after.notes if item not in outline.segments.values())
    assert both.before_pane.legend != both.after_pane.legend


def test_the_slider_changes_over_to_the_times_of_after(both: Any) -> None:
    both.show_benchmark(measured())
    both.state.set_overlay("time")
    both.set_mode(SLIDER)
    both.slider.setValue(0)
    before = both.before_pane.legend
    both.slider.setValue(1000)
    assert both.before_pane.legend[-1].words == "watched: 3 ms a run, otherwise 2 ms" != before[-1].words
    both.slider.setValue(0)
    assert both.before_pane.legend == before


def test_an_engines_layers_have_their_own_times(both: Any) -> None:
    both.show_benchmark(measured())
    both.set_mode(AFTER)
    both.state.set_overlay("time")
    outline = both.state.alone.outline
    look, _ = both.state.look(outline, after=True)
    assert look.notes[outline.leaf["TRTEngineOp_000 layer 0"]] == "700 µs · 35 %"
    assert look.notes[outline.segments["TRTEngineOp_000"]] == "1 ms · 50 %"  # as measured, hand-over included


def test_details_tell_measured_times(both: Any) -> None:
    both.show_benchmark(measured())

    def told(key: str) -> str:
        both.go_to(key)
        return "\n".join(both.details._lines)

    both.set_mode(BOTH)
    assert "before\t2.5 ms · 50 % · as _FusedConv2D, the ops fused into it included" in told("net/one/conv1/Relu")
    assert "in a layer\t700 µs · Convolution · together with 1 other ops" in told("net/one/conv1/Conv2D")
    assert "none of its own" in told("net/one/conv1/Conv2D")
    assert "3 times a run" in told("net/two/conv1/Conv2D")
    assert "before\t1.5 ms · 30 %" in told("TRTEngineOp_000/net/two/")
    assert "after\t1 ms · 50 %" in told(
        both.state.shared.outline.keys[both.state.shared.outline.segments["TRTEngineOp_000"]]
    )
    both.set_mode(AFTER)
    assert "in the engine\t700 µs" in told("TRTEngineOp_000 layer 0")


# ---- finding --------------------------------------------------------------------------------------------------------


def test_search_by_name_op_and_attribute(panel: Any, qtbot) -> None:
    graph = panel.state.graph
    assert graph is not None
    assert search(graph, "conv1/relu$") == ["net/one/conv1/Relu", "net/two/conv1/Relu"]
    assert len(search(graph, "Conv2D")) == 4
    assert len(search(graph, "padding=same")) == 4
    with pytest.raises(re.error):
        search(graph, "(")
    qtbot.keyClick(panel, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    panel.search_field.setFocus()
    qtbot.keyClicks(panel.search_field, "two/.*Relu")
    assert panel.search_panel.names == ["net/two/conv1/Relu", "net/two/conv2/Relu"]
    qtbot.keyClick(panel.search_field, Qt.Key.Key_Return)
    assert panel.state.selected == "net/two/conv1/Relu"
    assert "net/two/conv1/Relu" in shown(panel.before_pane)
    qtbot.keyClick(panel.search_field, Qt.Key.Key_Return)
    assert panel.state.selected == "net/two/conv2/Relu"
    qtbot.keyClick(panel.search_field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert panel.state.selected == "net/two/conv1/Relu"
    panel.search_field.setText("(")
    assert "Not a regular expression" in panel.search_panel._count.text()


def test_a_folded_node_is_found_at_its_reader(panel: Any) -> None:
    panel.go_to("net/one/conv1/weights")
    outline = panel.state.shared.outline
    assert panel.before_pane.marks.selected == outline.leaf["net/one/conv1/Conv2D"]
    assert panel.details._title.text() == "Const"
    assert panel.details._image.isVisible()


def test_back_forward_and_breadcrumbs(panel: Any) -> None:
    panel.go_to("decode/split")
    panel.go_to("net/two/add")
    assert "two" in panel._path.text()
    panel.back_action.trigger()
    assert panel.state.selected == "decode/split"
    assert not panel.back_action.isEnabled()
    panel.forward_action.trigger()
    assert panel.state.selected == "net/two/add"
    panel._crumb("net/two/")
    assert panel.state.selected == "net/two/"


def test_arrow_keys_walk_along_edges(panel: Any, qtbot) -> None:
    panel.state.open_all()
    qtbot.wait(350)
    pane = panel.before_pane
    panel.state.select("text")
    walked = []
    for _ in range(4):
        qtbot.keyClick(pane, Qt.Key.Key_Down)
        walked.append(panel.state.selected)
    assert walked[:3] == ["decode/split", "decode/number", "net/one/conv1/Conv2D"]
    qtbot.keyClick(pane, Qt.Key.Key_Up)
    assert panel.state.selected == "net/one/conv1/Conv2D"
    assert "Conv2D net/one/conv1/Conv2D" in pane.accessibleDescription()
    qtbot.keyClick(pane, Qt.Key.Key_Escape)
    assert panel.state.selected == ""


def test_from_left_to_right_in_every_mode(both: Any, qtbot, tmp_path: Path) -> None:
    both.sideways_action.setChecked(True)
    qtbot.wait(50)
    for mode in (BEFORE, BOTH, SLIDER, AFTER):
        both.set_mode(mode)
        qtbot.wait(50)
        scenes = [pane.picture.scene for pane in both._shown()]
        assert all(scene.sideways and scene.size[0] > scene.size[1] for scene in scenes), mode
    assert both._split.orientation() == Qt.Orientation.Vertical
    both.set_mode(BEFORE)
    both.state.open_all()
    qtbot.wait(350)
    pane = both.before_pane
    both.state.select("text")
    qtbot.keyClick(pane, Qt.Key.Key_Right)
    assert both.state.selected == "decode/split"
    qtbot.keyClick(pane, Qt.Key.Key_Left)
    assert both.state.selected == "text"
    save_picture(both, qtbot, True, tmp_path / "wide.png")
    image = QImage(str(tmp_path / "wide.png"))
    assert image.width() > image.height()
    pane.zoom(6)
    assert pane.minimap.isVisible() and pane.minimap.width() > pane.minimap.height()
    made = GraphPanel()  # it is remembered
    qtbot.addWidget(made)
    assert made.sideways_action.isChecked() and made.state.sideways
    both.sideways_action.setChecked(False)
    assert not both.before_pane.picture.scene.sideways


def test_what_is_opened_after_is_open_before(both: Any, qtbot) -> None:
    both.set_mode(AFTER)
    both.state.toggle("decode/")
    both.set_mode(BOTH)
    assert "decode/split" in shown(both.before_pane) and "decode/split" in shown(both.after_pane)


def test_neighbours_within_hops(panel: Any) -> None:
    outline = panel.state.shared.outline
    near = neighbours(outline, outline.leaf["decode/split"], 1)
    assert set(near) == {"decode/split", "text", "decode/number"}
    assert len(neighbours(outline, outline.leaf["decode/split"], 2)) == 5


def test_the_minimap_moves_the_view(panel: Any, qtbot) -> None:
    panel.state.open_all()
    qtbot.wait(350)
    pane = panel.before_pane
    pane.set_camera(Camera(100, 100, 1.5))
    assert pane.minimap.isVisible()
    qtbot.mouseClick(
        pane.minimap,
        Qt.MouseButton.LeftButton,
        pos=QPoint(pane.minimap.width() // 2, pane.minimap.height() - 12),
    )
    assert pane.camera.y > pane.picture.scene.size[1] * 0.7
    pane.fit(animated=False)
    assert not pane.minimap.useful()


# ---- constants ------------------------------------------------------------------------------------------------------


def test_constants_as_pictures_and_numbers() -> None:
    graph = network()
    shown_ = preview(graph["net/one/conv1/weights"], 200)
    assert shown_ is not None
    image, figures = shown_
    assert image is not None
    assert image.width() <= 200
    assert ("values", "72") in figures
    assert ("most", "71") in figures
    definition = GraphDef()
    tensor = definition.node.add(name="c", op="Const").attr["value"].tensor
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=2)
    tensor.string_val.extend([b"cat", b"dog"])
    assert preview(Graph(definition)["c"], 200) == (None, [("", "'cat', 'dog'")])


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_weights_that_were_left_in_the_file_are_shown(panel: Any, digits: Path, qtbot, tmp_path: Path) -> None:
    file = tmp_path / "digits.pb"
    file.write_bytes(digits.read_bytes())
    graph = graph_files.read_structure(file)
    panel.show_graph(graph, graph.candidate_outputs, file)
    qtbot.waitUntil(lambda: panel.state.scene is not None, timeout=10_000)
    panel.go_to("block1/conv1/weights")
    qtbot.waitUntil(lambda: panel.details._image.isVisibleTo(panel.details), timeout=10_000)
    assert any("values\t5,184" in line for line in panel.details._lines)
    panel.save_files(str(tmp_path / "out"))
    qtbot.waitUntil(lambda: not panel._busy.text(), timeout=10_000)
    assert (tmp_path / "out" / "before" / "before.pb").read_bytes() == file.read_bytes()  # with its weights
    file.unlink()
    panel.go_to("block1/conv2/weights")  # no harm
    assert "block1/conv2/weights" in panel.details._name.text().replace("\u200b", "")


def save_picture(panel: Any, qtbot, whole: bool, path: Path) -> None:
    panel.save_picture(whole, str(path))
    qtbot.waitUntil(lambda: not panel._busy.text(), timeout=10_000)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_pictures_out(both: Any, qtbot, tmp_path: Path, kind: str, whole: bool) -> None:
    path = tmp_path / f"graph.{kind}"
    save_picture(both, qtbot, whole, path)
    data = path.read_bytes()
    assert data.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind])
    if kind == "svg":
        assert b"StringSplit" in data or whole is False
        assert b"no converter" in data  # the legend
    if kind == "png":
        image = QImage(str(path))
        assert image.width() > 300
        assert len(np.unique(pixels(image).reshape(-1, 4), axis=0)) > 20
    assert not list(tmp_path.glob("*.tmp"))


def test_reasons_are_shown_to_their_ends(both: Any) -> None:
    tree = both.why_not._tree
    both._tabs.setCurrentWidget(both.why_not)
    for width in range(200, 320, 7):
        both._outer.setSizes([both.width() - width, width])
        tree.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        QApplication.processEvents()
        tree.doItemsLayout()
        tree.visualItemRect(tree.topLevelItem(0))
        tree.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)  # as when there are too many rows
        for row in range(tree.topLevelItemCount()):
            item, option = tree.topLevelItem(row), QStyleOptionViewItem()
            tree.initViewItemOption(option)
            tree.itemDelegate().initStyleOption(option, tree.indexFromItem(item))
            option.rect = tree.visualItemRect(item)
            room = tree.style().subElementRect(QStyle.SubElement.SE_ItemViewItemText, option, tree)
            room.adjust(3, 0, -3, 0)  # what the style leaves free beside words
            flags = int(Qt.TextFlag.TextWordWrap)
            needed = tree.fontMetrics().boundingRect(QRect(0, 0, room.width(), 10_000), flags, item.text(0))
            assert needed.height() <= room.height(), f"{item.text(0)!r} at {width}"


def test_one_result_is_told_as_one(both: Any) -> None:
    both.search_field.setText("^net/one/conv1/Relu$")
    assert both.search_panel._count.text() == "1 node matches"


def test_a_picture_of_another_kind_is_refused(both: Any, qtbot, tmp_path: Path) -> None:
    with qtbot.waitSignal(both.failed) as told:
        both.save_picture(False, str(tmp_path / "graph.bmp"))
    assert "end it in .png, .svg or .pdf" in told.args[1]


def test_a_failed_save_is_told(both: Any, qtbot, monkeypatch, tmp_path: Path) -> None:
    from PySide6.QtWidgets import QFileDialog

    wrong = tmp_path / "nowhere" / "graph.png"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(wrong), ""))
    with qtbot.waitSignal(both.failed) as told:
        both.save_picture(whole=False)
    assert told.args[0] == "The picture could not be saved" and "graph.png" in told.args[1]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "picture"), ""))
    both.save_picture(whole=False)
    assert both._busy.text() == "Saving"
    qtbot.waitUntil(lambda: not both._busy.text())
    assert (tmp_path / "picture.png").exists()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "file"))
    with qtbot.waitSignal(both.failed) as told:
        both.save_files()
    assert "choose another folder" in told.args[1] and not both._busy.text()


def test_files_for_tensorboard_and_netron(both: Any, qtbot, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from icebreaker.formats import graph_files

    both.save_files(str(tmp_path))
    assert both._busy.text() == "Saving"
    qtbot.waitUntil(lambda: not both._busy.text(), timeout=10_000)
    files = sorted(item.name.split(".")[0] for item in tmp_path.rglob("*") if item.is_file())
    assert files == ["after", "before", "events", "events"]
    assert len(graph_files.read_graph(tmp_path / "before" / "before.pb")) == len(network())
    for run, count in (("before", len(network())), ("after", 6)):
        events = EventAccumulator(str(tmp_path / run)).Reload()
        assert len(events.Graph().node) == count


# ---- large graphs and late results ----------------------------------------------------------------------------------


def chain(count: int) -> Graph:
    definition = GraphDef()
    definition.node.add(name="x", op="Placeholder")
    before = "x"
    for i in range(count):
        before_, before = before, f"s{i // 50}/n{i}"
        definition.node.add(name=before, op="Relu", input=[before_])
    return Graph(definition)


def test_a_large_graph_is_laid_out_beside_and_a_late_result_is_dropped(panel: Any, qtbot) -> None:
    large, small = chain(6000), network()
    busy = []
    panel.state.busyChanged.connect(busy.append)
    began = time.thread_time()  # not by the clock: the machine has others to serve
    panel.show_graph(large)
    assert time.thread_time() - began < 0.2  # the window went on
    assert busy and busy[-1]
    panel.show_graph(small)  # the user chose another one meanwhile
    assert panel.before_pane.picture.scene.outline.leaf.keys() >= {"label"}
    qtbot.wait(600)
    assert "label" in panel.before_pane.picture.scene.outline.leaf
    assert busy[-1] == ""
    panel.show_graph(large)
    qtbot.waitUntil(lambda: panel.before_pane.picture is not None, timeout=20_000)
    assert "x" in shown(panel.before_pane)
    panel.state.open_all()
    qtbot.waitUntil(lambda: len(panel.before_pane.picture.scene.items) > 6000, timeout=20_000)
    panel.before_pane.fit(animated=False)
    panel.grab()


def test_what_was_computed_in_the_background_is_let_go(qtbot) -> None:
    """An old layout holds its graph, and with it hundreds of megabytes."""
    state, made, got = GraphState(), [], []
    for _ in range(20):
        result = chain(3)
        made.append(weakref.ref(result))
        state._run(lambda cancelled, result=result: result, got.append, True)
        qtbot.waitUntil(lambda: bool(got))
        got.clear()
    result = None
    state._run(lambda cancelled: None, got.append, True)
    qtbot.waitUntil(lambda: bool(got))
    gc.collect()
    assert [item() for item in made] == [None] * 20


# ---- pixels ---------------------------------------------------------------------------------------------------------


def pixels(image: QImage) -> np.ndarray:
    image = image.convertToFormat(QImage.Format.Format_RGBA8888)
    data = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)
    return data[:, : image.width()].copy()


def coarse(picture: np.ndarray, step: int = 8) -> np.ndarray:
    """Means of squares, in which fonts that differ by a hair do not show."""
    high, wide = (size // step * step for size in picture.shape[:2])
    cut = picture[:high, :wide, :3].astype(float)
    return cut.reshape(high // step, step, wide // step, step, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_it_looks_as_it_did(panel: Any, qapp, mode: str, side: str) -> None:
    theme.show(qapp, theme.THEMES[mode])
    state = panel.state
    state.set_conversion(*converted(network()))
    state.open_to("net/one/conv1/Relu")
    scene = state.scene
    assert scene is not None
    state.restyle()
    image = QImage(480, 720, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    painter.fillRect(image.rect(), theme.current().color("panel"))
    scale = min(460 / scene.size[0], 700 / scene.size[1])
    picture = Picture(scene, state.look(scene.outline)[0])
    picture.paint(painter, Camera(scene.size[0] / 2, scene.size[1] / 2, scale), 480, 720, float(side == "after"))
    painter.end()
    path = SNAPSHOTS / f"{side}-{mode}.png"
    if not path.exists():  # a new look: judge the picture, then commit it
        path.parent.mkdir(exist_ok=True)
        image.save(str(path))
        pytest.fail(f"{path} was made: look at it, and run again")
    difference = np.abs(coarse(pixels(image)) - coarse(pixels(QImage(str(path)))))
    assert difference.mean() < 1.5, f"the view differs from {path}: delete the file if it should"
    assert difference.max() < 60


def test_buttons_follow_their_actions_and_do_not_gather_connections(both: Any) -> None:
    from PySide6.QtCore import SIGNAL
    from PySide6.QtWidgets import QToolButton

    buttons = {item.text(): item for item in both.findChildren(QToolButton)}
    actions = both._mode_actions.values()
    listening = [action.receivers(SIGNAL("changed()")) for action in actions]
    for _ in range(10):
        both._set_mode("both")
        both._set_mode("before")
    assert [action.receivers(SIGNAL("changed()")) for action in actions] == listening
    assert buttons["After"].isEnabled() and buttons["Before"].isChecked() and not buttons["Side by side"].isChecked()
    buttons["Before"].click()  # chosen already: it stays so
    assert buttons["Before"].isChecked()
    buttons["After"].click()
    assert both.mode == "after" and buttons["After"].isChecked() and not buttons["Before"].isChecked()
    both.show_graph(both.state.graph, (), None)
    assert not buttons["After"].isEnabled() and buttons["Before"].isChecked()


def test_saving_files_loads_no_tensorflow(digits: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from icebreaker.formats import graph_files\n"
        "from icebreaker_gui.graph_view import export\n"
        "file = Path(sys.argv[1]); export.save_files(Path(sys.argv[2]), graph_files.read_structure(file), None, file)\n"
        "assert not {'tensorflow', 'onnx', 'openvino', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(digits), str(tmp_path)], check=True)
    assert (tmp_path / "before" / "before.pb").read_bytes() == digits.read_bytes()
