"""The open file: a SavedModel of several signatures has a list of them, and another one can be chosen there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pytestqt.qtbot import QtBot

from icebreaker_gui.panels.setup.model.file import GraphFile
from icebreaker_gui.session.session import Session

_MAKES = """
import sys, tensorflow as tf
spec = tf.TensorSpec([None, 4], name="x")
calls = {name: tf.function(call, [spec]) for name, call in {"encode": tf.nn.relu, "decode\\u202e": tf.tanh}.items()}
tf.saved_model.save(tf.Module(), sys.argv[1], {name: call.get_concrete_function() for name, call in calls.items()})
"""


def test_another_signature_is_chosen_from_a_list(session: Session, qtbot: QtBot, tmp_path: Path, digits: Path) -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _MAKES, str(tmp_path / "model")]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    panel = GraphFile(session)
    qtbot.addWidget(panel)
    choice = panel._signatures
    session.open(tmp_path / "model")
    qtbot.waitUntil(lambda: not session.busy, timeout=60_000)
    assert [choice.itemText(index) for index in range(choice.count())] == [r"decode\u202e", "encode"]
    assert choice.currentData() == "decode\u202e" and not choice.isHidden()
    assert session.graph is not None and "Tanh" in session.graph.op_counts
    choice.setCurrentIndex(1)
    choice.activated.emit(1)
    qtbot.waitUntil(lambda: not session.busy, timeout=60_000)
    assert choice.currentData() == "encode" and "Relu" in session.graph.op_counts
    session.open(digits)
    qtbot.waitUntil(lambda: not session.busy, timeout=60_000)
    assert choice.isHidden()
