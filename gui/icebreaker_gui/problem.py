"""What went wrong, as a value that is shown and copied into a bug report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that went wrong: what was tried, why it failed and what helps, what a bug report wants."""

    title: str
    text: str
    details: str = ""
