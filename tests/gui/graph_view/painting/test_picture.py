"""Pixels: the view looks as it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PySide6.QtGui import QImage, QPainter

from helpers.graph_view import coarse, converted, network, pixels
from helpers.paths import ROOT
from icebreaker_gui.graph_view.painting.picture import Picture
from icebreaker_gui.graph_view.painting.view import Camera, View
from icebreaker_gui.style import theme

SNAPSHOTS = ROOT / "tests" / "gui" / "snapshots"


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
    camera = Camera(scene.size[0] / 2, scene.size[1] / 2, scale)
    picture.paint(painter, View(camera, 480, 720, float(side == "after")))
    painter.end()
    path = SNAPSHOTS / f"{side}-{mode}.png"
    if not path.exists():  # a new look: judge the picture, then commit it
        path.parent.mkdir(exist_ok=True)
        image.save(str(path))
        pytest.fail(f"{path} was made: look at it, and run again")
    difference = np.abs(coarse(pixels(image)) - coarse(pixels(QImage(str(path)))))
    assert difference.mean() < 1.5, f"the view differs from {path}: delete the file if it should"
    assert difference.max() < 60
