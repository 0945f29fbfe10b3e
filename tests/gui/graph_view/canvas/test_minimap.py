"""The minimap."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QPoint, Qt

from icebreaker_gui.graph_view.painting.view import Camera


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
    pane.fit(animated=False, whole=True)
    assert not pane.minimap.useful()
