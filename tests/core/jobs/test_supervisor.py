"""A job ends in exactly one final event, whatever becomes of its child process, and leaves nothing behind."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from helpers import requests
from helpers.processes import TESTS, alive, wait_until
from icebreaker import events
from icebreaker.errors import IcebreakerError
from icebreaker.jobs import supervisor
from icebreaker.jobs.requests import Inspect

CHILD = "helpers.job_child"


@pytest.fixture(autouse=True)
def _child_finds_its_module(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


class Heard(list):
    """Collects events; `until` waits for one that satisfies a condition."""

    def __init__(self):
        super().__init__()
        self._came = threading.Condition()

    def __call__(self, event):
        with self._came:
            self.append(event)
            self._came.notify_all()

    def until(self, stage, timeout=60):
        def there():
            return any(isinstance(event, events.Progress) and event.stage == stage for event in self)

        with self._came:
            assert self._came.wait_for(there, timeout), f"{stage!r} did not come: {list(self)}"


def start(request, heard=None):
    return supervisor.Job(request, Heard() if heard is None else heard, module=CHILD).start()


def finish(job, heard, tmp_path):
    """Waits for the end and checks what holds for every job."""
    final = job.wait(60)
    assert [event for event in heard if isinstance(event, events.FINAL)] == [final]
    assert heard[-1] is final
    assert not list((tmp_path / "tmp").iterdir()), "temporary files are left"
    assert not list(tmp_path.glob(".*.tmp")), "partial output is left"
    if job.pid is not None:
        assert not alive(job.pid)
    return final


def test_success(tmp_path):
    heard = Heard()
    job = start(requests.Echo(text="ä\n", number=2.5), heard)
    final = finish(job, heard, tmp_path)
    assert isinstance(final, events.Done)
    assert final.result["text"] == "ä\n" and final.result["number"] == 2.5 and final.result["nothing"] is None
    assert final.result["pid"] == job.pid != os.getpid()
    assert Path(final.result["temporary"]).parent == tmp_path / "tmp"
    assert events.Progress("Echoing", 0.5) in heard


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (requests.Refuse(), "model.pb: nothing to do: add nodes"),
        (requests.Bug(), "the job failed unexpectedly: KeyError: 'missing'"),
        (requests.NoMemory(), "memory ran out: close other programs, or choose a smaller batch"),
        (requests.UnheardOf(), "the job failed unexpectedly: KeyError: 'unheard_of'"),
    ],
    ids=["error", "bug", "memory", "unknown"],
)
def test_failure(tmp_path, request_, message):
    heard = Heard()
    final = finish(start(request_, heard), heard, tmp_path)
    assert isinstance(final, events.Failed) and str(final.message) == message
    assert ("Traceback" in final.details) == (request_ != requests.Refuse())


@pytest.mark.parametrize(
    ("name", "hint"),
    [("SIGKILL", "killed from outside"), ("SIGSEGV", "native library"), ("SIGUSR1", "see the log")],
)
def test_child_killed_by_a_signal(tmp_path, name, hint):
    heard = Heard()
    job = start(requests.Die(signal=name, output=str(tmp_path / "out.pb")), heard)
    final = finish(job, heard, tmp_path)
    assert isinstance(final, events.Failed)
    words = str(final.message)
    assert words.startswith(f"the worker process ended by {name} while building TRTEngineOp_000: ")
    assert hint in words and "\n" not in words
    assert "some native words" in final.details


@pytest.mark.parametrize(
    ("limited", "last", "words"),
    [
        (True, "what():  std::bad_alloc", "ended because its address space is limited to 68.7 GB while building"),
        (True, "something else", "ended by SIGABRT while building"),
        (False, "what():  std::bad_alloc", "ended by SIGABRT while building"),
    ],
)
def test_an_address_space_that_is_limited_is_no_crash(tmp_path, limited, last, words):
    limits = resource.getrlimit(resource.RLIMIT_AS)
    heard = Heard()
    try:
        if limited:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 36, limits[1]))
        final = finish(start(requests.Die("SIGABRT", str(tmp_path / "out.pb"), last), heard), heard, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert isinstance(final, events.Failed) and words in str(final.message)


def test_child_falls_silent(tmp_path):
    heard = Heard()
    final = finish(start(requests.FallSilent(), heard), heard, tmp_path)
    assert isinstance(final, events.Failed)
    assert str(final.message) == "the worker process ended with status 7 while starting: it printed nothing"


def test_nothing_follows_the_final_event(tmp_path):
    heard = Heard()
    final = finish(start(requests.SayDoneTwice(), heard), heard, tmp_path)
    assert final == events.Done({"first": True})


def test_what_native_libraries_print_is_log(tmp_path):
    heard = Heard()
    finish(start(requests.Print(), heard), heard, tmp_path)
    assert events.Log("debug", "native library speaking") in heard


def test_missing_interpreter(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    heard = Heard()
    final = finish(start(requests.Echo(), heard), heard, tmp_path)
    assert isinstance(final, events.Failed)
    assert str(final.message).startswith("the worker process could not start: ")
    assert "/nonexistent/python" in str(final.message)


def test_no_room_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    heard = Heard()
    final = start(requests.Echo(), heard).wait(60)
    assert isinstance(final, events.Failed) and "nowhere" in str(final.message)
    assert heard == [final]


def test_listener_that_raises_ends_the_job(tmp_path):
    heard = []

    def on_event(event):
        heard.append(event)
        if isinstance(event, events.Progress):
            raise RuntimeError("the panel is gone")

    job = supervisor.Job(requests.Wait(), on_event, module=CHILD).start()
    final = job.wait(60)
    assert isinstance(final, events.Failed) and "the panel is gone" in str(final.message)
    assert heard[-1] is final and not alive(job.pid)


def test_cancel_before_start(tmp_path):
    heard = Heard()
    job = supervisor.Job(requests.Echo(), heard, module=CHILD)
    job.cancel()
    job.start()
    assert finish(job, heard, tmp_path) == events.Cancelled()
    assert heard == [events.Cancelled()] and job.pid is None


def test_cancel_at_once(tmp_path):
    heard = Heard()
    job = start(requests.Wait(), heard)
    job.cancel()
    assert finish(job, heard, tmp_path) == events.Cancelled()


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancel_midway(tmp_path, stubborn):
    heard = Heard()
    job = start(requests.Wait(output=str(tmp_path / "out.pb"), stubborn=stubborn), heard)
    heard.until("Really waiting")
    assert list(tmp_path.glob(".out.pb.*.tmp"))
    job.cancel()
    job.cancel()  # an impatient user
    assert finish(job, heard, tmp_path) == events.Cancelled()
    assert not any(isinstance(event, events.Failed) for event in heard)


def test_cancel_after_the_end_changes_nothing(tmp_path):
    heard = Heard()
    job = start(requests.Echo(), heard)
    final = finish(job, heard, tmp_path)
    job.cancel()
    assert job.wait(1) is final
    assert finish(job, heard, tmp_path) is final


def test_other_jobs_survive_a_cancel(tmp_path):
    first, second = Heard(), Heard()
    doomed, other = start(requests.Wait(), first), start(requests.Wait(), second)
    first.until("Really waiting")
    second.until("Really waiting")
    doomed.cancel()
    assert doomed.wait(60) == events.Cancelled()
    assert alive(other.pid)
    other.cancel()
    finish(other, second, tmp_path)


def test_grandchildren_end_too(tmp_path):
    heard = Heard()
    final = finish(start(requests.Spawn(), heard), heard, tmp_path)
    assert isinstance(final, events.Done)
    wait_until(lambda: not alive(final.result["grandchild"]))


def test_death_is_noticed_though_a_fork_holds_the_pipes(tmp_path):
    heard = Heard()
    job = start(requests.ForkAndWait(), heard)
    heard.until("Forked")
    assert job.pid
    os.kill(job.pid, signal.SIGKILL)
    final = finish(job, heard, tmp_path)
    assert isinstance(final, events.Failed) and "SIGKILL" in str(final.message)
    grandchild = next(int(event.stage) for event in heard if str(getattr(event, "stage", "")).isdigit())
    wait_until(lambda: not alive(grandchild))


def test_child_dies_with_its_parent_and_cleans_up(tmp_path):
    script = (
        "import tempfile; from helpers import requests; from icebreaker import events; "
        "from icebreaker.jobs import supervisor\n"
        f"tempfile.tempdir = {str(tmp_path / 'tmp')!r}\n"
        "def hear(event):\n"
        "    if event == events.Progress('Really waiting', 0.3): print(job.pid, flush=True)\n"
        f"request = requests.Wait(output={str(tmp_path / 'out.pb')!r})\n"
        f"job = supervisor.Job(request, hear, module={CHILD!r}).start()\n"
        "job.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    assert alive(child) and list(tmp_path.glob(".out.pb.*.tmp"))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not alive(child))
    assert not list(tmp_path.glob(".*.tmp")) and not list((tmp_path / "tmp").iterdir())


def test_of_many_events_each_comes_once_and_in_order(tmp_path):
    heard = Heard()
    final = finish(start(requests.Flood(count=20_000), heard), heard, tmp_path)
    samples = [event for event in heard if isinstance(event, events.Sample)]
    assert isinstance(final, events.Done)
    assert [sample.seconds for sample in samples] == [index / 1000 for index in range(20_000)]


def test_run_returns_the_result_or_raises(monkeypatch, tmp_path):
    missing = Inspect(model=str(tmp_path / "missing.pb"))
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(IcebreakerError, match="could not start") as raised:
        supervisor.run(missing)
    assert raised.value.code == "worker_not_started"
    monkeypatch.undo()
    with pytest.raises(IcebreakerError, match="does not exist"):
        supervisor.run(missing)


def test_interrupted_run_ends_its_child(tmp_path):
    """Ctrl+C reaches the parent only; the child is in a session of its own."""
    script = (
        "import os, signal; from helpers import requests; from icebreaker import events; "
        "from icebreaker.jobs import supervisor\n"
        "def hear(event):\n"
        "    if event == events.Progress('Really waiting', 0.3): os.kill(os.getpid(), signal.SIGINT)\n"
        "try:\n"
        f"    supervisor.run(requests.Wait(output={str(tmp_path / 'out.pb')!r}), hear, module={CHILD!r})\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
    assert not list(tmp_path.glob(".*.tmp"))
