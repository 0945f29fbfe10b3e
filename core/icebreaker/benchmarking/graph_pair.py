"""The original and the optimized graph, loaded side by side: what they are fed, how they are called and compared."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker import events
from icebreaker.benchmarking import profiling
from icebreaker.data.rows import are_rows, every_row
from icebreaker.data.sample_inputs import rows, sample_run
from icebreaker.errors import IcebreakerError
from icebreaker.graph import side_effects
from icebreaker.graph.external_weights import MOST_BYTES
from icebreaker.graph.fixed_inputs import fix_inputs
from icebreaker.graph.random_ops import find_randomness, random_not_compared
from icebreaker.messages import message
from icebreaker.metrics.output_difference import difference
from icebreaker.reports import OutputDifference, Profile
from icebreaker.runtime import artifact_reader, loader
from icebreaker.runtime.engine_node import EngineWarning
from icebreaker.runtime.model import Model
from icebreaker.runtime.recorded_draws import answers
from icebreaker.settings import Consent, ConvertSettings
from icebreaker.storage.weight_store import Store
from icebreaker.tf.session import GraphSession

_log = logging.getLogger(__name__)

Emit = Callable[[events.Event], None]
# Calls a graph on the inputs that it was made for, and gives its outputs in order.
Call = Callable[[], Sequence[Any]]

_PROFILE_SECONDS = 1.5  # for each graph


@contextlib.contextmanager
def warnings_logged() -> Iterator[None]:
    """Tells the user of an engine that is not used: what is measured then is TensorFlow."""

    def log(message: Warning | str, category: type[Warning], *_: object) -> None:
        if isinstance(message, EngineWarning):
            _log.warning(message.message)
        else:
            _log.debug(" ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.simplefilter("always", EngineWarning)
        warnings.showwarning = log
        yield


class GraphPair:
    """The original and, if given, the optimized graph, both loaded."""

    def __init__(
        self, model: str, optimized: str | None, settings: ConvertSettings, consent: Consent, emit: Emit,
        big: int = MOST_BYTES,
    ) -> None:  # fmt: skip
        """Loads both; of graphs of `big` bytes the weights stay in files, which saves memory and costs speed."""
        self._settings = settings
        emit(events.Progress(message("stage_read_original", "Reading the original graph"), 0.0))
        allowed = consent.side_effects
        self._weights = tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True)
        whole = loader.read(Path(model), allowed, self._store("original"), settings.signature, big)
        self._graph = fix_inputs(whole, settings.freeze_inputs)
        side_effects.require_consent(side_effects.find_side_effects(self._graph.definition), allowed, model)
        emit(events.Progress(message("stage_start_tensorflow", "Starting TensorFlow"), 0.02))
        self._original = GraphSession(self._graph.definition, self._settings.memory_fraction, store=self._graph.store)
        self._optimized: Model | None = None
        if optimized is not None:
            emit(events.Progress(message("stage_load", "Loading the optimized graph"), 0.08))
            faster = loader.read(Path(optimized), allowed, self._store("optimized"), big=big)
            side_effects.require_consent(side_effects.find_side_effects(faster.definition), allowed, optimized)
            self._optimized = Model(faster, loader.home(Path(optimized)), trust=consent.engines)
        wanted = self._settings.outputs or self._graph.candidate_outputs
        names = self._optimized.outputs if self._optimized else wanted
        self._outputs = [self._graph.require(name, "output") for name in names]
        self._randomness = find_randomness(self._graph, self._outputs)
        if not self._outputs:
            raise IcebreakerError(
                "graph_without_output", "{subject} has no output that carries data", "name_an_output", subject=model
            )
        self._callables: dict[tuple[str, ...], Callable[..., Any]] = {}

    def __enter__(self) -> GraphPair:
        return self

    def __exit__(self, *_: object) -> None:
        self._original.close()
        self._weights.cleanup()

    def _store(self, name: str) -> Store:
        folder = Path(self._weights.name, name)
        folder.mkdir()
        return Store(folder)

    @property
    def has_engines(self) -> bool:
        """True if what is taken for the original is an optimized graph."""
        return bool(artifact_reader.stored_engines(self._graph, Path()))

    def sample(self, batch: int) -> dict[str, np.ndarray]:
        """Values of the inputs, the user's or made up; all of the user's where they are no rows."""
        if self._settings.data and not are_rows(self._original, self._graph, self._outputs, self._settings):
            return self.all_rows()
        return sample_run(self._original, self._graph, self._outputs, self._settings, batch)[0]

    def rows(self, feeds: Mapping[str, np.ndarray]) -> int:
        """How many rows a call with these inputs handles."""
        return rows(feeds, self._graph)

    def every_row(self) -> Iterator[tuple[dict[str, np.ndarray], float]]:
        """The inputs row by row, or all at once where they are no rows; with the share of the rows that came before."""
        return every_row(self._original, self._graph, self._outputs, self._settings)

    def all_rows(self) -> dict[str, np.ndarray]:
        """The inputs with all rows of the data in one call."""
        return sample_run(self._original, self._graph, self._outputs, self._settings, 0)[0]

    def calls(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Call]:
        """Series → a function that calls its graph with these inputs."""
        names = tuple(feeds)
        if names not in self._callables:
            self._callables[names] = self._original.callable(self._outputs, names)
        run = self._callables[names]
        values = list(feeds.values())
        calls: dict[str, Call] = {"original": lambda: run(*values)}
        model = self._optimized
        if model is not None:
            taken = {item.name: feeds[item.name] for item in model.inputs if item.name in feeds}
            calls["optimized"] = lambda: list(model(taken).values())
        return calls

    def answers(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Sequence[Any]]:
        """Series → its outputs in order, of graphs that draw the same random numbers."""
        if not self._randomness.draws:
            return {series: call() for series, call in self.calls(feeds).items()}
        found = self._original.observe((*self._randomness.draws, *self._outputs), feeds)
        results: dict[str, Sequence[Any]] = {"original": [found[tensor] for tensor in self._outputs]}
        if (model := self._optimized) is not None:
            taken = {item.name: feeds[item.name] for item in model.inputs if item.name in feeds}
            draws = {
                str(item): found[item] for item in self._randomness.draws if item in found and item.node in model.graph
            }
            results["optimized"] = list(answers(model, taken, draws).values())
        return results

    def profiles(self, feeds: Mapping[str, np.ndarray], emit: Emit) -> dict[str, Profile]:
        """Where the time of each graph goes; what cannot be watched is missing, with a warning."""
        found = {}
        calls = self.calls(feeds)
        emit(events.Progress(message("stage_profile", "Watching where the time goes"), 0.97))
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
                told = message(
                    "profile_failed", "the {subject} graph's time could not be told apart: {why}",
                    subject=series, why=str(error),
                )  # fmt: skip
                _log.warning(told)
        return found

    def differences(
        self, original: Sequence[Sequence[Any]], optimized: Sequence[Sequence[Any]]
    ) -> dict[str, OutputDifference]:
        """Compares answers, each list over the same inputs; what hangs on draws that cannot be repeated is left out."""
        found = {}
        for index, tensor in enumerate(self._outputs):
            if tensor.node in self._randomness.clouded:
                _log.warning(random_not_compared(tensor))
                continue
            try:
                found[str(tensor)] = difference(
                    *joined([answer[index] for answer in original], [answer[index] for answer in optimized])
                )
            except IcebreakerError as error:
                raise IcebreakerError(
                    "output_incomparable", "output {subject!r}: {why}", subject=tensor, why=error.message
                ) from error
        return found


def joined(left: Sequence[Any], right: Sequence[Any]) -> tuple[Any, Any]:
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
