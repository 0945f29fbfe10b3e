"""Finds segments that converter and engines really take: what they refuse is left out, and the graph is split again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from icebreaker.conversion.context import Context
from icebreaker.conversion.engine_selection.segment_forms import SegmentForms, Shape
from icebreaker.conversion.engine_selection.selection import EngineSelection
from icebreaker.export import exporter, fake_quant
from icebreaker.export.ops import spectra
from icebreaker.graph.graph import Node
from icebreaker.graph.ops import PASSIVE
from icebreaker.messages import message
from icebreaker.partitioning.partition import Partition, Refusal, Segment, partition
from icebreaker.partitioning.units import Unit
from icebreaker.runtime import segment_graph
from icebreaker.tensors import Tensor

_log = logging.getLogger(__name__)

_MOST_ROUNDS = 12
_COMPLEX = frozenset({"complex64", "complex128"})

# Of a segment, `Segment.key` → what is made of it.
Found = Mapping[Any, SegmentForms]


class SegmentSearch:
    """Splits the graph of one conversion."""

    def __init__(self, context: Context, selection: EngineSelection, excluded: frozenset[str]) -> None:
        """Finds nothing yet.

        Args:
            context: The conversion.
            selection: Asks its engines.
            excluded: Nodes that the user leaves in TensorFlow.
        """
        self._context, self._selection, self._excluded = context, selection, excluded
        wants_onnx = any(engine.starts_from == "onnx" for engine in context.engines)
        self._convertible = exporter.supported_ops() if wants_onnx else frozenset[str]()
        if wants_onnx:
            self._convertible |= fake_quant.OPS if context.settings.precision == "int8" else fake_quant.IN_FLOAT.keys()
        self._refusals: dict[str, Refusal] | None = None
        self._found: dict[Any, SegmentForms] = {}
        # Ops that some engine takes as TensorFlow has them.
        self._native = frozenset[str]().union(*(engine.supported_ops() for engine in selection.deciding))
        loops = context.recurrences.values() if wants_onnx else ()
        self._of_loops = frozenset[str]().union(*(item.members for item in loops))
        self._units = [Unit(item.name, item.members, item.outputs) for item in loops if item.is_unit]
        self._loops = frozenset(item.name for item in loops)
        self._spectral = spectra.OPS if wants_onnx else frozenset[str]()

    def run(self, more: Mapping[str, Refusal] | None = None) -> tuple[Partition, Found]:
        """Partitions and exports until converter and engines take every segment.

        Args:
            more: Nodes that were found meanwhile to stay in TensorFlow; what was refused before stays refused.

        Returns:
            The partition, and the forms of each of its segments.
        """
        context, found = self._context, self._found
        if self._refusals is None:
            self._refusals = self._static_refusals()
        refusals = self._refusals
        refusals.update(more or {})
        turn = 0
        while True:  # ends: each turn refuses more of finitely many nodes
            context.notices.progress(
                message("stage_find_segments", "Finding segments"), 0.1 + 0.2 * min(turn / _MOST_ROUNDS, 1)
            )
            minimum = context.settings.minimum_segment_size
            split = partition(context.graph, context.outputs, refusals, minimum, self._loops, self._units)
            split = replace(
                split,
                segments=tuple(segment_graph.complete_outputs(segment, context.outputs) for segment in split.segments),
            )
            fresh: dict[str, Refusal] = {}
            for segment in split.segments:
                if segment.key not in found:
                    refused = self._show(segment, found)
                    if refused and turn >= _MOST_ROUNDS:  # one node at a time would take too long
                        refused = dict.fromkeys(segment.nodes, next(iter(refused.values())))
                    fresh.update(refused)
            if not fresh:
                return split, found
            for name, refusal in fresh.items():
                _log.info(message("node_refused", "{subject}: {why}", subject=name, why=refusal.text))
            refusals.update(fresh)
            turn += 1

    def _static_refusals(self) -> dict[str, Refusal]:
        """What can be told from a node alone."""
        refusals = {}
        for node in self._context.graph:
            if (refusal := self._static_refusal(node)) is not None:
                refusals[node.name] = refusal
        return refusals

    def _static_refusal(self, node: Node) -> Refusal | None:
        original = self._context.original
        if node.name in self._excluded:
            return Refusal("excluded", message("node_excluded", "excluded by you", subject=node.name))
        if (node.op in PASSIVE and node.op not in ("Identity", "IdentityN")) or node.name in self._of_loops:
            return None
        if node.op in self._spectral:
            kinds = {original.dtype(tensor) for tensor in self._tensors(node)}
            if kinds & _COMPLEX:
                odd = sorted(kinds - exporter.DTYPES - _COMPLEX)
                return self._odd_type(node, odd[0]) if odd else None
        if node.op not in self._convertible and node.op not in self._native:
            said = next(filter(None, (engine.why_not(node.op) for engine in self._selection.deciding)), None)
            told = said or message("op_unsupported", "no converter for {op}", subject=node.name, op=node.op)
            return Refusal("unsupported_op", told)
        if original.is_stateful(node.name):
            told = message(
                "node_stateful", "{op} keeps state or acts outside the graph", subject=node.name, op=node.op
            )  # fmt: skip
            return Refusal("side_effect", told)
        if node.op in self._native:
            return None
        odd = [kind for tensor in self._tensors(node) if (kind := original.dtype(tensor)) not in exporter.DTYPES]
        if not odd and node.inputs and (kind := original.dtype(node.inputs[0])) in exporter.IN_FLOATS.get(node.op, ()):
            told = message(
                "computed_in_floats", "{op} of {dtype} would be computed in floats, which have not all of its numbers",
                subject=node.name, op=node.op, dtype=kind,
            )  # fmt: skip
            return Refusal("unsupported_attribute", told)
        return self._odd_type(node, odd[0]) if odd else None

    def _tensors(self, node: Node) -> list[Tensor]:
        """What a node reads and gives."""
        count = self._context.original.output_count(node.name)
        return [*node.inputs, *(Tensor(node.name, port) for port in range(count))]

    def _show(self, segment: Segment, found: dict[Any, SegmentForms]) -> dict[str, Refusal]:
        """Shows a segment to the engines; one that is taken goes to `found`, of others the nodes that are refused."""
        if cut := self._cut(segment):
            return cut
        shapes: dict[Tensor, Shape] = {}
        for tensor in segment.inputs:
            shape = self._shape(tensor)
            if shape is None:
                readers = [name for name in segment.nodes if tensor in self._context.graph[name].inputs]
                told = message("rank_unknown", "the rank of its input {subject} is unknown", subject=tensor)
                return dict.fromkeys(readers, Refusal("unknown_shape", told))
            shapes[tensor] = shape
        forms = SegmentForms(self._context, segment, shapes)
        refused = self._selection.ask(forms)
        if not refused:
            found[segment.key] = forms
        return refused

    def _cut(self, segment: Segment) -> dict[str, Refusal]:
        """Members that read or give what no engine can be handed, such as a list: that must stay inside, or outside."""
        context = self._context
        graph, kept, refused = context.graph, {*segment.nodes, *segment.constants}, dict[str, Refusal]()
        links = [(name, tensor) for name in segment.nodes for tensor in graph[name].inputs]
        links += [
            (reader, tensor) for name in segment.nodes for reader in graph.consumers[name]
            for tensor in graph[reader].inputs if tensor.node == name
        ]  # fmt: skip
        links += [("", tensor) for tensor in context.outputs if tensor.node in kept]
        links = [link for link in dict.fromkeys(links) if not context.can_be_handed(link[1])]
        again = True
        while again:
            again = False
            for reader, tensor in links:
                if (reader in kept) != (tensor.node in kept):
                    name = reader if reader in kept else tensor.node
                    kept.discard(name)
                    refused[name] = self._odd_type(graph[name], context.original.dtype(tensor))
                    again = True
        return {name: refusal for name, refusal in refused.items() if name in segment.nodes}

    def _odd_type(self, node: Node, dtype: str) -> Refusal:
        if node.name in self._loops:
            told = message("is_control_flow", "{op} is control flow, which stays in TensorFlow", op=node.op)
            return Refusal("control_flow", told)
        told = message("dtype_unsupported", "{op} works on {dtype} here", subject=node.name, op=node.op, dtype=dtype)
        return Refusal("unsupported_attribute", told)

    def _shape(self, tensor: Tensor) -> Shape | None:
        """A tensor's shape as TensorFlow infers it; of unknown rank, with as many open dimensions as the samples."""
        shape = self._context.original.shape(tensor)
        if shape is None and (rank := self._context.samples.rank(tensor)) is not None:
            shape = (None,) * rank
        return shape
