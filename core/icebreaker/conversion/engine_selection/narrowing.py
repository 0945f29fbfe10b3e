"""Finds the op for which an engine cannot have a segment, so that one op stays in TensorFlow and not all of them.

Parts of the segment are tried in the engine: the first so many nodes, by bisection, until it is known at which node it
begins to go wrong. What a part reads is what TensorFlow computed, so that no error comes from before; the parts are
fused as the whole is, which single ops are not. Then the op is tried alone, or with a few of those before it, to be
sure that it is to blame; and all others of its kind, so that they do not have to be found one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.candidates import Candidate
from icebreaker.conversion.engine_selection.checking import Checker, Judged
from icebreaker.conversion.engine_selection.engine_calls import EngineCalls
from icebreaker.conversion.engine_selection.segment_forms import SegmentForms
from icebreaker.conversion.sample_values import Exchange
from icebreaker.engine.protocol import Engine
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import PASSIVE
from icebreaker.graph.traversal import reachable
from icebreaker.messages import Message, message
from icebreaker.partitioning.partition import Refusal, Segment
from icebreaker.runtime.segment_graph import segment_definition
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

_WINDOWS = (1, 2, 4, 8)
# Refusals of nodes for what comes after them.
_OF_NEIGHBOURS = frozenset({"nan_made_and_lost"})
_MOST_OF_A_KIND = 64
_MOST_NODES = 5000

Values = Mapping[Tensor, np.ndarray]


class Narrowing:
    """Narrows what speaks against a segment to single nodes."""

    def __init__(self, context: Context, calls: EngineCalls, checker: Checker) -> None:
        """Tries nothing yet."""
        self._context, self._calls, self._checker = context, calls, checker

    def wrong_nodes(self, candidate: Candidate, forms: SegmentForms, usual: Exchange) -> dict[str, Refusal]:
        """The nodes for which an engine fails or deviates, each with what it does.

        Args:
            candidate: What failed.
            forms: The segment.
            usual: What the segment reads and gives; where the check failed, the candidate knows better.

        Returns:
            Node → why it stays in TensorFlow; empty if no single node is to blame.
        """
        exchange = candidate.failed_on.exchange if candidate.failed_on else usual
        values = self._inner_values(forms, exchange[0])
        found: dict[str, Judged] = {}

        def fails(nodes: Sequence[str]) -> bool:
            judged = self._tried(candidate, forms, nodes, values)
            if judged is not None and judged.failure is not None:
                found[nodes[-1]] = judged
                return True
            return False

        culprits = self._culprits(forms.segment, fails)
        return {name: self._refusal(candidate, name, found[name]) for name in culprits}

    def alone(
        self, candidate: Candidate, forms: SegmentForms, usual: Exchange, names: Iterable[str]
    ) -> dict[str, Refusal]:
        """Of nodes that another engine does not run right, those that this one does not either, tried alone."""
        exchange = candidate.failed_on.exchange if candidate.failed_on else usual
        values = self._inner_values(forms, exchange[0])
        tried = {name: self._tried(candidate, forms, [name], values) for name in names}
        return {
            name: self._refusal(candidate, name, judged) for name, judged in tried.items() if judged and judged.failure
        }

    def refused_nodes(self, engine: Engine, forms: SegmentForms, named: Mapping[str, Refusal]) -> dict[str, Refusal]:
        """The nodes for which an engine refuses a segment, where it named none or maybe a good neighbour.

        Args:
            engine: The engine.
            forms: The segment.
            named: What it says; of a node that it takes alone, it is not believed, unless that is what is meant.
        """
        if all(isinstance(why.text, Message) and why.text.code in _OF_NEIGHBOURS for why in named.values()):
            return dict(named)

        def fails(nodes: Sequence[str]) -> bool:
            part = self._part(forms, nodes, {})
            return part is not None and bool(self._calls.refusals(engine, part))

        if len(named) < len(forms.segment.nodes) and any(fails([name]) for name in named):
            return dict(named)
        why = next(iter(named.values()))
        culprits = self._culprits(forms.segment, fails)
        return dict.fromkeys(culprits, why) or dict(named)

    def _culprits(self, segment: Segment, fails: Callable[[Sequence[str]], bool]) -> list[str]:
        """The first node at which a segment goes wrong, and others of its kind that do; none if none can be blamed."""
        graph = self._context.graph
        nodes = segment.nodes
        cuts = [index + 1 for index, name in enumerate(nodes) if graph[name].op not in PASSIVE]
        if not cuts or len(nodes) > _MOST_NODES:
            return []
        low, high = -1, len(cuts) - 1  # the whole fails
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fails(nodes[: cuts[middle]]) else (middle, high)
        last = cuts[high]
        if not any(fails(nodes[max(last - window, 0) : last]) for window in _WINDOWS):
            return []
        first = nodes[last - 1]
        same = [name for name in nodes[last:] if graph[name].op == graph[first].op][:_MOST_OF_A_KIND]
        culprits = [first, *(name for name in same if fails([name]))]
        others = [nodes[cut - 1] for cut in cuts if nodes[cut - 1] not in culprits]
        some = {others[0], others[len(others) // 2], others[-1]} if others else set()
        if some and all(fails([name]) for name in sorted(some)):  # it is the engine, and no op
            return []
        return culprits

    def _tried(self, candidate: Candidate, forms: SegmentForms, nodes: Sequence[str], values: Values) -> Judged | None:
        """What an engine makes of some nodes of a segment; None if they have no form of their own."""
        part = self._part(forms, nodes, values)
        if part is None or (candidate.engine.starts_from == "onnx" and part.onnx_refusals):
            return None
        segment = part.segment
        exchange = [values[item] for item in segment.inputs], [values[item] for item in segment.outputs]
        made = self._calls.build(candidate.engine, candidate.built.precision, part, part.model, exchange[0])
        if made.failure is not None:
            return Judged(float("inf"), made.failure)
        limit = candidate.failed_on.limit if candidate.failed_on else self._checker.tolerance(
            segment, candidate.built.precision
        )  # fmt: skip
        return self._checker.judged(made, part, exchange, limit)

    def _part(self, forms: SegmentForms, nodes: Sequence[str], values: Values) -> SegmentForms | None:
        graph, original = self._context.graph, self._context.original
        part = part_of(graph, forms.segment, self._uncut(forms.segment, nodes))
        if not part.nodes or not part.outputs:
            return None
        shapes = dict(zip(forms.segment.inputs, forms.shapes, strict=True))
        for tensor in part.inputs:
            if tensor in shapes:
                continue
            shape = original.shape(tensor)
            if shape is None:
                rank = values[tensor].ndim if tensor in values else self._context.samples.rank(tensor)
                if rank is None:
                    return None
                shape = (None,) * rank
            shapes[tensor] = shape
        return SegmentForms(self._context, part, shapes)

    def _uncut(self, segment: Segment, nodes: Sequence[str]) -> list[str]:
        """Nodes of a segment with those that they hand on to, or have from, what no engine can be handed."""
        graph, kept = self._context.graph, set(nodes)
        links = [
            {tensor.node, name} for name in segment.nodes for tensor in graph[name].inputs
            if tensor.node in segment.nodes and not self._context.can_be_handed(tensor)
        ]  # fmt: skip
        links += [set(item.members) for item in self._context.recurrences.values()]
        links = [link for link in links if link.issubset(segment.nodes)]
        while more := {name for link in links if not kept.isdisjoint(link) for name in link} - kept:
            kept |= more
        return [name for name in segment.nodes if name in kept]

    def _inner_values(self, forms: SegmentForms, inputs: Sequence[np.ndarray]) -> Values:
        """All that TensorFlow computes inside a segment, and what it reads."""
        context, segment = self._context, forms.segment
        shapes = dict(zip(segment.inputs, forms.shapes, strict=True))
        definition, stand_ins = segment_definition(context.graph, segment, context.original, shapes)
        session = GraphSession(definition, reference=True, store=context.graph.store)
        try:
            given = (Tensor(name, port) for name in segment.nodes for port in range(session.output_count(name)))
            hidden = {name for item in context.recurrences.values() for name in item.members}
            shown = {tensor for item in context.recurrences.values() for tensor in item.outputs}
            wanted = [
                item for item in given if context.can_be_handed(item) and (item in shown or item.node not in hidden)
            ]
            feeds = {str(item): value for item, value in zip(stand_ins, inputs, strict=True)}
            found = dict(zip(wanted, session.run(wanted, feeds), strict=True))
        finally:
            session.close()
        return {**dict(zip(segment.inputs, inputs, strict=True)), **found}

    def _refusal(self, candidate: Candidate, name: str, judged: Judged) -> Refusal:
        """Why a node stays, with its figure."""
        assert judged.failure is not None  # noqa: S101 - else it would not be here
        op, engine = self._context.graph[name].op, candidate.engine.title
        told: Message
        if judged.other is not None:
            told = message(
                "op_other_values", "{op} gives {have} in place of {want} in {engine}",
                subject=name, op=op, engine=engine, want=judged.other[1], have=judged.other[2],
            )  # fmt: skip
        elif judged.failure.code != "deviates":
            told = message(
                "op_fails", "{op} fails in {engine}: {why}", subject=name, op=op, engine=engine, why=judged.failure.text
            )
        elif np.isinf(judged.deviation):
            told = message(
                "op_nan", "{op} gives NaN or infinity elsewhere than TensorFlow in {engine}",
                subject=name, op=op, engine=engine,
            )  # fmt: skip
        else:
            told = message(
                "op_deviates", "{op} deviates by {deviation:.2g} of its range in {engine}",
                subject=name, op=op, engine=engine, deviation=judged.deviation,
            )  # fmt: skip
        if candidate.failed_on and candidate.failed_on.words:
            told = message("fails_on", "{what} on {values}", what=told, values=candidate.failed_on.words)
        return Refusal(judged.failure.code, told)


def part_of(graph: Graph, segment: Segment, nodes: Iterable[str]) -> Segment:
    """Some nodes of a segment as a segment; what would only carry a value in is read from outside instead."""
    inside = dict.fromkeys(nodes)
    constants = set(segment.constants)
    for name in tuple(inside):
        if graph[name].op in PASSIVE and all(tensor.node not in inside for tensor in graph[name].inputs):
            del inside[name]
    reads = (tensor.node for name in inside for tensor in graph[name].inputs)
    copied = set(
        reachable(
            (name for name in reads if name in constants),
            lambda name: [source for source in graph[name].sources if source in constants],
        )
    )
    inputs = dict.fromkeys(
        tensor for name in inside for tensor in graph[name].inputs
        if tensor.node not in inside and tensor.node not in constants
    )  # fmt: skip
    wanted = set(segment.outputs)
    for name in inside:
        readers = (reader for reader in graph.consumers[name] if reader not in inside)
        wanted.update(tensor for reader in readers for tensor in graph[reader].inputs)
    place = {name: index for index, name in enumerate(inside)}
    outputs = sorted((item for item in wanted if item.node in place), key=lambda item: (place[item.node], item.port))
    return replace(
        segment, nodes=tuple(inside), constants=tuple(name for name in segment.constants if name in copied),
        inputs=tuple(inputs), outputs=tuple(outputs), controls=(), size=len(inside),
    )  # fmt: skip
