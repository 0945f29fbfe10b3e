"""Which nodes are folded away into those that read them."""

from __future__ import annotations

import re

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import CONTROL_FLOW
from icebreaker.tensors import Tensor

# What passes its first input on unchanged; drawn as part of the edge.
_PASSING = frozenset({"Identity", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics"})
# Ops whose result is no pure function of their inputs are never taken for constants.
_IMPURE = re.compile(
    r"Random|Multinomial|Variable|VarHandle|Table|Iterator|Queue|Stack|TensorArray|Reader|ReadFile|Placeholder"
    r"|Summary|Save|Restore|Print|Assert|PyFunc|Barrier|Stage|Bernoulli|Timestamp|Handle|Recv|Send|Arg|Retval|Assign"
)


def fold(graph: Graph, kept: set[str]) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Which nodes are not drawn: constants and what is computed from nothing else, and what passes its input on.

    Args:
        graph: The graph.
        kept: Names of nodes that are drawn whatever they are.

    Returns:
        Passing nodes → the tensor behind them (constants have none and are missing here); every folded node → the
        drawn nodes that carry its badge.
    """
    consumers = graph.consumers
    constant: set[str] = set()
    passing: dict[str, Tensor] = {}
    order = _inputs_first(graph)
    for node in order:
        name = node.name
        if name in kept or not consumers[name]:
            if node.op == "NoOp" and not node.inputs and not node.controls and name not in kept:
                constant.add(name)
            continue
        if node.op == "Const" or (_needs_only(node, constant) and _is_pure(node.op) and not node.functions):
            constant.add(name)
        elif node.op in _PASSING and node.inputs and name not in graph.functions:
            first = node.inputs[0]
            passing[name] = passing.get(first.node) or first
        elif node.op == "NoOp":
            constant.add(name)
    hosts: dict[str, list[str]] = {}
    reads: dict[str, set[str]] = {}
    for node in reversed(order):
        name = node.name
        if name in constant or name in passing:
            drawn: dict[str, None] = {}
            for reader in consumers[name]:
                if reader not in reads:
                    reads[reader] = {tensor.node for tensor in graph[reader].inputs}
                if name not in reads[reader]:
                    continue  # it only waits
                if reader in hosts:
                    drawn.update(dict.fromkeys(hosts[reader][:1]))
                elif reader not in constant and reader not in passing:
                    drawn[reader] = None
            hosts[name] = list(drawn)
    return passing, hosts


def _inputs_first(graph: Graph) -> list[Node]:
    """All nodes, each after its inputs; those that wait in a circle (a v1 loop's body for its Merge) come last."""
    waiting = {
        node.name: len(node.inputs) if len(node.inputs) < 2 and not node.controls
        else len({tensor.node for tensor in node.inputs}.union(node.controls))
        for node in graph
    }  # fmt: skip
    ready = [node for node in graph if not waiting[node.name]]
    order = []
    while ready:
        node = ready.pop()
        order.append(node)
        for reader in graph.consumers[node.name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(graph[reader])
    seen = {node.name for node in order}
    order.extend(node for node in graph if node.name not in seen)
    return order


def _needs_only(node: Node, names: set[str]) -> bool:
    """Whether a node needs something, and nothing but these."""
    for tensor in node.inputs:
        if tensor.node not in names:
            return False
    return bool(node.inputs or node.controls) and names.issuperset(node.controls)


def _is_pure(op: str) -> bool:
    return op not in CONTROL_FLOW and not _IMPURE.search(op)
