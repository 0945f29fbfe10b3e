"""What a format of graph files is: a module of this package with these names, and an entry in `graph_files.FORMATS`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from icebreaker.storage.weight_store import Store


class Format(Protocol):
    """A module that reads one form of graph.

    A format that needs TensorFlow to freeze its model imports it inside its functions, which then run in workers only,
    and asks `side_effects` before it runs anything.
    """

    @property
    def NEEDS_TENSORFLOW(self) -> bool:
        """Whether `read` imports TensorFlow, so that it runs in a worker."""
        ...

    @property
    def PATTERNS(self) -> tuple[str, ...]:
        """Names that its files usually have, for a file dialog: `*.pb`."""
        ...

    def matches(self, path: Path) -> bool:
        """Whether a file or folder, which exists, is of this format and of none that is asked before."""
        ...

    def read(self, path: Path, allow_side_effects: bool = False) -> Any:
        """Reads the frozen graph as a GraphDef message.

        Raises:
            IcebreakerError: It cannot be read; ConsentNeeded: it acts outside itself while it is loaded, and
                `allow_side_effects` is false.
        """
        ...

    def read_apart(self, path: Path, store: Store, big: int, allow_side_effects: bool = False) -> Any | None:
        """Like `read`, for a graph of at least `big` bytes: big weights go to `store`, without being in memory at once.

        None: it is smaller, cannot be read in this way, or the disk is full; then `read` is asked.
        """
        ...
