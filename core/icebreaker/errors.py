"""The one kind of error that users see.

Everything that a user can cause (a broken file, a name that does not exist, an engine that is not installed)
is raised as `IcebreakerError`, whose text is one line: what (the node or file), why, and what to do about it.
Any other exception is a bug.
"""

_MOST_CHARACTERS = 2000


class IcebreakerError(Exception):
    """A failure with a one-line text for the user: subject, reason, remedy."""

    def __init__(self, message: str) -> None:
        """Keeps `message` on one line, whatever it quotes; of a very long one, both ends."""
        line = " ".join(message.split())
        if len(line) > _MOST_CHARACTERS:
            line = f"{line[: _MOST_CHARACTERS // 2]} … {line[-_MOST_CHARACTERS // 2 :]}"
        super().__init__(line)
