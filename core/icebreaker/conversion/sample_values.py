"""Values that a conversion runs on: sets of inputs, and what the graph in TensorFlow computes from each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from icebreaker.data.sample_inputs import Feeds, sample_run
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.messages import Message, message
from icebreaker.partitioning.partition import Segment
from icebreaker.settings import ConvertSettings, Profile, profile_text
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

_MOST_CHECKED_ROWS = 32

# What a segment reads and gives in one run, in its order.
Exchange = tuple[list[np.ndarray], list[np.ndarray]]


class SampleValues:
    """Sets of inputs that the graph runs on, the usual one first, and what it makes of them.

    Attributes:
        feeds: For each set: input name → value.
        observed: For each set: tensor → value, of those that were recorded in one run of the graph.
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
        self.spanning = 1
        self.failure: Message | None = None
        if settings.profiles:
            self._find_at_profiles()
        else:
            self._find()

    def keep(self, feeds: Feeds, results: Mapping[Tensor, np.ndarray]) -> None:
        """Adds a set of inputs, and what the graph gave for it."""
        self.feeds.append(feeds)
        self.observed.append({**{Tensor.parse(name): value for name, value in feeds.items()}, **results})

    def observe(self, segments: Iterable[Segment]) -> None:
        """Records what these segments read and give, for every set; of no set at all, nothing."""
        wanted = dict.fromkeys(self._outputs)
        for segment in segments:
            wanted.update(dict.fromkeys((*segment.inputs, *segment.outputs)))
        for index, feeds in enumerate(self.feeds):
            # All of one run, or none: a graph may give something else each time.
            if not wanted.keys() <= self.observed[index].keys():
                self.observed[index] = self._original.observe(tuple(wanted), feeds)
        if not self.feeds:
            self.observed.append({})

    def exchanges(self, segment: Segment) -> list[Exchange | None]:
        """What a segment reads and gives in each set; None where the set does not reach it."""
        return [_exchange(segment, values) for values in self.observed]

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

    def _run(self, batch: int, shapes: Mapping[str, tuple[int, ...]] | None = None) -> tuple[Feeds, dict]:
        return sample_run(
            self._original, self._graph, self._outputs, self._settings, batch, *([shapes] if shapes else [])
        )

    def _find(self) -> None:
        """The inputs to measure with, and more rows (or another batch) to check with."""
        settings, batch = self._settings, self._settings.max_batch_size
        failure: IcebreakerError | None = None
        for size in (batch, 0) if settings.data else (batch,):
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
