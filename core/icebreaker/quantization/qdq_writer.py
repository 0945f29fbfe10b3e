"""A float ONNX model with its layers, what a calibration says of them, and both written with Q/DQ nodes.

The scheme: symmetric int8, zero point 0, weights per channel, Q/DQ on the inputs of convolutions and matrix products,
everything else (biases too) in float. It is the one that strongly typed TensorRT accepts.

Owns: which layers can be quantized, the calibration table, writing Q/DQ. Refuses: choosing thresholds and correcting
biases (`quantize`).
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import heapq
import json
import math
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.engines.onnx_nodes import reads
from icebreaker.errors import IcebreakerError
from icebreaker.storage.files import write_whole

_FORMAT = "icebreaker calibration 1"
_LEAST_CHANNEL = 1e-4  # of a layer's largest weight

_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Neg", "Identity", "Min", "Max"})
_ACTIVATIONS = frozenset({
    "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Selu", "Celu",
    "Softplus", "Softsign", "Gelu", "Mish", "ThresholdedRelu", "Erf",
})  # fmt: skip

# They move values or average them, so that a range of the input holds for the output too.
_RANGE_KEEPING = frozenset({
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "Reshape", "Transpose",
    "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Split", "DepthToSpace", "SpaceToDepth",
})  # fmt: skip


@dataclass(frozen=True)
class Range:
    """What calibration found for a tensor: its extremes, and the |x| that becomes 127."""

    low: float
    high: float
    threshold: float
    method: str


@dataclass(frozen=True)
class Table:
    """A calibration: all that INT8 needs besides the float model.

    Attributes:
        graph: Hash of the prepared model's structure and weights; names do not count.
        data: Hash of the calibration data.
        samples: Rows of data that were seen.
        method: How the thresholds were chosen; `tried` says why, if it was left open.
        tensors: Tensor that gets Q/DQ → its range, in the order in which the layers read them.
        layers: Layer → what is added to its output, per channel (0 where that did not help); None: it stays float.
        tried: Method → signal to noise at the outputs in dB, as a mean over rows, where several were compared.
    """

    graph: str
    data: str
    samples: int
    method: str
    tensors: Mapping[str, Range]
    layers: Mapping[str, tuple[float, ...] | None] = field(default_factory=dict, repr=False)
    tried: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Readable JSON: one tensor or layer a line."""

        def block(items: Mapping[str, Any]) -> str:
            return "{\n" + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in items.items()) + "\n  }"

        lines = [f'  "format": {json.dumps(_FORMAT)}']
        lines += [f'  "{key}": {json.dumps(getattr(self, key))}' for key in ("graph", "data", "samples", "method")]
        lines.append(f'  "tried": {json.dumps(dict(self.tried))}')
        lines.append(f'  "tensors": {block({k: dataclasses.asdict(v) for k, v in self.tensors.items()})}')
        layers = {k: None if v is None else [float(f"{x:.6g}") for x in v] for k, v in self.layers.items()}
        lines.append(f'  "layers": {block(layers)}')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str, name: str = "the calibration table") -> Table:
        """Reads what `to_json` wrote; `name` is for the error's text.

        Raises:
            IcebreakerError: It is no calibration table, or has values that cannot be.
        """
        try:
            data = json.loads(text)
            if data.pop("format") != _FORMAT:
                raise ValueError("unknown format")
            data["tensors"] = {key: Range(**value) for key, value in data["tensors"].items()}
            data["layers"] = {k: None if v is None else tuple(map(float, v)) for k, v in data["layers"].items()}
            table = cls(**data)
            numbers = [n for r in table.tensors.values() for n in (r.low, r.high, r.threshold)]
            numbers += [n for shift in table.layers.values() for n in shift or ()]
            if not all(map(math.isfinite, numbers)) or any(r.threshold < 0 for r in table.tensors.values()):
                raise ValueError("a value is not finite or a threshold is negative")
            return table
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise IcebreakerError(f"{name} is no calibration table ({error}): calibrate again") from error

    def save(self, path: Path) -> None:
        """Writes it as JSON, whole or not at all."""
        write_whole(path, self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> Table:
        """Reads a saved table.

        Raises:
            IcebreakerError: There is no such file, or it is no calibration table.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise IcebreakerError(f"{path} could not be read: {error}") from error
        return cls.from_json(text, str(path))


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product that can be quantized.

    Attributes:
        name: ONNX node name.
        op: ONNX op.
        index: Place among the prepared model's nodes.
        activations: Tensors that get Q/DQ.
        weights: Name of the constant operand; empty if both operands are computed.
        weight_axis: The weights' axis that has a scale of its own per entry; None: one scale for all.
        channel_axis: The output's axis that a bias runs along; None: there is no place for a bias.
        output: The tensor it gives.
    """

    name: str
    op: str
    index: int
    activations: tuple[str, ...]
    weights: str
    weight_axis: int | None
    channel_axis: int | None
    output: str


def prepare(model: bytes) -> bytes:
    """Folds constants and batch norms with ONNX Runtime's basic passes, which keep the names of layers.

    Raises:
        IcebreakerError: ONNX Runtime does not take the model.
    """
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    # Else it would quantize weights and biases itself where the graph carries Q/DQ nodes.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    with tempfile.TemporaryDirectory(prefix="icebreaker-") as folder:
        options.optimized_model_filepath = str(Path(folder) / "model.onnx")
        try:
            # A Gemm in place of MatMul + Add would have a new name.
            ort.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"]
            )
        except Exception as error:
            raise IcebreakerError(f"the segment cannot be prepared for INT8: {error}") from error
        prepared = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in prepared.graph.node} | {""}
    versions = [item for item in prepared.opset_import if item.domain in used]
    del prepared.opset_import[:]
    prepared.opset_import.extend(versions)
    return prepared.SerializeToString()


class Prepared:
    """A float model after `prepare`, indexed, with its layers."""

    def __init__(self, model: bytes) -> None:
        """Prepares and indexes a model."""
        import onnx
        from onnx import TensorProto

        self.model: Any = onnx.load_from_string(prepare(model))
        graph = self.model.graph
        self.nodes: list[Any] = list(graph.node)
        self.constants: dict[str, Any] = {item.name: item for item in graph.initializer}
        self.inputs: list[Any] = [item for item in graph.input if item.name not in self.constants]
        self.outputs: list[str] = [item.name for item in graph.output]
        self.readers: dict[str, list[int]] = {}
        self.producer: dict[str, int] = {}
        for index, node in enumerate(self.nodes):
            for name in reads(node):
                self.readers.setdefault(name, []).append(index)
            for name in node.output:
                self.producer[name] = index
        typed = onnx.shape_inference.infer_shapes(self.model).graph
        self._floats = {
            item.name
            for item in (*typed.input, *typed.value_info, *typed.output)
            if item.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        found = (self._layer(index, node) for index, node in enumerate(self.nodes))
        self.layers: tuple[Layer, ...] = tuple(layer for layer in found if layer)
        # In the order in which the layers read them.
        self.tensors = tuple(dict.fromkeys(name for layer in self.layers for name in layer.activations))
        self.digest = self._digest()
        self._sizes: dict[Any, Mapping[str, int]] = {}

    def constant(self, name: str) -> np.ndarray:
        """A constant's value."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name])

    def telling(self, names: Sequence[str]) -> Any:
        """A session on the model that gives these tensors, too."""
        from onnx import ValueInfoProto

        outputs = self.model.graph.output
        count = len(outputs)
        outputs.extend(ValueInfoProto(name=name) for name in names if name not in self.outputs)
        content = self.model.SerializeToString()  # a copy of the model would double its weights
        del outputs[count:]
        return open_session(content)

    def sizes(self, row: Mapping[str, np.ndarray]) -> Mapping[str, int]:
        """Bytes of every tensor that is computed from this row."""
        key = tuple((name, value.shape) for name, value in row.items())
        if key not in self._sizes:
            names = [name for node in self.nodes for name in node.output if name]
            values = self.telling(names).run(names, dict(row))
            self._sizes[key] = {
                name: value.nbytes if isinstance(value, np.ndarray) else 0
                for name, value in zip(names, values, strict=True)
            }
        return self._sizes[key]

    def chosen(self, ranges: Mapping[str, Range], keep: Collection[str]) -> dict[int, Layer]:
        """The layers to quantize, by index: all but those that `keep` names, or whose input or output it names."""
        return {
            layer.index: layer
            for layer in self.layers
            if all(name in ranges for name in layer.activations)
            and {layer.name, layer.output, *self.nodes[layer.index].input}.isdisjoint(keep)
        }

    def outcome(
        self, ranges: Mapping[str, Range], shifts: Mapping[str, tuple[float, ...]], keep: Collection[str]
    ) -> dict[str, tuple[float, ...] | None]:
        """What a table says of every layer."""
        chosen = self.chosen(ranges, keep)
        return {item.name: shifts.get(item.name, ()) if item.index in chosen else None for item in self.layers}

    def match(self, table: Table) -> tuple[dict[str, Range], dict[str, tuple[float, ...]], set[str]]:
        """The table's ranges, shifts and float layers under this model's names, which may differ between two exports.

        Raises:
            IcebreakerError: The table belongs to another model.
        """
        complete = len(table.tensors) == len(self.tensors)
        if table.graph != self.digest or not (complete or table.tensors.keys() <= set(self.tensors)):
            raise IcebreakerError("the calibration table belongs to another graph or segment: calibrate again")
        ranges = dict(zip(self.tensors, table.tensors.values(), strict=True)) if complete else dict(table.tensors)
        if table.layers and len(table.layers) != len(self.layers):
            raise IcebreakerError("the calibration table does not have every layer: calibrate again")
        found = dict(zip((layer.name for layer in self.layers), table.layers.values(), strict=False))
        kept = {name for name, shift in found.items() if shift is None}
        return ranges, {name: shift for name, shift in found.items() if shift is not None}, kept

    def write(
        self,
        ranges: Mapping[str, Range],
        shifts: Mapping[str, Sequence[float]],
        keep: Collection[str],
        unsigned: bool,
    ) -> bytes:
        """The model with Q/DQ around every layer that is not kept."""
        from onnx import helper, numpy_helper

        model = copy.deepcopy(self.model)
        graph = model.graph
        by_index = self.chosen(ranges, keep)
        nodes: list[Any] = []
        done: set[str] = set()

        def constant(name: str, value: np.ndarray) -> str:
            if name not in done:
                graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
                done.add(name)
            return name

        for index, node in enumerate(graph.node):
            layer = by_index.get(index)
            if layer is None:
                nodes.append(node)
                continue
            for name in layer.activations:
                if f"{name}/dequantized" not in done:
                    done.add(f"{name}/dequantized")
                    scale, zero = activation_scale(ranges[name], unsigned)
                    nodes.extend(pair(name, constant(f"{name}/scale", scale), constant(f"{name}/zero", zero)))
            for slot, name in enumerate(node.input):
                if name in layer.activations:
                    node.input[slot] = f"{name}/dequantized"
                elif name == layer.weights:
                    value = self.constant(name)
                    whole, scale = weights_int8(value, layer.weight_axis)
                    stem = f"{name}/axis{layer.weight_axis}"
                    operands = [
                        constant(f"{stem}/int8", whole),
                        constant(f"{stem}/scale", scale),
                        constant(f"{stem}/zero", np.zeros(scale.shape, np.int8)),
                    ]
                    # One per layer, as builders look for a layer's own.
                    node.input[slot] = f"{layer.name}/weights"
                    axis: dict[str, Any] = {} if layer.weight_axis is None else {"axis": layer.weight_axis}
                    nodes.append(
                        helper.make_node(
                            "DequantizeLinear", operands, [node.input[slot]], f"{layer.name}/DequantizeLinear", **axis
                        )
                    )
            nodes.append(node)
            shift = np.asarray(shifts.get(layer.name, ()), np.float32)
            if shift.any():
                self._add_shift(node, layer, shift, constant, nodes)
        if unsigned:
            self._make_unsigned(nodes, constant)
        del graph.node[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in reads(node)} | set(self.outputs)
        kept = [item for item in graph.initializer if item.name in used]
        del graph.initializer[:], graph.value_info[:]
        graph.initializer.extend(kept)
        return model.SerializeToString()

    def _make_unsigned(self, nodes: Sequence[Any], constant: Callable[[str, np.ndarray], str]) -> None:
        """Writes the graph's own int8 pairs as uint8 where no value is negative: the same range in twice the steps."""
        readers: dict[str, list[Any]] = {}
        for node in nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        for node in nodes:
            if node.op_type != "QuantizeLinear" or len(node.input) < 3 or node.output[0] in self.outputs:
                continue
            scale, zero = (self._number(name) for name in node.input[1:3])
            pairs = readers.get(node.output[0], [])
            if scale is None or zero is None or zero.dtype != np.int8 or zero.any():
                continue
            if self._never_negative(node.input[0]) and all(n.op_type == "DequantizeLinear" for n in pairs):
                finer = constant(f"{node.name}/scale", np.array(scale.item() * 127 / 255, np.float32))
                for item in (node, *pairs):
                    item.input[1], item.input[2] = finer, constant(f"{node.name}/zero", np.array(0, np.uint8))

    def _never_negative(self, name: str) -> bool:
        node = self.nodes[self.producer[name]] if name in self.producer else None
        while node is not None and node.op_type in _RANGE_KEEPING:
            node = self.nodes[self.producer[node.input[0]]] if node.input[0] in self.producer else None
        if node is None or node.op_type in ("Relu", "Sigmoid", "Softmax"):
            return node is not None
        lowest = self._number(node.input[1]) if node.op_type == "Clip" and len(node.input) > 1 else None
        return lowest is not None and lowest.item() >= 0

    def _add_shift(
        self, node: Any, layer: Layer, shift: np.ndarray, constant: Callable[[str, np.ndarray], str], nodes: list[Any]
    ) -> None:
        """Adds `shift` to the layer's bias, or gives it one."""
        from onnx import helper

        if layer.op in ("Conv", "ConvTranspose"):
            old = self._bias(node)
            value = shift if old is None else old + shift
            del node.input[2:]
            node.input.append(constant(f"{layer.name}/bias", value.astype(np.float32)))
            return
        # After a matrix product the Add that follows anyway would do, but it may be shared or of another shape.
        bare = f"{layer.output}/uncorrected"
        node.output[0] = bare
        nodes.append(
            helper.make_node(
                "Add", [bare, constant(f"{layer.name}/bias", shift)], [layer.output], f"{layer.name}/correction"
            )
        )

    def _bias(self, node: Any) -> np.ndarray | None:
        return self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None

    def _layer(self, index: int, node: Any) -> Layer | None:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
            return None
        first, second = node.input[0], node.input[1]
        if node.op_type == "MatMul":
            weights = second if second in self.constants else first if first in self.constants else ""
        else:
            weights = second
            bias = node.input[2] if len(node.input) > 2 else ""
            if second not in self.constants or (node.op_type != "Gemm" and bias and bias not in self.constants):
                return None  # no weights, or nowhere to put a correction
        if weights and self.constants[weights].data_type != 1:
            return None
        computed = [name for name in dict.fromkeys((first, second)) if name != weights]
        activations = tuple(name for name in computed if not self._dequantized(name))
        if not all(name in self._floats for name in computed) or not (weights or activations):
            return None
        number = {item.name: item.i for item in node.attribute}
        rank = len(self.constants[weights].dims) if weights else 0
        axis = channel = None
        if node.op_type == "Conv":
            axis, channel = 0, 1
        elif node.op_type == "ConvTranspose":
            axis, channel = (1 if number.get("group", 1) == 1 else None), 1
        elif node.op_type == "Gemm":
            axis, channel = (0 if number.get("transB") else 1), 1
        elif weights == second:
            axis, channel = (1 if rank == 2 else None), (-1 if rank > 1 else None)
        return Layer(node.name, node.op_type, index, activations, weights, axis, channel, node.output[0])

    def _dequantized(self, name: str) -> bool:
        """Whether the graph itself has quantized a tensor already."""
        producer = self.producer.get(name)
        return producer is not None and self.nodes[producer].op_type == "DequantizeLinear"

    def known_range(self, name: str, trained_only: bool = False) -> Range | None:
        """The range that follows from what makes a tensor, without data; None where nothing bounds it.

        Args:
            name: The tensor.
            trained_only: Only a range that stems from Q/DQ nodes in the graph.
        """
        bounds = self._bounds(name)
        if bounds is None or (trained_only and not bounds[2]):
            return None
        return Range(bounds[0], bounds[1], max(-bounds[0], bounds[1], 0.0), "graph")

    def _bounds(self, name: str) -> tuple[float, float, bool] | None:
        """Lowest and highest value, and whether Q/DQ nodes say so."""
        if name not in self.producer:
            return None
        node = self.nodes[self.producer[name]]
        if node.op_type == "DequantizeLinear":
            scale, zero = (self._number(item) for item in (*node.input[1:3], "", "")[:2])
            if scale is None or zero is None or zero.item() != 0:
                return None
            low = 0.0 if zero.dtype == np.uint8 else -127.0
            return low * scale.item(), float(np.iinfo(zero.dtype).max * scale.item()), True
        if node.op_type in ("Sigmoid", "Softmax", "HardSigmoid", "Tanh"):
            return (-1.0 if node.op_type == "Tanh" else 0.0), 1.0, False
        if node.op_type in ("Clip", "Relu"):
            lowest, highest = (self._number(item) for item in (*node.input[1:3], "", "")[:2])
            low, high, trained = self._bounds(node.input[0]) or (-math.inf, math.inf, False)
            low = max(low, 0.0 if node.op_type == "Relu" else -math.inf if lowest is None else float(lowest.item()))
            high = min(high, math.inf if highest is None else float(highest.item()))
            return (low, high, trained) if math.isfinite(low) and math.isfinite(high) else None
        if node.op_type in _RANGE_KEEPING:
            return self._bounds(node.input[0])
        return None

    def _number(self, name: str) -> np.ndarray | None:
        """A constant with one value."""
        value = self.constant(name) if name in self.constants else None
        return value if value is not None and value.size == 1 else None

    def region(self, layer: Layer) -> tuple[list[Any], str] | None:
        """The activation that follows a layer, as nodes and their output: Relu, or x·sigmoid(x) in its parts.

        It ends where everything that the layer's output led to has come together in one tensor.
        """
        inside: dict[int, Any] = {}
        made = {layer.output}
        waiting = sorted(set(self.readers.get(layer.output, ())))
        curved = False
        while waiting and len(inside) < 10:
            index = heapq.heappop(waiting)
            if index in inside:
                continue
            node = self.nodes[index]
            plain = all(not name or name in made or name in self.constants for name in node.input)
            if node.op_type not in _ELEMENTWISE | _ACTIVATIONS or not plain or len(node.output) != 1:
                return None
            inside[index] = node
            curved |= node.op_type in _ACTIVATIONS
            made.add(node.output[0])
            for reader in self.readers.get(node.output[0], ()):
                heapq.heappush(waiting, reader)
            open_ends = [
                name
                for name in made
                if name in self.outputs or any(reader not in inside for reader in self.readers.get(name, ()))
            ]
            if curved and open_ends == [node.output[0]]:
                return list(inside.values()), node.output[0]
        return None

    def session(
        self,
        nodes: Sequence[Any],
        feeds: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        constants: Sequence[Any] = (),
    ) -> Any:
        """An ONNX Runtime session for some nodes; `feeds` are samples that tell the inputs' types."""
        import onnx
        from onnx import helper

        needed = {name for node in nodes for name in reads(node)}
        own = [item for name, item in self.constants.items() if name in needed]
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
            for name, value in feeds.items()
        ]
        graph = helper.make_graph(
            nodes, "part", inputs, [onnx.ValueInfoProto(name=name) for name in outputs], [*own, *constants]
        )
        model = helper.make_model(graph, opset_imports=list(self.model.opset_import), ir_version=self.model.ir_version)
        return open_session(model.SerializeToString())

    def _digest(self) -> str:
        """Hash of structure and constants that does not depend on names, which count up with every export."""
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


def open_session(model: bytes) -> Any:
    """An ONNX Runtime session on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise IcebreakerError(f"ONNX Runtime does not run the segment: {error}") from error


def pair(name: str, scale: str, zero: str) -> list[Any]:
    """QuantizeLinear and DequantizeLinear of a tensor, as `NAME/dequantized`."""
    from onnx import helper

    whole, back = f"{name}/quantized", f"{name}/dequantized"
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [whole], f"{name}/QuantizeLinear"),
        helper.make_node("DequantizeLinear", [whole, scale, zero], [back], f"{name}/DequantizeLinear"),
    ]


def activation_scale(found: Range, unsigned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of an activation."""
    positive = unsigned and found.low >= 0
    threshold = found.threshold or 1.0  # 0: a tensor that was always 0
    scale = np.array(threshold / (255 if positive else 127), np.float32)
    return scale, np.array(0, np.uint8 if positive else np.int8)


def weights_int8(value: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Weights as int8 and their float32 scale: a scalar, or one per entry of `axis`.

    A channel without weights to speak of gets the scale of a small one: ONNX Runtime counts biases in 32 bits as
    multiples of weights' scale times input's, and a bias that is more than these hold would be cut off.
    """
    others = None if axis is None else tuple(a for a in range(value.ndim) if a != axis)
    largest = np.abs(value)
    least = (float(largest.max()) or 1.0) * _LEAST_CHANNEL
    scale = np.maximum(largest.max(axis=others), least).astype(np.float32) / np.float32(127)
    return np.clip(np.rint(value / along(scale, value.ndim, axis)), -127, 127).astype(np.int8), scale


def times(whole: np.ndarray, scale: np.ndarray, axis: int | None) -> np.ndarray:
    """The values that int8 weights stand for."""
    return whole.astype(np.float32) * along(scale, whole.ndim, axis)


def along(scale: np.ndarray, rank: int, axis: int | None) -> np.ndarray:
    """One value per entry of an axis, in a shape that spreads over the others; a scalar for None."""
    return scale if axis is None else scale.reshape([-1 if a == axis else 1 for a in range(rank)])
