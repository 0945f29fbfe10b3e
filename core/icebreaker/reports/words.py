"""The words in reports, and how a front end says them."""

from __future__ import annotations

from collections.abc import Callable

from icebreaker.messages import Message

Words = Message | str  # a plain text is somebody else's: a vendor's, or the user's
Word = Callable[[Words], str]  # how a front end words what it is told
