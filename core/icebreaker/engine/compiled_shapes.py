"""What a model was compiled into, for the shapes it meets; threads run side by side, and wait only for what they need.

The first shapes get a form of their own, which is the fastest. From the second on, one form that takes all shapes does:
it costs one compilation, and runs about as fast. What that form fails on gets its own again. These forms use all
processors for one call, and take one call at a time; where calls keep coming from several threads at once, one more
form takes them side by side.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from typing import Any

_MOST_WAITING = 16  # requests of one form that nobody uses
_CROWD = 20  # calls that found another one under way, before it pays to compile for them


class Requests:
    """The requests of one compiled form: each caller has one to itself, with memory of its own."""

    def __init__(self, first: Any) -> None:
        """Takes OpenVINO's first request of a compiled model; it makes others as they are needed."""
        self.compiled: Any = first.get_compiled_model()
        self._waiting = deque([first])

    @contextlib.contextmanager
    def one(self) -> Iterator[Any]:
        """A request that nobody else uses; one that failed is not used again."""
        try:
            request = self._waiting.pop()
        except IndexError:
            request = self.compiled.create_infer_request()
        yield request
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(request)


class CompiledShapes:
    """The forms of one model; of those for one set of shapes each, the most recently used are kept."""

    def __init__(
        self,
        compile_open: Callable[[], Any] | None,
        most: int,
        *,
        compile_crowded: Callable[[], Any] | None = None,
        big: bool = False,
    ) -> None:
        """Compiles nothing yet.

        Args:
            compile_open: Compiles the form for all shapes and gives a request of it; None: there is none.
            compile_crowded: Compiles the form for calls of several threads at once, and likewise.
            most: How many forms for one set of shapes each are kept.
            big: The model is big: no form for one set of shapes stays beside the one for all.
        """
        self._compile_open, self._most, self._is_big = compile_open, most, big
        self._lock = threading.Lock()  # never held while something is compiled
        self._own: OrderedDict[Hashable, Future[Requests]] = OrderedDict()
        self._open: Future[Requests] | None = None
        self._compile_crowded, self._crowded = compile_crowded, Future[Requests]()
        self._running = self._met = 0  # calls under way; calls that met another one
        self.latest: Requests | None = None

    @contextlib.contextmanager
    def turn(self) -> Iterator[Requests | None]:
        """A call's time: what it should run on because others are under way; None: what `get` gives."""
        with self._lock:
            self._running += 1
            self._met += self._running > 1
            meets, begins = self._running > 1, self._met == _CROWD and self._compile_crowded is not None
        if begins and self._compile_crowded is not None:  # beside the calls; no daemon: it is native code
            threading.Thread(target=_fill, args=(self._crowded, self._compile_crowded)).start()
        try:
            ready = meets and self._crowded.done() and self._crowded.exception() is None
            yield self._crowded.result() if ready else None
        finally:
            with self._lock:
                self._running -= 1

    def get(self, shapes: Hashable, compile_own: Callable[[], Any]) -> tuple[Requests, bool]:
        """What to run on these shapes, and whether that form is theirs alone.

        Args:
            shapes: Tells them apart.
            compile_own: Compiles the form for these shapes and gives a request of it; what it raises is raised.
        """
        with self._lock:
            takes_open = self._compile_open is not None and bool(self._own or self._open)
            found, is_mine = None, False
            if takes_open and shapes not in self._own:
                found, is_mine = self._open or Future(), self._open is None
                self._open = found
                if self._is_big:
                    self._own.clear()
                    self.latest = None  # it would keep what was compiled
        if found is None:
            return self.own(shapes, compile_own), True
        if is_mine and self._compile_open is not None:
            _fill(found, self._compile_open)
        try:
            self.latest = found.result()
            return self.latest, False
        except RuntimeError:
            with self._lock:
                self._compile_open = None  # it does not take open shapes
                self._open = None
            return self.own(shapes, compile_own), True

    def own(self, shapes: Hashable, compile_own: Callable[[], Any]) -> Requests:
        """The form for these shapes alone; arguments and errors as those of `get`."""
        with self._lock:
            found = self._own.get(shapes)
            is_mine = found is None
            if found is None:
                found = self._own[shapes] = Future()
                while len(self._own) > self._most:
                    self._own.popitem(last=False)
            self._own.move_to_end(shapes)
        if is_mine:
            _fill(found, compile_own)
        try:
            self.latest = found.result()
            return self.latest
        except BaseException:
            with self._lock:
                if self._own.get(shapes) is found:
                    del self._own[shapes]
            raise


def _fill(future: Future[Requests], compile_it: Callable[[], Any]) -> None:
    """Compiles, for all who wait."""
    try:
        future.set_result(Requests(compile_it()))
    except BaseException as error:  # whoever waits must hear of it
        future.set_exception(error)
