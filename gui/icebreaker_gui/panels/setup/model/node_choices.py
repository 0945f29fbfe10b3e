"""Nodes that the user has decided about, in the graph view or in the list of the worst layers."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from icebreaker_gui.session.session import Session
from icebreaker_gui.style.widgets import Elided, Section, button, label

_MOST_ROWS = 12


class NodeChoices(Section):
    """Nodes that the user has decided about; hidden while there are none."""

    def __init__(self, session: Session, setting: str, title: str, tip: str) -> None:
        """Shows nothing until the settings name a node.

        Args:
            session: Whose settings.
            setting: The setting that has the nodes' names, by its flat name.
            title: What was decided about them.
            tip: What taking a node out again does, with `{name}` for its name.
        """
        super().__init__(title)
        self._session, self._setting, self._tip = session, setting, tip
        self._rows = QWidget()
        self.body.addWidget(self._rows)
        session.settingsChanged.connect(self._update)
        self._names: tuple[str, ...] = ()
        self._update()

    def _update(self) -> None:
        settings = self._session.settings
        self._names, before = settings.flat[self._setting], self._names
        self.setVisible(bool(self._names) and (self._setting != "keep_float" or settings.precision == "int8"))
        if before == self._names:
            return
        self.body.removeWidget(self._rows)
        self._rows.deleteLater()
        self._rows = QWidget()
        column = QVBoxLayout(self._rows)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for name in self._names[:_MOST_ROWS]:
            row = QHBoxLayout()
            take = button("✕", self._tip.format(name=name), "link")
            take.clicked.connect(lambda _on, name=name: self._take_back(name))
            row.addWidget(Elided(name), 1)
            row.addWidget(take)
            column.addLayout(row)
        if len(self._names) > _MOST_ROWS:
            column.addWidget(label(self.tr("and {n} more").format(n=len(self._names) - _MOST_ROWS), "muted"))
        if len(self._names) > 1:
            all_back = button(self.tr("Take all back"), look="link")
            all_back.clicked.connect(lambda: self._session.change(**{self._setting: ()}))
            column.addWidget(all_back)
        self.body.addWidget(self._rows)

    def _take_back(self, name: str) -> None:
        self._session.change(**{self._setting: tuple(kept for kept in self._names if kept != name)})
