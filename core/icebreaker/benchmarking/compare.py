"""Compares what the original and the optimized graph answer to the same inputs. Runs in the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from icebreaker import events
from icebreaker.benchmarking.graph_pair import Emit, GraphPair, warnings_logged
from icebreaker.errors import IcebreakerError
from icebreaker.formats.graph_files import BIG_BYTES
from icebreaker.messages import message
from icebreaker.reports import Comparison
from icebreaker.settings import Consent, ConvertSettings

_MOST_ROWS_AT_ONCE = 256


def compare(
    model: str,
    optimized: str,
    settings: ConvertSettings = ConvertSettings(),
    consent: Consent = Consent(),
    emit: Emit = lambda event: None,
) -> Comparison:
    """Compares the answers of both graphs to the same inputs.

    With `data`, every row is asked by itself, because an engine may take no larger batch and would then leave the
    work to TensorFlow, with which it is compared; the figures are over all rows together. Then all rows are asked in
    one call, if they are not too many: of each output, the worse of both is told. Where rows are no samples of their
    own, such as the points of one scene, there is only that call.

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
    with warnings_logged(), GraphPair(model, optimized, settings, consent, emit, BIG_BYTES) as pair:
        answers: dict[str, list[Sequence[Any]]] = {"original": [], "optimized": []}
        for feeds, fraction in pair.every_row():
            emit(events.Progress(message("stage_compare", "Comparing the outputs"), 0.15 + 0.85 * fraction))
            for series, given in pair.answers(feeds).items():
                answers[series].append(given)
        if not answers["original"]:
            raise IcebreakerError(
                "data_without_rows", "{subject} has no rows", "give_a_value_each", subject=settings.data
            )
        found = pair.differences(answers["original"], answers["optimized"])
        if 1 < len(answers["original"]) <= _MOST_ROWS_AT_ONCE:
            whole = pair.answers(pair.all_rows())
            at_once = pair.differences([whole["original"]], [whole["optimized"]])
            found = {name: max(item, at_once[name], key=lambda one: one.max_rel) for name, item in found.items()}
        return Comparison(found)
