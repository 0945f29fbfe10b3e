"""Measures original and optimized graph side by side, and compares what they answer.

Owns: the order of the calls, the statistics. Runs in the worker. The original is called as the fastest way of plain
TensorFlow does it (`Session.make_callable`), the optimized graph as its user calls it (`icebreaker.load(path)(…)`).
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker import events
from icebreaker.benchmarking import profiling
from icebreaker.data.sample_inputs import every_row, rows, sample_run
from icebreaker.errors import IcebreakerError
from icebreaker.graph import side_effects
from icebreaker.metrics.output_difference import difference
from icebreaker.reports.reports import Benchmark, Comparison, Latency, OutputDifference, Profile, Speedup
from icebreaker.runtime import artifact, loader
from icebreaker.settings import Consent, ConvertSettings
from icebreaker.storage.weight_store import Store
from icebreaker.tf.session import GraphSession

Emit = Callable[[events.Event], None]
_Call = Callable[[], Sequence[Any]]

_TURN_SECONDS = 0.05  # long enough for caches and threads to settle, short enough that both see the same machine
_FEWEST_TURNS = 6  # the smallest number of pairs whose bootstrap can span 95 %: 1 - 2 / 2**6
_WARM_UP_CALLS = 3
_WARM_UP_SECONDS = 0.5
_RESAMPLES = 1000
_PROFILE_SECONDS = 1.5  # for each graph
_MOST_SAMPLES_A_TURN = 25  # sent to be drawn; the statistics use every call


def benchmark(
    model: str,
    optimized: str | None = None,
    batch: int = 1,
    seconds: float = 5.0,
    settings: ConvertSettings = ConvertSettings(),
    *,
    profile: bool = False,
    consent: Consent = Consent(),
    emit: Emit = lambda event: None,
) -> Benchmark:
    """Times a graph, or two in turns on the same inputs; `Sample` events tell of the calls while it runs.

    Each turn calls one graph for 50 ms, at least once, then it is the other's turn. Fast calls are thinned out to 25
    `Sample` events a turn.

    Args:
        model: The original graph.
        optimized: What `convert` made of it; or `model` again, which then runs in plain TensorFlow and in its engines.
        batch: Rows of every input whose first dimension is open.
        seconds: How long to measure, both graphs together, warm-up excluded; six turns each are made at least.
        settings: Its outputs, input shapes, memory fraction and the first `batch` rows of its data are used.
        profile: Find out, after measuring, where the time goes.
        consent: What the user has allowed.
        emit: Receives `Progress` and `Sample`.

    Returns:
        Statistics over all calls; throughput is rows per second of time in calls.

    Raises:
        IcebreakerError: A file, a name or the inputs do not fit, or `batch` or `seconds` is not positive.
    """
    if batch < 1:
        raise IcebreakerError(f"batch {batch} is too small: it must be at least 1")
    if not 0 < seconds < float("inf"):
        raise IcebreakerError(f"{seconds} seconds is no time to measure: give a positive number")
    with _warnings_logged(emit), _Pair(model, optimized, settings, consent, emit) as pair:
        if pair.has_engines and model != optimized:
            text = f"{model} has engines in it, but as the original it runs in plain TensorFlow, without them"
            emit(events.Log("warning", text))
        feeds = pair.sample(batch)
        calls = pair.calls(feeds)
        emit(events.Progress("Warming up", 0.15))
        for call in calls.values():
            _warm_up(call)
        turns = _take_turns(calls, seconds, emit)
        emit(events.Progress("Comparing the outputs", 0.95))
        answers = {series: call() for series, call in calls.items()}
        rows = pair.rows(feeds)
        statistics = {series: _latency(np.concatenate(times), rows) for series, times in turns.items()}
        profiles = pair.profiles(feeds, emit) if profile else {}
        return Benchmark(
            original=statistics["original"],
            optimized=statistics.get("optimized"),
            speedup=speedup(turns["original"], turns["optimized"]) if optimized else None,
            outputs=pair.differences([answers["original"]], [answers["optimized"]]) if optimized else {},
            batch=rows,
            profiles=profiles,
        )


def compare(
    model: str,
    optimized: str,
    settings: ConvertSettings = ConvertSettings(),
    consent: Consent = Consent(),
    emit: Emit = lambda event: None,
) -> Comparison:
    """Compares the answers of both graphs to the same inputs.

    With `data`, every row is asked by itself, because an engine may take no larger batch and would then leave the
    work to TensorFlow, with which it is compared; the figures are over all rows together.

    Args:
        model: The original graph.
        optimized: What `convert` made of it.
        settings: Of its data, all rows are used; else as for `benchmark`.
        consent: What the user has allowed.
        emit: Receives `Progress`.

    Returns:
        The differences by canonical output name.

    Raises:
        IcebreakerError: A file, a name or the inputs do not fit.
    """
    with _warnings_logged(emit), _Pair(model, optimized, settings, consent, emit) as pair:
        answers: dict[str, list[Sequence[Any]]] = {"original": [], "optimized": []}
        for feeds, fraction in pair.every_row():
            emit(events.Progress("Comparing the outputs", 0.15 + 0.85 * fraction))
            for series, call in pair.calls(feeds).items():
                answers[series].append(call())
        if not answers["original"]:
            raise IcebreakerError(f"{settings.data} has no rows: give at least one value for each input")
        return Comparison(pair.differences(answers["original"], answers["optimized"]))


def speedup(original: Sequence[np.ndarray], optimized: Sequence[np.ndarray], seed: int = 0) -> Speedup:
    """The ratio of the medians of all calls, with the 95 % interval of a paired block bootstrap.

    A resample draws as many pairs of turns, with replacement, as were measured, and takes the ratio of the medians
    of the calls in them; the interval is from the 2.5th to the 97.5th percentile of 1,000 resamples (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13). Whole turns are drawn since the calls of
    one turn are alike, and in pairs since what disturbs the machine disturbs both.

    Args:
        original: One array of durations for each turn, of shape [calls].
        optimized: The same for the turns that followed each of those.
        seed: Makes the interval repeatable.
    """
    random = np.random.default_rng(seed)
    # A turn of thousands of fast calls is thinned: its median is known well enough from 200 of them.
    blocks = [
        [turn[:: 1 + len(turn) // 200] for turn in turns] for turns in (list(original), list(optimized))
    ]  # fmt: skip
    ratios = np.empty(_RESAMPLES)
    for index in range(_RESAMPLES):
        drawn = random.integers(len(original), size=len(original))
        medians = [np.median(np.concatenate([block[pair] for pair in drawn])) for block in blocks]
        ratios[index] = medians[0] / medians[1]
    low, high = np.percentile(ratios, [2.5, 97.5])
    ratio = np.median(np.concatenate(original)) / np.median(np.concatenate(optimized))
    return Speedup(float(ratio), (float(low), float(high)))


@contextlib.contextmanager
def _warnings_logged(emit: Emit) -> Iterator[None]:
    """Tells the user of an engine that is not used: what is measured then is TensorFlow."""

    def log(message: Warning | str, category: type[Warning], *_: object) -> None:
        level = "warning" if issubclass(category, loader.EngineWarning) else "debug"
        emit(events.Log(level, " ".join(str(message).split())))

    with warnings.catch_warnings():
        warnings.simplefilter("always", loader.EngineWarning)
        warnings.showwarning = log
        yield


class _Pair:
    """The original and, if given, the optimized graph, both loaded."""

    def __init__(
        self, model: str, optimized: str | None, settings: ConvertSettings, consent: Consent, emit: Emit
    ) -> None:
        self._settings = settings
        emit(events.Progress("Reading the original graph", 0.0))
        allowed = consent.side_effects
        self._weights = tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True)
        self._graph = loader.read(Path(model), allowed, Store(Path(self._weights.name)))
        side_effects.require_consent(side_effects.find_side_effects(self._graph.definition), allowed, model)
        emit(events.Progress("Starting TensorFlow", 0.02))
        self._original = GraphSession(self._graph.definition, self._settings.memory_fraction, store=self._graph.store)
        self._optimized: loader.Model | None = None
        if optimized is not None:
            emit(events.Progress("Loading the optimized graph", 0.08))
            faster = loader.read(Path(optimized))
            side_effects.require_consent(side_effects.find_side_effects(faster.definition), allowed, optimized)
            folder = Path(optimized).absolute().parent
            self._optimized = loader.Model(faster, folder, trust=consent.engines)
        wanted = self._settings.outputs or self._graph.candidate_outputs
        names = self._optimized.outputs if self._optimized else wanted
        self._outputs = [self._graph.require(name, "output") for name in names]
        if not self._outputs:
            raise IcebreakerError(f"{model} has no output that carries data: name one with --outputs")
        self._callables: dict[tuple[str, ...], Callable[..., Any]] = {}

    def __enter__(self) -> _Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self._original.close()
        self._weights.cleanup()

    @property
    def has_engines(self) -> bool:
        """True if what is taken for the original is an optimized graph."""
        return bool(artifact.stored_engines(self._graph, Path()))

    def sample(self, batch: int) -> dict[str, np.ndarray]:
        """Values of the inputs, the user's or made up."""
        return sample_run(self._original, self._graph, self._outputs, self._settings, batch)[0]

    def rows(self, feeds: Mapping[str, np.ndarray]) -> int:
        """How many rows a call with these inputs handles."""
        return rows(feeds, self._graph)

    def every_row(self) -> Iterator[tuple[dict[str, np.ndarray], float]]:
        """The inputs row by row, each with the share of the rows that came before."""
        return every_row(self._original, self._graph, self._outputs, self._settings)

    def calls(self, feeds: Mapping[str, np.ndarray]) -> dict[str, _Call]:
        """Series → a function that calls its graph with these inputs."""
        names = tuple(feeds)
        if names not in self._callables:
            self._callables[names] = self._original.callable(self._outputs, names)
        run = self._callables[names]
        values = list(feeds.values())
        calls: dict[str, _Call] = {"original": lambda: run(*values)}
        model = self._optimized
        if model is not None:
            taken = {item.name: feeds[item.name] for item in model.inputs if item.name in feeds}
            calls["optimized"] = lambda: list(model(taken).values())
        return calls

    def profiles(self, feeds: Mapping[str, np.ndarray], emit: Emit) -> dict[str, Profile]:
        """Where the time of each graph goes; what cannot be watched is missing, with a warning."""
        found = {}
        calls = self.calls(feeds)
        emit(events.Progress("Watching where the time goes", 0.97))
        watched: dict[str, Callable[[], Profile]] = {
            "original": lambda: profiling.profile_session(
                self._original.session, self._graph, self._outputs, feeds, _PROFILE_SECONDS, calls["original"]
            )
        }
        if (model := self._optimized) is not None:
            taken = {item.name: feeds[item.name] for item in model.inputs if item.name in feeds}
            watched["optimized"] = lambda: profiling.profile_model(model, taken, _PROFILE_SECONDS)
        for series, watch in watched.items():
            try:
                found[series] = watch()
            except Exception as error:  # what was measured before must not be lost
                emit(events.Log("warning", f"the {series} graph's time could not be told apart: {error}"))
        return found

    def differences(
        self, original: Sequence[Sequence[Any]], optimized: Sequence[Sequence[Any]]
    ) -> dict[str, OutputDifference]:
        """Compares answers, each list over the same inputs."""
        found = {}
        for index, tensor in enumerate(self._outputs):
            try:
                found[str(tensor)] = difference(
                    *_joined([answer[index] for answer in original], [answer[index] for answer in optimized])
                )
            except IcebreakerError as error:
                raise IcebreakerError(f"output {str(tensor)!r}: {error}") from error
        return found


def _joined(left: Sequence[Any], right: Sequence[Any]) -> tuple[Any, Any]:
    """The answers to all rows as one value for each graph: along the first axis, or flat where their shapes vary."""
    if len(left) == 1:
        return left[0], right[0]
    pairs = [(_array(a), _array(b)) for a, b in zip(left, right, strict=True)]
    for a, b in pairs:
        if a.shape != b.shape:
            difference(a, b)  # raises, and says how the shapes differ
    alike = len({a.shape[1:] for a, _ in pairs}) == 1 and all(a.ndim for a, _ in pairs)
    sides = zip(*pairs, strict=True)
    one, two = (np.concatenate([item if alike else item.ravel() for item in side]) for side in sides)
    return one, two


def _array(value: Any) -> np.ndarray:
    return np.array(value, object) if isinstance(value, bytes | str) else np.asarray(value)


def _warm_up(call: _Call) -> None:
    """TensorFlow optimizes the graph in the first call and engines choose their kernels in the first few."""
    began = time.perf_counter()
    calls = 0
    while calls < _WARM_UP_CALLS or time.perf_counter() - began < _WARM_UP_SECONDS:
        call()
        calls += 1


def _take_turns(calls: Mapping[str, _Call], seconds: float, emit: Emit) -> dict[str, list[np.ndarray]]:
    """Series → one array for each of its turns, with the milliseconds of every call."""
    turns: dict[str, list[np.ndarray]] = {series: [] for series in calls}
    clock = time.perf_counter
    gc.collect()
    gc.disable()  # a collection would count against whoever's turn it is
    try:
        began = clock()
        while (elapsed := clock() - began) < seconds or len(turns["original"]) < _FEWEST_TURNS:
            emit(events.Progress("Measuring", 0.2 + 0.75 * min(1.0, elapsed / seconds)))
            for series, call in calls.items():
                times = []
                end = clock() + _TURN_SECONDS
                now = 0.0
                while now < end:
                    before = clock()
                    call()
                    now = clock()
                    times.append((now - began, (now - before) * 1e3))
                turns[series].append(np.array([milliseconds for _, milliseconds in times]))
                for at, milliseconds in times[:: 1 + (len(times) - 1) // _MOST_SAMPLES_A_TURN]:
                    emit(events.Sample(series, at, milliseconds))
    finally:
        gc.enable()
    return turns


def _latency(milliseconds: np.ndarray, rows: int) -> Latency:
    mean = float(milliseconds.mean())
    p50, p90, p95, p99 = (float(value) for value in np.percentile(milliseconds, [50, 90, 95, 99]))
    return Latency(p50, p90, p95, p99, mean, rows * 1e3 / mean, len(milliseconds))
