"""The strip under the menu bar: what the conversion came to, at a glance."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from icebreaker_gui.panels.setup.calibration.source import lacks_data
from icebreaker_gui.panels.verdict import Step, Verdict, changes, verdict
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import tip
from icebreaker_gui.style.widgets import button, clear, label, set_look

_HEIGHT = 76
_HEADLINE = 2.1  # times the usual font
_NARROW, _NARROWEST = 900, 760  # below these widths facts, then bars go


class Bars(QWidget):
    """Two times as bars on one scale, each with its words."""

    def __init__(self) -> None:
        super().__init__()
        self._times: tuple[float, float] | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(170)
        self.setMaximumWidth(460)

    def sizeHint(self) -> QSize:
        """As wide as it is read best."""
        return QSize(340, 44)

    def show_times(self, before: float, after: float) -> None:
        """Milliseconds of a call before and after."""
        self._times = before, after
        self.setAccessibleName(
            self.tr("{before} before, {after} after").format(
                before=formatting.milliseconds(before), after=formatting.milliseconds(after)
            )
        )
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints the bars."""
        if not self._times:
            return
        painter, colors = QPainter(self), theme.current()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        titles = self.tr("Before"), self.tr("After")
        figures = [formatting.milliseconds(time) for time in self._times]
        measure = self.fontMetrics()
        left = max(map(measure.horizontalAdvance, titles)) + 10.0
        right = max(map(measure.horizontalAdvance, figures)) + 10.0
        room, line, most = self.width() - left - right, self.height() / 2, max(*self._times, 1e-9)
        for row, (title, figure, time, color) in enumerate(
            zip(titles, figures, self._times, ("original", "optimized"), strict=True)
        ):
            box = QRectF(0, row * line, self.width(), line)
            painter.setPen(colors.color("muted"))
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, title)
            bar = QRectF(left, box.center().y() - 6, max(3.0, room * time / most), 12)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colors.color(color))
            painter.drawRoundedRect(bar, 3, 3)
            painter.setPen(colors.color("text"))
            place = QRectF(bar.right() + 8, box.top(), right, line)
            painter.drawText(place, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, figure)


class ResultStrip(QFrame):
    """One headline with its interval, before and after as bars, what runs where, Save; or what to try next.

    There is none before something was converted.
    """

    saveWanted = Signal()
    setupWanted = Signal()  # to choose what a next step lacks

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.verdict: Verdict | None = None
        self.setProperty("look", "strip")
        self.setFixedHeight(_HEIGHT)
        self.setAccessibleName(self.tr("Result"))
        self._headline, self._sure = label(), label(look="muted")
        self._headline.setFont(theme.font(_HEADLINE, bold=True))
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addStretch()
        words.addWidget(self._headline)
        words.addWidget(self._sure)
        words.addStretch()
        self.bars = Bars()
        self._facts = [label(), label(look="muted")]
        self._about = QWidget()
        facts = QVBoxLayout(self._about)
        facts.setContentsMargins(0, 0, 0, 0)
        facts.setSpacing(theme.TINY)
        facts.addStretch()
        for line in self._facts:
            facts.addWidget(line)
        facts.addStretch()
        self.steps = QHBoxLayout()
        self.steps.setSpacing(theme.SPACE)
        self.save = button(self.tr("Save…"), self.tr("Keep the optimized graph under a name of yours (Ctrl+S)"))
        self.save.clicked.connect(self.saveWanted)
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.LARGE, theme.SMALL, theme.LARGE, theme.SMALL)
        row.setSpacing(theme.HUGE)
        row.addLayout(words)
        row.addWidget(self.bars, 3)
        row.addWidget(self._about)
        row.addStretch(1)
        row.addLayout(self.steps)
        row.addWidget(self.save)
        for signal in (
            session.conversionChanged, session.benchmarkChanged, session.activityChanged, session.savedChanged,
            session.machineChanged, session.graphChanged,
        ):  # fmt: skip
            signal.connect(self._update)
        self._update()

    def _update(self) -> None:
        session, found = self._session, verdict(self._session)
        activity = session.activity
        measuring = activity is not None and activity.kind == "measure"
        if found is None:
            self.verdict = None
            return
        if found != self.verdict:
            self.verdict = found
            self._show(found)
        if measuring:
            self._headline.setText(self.tr("Measuring…"))
            self._sure.setText(self.tr("both graphs in turns, on the same inputs"))
        elif self._sure.text() != found.sure or self._headline.text() != found.headline:
            self._headline.setText(found.headline)
            self._sure.setText(found.sure)
        set_look(self._headline, "" if measuring else {"good": "finding", "poor": "warning"}.get(found.tone, ""))
        gained = session.conversion is not None and bool(session.conversion.segments)
        self.save.setVisible(gained)
        self.save.setEnabled(not session.busy)
        set_look(self.save, "primary" if session.unsaved and found.tone == "good" else "")
        for index in range(self.steps.count()):
            if (item := self.steps.itemAt(index)) and (step := item.widget()):
                step.setEnabled(not session.busy)
        self._fit()

    def _show(self, found: Verdict) -> None:
        if found.before_ms is not None and found.after_ms is not None:
            self.bars.show_times(found.before_ms, found.after_ms)
        for line, text in zip(self._facts, (*found.facts, "", ""), strict=False):
            line.setText(text)
            line.setVisible(bool(text))
        clear(self.steps)
        for step in found.steps:
            choice = button(step.words, step.tip)
            choice.clicked.connect(partial(self._take, step))
            self.steps.addWidget(choice)
        tips = tip(self._trials())
        for line in (self._headline, self._sure):
            line.setToolTip(tips)

    def _trials(self) -> str:
        """What was timed of single segments while converting: which engine was chosen by it."""
        conversion = self._session.conversion
        timed = [segment for segment in conversion.segments if segment.engine_ms] if conversion else []
        if not timed:
            return ""
        head = self.tr("Tried by themselves while converting, to choose the engine:")
        lines = [
            self.tr("{name}: TensorFlow {before}, {engine} {now}").format(
                name=segment.name, engine=formatting.engine(segment.engine),
                before=formatting.milliseconds(segment.tensorflow_ms), now=formatting.milliseconds(segment.engine_ms),
            )
            for segment in timed[:12]
        ]  # fmt: skip
        return "\n".join((head, *lines))

    def _take(self, step: Step) -> None:
        """Does what a step says; where the settings do not allow it yet, shows them."""
        session = self._session
        if step.do == "measure":
            session.measure()
            return
        session.change(**changes(step))
        if lacks_data(session):
            self.setupWanted.emit()
        else:
            session.convert()

    def _fit(self) -> None:
        """Leaves out what has no room; the headline and the buttons stay."""
        found, wide = self.verdict, self.width()
        if found is None:
            return
        timed = found.before_ms is not None
        self.bars.setVisible(timed and wide >= _NARROWEST)
        self._about.setVisible(bool(found.facts) and (wide >= _NARROW or not timed))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Leaves out what has no room."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Follows the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "bars"):
            self.bars.update()
