"""INT8 in Setup: what data is shown, what is refused, what becomes of the settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytestqt.qtbot import QtBot

from icebreaker.data import dataset
from icebreaker.settings import ConvertSettings
from icebreaker_gui.panels.setup.calibration.form import Calibration
from icebreaker_gui.panels.setup.calibration.preview import make_preview
from icebreaker_gui.panels.setup.panel import Setup
from icebreaker_gui.session.session import Session

_INPUTS = (dataset.Input("x", "float32", (None, 8, 8, 3)),)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images of mine"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(10):
        pixels = random.integers(0, 256, (20, 30, 3), np.uint8)
        pixels[..., 0] = 250  # red, so that swapped channels are seen
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def form(session: Session, qtbot: QtBot, digits: Path) -> Callable[[], Calibration]:
    setup = Setup(session)
    qtbot.addWidget(setup)
    setup.show()
    session.open(digits)
    qtbot.waitUntil(lambda: not session.busy, timeout=60_000)
    session.change(precision="int8")
    return lambda: setup.findChild(Calibration)  # type: ignore[return-value]


def test_pictures_are_what_the_network_sees(images: Path) -> None:
    preview = make_preview(str(images), _INPUTS, ConvertSettings())
    assert not preview.problem and len(preview.pictures) == 8
    assert all(item.shape == (8, 8, 3) and item.dtype == np.uint8 for item in preview.pictures)
    assert all((item[..., 0] == 250).all() for item in preview.pictures)
    assert any("guessed" in str(text) for text in preview.notes) and preview.preprocessing
    swapped = {"height": 8, "width": 8, "channels": "BGR", "mean": [103.939, 116.779, 123.68], "std": [1.0]}
    preview = make_preview(str(images), _INPUTS, ConvertSettings.of(preprocessing=swapped))
    assert all((item[..., 0] == 250).all() for item in preview.pictures), preview.problem


def test_random_data_says_that_it_means_nothing() -> None:
    preview = make_preview("random", _INPUTS, ConvertSettings())
    assert preview.pictures and preview.warnings == (dataset.RANDOM_WARNING,)


@pytest.mark.parametrize("kind", ["missing", "empty", "few", "text"])
def test_bad_data_is_one_line(tmp_path: Path, images: Path, kind: str) -> None:
    path = {"missing": tmp_path / "nowhere", "empty": tmp_path / "empty", "few": images}.get(kind, tmp_path / "a.npz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.npz").write_text("no archive")
    settings = ConvertSettings.of(calibration_samples=2 if kind == "few" else None)
    preview = make_preview(str(path), _INPUTS, settings)
    assert preview.problem and "\n" not in str(preview.problem) and not preview.pictures


def test_the_samples_own_data_is_shown(session: Session, qtbot: QtBot, form: Callable[[], Calibration]) -> None:
    calibration_form = form()
    qtbot.waitUntil(lambda: bool(calibration_form._pictures._images), timeout=20_000)
    assert "digits_test.npz" in calibration_form._name.text()
    session.change(precision="fp32")
    assert calibration_form.isHidden()


def test_a_program_runs_only_if_allowed(
    session: Session, qtbot: QtBot, form: Callable[[], Calibration], tmp_path: Path
) -> None:
    program, trace = tmp_path / "mine.py", tmp_path / "trace"
    program.write_text(f"open({str(trace)!r}, 'w')\ndef batches(): yield 1\n")
    calibration_form = form()
    calibration_form.take(str(program))
    assert not calibration_form._allow.isHidden() and not session.consent.python
    qtbot.waitUntil(lambda: "program" in calibration_form._words.text(), timeout=20_000)
    calibration_form._allow.setChecked(True)
    assert session.consent.python
    qtbot.wait(500)
    assert not trace.exists(), "it may run in the worker, never here"
    calibration_form.take("random")
    assert not session.consent.python, "allowing one program allows no other"
    qtbot.waitUntil(lambda: "takes text" in calibration_form._problem.text(), timeout=20_000)


def test_a_long_name_does_not_widen_the_form(session: Session, qtbot: QtBot, form: Callable[[], Calibration]) -> None:
    calibration_form = form()
    before = calibration_form.minimumSizeHint().width()
    calibration_form.take("/nowhere/" + "a_long_name" * 10 + ".npz")
    qtbot.waitUntil(lambda: "does not exist" in calibration_form._problem.text(), timeout=20_000)
    assert calibration_form.minimumSizeHint().width() <= max(before, 260)


def test_choices_reach_the_settings(session: Session, qtbot: QtBot, form: Callable[[], Calibration]) -> None:
    calibration_form = form()
    calibration_form._samples.setValue(40)
    for field, value in (
        (calibration_form._method, "entropy"),
        (calibration_form._budget, 0.01),
        (calibration_form._quantizer, "own"),
    ):
        field.setCurrentIndex(field.findData(value))
        field.activated.emit(field.currentIndex())
    settings = session.settings
    assert (
        settings.quantization.calibration_samples,
        settings.quantization.calibration_method,
        settings.quantization.accuracy_budget,
    ) == (
        40,
        "entropy",
        0.01,
    )
    assert settings.quantization.quantizer == "own"
    calibration_form.take("/somewhere/ranges.json")
    assert (
        session.settings.quantization.calibration_table == "/somewhere/ranges.json"
        and session.settings.quantization.calibration is None
    )


def test_the_preview_needs_no_tensorflow(images: Path) -> None:
    code = (
        "import sys; from icebreaker.data import dataset;"
        "from icebreaker_gui.panels.setup.calibration.preview import make_preview;"
        "from icebreaker.settings import ConvertSettings;"
        "x = dataset.Input('x', 'float32', (None, 8, 8, 3));"
        "p = make_preview(sys.argv[1], (x,), ConvertSettings());"
        "assert p.pictures, p.problem;"
        "print([m for m in ('tensorflow', 'openvino', 'onnxruntime', 'onnx', 'tensorrt') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code, str(images)], capture_output=True, text=True)
    assert said.stdout.strip() == "[]", said.stderr
