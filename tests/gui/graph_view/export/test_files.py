"""Pictures and files of a graph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtGui import QImage

from helpers.graph_view import network, pixels, save_picture
from icebreaker.formats import graph_files


@pytest.mark.slow
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
    assert both.toolbar.busy.text() == "Saving"
    qtbot.waitUntil(lambda: not both.toolbar.busy.text())
    assert (tmp_path / "picture.png").exists()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "file"))
    with qtbot.waitSignal(both.failed) as told:
        both.save_files()
    assert "choose another folder" in told.args[1] and not both.toolbar.busy.text()


def test_files_for_tensorboard_and_netron(both: Any, qtbot, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    both.save_files(str(tmp_path))
    assert both.toolbar.busy.text() == "Saving"
    qtbot.waitUntil(lambda: not both.toolbar.busy.text(), timeout=10_000)
    files = sorted(item.name.split(".")[0] for item in tmp_path.rglob("*") if item.is_file())
    assert files == ["after", "before", "events", "events"]
    assert len(graph_files.read_graph(tmp_path / "before" / "before.pb")) == len(network())
    for run, count in (("before", len(network())), ("after", 6)):
        events = EventAccumulator(str(tmp_path / run)).Reload()
        assert len(events.Graph().node) == count


def test_saving_files_loads_no_tensorflow(digits: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from icebreaker.formats import graph_files\n"
        "from icebreaker_gui.graph_view.export import files\n"
        "file = Path(sys.argv[1]); files.save_files(Path(sys.argv[2]), graph_files.read_structure(file), None, file)\n"
        "assert not {'tensorflow', 'onnx', 'openvino', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(digits), str(tmp_path)], check=True)
    assert (tmp_path / "before" / "before.pb").read_bytes() == digits.read_bytes()
