"""In which precision engines compute."""

from __future__ import annotations

from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton

from icebreaker.settings import PRECISIONS
from icebreaker_gui.panels.setup.engine.choice import usable
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Section, button, label


class PrecisionChoice(Section):
    """Three choices, and what the chosen one really is on this machine."""

    def __init__(self, session: Session) -> None:
        super().__init__(self.tr("Precision"))
        self._session = session
        self._buttons: dict[str, QPushButton] = {}
        row = QHBoxLayout()
        group = QButtonGroup(self)
        for name in PRECISIONS:
            choice = button(formatting.precision(name))
            choice.setCheckable(True)
            choice.setChecked(session.settings.precision == name)
            choice.toggled.connect(lambda on, name=name: on and session.change(precision=name))
            group.addButton(choice)
            row.addWidget(choice)
            self._buttons[name] = choice
        self._really = label(look="muted", wrap=True)
        self._really.setFont(theme.font(0.9))
        self.body.addLayout(row)
        self.body.addWidget(self._really)
        session.machineChanged.connect(self._update)
        session.settingsChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        for name, choice in self._buttons.items():
            offered = self._session.machine is None or bool(self._offers(name))
            choice.setEnabled(offered)
            choice.setToolTip(
                self.tr("What engines compute in") if offered
                else self.tr("The chosen engine does not offer it here")
            )  # fmt: skip
        chosen = self._session.settings.precision
        self._buttons[chosen].setChecked(True)
        offers = self._offers(chosen)
        if set(offers.values()) <= {formatting.precision(chosen)}:
            text = ""
        elif len(set(offers.values())) == 1:
            text = self.tr("computes in {precision} here").format(precision=next(iter(offers.values())))
        else:
            text = " · ".join(f"{formatting.engine(engine)}: {really}" for engine, really in offers.items())
        self._really.setText(text)
        self._really.setVisible(bool(text))

    def _offers(self, precision: str) -> dict[str, str]:
        """Engine → what it really computes in, of the engines that may be used."""
        return {
            status.name: formatting.precision(status.precisions[precision])
            for status in usable(self._session)
            if precision in status.precisions
        }
