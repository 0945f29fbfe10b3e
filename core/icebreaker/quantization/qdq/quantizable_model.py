"""A float model with the layers that INT8 can compute: which of them to quantize, and rows of data for it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from icebreaker.data.source import Batch
from icebreaker.errors import IcebreakerError
from icebreaker.quantization.calibration_table import Range, Table
from icebreaker.quantization.qdq.indexed_model import IndexedModel
from icebreaker.quantization.qdq.quantization_rules import Layer, quantizable_layer


class QuantizableModel(IndexedModel):
    """A prepared model and its layers.

    Attributes (beside those of `IndexedModel`):
        layers: What can be quantized, in order of execution; may be empty.
        tensors: The tensors that get Q/DQ then, in the order in which the layers read them.
        digest: Hash of structure and constants; names, which count up with every export, do not count.
    """

    def __init__(self, model: bytes) -> None:
        """Prepares a serialized float ONNX model: opset 17 or later, weights inside, unique node names.

        Raises:
            IcebreakerError: ONNX Runtime does not take it.
        """
        super().__init__(model)
        candidates = (quantizable_layer(self, index) for index in range(len(self.nodes)))
        self.layers: tuple[Layer, ...] = tuple(layer for layer in candidates if layer)
        self.tensors = tuple(dict.fromkeys(name for layer in self.layers for name in layer.activations))
        self.digest = self._digest()
        self._sizes: dict[Any, Mapping[str, int]] = {}

    def layers_to_quantize(self, ranges: Mapping[str, Range], keep: Collection[str]) -> dict[int, Layer]:
        """The layers to quantize, by index: those whose inputs all have a range.

        Args:
            ranges: Tensor → range.
            keep: Layers that stay float, and tensors that keep the layers that read or make them so.
        """
        return {
            layer.index: layer
            for layer in self.layers
            if all(name in ranges for name in layer.activations)
            and {layer.name, layer.output, *self.nodes[layer.index].input}.isdisjoint(keep)
        }

    def table_layers(
        self, ranges: Mapping[str, Range], shifts: Mapping[str, tuple[float, ...]], keep: Collection[str]
    ) -> dict[str, tuple[float, ...] | None]:
        """What a table says of every layer: its correction, or None if it stays float; see `Table.layers`."""
        chosen = self.layers_to_quantize(ranges, keep)
        return {layer.name: shifts.get(layer.name, ()) if layer.index in chosen else None for layer in self.layers}

    def match(self, table: Table) -> tuple[dict[str, Range], dict[str, tuple[float, ...]], set[str]]:
        """The table's ranges, shifts and float layers under this model's names, which may differ between two exports.

        Raises:
            IcebreakerError: The table belongs to another model.
        """
        complete = len(table.tensors) == len(self.tensors)
        if table.graph != self.digest or not (complete or table.tensors.keys() <= set(self.tensors)):
            raise IcebreakerError(
                "table_of_another_graph", "the calibration table belongs to another graph or segment",
                "calibrate_again",
            )  # fmt: skip
        ranges = dict(zip(self.tensors, table.tensors.values(), strict=True)) if complete else dict(table.tensors)
        if table.layers and len(table.layers) != len(self.layers):
            raise IcebreakerError(
                "table_incomplete", "the calibration table does not have every layer", "calibrate_again"
            )
        by_layer = dict(zip((layer.name for layer in self.layers), table.layers.values(), strict=False))
        kept = {name for name, shift in by_layer.items() if shift is None}
        return ranges, {name: shift for name, shift in by_layer.items() if shift is not None}, kept

    def sizes(self, row: Mapping[str, np.ndarray]) -> Mapping[str, int]:
        """Bytes of every tensor that is computed from this row."""
        key = tuple((name, value.shape) for name, value in row.items())
        if key not in self._sizes:
            names = [name for node in self.nodes for name in node.output if name]
            values = self.observed(names).run(names, dict(row))
            self._sizes[key] = {
                name: value.nbytes if isinstance(value, np.ndarray) else 0
                for name, value in zip(names, values, strict=True)
            }
        return self._sizes[key]

    # -- rows of data ----------------------------------------------------------------------------------------------

    def fit(self, batch: Mapping[str, np.ndarray]) -> Batch:
        """A batch in the model's own input names (`x` stands for `x:0` too) and types.

        Raises:
            IcebreakerError: An input is missing.
        """
        from onnx import helper

        fitted = {}
        for wanted in self.inputs:
            short = wanted.name.removesuffix(":0")
            key = next((key for key in (wanted.name, short, f"{short}:0") if key in batch), None)
            if key is None:
                raise IcebreakerError(
                    "calibration_lacks_input",
                    "the calibration data has no values for input {subject}: it has {entries}",
                    subject=short, entries=tuple(batch),
                )  # fmt: skip
            dtype = helper.tensor_dtype_to_np_dtype(wanted.type.tensor_type.elem_type)
            fitted[wanted.name] = np.asarray(batch[key]).astype(dtype, copy=False)
        return fitted

    def split(self, batch: Batch, rows: int) -> Iterator[Batch]:
        """Splits a fitted batch along its first axis, where every input that has axes leaves that open.

        Yields:
            Batches of at most `rows` rows; the batch itself where it cannot be split.
        """
        sizes = set()
        for wanted in self.inputs:
            if batch[wanted.name].ndim:
                dims = wanted.type.tensor_type.shape.dim
                if not dims or dims[0].HasField("dim_value"):
                    yield batch
                    return
                sizes.add(batch[wanted.name].shape[0])
        if len(sizes) != 1:
            yield batch
            return
        for start in range(0, sizes.pop(), rows):
            yield {name: value[start : start + rows] if value.ndim else value for name, value in batch.items()}

    def first_rows(self, batches: Iterable[Mapping[str, np.ndarray]], count: int) -> list[Batch]:
        """The first rows of some data, each as a batch of its own.

        Raises:
            IcebreakerError: There is no data, or an input is missing in it.
        """
        rows = list(itertools.islice((row for batch in batches for row in self.split(self.fit(batch), 1)), count))
        if not rows:
            raise no_samples()
        return rows

    def _digest(self) -> str:
        numbers: dict[str, str] = {"": "-"}
        for index, item in enumerate(self.inputs):
            numbers[item.name] = f"i{index}"
        for name, item in self.constants.items():
            value = self.constant(name)
            text = f"{value.dtype}{value.shape}".encode()
            numbers[item.name] = hashlib.sha256(text + np.ascontiguousarray(value).tobytes()).hexdigest()
        total = hashlib.sha256()
        for index, node in enumerate(self.nodes):
            for slot, name in enumerate(node.output):
                numbers[name] = f"n{index}.{slot}"
            plain = sorted(
                (item.name, item.SerializeToString(deterministic=True))
                for item in node.attribute
                if not (item.HasField("g") or item.graphs)
            )
            total.update(repr((node.domain, node.op_type, [numbers.get(n, "?") for n in node.input], plain)).encode())
        total.update(repr([numbers.get(name, "?") for name in self.outputs]).encode())
        return total.hexdigest()


def no_samples() -> IcebreakerError:
    """The error of data without rows."""
    return IcebreakerError("calibration_empty", "the calibration data is empty", "give_one_sample")
