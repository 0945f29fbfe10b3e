"""The one thing that the session does at a time: a job or a thread, how far it is, and how it is ended."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from PySide6.QtCore import QObject, Signal

from icebreaker import events
from icebreaker.jobs.requests import Request
from icebreaker.jobs.supervisor import Job
from icebreaker.messages import Message
from icebreaker_gui.session.background import Work
from icebreaker_gui.session.log_book import LogBook
from icebreaker_gui.style.wording import worded

T = TypeVar("T")

_TELLING, _TELLING_SECONDS = 0.15, 3.0  # of less, nothing can be said of the rest

Kind = Literal["open", "sample", "convert", "measure", "save"]


@dataclass(frozen=True)
class Activity:
    """What the session is doing.

    Attributes:
        kind: What for.
        stage: What is being done now, in words for the user.
        fraction: How much of all is done, 0 to 1; None if nobody knows.
        cancelling: True once the user has cancelled it, until it has ended.
        began: When it did, by `time.monotonic`.
    """

    kind: Kind
    stage: str
    fraction: float | None = None
    cancelling: bool = False
    began: float = field(default_factory=time.monotonic, compare=False)

    @property
    def elapsed(self) -> float:
        """Seconds that it has taken so far."""
        return time.monotonic() - self.began

    @property
    def remaining(self) -> float | None:
        """Seconds that it will take if it goes on as it did; None while nobody can tell."""
        if self.fraction is None or self.fraction < _TELLING or self.elapsed < _TELLING_SECONDS:
            return None
        return self.elapsed * (1 - self.fraction) / self.fraction


class Foreground(QObject):
    """Runs one activity at a time; what begins takes the place of what was going on.

    `begin` says what the activity is, `run_job` and `run_thread` do it, one after the other if it takes several, and
    `end` says that it is over.
    """

    changed = Signal()  # `activity`
    sampled = Signal(list)  # new `events.Sample`s of a job
    failed = Signal(str, object, str)  # title, `Message`, details for a bug report

    def __init__(self, parent: QObject, log: LogBook) -> None:
        """Does nothing yet.

        Args:
            parent: The session.
            log: Where jobs' lines go.
        """
        super().__init__(parent)
        self.activity: Activity | None = None
        self.cancelled = False  # what ended last did so since the user cancelled it
        self._log = log
        self._work: Work[Any] | None = None
        self._ending: list[Work[Any]] = []  # no longer awaited, but perhaps still running

    @property
    def job(self) -> Job | None:
        """The running job, if there is one."""
        return self._work.job if self._work else None

    @property
    def can_cancel(self) -> bool:
        """True while something is going on that `cancel` ends: a file that is being saved is saved."""
        return self.activity is not None and self.activity.kind != "save" and not self.activity.cancelling

    def begin(self, activity: Activity) -> None:
        """Drops what is going on, and says what begins."""
        if self._work:
            self._work.drop()
        self._follow(None)
        self.cancelled = False
        self._become(activity)

    def advance(self, stage: str, fraction: float | None) -> None:
        """Says what is being done now; without effect once the activity has been cancelled or is over.

        What was done once stays done: the share never falls.
        """
        if self.activity and not self.activity.cancelling:
            if fraction is not None and self.activity.fraction is not None:
                fraction = max(fraction, self.activity.fraction)
            self._become(dataclasses.replace(self.activity, stage=stage, fraction=fraction))

    def run_job(
        self,
        request: Request,
        then: Callable[[Any], object],
        failed: str,
        on_failure: Callable[[Message], bool] = lambda _message: False,
    ) -> None:
        """Runs a job as the activity that has begun.

        Args:
            request: The job.
            then: Gets its result, which is of the request's `result` type.
            failed: Title of the problem if it fails.
            on_failure: Is asked first if it fails, once the activity has ended; True: there is no problem to report.
        """
        work: Work[events.Event] = Work(self, lambda batch: self._on_events(batch, then, failed, on_failure))
        self._follow(work.run_job(request))

    def run_thread(self, function: Callable[[], T], then: Callable[[T | Exception], object]) -> None:
        """Runs a function in a thread as the activity that has begun; `then` gets what it returns or raises."""
        work: Work[T | Exception] = Work(self, lambda batch: then(batch[0]))
        self._follow(work.run_thread(function, "session-io"))

    def end(self) -> None:
        """The activity is over."""
        self._follow(None)
        self._become(None)

    def cancel(self) -> None:
        """Ends what is going on; `activity` becomes None when it has ended."""
        if self.activity is None or self._work is None:
            return
        if self._work.job:
            self._become(dataclasses.replace(self.activity, cancelling=True))
            self._work.job.cancel()
        elif self.can_cancel:  # a thread that reads: it ends by itself, and nobody listens any more
            self._work.drop()
            self.cancelled = True
            self.end()

    def shutdown(self, seconds: float) -> None:
        """Ends it all, for the app's end; blocks up to `seconds` for each job that ends slowly."""
        if self._work:
            self._work.drop()
        self._follow(None)
        for work in self._ending:
            work.wait(seconds)
        self._ending.clear()

    def _become(self, activity: Activity | None) -> None:
        if activity != self.activity:
            self.activity = activity
            self.changed.emit()

    def _follow(self, work: Work[Any] | None) -> None:
        """Awaits `work` from now on, in place of what was awaited."""
        if self._work:
            self._ending.append(self._work)
        self._work = work
        self._ending = [ended for ended in self._ending if ended.alive]

    def _on_events(
        self,
        batch: list[events.Event],
        then: Callable[[Any], object],
        failed: str,
        on_failure: Callable[[Message], bool],
    ) -> None:
        self._log.add_events(batch)
        samples = [event for event in batch if isinstance(event, events.Sample)]
        if samples:
            self.sampled.emit(samples)
        progress = [event for event in batch if isinstance(event, events.Progress)]
        if progress and self.activity:
            fraction = progress[-1].fraction or self.activity.fraction  # some jobs only ever say 0: not known, then
            self.advance(worded(progress[-1].stage), fraction)
        match batch[-1]:
            case events.Done(result):
                then(result)
            case events.Failed(message, details):
                self.end()
                if not on_failure(message):
                    self.failed.emit(failed, message, details)
            case events.Cancelled():
                self.cancelled = True
                self.end()
                self._log.add("info", self.tr("Cancelled"))
