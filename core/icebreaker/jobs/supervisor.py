"""Runs one job in a child process and tells what happens to it.

TensorFlow and the engines live only in the child: a native crash is survived, Cancel works at any moment, and
the GPU memory fraction can be set, which counts only before a process's first session. Owns: the child's
life, its limits, its channel of events, its temporary folder. Refuses: knowing what the jobs do (`jobs.worker`).

Protocol: the job is one JSON line on the child's stdin, which stays open, so that the child ends when this
process is gone. Events are JSON lines on the child's stdout; what native libraries print is on its stderr. A child that
dies in the middle of a step that it noted in its journal (`storage.crash_journal`) is started again, with that step
denied.
"""

from __future__ import annotations

import collections
import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icebreaker import codec, events
from icebreaker.errors import IcebreakerError, JobCancelled
from icebreaker.jobs.requests import Request
from icebreaker.messages import Message, message
from icebreaker.storage import crash_journal

_GRACE_SECONDS = 1.0  # between asking a cancelled child to end and killing it
_KEPT_STDERR_LINES = 60
_MOST_STARTS = 20
_WATCH_SECONDS = 0.25  # how often the limits are looked at
_DEFAULT_MEMORY_SHARE = 0.9  # of the machine's
_NEARLY_ALL = 0.7  # of a limited address space: what asks for more fails, some of it without a word


@dataclass(frozen=True)
class Order:
    """What the child reads from its stdin.

    Attributes:
        id: Names temporary files beside an output: `.NAME.ID.tmp`.
        folder: For everything else that is temporary, and for the crash journal.
        written: The file that the job writes; empty if it writes none.
        denied: What earlier starts of this job died of (`storage.crash_journal`) → the reason in words.
        request: The request as plain values; its kinds are the child's business.
    """

    id: str
    folder: str
    written: str
    denied: Mapping[str, str]
    request: Mapping[str, Any]


@dataclass(frozen=True)
class _Death:
    """How a child ended without a final event: what happened, what helps, whether its last step is to blame."""

    why: Message
    remedy: str
    is_crash: bool


class Job:
    """One job in one child process.

    `on_event` is called from threads of this object, one call at a time, and never after the final event.

    The final event (`Done`, `Failed` or `Cancelled`) comes exactly once, also if the child cannot start,
    crashes, is killed or falls silent, and after the child and its temporary files are gone.
    """

    def __init__(
        self,
        request: Request,
        on_event: Callable[[events.Event], None],
        *,
        module: str = "icebreaker.jobs.worker",
    ) -> None:
        """Prepares the job; `start` runs it.

        Args:
            request: What to do, within which limits.
            on_event: Receives every event; the result in `Done` is of the request's `result` type.
            module: The module that the child runs, in place of the worker.
        """
        self.request = request
        self.id = uuid.uuid4().hex[:12]
        self._on_event = on_event
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._telling = threading.RLock()
        self._cancelled = False
        self._ended = threading.Event()
        self._said: events.Event | None = None
        self._problem: BaseException | None = None
        self._final: events.Event | None = None
        self._stage = "starting"
        limits = request.limits
        self._memory_limit = limits.memory_bytes or int(_machine_memory() * _DEFAULT_MEMORY_SHARE)
        self._patience = limits.patience_seconds
        self._time_limit = limits.time_seconds or math.inf
        self._silent = self._taken = 0.0
        self._stopped: _Death | None = None  # by this process, at a limit
        self._kernel_kills = 0  # before the child started
        self._space = 0  # the most address space that it was seen to have
        self._stderr: collections.deque[str] = collections.deque(maxlen=_KEPT_STDERR_LINES)

    @property
    def pid(self) -> int | None:
        """The child's process id, once it runs."""
        return self._process.pid if self._process else None

    @property
    def problem(self) -> BaseException | None:
        """What `on_event` raised, if it did; the job is given up then."""
        return self._problem

    def start(self) -> Job:
        """Starts the child and returns at once."""
        threading.Thread(target=self._run, name=f"job-{self.request.name}", daemon=True).start()
        return self

    def cancel(self) -> None:
        """Ends the job now; `Cancelled` follows. Without effect once the job has ended."""
        with self._lock:
            self._cancelled = True
            process = self._process
        if process is not None and not self._ended.is_set():
            _signal_group(process, signal.SIGTERM)
            self._kill_later(process, _GRACE_SECONDS)

    def _kill_later(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        def kill() -> None:
            if process.returncode is None:  # else its id may be another process's by now
                _signal_group(process, signal.SIGKILL)

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()

    def wait(self, timeout: float | None = None) -> events.Event:
        """Waits for the final event and returns it.

        Raises:
            TimeoutError: It did not come within `timeout` seconds.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"the {self.request.name} job did not end within {timeout} s")
        assert self._final is not None  # noqa: S101 - set before the event
        return self._final

    def _run(self) -> None:
        final: events.Event
        try:
            with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:
                final = self._work(folder)
        except Exception as error:
            failure = message("worker_not_started", "the worker process could not start: {error}", error=str(error))
            final = events.Failed(failure, traceback.format_exc())
        remove_partial_output(self.request.written, self.id)
        if self._cancelled and not isinstance(final, events.Done):
            final = events.Cancelled()
        with self._telling:
            self._final = final
            try:
                self._on_event(final)
            finally:
                self._ended.set()

    def _tell(self, event: events.Event) -> None:
        with self._telling:
            if self._cancelled or self._problem or self._final:
                return
            try:
                self._on_event(event)
            except BaseException as error:  # also `sys.exit`; whoever waits must hear of it
                self._problem = error
                if self._process:
                    _signal_group(self._process, signal.SIGKILL)

    def _work(self, folder: str) -> events.Event:
        """Runs the child, and runs it again without what it died of."""
        denied: dict[str, str] = {}
        crashed: list[str] = []
        while True:
            final = self._converse(folder, denied)
            if not isinstance(final, int):
                return final
            step = crash_journal.interrupted(folder)
            death = self._describe_death(final)
            if step and step.why and not self._stopped:  # it ended itself, for the next one to go on
                why = message("process_broken", "can do nothing more with its devices ({words})", words=step.why[:300])
                death = _Death(why, "see_log_try_again", True)
            doing = step.words if step else self._stage[:1].lower() + self._stage[1:]
            fresh = {item.key for item in step.attempts} - set(denied) if step and death.is_crash else set[str]()
            if not step or not fresh or self._cancelled or len(crashed) >= _MOST_STARTS:
                failure = message(
                    "worker_ended", "the worker process {why} while {doing}", death.remedy,
                    why=death.why, doing=doing, **death.why.values,
                )  # fmt: skip
                return events.Failed(failure, "\n".join(self._stderr))
            crashed += {item.engine for item in step.attempts}
            denied = crash_journal.remember(step, str(death.why), denied, crashed)
            again = message(
                "worker_restarted", "the worker process {why} while {doing}; starting again without that",
                why=death.why, doing=doing,
            )  # fmt: skip
            self._tell(events.Log("warning", again))

    def _converse(self, folder: str, denied: Mapping[str, str]) -> events.Event | int:
        """Runs the child once; returns the final event, or the exit status if there was none."""
        environment = os.environ | {"TMPDIR": folder, "PYTHONUNBUFFERED": "1"}
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        order = Order(self.id, folder, self.request.written, denied, codec.to_plain(self.request))
        line = codec.encode(order).encode() + b"\n"
        with self._lock:
            if self._cancelled:
                return events.Cancelled()
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", self._module],  # -P: nothing is imported from the current folder
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=environment, start_new_session=True,
            )  # fmt: skip
            self._process = process
            self._stopped, self._silent, self._space = None, 0.0, 0
            self._kernel_kills = _kernel_kills()
        threads = [threading.Thread(target=work, args=(process,), daemon=True) for work in (self._read, self._listen)]
        watcher = threading.Thread(target=self._watch, args=(process,), daemon=True)  # ends soon after the child
        for thread in (*threads, watcher):
            thread.start()
        assert process.stdin  # noqa: S101 - asked for above
        with contextlib.suppress(OSError, ValueError):  # it died at once: the exit status tells why
            process.stdin.write(line)
            process.stdin.flush()
        # Its end is what counts, not that of its output: something it has started may hold that open for ever.
        status = process.wait()
        _signal_group(process, signal.SIGKILL)
        for thread in threads:
            thread.join(_GRACE_SECONDS * 5)
        if self._problem:
            words = str(self._problem or type(self._problem).__name__)
            failure = message("job_given_up", "the job was given up: {error}", error=words)
            return events.Failed(failure, "".join(traceback.format_exception(self._problem)))
        return status if self._said is None else self._said

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Stops a child that passes its limits."""
        while process.returncode is None:
            time.sleep(_WATCH_SECONDS)
            # Counted in turns, not by the clock: this process may have slept.
            self._silent += _WATCH_SECONDS
            self._taken += _WATCH_SECONDS
            if self._taken >= self._time_limit:
                why = message("time_limit", "took more than {seconds:g} s", seconds=self._time_limit)
                self._stopped = _Death(why, "one_engine_or_more_time", False)
            elif self._silent >= self._patience:
                why = message("silent", "gave no sign of life for {seconds:g} s", seconds=self._patience)
                self._stopped = _Death(why, "other_engine_or_more_patience", True)
            elif self._memory_of(process.pid) > self._memory_limit:
                why = message("memory_limit", "took more than {size:.1f} GB of memory", size=self._memory_limit / 1e9)
                self._stopped = _Death(why, "other_engine_or_more_memory", True)
            if self._stopped:
                self._kill_later(process, 0)
                return

    def _memory_of(self, pid: int) -> int:
        """Bytes of memory that a process has for itself; 0 where the system does not tell. Notes its address space."""
        try:
            space, resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[:3])
        except (OSError, ValueError):
            return 0
        self._space = max(self._space, space * os.sysconf("SC_PAGE_SIZE"))
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE")

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Passes the child's events on, up to the final one, and sees to it that the child ends."""
        assert process.stdin and process.stdout  # noqa: S101 - asked for
        with process.stdout:
            for line in process.stdout:
                self._silent = 0.0
                try:
                    event = events.decode(line.decode("utf-8", "replace"))
                except ValueError:
                    event = events.Log("debug", line.decode("utf-8", "replace").rstrip())
                if isinstance(event, events.FINAL):
                    self._said = self._typed(event)
                    break
                if isinstance(event, events.Progress):
                    self._stage = str(event.stage)
                self._tell(event)
        with contextlib.suppress(OSError):
            process.stdin.close()
        self._kill_later(process, _GRACE_SECONDS * 5)  # native code that does not end: nothing is lost with it

    def _typed(self, event: events.Event) -> events.Event:
        """The final event, its result as the request says."""
        if not isinstance(event, events.Done) or self.request.result is None:
            return event
        try:
            return events.Done(codec.from_plain(event.result, self.request.result))
        except (ValueError, IcebreakerError) as error:
            failure = message("result_malformed", "the worker's result is none: {error}", error=str(error))
            return events.Failed(failure, traceback.format_exc())

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Logs what the child and its libraries print."""
        assert process.stderr  # noqa: S101 - asked for
        with process.stderr:
            for line in process.stderr:
                text = line.decode("utf-8", "replace").rstrip()
                self._silent = 0.0
                self._stderr.append(text)
                if text:
                    self._tell(events.Log("debug", text))

    def _wanted_memory(self) -> bool:
        """Whether the child's last words were that it got no memory."""
        return any(_NO_MEMORY.search(line) for line in self._stderr)

    def _describe_death(self, status: int) -> _Death:
        """What became of a child that ended with this exit status."""
        if self._stopped:
            return self._stopped
        if (limit := _address_space()) and (self._space > limit * _NEARLY_ALL or self._wanted_memory()):
            why = message(
                "ended_at_address_space",
                "ended because its address space is limited to {size:.1f} GB",
                size=limit / 1e9,
            )
            return _Death(why, "raise_address_space", False)
        if status >= 0:
            last = next((line for line in reversed(self._stderr) if line.strip()), "it printed nothing")
            why = message("ended_with_status", "ended with status {status}", status=status, words=last)
            return _Death(why, "last_words", True)
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        if name == "SIGKILL" and _kernel_kills() > self._kernel_kills:
            why = message("ended_out_of_memory", "ended because memory ran out")
            return _Death(why, "other_engine_or_smaller_batch", True)
        # What somebody did to it is not done again behind their back, nor held against an engine.
        is_crash = name not in ("SIGTERM", "SIGINT", "SIGHUP", "SIGKILL")
        why = message("ended_by_signal", "ended by {signal}", signal=name)
        return _Death(why, _AFTER_SIGNAL.get(name, "see_log_try_again"), is_crash)


# Signal that ended a worker → what helps.
_AFTER_SIGNAL: Mapping[str, str] = {
    "SIGKILL": "killed_from_outside",
    "SIGSEGV": "native_crash",
    "SIGABRT": "native_abort",
}


# What libraries print when they get no memory, or no thread, whose stack takes some.
_NO_MEMORY = re.compile(
    r"bad_alloc|MemoryError|[Cc]annot allocate memory|[Oo]ut of memory|failed to map segment|temporarily unavailable"
)


def _address_space() -> int:
    """Bytes of address space that processes started here may have; 0 if they may have all."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return 0 if limit == resource.RLIM_INFINITY else limit
    return 0


def _machine_memory() -> int:
    """Bytes of memory that this process may count on: the machine's, or its container's."""
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this platform: no limit
        return 1 << 62
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            most = min(most, int(Path(file).read_text()))
    return most


def _kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory; 0 where it does not tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def remove_partial_output(written: str, job_id: str) -> None:
    """Removes what a killed job left beside its output; the worker names such files `.NAME.JOB_ID.tmp`."""
    # Where a link leads to, too.
    for folder in {Path(written).absolute().parent, Path(os.path.realpath(written)).parent} if written else ():
        with contextlib.suppress(OSError):
            for path in folder.iterdir():  # patterns would be kept, one for each job
                if path.name.startswith(".") and path.name.endswith(f".{job_id}.tmp"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def run(
    request: Request,
    on_event: Callable[[events.Event], None] = lambda event: None,
    cancel: threading.Event | None = None,
    *,
    module: str = "icebreaker.jobs.worker",
) -> Any:
    """Runs a job to its end, for the command line and scripts.

    Args:
        request: What to do.
        on_event: Receives every event, on another thread; what it raises ends the job and is raised here.
        cancel: Ends the job when it is set.
        module: The module that the child runs, in place of the worker.

    Returns:
        A value of the request's `result` type.

    Raises:
        IcebreakerError: The job failed; its note is what a bug report wants.
        JobCancelled: `cancel` was set.
        KeyboardInterrupt: The user pressed Ctrl+C; the child is gone by then.
    """
    job = Job(request, on_event, module=module).start()
    try:
        while True:
            if cancel is not None and cancel.is_set():
                job.cancel()
            with contextlib.suppress(TimeoutError):
                final = job.wait(None if cancel is None else _WATCH_SECONDS)
                break
    except BaseException:  # Ctrl+C, or what a handler of SIGTERM raises
        job.cancel()
        job.wait(10 * _GRACE_SECONDS)
        raise
    if job.problem is not None:
        raise job.problem
    match final:
        case events.Done(result):
            return result
        case events.Failed(failure, details):
            error = IcebreakerError.of(failure)
            error.add_note(details)
            raise error
        case _:
            raise JobCancelled()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Signals the child and whatever it started; a child that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
