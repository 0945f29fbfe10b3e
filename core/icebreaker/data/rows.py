"""The rows of the user's data: whether they are samples of their own, one after the other, and spread over all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from icebreaker.data.sample_inputs import Feeds, given_values, sample_run
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.graph.random_ops import find_randomness
from icebreaker.metrics.agreement import agreement
from icebreaker.settings import ConvertSettings
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

_TRIED_ROWS = 3
_TOLERANCE = 1e-3  # what one row gives alone and among others, as a share of the range


def are_rows(original: GraphSession, graph: Graph, outputs: Sequence[Tensor], settings: ConvertSettings) -> bool:
    """Whether the first dimension of the user's values is a batch: each row alone gives what it gives among others.

    If not, as where rows are the points of one scene or the items of one list, all belong into one call.

    Args:
        original: The graph in TensorFlow.
        graph: The same graph.
        outputs: What is asked for.
        settings: Its `data` is asked about.
    """
    given = given_values(graph, graph.placeholders, settings, 0)
    names = _open_at_first(graph, given)
    counts = {len(given[name]) for name in names}
    if len(counts) > 1:
        return False
    if not names or counts <= {0, 1} or find_randomness(graph, outputs).any:
        return True
    base, _ = sample_run(original, graph, outputs, settings, 0)
    count = min(_TRIED_ROWS, *counts)
    try:
        together = original.run(outputs, base | {name: given[name][:count] for name in names})
    except Exception:  # whatever TensorFlow says to fewer rows than there are
        return False
    parts = []
    for index in range(count):
        try:
            parts.append(original.run(outputs, base | {name: given[name][index : index + 1] for name in names}))
        except Exception:
            return False
    return all(
        _joins(value, [part[position] for part in parts]) for position, value in enumerate(together)
    )  # fmt: skip


def every_row(
    original: GraphSession, graph: Graph, outputs: Sequence[Tensor], settings: ConvertSettings
) -> Iterator[tuple[Feeds, float]]:
    """Feeds for one row after the other of the user's values, or all at once where they are no rows.

    Inputs without an open first dimension are the same for every row. Without `data`, one row is made up.

    Yields:
        Canonical placeholder name → array; the share of what came before, 0 to 1.

    Raises:
        IcebreakerError: As `sample_run`, or inputs differ in their number of rows and the graph does not take that.
    """
    given = given_values(graph, graph.placeholders, settings, 0)
    names = _open_at_first(graph, given)
    counts = {name: len(given[name]) for name in names}
    if settings.data is not None and not are_rows(original, graph, outputs, settings):
        try:
            whole, _ = sample_run(original, graph, outputs, settings, 0)
        except IcebreakerError:
            if len(set(counts.values())) == 1:
                raise
            first = next(iter(counts.values()))
            odd = next(name for name, count in counts.items() if count != first)
            raise IcebreakerError(
                "row_counts_differ", "{file}: {subject} has {rows} rows, but other inputs have {count}",
                subject=odd, file=settings.data, rows=counts[odd], count=first,
            ) from None  # fmt: skip
        yield whole, 0.0
        return
    first, _ = sample_run(original, graph, outputs, settings, 1)
    count = next(iter(counts.values()), 1)
    for index in range(count):
        yield first | {name: given[name][index : index + 1] for name in names if name in first}, index / count


def spread_rows(
    original: GraphSession, graph: Graph, outputs: Sequence[Tensor], settings: ConvertSettings, batch: int
) -> Iterator[Feeds]:
    """The user's rows (see `are_rows`) in batches, all of them, those first that are spread best.

    Args:
        original: The graph in TensorFlow.
        graph: The same graph.
        outputs: What is asked for.
        settings: Its `data` is read.
        batch: How many rows a batch has; the first `batch` rows are left out.
    """
    given = given_values(graph, graph.placeholders, settings, 0)
    names = _open_at_first(graph, given)
    if not names:
        return
    count = len(given[names[0]])
    base, _ = sample_run(original, graph, outputs, settings, min(batch, count))
    starts = list(range(batch, count, batch))
    order = sorted(range(len(starts)), key=lambda index: f"{index:032b}"[::-1])  # each half, each quarter …
    for index in order:
        rows = np.arange(starts[index], starts[index] + batch) % count
        yield base | {name: given[name][rows] for name in names if name in base}


def _open_at_first(graph: Graph, given: Feeds) -> list[str]:
    """Inputs with values whose first dimension the graph leaves open."""
    shapes = {item.name: item.shape for item in graph.placeholders}
    return [
        name for name, value in given.items()
        if value.ndim and ((shape := shapes[name]) is None or (len(shape) > 0 and shape[0] is None))
    ]  # fmt: skip


def _joins(together: np.ndarray, parts: Sequence[np.ndarray]) -> bool:
    """Whether what rows give alone, one under the other, is what they give together."""
    if together.ndim == 0 or any(part.ndim == 0 or part.shape[1:] != together.shape[1:] for part in parts):
        return together.ndim == 0 and all(part.shape == () and part == together for part in parts)
    alone = np.concatenate(parts)
    return alone.shape == together.shape and agreement(together, alone, _TOLERANCE).agrees
