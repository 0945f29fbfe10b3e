"""Makes the outline of a graph.

Groups come from four sources, in this order: the segments of a conversion, name scopes (`tree`), repeated patterns in
names, and, where a group would still be a wall of boxes, cuts through a just-in-time order of its members at places
where few values cross (`grouping`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor
from icebreaker_gui.layout.folding import fold
from icebreaker_gui.layout.functions import open_functions
from icebreaker_gui.layout.grouping import MOST_MEMBERS, Splitter
from icebreaker_gui.layout.outline import Cancelled, Extra, LayoutCancelled, Outline
from icebreaker_gui.layout.tree import Tree


def build(
    graph: Graph,
    segments: Mapping[str, Iterable[str]] | None = None,
    outputs: Sequence[str] = (),
    extras: Sequence[Extra] = (),
    show_folded: bool = False,
    cancelled: Cancelled = lambda: False,
    most_members: int = MOST_MEMBERS,
) -> Outline:
    """Makes the outline of a graph.

    Args:
        graph: The original graph.
        segments: Engine node → names of the original nodes inside.
        outputs: Tensors or nodes that are never folded away.
        extras: Boxes of the optimized graph to show as well.
        show_folded: True to draw constants and identities as boxes of their own.
        cancelled: Asked now and then.
        most_members: Groups of more are cut into parts.

    Raises:
        LayoutCancelled: `cancelled` became true.
    """
    kept = {Tensor.parse(name).node for name in outputs}
    segment_of: dict[str, str] = {}
    for name, nodes in (segments or {}).items():
        for node in nodes:
            segment_of.setdefault(node, name)
    behind, hosts = ({}, {}) if show_folded else fold(graph, kept)
    if cancelled():
        raise LayoutCancelled
    tree = Tree()
    shown = [node for node in graph if node.name not in behind and node.name not in hosts]
    inner = open_functions(graph, shown, behind, hosts, show_folded)
    owners = {key: called.owner for key, called in inner.items()}
    tree.place([(node.name, node.op, segment_of.get(owners.get(node.name, node.name), "")) for node in shown], extras)
    if cancelled():
        raise LayoutCancelled
    tree.connect(shown, behind, hosts, extras)
    tree.simplify()
    Splitter(tree, most_members).split(cancelled)
    outline = tree.outline(segments or {})
    outline.inner = inner
    folded: dict[int, list[str]] = {}
    for name, readers in hosts.items():
        leaves = [outline.leaf[reader] for reader in readers if reader in outline.leaf]
        for leaf in leaves:
            folded.setdefault(leaf, []).append(name)
        if leaves:
            outline.leaf[name] = leaves[0]
    outline.folded = {leaf: tuple(names) for leaf, names in folded.items()}
    outline.index_edges()
    return outline
