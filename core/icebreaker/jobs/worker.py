"""The child process: does one job, reports events, ends.

Run by `jobs.supervisor.Job` as `python -m icebreaker.jobs.worker`. TensorFlow is imported here only, after the settings
that count before its first session are known.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import logging
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from icebreaker import codec, events, gpu, reports
from icebreaker.errors import IcebreakerError
from icebreaker.jobs import requests, supervisor
from icebreaker.messages import Message, message, one_line
from icebreaker.settings import output_format
from icebreaker.storage import crash_journal

Emit = Callable[[events.Event], None]
_MOST_QUOTED = 400  # characters of an unexpected error


def _inspect(request: requests.Inspect, emit: Emit, job_id: str) -> reports.Inspection:
    from icebreaker.formats import graph_files

    emit(events.Progress(message("stage_read", "Reading the graph"), 0.0))
    return graph_files.inspect(
        Path(request.model), request.frozen or None, request.consent.side_effects, job_id, request.signature
    )


def _engines(request: requests.AskEngines, emit: Emit, job_id: str) -> reports.Machine:
    from icebreaker.engine import registry

    emit(events.Progress(message("stage_ask_engines", "Asking the engines"), 0.0))
    return registry.machine()


def _sample(request: requests.MakeSample, emit: Emit, job_id: str) -> reports.SampleFile:
    from icebreaker import sample_models

    emit(events.Progress(message("stage_sample", "Making the sample {subject}", subject=request.sample), 0.0))
    sample_models.write_sample(request.sample, Path(request.output), job_id)
    return reports.SampleFile(request.output)


def _convert(request: requests.Convert, emit: Emit, job_id: str) -> reports.Conversion:
    from icebreaker.conversion import pipeline

    return pipeline.convert(
        Path(request.model), Path(request.output), request.settings, request.consent, emit=emit, job_id=job_id,
        form=output_format(request.output, request.format),
    )  # fmt: skip


def _write_saved_model(request: requests.WriteSavedModel, emit: Emit, job_id: str) -> reports.SavedFolder:
    from icebreaker.runtime import saved_model_writer

    emit(events.Progress(message("stage_write", "Writing the optimized graph"), 0.0))
    saved_model_writer.write_from_file(
        Path(request.model), Path(request.optimized), Path(request.output), job_id,
        signature=request.settings.signature,
    )  # fmt: skip
    return reports.SavedFolder(request.output)


def _calibrate(request: requests.Calibrate, emit: Emit, job_id: str) -> reports.Calibration:
    from icebreaker.conversion import pipeline

    return pipeline.calibrate(
        Path(request.model), Path(request.output), request.settings, request.consent, emit=emit, job_id=job_id
    )


def _benchmark(request: requests.Benchmark, emit: Emit, job_id: str) -> reports.Benchmark:
    from icebreaker.benchmarking import benchmark

    return benchmark.benchmark(
        request.model, request.optimized or None, request.batch, request.seconds, request.settings,
        profile=request.profile, consent=request.consent, emit=emit,
    )  # fmt: skip


def _compare(request: requests.Compare, emit: Emit, job_id: str) -> reports.Comparison:
    from icebreaker.benchmarking import compare

    return compare.compare(request.model, request.optimized, request.settings, request.consent, emit)


def _diff(request: requests.Diff, emit: Emit, job_id: str) -> reports.GraphDiff:
    from icebreaker.diffing import diff

    emit(events.Progress(message("stage_diff", "Comparing the graphs"), 0.0))
    return diff.diff_files(
        Path(request.model), Path(request.other), request.frozen, request.consent.side_effects, job_id
    )


class _EventHandler(logging.Handler):
    """Sends what the library logs to the parent, messages as values."""

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one line."""
        said = record.msg if isinstance(record.msg, Message) else record.getMessage()
        self._emit(events.Log(record.levelname.lower(), said))


# Kind of request → what does it, with the request, a way to tell events, and the job's id for temporary files.
JOBS: Mapping[type[requests.Request], Callable[[Any, Emit, str], Any]] = {
    requests.Inspect: _inspect,
    requests.AskEngines: _engines,
    requests.MakeSample: _sample,
    requests.Convert: _convert,
    requests.WriteSavedModel: _write_saved_model,
    requests.Calibrate: _calibrate,
    requests.Benchmark: _benchmark,
    requests.Compare: _compare,
    requests.Diff: _diff,
}


class KerasWhenAsked(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Keeps Keras out while TensorFlow is being imported.

    TensorFlow imports it, if it is there, for the names of its optimizers; with all that Keras imports, that is half of
    the time that a worker needs to begin. Afterwards a Keras file has it imported as usual.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Where Keras is, for TensorFlow asks that, too; but it cannot be loaded."""
        tensorflow = getattr(sys.modules.get("tensorflow"), "__spec__", None)
        if fullname not in ("keras", "tf_keras") or not getattr(tensorflow, "_initializing", False):
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        return found and importlib.machinery.ModuleSpec(fullname, self, origin=found.origin, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Refuses, in the way that TensorFlow is prepared for."""
        raise ModuleNotFoundError("Keras is imported when it is asked for", name=spec.name)

    def exec_module(self, module: Any) -> None:
        """Is not reached."""


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
    logger = logging.getLogger("icebreaker")
    logger.addHandler(_EventHandler(emit))
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    order = codec.decode(sys.stdin.readline(), supervisor.Order)
    crash_journal.begin(order.folder, order.denied)
    sys.meta_path.insert(0, KerasWhenAsked())
    threading.Thread(target=_end_with_parent, args=(order,), daemon=True).start()
    try:
        kinds = {str(kind.__struct_config__.tag): kind for kind in JOBS}
        request = codec.from_plain(order.request, kinds[order.request["job"]])
        _bind(request.limits.threads)
        emit(events.Done(codec.to_plain(JOBS[type(request)](request, emit, order.id))))
    except IcebreakerError as error:
        emit(events.Failed(_with_advice(error.message, order.request)))
    except MemoryError:
        failure = message("memory_out", "memory ran out", "close_programs_or_smaller_batch")
        emit(events.Failed(failure, traceback.format_exc()))
    except Exception as error:
        failure = message(
            "unexpected", "the job failed unexpectedly: {error}: {words}",
            error=type(error).__name__, words=one_line(str(error))[:_MOST_QUOTED],
        )  # fmt: skip
        emit(events.Failed(_with_advice(failure, order.request), traceback.format_exc()))
    channel.flush()
    os._exit(0)  # the engines' native threads need not be waited for


def _with_advice(failure: Message, request: Mapping[str, Any]) -> Message:
    """A failure, and if the GPU's memory was full, what to set."""
    settings: Mapping[str, Any] = request.get("settings") or {}
    advice = gpu.memory_advice(str(failure), settings.get("memory_fraction"))
    return message("gpu_memory_full", "{failure}{advice}", failure=failure, advice=advice) if advice else failure


def _bind(threads: int | None) -> None:
    """Keeps to so many of the processor cores that there are; TensorFlow and the engines count those they find."""
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _end_with_parent(order: supervisor.Order) -> None:
    sys.stdin.read()  # returns when the parent closes its end or is gone
    supervisor.remove_partial_output(order.written, order.id)  # a parent that was killed cannot
    shutil.rmtree(order.folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
