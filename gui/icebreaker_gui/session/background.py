"""What runs beside the window: jobs in child processes, and functions in threads; what they say arrives in batches."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from icebreaker import events
from icebreaker.jobs.requests import Request
from icebreaker.jobs.supervisor import Job

T = TypeVar("T")

_BATCH_MILLISECONDS = 30
_BATCH_ITEMS = 2000  # handled in a few ms; what is more waits for the next turn of the event loop


def start_thread(function: Callable[[], object], name: str) -> threading.Thread:
    """Runs a function in a thread that does not keep the app from ending; nobody awaits what it returns."""
    thread = threading.Thread(target=function, name=name, daemon=True)
    thread.start()
    return thread


class _Inbox(QObject):
    """Takes items from any thread; hands them out on its own, in batches with pauses between them.

    After the last item it deletes itself. It may also go earlier, with its parent.
    """

    arrived = Signal(list, bool)  # a batch, and whether it is the last one
    _woken = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._items: collections.deque[Any] = collections.deque()
        self._is_waiting = False
        self._is_complete = False
        self._timer = QTimer(self, singleShot=True, interval=_BATCH_MILLISECONDS)
        self._timer.timeout.connect(self._deliver)
        self._woken.connect(self._timer.start, Qt.ConnectionType.QueuedConnection)

    def put(self, item: Any, last: bool = False) -> None:
        """Takes an item; none may follow the `last`."""
        self._items.append(item)
        self._is_complete = last
        if last or not self._is_waiting:
            self._is_waiting = True
            with contextlib.suppress(RuntimeError):  # the window is gone, and this with it
                self._woken.emit()

    def _deliver(self) -> None:
        self._is_waiting = False
        batch = [self._items.popleft() for _ in range(min(len(self._items), _BATCH_ITEMS))]
        is_over = self._is_complete and not self._items
        if self._items:
            self._is_waiting = True
            self._timer.start()
        if is_over:
            self.deleteLater()
        if batch:
            self.arrived.emit(batch, is_over)


class Work(Generic[T]):
    """A job or a thread whose outcome is awaited; once dropped, nothing of it arrives any more."""

    def __init__(self, parent: QObject, on_batch: Callable[[list[T]], object]) -> None:
        """Prepares; `run_job` or `run_thread` begins.

        Args:
            parent: When it goes, nobody listens any more.
            on_batch: Gets what arrives, on the thread of `parent`.
        """
        self._inbox = _Inbox(parent)
        self._on_batch: Callable[[list[T]], object] | None = on_batch
        self._inbox.arrived.connect(lambda batch, is_last: self._pass_on(batch, is_last))  # which keeps this alive
        self.job: Job | None = None
        self.thread: threading.Thread | None = None

    def run_job(self: Work[events.Event], request: Request) -> Work[events.Event]:
        """Starts a job; its events arrive, the final one last."""
        inbox = self._inbox
        self.job = Job(request, lambda event: inbox.put(event, last=isinstance(event, events.FINAL))).start()
        return self

    def run_thread(self, function: Callable[[], T], name: str = "background") -> Work[T]:
        """Starts a thread; what the function returns, or its exception, arrives as a batch of one."""

        def work() -> None:
            outcome: Any
            try:
                outcome = function()
            except Exception as error:  # whatever it is, whoever awaits it must hear that the thread has ended
                outcome = error
            self._inbox.put(outcome, last=True)

        self.thread = start_thread(work, name)
        return self

    @property
    def alive(self) -> bool:
        """True while the job or the thread runs."""
        if self.thread and self.thread.is_alive():
            return True
        try:
            if self.job:
                self.job.wait(0)
        except TimeoutError:
            return True
        return False

    def drop(self) -> None:
        """Ends it if it can be ended; nobody listens any more."""
        self._on_batch = None
        if self.job and self.alive:
            self.job.cancel()

    def wait(self, seconds: float | None = None) -> None:
        """Waits until it is over, so many seconds at most."""
        if self.thread:
            self.thread.join(seconds)
        if self.job:
            with contextlib.suppress(TimeoutError):
                self.job.wait(seconds)

    def _pass_on(self, batch: list[T], is_last: bool) -> None:
        on_batch = self._on_batch
        if is_last:
            self._on_batch = None  # it must not keep alive whoever listened, and the inbox is a child of
        if on_batch:
            on_batch(batch)
