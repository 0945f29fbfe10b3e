"""A segment in the forms that engines and quantization start from, each made when it is first asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from icebreaker import gpu
from icebreaker.conversion.context import Context
from icebreaker.engine.segment_model import Port, SegmentModel
from icebreaker.export import exporter, external_data, fake_quant
from icebreaker.export.constants import constant, evaluated
from icebreaker.export.exporter import Exported
from icebreaker.export.ops import spectra
from icebreaker.export.recurrent.stand_ins import with_stand_ins
from icebreaker.graph.graph import Graph
from icebreaker.messages import Message, message
from icebreaker.partitioning.partition import Refusal, Segment
from icebreaker.runtime import segment_graph
from icebreaker.storage.files import joined
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import from_store

_log = logging.getLogger(__name__)

Shape = tuple[int | None, ...]


class SegmentForms:
    """A segment, and what is made of it for engines.

    Attributes:
        segment: The segment.
        shapes: Shapes of its inputs, in their order; None where a dimension is open.
    """

    def __init__(self, context: Context, segment: Segment, shapes: Mapping[Tensor, Shape]) -> None:
        """Makes no form yet.

        Args:
            context: The conversion.
            segment: One of its segments.
            shapes: The shape of each of its inputs.
        """
        self._context = context
        self.segment = segment
        self.shapes: tuple[Shape, ...] = tuple(shapes[tensor] for tensor in segment.inputs)
        self._exported: Exported | exporter.Refused | None = None

    @property
    def exported(self) -> Exported:
        """The segment as ONNX; with INT8, its own quantization nodes become the ranges that were trained.

        Raises:
            exporter.Refused: Some nodes cannot be converted.
        """
        if self._exported is None:
            try:
                self._exported = self._export()
            except exporter.Refused as error:  # engines ask one after the other
                self._exported = error
        if isinstance(self._exported, exporter.Refused):
            raise self._exported
        return self._exported

    @property
    def onnx_refusals(self) -> dict[str, Refusal]:
        """Node → why the segment has no ONNX form; empty if it has one."""
        try:
            _ = self.exported
        except exporter.Refused as error:
            graph, names = self._context.graph, self._input_names
            known = {name: reason for name, reason in error.reasons.items() if name in graph}
            known = known or dict.fromkeys(self.segment.nodes, error.message)
            return {name: Refusal("unsupported_attribute", _respelled(reason, names)) for name, reason in known.items()}
        return {}

    @property
    def has_trained_ranges(self) -> bool:
        """Whether it has quantization nodes of its own."""
        return any(self._context.graph[name].op in fake_quant.OPS for name in self.segment.nodes)

    @cached_property
    def model(self) -> SegmentModel:
        """What engines are handed."""
        return self._model(lambda: self.exported.source)

    @cached_property
    def float_model(self) -> SegmentModel | None:
        """The same without trained ranges: their nodes compute what TensorFlow does. None if that has no ONNX form."""
        if self._context.int8 is None or not self.has_trained_ranges:
            return self.model
        definition, stand_ins = self._definition()
        try:
            exported = exporter.export(
                definition, stand_ins, self.segment.outputs, store=self._context.graph.store
            )  # fmt: skip
        except exporter.Refused as error:
            _log.info(
                message(
                    "no_float_form", "{subject} has no form in float: {why}", subject=self.segment.name, why=str(error)
                )
            )
            return None
        return self._model(lambda: exported.source)

    def original_nodes(self, names: Iterable[str], *, in_onnx: bool) -> dict[str, str]:
        """Leads names of nodes in a form that engines start from back to the graph; unknown ones are left out."""
        if not in_onnx:
            return {name: name for name in names if name in self._context.graph}
        owners = self.exported.nodes
        if any(name not in owners for name in names):
            owners = {**onnx_owners(self.exported, names, frozenset(self.segment.nodes)), **owners}
        return {name: owners[name] for name in names if name in owners}

    @property
    def _input_names(self) -> dict[str, str]:
        """The placeholder that stands for an input → the tensor."""
        stand_ins = segment_graph.stand_ins_of(self.segment)
        return {item.node: str(tensor) for item, tensor in zip(stand_ins, self.segment.inputs, strict=True)}

    def _definition(self) -> tuple[Any, tuple[Tensor, ...]]:
        shapes = dict(zip(self.segment.inputs, self.shapes, strict=True))
        return segment_graph.segment_definition(self._context.graph, self.segment, self._context.original, shapes)

    def _export(self) -> Exported:
        context = self._context
        definition, stand_ins = self._definition()
        handlers = fake_quant.IN_FLOAT
        if context.settings.precision == "int8" and any(node.op in fake_quant.OPS for node in definition.node):
            definition = fake_quant.with_fixed_ranges(definition, context.int8 is None or context.int8.is_calibrated)
            handlers = fake_quant.HANDLERS
        inside = [item for item in context.recurrences.values() if item.nodes.issubset(self.segment.nodes)]
        if inside:
            definition, more = with_stand_ins(definition, inside)
            handlers = {**handlers, **more}
        if spectra.is_complex(definition):
            definition = self._in_real_numbers(definition)
        folds = context.int8 is not None or gpu.find() is not None
        return exporter.export(
            definition, stand_ins, self.segment.outputs, handlers, context.graph.store,
            folds=folds or not all(engine.folds_constants for engine in context.engines),
        )  # fmt: skip

    def _in_real_numbers(self, definition: Any) -> Any:
        graph, original = Graph(definition, self._context.graph.store), self._context.original
        shapes = dict(zip(segment_graph.stand_ins_of(self.segment), self.shapes, strict=True))
        result, refused = spectra.in_real_numbers(
            definition, lambda tensor: shapes[tensor] if tensor in shapes else original.shape(tensor),
            lambda tensor: evaluated(graph, tensor, lambda item: constant(graph, item)),
        )  # fmt: skip
        if refused:
            raise exporter.Refused(refused)
        return result

    def _model(self, onnx: Any) -> SegmentModel:
        original, segment = self._context.original, self.segment
        inputs = [
            Port(_spelled(stand_in), original.dtype(tensor), shape)
            for stand_in, tensor, shape in zip(
                segment_graph.stand_ins_of(segment), segment.inputs, self.shapes, strict=True
            )
        ]  # fmt: skip
        outputs = [Port(_spelled(item), original.dtype(item), original.shape(item)) for item in segment.outputs]
        return SegmentModel(
            inputs, outputs, onnx, graph_def=lambda: from_store(self._definition()[0], self._context.graph.store),
            joined=lambda file: joined(external_data.whole(file)),
        )  # fmt: skip


def onnx_owners(exported: Exported, names: Iterable[str], known: frozenset[str]) -> dict[str, str]:
    """Finds the original nodes behind ONNX nodes that the converter made up: the nearest that come out of them.

    Args:
        exported: The ONNX form.
        names: Names of ONNX nodes; those in `exported.nodes` are left out.
        known: Names of the segment's nodes: an ONNX tensor `NODE:0` leads back to one.

    Returns:
        ONNX node → original node, where one is found.
    """
    import onnx

    nodes = onnx.load_from_string(exported.model).graph.node
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node)
    wanted, owners = set(names) - set(exported.nodes), {}
    for node in nodes:
        if node.name not in wanted:
            continue
        seen, queue = {node.name}, [node]
        for current in queue:  # grows as it goes, so nearer ones come first
            given = (tensor.rpartition(":")[0] for tensor in current.output)
            owner = next((name for name in given if name in known), exported.nodes.get(current.name))
            if owner:
                owners[node.name] = owner
                break
            later = [
                reader for tensor in current.output for reader in readers.get(tensor, ()) if reader.name not in seen
            ]
            seen.update(reader.name for reader in later)
            queue += later
    return owners


def _spelled(tensor: Tensor) -> str:
    return f"{tensor.node}:{tensor.port}"


def _respelled(reason: Message, names: Mapping[str, str]) -> Message:
    """The converter's words with the graph's tensors in place of the placeholders that stand for them."""

    def respelled(value: Any) -> Any:
        if isinstance(value, str):
            for stand_in, name in names.items():
                value = value.replace(f"{stand_in}:0", name)
        return value

    return replace(reason, values={key: respelled(value) for key, value in reason.values.items()})
