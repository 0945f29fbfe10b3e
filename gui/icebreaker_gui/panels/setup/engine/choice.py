"""Which engine: one of them, or whichever is the fastest."""

from __future__ import annotations

from PySide6.QtWidgets import QButtonGroup, QLabel, QRadioButton

from icebreaker.engine import registry
from icebreaker.reports import EngineStatus
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.plain_text import caption, tip
from icebreaker_gui.style.widgets import Section, button, label
from icebreaker_gui.style.wording import worded


def usable(session: Session) -> tuple[EngineStatus, ...]:
    """The engines that the next conversion may use, as far as the machine is known."""
    engines, wanted = session.machine.engines if session.machine else (), session.settings.engine
    return tuple(status for status in engines if status.name == wanted or (wanted == "auto" and status.runs))


class EngineChoice(Section):
    """One radio button an engine; what is not here is disabled and says why."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Engine"))
        self._session = session
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QRadioButton] = {}
        self._details: dict[str, QLabel] = {}
        for name in ("auto", *registry.names()):
            choice = QRadioButton(
                self.tr("Auto: measure each, keep the fastest") if name == "auto" else formatting.engine(name)
            )
            choice.setChecked(session.settings.engine == name)
            choice.toggled.connect(lambda on, name=name: on and session.change(engine=name))
            self._group.addButton(choice)
            self._buttons[name] = choice
            self.body.addWidget(choice)
            if name != "auto":
                self._details[name] = detail = label(look="muted", wrap=True)
                detail.setContentsMargins(22, 0, 0, theme.SMALL)
                detail.setFont(theme.font(0.9))
                self.body.addWidget(detail)
        self._fold = button("", self.tr("Why they cannot be used here, and what helps"), "link")
        self._fold.setCheckable(True)
        self._fold.toggled.connect(self._update)
        self.body.addWidget(self._fold)
        self._buttons["auto"].setToolTip(
            self.tr("Builds every engine that is here for each segment, and keeps TensorFlow where none is faster")
        )
        session.machineChanged.connect(self._update)
        session.settingsChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        machine = self._session.machine
        known: dict[str, EngineStatus] = {status.name: status for status in machine.engines} if machine else {}
        for name, detail in self._details.items():
            status = known.get(name)
            unknown = self.tr("not known here") if machine else self.tr("asking…")
            text = worded(status.detail) if status else unknown
            detail.setText(text)
            builds = status is not None and status.builds
            self._buttons[name].setEnabled(builds)
            detail.setEnabled(builds)
            shown = builds or self._fold.isChecked() or self._session.settings.engine == name
            self._buttons[name].setVisible(shown)
            detail.setVisible(shown)
            for widget in (self._buttons[name], detail):
                widget.setToolTip(tip(text))
        absent = [name for name in self._details if name not in known or not known[name].builds]
        self._fold.setVisible(bool(absent))
        mark = "▾ " if self._fold.isChecked() else "▸ "
        names = ", ".join(map(formatting.engine, absent))
        words = self.tr("Not usable here: {engines}") if machine else self.tr("Asking for {engines} …")
        self._fold.setText(caption(mark + words.format(engines=names)))
        if chosen := self._buttons.get(self._session.settings.engine):  # settings outlive a plug-in
            chosen.setChecked(True)
