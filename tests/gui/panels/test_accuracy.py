"""What INT8 costs, as the Result dock shows it; the layers to keep reach the settings."""

from __future__ import annotations

import dataclasses
import math

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from icebreaker.reports import (
    Accuracy,
    Conversion,
    LayerCost,
    OutputDifference,
    Quantization,
    SegmentReport,
    TensorRange,
    TradeOff,
)
from icebreaker.settings import ConvertSettings
from icebreaker_gui.panels.accuracy import layers as layers_tab
from icebreaker_gui.panels.accuracy import range_plots, summary
from icebreaker_gui.panels.accuracy import ranges as ranges_tab
from icebreaker_gui.panels.result import Result
from icebreaker_gui.session.session import Session

_JUDGED = Accuracy(
    400, {"probabilities": OutputDifference(0.1, 0.02, 0.9991, 31.2, 0.985)}, 0.985, 0.999, 0.02, 0.953, 0.951
)
_QUANTIZATION = Quantization(
    "mse",
    1200,
    16,
    layers=(
        LayerCost("conv1_fused", "block1/conv1", "Conv", 12.5, 18.0, 11.0, False),
        LayerCost("MatMul_7", "", "MatMul", 40.0, None, None, True),
    ),
    curve=(
        TradeOff(0, 0.05, 0.03, 1.0, False),
        TradeOff(2, 0.02, 0.008, 1.4, True),
        TradeOff(4, 0.01, 0.0, 2.0, False),
    ),
    accuracy=_JUDGED,
    message="2 layers stay in float",
    tensors=(
        TensorRange("conv1:0", "block1/conv1", -3.0, 5.0, 4.0, (60, 20, 10, 4, 5, 1, 0, 0), 8.0),
        TensorRange("pool:0", "", 0.0, 2.0, 2.0),
        TensorRange("fc:0", "fc", 0.0, 0.0, 0.0),
    ),
)


@pytest.fixture
def conversion() -> Conversion:
    segment = SegmentReport("TRTEngineOp_000", "openvino", "int8", ("a",), (), (), 1.0, quantization=_QUANTIZATION)
    return Conversion("out.pb", 3.0, 1.0, (segment,), (), accuracy=_JUDGED)


@pytest.fixture
def result(session: Session, qtbot: QtBot) -> Result:
    made = Result(session)
    qtbot.addWidget(made)
    made.resize(900, 300)
    made.show()
    return made


def show(session: Session, conversion: Conversion, **settings: object) -> None:
    session.conversion = conversion
    session.converted_with = ConvertSettings.of(precision="int8", **settings)
    session.conversionChanged.emit()


def test_the_finding_and_the_curve(session: Session, result: Result, conversion: Conversion) -> None:
    show(session, conversion)
    panel = result.findChild(summary.Accuracy)
    assert panel and "394 of 400" in panel._finding.text()
    for words in ("400 held-back", "99.9 %", "95.3 % before, 95.1 % after", "2 layers stay in float"):
        assert words in panel._words.text()
    assert panel._outputs.rowCount() == 1
    chosen = "Chosen: 2 layers kept in 16 or 32 bits · 1.4 ms · 0.8 % different top-1 answers"
    assert panel._curve._words.text() == chosen
    result.grab()  # all of it can be painted


def test_a_small_error_is_not_shown_a_thousandfold(session: Session, result: Result, conversion: Conversion) -> None:
    points = tuple(dataclasses.replace(item, error=item.error / 100) for item in _QUANTIZATION.curve)
    told = dataclasses.replace(_QUANTIZATION, curve=points)
    show(
        session,
        dataclasses.replace(conversion, segments=(dataclasses.replace(conversion.segments[0], quantization=told),)),
    )
    panel = result.findChild(summary.Accuracy)
    assert panel
    result._tabs.setCurrentIndex(1)
    result.grab()
    panel._curve._draw()  # as after a change of colours
    axis = panel._curve._item.getAxis("left")
    assert max(float(text) for text in axis.tickStrings([0.05], axis.autoSIPrefixScale * axis.scale, 0.01)) == 0.05


def test_what_was_tried_in_vain_is_not_called_int8(session: Session, result: Result, conversion: Conversion) -> None:
    vain = dataclasses.replace(_QUANTIZATION, int8_layers=0, message="FP32 is faster")
    segment = dataclasses.replace(conversion.segments[0], precision="fp32", quantization=vain)
    show(session, dataclasses.replace(conversion, segments=(segment,)))
    panel, layers = result.findChild(summary.Accuracy), result.findChild(layers_tab.Layers)
    assert panel and "Nothing runs in INT8" in panel._finding.text() and "FP32 is faster" in panel._words.text()
    assert panel._curve._words.text().startswith("Best that was tried")
    state = layers._table.item(0, 2) if layers else None
    assert state and state.text() == "16 or 32 bits"


def test_random_data_has_no_finding(session: Session, result: Result, conversion: Conversion) -> None:
    show(session, conversion, calibration="random")
    panel = result.findChild(summary.Accuracy)
    assert panel and "not known" in panel._finding.text() and "random" in panel._words.text()


def test_without_int8_there_is_nothing_of_it(session: Session, result: Result, conversion: Conversion) -> None:
    plain = dataclasses.replace(conversion.segments[0], quantization=None)
    show(session, dataclasses.replace(conversion, segments=(plain,), accuracy=None, calibration_table=""))
    assert [result._tabs.isTabVisible(index) for index in range(4)] == [True, False, False, False]
    show(session, conversion)
    assert all(result._tabs.isTabVisible(index) for index in range(4))


def test_a_checked_layer_is_kept_next_time(session: Session, result: Result, conversion: Conversion) -> None:
    show(session, conversion)
    layers = result.findChild(layers_tab.Layers)
    assert layers
    first, second = layers._table.item(0, 0), layers._table.item(1, 0)
    assert first and second and second.data(Qt.ItemDataRole.CheckStateRole) is None  # no node can be named
    first.setCheckState(Qt.CheckState.Checked)
    assert session.settings.quantization.keep_float == ("block1/conv1",)
    assert "Convert again" in layers._words.text()
    session.change(keep_float=())  # taken back elsewhere
    assert first.checkState() == Qt.CheckState.Unchecked


def test_the_ranges_with_their_values(session: Session, result: Result, conversion: Conversion) -> None:
    show(session, conversion)
    ranges = result.findChild(ranges_tab.Ranges)
    assert ranges and ranges._choice.count() == 2, "a tensor that is always 0 has no threshold"
    assert ranges._choice.currentText() == "block1/conv1"
    assert "-3 to 5" in ranges._words.text() and "above 4" in ranges._words.text()
    result._tabs.setCurrentIndex(3)
    before = ranges.grab().toImage()
    assert "±4" in ranges._scale.accessibleName()
    # 8 bins of 1: of 100 values, 6 lie at 4 or above.
    assert "6 % clipped" in ranges._histogram.accessibleName()
    ranges._choice.setCurrentIndex(1)
    assert not ranges._histogram.isVisible(), "without held-back data there are no values"
    assert ranges.grab().toImage() != before


def test_long_names_do_not_widen_the_dock(session: Session, result: Result, conversion: Conversion) -> None:
    name = "a_scope_of_mine/" * 9 + "conv"
    told = dataclasses.replace(
        _QUANTIZATION,
        message=f"{name} stays in float",
        layers=tuple(dataclasses.replace(item, node=name) for item in _QUANTIZATION.layers),
        tensors=tuple(dataclasses.replace(item, node=name) for item in _QUANTIZATION.tensors),
    )
    segment = dataclasses.replace(conversion.segments[0], name=name, quantization=told)
    show(session, dataclasses.replace(conversion, segments=(segment,), warnings=(f"{name}: refused",)))
    result._tabs.setCurrentIndex(3)
    assert result.minimumSizeHint().width() < 700


def test_nncf_does_not_tell_of_layers(session: Session, result: Result, conversion: Conversion) -> None:
    told = Quantization("nncf", 72, 16, message="NNCF: 16 layers in INT8", accuracy=_JUDGED)
    show(
        session,
        dataclasses.replace(conversion, segments=(dataclasses.replace(conversion.segments[0], quantization=told),)),
    )
    layers, ranges = result.findChild(layers_tab.Layers), result.findChild(ranges_tab.Ranges)
    assert layers and ranges and "NNCF" in layers._words.text() and "NNCF" in ranges._words.text()


def test_the_types_hold_what_they_are_said_to() -> None:
    numpy = pytest.importorskip("numpy")
    for name, kind in (("FP32", numpy.float32), ("FP16", numpy.float16)):
        low, high, _ = range_plots.TYPES[name]
        assert math.isclose(low, float(numpy.finfo(kind).smallest_subnormal), rel_tol=0.01)
        assert math.isclose(high, float(numpy.finfo(kind).max), rel_tol=0.01)
