"""The one kind of error that users see.

Everything that a user can cause (a broken file, a name that does not exist, an engine that is not installed) is raised
as `IcebreakerError`. Any other exception is a bug.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from icebreaker.messages import Message, Value, message


class IcebreakerError(Exception):
    """A failure that a user can cause and mend: `message` says what happened, to what, and what helps.

    Attributes:
        message: The failure as a value; `str(error)` is its English line.
        codes: Of a subclass: the codes whose messages are raised as that class.
    """

    codes: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        code: str | Message,
        text: str = "",
        remedy: str = "",
        *,
        subject: object = "",
        **values: Value,
    ) -> None:
        """Takes a message, or what `messages.message` makes one of."""
        if isinstance(code, Message):
            self.message = code
        else:
            self.message = message(code, text, remedy, subject=subject, **values)
        super().__init__(str(self.message))

    def __reduce__(self) -> tuple[Callable[[Message], IcebreakerError], tuple[Message]]:
        """So that process pools can pass it on."""
        return IcebreakerError.of, (self.message,)

    @classmethod
    def of(cls, failure: Message) -> IcebreakerError:
        """The error that a message belongs to, such as one that came from a worker."""
        kind = next((kind for kind in cls.__subclasses__() if failure.code in kind.codes), cls)
        error = kind.__new__(kind)
        IcebreakerError.__init__(error, failure)
        return error

    @property
    def code(self) -> str:
        """Stable name of the kind of failure, such as `output_unknown`."""
        return self.message.code


class JobCancelled(IcebreakerError):
    """A job was cancelled before it was done."""

    codes = frozenset({"job_cancelled"})

    def __init__(self) -> None:
        """Says so."""
        super().__init__("job_cancelled", "the job was cancelled")


class ConsentNeeded(IcebreakerError):
    """A graph acts outside itself (files, other processes, code), and nobody has allowed that yet."""

    codes = frozenset({"consent_needed"})
    NAMED = ("first", "second", "third")  # values of the message that tell of an effect each

    @property
    def effects(self) -> tuple[Message, ...]:
        """What it would do: the first few effects."""
        values = self.message.values
        return tuple(effect for name in self.NAMED if isinstance(effect := values.get(name), Message))

    @property
    def more(self) -> int:
        """How many effects there are beyond `effects`."""
        return max(0, int(str(self.message.values["more"])))
