"""The table of ops and layers, used as a user does: clicks on heads and rows, words in the filter, copy, files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog

from helpers.graph_view import measured
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker_gui.graph_view.data import GraphData
from icebreaker_gui.graph_view.panel import AFTER
from icebreaker_gui.graph_view.table import sheets
from icebreaker_gui.graph_view.table.panel import LAYERS, OPS, TYPES


@pytest.fixture
def table(both: Any, qtbot) -> Any:
    both.show_benchmark(measured())
    made = both.table
    qtbot.addWidget(made)
    made.resize(1000, 400)
    made.show()
    qtbot.waitUntil(lambda: made.model.rowCount() > 0)
    return made


def cells(table: Any, title: str) -> list[str]:
    model = table.model
    titles = [model.headerData(number, Qt.Orientation.Horizontal) for number in range(model.columnCount())]
    return [model.index(row, titles.index(title)).data() for row in range(model.rowCount())]


def click_head(table: Any, qtbot, title: str) -> None:
    head = table.view.horizontalHeader()
    number = [table.model.headerData(n, Qt.Orientation.Horizontal) for n in range(head.count())].index(title)
    at = QPoint(head.sectionViewportPosition(number) + 10, head.height() // 2)
    qtbot.mouseClick(head.viewport(), Qt.MouseButton.LeftButton, pos=at)


def click_row(table: Any, qtbot, row: int) -> None:
    at = table.view.visualRect(table.model.index(row, 0)).center()
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=at)


def test_what_takes_longest_comes_first(table: Any) -> None:
    shares = cells(table, "Share")
    assert shares[0] and shares == sorted(shares, key=lambda text: -float(text.rstrip(" %") or -1))
    assert "net/one/conv1/weights" not in cells(table, "Name")
    table.everything.click()
    assert "net/one/conv1/weights" in cells(table, "Name")


def test_a_click_on_a_head_sorts_and_another_turns(table: Any, qtbot) -> None:
    click_head(table, qtbot, "Name")
    names = cells(table, "Name")
    assert names == sorted(names, key=str.lower) or names == sorted(names, key=str.lower, reverse=True)
    click_head(table, qtbot, "Name")
    assert cells(table, "Name") == names[::-1]


def test_words_filter(table: Any, qtbot) -> None:
    qtbot.keyClicks(table.filter, "TWO addv2")
    qtbot.waitUntil(lambda: cells(table, "Name") == ["net/two/add"])
    table.filter.clear()
    qtbot.waitUntil(lambda: table.model.rowCount() > 2)


def test_a_row_chooses_its_node_and_the_node_its_row(table: Any, both: Any, qtbot) -> None:
    row = cells(table, "Name").index("net/one/conv1/Conv2D")
    click_row(table, qtbot, row)
    assert both.state.selected == "net/one/conv1/Conv2D"
    both.state.select("label")
    assert cells(table, "Name")[table.view.currentIndex().row()] == "label"
    assert both.state.selected == "label"  # and it did not lead back
    both.state.select("")
    assert not table.view.selectionModel().hasSelection()


def test_arrow_keys_go_from_row_to_row_in_the_graph(table: Any, both: Any, qtbot) -> None:
    click_row(table, qtbot, 0)
    qtbot.keyClick(table.view, Qt.Key.Key_Down)
    assert both.state.selected == cells(table, "Name")[1]


def test_layers_and_types(table: Any, both: Any, qtbot) -> None:
    table.tabs.setCurrentIndex(LAYERS)
    assert cells(table, "Layer")
    click_row(table, qtbot, 0)
    first = both.state.selected
    assert first in both.state.data.segment_of  # an op of the layer: before and after share places
    both.set_mode(AFTER)
    table._open()
    assert both.state.selected == f"TRTEngineOp_000 layer {table.model.rows[0]}"
    table.tabs.setCurrentIndex(TYPES)
    counts = dict(zip(cells(table, "Op"), cells(table, "Ops"), strict=True))
    assert counts["Conv2D"] == "4" and counts["Relu"] == "4"
    click_row(table, qtbot, cells(table, "Op").index("Relu"))
    assert len(both.state.found) == 4
    table._open()
    assert table.tabs.currentIndex() == OPS
    qtbot.waitUntil(lambda: set(cells(table, "Op")) == {"Relu"})


def test_copy_gives_the_chosen_rows(table: Any, qtbot) -> None:
    click_row(table, qtbot, 0)
    table.view.setFocus()
    table.copy()
    head, row = QGuiApplication.clipboard().text().split("\n")
    assert head.split("\t")[:2] == ["Name", "Op"]
    assert row.split("\t")[0] == cells(table, "Name")[0]


def test_csv_has_exact_figures(table: Any, both: Any, tmp_path: Path, qtbot, monkeypatch) -> None:
    path = tmp_path / "table"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    table._save.click()
    target = path.with_suffix(".csv")
    qtbot.waitUntil(target.exists)
    qtbot.waitUntil(lambda: not both.toolbar.busy.text())
    rows = list(csv.DictReader(io.StringIO(target.read_text("utf-8-sig"))))
    found = {row["Name"]: row for row in rows}
    assert float(found["decode/split"]["Before"]) == 0.9
    assert found["net/one/conv1/Conv2D"]["Parameters"] == "72"
    assert found["net/one/conv1/Conv2D"]["FLOPs"] == ""  # whose shapes are unknown


def test_constants_are_saved(table: Any, both: Any, tmp_path: Path, qtbot, monkeypatch) -> None:
    path = tmp_path / "weights.npy"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    both.go_to("net/one/conv1/weights")
    assert both.details._save.isVisibleTo(both.details)
    both.details._save.click()
    qtbot.waitUntil(path.exists)
    qtbot.waitUntil(lambda: not both.toolbar.busy.text())
    assert np.array_equal(np.load(path, allow_pickle=False).reshape(-1), np.arange(72, dtype=np.float32))


def test_unmeasured_and_unconverted_says_what_is_known(panel: Any, qtbot) -> None:
    made = panel.table
    qtbot.addWidget(made)
    made.show()
    qtbot.waitUntil(lambda: made.model.rowCount() > 0)
    titles = [made.model.headerData(n, Qt.Orientation.Horizontal) for n in range(made.model.columnCount())]
    assert titles == ["Name", "Op", "FLOPs", "Parameters", "Bytes", "Precision"]
    assert "Measure" in made._summary.text()
    panel.show_graph(None)
    qtbot.waitUntil(lambda: made.model.rowCount() == 0)
    assert made._empty.isVisible()


def test_names_that_a_spreadsheet_would_compute_stay_names() -> None:
    definition = GraphDef()
    definition.node.add(name="=HYPERLINK(1)", op="Relu")
    definition.node.add(name="a\nb\x1b", op="Relu")
    sheet = sheets.ops_sheet(GraphData(Graph(definition)), {})
    text = sheets.comma_separated(sheet, range(len(sheet))).decode("utf-8-sig")
    assert "'=HYPERLINK(1)" in text
    assert "\x1b" not in text
    assert len(list(csv.reader(io.StringIO(text)))) == 3


def test_times_add_up(both: Any) -> None:
    """What became one layer was measured as one: its time stands at one op only."""
    both.show_benchmark(measured())
    data = both.state.data
    ops = sheets.ops_sheet(data, {})
    profile = data.profile(True)
    engine = sum(layer.ms for layers in profile.layers.values() for layer in layers if layer.nodes)
    rest = sum(item.ms for key, item in profile.nodes.items() if key != "TRTEngineOp_000")
    now = [value for value in ops.columns["now"].values if value is not None]
    assert sum(now) == pytest.approx(engine + rest)
    types = sheets.types_sheet(ops)
    assert sum(value for value in types.columns["now"].values if value) == pytest.approx(sum(now))


def test_flops_and_parameters_are_overlays(panel: Any) -> None:
    chooser = panel.toolbar.overlay
    assert {"flops", "parameters"} <= {chooser.itemData(number) for number in range(chooser.count())}
    panel.state.set_overlay("parameters")
    outline = panel.state.shared.outline
    look, _ = panel.state.look(outline)
    assert look.notes[outline.item("net/one/")] == "144"  # two kernels of 72
