"""The part of Setup that INT8 adds: what to calibrate on, what the network will see of it, what accuracy it may cost.

Data is opened in a thread by `icebreaker.calibration`, which needs no TensorFlow. A Python file is never run here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QSignalBlocker, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QGridLayout, QHBoxLayout, QSizePolicy, QWidget

from icebreaker.data import dataset
from icebreaker.data.dataset import Preprocessing
from icebreaker.errors import IcebreakerError
from icebreaker.settings import ConvertSettings
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import Elided, Section, breakable, button, label, number

_PICTURES = 8
_COLUMNS = 4
_DELAY_MILLISECONDS = 200
_TRAINED = ("FakeQuant", "QuantizeAndDequantize")  # ops that have ranges
_BUDGETS = (0.001, 0.005, 0.01, 0.02, 0.05)
# Ways to map pixels, which no graph tells: mean and std of (pixel - mean) / std.
_VALUES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "unit": ((0.0,), (255.0,)),
    "symmetric": ((127.5,), (127.5,)),
    "byte": ((0.0,), (1.0,)),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": ((103.939, 116.779, 123.68), (1.0,)),
}


@dataclass(frozen=True)
class Preview:
    """What the network will see: pictures of uint8 [H, W, 3], the preprocessing if it is images, and what to know."""

    pictures: tuple[np.ndarray, ...] = ()
    preprocessing: Preprocessing | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: str = ""


def source(settings: ConvertSettings) -> str | None:
    """The data INT8 is calibrated on, as the conversion chooses it."""
    return settings.quantization.calibration or (None if settings.quantization.calibration_table else settings.data)


def lacks_data(session: Session) -> bool:
    """True if INT8 was chosen and neither data nor ranges are there, nor ranges that the graph was trained with."""
    settings, inspection = session.settings, session.inspection
    if (
        settings.precision != "int8"
        or source(settings)
        or settings.quantization.calibration_table
        or inspection is None
    ):
        return False
    return not any(op.startswith(_TRAINED) for op in inspection.ops)


def make_preview(path: str, inputs: Sequence[dataset.Input], settings: ConvertSettings) -> Preview:
    """Opens calibration data and draws its first rows; may take a while, and never runs a program."""
    try:
        given = None
        if settings.quantization.preprocessing:
            values: dict[str, Any] = {
                key: tuple(item) if isinstance(item, list) else item
                for key, item in settings.quantization.preprocessing.items()
            }
            given = Preprocessing(**values)
        if Path(path).is_dir():
            inputs = [item for item in inputs if item.shape != ()]
        data = dataset.open_data(
            path,
            inputs,
            samples=settings.quantization.calibration_samples,
            seed=settings.quantization.calibration_seed,
            preprocessing=given,
        )
        wanted = next((item for item in inputs if Preprocessing.guess(item)), None)
        pictures: list[np.ndarray] = []
        if wanted:
            for batch in itertools.islice(data, _PICTURES):
                value = batch[wanted.name]
                rows = [value] if wanted.shape is not None and len(wanted.shape) == 3 else list(value)
                pictures += [_drawn(row, wanted, data.preprocessing) for row in rows[: _PICTURES - len(pictures)]]
                if len(pictures) == _PICTURES:
                    break
        elif len(inputs) == 1 and inputs[0].dtype == "string":
            rows = (row for batch in data for row in batch[inputs[0].name].reshape(-1))
            pictures = [picture for row in itertools.islice(rows, _PICTURES) if (picture := _decoded(row)) is not None]
        return Preview(tuple(pictures), data.preprocessing, data.notes, data.warnings)
    except IcebreakerError as error:
        return Preview(problem=str(error))
    except (OSError, TypeError, ValueError) as error:
        return Preview(problem=f"{path} cannot be read: {' '.join(str(error).split())}")


def _decoded(row: object) -> np.ndarray | None:
    """A file that the graph itself decodes, as a picture; None if it is no image."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(row)) as image:  # type: ignore[arg-type]
            image.thumbnail((256, 256))
            return np.asarray(image.convert("RGB"), np.uint8)
    except Exception:  # decoders raise what they like
        return None


def _drawn(row: np.ndarray, wanted: dataset.Input, how: Preprocessing | None) -> np.ndarray:
    """A row as a picture; values whose preprocessing is not known are drawn from the smallest to the largest."""
    if how:
        return how.visible(np.asarray(row, np.float32))
    guess = Preprocessing.guess(wanted)
    assert guess is not None  # noqa: S101 - only such inputs are drawn
    value = np.asarray(row, np.float32)
    low, high = float(value.min()), float(value.max())
    stretched = dataclasses.replace(guess, mean=(0.0,), std=(255.0,))
    return stretched.visible((value - low) / (high - low or 1.0))


class Calibration(Section):
    """The form of INT8; hidden for other precisions."""

    _read = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Calibration"))
        self._session = session
        self.setAcceptDrops(True)
        self._shown: object = None  # what the preview is of
        self._thread: threading.Thread | None = None
        self._preprocessing: Preprocessing | None = None
        self._name = Elided(color="muted")
        self.body.addWidget(self._name)
        self.body.addLayout(self._make_sources())
        self._allow = QCheckBox(self.tr("I trust this program: let it run"))
        self._allow.setToolTip(self.tr("It runs with all your rights when you convert, and not before"))
        self._allow.toggled.connect(lambda on: session.allow(python=on))
        self.body.addWidget(self._allow)
        self._warning = label(look="warning", wrap=True)
        self._problem = label(look="error", wrap=True)
        self._words = label(look="muted", wrap=True)
        for words in (self._warning, self._problem, self._words):
            words.setFont(theme.font(0.9))
        self._pictures = _Pictures()
        self.body.addWidget(self._warning)
        self.body.addWidget(self._problem)
        self.body.addWidget(self._pictures)
        self.body.addWidget(self._words)
        self._how = self._make_how()
        self.body.addWidget(self._how)
        self.body.addLayout(self._make_fields())
        self._timer = QTimer(self, singleShot=True, interval=_DELAY_MILLISECONDS)
        self._timer.timeout.connect(self._look)
        self._read.connect(self._on_read)
        self._show(Preview())
        for signal in (session.graphChanged, session.settingsChanged):
            signal.connect(self._update)
        self._update()

    def _make_sources(self) -> QHBoxLayout:
        folder = button(
            self.tr("Images…"), self.tr("A folder of images, with its subfolders; it can be dropped here too")
        )
        folder.clicked.connect(self._choose_folder)
        tip = self.tr(
            "Arrays (.npz, .npy), a TFRecord, a Python file with batches(), or a table of an earlier calibration"
        )
        file = button(self.tr("File…"), tip)
        file.clicked.connect(self._choose_file)
        random = button(self.tr("Random"), self.tr("Made-up values: fit to measure speed, never accuracy"))
        random.clicked.connect(lambda: self.take("random"))
        row = QHBoxLayout()
        row.setSpacing(theme.SPACE)
        for item in (folder, file, random):
            row.addWidget(item, 1)
        return row

    def _make_how(self) -> QWidget:
        """How images become values, where they do."""
        names = {
            "unit": self.tr("0 to 1"), "symmetric": self.tr("−1 to 1"), "byte": self.tr("0 to 255"),
            "imagenet": self.tr("ImageNet mean and std"), "caffe": self.tr("Caffe means, BGR"),
        }  # fmt: skip
        self._values = _combo((key, names[key]) for key in _VALUES)
        self._channels = _combo((("RGB", "RGB"), ("BGR", "BGR")))
        self._crop = _combo((("center", self.tr("cropped at the center")), ("stretch", self.tr("stretched"))))
        self._values.activated.connect(self._on_values)
        self._channels.activated.connect(lambda: self._change_how(channels=self._channels.currentData()))
        self._crop.activated.connect(lambda: self._change_how(crop=self._crop.currentData()))
        box = QWidget()
        rows = (
            (self.tr("Values"), self._values), (self.tr("Channels"), self._channels), (self.tr("Fit"), self._crop),
        )  # fmt: skip
        _fill(box, rows)
        return box

    def _make_fields(self) -> QGridLayout:
        session = self._session
        tip = self.tr("Taken at random; a quarter is held back to judge the accuracy with")
        self._samples = number(0, 1_000_000, 0, tip)
        self._samples.setSpecialValueText(self.tr("all"))
        self._samples.valueChanged.connect(lambda value: session.change(calibration_samples=value or None))
        self._method = _combo((
            ("auto", self.tr("Auto: smallest error")), ("minmax", self.tr("Min-max")),
            ("percentile", self.tr("Percentile")), ("mse", self.tr("MSE")), ("entropy", self.tr("Entropy (KL)")),
        ))  # fmt: skip
        self._method.setToolTip(self.tr("How the largest value that INT8 can hold is chosen for each tensor"))
        self._method.activated.connect(lambda: session.change(calibration_method=self._method.currentData()))
        self._quantizer = _combo((
            ("auto", self.tr("Auto: the faster")), ("own", self.tr("Icebreaker")),
            ("nncf", self.tr("NNCF, in OpenVINO")),
        ))  # fmt: skip
        self._quantizer.setToolTip(self.tr("Both quantize for OpenVINO; what is within the limit is measured"))
        if importlib.util.find_spec("nncf") is None:  # looked for, not imported
            self._quantizer.setEnabled(False)
            self._quantizer.setToolTip(
                self.tr("pip install 'icebreaker[nncf]' adds NNCF, a second way to INT8 in OpenVINO that Auto measures")
            )
        self._quantizer.activated.connect(lambda: session.change(quantizer=self._quantizer.currentData()))
        self._budget = _combo(((None, self.tr("No limit")), *((item, self._budget_words(item)) for item in _BUDGETS)))
        self._budget.setToolTip(
            self.tr("The worst layers are kept in 16 or 32 bits until this holds on data that was held back")
        )
        self._budget.activated.connect(lambda: session.change(accuracy_budget=self._budget.currentData()))
        grid = QGridLayout()
        rows = (
            (self.tr("Samples"), self._samples), (self.tr("Method"), self._method),
            (self.tr("Quantizer"), self._quantizer),
        )  # fmt: skip
        _fill(grid, rows)
        grid.addWidget(label(self.tr("Accuracy budget")), len(rows), 0, 1, 2)
        grid.addWidget(self._budget, len(rows) + 1, 0, 1, 2)
        return grid

    def _budget_words(self, share: float) -> str:
        return self.tr("At most {n} % different top-1 answers").format(n=f"{100 * share:g}")

    # What the user does

    def take(self, path: str) -> None:
        """Calibrates on `path` from now on: `random`, a table's JSON or anything that `calibration.open_data` takes."""
        table = path if path.endswith(".json") else None
        self._session.change(calibration=None if table else path, calibration_table=table, preprocessing=None)
        self._session.allow(python=False)  # allowing one program allows no other

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self.tr("A folder of images"), self._folder())
        if path:
            self.take(path)

    def _choose_file(self) -> None:
        kinds = self.tr("Calibration data (*.npz *.npy *.tfrecord *.tfrecords *.record *.py *.json);;All files (*)")
        path, _ = QFileDialog.getOpenFileName(self, self.tr("Calibration data"), self._folder(), kinds)
        if path:
            self.take(path)

    def _folder(self) -> str:
        return str(self._session.path.parent) if self._session.path else ""

    def _on_values(self) -> None:
        mean, std = _VALUES[self._values.currentData()]
        channels = {"caffe": "BGR", "imagenet": "RGB"}.get(self._values.currentData())
        self._change_how(mean=mean, std=std, **({"channels": channels} if channels else {}))

    def _change_how(self, **values: Any) -> None:
        how = self._preprocessing
        if how is None:
            return
        if how.channels == "L":
            values.pop("channels", None)
            if max(len(values.get("mean", ())), len(values.get("std", ()))) > 1:
                return  # means of three channels say nothing of grey
        self._session.change(preprocessing=dataclasses.asdict(dataclasses.replace(how, **values)))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes one folder or file; a graph goes on to the window, which opens it."""
        urls = event.mimeData().urls()
        path = Path(urls[0].toLocalFile()) if len(urls) == 1 and urls[0].isLocalFile() else None
        opens = path is not None and (path.suffix in (".pb", ".pbtxt", ".gz", ".keras", ".h5"))
        if path is None or opens or (path / "saved_model.pb").exists():
            event.ignore()
        else:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Calibrates on it."""
        event.acceptProposedAction()
        self.take(event.mimeData().urls()[0].toLocalFile())

    # What is shown

    def _update(self) -> None:
        settings = self._session.settings
        self.setVisible(settings.precision == "int8")
        path = source(settings)
        table = settings.quantization.calibration_table if not settings.quantization.calibration else None
        if path == "random":
            text = self.tr("random values")
        elif path:
            text = Path(path).name
        elif table:
            text = self.tr("ranges from {name}").format(name=Path(table).name)
        else:
            text = self.tr("Choose what to calibrate on")
        self._name.setText(text, "text" if path or table else "muted")
        self._name.setToolTip(path or table or "")
        program = bool(path) and Path(str(path)).suffix == ".py"
        self._allow.setVisible(program)
        with QSignalBlocker(self._allow), QSignalBlocker(self._samples):
            self._allow.setChecked(self._session.consent.python)
            self._samples.setValue(settings.quantization.calibration_samples or 0)
        self._method.setCurrentIndex(self._method.findData(settings.quantization.calibration_method))
        self._quantizer.setCurrentIndex(
            self._quantizer.findData(settings.quantization.quantizer if self._quantizer.isEnabled() else "own")
        )
        budget = settings.quantization.accuracy_budget
        if budget is not None and self._budget.findData(budget) < 0:
            self._budget.addItem(self._budget_words(budget), budget)
        self._budget.setCurrentIndex(0 if budget is None else self._budget.findData(budget))
        chosen = settings.quantization
        key = (
            self._session.graph is not None, self._session.path, path, settings.outputs, chosen.calibration_samples,
            chosen.calibration_seed, repr(chosen.preprocessing), settings.precision,
        )  # fmt: skip
        if key != self._shown:
            self._shown = key
            self._timer.start()

    def _look(self) -> None:
        """Begins to read the data, unless it must not be read here."""
        if self._thread and self._thread.is_alive():
            self._timer.start()
            return
        graph, settings = self._session.graph, self._session.settings
        path = source(settings)
        if settings.precision != "int8" or graph is None:
            return
        if path is None:
            if settings.quantization.calibration_table:
                found = self.tr("INT8 is built again from these ranges, without data.")
            elif lacks_data(self._session):
                found = self.tr("INT8 needs real data, to find the range of every tensor.")
            else:
                found = self.tr("The graph was trained with ranges for INT8: it needs no data.")
            self._show(Preview(notes=(found,)))
        elif Path(path).suffix == ".py":
            words = self.tr(
                "What it yields is not shown: a program runs only when you convert, apart from this window."
            )
            self._show(Preview(notes=(words,)))
        else:
            needed = graph.ancestors(name.split(":")[0] for name in settings.outputs)
            inputs = [
                dataset.Input(item.name, item.dtype, item.shape)
                for item in graph.placeholders
                if item.name in needed and not item.optional
            ]
            key = self._shown
            self._words.setText(self.tr("Reading…"))
            self._words.show()

            def work() -> None:
                preview = make_preview(path, inputs, settings)
                with contextlib.suppress(RuntimeError):  # the window is gone
                    self._read.emit((key, preview))

            self._thread = threading.Thread(target=work, name="calibration-preview", daemon=True)
            self._thread.start()

    def _on_read(self, found: tuple[object, Preview]) -> None:
        key, preview = found
        if key == self._shown:
            self._show(preview)

    def _show(self, preview: Preview) -> None:
        self._preprocessing = how = preview.preprocessing
        self._pictures.show_pictures(preview.pictures)
        warnings = [
            self.tr("Random data: the ranges and every accuracy figure mean nothing. Use it to measure speed only.")
            if text == dataset.RANDOM_WARNING
            else text
            for text in preview.warnings
        ]
        for widget, text in (
            (self._warning, "\n".join(warnings)),
            (self._problem, preview.problem),
            (self._words, "\n".join(preview.notes)),
        ):
            widget.setText(breakable(text))
            widget.setVisible(bool(text))
        self._how.setVisible(how is not None)
        if how:
            chosen = next((key for key, value in _VALUES.items() if value == (how.mean, how.std)), None)
            self._values.setCurrentIndex(self._values.findData(chosen))
            self._channels.setCurrentIndex(self._channels.findData(how.channels))
            self._channels.setEnabled(how.channels != "L")
            self._crop.setCurrentIndex(self._crop.findData(how.crop))


def _combo(items: Any) -> QComboBox:
    result = QComboBox()
    for value, text in items:
        result.addItem(text, value)
    result.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    result.setMinimumContentsLength(8)
    result.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    result.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return result


def _fill(target: QWidget | QGridLayout, rows: Sequence[tuple[str, QWidget]]) -> None:
    grid = target if isinstance(target, QGridLayout) else QGridLayout(target)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(theme.SPACE)
    grid.setVerticalSpacing(theme.SMALL)
    for row, (text, field) in enumerate(rows):
        name = label(text)
        name.setBuddy(field)
        name.setMinimumWidth(name.fontMetrics().horizontalAdvance("Quantizer"))  # two grids, one column
        grid.addWidget(name, row, 0)
        grid.addWidget(field, row, 1)
    grid.setColumnStretch(1, 1)


class _Pictures(QWidget):
    """A grid of pictures, as many as the width has room for, hidden while there are none."""

    def __init__(self) -> None:
        super().__init__()
        self._images: list[QImage] = []
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def show_pictures(self, pictures: Sequence[np.ndarray]) -> None:
        """Replaces what is shown by uint8 [H, W, 3]."""
        self._images = []
        for item in pictures:
            pixels = np.ascontiguousarray(item)
            height, width = pixels.shape[:2]
            image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            self._images.append(image.copy())  # it must not depend on bytes that go away
        self.setVisible(bool(self._images))
        self.setAccessibleName(self.tr("{n} pictures of what the network will see").format(n=len(self._images)))
        self.setToolTip(self.tr("What the network will really see of the first samples"))
        self.updateGeometry()
        self.update()

    @property
    def _side(self) -> int:
        return max(24, (self.width() - (_COLUMNS - 1) * theme.SMALL) // _COLUMNS)

    def hasHeightForWidth(self) -> bool:
        """Its height follows from its width."""
        return True

    def heightForWidth(self, width: int) -> int:
        """Height in pixels."""
        side = max(24, (width - (_COLUMNS - 1) * theme.SMALL) // _COLUMNS)
        rows = -(-len(self._images) // _COLUMNS)
        return rows * (side + theme.SMALL)

    def sizeHint(self) -> QSize:
        """At its width of now."""
        return QSize(240, self.heightForWidth(max(240, self.width())))

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme."""
        super().changeEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draws them, small ones without smoothing: their pixels are what the network gets."""
        painter, side = QPainter(self), self._side
        for index, image in enumerate(self._images):
            row, column = divmod(index, _COLUMNS)
            left, top = column * (side + theme.SMALL), row * (side + theme.SMALL)
            smooth = max(image.width(), image.height()) > side
            mode = Qt.TransformationMode.SmoothTransformation if smooth else Qt.TransformationMode.FastTransformation
            scaled = image.scaled(side, side, Qt.AspectRatioMode.KeepAspectRatio, mode)
            painter.drawImage(left + (side - scaled.width()) // 2, top + (side - scaled.height()) // 2, scaled)
            painter.setPen(theme.current().color("border"))
            painter.drawRect(left, top, side - 1, side - 1)
