"""What the cards of the settings say in their one line, and which of them were changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from icebreaker.settings import ENGINE_OPTIONS, Limits, QuantizationSettings
from icebreaker_gui.panels.setup.calibration.source import RANDOM, data_source
from icebreaker_gui.panels.setup.engine.choice import usable
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting
from icebreaker_gui.style.wording import translate

_QUANTIZATION = tuple(field.name for field in dataclasses.fields(QuantizationSettings))
# Card → the settings in it, by their flat names.
CARDS: Mapping[str, tuple[str, ...]] = {
    "model": ("inputs", "input_shapes"),
    "outputs": ("outputs",),
    "engine": ("engine", "profiles", *ENGINE_OPTIONS),
    "precision": ("precision",),
    "data": ("data", *_QUANTIZATION),
    "advanced": ("max_batch_size", "minimum_segment_size", "memory_fraction", "workspace_bytes", "exclude"),
}


def is_changed(session: Session, card: str) -> bool:
    """True if the user has chosen something in a card that the graph did not begin with."""
    now, before = session.settings.flat, session.defaults.flat
    if card == "advanced" and session.limits != Limits():
        return True
    return any(now.get(name) != before.get(name) for name in CARDS[card])


def value_of(session: Session, card: str) -> str:
    """What is chosen in a card, in a few words."""
    settings = session.settings
    match card:
        case "model":
            return session.path.name if session.path and session.graph else translate("setup", "none is open")
        case "outputs":
            names = settings.outputs
            if len(names) <= 2:
                return ", ".join(names) or translate("setup", "none is chosen")
            return translate("setup", "{n} chosen").format(n=len(names))
        case "engine":
            return _engine(session)
        case "precision":
            return formatting.precision(settings.precision)
        case "data":
            return _data(session)
        case _:
            changed = sum(settings.flat[name] != session.defaults.flat[name] for name in CARDS[card])
            changed += session.limits != Limits()
            return translate("setup", "{n} changed").format(n=changed) if changed else translate("setup", "as usual")


def _engine(session: Session) -> str:
    if session.settings.engine != "auto":
        return formatting.engine(session.settings.engine)
    if session.machine is None:
        return translate("setup", "Auto: asking which are here …")
    here, known = len(usable(session)), len(session.machine.engines)
    return translate("setup", "Auto: {n} of {all} usable here").format(n=here, all=known)


def _data(session: Session) -> str:
    settings = session.settings
    if settings.precision == "int8":
        path = data_source(settings)
        if path == RANDOM:
            return translate("setup", "random values")
        if path is None and settings.quantization.calibration_table:
            return Path(settings.quantization.calibration_table).name
        return Path(path).name if path else translate("setup", "none is chosen")
    return Path(settings.data).name if settings.data else translate("setup", "made up")
