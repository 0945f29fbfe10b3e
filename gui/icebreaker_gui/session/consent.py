"""What the user has allowed for the open graph, and the questions that ask for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from PySide6.QtCore import QObject, Signal

from icebreaker.reports.reports import SideEffect
from icebreaker.settings import Consent
from icebreaker_gui.style.wording import translated

_MOST_EFFECTS = 3


class Permissions(QObject):
    """Holds a `Consent`, which only answers of the user widen; asks by signals and goes on when the answer comes."""

    changed = Signal()  # `consent`
    consentWanted = Signal(str, object)  # what a graph does outside itself, and what to call if the user allows it
    trustWanted = Signal(list, object)  # engines built elsewhere, and what to call with whether they may be loaded

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.consent = Consent()

    def allow(self, **values: bool) -> None:
        """Changes what is allowed, by the fields of `Consent`."""
        consent = dataclasses.replace(self.consent, **values)
        if consent != self.consent:
            self.consent = consent
            self.changed.emit()

    def forget(self) -> None:
        """Allows nothing any more, without a signal: another graph is being shown, which is asked about anew."""
        self.consent = Consent()

    def may_run(self, effects: Sequence[SideEffect], then: Callable[[], object]) -> bool:
        """Whether a graph may run: it does nothing outside itself, or the user has allowed that.

        Args:
            effects: What the graph does outside itself.
            then: If it may not run yet, the user is asked; this is called if they allow it.
        """
        if not effects or self.consent.side_effects:
            return True

        def allow() -> None:
            self.allow(side_effects=True)
            then()

        self.consentWanted.emit(self._described(effects), allow)
        return False

    def may_load(self, engines: Mapping[str, bool], then: Callable[[bool], object]) -> bool:
        """Whether a graph's engines may be loaded: they were built here, or the user trusts them.

        Args:
            engines: Engine name → whether all of that engine in the graph were built here.
            then: If it is not known yet, the user is asked; this is called with the answer.
        """
        elsewhere = [name for name, is_ours in engines.items() if not is_ours]
        if not elsewhere or self.consent.engines:
            return True

        def answer(trusted: bool) -> None:
            if trusted:
                self.allow(engines=True)
            then(trusted)

        self.trustWanted.emit(elsewhere, answer)
        return False

    def _described(self, effects: Sequence[SideEffect]) -> str:
        shown = "; ".join(
            f"{effect.where} ({effect.op}) {translated(effect.effect)}" for effect in effects[:_MOST_EFFECTS]
        )
        if len(effects) > _MOST_EFFECTS:
            shown += self.tr("; and {n} more nodes").format(n=len(effects) - _MOST_EFFECTS)
        return shown
