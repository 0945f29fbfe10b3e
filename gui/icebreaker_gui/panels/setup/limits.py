"""Numbers that bound the engines, and those that bound the worker which builds them."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker
from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget

from icebreaker.errors import IcebreakerError
from icebreaker.messages import Message
from icebreaker.settings import parse_size
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting
from icebreaker_gui.style.widgets import Section, button, form_grid, label, number
from icebreaker_gui.style.wording import error_text


class EngineLimits(Section):
    """Numbers that reach the engines that have them."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Limits"))
        self._session = session
        tip = self.tr("Largest batch that the engines must take; they are tuned for it")
        self._batch = number(1, 4096, session.settings.max_batch_size, tip)
        self._batch.valueChanged.connect(lambda value: session.change(max_batch_size=value))
        tip = self.tr("Segments with fewer ops than this stay in TensorFlow")
        self._least = number(1, 10_000, session.settings.minimum_segment_size, tip)
        self._least.valueChanged.connect(lambda value: session.change(minimum_segment_size=value))
        self._retry = QCheckBox(self.tr("Try again what has crashed"))
        self._retry.setToolTip(
            self.tr("A build that ended the worker is left out in later conversions, unless you ask")
        )
        self._retry.toggled.connect(lambda on: session.allow(crashed=on))
        self._workspace = QLineEdit()
        self._workspace.setToolTip(
            self.tr("Scratch memory for TensorRT's builder, such as 4 GB or 512 MiB; other engines need none")
        )
        self._workspace.editingFinished.connect(self._on_workspace)
        self._problem = label(look="error", wrap=True)
        self._problem.hide()
        rows = (
            (self.tr("Max batch size"), self._batch), (self.tr("Minimum segment size"), self._least),
            (self.tr("Workspace"), self._workspace),
        )  # fmt: skip
        grid, _ = form_grid(rows, field_width=104)
        self.body.addLayout(grid)
        self.body.addWidget(self._problem)
        self.body.addWidget(self._retry)
        session.settingsChanged.connect(self._update)
        session.conversionChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        settings = self._session.settings
        for field, value in (
            (self._batch, settings.max_batch_size),
            (self._least, settings.minimum_segment_size),
        ):
            with QSignalBlocker(field):
                field.setValue(value)
        with QSignalBlocker(self._retry):
            self._retry.setChecked(self._session.consent.crashed)
        self._retry.setVisible(self._session.consent.crashed or self._has_crashed())
        if not self._problem.isVisibleTo(self):
            self._workspace.setText(formatting.exact_size(settings.builder.workspace_bytes))

    def _has_crashed(self) -> bool:
        """True if the last conversion left something out since it had crashed before."""
        conversion = self._session.conversion
        told = (*conversion.warnings, *(left.reason for left in conversion.left_in_tensorflow)) if conversion else ()
        return any(isinstance(words, Message) and words.remedy == "retry_crashed" for words in told)

    def _on_workspace(self) -> None:
        try:
            size = parse_size(self._workspace.text())
        except IcebreakerError as error:
            self._problem.setText(error_text(error))
            self._problem.show()
            return
        self._problem.hide()
        self._session.change(workspace_bytes=size)
        self._workspace.setText(formatting.exact_size(size))


class WorkerLimits(Section):
    """What few people need, folded away until it is asked for: limits of the worker, and trust."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._fold = button("", self.tr("The worker's limits, and trust in engines"), "link")
        self._fold.setCheckable(True)
        self._fold.toggled.connect(self._unfold)
        self.body.addWidget(self._fold)
        self._fields = QWidget()
        self.body.addWidget(self._fields)
        self._memory = QLineEdit(placeholderText=self.tr("automatic"))
        self._memory.setToolTip(
            self.tr("Memory that the worker may take, such as 8 GB; empty: nine tenths of the machine's")
        )
        self._memory.editingFinished.connect(self._on_memory)
        tip = self.tr("How long a conversion or a measurement may take as a whole; 0: as long as it needs")
        self._time = number(0, 604_800, 0, tip)
        self._time.setSpecialValueText(self.tr("none"))
        self._time.setSuffix(self.tr(" s"))
        self._time.valueChanged.connect(lambda value: session.limit(time_seconds=float(value) or None))
        tip = self.tr("A worker that gives no sign of life for so long counts as hanging and is ended")
        self._patience = number(1, 86_400, round(session.limits.patience_seconds), tip)
        self._patience.setSuffix(self.tr(" s"))
        self._patience.valueChanged.connect(lambda value: session.limit(patience_seconds=float(value)))
        self._trust = QCheckBox(self.tr("Trust engines built elsewhere"))
        self._trust.setToolTip(
            self.tr(
                "Engines in an optimized graph can be native code. Unless they were built here, they are loaded only "
                "if you trust where the file comes from."
            )
        )
        self._trust.toggled.connect(lambda on: session.allow(engines=on))
        self._problem = label(look="error", wrap=True)
        self._problem.hide()
        rows = (
            (self.tr("Memory limit"), self._memory), (self.tr("Time limit"), self._time),
            (self.tr("Patience"), self._patience),
        )  # fmt: skip
        grid, _ = form_grid(rows, field_width=124)
        grid.setContentsMargins(0, 0, 0, 0)
        self._fields.setLayout(grid)
        grid.addWidget(self._problem, 3, 0, 1, 2)
        grid.addWidget(self._trust, 4, 0, 1, 2)
        self._unfold(False)
        session.settingsChanged.connect(self._update)
        self._update()

    def _unfold(self, on: bool) -> None:
        self._fields.setVisible(on)
        self._fold.setText(("▾ " if on else "▸ ") + self.tr("Limits of the worker"))

    def _update(self) -> None:
        limits = self._session.limits
        with QSignalBlocker(self._time), QSignalBlocker(self._patience), QSignalBlocker(self._trust):
            self._time.setValue(round(limits.time_seconds or 0))
            self._patience.setValue(round(limits.patience_seconds))
            self._trust.setChecked(self._session.consent.engines)
        if not self._problem.isVisibleTo(self._fields):
            limit = limits.memory_bytes
            self._memory.setText("" if limit is None else formatting.exact_size(limit))

    def _on_memory(self) -> None:
        text = self._memory.text().strip()
        try:
            self._session.limit(memory_bytes=parse_size(text) if text else None)
        except IcebreakerError as error:
            self._problem.setText(error_text(error))
            self._problem.show()
            return
        self._problem.hide()
        self._update()
