"""Large work beside the window: one after another, and only the newest counts."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Signal

from icebreaker_gui.layout import Cancelled, LayoutCancelled

# Python searches as many objects for circles within a frame or two.
_MANY_OBJECTS = 100_000


class Background(QObject):
    """Runs work in threads. A result that comes late, because something newer was asked for, is dropped."""

    busyChanged = Signal(bool)
    _finished = Signal(int, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        # Not a QThreadPool: from Python that one keeps all that it has ever run, and with it old graphs.
        self._threads: list[threading.Thread] = []
        self._turn = threading.Lock()
        self._generation = 0
        self._then: Callable[[Any], None] | None = None
        self.closing = False
        self._finished.connect(self._arrived)

    @property
    def busy(self) -> bool:
        """True while a result is waited for."""
        return self._then is not None

    def run(self, job: Callable[[Cancelled], Any], then: Callable[[Any], None], large: bool) -> None:
        """Drops what is being done, does `job` and hands its result to `then`, on the window's thread.

        Args:
            job: What to do; it gets a function that tells whether to stop, and may raise LayoutCancelled then.
            then: Gets the result. Not called if something newer was asked for meanwhile.
            large: True to do it in a thread, False to do it at once.

        Raises:
            Exception: Whatever `job` raised, here or in the event loop.
        """
        self.cancel()
        generation = self._generation
        if not large:
            then(job(lambda: False))
            return
        self._then = then
        self.busyChanged.emit(True)
        self.start(lambda: self._compute(generation, job))

    def start(self, work: Callable[[], None]) -> None:
        """Does it in a thread, after all that was started before; nobody waits for it."""

        def run() -> None:
            with self._turn:
                work()

        thread = threading.Thread(target=run, name="layout", daemon=True)
        self._threads = [*(other for other in self._threads if other.is_alive()), thread]
        thread.start()

    def cancel(self) -> None:
        """Drops what is being done."""
        self._generation += 1
        if self._then is not None:
            self._then = None
            self.busyChanged.emit(False)

    def close(self) -> None:
        """Stops all work and waits for its end."""
        self.closing = True
        self.cancel()
        for thread in self._threads:
            thread.join()

    def _compute(self, number: int, job: Callable[[Cancelled], Any]) -> None:
        # A layout makes millions of objects and no circles of them. Python's search for circles would stop the window
        # for a quarter of a second, again and again, and double the time: it waits, and then leaves out what lives on.
        # After a smaller layout nothing is left out: what others have made and dropped meanwhile would stay for ever.
        gc.disable()
        try:
            result: object = job(lambda: self._generation != number)
        except LayoutCancelled:
            return
        except Exception as error:
            result = error
        finally:
            if gc.get_count()[0] > _MANY_OBJECTS:
                gc.freeze()
            gc.enable()
        with contextlib.suppress(RuntimeError):  # the view was closed
            self._finished.emit(number, result)

    def _arrived(self, generation: int, result: object) -> None:
        if generation != self._generation or self._then is None:
            return
        then, self._then = self._then, None
        self.busyChanged.emit(False)
        if isinstance(result, BaseException):
            raise result
        then(result)
