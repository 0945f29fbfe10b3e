"""What a person reads of the differences between two graphs."""

from __future__ import annotations

from collections.abc import Sequence

from icebreaker.cli import text
from icebreaker.reports import GraphDiff, NodeChange


def diff_lines(found: GraphDiff) -> list[str]:
    """The counts, then what was changed, added, removed, renamed; not all of a long list."""
    if found.is_empty:
        return [f"the graphs are the same: {text.count(found.nodes[0], 'node')}"]
    own = [change for change in found.changed if change.is_own]
    lines = text.table([
        ("nodes", f"{found.nodes[0]} and {found.nodes[1]}"),
        ("same", str(found.same - len(found.renamed))),
        ("renamed", str(len(found.renamed))),
        ("changed", str(len(own))),
        ("other shapes", str(len(found.changed) - len(own))),
        ("added", str(len(found.added))),
        ("removed", str(len(found.removed))),
    ])  # fmt: skip
    lines += _section(("changed", "op", "what"), [(item.node, item.op, _words(item)) for item in own])
    if not own and found.changed:
        lines += _section(("other shape", "op", "what"), [(item.node, item.op, _words(item)) for item in found.changed])
    lines += _section(("added", "op"), [(item.node, item.op) for item in found.added])
    lines += _section(("removed", "op"), [(item.node, item.op) for item in found.removed])
    lines += _section(("renamed", "to"), list(found.renamed.items()))
    lines += _section(("function", ""), list(found.functions.items()))
    return lines


def _section(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    more = [f"and {len(rows) - text.FEW} more: --json lists all"] if len(rows) > text.FEW else []
    return ["", *text.table([head, *rows[: text.FEW]]), *more]


def _words(change: NodeChange) -> str:
    """What is different in a node, in one line."""
    words = [f"{name} {a or 'none'} → {b or 'none'}" for name, (a, b) in change.attributes.items()]
    words += [f"reads {b or 'nothing'} for {a or 'nothing'}" for a, b in change.inputs]
    if change.values:
        largest = "" if change.largest is None else f", by {change.largest:.3g} at most"
        share = "" if change.relative is None else f" ({change.relative:.2%} of the largest)"
        words.append(f"{text.count(change.values, 'value')} differ{'s' if change.values == 1 else ''}{largest}{share}")
    if change.shape:
        words.append(f"{change.shape[0]} → {change.shape[1]}")
    if change.other != change.node:
        words.append(f"now {change.other}")
    return "; ".join(words)
