"""The one kind of error that users see.

Everything that a user can cause (a broken file, a name that does not exist, an engine that is not installed) is raised
as `IcebreakerError`. Any other exception is a bug.
"""

from __future__ import annotations

from icebreaker.messages import Message, message


class IcebreakerError(Exception):
    """A failure that a user can cause and mend: `message` says what happened, to what, and what helps.

    Attributes:
        message: The failure as a value; `str(error)` is its English line.
    """

    def __init__(
        self,
        code: str | Message,
        text: str = "",
        remedy: str = "",
        *,
        subject: object = "",
        **values: str | int | float | Message | tuple[str | int | float | Message, ...],
    ) -> None:
        """Takes a message, or what `messages.message` makes one of."""
        if isinstance(code, Message):
            self.message = code
        elif not text:  # TODO: goes when every error has a code
            self.message = Message("uncoded", "{text}", values={"text": code})
        else:
            self.message = message(code, text, remedy, subject=subject, **values)
        super().__init__(str(self.message))

    @property
    def code(self) -> str:
        """Stable name of the kind of failure, such as `output_unknown`."""
        return self.message.code
