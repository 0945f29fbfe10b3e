"""The Graph dock: opening, choosing, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication

from helpers.graph_view import pane_item, pixels, save_picture, shown, where
from icebreaker_gui.graph_view import GraphPanel
from icebreaker_gui.graph_view.panel import AFTER, BEFORE, BOTH, SLIDER


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
    assert "11 ops became one" in both.details._card_text.text()
    assert "TRTEngineOp_000" in both.details._name.text()
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
    assert signal.args == [["net/one/conv1/Relu"]]


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


def test_what_is_opened_after_is_open_before(both: Any, qtbot) -> None:
    both.set_mode(AFTER)
    both.state.toggle("decode/")
    both.set_mode(BOTH)
    assert "decode/split" in shown(both.before_pane) and "decode/split" in shown(both.after_pane)


def test_from_left_to_right_in_every_mode(both: Any, qtbot, tmp_path: Path) -> None:
    both.view_menu.sideways.setChecked(True)
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
    assert made.view_menu.sideways.isChecked() and made.state.sideways
    both.view_menu.sideways.setChecked(False)
    assert not both.before_pane.picture.scene.sideways


def test_a_folded_node_is_found_at_its_reader(panel: Any) -> None:
    panel.go_to("net/one/conv1/weights")
    outline = panel.state.shared.outline
    assert panel.before_pane.marks.selected == outline.leaf["net/one/conv1/Conv2D"]
    assert panel.details._title.text() == "Const"
    assert panel.details._image.isVisible()
