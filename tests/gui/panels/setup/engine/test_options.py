"""Engine options in Setup: only what the chosen engine has is shown, and what cannot be had is told before Convert."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QCheckBox, QComboBox, QLabel, QLineEdit, QPushButton, QRadioButton, QSpinBox, QWidget
from pytestqt.qtbot import QtBot

from icebreaker import codec
from icebreaker.engine import registry
from icebreaker.engine.onnxruntime import OnnxRuntime
from icebreaker.graph.protos import AttrValue, GraphDef, NodeDef
from icebreaker.reports import EngineStatus, Machine
from icebreaker.settings import ENGINE_OPTIONS, ConvertSettings
from icebreaker_gui.panels.setup.engine.options import EngineOptions
from icebreaker_gui.panels.setup.panel import Setup
from icebreaker_gui.session.session import Session

_LACKS = {"optimization_level": "it has no levels", "weights": "they stay"}
MACHINE = Machine(
    (
        EngineStatus("openvino", True, True, ""),
        EngineStatus("tensorrt", True, True, "", options={name: "" for name in ENGINE_OPTIONS if name[0] != "c"}),
        EngineStatus(
            "tensorrt-rtx", True, False, "", targets=("8.6", "8.9"),
            options=dict.fromkeys(ENGINE_OPTIONS, "it cannot") | {"compute_capabilities": ""} | _LACKS,
        ),
    ),
    "NVIDIA L4", 24_000_000_000,
)  # fmt: skip


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Two inputs: one open in its sides, one in its batch alone."""
    nodes = []
    for name, sizes in (("image", (-1, -1, -1, 3)), ("flag", (-1, 2))):
        node = NodeDef(name=name, op="Placeholder", attr={"dtype": AttrValue(type=1)})
        for size in sizes:
            node.attr["shape"].shape.dim.add(size=size)
        nodes += [node, NodeDef(name=f"y_{name}", op="Relu", input=[name], attr={"T": AttrValue(type=1)})]
    path = tmp_path / "open.pb"
    path.write_bytes(GraphDef(node=nodes).SerializeToString())
    return path


@pytest.fixture
def options(session: Session, qtbot: QtBot, graph: Path) -> Iterator[EngineOptions]:
    setup = Setup(session)
    qtbot.addWidget(setup)
    setup.show()
    setup.open_card("engine")
    session.open(graph)
    qtbot.waitUntil(lambda: not session.busy, timeout=30_000)
    session.machine = MACHINE
    session.machineChanged.emit()
    found = setup.findChild(EngineOptions)
    assert isinstance(found, EngineOptions)
    yield found  # the form lives as long


def shown(options: EngineOptions, kind: type[QWidget]) -> list[Any]:
    return [item for item in options.findChildren(kind) if item.isVisible() and not isinstance(item.parent(), QSpinBox)]


def fold(options: EngineOptions) -> QPushButton:
    return next(item for item in options.findChildren(QPushButton) if "Engine options" in item.text())


def test_folded_at_first_and_only_what_the_engine_has(session: Session, options: EngineOptions, qtbot: QtBot) -> None:
    assert fold(options).isVisible() and not shown(options, QLineEdit)
    fold(options).click()
    session.change(engine="openvino")
    (field,) = shown(options, QLineEdit)
    assert "1x64x64x3, 4x224x224x3, 8x512x512x3" in field.placeholderText()
    assert not shown(options, QComboBox) and not shown(options, QSpinBox) and not shown(options, QCheckBox)
    session.change(engine="tensorrt")
    assert len(shown(options, QComboBox)) == 2 and len(shown(options, QSpinBox)) == 1
    assert [item.text() for item in shown(options, QCheckBox)] == ["Later versions of TensorRT load it"]
    session.change(engine="tensorrt-rtx")
    assert not shown(options, QComboBox) and not shown(options, QSpinBox)
    qtbot.waitUntil(lambda: [item.text() for item in shown(options, QCheckBox)] == ["8.6", "8.9"])
    for widget in (*shown(options, QCheckBox), *shown(options, QLineEdit)):
        assert widget.toolTip()


def test_what_is_chosen_becomes_the_settings(session: Session, options: EngineOptions) -> None:
    fold(options).click()
    session.change(engine="tensorrt")
    (level,) = shown(options, QSpinBox)
    level.setValue(5)
    hardware, weights = shown(options, QComboBox)
    hardware.setCurrentIndex(2)
    hardware.activated.emit(2)
    weights.setCurrentIndex(1)
    weights.activated.emit(1)
    shown(options, QCheckBox)[0].click()
    settings = session.settings
    assert (settings.builder.optimization_level, settings.builder.hardware_compatibility) == (5, "ampere-plus")
    assert (settings.builder.weights, settings.builder.version_compatible) == ("refittable", True)
    assert fold(options).text().endswith("4 set")
    level.setValue(-1)
    assert session.settings.builder.optimization_level is None
    back = codec.decode(codec.encode(session.settings), ConvertSettings)
    assert back == session.settings, "as the autosaved state carries it"


def test_the_limits_of_a_worker(session: Session, options: EngineOptions) -> None:
    setup: Any = options.window()
    setup.open_card("advanced")
    next(item for item in setup.findChildren(QPushButton) if "Limits of the worker" in item.text()).click()
    time_limit, patience = (
        next(item for item in setup.findChildren(QSpinBox) if words in item.toolTip())
        for words in ("as a whole", "counts as hanging")
    )
    assert time_limit.isVisible() and time_limit.text() == "none" and session.limits.time_seconds is None
    time_limit.setValue(600)
    patience.setValue(60)
    assert (session.limits.time_seconds, session.limits.patience_seconds) == (600, 60)
    time_limit.setValue(0)
    assert session.limits.time_seconds is None
    session.limit(time_seconds=30.0)  # as when a state is brought back
    assert time_limit.text() == "30 s"
    memory = next(item for item in setup.findChildren(QLineEdit) if item.placeholderText() == "automatic")
    for text, limit in (("8 GB", 8_000_000_000), ("much", 8_000_000_000), ("", None)):
        memory.setText(text)
        memory.editingFinished.emit()
        assert session.limits.memory_bytes == limit
        told = [item for item in setup.findChildren(QLabel) if item.isVisible() and "is not a size" in item.text()]
        assert bool(told) is (text == "much")


def test_a_profile_is_typed_checked_and_taken_away(session: Session, options: EngineOptions) -> None:
    fold(options).click()
    (field,) = shown(options, QLineEdit)

    def type_in(text: str) -> None:
        field.setText(text)
        field.editingFinished.emit()

    session.change(input_shapes={"image": (1, 8, 8, 3)})
    type_in("1x8x8x3, 2x16x16x3, 4x32x32x3")
    assert session.settings.profiles == {"image": ((1, 8, 8, 3), (2, 16, 16, 3), (4, 32, 32, 3))}
    assert session.settings.input_shapes == {}, "one of them counts"
    for wrong, words in (("1x8x8x4", "does not fit image"), ("8", "does not fit"), ("a", "is not a shape")):
        type_in(wrong)
        assert words in options._profiles._problem.text() and options._profiles._problem.isVisible()
        assert len(session.settings.profiles) == 1
    type_in("")
    assert session.settings.profiles == {} and not options._profiles._problem.isVisible()


def test_what_cannot_be_had_is_told_and_reset(session: Session, options: EngineOptions) -> None:
    session.change(engine="tensorrt", weights="weightless")
    setup = options.window()
    convert = next(item for item in setup.findChildren(QPushButton) if item.text() == "Convert")
    assert convert.isEnabled() and not options._problem.isVisible()
    session.change(engine="tensorrt-rtx")
    assert "they stay" in options._problem.text() and options._problem.isVisible()
    assert not convert.isEnabled()
    options._reset.click()
    assert convert.isEnabled() and session.settings.builder.weights == "fixed" and not options._problem.isVisible()


def test_a_workspace_beyond_what_is_left_warns(session: Session, options: EngineOptions) -> None:
    setup: Any = options.window()
    setup.open_card("advanced")

    def warned() -> list[str]:
        labels = [item for item in setup.findChildren(QWidget) if item.property("look") == "warning"]
        return [item.text() for item in labels if item.isVisible()]  # type: ignore[attr-defined]

    session.change(engine="tensorrt", memory_fraction=0.9, workspace_bytes=4_000_000_000)
    assert warned() == ["The workspace, 4 GB, is more than the 2.4 GB that is left for engines."]
    session.change(engine="openvino")
    assert not warned(), "it has no workspace"
    session.change(engine="tensorrt", memory_fraction=0.8)
    assert not warned()


def test_an_engine_that_was_added_can_be_chosen(session: Session, qtbot: QtBot) -> None:
    class Added(OnnxRuntime):
        name, title = "added", "An Engine More"

    registry.register(Added)
    try:
        setup = Setup(session)
        qtbot.addWidget(setup)
        (choice,) = (item for item in setup.findChildren(QRadioButton) if item.text() == "An Engine More")
        session.machine = Machine((EngineStatus("added", True, True, "it is here"),))
        session.machineChanged.emit()
        choice.click()
        assert session.settings.engine == "added"
    finally:
        registry.unregister("added")
