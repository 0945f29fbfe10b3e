"""Large graphs and late results."""

from __future__ import annotations

import gc
import time
import weakref
from typing import Any

from helpers.graph_view import chain, network, shown
from icebreaker_gui.graph_view.background import Background


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
    background, made, got = Background(), [], []
    for _ in range(20):
        result = chain(3)
        made.append(weakref.ref(result))
        background.run(lambda cancelled, result=result: result, got.append, True)
        qtbot.waitUntil(lambda: bool(got))
        got.clear()
    result = None
    background.run(lambda cancelled: None, got.append, True)
    qtbot.waitUntil(lambda: bool(got))
    gc.collect()
    assert [item() for item in made] == [None] * 20
