"""What ended a worker: written down before it is tried, remembered, and not tried again unasked.

An engine is native code and may take its process with it. So the worker writes into a journal what it is about to do
with which engine. If it dies, the parent (`jobs.Job`) reads the journal, remembers the crash in the user's cache folder
and starts the job again with that step denied: its segment stays in TensorFlow. The order of two processes, the journal
between them, and the memory are owned here; what a step is, is `trial`'s business.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icebreaker.storage import cache

_NOTES = "crashes"
_JOURNAL = "step.json"
_MOST_CRASHES = 3  # of one engine within a job; then it is left alone altogether


@dataclass(frozen=True)
class Attempt:
    """One thing that is tried with an engine; `key` stands for engine, version, precision and segment, or the like."""

    engine: str
    key: str
    lasting: bool = True  # remembered beyond the job


def key(*parts: str | bytes) -> str:
    """A key from all that decides whether the same thing happens again."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()


# -- in the worker -------------------------------------------------------------------------------------------------

_folder: Path | None = None  # of the job; None outside of a worker: a crash ends the user's own process then
_denied: Mapping[str, str] = {}
_open: list[tuple[str, Sequence[Attempt]]] = []  # steps within steps


def begin(folder: str, denied: Mapping[str, str]) -> None:
    """Takes over the job's journal, and what its earlier starts died of: a key, or an engine's name, and the reason."""
    global _folder, _denied
    _folder, _denied = Path(folder), denied


@contextlib.contextmanager
def step(words: str, attempts: Sequence[Attempt]) -> Iterator[None]:
    """Notes down what is being done, in words that follow "while", until it is over."""
    _open.append((words, attempts))
    _write_journal()
    try:
        yield
    finally:
        _open.pop()
        _write_journal()


def _write_journal() -> None:
    """Keeps the journal at the innermost step's words and the attempts of all."""
    if _folder is None:
        return
    with contextlib.suppress(OSError):  # a full disk: the work matters more than its journal
        if not _open:
            (_folder / _JOURNAL).unlink()
            return
        attempts = [[item.engine, item.key, item.lasting] for _, items in _open for item in items]
        (_folder / _JOURNAL).write_text(json.dumps({"words": _open[-1][0], "attempts": attempts}), encoding="utf-8")


def reason(attempt: Attempt, retry: bool = False) -> str:
    """Why an attempt must not be made, or nothing. With `retry`, crashes of earlier jobs are forgotten."""
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
    """What a worker was doing when it died."""

    words: str
    attempts: tuple[Attempt, ...]


def interrupted(folder: str) -> Step | None:
    """The step that a dead worker did not end; None if it died of something else."""
    try:
        data = json.loads((Path(folder) / _JOURNAL).read_text(encoding="utf-8"))
        (Path(folder) / _JOURNAL).unlink()
        return Step(str(data["words"]), tuple(Attempt(*item) for item in data["attempts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(found: Step, why: str, denied: Mapping[str, str], crashed: Iterable[str]) -> dict[str, str]:
    """Notes a crash in the cache folder.

    Args:
        found: What the worker was doing.
        why: What happened, in words.
        denied: What is denied already.
        crashed: Engine of every crash of this job so far, this one included.

    Returns:
        What the job's next start must not do.
    """
    result = dict(denied)
    day = datetime.date.today().isoformat()
    counts = list(crashed)
    for item in found.attempts:
        result[item.key] = f"with {item.engine} the worker process {why}"
        if item.lasting:
            cache.write_note(_NOTES, item.key, {"why": result[item.key], "day": day})
        if counts.count(item.engine) >= _MOST_CRASHES:
            result[item.engine] = f"{result[item.key]}; after {_MOST_CRASHES} times it was left alone"
    return result
