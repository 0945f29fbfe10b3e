"""The worker with a few more jobs (`helpers.requests`); run as `python -m helpers.job_child`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from helpers import requests
from icebreaker import codec, events
from icebreaker.errors import IcebreakerError
from icebreaker.jobs import worker


def _echo(request, emit, job_id):
    emit(events.Progress("Echoing", 0.5))
    return {"pid": os.getpid(), "temporary": os.environ["TMPDIR"], **codec.to_plain(request)}


def _refuse(request, emit, job_id):
    raise IcebreakerError("nothing_to_do", "{subject}: nothing to do:\nadd nodes", subject="model.pb")


def _bug(request, emit, job_id):
    return {}["missing"]


def _no_memory(request, emit, job_id):
    raise MemoryError


def _half_written(output, job_id):
    output = Path(output)
    output.with_name(f".{output.name}.{job_id}.tmp").write_bytes(b"half a graph")


def _die(request, emit, job_id):
    emit(events.Progress("Building TRTEngineOp_000", 0.5))
    _half_written(request.output, job_id)
    Path(os.environ["TMPDIR"], "scratch").write_bytes(b"left behind")
    sys.stderr.write(f"{request.words}\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.Signals[request.signal])


def _fall_silent(request, emit, job_id):
    os._exit(7)


def _say_done_twice(request, emit, job_id):
    emit(events.Done({"first": True}))
    emit(events.Progress("Too late", 1.0))
    return {}


def _print(request, emit, job_id):
    os.write(1, b"native library speaking\n")
    return {}


def _flood(request, emit, job_id):
    for index in range(request.count):
        emit(events.Sample("original", index / 1000, 1.0))
    return {}


def _wait(request, emit, job_id):
    emit(events.Progress("Waiting", 0.1))
    if request.output:
        _half_written(request.output, job_id)
    emit(events.Progress(os.environ["TMPDIR"], 0.2))
    if request.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    emit(events.Progress("Really waiting", 0.3))
    time.sleep(3600)
    return {}


def _spawn(request, emit, job_id):
    child = subprocess.Popen(["/bin/sleep", "3600"])
    return {"grandchild": child.pid}


def _fork_and_wait(request, emit, job_id):
    child = os.fork()
    if not child:
        time.sleep(3600)
        os._exit(0)
    emit(events.Progress(str(child), 0.1))
    emit(events.Progress("Forked", 0.2))
    time.sleep(3600)
    return {}


worker.JOBS = {
    **worker.JOBS,
    requests.Echo: _echo,
    requests.Refuse: _refuse,
    requests.Bug: _bug,
    requests.NoMemory: _no_memory,
    requests.Die: _die,
    requests.FallSilent: _fall_silent,
    requests.SayDoneTwice: _say_done_twice,
    requests.Print: _print,
    requests.Flood: _flood,
    requests.Wait: _wait,
    requests.Spawn: _spawn,
    requests.ForkAndWait: _fork_and_wait,
}

if __name__ == "__main__":
    worker.main()
