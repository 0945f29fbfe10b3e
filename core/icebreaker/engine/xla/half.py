"""Converts a GraphDef's types from FP32 to FP16, as `fp16` does with ONNX models and by the same rules.

Inputs and outputs keep their types. A float tensor has up to two forms, FP32 and FP16; each node works in one of the
two, and a Cast appears where a tensor is needed in the other.
"""

from __future__ import annotations

import graphlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from icebreaker.engine.numbers.exactness import Network, Step, exact_nodes
from icebreaker.engine.numbers.half_rules import FREE, HELD, Facts, halved, judge
from icebreaker.engine.xla import ops
from icebreaker.tensors import Tensor

_FLOAT, _HALF = 1, 19  # tf.float32, tf.float16
_FLOATS = frozenset({_FLOAT, _HALF, 2, 14})  # with float64 and bfloat16

# TensorFlow's op → ONNX's word for it, where that is another, for `exactness` and `half_rules`.
_WORDS: Mapping[str, str] = {
    "AddV2": "Add", "BatchMatMul": "MatMul", "BatchMatMulV2": "MatMul", "BatchMatMulV3": "MatMul", "BroadcastTo":
    "Expand", "ClipByValue": "Clip", "Conv2D": "Conv", "Conv2DBackpropInput": "ConvTranspose", "Conv3D": "Conv",
    "Conv3DBackpropInputV2": "ConvTranspose", "Cumprod": "CumSum", "Cumsum": "CumSum", "DepthwiseConv2dNative": "Conv",
    "DivNoNan": "Div", "ExpandDims": "Unsqueeze", "Expm1": "Exp", "Fill": "ConstantOfShape", "FloorDiv": "Floor",
    "FloorMod": "Mod", "GatherNd": "GatherND", "GatherV2": "Gather", "GreaterEqual": "GreaterOrEqual", "Inv":
    "Reciprocal", "L2Loss": "ReduceSumSquare", "LessEqual": "LessOrEqual", "Log1p": "Log", "Maximum": "Max", "Mean":
    "ReduceMean", "Minimum": "Min", "MirrorPad": "Pad", "MulNoNan": "Mul", "PadV2": "Pad", "Prod": "ReduceProd",
    "RealDiv": "Div", "Relu6": "Clip", "ResizeBilinear": "Resize", "ResizeNearestNeighbor": "Resize", "Rint": "Round",
    "Rsqrt": "Reciprocal", "Select": "Where", "SelectV2": "Where", "SplitV": "Split", "Square": "Pow",
    "SquaredDifference": "Pow", "StridedSlice": "Slice", "Sum": "ReduceSum", "TopKV2": "TopK", "TruncateMod": "Mod",
    "Xdivy": "Div", "Xlog1py": "Log", "Xlogy": "Log",
}  # fmt: skip


def to_half(
    definition: Any, outputs: Sequence[Tensor], samples: Sequence[Mapping[str, np.ndarray]] = ()
) -> tuple[Any, list[Tensor]]:
    """A graph in FP16.

    Args:
        definition: TensorFlow's GraphDef, with a Placeholder for each input.
        outputs: What it gives.
        samples: Sets of Placeholder → value; the graph is run on them to see which tensors fit.

    Returns:
        The graph, and what gives the outputs there.
    """
    converter = _Converter(definition, outputs)
    converter.convert(_largest(definition, converter.floats, samples))
    return converter.result, converter.outputs


def _largest(definition: Any, floats: Sequence[str], samples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Float tensor → its largest absolute value on the samples; empty where the graph cannot be run on them."""
    import tensorflow as tf

    from icebreaker.tf.session import session_config

    if not floats or not samples:
        return {}
    found = dict.fromkeys(floats, 0.0)
    try:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
            largest = [tf.reduce_max(tf.abs(graph.get_tensor_by_name(name))) for name in floats]
        with tf.compat.v1.Session(graph=graph, config=session_config()) as session:
            for feeds in samples:
                given = {f"{name}:0": value for name, value in feeds.items()}
                for name, value in zip(floats, session.run(largest, given), strict=True):
                    # Of nothing, the largest is -inf; a NaN stays one.
                    found[name] = float(np.maximum(found[name], value))
    except Exception:  # the rules without samples remain, and every engine is checked afterwards
        return {}
    return found


@cache
def _types_of_kernels(op: str) -> Callable[[str, int], bool]:
    """Whether an attribute of an op may be a type: what XLA's own kernels say."""
    from tensorflow.python.framework import kernels

    _register_kernels()
    allowed: dict[str, set[int]] = {}
    for kernel in kernels.get_registered_kernels_for_op(op).kernel:
        if kernel.device_type == "XLA_GPU_JIT":
            for constraint in kernel.constraint:
                allowed.setdefault(constraint.name, set()).update(constraint.allowed_values.list.type)
    limits = {item.name: set(item.allowed_values.list.type) for item in ops.definition_of(op).attr}

    def takes(attribute: str, kind: int) -> bool:
        return all(kind in known[attribute] for known in (allowed, limits) if known.get(attribute))

    return takes


@cache
def _register_kernels() -> None:
    """XLA's kernels are known from the first time on that something is compiled."""
    import tensorflow as tf

    tf.function(tf.abs, jit_compile=True, autograph=False)(tf.constant(1.0))


class _Converter:
    """One graph; `convert` fills `result` and `outputs`."""

    def __init__(self, definition: Any, outputs: Sequence[Tensor]) -> None:
        self._nodes = _sorted(definition)
        self._inputs = {node.name: ops.inputs(node) for node in self._nodes}
        self._given = {node.name: ops.outputs(node) for node in self._nodes}
        self._constants = {_tensor(node.name): node for node in self._nodes if node.op == "Const"}
        self._kinds = {
            _tensor(name, port): item.type for name, given in self._given.items() for port, item in enumerate(given)
        }
        self._ends = [_tensor(item.node, item.port) for item in outputs]
        self._taken = {node.name for node in self._nodes}
        self._forms: dict[str, dict[int, str]] = {}  # float tensor → form → tensor
        self._states: dict[str, str] = {}  # float tensor that is no constant → what is known of it
        self._seen: Mapping[str, float] = {}
        self._exact = exact_nodes(self._network())
        self.result = type(definition)(versions=definition.versions)
        self.outputs: list[Tensor] = []

    @property
    def floats(self) -> list[str]:
        """FP32 tensors that nodes compute."""
        given = (node for node in self._nodes if node.op not in ("Const", "Placeholder"))
        names = (_tensor(node.name, port) for node in given for port in range(len(self._given[node.name])))
        return [name for name in names if self._kinds[name] == _FLOAT]

    def convert(self, largest: Mapping[str, float]) -> None:
        self._seen = largest
        for node in self._nodes:
            if node.op in ("Const", "Placeholder"):
                self.result.node.add().CopyFrom(node)
                if self._is_float(_tensor(node.name)):
                    self._forms[_tensor(node.name)] = {_FLOAT: _tensor(node.name)}
                    if node.op == "Placeholder":
                        self._states[_tensor(node.name)] = HELD
            else:
                self._convert_node(node)
        ends = (self._form(name, _FLOAT) if self._is_float(name) else name for name in self._ends)
        self.outputs = [Tensor.parse(name) for name in ends]

    def _network(self) -> Network:
        return Network(
            [Step(node.name, *self._in_words(node), self._results(node)) for node in self._nodes
             if node.op not in ("Const", "Placeholder")],
            floats={name for name, kind in self._kinds.items() if kind in _FLOATS},
            constants=set(self._constants), outputs=self._ends,
        )  # fmt: skip

    def _in_words(self, node: Any) -> tuple[str, tuple[str, ...]]:
        """A node's op and inputs as ONNX would have them."""
        reads = _reads(node)
        if node.op == "Split":  # the axis comes first
            reads = reads[::-1]
        return _WORDS.get(node.op, node.op), tuple(reads)

    def _results(self, node: Any) -> tuple[str, ...]:
        return tuple(_tensor(node.name, port) for port in range(len(self._given[node.name])))

    def _is_float(self, name: str) -> bool:
        return self._kinds[name] == _FLOAT

    def _convert_node(self, node: Any) -> None:
        halves = self._attributes_for_half(node)
        in_half, state = self._judge(node, halves)
        form = _HALF if in_half else _FLOAT
        made = type(node)()
        made.CopyFrom(node)
        del made.input[:]
        for name, argument in zip(_reads(node), self._inputs[node.name], strict=True):
            wanted = form if argument.attribute in halves else _FLOAT
            made.input.append(self._form(name, wanted) if self._is_float(name) else name)
        made.input.extend(text for text in node.input if text.startswith("^"))
        for key in halves if in_half else ():
            value = made.attr[key]
            value.CopyFrom(ops.attribute(node, key))
            if value.type == _FLOAT:
                value.type = _HALF
            for index, kind in enumerate(value.list.type):
                value.list.type[index] = _HALF if kind == _FLOAT else kind
        for name, argument in zip(self._results(node), self._given[node.name], strict=True):
            if self._is_float(name):
                is_half = in_half and argument.attribute in halves
                self._forms[name] = {_HALF if is_half else _FLOAT: name}
                self._states[name] = state if is_half or not in_half else FREE
        self.result.node.append(made)

    def _attributes_for_half(self, node: Any) -> set[str]:
        """The attributes of a node that say FP32 and may say FP16."""
        takes = _types_of_kernels(node.op)
        arguments = (*self._inputs[node.name], *self._given[node.name])
        names = {item.attribute for item in arguments if item.type == _FLOAT and item.attribute}
        return {name for name in names if takes(name, _HALF)}

    def _judge(self, node: Any, halves: set[str]) -> tuple[bool, str]:
        reads = _reads(node)
        follow = zip(reads, self._inputs[node.name], strict=True)
        floats = [name for name, item in follow if self._is_float(name) and item.attribute in halves]
        return judge(Facts(
            _WORDS.get(node.op, node.op),
            states={self._states[name] for name in floats if name not in self._constants},
            constants=[self._values(name) for name in floats if name in self._constants],
            seen=[self._seen[name] for name in self._results(node) if name in self._seen],
            is_exact=node.name in self._exact, takes_half=bool(halves),
            is_square=node.op == "Mul" and reads[0] == reads[1],
        ))  # fmt: skip

    def _values(self, name: str) -> np.ndarray:
        import tensorflow as tf

        return tf.make_ndarray(self._constants[name].attr["value"].tensor)

    def _form(self, name: str, form: int) -> str:
        """The FP32 or FP16 form of a float tensor, which is made if it is not there yet."""
        forms = self._forms[name]
        if form not in forms:
            (source,) = forms.values()
            made = self.result.node.add(name=self._new_name(f"{_node(name)}/{'half' if form == _HALF else 'single'}"))
            if name in self._constants:
                import tensorflow as tf

                made.op = "Const"
                made.attr["dtype"].type = form
                made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(halved(self._values(name))))
            else:
                made.op = "Cast"
                made.input.append(source)
                made.attr["SrcT"].type = _FLOAT if form == _HALF else _HALF
                made.attr["DstT"].type = form
            forms[form] = _tensor(made.name)
        return forms[form]

    def _new_name(self, wish: str) -> str:
        names = (wish if number == 1 else f"{wish}_{number}" for number in itertools.count(1))
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        return name


def _sorted(definition: Any) -> list[Any]:
    """The nodes, each after those that it reads or waits for."""
    nodes = {node.name: node for node in definition.node}
    before = {name: [_node(text) for text in node.input] for name, node in nodes.items()}
    return [nodes[name] for name in graphlib.TopologicalSorter(before).static_order()]


def _reads(node: Any) -> list[str]:
    """The tensors that a node reads."""
    return [_tensor(_node(text), int(text.partition(":")[2] or 0)) for text in node.input if not text.startswith("^")]


def _node(text: str) -> str:
    return text.removeprefix("^").partition(":")[0]


def _tensor(node: str, port: int = 0) -> str:
    return f"{node}:{port}"
