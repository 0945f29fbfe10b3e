"""What colours mean."""

from __future__ import annotations

from typing import Any

from helpers.graph_view import measured, pixels
from icebreaker_gui.graph_view import overlays
from icebreaker_gui.graph_view.panel import AFTER, SLIDER


def test_every_reason_has_a_look_of_its_own() -> None:
    from icebreaker.reports import REASONS

    assert set(overlays.REASON_STYLES) == set(REASONS)
    looks = [(hue, pattern) for hue, pattern in overlays.REASON_STYLES.values()]
    assert len(set(looks)) == len(looks)


def test_overlays_change_colours_and_add_up_over_groups(both: Any) -> None:
    names = overlays.available(both.state.data)
    assert names == ["kind", "conversion", "engine", "precision", "flops", "parameters", "constants", "outputs"]
    row = both.toolbar.overlay.findData("time")
    assert "Measure" in both.toolbar.overlay.itemText(row) and not both.toolbar.overlay.model().item(row).isEnabled()
    seen = set()
    for name in names:
        both.state.set_overlay(name)
        picture = pixels(both.before_pane.grab().toImage())
        seen.add(picture.tobytes())
        assert both.legend_row.legend and both.legend_row.title
    assert len(seen) >= 4
    both.state.set_overlay("constants")
    outline = both.state.shared.outline
    look, _ = both.state.look(outline)
    conv, net = outline.leaf["net/one/conv1/Conv2D"], outline.segments["TRTEngineOp_000"]
    assert look.notes[conv] == "288 B"
    assert look.notes[net] == "1.2 KB"


def test_measured_times_become_heat(both: Any) -> None:
    both.show_benchmark(measured())
    assert both.toolbar.overlay.model().item(both.toolbar.overlay.findData("time")).isEnabled()
    both.state.set_overlay("time")
    state, outline = both.state, both.state.shared.outline
    look, legend = state.look(outline)
    hot, cool = look.of[outline.leaf["decode/split"]], look.of[outline.leaf["label"]]
    assert hot > cool > 0
    assert look.notes[outline.leaf["decode/split"]] == "900 µs · 18 %"
    assert look.notes[outline.item("TRTEngineOp_000/net/two/")] == "1.5 ms · 30 %"  # groups add up
    assert look.notes[outline.segments["TRTEngineOp_000"]] == "4 ms · 80 %"
    assert outline.leaf["net/one/conv1/Conv2D"] not in look.notes  # what was not measured is not made up
    assert legend[-1].words == "watching slows a run: 6 ms in place of 5 ms; the shares count"
    after, _ = state.look(outline, after=True)
    assert after.notes[outline.segments["TRTEngineOp_000"]] == "1 ms · 50 %"
    assert after.of[outline.leaf["decode/split"]] == hot  # the same scale on both sides
    assert after.engine_nodes[outline.segments["TRTEngineOp_000"]].lines == ("11 ops became one", "1 ms · 50 %")
    assert not any(outline.segment_of[item] >= 0 for item in after.notes if item not in outline.segments.values())


def test_the_slider_changes_over_to_the_times_of_after(both: Any) -> None:
    both.show_benchmark(measured())
    both.state.set_overlay("time")
    both.set_mode(SLIDER)
    both.slider.setValue(0)
    before = both.legend_row.legend
    both.slider.setValue(1000)
    assert "3 ms in place of 2 ms" in both.legend_row.legend[-1].words != before[-1].words
    both.slider.setValue(0)
    assert both.legend_row.legend == before


def test_an_engines_layers_have_their_own_times(both: Any) -> None:
    both.show_benchmark(measured())
    both.set_mode(AFTER)
    both.state.set_overlay("time")
    outline = both.state.alone.outline
    look, _ = both.state.look(outline, after=True)
    assert look.notes[outline.leaf["TRTEngineOp_000 layer 0"]] == "700 µs · 35 %"
    assert look.notes[outline.segments["TRTEngineOp_000"]] == "1 ms · 50 %"  # as measured, hand-over included


def test_legend_list_and_block_count_alike(both: Any) -> None:
    state, outline = both.state, both.state.shared.outline
    look, legend = state.look(outline)
    told = {entry.words: entry.number for entry in legend}
    block = look.engine_nodes[outline.segments["TRTEngineOp_000"]]
    assert block.title == "OpenVINO · FP32" and block.lines == (f"{told['in OpenVINO']} ops became one",)
    left = sum(item.code == "unsupported_op" for item in state.data.left.values())
    assert told["no converter for this op"] == left == 2
    assert both.legend_row.height() > 0 and both.legend_row.y() >= both.before_pane.height(), "it covers nothing"
