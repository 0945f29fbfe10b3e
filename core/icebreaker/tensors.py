"""Names of tensors, in the one spelling that is used everywhere."""

from __future__ import annotations

from typing import NamedTuple

from icebreaker.errors import IcebreakerError


class Tensor(NamedTuple):
    """One output of a node. Its canonical name is `node` for port 0 and `node:port` otherwise."""

    node: str
    port: int = 0

    def __str__(self) -> str:
        return f"{self.node}:{self.port}" if self.port else self.node

    @classmethod
    def parse(cls, name: str) -> Tensor:
        """Understands `a`, `a:0`, `a:1` and `^a`; surrounding blanks do not count.

        Raises:
            IcebreakerError: The name is empty or its port is not a number.
        """
        text = name.strip().removeprefix("^")
        node, colon, port = text.rpartition(":")
        if not colon:
            node, port = text, "0"
        if not node or not (port.isascii() and port.isdigit()):
            raise IcebreakerError(
                "not_a_tensor_name", "{subject!r} is not a tensor name", "write_tensor_name", subject=name
            )
        return cls(node, int(port))


def canonical(name: str) -> str:
    """The one spelling of a tensor's name that is used everywhere: `a:0`, `^a` and `a` all give `a`."""
    return str(Tensor.parse(name))
