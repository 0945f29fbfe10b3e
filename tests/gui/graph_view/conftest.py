"""What the graph view's tests share: a panel that shows a graph, before and after conversion."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtWidgets import QApplication

from helpers.graph_view import converted, network
from icebreaker_gui.graph_view import GraphPanel


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
    graph = panel.state.data.graph
    assert graph is not None
    panel.show_conversion(*converted(graph))
    QApplication.processEvents()
    return panel
