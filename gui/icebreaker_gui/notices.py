"""Notices over the window: what went wrong, and questions that do not keep anybody from working.

They lie over what is shown and take no room of it: nothing moves under the pointer when one comes or goes.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from icebreaker_gui.session.session import Problem
from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import breakable, button, label

_WIDEST = 760
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
    """A question in the window with two answers or three; nothing waits for it, and it can be left unanswered.

    Return gives the answer that has the focus.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("look", "banner-warning")
        self._text = label(wrap=True)
        self.yes = button("")
        self.no = button("")
        self.other = button("")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(theme.LARGE, theme.SPACE, theme.SPACE, theme.SPACE)
        layout.addWidget(self._text, 1)
        layout.addWidget(self.no)
        layout.addWidget(self.other)
        layout.addWidget(self.yes)
        self._on_yes: Callable[[], object] = lambda: None
        self._on_other: Callable[[], object] = lambda: None
        self._on_no: Callable[[], object] = lambda: None
        self.no.clicked.connect(lambda: self._answer(self._on_no))
        self.yes.clicked.connect(lambda: self._answer(self._on_yes))
        self.other.clicked.connect(lambda: self._answer(self._on_other))
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
        *,
        other: tuple[str, Callable[[], object]] | None = None,
        focus: bool = True,
    ) -> None:
        """Shows a question; one that has not been answered yet gives way.

        Args:
            text: The question.
            yes: Words of the answer yes.
            no: Words of the answer no, which has the focus.
            then: Is called if the answer is yes.
            otherwise: Is called if the answer is no.
            other: Words of a third answer, and what is called if it is given.
            focus: False leaves the keys where they are.
        """
        self._on_yes, self._on_no = then, otherwise
        self._text.setText(breakable(text, _LONGEST_WORD))
        self.yes.setText(yes)
        self.no.setText(no)
        self.other.setVisible(other is not None)
        if other:
            self.other.setText(other[0])
            self._on_other = other[1]
        self.show()
        if focus:
            self.no.setFocus()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Return presses the answer that has the focus: outside of dialogs Qt has only the space bar do so."""
        focused = self.focusWidget()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and isinstance(focused, QPushButton):
            focused.click()
        else:
            super().keyPressEvent(event)

    def _answer(self, answer: Callable[[], object]) -> None:
        self.hide()  # first: the answer may ask the next question
        answer()


class Notices(QWidget):
    """The banner and the question above each other, over the upper part of what is shown."""

    def __init__(self, over: QWidget) -> None:
        """Lies over a widget and follows its size; below what stands at its top, see `below`."""
        super().__init__(over)
        self._over = over
        self.banner = Banner()
        self.question = Question()
        self._below = theme.SPACE
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.banner)
        layout.addWidget(self.question)
        over.installEventFilter(self)
        for part in (self.banner, self.question):
            part.installEventFilter(self)
        self.hide()

    def below(self, height: int) -> None:
        """Leaves so much free at the top."""
        self._below = height
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follows the size of what it lies over, and takes the height that is needed."""
        kinds = QEvent.Type.Resize, QEvent.Type.ShowToParent, QEvent.Type.HideToParent, QEvent.Type.LayoutRequest
        if event.type() in kinds:
            self._place()
        return False

    def _place(self) -> None:
        shown = not (self.banner.isHidden() and self.question.isHidden())
        self.setVisible(shown)
        layout, over = self.layout(), self._over
        if shown and layout:
            wide = min(over.width() - 2 * theme.SPACE, _WIDEST)
            layout.activate()
            tall = max(layout.heightForWidth(wide), layout.minimumSize().height())
            self.setGeometry((over.width() - wide) // 2, self._below, wide, min(tall, over.height() - self._below))
            self.raise_()
