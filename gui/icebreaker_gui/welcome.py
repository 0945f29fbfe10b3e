"""What is shown before a graph is open."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import caption, tip
from icebreaker_gui.style.widgets import button, clear, label

_WIDTH = 620
_MOST_RECENT = 4


class Welcome(QWidget):
    """Three ways to begin, and the files opened lately."""

    openWanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.setProperty("look", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        picture = label()
        picture.setPixmap(QIcon(str(theme.APP_ICON)).pixmap(QSize(88, 88)))
        picture.setFixedSize(88, 88)
        title = label(self.tr("Make a frozen graph run faster"))
        title.setFont(theme.font(1.9, bold=True))
        hint = label(
            self.tr(
                "Open a frozen TensorFlow graph, press Convert, and see which parts became engines and how much "
                "faster they are."
            ),
            "muted",
            wrap=True,
        )
        hint.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        hint.setFixedWidth(440)
        hint.setMinimumHeight(hint.heightForWidth(440))  # which the layout around it would not ask for
        self._ways = self._make_ways()
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.SPACE)
        buttons.addStretch()
        for way in self._ways:
            buttons.addWidget(way)
        buttons.addStretch()
        drop = label(self.tr("or drop a file or a SavedModel folder anywhere in this window"), "muted")
        self._recent = QVBoxLayout()
        self._recent.setSpacing(0)
        box = QFrame()
        box.setMaximumWidth(_WIDTH)
        column = QVBoxLayout(box)
        column.setSpacing(theme.LARGE)
        for widget in (picture, title, hint):
            column.addWidget(widget, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addLayout(buttons)
        column.addWidget(drop, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addSpacing(theme.SPACE)
        column.addLayout(self._recent)
        layout = QVBoxLayout(self)
        layout.addStretch(2)
        layout.addWidget(box, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(3)
        session.recent.changed.connect(self._fill_recent)
        session.activityChanged.connect(self._update)
        self._fill_recent()

    def _make_ways(self) -> tuple[QPushButton, ...]:
        opener = button(
            self.tr("Open a graph…"), self.tr("A .pb, .pbtxt, .keras or .h5 file (Ctrl+O)"), "primary", large=True
        )
        opener.clicked.connect(self.openWanted)
        digits = button(
            self.tr("Try the digits sample"),
            self.tr("A small network that reads handwritten digits, ready to convert"),
            large=True,
        )
        digits.clicked.connect(lambda: self._session.make_sample("digits"))
        resnet = button(
            self.tr("Try ResNet-50"),
            self.tr("The classic example; made here with random weights, which takes a moment"),
            large=True,
        )
        resnet.clicked.connect(lambda: self._session.make_sample("resnet50"))
        return opener, digits, resnet

    def _update(self) -> None:
        for way in self._ways:
            way.setEnabled(not self._session.busy)

    def _fill_recent(self) -> None:
        clear(self._recent)
        recent = [Path(path) for path in self._session.recent.paths[:_MOST_RECENT]]
        if recent:
            self._recent.addWidget(label(self.tr("Opened lately"), "title"), 0, Qt.AlignmentFlag.AlignHCenter)
        for path in recent:
            link = button("", tip(str(path)), "link")
            name = link.fontMetrics().elidedText(path.name, Qt.TextElideMode.ElideMiddle, _WIDTH - theme.LARGE)
            link.setText(caption(name))
            link.clicked.connect(lambda _checked=False, path=path: self._session.open(path))
            row = QHBoxLayout()
            row.addWidget(link)
            row.addWidget(label(formatting.last_result(self._session.recent.result(str(path))), "muted"))
            held = QWidget()
            held.setLayout(row)
            row.setContentsMargins(0, 0, 0, 0)
            self._recent.addWidget(held, 0, Qt.AlignmentFlag.AlignHCenter)
