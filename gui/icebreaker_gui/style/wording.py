"""How the app words what the library has to say: templates and remedies pass Qt's translation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from PySide6.QtCore import QCoreApplication

from icebreaker.engine import registry
from icebreaker.errors import IcebreakerError
from icebreaker.messages import Message

# For texts outside of widgets: a context and an English text, both written out, where Qt's tool finds them.
translate = QCoreApplication.translate

CONTEXT = "icebreaker"  # of the library's texts in a translator's file; `style.texts` collects them

# Remedies that are something in the window, by their code.
REMEDIES: Mapping[str, str] = {
    "one_engine_or_more_time": "choose one engine in place of auto, or allow it more time under Advanced",
    "other_engine_or_more_patience": "choose another engine or exclude these nodes, or allow it more patience under "
    "Advanced",
    "other_engine_or_more_memory": "choose another engine or a smaller batch, or allow it more memory under Advanced",
    "allow_side_effects": "if you trust where it comes from, allow it when you are asked",
}


def translated(text: str) -> str:
    """A text of the library's own, such as an entry of `reports.REASONS`, in the user's language."""
    return translate(CONTEXT, text)


def worded(message: Message | str) -> str:
    """A message in the user's language; a vendor's words stay as they are."""
    if isinstance(message, str):
        return message
    return _titled(message).worded(REMEDIES, translated)


def _titled(message: Message) -> Message:
    """The message with engines called as their makers call them."""
    engine = registry.find(message.subject) if message.subject else None
    values = {name: _titled(value) if isinstance(value, Message) else value for name, value in message.values.items()}
    subject = registry.title(message.subject) if engine is not None else message.subject
    return dataclasses.replace(message, subject=subject, values=values)


def error_text(error: Exception) -> str:
    """What the user is told of an exception, on one line; only those of our own are written for users."""
    if isinstance(error, IcebreakerError):
        return worded(error.message)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror or error}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
