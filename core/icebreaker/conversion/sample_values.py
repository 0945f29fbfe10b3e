"""Values that a conversion runs on: sets of inputs, and what the graph in TensorFlow computes from each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from icebreaker.data.hard_values import KINDS, hard_values
from icebreaker.data.rows import are_rows, spread_rows
from icebreaker.data.sample_inputs import Feeds, sample_run
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.graph.random_ops import find_randomness
from icebreaker.graph.side_effects import find_side_effects
from icebreaker.messages import Message, message
from icebreaker.partitioning.partition import Segment
from icebreaker.settings import ConvertSettings, Profile, profile_text
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

_MOST_CHECKED_ROWS = 32
_MOST_HARD_VALUES = 1 << 22  # of all inputs together: beyond, fewer sets
_MOST_BYTES_OF_WEIGHTS = 32 << 20  # with floats as inputs: likewise
_MOST_VALUES_OF_MANY_ROWS = 1 << 14
_HARD_ROWS = 5
_IN_USUAL_SHAPES = ("signed", "beyond")
_MOST_BYTES_OF_ROWS = 64 << 20
_SECONDS_FOR_ROWS = 2.0

# What a segment reads and gives in one run, in its order.
Exchange = tuple[list[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class HardSet:
    """Values that engines are checked on, and not built for or measured with.

    Attributes:
        words: What is in it, in words that follow "on".
        kind: A key of `hard_values.KINDS`; `data` for rows of the user's.
        feeds: Input name → value.
        observed: Tensor → value, of those that were recorded in one run of the graph.
        draws: What random nodes gave in it.
    """

    words: str
    kind: str
    feeds: Feeds
    observed: dict[Tensor, np.ndarray]
    draws: Feeds


class SampleValues:
    """Sets of inputs that the graph runs on, the usual one first, and what it makes of them.

    Attributes:
        feeds: For each set: input name → value.
        observed: For each set: tensor → value, of those that were recorded in one run of the graph.
        draws: For each set: random tensor → what was drawn; fed again, each run gives the same.
        hard: Sets that only check: hard values, and more rows of the user's data.
        randomness: Where the graph draws random numbers.
        spanning: How many of the sets, from the first on, engines must be built for; the others only check them.
        failure: Why there is no set, if the graph could not be run on made-up values; else None.
    """

    def __init__(
        self, original: GraphSession, graph: Graph, outputs: Sequence[Tensor], settings: ConvertSettings
    ) -> None:
        """Finds the sets by running the graph.

        Args:
            original: The graph in TensorFlow; a session is open afterwards.
            graph: The graph.
            outputs: Its outputs.
            settings: Where its data, shapes, profiles and batch are from.

        Raises:
            IcebreakerError: The user's data, shapes or profiles do not fit the graph.
        """
        self._original, self._graph, self._outputs, self._settings = original, graph, tuple(outputs), settings
        self.feeds: list[Feeds] = []
        self.observed: list[dict[Tensor, np.ndarray]] = []
        self.draws: list[Feeds] = []
        self.hard: list[HardSet] = []
        self.randomness = find_randomness(graph, self._outputs)
        self.spanning = 1
        self._by_row = True
        self.failure: Message | None = None
        if settings.profiles:
            self._find_at_profiles()
        else:
            self._find()

    def keep(self, feeds: Feeds, results: Mapping[Tensor, np.ndarray]) -> None:
        """Adds a set of inputs, and what the graph gave for it."""
        recorded, draws = self._recorded(feeds, results)
        self.feeds.append(feeds)
        self.observed.append(recorded)
        self.draws.append(draws)

    def add_hard_values(self, guarded: Callable[[str], AbstractContextManager[bool]]) -> None:
        """Finds hard values in the usual shapes, and takes more rows of the user's data.

        Args:
            guarded: Around the runs of a kind of values; gives False if it must be left out.
        """
        if not self.feeds:
            return
        usual = self.feeds[0]
        size = sum(value.size for value in usual.values())
        # What is big runs long, and is a network: its signs tell most. What acts outside is run as little as can be.
        effects = bool(find_side_effects(self._graph.definition))
        is_network = all(value.dtype.kind == "f" for value in usual.values())
        has_weights = is_network and self._graph.constant_bytes > _MOST_BYTES_OF_WEIGHTS
        is_big = self._graph.store is not None or has_weights or size > _MOST_HARD_VALUES
        kinds = ("signed",) if effects or is_big else tuple(KINDS)
        bases = [usual]
        if size <= _MOST_VALUES_OF_MANY_ROWS and not self._settings.profiles and (rows := self._more_rows(usual)):
            bases.append(rows)
        for index, base in enumerate(bases):
            # One row is nothing twice. An engine that keeps to the usual shapes is checked with those.
            some = kinds if index == len(bases) - 1 else [kind for kind in kinds if kind in _IN_USUAL_SHAPES]
            for found in hard_values(self._original, self._graph, self._outputs, base, some, guarded, text=not effects):
                self._keep_hard(KINDS[found.kind], found.kind, found.feeds, found.results)
        if self._settings.data is not None and self._by_row:
            self._keep_rows()

    def observe(self, segments: Iterable[Segment]) -> None:
        """Records what these segments read and give, for every set; of no set at all, nothing."""
        wanted = dict.fromkeys(self._outputs)
        for segment in segments:
            wanted.update(dict.fromkeys((*segment.inputs, *segment.outputs)))
        for index, feeds in enumerate(self.feeds):
            # All of one run, or none: a graph may give something else each time.
            if not wanted.keys() <= self.observed[index].keys():
                self.observed[index] = self._original.observe(tuple(wanted), feeds | self.draws[index])
        for index, item in enumerate(self.hard):
            if not wanted.keys() <= item.observed.keys():
                observed = self._original.observe(tuple(wanted), item.feeds | item.draws)
                self.hard[index] = replace(item, observed=observed)
        if not self.feeds:
            self.observed.append({})

    def exchanges(self, segment: Segment) -> list[Exchange | None]:
        """What a segment reads and gives in each set; None where the set does not reach it."""
        return [_exchange(segment, values) for values in self.observed]

    def hard_exchanges(self, segment: Segment) -> list[tuple[HardSet, Exchange]]:
        """What a segment reads and gives in each hard set that reaches it."""
        found = ((item, _exchange(segment, item.observed)) for item in self.hard)
        return [(item, exchange) for item, exchange in found if exchange is not None]

    def shapes_to_build_for(self, tensor: Tensor) -> list[tuple[int, ...]]:
        """A tensor's shapes in the sets that engines must be built for, the usual one first."""
        return [values[tensor].shape for values in self.observed[: self.spanning] if tensor in values]

    def rank(self, tensor: Tensor) -> int | None:
        """How many dimensions a tensor has on the usual inputs; None if they do not reach it."""
        if not self.feeds:
            return None
        if str(tensor) in self.feeds[0]:
            return self.feeds[0][str(tensor)].ndim
        found = self._original.observe([tensor], self.feeds[0])
        return found[tensor].ndim if found else None

    def _more_rows(self, usual: Feeds) -> Feeds | None:
        """Friendly values with a few rows, where that is another shape that the graph takes."""
        try:
            feeds, _ = self._run(_HARD_ROWS)
        except IcebreakerError:
            return None
        return feeds if any(feeds[name].shape != value.shape for name, value in usual.items()) else None

    def _recorded(self, feeds: Feeds, results: Mapping[Tensor, np.ndarray]) -> tuple[dict[Tensor, np.ndarray], Feeds]:
        """What is known of a run on some inputs, and its draws: with random nodes, of a run of its own."""
        draws: Feeds = {}
        if self.randomness.draws:
            found = self._original.observe((*self.randomness.draws, *self._outputs), feeds)
            draws = {str(tensor): found[tensor] for tensor in self.randomness.draws if tensor in found}
            results = {tensor: found[tensor] for tensor in self._outputs if tensor in found}
        return {**{Tensor.parse(name): value for name, value in feeds.items()}, **results}, draws

    def _keep_hard(self, words: str, kind: str, feeds: Feeds, results: Mapping[Tensor, np.ndarray]) -> None:
        recorded, draws = self._recorded(feeds, results)
        self.hard.append(HardSet(words, kind, feeds, recorded, draws))

    def _keep_rows(self) -> None:
        """More rows of the user's data, spread over all of it, as far as time and memory go."""
        begun, size = time.perf_counter(), 0
        for feeds in spread_rows(self._original, self._graph, self._outputs, self._settings, _MOST_CHECKED_ROWS):
            size += sum(value.nbytes for value in feeds.values())
            if size > _MOST_BYTES_OF_ROWS or time.perf_counter() - begun > _SECONDS_FOR_ROWS:
                return
            results = dict(zip(self._outputs, self._original.run(self._outputs, feeds), strict=True))
            self._keep_hard("your data", "data", feeds, results)

    def _run(self, batch: int, shapes: Mapping[str, tuple[int, ...]] | None = None) -> tuple[Feeds, dict]:
        return sample_run(
            self._original, self._graph, self._outputs, self._settings, batch, *([shapes] if shapes else [])
        )

    def _find(self) -> None:
        """The inputs to measure with, and more rows (or another batch) to check with."""
        settings, batch = self._settings, self._settings.max_batch_size
        failure: IcebreakerError | None = None
        if settings.data:
            self._by_row = are_rows(self._original, self._graph, self._outputs, settings)
        for size in (0, batch) if not self._by_row else (batch, 0) if settings.data else (batch,):
            try:
                self.keep(*self._run(size))
                break
            except IcebreakerError as error:
                failure = failure or error
        if not self.feeds:
            assert failure is not None  # noqa: S101 - one attempt at least was made
            if settings.data or settings.input_shapes:
                raise failure
            # A graph without sample values can still be written; nothing in it can be checked, so nothing goes to
            # an engine.
            self.failure = failure.message
            return
        other = _MOST_CHECKED_ROWS if settings.data else (1 if batch > 1 else 2)
        try:
            feeds, results = self._run(other)
        except IcebreakerError:
            return  # the graph takes one batch only
        if any(feeds[name].shape != value.shape for name, value in self.feeds[0].items()):
            self.keep(feeds, results)
            self.spanning = 2 if other == 1 else 1

    def _find_at_profiles(self) -> None:
        """Inputs in the usual, the smallest and the largest shapes of the profiles: all three must run."""
        settings, profiles = self._settings, self._settings.profiles
        open_batch = [name for name in profiles if _has_open_batch(self._graph, name, profiles[name])]
        if open_batch and (largest := profiles[open_batch[0]][2][0]) < settings.max_batch_size:
            raise IcebreakerError(
                "profile_below_batch",
                "the profile of {subject} ends at batch {largest}, and the max batch size is {batch}",
                "leave_out_batch", subject=open_batch[0], largest=largest, batch=settings.max_batch_size,
            )  # fmt: skip
        for at, words in ((1, "usual"), (0, "smallest"), (2, "largest")):
            batch = profiles[open_batch[0]][at][0] if open_batch else (1 if at == 0 else settings.max_batch_size)
            try:
                self.keep(*self._run(batch, {name: profile[at] for name, profile in profiles.items()}))
            except IcebreakerError as error:
                raise IcebreakerError(
                    "profile_shapes_fail", "at the {which} shapes of the profile, {why}",
                    which=words, why=error.message,
                ) from error  # fmt: skip
        self.spanning = len(self.feeds)


def all_finite(values: Iterable[np.ndarray]) -> bool:
    """Whether no float among them is NaN or infinite."""
    return all(value.dtype.kind != "f" or bool(np.isfinite(value).all()) for value in values)


def nothing_checked(failure: Message) -> Message:
    """The warning that no engine could be tried, since the graph cannot be run on made-up values."""
    return message("nothing_checked", "nothing could be checked, so nothing was converted: {why}", why=failure)


def _exchange(segment: Segment, observed: Mapping[Tensor, np.ndarray]) -> Exchange | None:
    if any(tensor not in observed for tensor in (*segment.inputs, *segment.outputs)):
        return None
    return [observed[tensor] for tensor in segment.inputs], [observed[tensor] for tensor in segment.outputs]


def _has_open_batch(graph: Graph, name: str, profile: Profile) -> bool:
    """Whether the first dimension of an input with a profile is open.

    Raises:
        IcebreakerError: The profile does not fit the graph.
    """
    shapes = {placeholder.name: placeholder.shape for placeholder in graph.placeholders}
    if name not in shapes:
        raise IcebreakerError(
            "profile_without_input",
            "there is a profile for {subject!r}, which is no input that the outputs need: those are {inputs}",
            subject=name, inputs=tuple(shapes) or "none",
        )  # fmt: skip
    shape = shapes[name]
    if shape is None:
        return bool(profile[0])
    fits = len(shape) == len(profile[0]) and all(
        size is None or size == low == high for size, low, high in zip(shape, profile[0], profile[2], strict=True)
    )
    if not fits:
        raise IcebreakerError(
            "profile_misfit", "the profile of {subject} ({profile}) does not fit the graph's shape {shape}",
            subject=name, profile=profile_text(profile),
            shape="×".join("?" if size is None else str(size) for size in shape) or "a scalar",
        )  # fmt: skip
    return bool(shape) and shape[0] is None
