"""The part of Setup that INT8 adds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, QTimer
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QGridLayout, QHBoxLayout

from icebreaker.data import dataset
from icebreaker.preprocessing import Preprocessing
from icebreaker_gui.panels.setup.calibration.fields import combo, wide_grid
from icebreaker_gui.panels.setup.calibration.pictures import Pictures
from icebreaker_gui.panels.setup.calibration.preprocessing import PreprocessingForm
from icebreaker_gui.panels.setup.calibration.preview import Preview, make_preview
from icebreaker_gui.panels.setup.calibration.source import RANDOM, data_source, lacks_data
from icebreaker_gui.session import graph_io
from icebreaker_gui.session.background import Work
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import Elided, Section, breakable, button, label, number
from icebreaker_gui.style.wording import error_text, worded

_DELAY_MILLISECONDS = 200  # several changes that come together are looked at once
_BUDGETS = (0.001, 0.005, 0.01, 0.02, 0.05)


class Calibration(Section):
    """The form of INT8; hidden for other precisions. Data is read in a thread; a Python file is never run here."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Calibration"))
        self._session = session
        self.setAcceptDrops(True)
        self._shown: object = None  # what the preview is of
        self._reading: Work[Preview | Exception] | None = None
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
        self._pictures = Pictures()
        widest = self.tr("Quantizer")
        self._preprocessing = PreprocessingForm(widest)
        self._preprocessing.chosen.connect(self._on_preprocessing)
        for widget in (self._warning, self._problem, self._pictures, self._words, self._preprocessing):
            self.body.addWidget(widget)
        self.body.addLayout(self._make_fields(widest))
        self._timer = QTimer(self, singleShot=True, interval=_DELAY_MILLISECONDS)
        self._timer.timeout.connect(self._look)
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
        random.clicked.connect(lambda: self.take(RANDOM))
        row = QHBoxLayout()
        row.setSpacing(theme.SPACE)
        for source in (folder, file, random):
            row.addWidget(source, 1)
        return row

    def _make_fields(self, widest: str) -> QGridLayout:
        session = self._session
        tip = self.tr("Taken at random; a quarter is held back to judge the accuracy with")
        self._samples = number(0, 1_000_000, 0, tip)
        self._samples.setSpecialValueText(self.tr("all"))
        self._samples.valueChanged.connect(lambda value: session.change(calibration_samples=value or None))
        self._method = combo((
            ("auto", self.tr("Auto: smallest error")), ("minmax", self.tr("Min-max")),
            ("percentile", self.tr("Percentile")), ("mse", self.tr("MSE")), ("entropy", self.tr("Entropy (KL)")),
        ))  # fmt: skip
        self._method.setToolTip(self.tr("How the largest value that INT8 can hold is chosen for each tensor"))
        self._method.activated.connect(lambda: session.change(calibration_method=self._method.currentData()))
        self._quantizer = self._make_quantizer()
        self._budget = combo(((None, self.tr("No limit")), *((share, self._budget_words(share)) for share in _BUDGETS)))
        self._budget.setToolTip(
            self.tr("The worst layers are kept in 16 or 32 bits until this holds on data that was held back")
        )
        self._budget.activated.connect(lambda: session.change(accuracy_budget=self._budget.currentData()))
        rows = (
            (self.tr("Samples"), self._samples), (self.tr("Method"), self._method),
            (self.tr("Quantizer"), self._quantizer),
        )  # fmt: skip
        grid = wide_grid(rows, widest)
        grid.addWidget(label(self.tr("Accuracy budget")), len(rows), 0, 1, 2)
        grid.addWidget(self._budget, len(rows) + 1, 0, 1, 2)
        return grid

    def _make_quantizer(self) -> QComboBox:
        quantizer = combo((
            ("auto", self.tr("Auto: the faster")), ("own", self.tr("Icebreaker")),
            ("nncf", self.tr("NNCF, in OpenVINO")),
        ))  # fmt: skip
        quantizer.setToolTip(self.tr("Both quantize for OpenVINO; what is within the limit is measured"))
        if importlib.util.find_spec("nncf") is None:  # looked for, not imported
            quantizer.setEnabled(False)
            quantizer.setToolTip(
                self.tr("pip install 'icebreaker[nncf]' adds NNCF, a second way to INT8 in OpenVINO that Auto measures")
            )
        quantizer.activated.connect(lambda: self._session.change(quantizer=quantizer.currentData()))
        return quantizer

    def _budget_words(self, share: float) -> str:
        return self.tr("At most {n} % different top-1 answers").format(n=f"{100 * share:g}")

    # What the user does

    def take(self, path: str) -> None:
        """Calibrates on `path` from now on: `RANDOM`, a table's JSON or what `data.dataset.open_data` takes."""
        table = path if Path(path).suffix == ".json" else None
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

    def _on_preprocessing(self, preprocessing: Preprocessing) -> None:
        self._session.change(preprocessing=preprocessing)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes one folder or file; a graph goes on to the window, which opens it."""
        urls = event.mimeData().urls()
        path = Path(urls[0].toLocalFile()) if len(urls) == 1 and urls[0].isLocalFile() else None
        if path is None or path.suffix in graph_io.SUFFIXES or (path / "saved_model.pb").exists():
            event.ignore()
        else:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Calibrates on what was dropped."""
        event.acceptProposedAction()
        self.take(event.mimeData().urls()[0].toLocalFile())

    # What is shown

    def _update(self) -> None:
        settings, chosen = self._session.settings, self._session.settings.quantization
        self.setVisible(settings.precision == "int8")
        path = data_source(settings)
        self._show_source(path)
        with QSignalBlocker(self._allow), QSignalBlocker(self._samples):
            self._allow.setChecked(self._session.consent.python)
            self._samples.setValue(chosen.calibration_samples or 0)
        self._method.setCurrentIndex(self._method.findData(chosen.calibration_method))
        self._quantizer.setCurrentIndex(
            self._quantizer.findData(chosen.quantizer if self._quantizer.isEnabled() else "own")
        )
        budget = chosen.accuracy_budget
        if budget is not None and self._budget.findData(budget) < 0:
            self._budget.addItem(self._budget_words(budget), budget)
        self._budget.setCurrentIndex(0 if budget is None else self._budget.findData(budget))
        shown = (
            self._session.graph is not None, self._session.path, path, settings.outputs, chosen.calibration_samples,
            chosen.calibration_seed, repr(chosen.preprocessing), settings.precision,
        )  # fmt: skip
        if shown != self._shown:
            self._shown = shown
            self._timer.start()

    def _show_source(self, path: str | None) -> None:
        """Names the data or, in its place, the table of ranges; asks for trust in a program."""
        chosen = self._session.settings.quantization
        table = chosen.calibration_table if not chosen.calibration else None
        if path == RANDOM:
            text = self.tr("random values")
        elif path:
            text = Path(path).name
        elif table:
            text = self.tr("ranges from {name}").format(name=Path(table).name)
        else:
            text = self.tr("Choose what to calibrate on")
        self._name.setText(text, "text" if path or table else "muted")
        self._name.setToolTip(tip(path or table or ""))
        self._allow.setVisible(path is not None and Path(path).suffix == ".py")

    def _look(self) -> None:
        """Begins to read the data, unless it must not be read here."""
        if self._reading and self._reading.alive:
            self._timer.start()
            return
        graph, settings = self._session.graph, self._session.settings
        path = data_source(settings)
        if settings.precision != "int8" or graph is None:
            return
        if path is None:
            self._show(Preview(notes=(self._words_without_data(),)))
        elif Path(path).suffix == ".py":
            words = self.tr(
                "What it yields is not shown: a program runs only when you convert, apart from this window."
            )
            self._show(Preview(notes=(words,)))
        else:
            needed = graph.ancestors(name.split(":")[0] for name in settings.outputs)
            inputs = [
                dataset.Input(placeholder.name, placeholder.dtype, placeholder.shape)
                for placeholder in graph.placeholders
                if placeholder.name in needed and not placeholder.optional
            ]
            self._words.setText(self.tr("Reading…"))
            self._words.show()
            shown = self._shown
            self._reading = Work(self, lambda batch: self._on_read(batch[0], shown))
            self._reading.run_thread(lambda: make_preview(path, inputs, settings), "calibration-preview")

    def _words_without_data(self) -> str:
        if self._session.settings.quantization.calibration_table:
            return self.tr("INT8 is built again from these ranges, without data.")
        if lacks_data(self._session):
            return self.tr("INT8 needs real data, to find the range of every tensor.")
        return self.tr("The graph was trained with ranges for INT8: it needs no data.")

    def _on_read(self, outcome: Preview | Exception, shown: object) -> None:
        if shown == self._shown:  # else something else has been chosen meanwhile
            self._show(Preview(problem=error_text(outcome)) if isinstance(outcome, Exception) else outcome)

    def _show(self, preview: Preview) -> None:
        self._pictures.show_pictures(preview.pictures)
        self._preprocessing.show_preprocessing(preview.preprocessing)
        for widget, texts in (
            (self._warning, preview.warnings),
            (self._problem, (preview.problem,)),
            (self._words, preview.notes),
        ):
            text = "\n".join(map(worded, texts))
            widget.setText(breakable(text))
            widget.setVisible(bool(text))
