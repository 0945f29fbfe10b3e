"""The worker with an engine that fails in all the ways that native code can; run as `python -m faults.fault_child`.

`FAULT` in the environment is "what@where": what it does, and in which of the engine's calls. It hits the segment with a
Tanh in it, as often as that segment comes along; other segments go through the real engine.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helpers import requests
from icebreaker import events
from icebreaker.engine import registry
from icebreaker.engine.onnxruntime import OnnxRuntime
from icebreaker.engine.protocol import BuildOptions, Built, Runner
from icebreaker.engine.segment_model import Model, SegmentModel
from icebreaker.jobs import worker
from icebreaker.messages import Message
from icebreaker.reports import EngineStatus
from icebreaker.storage import crash_journal


class PoisonedError(RuntimeError):
    """The device is lost to this process: every later call raises it too."""


_poisoned: list[bool] = []
WHAT, _, WHERE = os.environ.get("FAULT", "none@nowhere").partition("@")


def strike(what: str) -> None:
    """Does it."""
    match what:
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "hang":
            ctypes.PyDLL(None).sleep(3600)  # keeps Python's lock: no thread of this process can do anything
        case "sleep":
            time.sleep(3600)
        case "eat":
            eaten = []
            while True:
                eaten.append(np.ones(1 << 22))
        case "poison":
            _poisoned.append(True)
            raise PoisonedError("the device is lost")
        case "raise":
            raise RuntimeError("native words\nin two lines")
        case "memory":
            raise MemoryError
        case "shout":
            os.write(1, b'{"event":"Done","result":{}}\n\xff\xfe garbage\n')


def has_tanh(model: Model) -> bool:
    return b"Tanh" in (model if isinstance(model, bytes) else model.read_bytes())


class Faulty(OnnxRuntime):
    """ONNX Runtime, but for the segment with a Tanh."""

    def status(self) -> EngineStatus:
        if WHERE == "status":
            strike(WHAT)
        return super().status()

    def refusals(self, segment: SegmentModel) -> Mapping[str, Message | str]:
        if WHERE == "refusals" and has_tanh(segment.onnx):
            strike(WHAT)
        return super().refusals(segment)

    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        if WHERE == "build" and has_tanh(segment.onnx):
            strike(WHAT)
            if WHAT == "garbage":
                return Built(b"\x00garbage", "fp32", "0", "CPU")
        return super().build(segment, options)

    def poisons_process(self, error: Exception) -> bool:
        return isinstance(error, PoisonedError)

    def load(self, payload: Model, precision: str) -> Runner:
        if _poisoned:
            raise PoisonedError("the device is still lost")
        runner = super().load(payload, precision)
        if not has_tanh(payload):
            return runner
        if WHERE == "load":
            strike(WHAT)
        calls = 0

        def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            nonlocal calls
            calls += 1
            if WHERE == "run" or (WHERE == "check" and calls == 2) or (WHERE == "measure" and calls == 5):
                strike(WHAT)
                if WHAT == "garbage":
                    return [np.full((3, 1), np.nan, np.float32)]
            return runner(inputs)

        return run


def _steps(request: requests.Steps, emit: worker.Emit, job_id: str) -> Mapping[str, Any]:
    """Goes through steps; those that crashed before are left out."""
    done, left = [], {}
    for name, what in request.steps:
        emit(events.Progress(f"At {name}", 0.5))
        attempt = crash_journal.Attempt(request.engine or name, crash_journal.key(name, ""))
        if why := crash_journal.reason(attempt, request.consent.crashed):
            left[name] = why
            continue
        with crash_journal.step(f"trying {name}", [attempt]):
            strike(what)
        done.append(name)
    return {"done": done, "left": left}


registry.register(Faulty)
worker.JOBS = {**worker.JOBS, requests.Steps: _steps}  # type: ignore[misc]

if __name__ == "__main__":
    sys.modules["faults.fault_child"] = sys.modules["__main__"]
    worker.main()
