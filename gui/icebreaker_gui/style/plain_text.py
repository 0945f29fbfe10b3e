"""Names from files as what they are: Qt guesses markup, and keys in menus, from the text itself.

A name such as `<img src=/etc/x>` would read that file as it is shown.
"""

from __future__ import annotations

import html


def tip(text: str) -> str:
    """A tool tip that shows these letters: Qt takes for markup what looks like it, and cannot be told not to."""
    if "<" not in text and "&" not in text:
        return text
    return f"<div style='white-space: pre-wrap'>{html.escape(text)}</div>"


def caption(text: str) -> str:
    """The text of a button or menu entry that shows these letters: one & marks a key there."""
    return text.replace("&", "&&")
