"""What is told of one node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.graph_view import measured
from icebreaker.formats import graph_files
from icebreaker_gui.graph_view.panel import AFTER, BOTH


def test_details_tell_measured_times(both: Any) -> None:
    both.show_benchmark(measured())

    def told(key: str) -> str:
        both.go_to(key)
        return "\n".join(both.details.table.lines)

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


def test_weights_that_were_left_in_the_file_are_shown(panel: Any, digits: Path, qtbot, tmp_path: Path) -> None:
    file = tmp_path / "digits.pb"
    file.write_bytes(digits.read_bytes())
    graph = graph_files.read_structure(file)
    panel.show_graph(graph, graph.candidate_outputs, file)
    qtbot.waitUntil(lambda: panel.state.scene is not None, timeout=10_000)
    panel.go_to("block1/conv1/weights")
    qtbot.waitUntil(lambda: panel.details._image.isVisibleTo(panel.details), timeout=10_000)
    assert any("values\t5,184" in line for line in panel.details.table.lines)
    panel.save_files(str(tmp_path / "out"))
    qtbot.waitUntil(lambda: not panel.toolbar.busy.text(), timeout=10_000)
    assert (tmp_path / "out" / "before" / "before.pb").read_bytes() == file.read_bytes()  # with its weights
    file.unlink()
    panel.go_to("block1/conv2/weights")  # no harm
    assert "block1/conv2/weights" in panel.details._name.text().replace("\u200b", "")
