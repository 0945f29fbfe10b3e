"""Notices at the top of the window: what went wrong, and questions that do not keep anybody from working."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from icebreaker_gui.session.session import Problem
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import breakable, button, label

_LONGEST_WORD = 60  # letters; longer ones may break, or they would widen the window


class Banner(QFrame):
    """A calm notice of what went wrong and what helps. It stays until it is dismissed."""

    dismissed = Signal()
    detailsWanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("look", "banner-error")
        self._title = label(look="title", wrap=True, select=True)
        self._text = label(wrap=True, select=True)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.MinimumExpanding)
        details = button(self.tr("Show the log"), self.tr("All that is known about it is in the log"), "link")
        details.clicked.connect(self.detailsWanted)
        close = QToolButton()
        close.setText("✕")
        close.setToolTip(self.tr("Dismiss this notice"))
        close.setAccessibleName(self.tr("Dismiss"))
        close.clicked.connect(self.dismissed)
        words = QVBoxLayout()
        words.setSpacing(theme.TINY)
        words.addWidget(self._title)
        words.addWidget(self._text)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(theme.LARGE, theme.SPACE, theme.SPACE, theme.SPACE)
        layout.addLayout(words, 1)
        layout.addWidget(details, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    def show_problem(self, problem: Problem | None) -> None:
        """Shows a problem, or nothing."""
        self.setVisible(problem is not None)
        if problem:
            self._title.setText(breakable(problem.title, _LONGEST_WORD))
            self._text.setText(breakable(problem.text, _LONGEST_WORD))


class Question(QFrame):
    """A question in the window with two answers; nothing waits for it, and it can be left unanswered."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("look", "banner-warning")
        self._text = label(wrap=True)
        self.yes = button("")
        self.no = button("")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(theme.LARGE, theme.SPACE, theme.SPACE, theme.SPACE)
        layout.addWidget(self._text, 1)
        layout.addWidget(self.no)
        layout.addWidget(self.yes)
        self._on_yes: Callable[[], object] = lambda: None
        self._on_no: Callable[[], object] = lambda: None
        self.no.clicked.connect(lambda: self._answer(self._on_no))
        self.yes.clicked.connect(lambda: self._answer(self._on_yes))
        self.hide()

    @property
    def text(self) -> str:
        """What is asked."""
        return self._text.text()

    def ask(
        self,
        text: str,
        yes: str,
        no: str,
        then: Callable[[], object],
        otherwise: Callable[[], object] = lambda: None,
    ) -> None:
        """Shows a question; one that has not been answered yet gives way.

        Args:
            text: The question.
            yes: Words of the answer yes.
            no: Words of the answer no, which has the focus.
            then: Is called if the answer is yes.
            otherwise: Is called if the answer is no.
        """
        self._on_yes, self._on_no = then, otherwise
        self._text.setText(breakable(text, _LONGEST_WORD))
        self.yes.setText(yes)
        self.no.setText(no)
        self.show()
        self.no.setFocus()

    def _answer(self, answer: Callable[[], object]) -> None:
        self.hide()  # first: the answer may ask the next question
        answer()


class Notices(QWidget):
    """The banner and the question above each other; it takes no room while there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.banner = Banner()
        self.question = Question()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.banner)
        layout.addWidget(self.question)
