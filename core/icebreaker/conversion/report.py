"""What a conversion tells: what was made, and of each node that is left in TensorFlow why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.candidates import Accepted
from icebreaker.graph.ops import PASSIVE
from icebreaker.messages import Message, message
from icebreaker.partitioning.partition import Refusal
from icebreaker.reports import Accuracy, Conversion, Left


def conversion_report(
    context: Context,
    accepted: Sequence[Accepted],
    left: Mapping[str, Refusal],
    elsewhere: Mapping[str, Sequence[str]],
    *,
    output: str,
    seconds: float,
    accuracy: Accuracy | None,
    table: str,
) -> Conversion:
    """Puts the report together.

    Args:
        context: The conversion.
        accepted: The segments in engines.
        left: Node → why it is not in one.
        elsewhere: Words on being built for another machine → the segments they are about.
        output: Where the optimized graph was written; empty if it is in memory.
        seconds: How long it took.
        accuracy: Of the whole with INT8.
        table: Where the ranges were written; empty if they were not.
    """
    inside: set[str] = set()
    copied: set[str] = set()
    for item in accepted:
        inside.update(item.node.segment.nodes)
        copied.update(item.node.segment.constants)
    notices = context.notices
    for note, segments in elsewhere.items():
        which: Message | str = segments[0]
        if len(segments) > 1:
            which = message("segments_from", "{count} segments from {first} on", count=len(segments), first=segments[0])
        notices.warn(
            message("built_for_elsewhere", "{which}: {note}; not checked and not measured here", which=which, note=note)
        )
    if not accepted:
        notices.warn(message("no_segment", "no segment went to an engine: see the reason at each node"))
    real = [node.name for node in context.graph if node.op not in PASSIVE]
    return Conversion(
        output=output,
        seconds=seconds,
        coverage=sum(name in inside for name in real) / max(len(real), 1),
        segments=tuple(item.report for item in accepted),
        left_in_tensorflow=_left(context, inside, copied, left),
        warnings=tuple(notices.warnings),
        accuracy=accuracy,
        calibration_table=table,
        others=notices.others,
        tensors=_tensors(context),
        signature=context.frozen.signature.name if context.frozen else "",
        other_signatures=context.frozen.others if context.frozen else (),
    )


def _left(context: Context, inside: set[str], copied: set[str], left: Mapping[str, Refusal]) -> tuple[Left, ...]:
    """Each node that is not in an engine, with its reason; constants that are only copied into engines are none."""
    found = []
    for node in context.graph:
        readers = context.graph.consumers[node.name]
        only_copied = node.name in copied and all(name in inside or name in copied for name in readers)
        if node.name not in inside and not only_copied:
            refusal = left.get(node.name) or Refusal(
                "passive", message("feeds_what_is_left", "feeds what is left in TensorFlow")
            )
            found.append(Left(node.name, node.op, refusal.text, refusal.code))
    return tuple(found)


def _tensors(context: Context) -> dict[str, str]:
    """Dtype and shape of what flows between nodes, for whoever looks at the graph."""
    graph, original = context.graph, context.original
    found: dict[str, str] = {}
    for node in graph:
        for tensor in node.inputs:
            if str(tensor) not in found and graph[tensor.node].op != "Const":
                shape = original.shape(tensor)
                sizes = "…" if shape is None else ",".join("?" if size is None else str(size) for size in shape)
                found[str(tensor)] = f"{original.dtype(tensor)}[{sizes}]"
    return found
