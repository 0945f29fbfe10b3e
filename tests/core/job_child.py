"""The worker with a few more jobs, which fail in all the ways that real ones can."""

import os
import signal
import sys
import time
from pathlib import Path

from icebreaker import events
from icebreaker.errors import IcebreakerError
from icebreaker.jobs import worker


def _echo(arguments, emit, job_id):
    emit(events.Progress("Echoing", 0.5))
    return {"pid": os.getpid(), "temporary": os.environ["TMPDIR"], **arguments}


def _refuse(arguments, emit, job_id):
    raise IcebreakerError("model.pb: nothing to do:\nadd nodes")


def _bug(arguments, emit, job_id):
    return {}["missing"]


def _no_memory(arguments, emit, job_id):
    raise MemoryError


def _die(arguments, emit, job_id):
    emit(events.Progress("Building TRTEngineOp_000", 0.5))
    output = Path(arguments["output"])
    output.with_name(f".{output.name}.{job_id}.tmp").write_bytes(b"half a graph")
    Path(os.environ["TMPDIR"], "scratch").write_bytes(b"left behind")
    sys.stderr.write("some native words\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.Signals[arguments["signal"]])


def _fall_silent(arguments, emit, job_id):
    os._exit(7)


def _say_done_twice(arguments, emit, job_id):
    emit(events.Done({"first": True}))
    emit(events.Progress("Too late", 1.0))
    return {}


def _print(arguments, emit, job_id):
    os.write(1, b"native library speaking\n")
    return {}


def _flood(arguments, emit, job_id):
    began = time.perf_counter()
    for index in range(arguments["count"]):
        emit(events.Sample("original", index / 1000, 1.0))
    return {"seconds": time.perf_counter() - began}


def _wait(arguments, emit, job_id):
    emit(events.Progress("Waiting", 0.1))
    if arguments.get("output"):
        output = Path(arguments["output"])
        output.with_name(f".{output.name}.{job_id}.tmp").write_bytes(b"half a graph")
    emit(events.Progress(os.environ["TMPDIR"], 0.2))
    if arguments.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    emit(events.Progress("Really waiting", 0.3))
    time.sleep(60)
    return {}


def _spawn(arguments, emit, job_id):
    import subprocess

    child = subprocess.Popen(["/bin/sleep", "60"])
    return {"grandchild": child.pid}


def _fork_and_wait(arguments, emit, job_id):
    """What telemetry of native libraries does: the fork holds every pipe of this process open, and hangs."""
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    emit(events.Progress(str(child), 0.1))
    emit(events.Progress("Forked", 0.2))
    time.sleep(60)
    return {}


worker.JOBS = {
    **worker.JOBS,
    "echo": _echo,
    "refuse": _refuse,
    "bug": _bug,
    "no_memory": _no_memory,
    "die": _die,
    "fall_silent": _fall_silent,
    "say_done_twice": _say_done_twice,
    "print": _print,
    "flood": _flood,
    "wait": _wait,
    "spawn": _spawn,
    "fork_and_wait": _fork_and_wait,
}

if __name__ == "__main__":
    worker.main()
