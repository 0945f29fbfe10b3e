"""The window of preferences; each takes effect as it is changed."""

from __future__ import annotations

import os

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from icebreaker.errors import IcebreakerError
from icebreaker.settings import parse_size
from icebreaker.storage import cache
from icebreaker_gui.preferences import values
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Section, button, form_grid, label, number
from icebreaker_gui.style.wording import error_text

# What can be made again: engines' own caches, and what has crashed; that engines were built here is not forgotten.
_FORGOTTEN = ("tensorrt", "tensorrt-rtx", "crashes")
_FIELD = 190


class Preferences(QDialog):
    """Theme, language, what workers may take, and the cache."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Preferences"))
        self._session = session
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.HUGE, theme.LARGE, theme.HUGE, theme.LARGE)
        layout.setSpacing(theme.LARGE)
        for section in (self._looks(), self._limits(), self._cache()):
            layout.addWidget(section)
        layout.addStretch()
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.button(QDialogButtonBox.StandardButton.Close).setToolTip(self.tr("Everything is kept already"))
        close.rejected.connect(self.close)
        layout.addWidget(close)
        self.setMinimumWidth(460)

    def _looks(self) -> Section:
        section = Section(self.tr("Looks"))
        self.theme = QComboBox()
        for name, words in (
            (values.SYSTEM, self.tr("As the system")), ("light", self.tr("Light")), ("dark", self.tr("Dark")),
        ):  # fmt: skip
            self.theme.addItem(words, name)
        self.theme.setCurrentIndex(max(0, self.theme.findData(values.chosen("theme"))))
        self.theme.setToolTip(self.tr("Light or dark, at once"))
        self.theme.activated.connect(self._change_theme)
        self.language = QComboBox()
        self.language.addItem(self.tr("As the system"), values.SYSTEM)
        for code, words in values.languages().items():
            self.language.addItem(words, code)
        self.language.setCurrentIndex(max(0, self.language.findData(values.chosen("language"))))
        self.language.setToolTip(self.tr("Takes effect when the app starts next"))
        self.language.activated.connect(self._change_language)
        self._later = label(self.tr("The language changes when the app starts next."), "muted")
        self._later.hide()
        self._add_fields(section, ((self.tr("&Theme"), self.theme), (self.tr("&Language"), self.language)))
        section.body.addWidget(self._later)
        return section

    def _limits(self) -> Section:
        section, limits = Section(self.tr("What a conversion or measurement may take")), self._session.limits
        most = os.cpu_count() or 1
        tip = self.tr("Processor cores for TensorFlow and the engines; they count those that they may use")
        self.threads = number(0, most, limits.threads or 0, tip)
        self.threads.setSpecialValueText(self.tr("all {n}").format(n=most))
        self.threads.valueChanged.connect(lambda value: self._limit(threads=value or None))
        self.memory = QLineEdit(placeholderText=self.tr("automatic"))
        self.memory.setText("" if limits.memory_bytes is None else formatting.exact_size(limits.memory_bytes))
        self.memory.setToolTip(self.tr("Such as 8 GB; empty: nine tenths of the machine's memory"))
        self.memory.editingFinished.connect(self._change_memory)
        tip = self.tr("As a whole; 0: as long as it needs")
        self.time = number(0, 604_800, round(limits.time_seconds or 0), tip)
        self.time.setSpecialValueText(self.tr("none"))
        self.time.setSuffix(self.tr(" s"))
        self.time.valueChanged.connect(lambda value: self._limit(time_seconds=float(value) or None))
        tip = self.tr("Without a sign of life for so long it counts as hanging and is ended")
        self.patience = number(1, 86_400, round(limits.patience_seconds), tip)
        self.patience.setSuffix(self.tr(" s"))
        self.patience.valueChanged.connect(lambda value: self._limit(patience_seconds=float(value)))
        self._problem = label(look="error", wrap=True)
        self._problem.hide()
        self._add_fields(section, (
            (self.tr("&Processor cores"), self.threads), (self.tr("&Memory limit"), self.memory),
            (self.tr("T&ime limit"), self.time), (self.tr("P&atience"), self.patience),
        ))  # fmt: skip
        section.body.addWidget(self._problem)
        return section

    def _cache(self) -> Section:
        section = Section(self.tr("What is remembered between runs"))
        self._size = label(look="muted")
        self.clear = button(
            self.tr("&Clear"), self.tr("Forgets engines' own caches and what has crashed; it is made again when needed")
        )
        self.clear.clicked.connect(self._clear)
        row = QHBoxLayout()
        row.addWidget(self._size, 1)
        row.addWidget(self.clear)
        section.body.addLayout(row)
        self._show_size()
        return section

    def _add_fields(self, section: Section, rows: tuple[tuple[str, QWidget], ...]) -> None:
        grid, _ = form_grid(rows, field_width=_FIELD)
        for words, field in rows:
            field.setAccessibleName(words.replace("&", ""))
        section.body.addLayout(grid)

    # ---- what the user does -----------------------------------------------------------------------------------------

    def _change_theme(self) -> None:
        values.choose("theme", self.theme.currentData())
        app = QApplication.instance()
        if isinstance(app, QApplication):
            values.show_theme(app)

    def _change_language(self) -> None:
        values.choose("language", self.language.currentData())
        self._later.show()

    def _limit(self, **limits: int | float | None) -> None:
        self._session.limit(**limits)
        values.keep_limits(self._session)

    def _change_memory(self) -> None:
        text = self.memory.text().strip()
        try:
            self._limit(memory_bytes=parse_size(text) if text else None)
        except IcebreakerError as error:
            self._problem.setText(error_text(error))
            self._problem.show()
            return
        self._problem.hide()

    def _clear(self) -> None:
        cache.clear(*_FORGOTTEN)
        self._show_size()

    def _show_size(self) -> None:
        size = cache.size(*_FORGOTTEN)
        self._size.setText(formatting.size(size))
        self.clear.setEnabled(size > 0)
