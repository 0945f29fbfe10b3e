"""Converts an ONNX model's types from FP32 to FP16, for engines that compute in the types a network states.

Inputs and outputs keep their types. A float tensor has up to two forms: FP32 under its own name, FP16 under a new one.
Each node works in one of the two (`half_rules`), and a Cast appears where a tensor is needed in the other. What must be
exact stays in FP32 (`exactness`): ids, indices, coordinates, counts. Where a matrix product is among that, the model
says so, for engines that would round its operands.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from icebreaker.engine.numbers.exactness import Network, Step, exact_nodes
from icebreaker.engine.numbers.half_rules import HEAVY, HELD, MAX, SMALLEST, Facts, halved, judge
from icebreaker.errors import IcebreakerError

EXACT_PRODUCTS = "icebreaker.exact_products"  # in a model's metadata: some of its products must be FP32, not TF32
_STEP = 2.0**-24  # the smallest number at all
_LEAST_SCALE = 2.0**-17  # with 7 bits left, which is what INT8 has
_FLOAT, _HALF = 1, 10  # onnx.TensorProto.FLOAT, FLOAT16
_FLOATS = frozenset({_FLOAT, _HALF, 11, 16})  # with DOUBLE and BFLOAT16

_QUANTIZE = frozenset({"QuantizeLinear", "DequantizeLinear"})
_QUANTIZE_OPSET = 19  # the first in which a scale may be FP16


def to_half(model: bytes, samples: Sequence[Sequence[np.ndarray]] = ()) -> bytes:
    """The model in FP16; its inputs and outputs keep names and types.

    Args:
        model: A serialized ModelProto with its weights inside. One with Q/DQ nodes comes back as it is where FP16
            cannot hold their scales.
        samples: Values for the inputs, in their order; the model is run on them to see which tensors fit.

    Raises:
        IcebreakerError: It is no valid model.
    """
    import onnx

    try:
        proto = onnx.load_from_string(model)
        if any(node.op_type in _QUANTIZE for node in proto.graph.node):
            proto = _with_half_scales(onnx, proto)
            if proto is None:
                return model
        typed = onnx.shape_inference.infer_shapes(proto)
    except Exception as error:
        raise IcebreakerError(
            "onnx_unreadable", "the ONNX model cannot be read: {why}", why=str(error)[:300]
        ) from error
    converter = _Converter(onnx, proto.graph, typed.graph, _opset(proto))
    converter.convert(_largest(onnx, typed, samples))
    if converter.has_exact_products:
        proto.metadata_props.add(key=EXACT_PRODUCTS, value="true")
    return proto.SerializeToString()


def _opset(proto: Any) -> int:
    return max((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), default=1)


def _with_half_scales(onnx: Any, proto: Any) -> Any:
    """The model with scales that FP16 can hold, in an opset that allows FP16 there; None if that cannot be.

    Casts around Q/DQ nodes are no way out: an engine would not see the quantized op behind them.
    """
    if _opset(proto) < _QUANTIZE_OPSET:
        try:
            proto = onnx.version_converter.convert_version(proto, _QUANTIZE_OPSET)
        except Exception:
            return None
    constants = {item.name: item for item in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type not in _QUANTIZE:
            continue
        if node.input[1] not in constants:
            return None
        data, scale = constants.get(node.input[0]), constants[node.input[1]]
        scales = onnx.numpy_helper.to_array(scale).copy()
        dead = scales < _STEP
        if data is not None and scales.ndim == 1 and dead.any():  # channels whose weights are 0 in FP16 anyway
            axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
            values = np.moveaxis(onnx.numpy_helper.to_array(data).copy(), axis, 0)
            values[dead], scales[dead] = 0, SMALLEST
            data.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(np.moveaxis(values, 0, axis)), data.name))
            scale.CopyFrom(onnx.numpy_helper.from_array(scales, scale.name))
        if scales.min() < _LEAST_SCALE or scales.max() > MAX:
            return None
    return proto


def _largest(onnx: Any, typed: Any, samples: Sequence[Sequence[np.ndarray]]) -> dict[str, float]:
    """Float tensor → its largest absolute value on the samples; empty where the model cannot be run."""
    import onnxruntime

    model = copy.deepcopy(typed)
    graph = model.graph
    floats = [item.name for item in graph.value_info if item.type.tensor_type.elem_type == _FLOAT]
    del graph.output[:]
    for number, name in enumerate(floats):  # reduced in the graph, so that the tensors need not be kept
        graph.node.add(op_type="Abs", input=[name], output=[f"icebreaker/abs{number}"])
        node = onnx.helper.make_node("ReduceMax", [f"icebreaker/abs{number}"], [f"icebreaker/{number}"], keepdims=0)
        graph.node.append(node)
        graph.output.append(onnx.helper.make_tensor_value_info(f"icebreaker/{number}", _FLOAT, []))
    found: dict[str, float] = {}
    if not floats or not samples:
        return found
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    inputs = [item.name for item in graph.input]
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for values in samples:
            results: Any = session.run(None, dict(zip(inputs, values, strict=True)))
            for name, value in zip(floats, results, strict=True):
                found[name] = max(found.get(name, 0.0), float(value))
    except Exception:  # the rules without samples remain, and every engine is checked afterwards
        return {}
    return found


class _Converter:
    def __init__(self, onnx: Any, graph: Any, typed: Any, opset: int) -> None:
        self._onnx, self._graph, self._opset = onnx, graph, opset
        self._lift_constants()
        self._constants = {item.name: item for item in graph.initializer}
        self._elem_types = {
            item.name: item.type.tensor_type.elem_type for item in (*typed.value_info, *typed.input, *typed.output)
        } | {name: item.data_type for name, item in self._constants.items()}
        self._taken = {name for node in graph.node for name in (node.name, *node.input, *node.output)}
        self._forms: dict[str, dict[int, str]] = {}  # float tensor → form → name
        self._states: dict[str, str] = {}  # float tensor that is no constant → what is known of it
        self._nodes: list[Any] = []
        self._exact = exact_nodes(_network(graph, self._elem_types))
        self.has_exact_products = any(
            node.op_type in HEAVY for index, node in enumerate(graph.node) if str(index) in self._exact
        )

    def convert(self, largest: Mapping[str, float]) -> None:
        graph, self._seen = self._graph, largest
        for item in (*graph.input, *graph.initializer):
            if self._is_float(item.name):
                self._forms[item.name] = {_FLOAT: item.name}
                self._states[item.name] = HELD
        for index, node in enumerate(graph.node):
            self._convert_node(node, str(index) in self._exact)
        for item in graph.output:
            if self._is_float(item.name):
                self._form(item.name, _FLOAT)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        used = {name for node in graph.node for name in (*node.input, *_captured(node))}
        used |= {item.name for item in graph.output}
        kept = [item for item in graph.initializer if item.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)

    def _lift_constants(self) -> None:
        """Makes Constant nodes initializers, so that there is one kind of constant."""
        kept = []
        for node in self._graph.node:
            tensors = [item.t for item in node.attribute if item.name == "value"]
            if node.op_type == "Constant" and tensors:
                tensors[0].name = node.output[0]
                self._graph.initializer.append(tensors[0])
            else:
                kept.append(copy.deepcopy(node))
        del self._graph.node[:]
        self._graph.node.extend(kept)

    def _is_float(self, name: str) -> bool:
        return self._elem_types.get(name) == _FLOAT

    def _values(self, name: str) -> np.ndarray:
        return self._onnx.numpy_helper.to_array(self._constants[name])

    def _convert_node(self, node: Any, is_exact: bool) -> None:
        demands = self._slots_that_demand_float(node)
        form, state = self._judge(node, demands, is_exact)
        for name in _captured(node):  # inner graphs keep to FP32, and know tensors by their own names
            if name in self._forms:
                self._form(name, _FLOAT)
        for slot, name in enumerate(node.input):
            if self._is_float(name):
                node.input[slot] = self._form(name, _FLOAT if slot in demands else form)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
                attribute.i = form
        for slot, name in enumerate(node.output):
            if self._is_float(name):
                node.output[slot] = self._new_name(f"{name}/half") if form == _HALF else name
                self._forms[name] = {form: node.output[slot]}
                self._states[name] = state
        self._nodes.append(node)

    def _judge(self, node: Any, demands: set[int], is_exact: bool) -> tuple[int, str]:
        """The form that a node works in, and what is known of its results."""
        floats = [name for slot, name in enumerate(node.input) if self._is_float(name) and slot not in demands]
        in_half, state = judge(Facts(
            node.op_type,
            states={self._states[name] for name in floats if name not in self._constants},
            constants=[self._values(name) for name in floats if name in self._constants],
            seen=[self._seen[name] for name in node.output if name in self._seen],
            is_exact=is_exact, takes_half=self._takes_half(node),
            is_square=node.op_type == "Mul" and node.input[0] == node.input[1],
        ))  # fmt: skip
        return _HALF if in_half else _FLOAT, state

    def _takes_half(self, node: Any) -> bool:
        """Whether ONNX allows FP16 for this node's float results, and they are known at all."""
        if any(name not in self._elem_types for name in (*node.input, *node.output) if name):
            return False
        if any(attribute.HasField("g") for attribute in node.attribute):
            return False
        floats = [slot for slot, name in enumerate(node.output) if self._is_float(name)]
        schema = self._schema(node)
        return schema is not None and all("tensor(float16)" in _types(schema, schema.outputs, slot) for slot in floats)

    def _slots_that_demand_float(self, node: Any) -> set[int]:
        """Inputs that must be FP32 whatever the node works in, such as the scales of a Resize."""
        schema = self._schema(node)
        if schema is None:
            return set()
        return {slot for slot in range(len(node.input)) if "tensor(float16)" not in _types(schema, schema.inputs, slot)}

    def _schema(self, node: Any) -> Any:
        defs = self._onnx.defs
        if node.domain not in ("", "ai.onnx") or not defs.has(node.op_type, self._opset, ""):
            return None
        return defs.get_schema(node.op_type, self._opset, "")

    def _form(self, name: str, form: int) -> str:
        """The name of a float tensor's FP32 or FP16 form, which is made if it is not there yet."""
        forms = self._forms[name]
        if form not in forms:
            source = next(iter(forms.values()))
            forms[form] = name if form == _FLOAT else self._new_name(f"{name}/half")
            if name in self._constants:
                values = halved(self._values(name))
                self._graph.initializer.append(self._onnx.numpy_helper.from_array(values, forms[form]))
            else:
                node_name = self._new_name(f"{name}/cast")
                self._nodes.append(
                    self._onnx.helper.make_node("Cast", [source], [forms[form]], name=node_name, to=form)
                )
        return forms[form]

    def _new_name(self, wish: str) -> str:
        names = (wish if number == 1 else f"{wish}_{number}" for number in itertools.count(1))
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        return name


def _network(graph: Any, kinds: Mapping[str, int]) -> Network:
    """A graph without Constant nodes, as `exactness` wants it; its nodes are called by their numbers."""
    return Network(
        [
            Step(str(index), node.op_type, (*node.input, *_captured(node)), tuple(node.output))
            for index, node in enumerate(graph.node)
        ],
        floats={name for name, kind in kinds.items() if kind in _FLOATS},
        constants={item.name for item in graph.initializer},
        outputs={item.name for item in graph.output},
    )


def _types(schema: Any, parameters: Any, slot: int) -> Any:
    """The types that an op's schema allows for an input or output; the last parameter may stand for many."""
    kind = parameters[min(slot, len(parameters) - 1)].type_str
    return next((item.allowed_type_strs for item in schema.type_constraints if item.type_param_str == kind), [kind])


def _captured(node: Any) -> Iterator[str]:
    """Names that the graphs inside a node read; some may be their own."""
    for attribute in node.attribute:
        for graph in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
            for inner in graph.node:
                yield from inner.input
                yield from _captured(inner)
            yield from (item.name for item in graph.output)
