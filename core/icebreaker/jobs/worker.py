"""The child process: does one job, reports events, ends.

Run by `jobs.Job` as `python -m icebreaker.worker`. TensorFlow is imported here only, after the settings that count
before its first session are known.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from icebreaker import events, gpu
from icebreaker.errors import IcebreakerError
from icebreaker.jobs import supervisor
from icebreaker.reports import reports
from icebreaker.storage import crash_journal

Emit = Callable[[events.Event], None]


def _inspect(arguments: Mapping[str, Any], emit: Emit, job_id: str) -> Any:
    """{"model", "frozen"?, "allow_side_effects"?} → Inspection.

    A SavedModel or Keras file is frozen into `frozen` on the way.
    """
    from icebreaker.formats import graph_files

    emit(events.Progress("Reading the graph", 0.0))
    return graph_files.inspect(
        Path(arguments["model"]), arguments.get("frozen"), arguments.get("allow_side_effects", False), job_id
    )


def _engines(arguments: Mapping[str, Any], emit: Emit, job_id: str) -> Any:
    """{} → Machine."""
    from icebreaker.engines import registry

    emit(events.Progress("Asking the engines", 0.0))
    return registry.machine()


def _sample(arguments: Mapping[str, Any], emit: Emit, job_id: str) -> Any:
    """{"name", "output"} → {"output"}."""
    from icebreaker import sample_models

    emit(events.Progress(f"Making the sample {arguments['name']}", 0.0))
    sample_models.write_sample(arguments["name"], Path(arguments["output"]), job_id)
    return {"output": arguments["output"]}


def _convert(arguments: Mapping[str, Any], emit: Emit, job_id: str) -> Any:
    """{"model", "output", "settings": ConvertSettings} → Conversion."""
    from icebreaker.conversion import pipeline
    from icebreaker.settings import ConvertSettings

    return pipeline.convert(
        Path(arguments["model"]), Path(arguments["output"]), ConvertSettings.from_json(arguments["settings"]),
        emit=emit, job_id=job_id,
    )  # fmt: skip


def _calibrate(arguments: Mapping[str, Any], emit: Emit, job_id: str) -> Any:
    """{"model", "output", "settings": ConvertSettings} → Calibration."""
    from icebreaker.conversion import pipeline
    from icebreaker.settings import ConvertSettings

    return pipeline.calibrate(
        Path(arguments["model"]), Path(arguments["output"]), ConvertSettings.from_json(arguments["settings"]),
        emit=emit, job_id=job_id,
    )  # fmt: skip


def _benchmark(arguments: Mapping[str, Any], emit: Emit, job_id: str) -> Any:
    """{"model", "optimized"?, "batch", "seconds", "data"?, "settings"?, "profile"?} → Benchmark; sends `Sample`s."""
    from icebreaker.benchmarking import benchmark

    return benchmark.benchmark(emit=emit, **arguments)


def _compare(arguments: Mapping[str, Any], emit: Emit, job_id: str) -> Any:
    """{"model", "optimized", "data"?, "settings"?} → Comparison."""
    from icebreaker.benchmarking import benchmark

    return benchmark.compare(emit=emit, **arguments)


JOBS: Mapping[str, Callable[[Mapping[str, Any], Emit, str], Any]] = {
    "inspect": _inspect,
    "engines": _engines,
    "sample": _sample,
    "convert": _convert,
    "calibrate": _calibrate,
    "benchmark": _benchmark,
    "compare": _compare,
}


def main() -> None:
    """Reads the job from stdin, does it, and sends its events to what was stdout when the process began."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # native libraries print to file descriptor 1; keep that out of the channel
    lock = threading.Lock()

    def emit(event: events.Event) -> None:
        with lock:
            channel.write(events.encode(event) + "\n")

    with contextlib.suppress(OSError):  # if memory runs out, this process goes, not the app
        Path("/proc/self/oom_score_adj").write_text("500")
    order = json.loads(sys.stdin.readline())
    crash_journal.begin(order["folder"], order["denied"])
    threading.Thread(target=_end_with_parent, args=(order,), daemon=True).start()
    try:
        result = JOBS[order["kind"]](order["arguments"], emit, order["id"])
        emit(events.Done(result if isinstance(result, dict) else reports.dump(result)))
    except IcebreakerError as error:
        emit(events.Failed(_with_advice(str(error), order)))
    except MemoryError:
        emit(events.Failed("memory ran out: close other programs, or choose a smaller batch", traceback.format_exc()))
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        text = _with_advice(f"the job failed unexpectedly: {text[:400]}", order)
        emit(events.Failed(text, traceback.format_exc()))
    channel.flush()
    os._exit(0)  # the engines' native threads need not be waited for


def _with_advice(text: str, order: Mapping[str, Any]) -> str:
    """An error's text, and if the GPU's memory was full, what to set."""
    return text + gpu.memory_advice(text, (order["arguments"].get("settings") or {}).get("memory_fraction"))


def _end_with_parent(order: Mapping[str, Any]) -> None:
    sys.stdin.read()  # returns when the parent closes its end or is gone
    supervisor.remove_partial_output(order["arguments"], order["id"])  # a parent that was killed cannot
    shutil.rmtree(order["folder"], ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
