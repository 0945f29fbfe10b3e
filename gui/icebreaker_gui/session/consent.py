"""What the user has allowed for the open graph, and the questions that ask for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from PySide6.QtCore import QObject, Signal

from icebreaker.errors import ConsentNeeded
from icebreaker.reports import SideEffect
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

        shown = [_effect_text(effect.where, effect.op, effect.effect) for effect in effects[:_MOST_EFFECTS]]
        self._ask(shown, len(effects) - len(shown), allow)
        return False

    def ask_again(self, refused: ConsentNeeded, then: Callable[[], object]) -> None:
        """Asks for what a job was refused for want of it.

        Args:
            refused: The refusal, which names what the graph does.
            then: Is called if the user allows it.
        """
        shown = [
            _effect_text(effect.subject, str(effect.values["op"]), str(effect.values["effect"]))
            for effect in refused.effects
        ]
        self._ask(shown, refused.more, then)

    def _ask(self, shown: Sequence[str], more: int, then: Callable[[], object]) -> None:
        text = "; ".join(shown)
        if more > 0:
            text += self.tr("; and {n} more nodes").format(n=more)
        self.consentWanted.emit(text, then)

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


def _effect_text(where: str, op: str, effect: str) -> str:
    return f"{where} ({op}) {translated(effect)}"
