"""What runs beside the window: jobs in child processes, and threads for files; what they say arrives in batches."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from icebreaker.jobs.requests import Request
from icebreaker.jobs.supervisor import Job

_BATCH_MILLISECONDS = 30
_BATCH_ITEMS = 2000  # handled in a few ms; what is more waits for the next turn of the event loop


class _Inbox(QObject):
    """Takes items from any thread; hands them out on its own, in batches with pauses between them."""

    arrived = Signal(list)
    _woken = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._items: collections.deque[Any] = collections.deque()
        self._waiting = False
        self._timer = QTimer(self, singleShot=True, interval=_BATCH_MILLISECONDS)
        self._timer.timeout.connect(self._deliver)
        self._woken.connect(self._timer.start, Qt.ConnectionType.QueuedConnection)

    def put(self, item: Any) -> None:
        self._items.append(item)
        if not self._waiting:
            self._waiting = True
            self._woken.emit()

    def _deliver(self) -> None:
        self._waiting = False
        batch = [self._items.popleft() for _ in range(min(len(self._items), _BATCH_ITEMS))]
        if self._items:
            self._waiting = True
            self._timer.start()
        if batch:
            self.arrived.emit(batch)


class Work:
    """A job or a thread whose outcome is awaited; once dropped, nothing of it arrives any more."""

    def __init__(self, parent: QObject, on_batch: Callable[[list[Any]], None]) -> None:
        """Prepares; `on_batch` gets what arrives, on the thread of `parent`."""
        self._inbox = _Inbox(parent)
        self._on_batch = on_batch
        self._inbox.arrived.connect(on_batch)
        self.job: Job | None = None
        self.thread: threading.Thread | None = None

    def run_job(self, request: Request) -> Work:
        """Starts a job; its events arrive."""
        self.job = Job(request, self._inbox.put).start()
        return self

    def run_thread(self, function: Callable[[], Any]) -> Work:
        """Starts a thread; what the function returns, or its exception, arrives."""

        def work() -> None:
            try:
                self._inbox.put(function())
            except Exception as error:  # whatever it is, whoever awaits it must hear that the thread has ended
                self._inbox.put(error)

        self.thread = threading.Thread(target=work, name="session-io", daemon=True)
        self.thread.start()
        return self

    @property
    def alive(self) -> bool:
        """True while something of it could still arrive."""
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
        self._inbox.arrived.disconnect(self._on_batch)
        if self.job and self.alive:
            self.job.cancel()

    def wait(self, seconds: float) -> None:
        """Waits until it is over, then removes its inbox."""
        if self.thread:
            self.thread.join(seconds)
        if self.job:
            with contextlib.suppress(TimeoutError):
                self.job.wait(seconds)
        if not self.alive:
            self._inbox.deleteLater()
