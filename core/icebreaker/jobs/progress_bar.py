"""A progress bar on a terminal, for the command line and for scripts that ask for one."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn


class ProgressBar:
    """One line on stderr that shows how far a job is; nothing where stderr is not a terminal."""

    def __init__(self) -> None:
        """Shows nothing yet."""
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def show(self, stage: str, fraction: float) -> None:
        """Draws the bar.

        Args:
            stage: What is being done.
            fraction: How much of the whole job is done, 0 to 1.
        """
        if not self._console.is_terminal:
            return
        if self._bar is None:
            columns = (BarColumn(24), TaskProgressColumn(), TextColumn("{task.description}"))
            # What others print on stdout is not for stderr.
            self._bar = Progress(*columns, console=self._console, transient=True, redirect_stdout=False)
            self._task = self._bar.add_task(escape(stage), total=1.0)
            self._bar.update(self._task, completed=fraction)
            self._bar.start()
        else:
            assert self._task is not None  # noqa: S101 - made with the bar
            self._bar.update(self._task, completed=fraction, description=escape(stage))  # a name is no markup

    def clear(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
