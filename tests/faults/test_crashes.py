"""What native code does to a worker ends in one message; the work goes on, and the crash is remembered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from helpers.processes import TESTS
from helpers.requests import Steps
from icebreaker import events
from icebreaker.cli.wording import worded
from icebreaker.jobs import supervisor
from icebreaker.jobs.requests import AskEngines, Convert, Request
from icebreaker.settings import Consent, ConvertSettings, Limits
from icebreaker.storage import cache

ALL = bool(os.environ.get("ICEBREAKER_FAULTS"))  # `make faults`: the long ones too


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A cache and a temporary folder of their own; afterwards nothing is left in the latter."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    yield
    assert not list((tmp_path / "tmp").iterdir()), "temporary files are left"
    assert not list(tmp_path.glob(".*.tmp")), "partial output is left"


class Heard(list[events.Event]):
    """Collects events and does something at one of the stages."""

    def __init__(self, stage: str = "", then: Any = None) -> None:
        super().__init__()
        self._stage, self._then = stage, then
        self.job: supervisor.Job | None = None

    def __call__(self, event: events.Event) -> None:
        self.append(event)
        if self._stage and isinstance(event, events.Progress) and str(event.stage).startswith(self._stage):
            self._stage = ""
            threading.Thread(target=self._then, args=(self.job,)).start()

    def texts(self, level: str) -> list[str]:
        return [str(event.text) for event in self if isinstance(event, events.Log) and event.level == level]


def do(request: Request, heard: Heard | None = None) -> events.Event:
    heard = Heard() if heard is None else heard
    heard.job = supervisor.Job(request, heard, module="faults.fault_child")
    final = heard.job.start().wait(300)
    assert [event for event in heard if isinstance(event, events.FINAL)] == [final]
    assert heard.job.pid is None or not Path(f"/proc/{heard.job.pid}").exists()
    return final


def steps(*pairs: tuple[str, str], limits: Limits | None = None, **more: Any) -> Steps:
    limits = limits or Limits(memory_bytes=1 << 30, patience_seconds=3.0 if "hang" in dict(pairs).values() else 60.0)
    return Steps(steps=pairs, limits=limits, **more)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("segfault", "ended by SIGSEGV"),
        ("abort", "ended by SIGABRT"),
        ("exit", "ended with status 3"),
        ("hang", "gave no sign of life for 3 s"),
        ("eat", "took more than 1.1 GB of memory"),
    ],
)
def test_a_job_goes_on_without_what_it_died_of(what: str, words: str) -> None:
    heard = Heard()
    order = steps(("first", "none"), ("second", what), ("third", "none"))
    final = do(order, heard)
    assert isinstance(final, events.Done)
    assert final.result["done"] == ["first", "third"]
    assert final.result["left"] == {"second": f"with second the worker process {words}"}
    (told,) = heard.texts("warning")
    assert told == f"the worker process {words} while trying second; starting again without that"
    # The next job knows, and does not try.
    heard = Heard()
    final = do(order, heard)
    assert isinstance(final, events.Done) and final.result["done"] == ["first", "third"]
    assert words in final.result["left"]["second"] and " on 20" in final.result["left"]["second"]
    assert not heard.texts("warning")


def test_what_crashed_is_tried_again_if_the_user_asks() -> None:
    assert isinstance(do(steps(("a", "abort"))), events.Done)
    final = do(steps(("a", "none")))
    assert isinstance(final, events.Done) and not final.result["done"]
    final = do(steps(("a", "none"), consent=Consent(crashed=True)))
    assert isinstance(final, events.Done) and final.result["done"] == ["a"]
    final = do(steps(("a", "none")))  # and is no longer remembered
    assert isinstance(final, events.Done) and final.result["done"] == ["a"]


def test_an_engine_that_crashes_again_and_again_is_left_alone() -> None:
    heard = Heard()
    names = [str(number) for number in range(8)]
    final = do(steps(*((name, "abort") for name in names), engine="bad"), heard)
    assert isinstance(final, events.Done)
    assert list(final.result["left"]) == names and not final.result["done"]
    assert len(heard.texts("warning")) == 3
    assert "after 3 times it was left alone" in final.result["left"]["7"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_worker_that_is_asked_to_end_is_not_started_again(number: int) -> None:
    heard = Heard("At first", lambda job: (time.sleep(0.3), os.kill(job.pid, number)))
    final = do(steps(("first", "sleep"), limits=Limits()), heard)
    assert isinstance(final, events.Failed)
    assert f"ended by {signal.Signals(number).name} while trying first" in str(final.message)
    assert cache.folder().exists() is False  # nothing to remember


def test_a_job_may_be_given_a_time() -> None:
    final = do(steps(("first", "sleep"), limits=Limits(time_seconds=2.0)))
    assert isinstance(final, events.Failed)  # and the step would have slept for an hour
    assert str(final.message).startswith("the worker process took more than 2 s while trying first")
    assert "allow it more time" in str(final.message) and "--time-limit" in worded(final.message)
    assert cache.folder().exists() is False, "the last step is not to blame"


def test_silence_outside_of_a_step_ends_the_job_with_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "hang@status")
    final = do(AskEngines(limits=Limits(patience_seconds=3.0)))
    # Asking an engine is a step, so the others are still asked.
    assert isinstance(final, events.Done)
    broken = {engine.name: engine for engine in final.result.engines}["onnxruntime"]
    assert not broken.runs and "no sign of life for 3 s" in str(broken.detail)


def test_a_cache_folder_that_cannot_be_had_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):  # nothing is remembered, but each job goes on
        heard = Heard()
        final = do(steps(("a", "abort"), ("b", "none")), heard)
        assert isinstance(final, events.Done) and final.result["done"] == ["b"]
        assert len(heard.texts("warning")) == 1


def test_notes_are_safe_among_processes(tmp_path: Path) -> None:
    """Four processes write and read one note at once; whoever reads it, reads all of it."""
    script = (
        "import sys; from icebreaker.storage import cache\n"
        "for turn in range(150):\n"
        "    assert cache.write_note('kind', 'abc', {'text': sys.argv[1] * 1000, 'by': sys.argv[1]})\n"
        "    note = cache.read_note('kind', 'abc')\n"
        "    assert note['text'] == note['by'] * 1000, note\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", script, letter]) for letter in "abcd"]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    assert [path.name for path in (cache.folder() / "kind").iterdir()] == ["abc.json"]


def test_damaged_and_foreign_notes_count_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.write_note("kind", "abc", {"a": 1})
    path = cache.folder() / "kind" / "abc.json"
    assert path.parent.stat().st_mode & 0o077 == 0
    for content in (b"", b"[1]", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        assert cache.read_note("kind", "abc") is None
    path.write_text(json.dumps({"a": 1}))
    assert cache.read_note("kind", "abc") == {"a": 1}
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert cache.read_note("kind", "abc") is None


# -- real conversions ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment with a Tanh, which the fault hits, a node that nothing converts, and a segment without one."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    random = np.random.default_rng(0)
    first = tf.constant(random.normal(size=(64, 64)).astype(np.float32))
    second = tf.constant(random.normal(size=(64, 8)).astype(np.float32))

    def model(x: Any) -> Any:
        a = tf.nn.relu(tf.linalg.matmul(tf.nn.tanh(x, name="a/tanh"), first, name="a/matmul") + 1.0, name="a/relu")
        b = tf.math.digamma(a + 1.0, name="digamma")
        return tf.nn.softmax(tf.linalg.matmul(tf.nn.relu(b, name="b/relu"), second, name="b/matmul"), name="y")

    function = tf.function(model).get_concrete_function(tf.TensorSpec((None, 64), tf.float32, "x"))
    definition = convert_variables_to_constants_v2(function).graph.as_graph_def()
    path = tmp_path_factory.mktemp("graph") / "two.pb"
    path.write_bytes(definition.SerializeToString())
    return path


def conversion(model: Path, folder: Path, limits: Limits = Limits()) -> Convert:
    settings = ConvertSettings.of(outputs=("y",), engine="onnxruntime")
    return Convert(model=str(model), output=str(folder / "out.pb"), settings=settings, limits=limits)


LONG = [
    ("abort@build", "ended by SIGABRT while building"),
    ("hang@build", "gave no sign of life for 20 s while building"),
    ("eat@build", "took more than 2.5 GB of memory while building"),
    ("segfault@refusals", "ended by SIGSEGV while asking onnxruntime about"),
    ("segfault@load", "ended by SIGSEGV while building"),
    ("segfault@check", "ended by SIGSEGV while checking"),
    ("segfault@measure", "ended by SIGSEGV while measuring"),
    ("poison@run", "can do nothing more with its devices (the device is lost) while building"),
    ("poison@build", "can do nothing more with its devices (the device is lost) while building"),
    ("poison@check", "can do nothing more with its devices (the device is lost) while checking"),
    ("poison@refusals", "can do nothing more with its devices (the device is lost) while asking"),
    ("raise@build", ""),
    ("raise@refusals", ""),
    ("raise@check", ""),
    ("memory@build", ""),
    ("garbage@build", ""),
    ("garbage@run", ""),
    ("shout@build", "went on"),
]
SHORT = [
    ("segfault@build", "ended by SIGSEGV while building"),
    ("garbage@run", ""),
    ("raise@measure", ""),
    ("poison@measure", "can do nothing more with its devices (the device is lost) while measuring"),
]


@pytest.mark.parametrize(("fault", "words"), [*SHORT, *(item for item in LONG if ALL and item not in SHORT)])
def test_a_conversion_goes_on_without_the_segment(
    two_segments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    monkeypatch.setenv("FAULT", fault)
    heard = Heard()
    limits = Limits(memory_bytes=2_500_000_000, patience_seconds=20.0)
    final = do(conversion(two_segments, tmp_path, limits), heard)
    assert isinstance(final, events.Done), final
    engines = {node: segment.name for segment in final.result.segments for node in segment.nodes}
    left = {item.node: str(item.reason) for item in final.result.left_in_tensorflow}
    assert "b/matmul" in engines
    if words == "went on":
        assert "a/tanh" in engines
    else:
        assert "a/tanh" in left and "onnxruntime" in left["a/tanh"]
    restarts = [text for text in heard.texts("warning") if "starting again" in text]
    if words and words != "went on":
        assert len(restarts) == 1 and words in restarts[0]
        assert any("--retry-crashed" in worded(text) for text in final.result.warnings)
    else:
        assert not restarts
    x = np.random.default_rng(1).random((2, 64), np.float32)
    monkeypatch.delenv("FAULT")
    (plain,) = icebreaker.load(two_segments)(x).values()
    np.testing.assert_allclose(icebreaker.load(tmp_path / "out.pb", fallback=False)(x)["y"], plain, atol=1e-5)


STAGES = ["Reading", "Starting", "Running", "Finding", "Building", "Putting", "Writing"]


@pytest.mark.parametrize("stage", STAGES if ALL else ["Finding"])
def test_killed_at_any_stage_it_tells_and_leaves_nothing(two_segments: Path, tmp_path: Path, stage: str) -> None:
    (tmp_path / "out.pb").write_bytes(b"what was there before")
    heard = Heard(stage, lambda job: os.kill(job.pid, signal.SIGKILL))
    final = do(conversion(two_segments, tmp_path), heard)
    if isinstance(final, events.Failed):
        assert "ended by SIGKILL while" in str(final.message) and "killed from outside" in str(final.message)
        assert (tmp_path / "out.pb").read_bytes() == b"what was there before"
    else:  # the signal came just after the end
        assert isinstance(final, events.Done)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("stage", STAGES if ALL else ["Building"])
def test_cancelled_at_any_stage_it_leaves_nothing(two_segments: Path, tmp_path: Path, stage: str) -> None:
    final = do(conversion(two_segments, tmp_path), Heard(stage, supervisor.Job.cancel))
    assert isinstance(final, events.Cancelled | events.Done)
    assert (tmp_path / "out.pb").exists() == isinstance(final, events.Done)


def test_cancelled_in_native_code_that_does_not_end(
    two_segments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULT", "hang@build")  # for an hour

    def cancel(job: supervisor.Job) -> None:
        time.sleep(2)  # it is in there by now
        job.cancel()

    assert do(conversion(two_segments, tmp_path), Heard("Building", cancel)) == events.Cancelled()
    assert not (tmp_path / "out.pb").exists()
