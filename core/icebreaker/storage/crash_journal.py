"""What an engine that crashed was doing: so that it is blamed, and not asked for the same thing again.

An engine is native code and may take its process with it. So a worker writes the step that it begins, and the engines
that take part, into a file of the job's: the journal. If the worker dies, the process that started it (`jobs`) reads
the journal, remembers the crash in the user's cache folder, and starts the job again with those attempts denied: their
segment stays in TensorFlow, or goes to another engine. Which steps there are is up to the caller.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icebreaker.storage import cache

_NOTES = "crashes"
_JOURNAL = "step.json"
_MOST_CRASHES = 3  # of one engine within a job; then it is left alone altogether


@dataclass(frozen=True)
class Attempt:
    """One thing that an engine is asked to do.

    Attributes:
        engine: The engine's name.
        key: A digest, by `key`, of all that decides whether it crashes again: engine, version, precision, segment.
        lasting: A crash is remembered beyond the job.
    """

    engine: str
    key: str
    lasting: bool = True


def key(*parts: str | bytes) -> str:
    """A hex digest of texts and bytes; the same parts in the same order give the same one."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()


# -- in the worker -------------------------------------------------------------------------------------------------

_folder: Path | None = None  # of the job; None outside of a worker: a crash ends the user's own process then
_denied: Mapping[str, str] = {}  # key of an attempt, or an engine's name → why it must not be made
_open: list[tuple[str, Sequence[Attempt]]] = []  # steps that have begun and not ended, the innermost last
_broken: list[tuple[str, Sequence[Attempt]]] = []  # those that were open when an error left the last one of them
_GAVE_UP = 70  # exit status of a worker that ended itself


def begin(folder: str, denied: Mapping[str, str]) -> None:
    """Opens the journal; to be called once, as the worker starts.

    Args:
        folder: The job's, which the parent made and will read the journal in.
        denied: What `remember` gave after the job's earlier starts.
    """
    global _folder, _denied
    _folder, _denied = Path(folder), denied


@contextlib.contextmanager
def step(words: str, attempts: Sequence[Attempt]) -> Iterator[None]:
    """Has the journal say what is being done, until it is over; steps may lie within steps.

    Args:
        words: What is done, in words that follow "while", such as "building TRTEngineOp_000 with openvino".
        attempts: What is denied at the job's next start if the process dies meanwhile.
    """
    global _broken
    _open.append((words, attempts))
    _write_journal()
    try:
        yield
    except BaseException:
        _broken = [*_open]
        raise
    finally:
        _open.pop()
        _write_journal()


def give_up(engine: str, why: str) -> None:
    """Ends the worker, as if this engine had crashed it in the step that is open, or that an error has just left.

    Does nothing where no step is to blame, or outside of a worker.

    Args:
        engine: Its name; of several that take part in the step, it alone is denied.
        why: What it said.
    """
    steps = _open or _broken
    mine = [(words, [made for made in attempts if made.engine == engine]) for words, attempts in steps]
    if _folder is None or not any(attempts for _, attempts in mine):
        return
    with contextlib.suppress(OSError):
        _write(_folder, mine, why)
        os._exit(_GAVE_UP)  # only with a journal: else the job would end for it


def _write_journal() -> None:
    """Writes the innermost step's words and the attempts of all open steps; removes the journal if there is none."""
    if _folder is None:
        return
    with contextlib.suppress(OSError):  # a full disk: the work matters more than its journal
        if not _open:
            (_folder / _JOURNAL).unlink()
            return
        _write(_folder, _open)


def _write(folder: Path, steps: Sequence[tuple[str, Sequence[Attempt]]], why: str = "") -> None:
    attempts = [[made.engine, made.key, made.lasting] for _, attempts in steps for made in attempts]
    data = {"words": steps[-1][0], "attempts": attempts, "why": why}
    (folder / _JOURNAL).write_text(json.dumps(data), encoding="utf-8")


def reason(attempt: Attempt, retry: bool = False) -> str:
    """Why an attempt must not be made: it crashed in this job, or in an earlier one.

    Args:
        attempt: What is about to be tried.
        retry: Forget crashes of earlier jobs.

    Returns:
        Words that follow the engine's or the segment's name; empty: it may be made.
    """
    if why := _denied.get(attempt.key) or _denied.get(attempt.engine):
        return why
    note = cache.read_note(_NOTES, attempt.key)
    if note is None:
        return ""
    if retry:
        cache.drop_note(_NOTES, attempt.key)
        return ""
    return f"{note.get('why', 'the worker process crashed')} on {note.get('day', 'an earlier day')}"


# -- in the parent -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What a worker was doing when it died.

    Attributes:
        words: The innermost step, in words that follow "while".
        attempts: All that were being made.
        why: What the engine said that the worker ended itself for; empty if it did not.
    """

    words: str
    attempts: tuple[Attempt, ...]
    why: str = ""


def interrupted(folder: str) -> Step | None:
    """Reads and removes the journal of a worker that died.

    Args:
        folder: The job's.

    Returns:
        The step that it did not end; None if it died outside of any.
    """
    try:
        data = json.loads((Path(folder) / _JOURNAL).read_text(encoding="utf-8"))
        (Path(folder) / _JOURNAL).unlink()
        return Step(str(data["words"]), tuple(Attempt(*item) for item in data["attempts"]), str(data["why"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(step: Step, why: str, denied: Mapping[str, str], crashed: Iterable[str]) -> dict[str, str]:
    """Remembers a crash in the user's cache folder, and denies its attempts to the job's next start.

    Args:
        step: What the worker was doing.
        why: What happened, in words that follow "the worker process".
        denied: What this gave after earlier crashes of the job.
        crashed: Engine of every crash of this job so far, this one included: one that crashes three times is denied
            as a whole.

    Returns:
        Key of an attempt, or name of an engine → why it must not be tried; for `begin`.
    """
    result = dict(denied)
    day = datetime.date.today().isoformat()
    counts = list(crashed)
    for attempt in step.attempts:
        result[attempt.key] = f"with {attempt.engine} the worker process {why}"
        if attempt.lasting:
            cache.write_note(_NOTES, attempt.key, {"why": result[attempt.key], "day": day})
        if counts.count(attempt.engine) >= _MOST_CRASHES:
            result[attempt.engine] = f"{result[attempt.key]}; after {_MOST_CRASHES} times it was left alone"
    return result
