"""Keeps parts of an OpenVINO network in FP32 where the rest computes in 16 bits.

OpenVINO's plugins leave nodes alone that bear the mark `precise`. Python cannot set it, a network's XML can bear it.
Whether it was heeded is seen in the compiled network: optimizations before it may have lost it.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from icebreaker.engine.exactness import Network, Step, exact_nodes

# OpenVINO's words → ONNX's, for the ops that `exactness` speaks of.
_OPS = {
    "Broadcast": "Expand", "Ceiling": "Ceil", "Convert": "Cast", "Convolution": "Conv",
    "ConvolutionBackpropData": "ConvTranspose", "DeformableConvolution": "DeformConv", "FakeQuantize": "QuantizeLinear",
    "FloorMod": "Mod", "GRUCell": "GRU", "GRUSequence": "GRU", "GreaterEqual": "GreaterOrEqual",
    "GroupConvolution": "Conv", "GroupConvolutionBackpropData": "ConvTranspose", "Interpolate": "Resize",
    "LSTMCell": "LSTM", "LSTMSequence": "LSTM", "LessEqual": "LessOrEqual", "Multiply": "Mul", "Negative": "Neg",
    "ROIAlign": "RoiAlign", "RNNCell": "RNN", "RNNSequence": "RNN", "ScatterElementsUpdate": "ScatterElements",
    "ScatterNDUpdate": "ScatterND", "ScatterUpdate": "ScatterElements", "ShapeOf": "Shape", "StridedSlice": "Slice",
    "Subtract": "Sub", "TensorIterator": "Loop", "VariadicSplit": "Split",
}  # fmt: skip
_FLOATS = ("f16", "f32", "f64", "bf16")
_WIDE = ("i16", "i32", "i64", "u16", "u32", "u64")
HALVES = ("bf16", "f16")  # as OpenVINO calls what it computes in


def exact_names(network: Any) -> frozenset[str]:
    """Names of the nodes of an `openvino.Model` that must not compute in 16 bits."""
    steps, kinds, constants = [], {}, set()
    for op in network.get_ordered_ops():
        given = [_name(port) for port in op.outputs()]
        kinds.update(zip(given, (port.get_element_type().get_type_name() for port in op.outputs()), strict=True))
        kind = op.get_type_name()
        if kind == "Constant":
            constants.update(given)
        elif kind not in ("Parameter", "Result"):
            reads = tuple(_name(port.get_source_output()) for port in op.inputs())
            steps.append(Step(op.get_friendly_name(), _OPS.get(kind, kind), reads, tuple(given)))
    return exact_nodes(
        Network(
            steps,
            floats={name for name, kind in kinds.items() if kind in _FLOATS},
            wide={name for name, kind in kinds.items() if kind in _WIDE},
            constants=constants,
            outputs={_name(result.input(0).get_source_output()) for result in network.get_results()},
        )
    )


def marked(core: Any, network: Any, names: frozenset[str]) -> Any:
    """The network with the mark at these nodes."""
    import openvino

    with tempfile.TemporaryDirectory(prefix="icebreaker-") as folder:
        text, weights = Path(folder, "model.xml"), Path(folder, "model.bin")
        openvino.serialize(network, text, weights)
        tree = ElementTree.parse(text)  # noqa: S314 - OpenVINO wrote it just now
        for layer in tree.iterfind("layers/layer"):
            if layer.get("name") in names:
                told = layer.find("rt_info")
                if told is None:
                    told = ElementTree.Element("rt_info")
                    layer.insert(0, told)
                ElementTree.SubElement(told, "attribute", name="precise", version="0")
        return core.read_model(ElementTree.tostring(tree.getroot()), weights.read_bytes())


def is_heeded(compiled: Any, names: frozenset[str]) -> bool:
    """Whether a compiled network computes none of these nodes in 16 bits."""
    for item in compiled.get_runtime_model().get_ordered_ops():
        told = {key: value.astype(str) for key, value in item.get_rt_info().items()}
        parts = told.get("originalLayersNames", "").split(",")
        if told.get("runtimePrecision", "").lower() in HALVES and not names.isdisjoint(parts):
            return False
    return True


def _name(port: Any) -> str:
    """A name for what a node gives."""
    return f"{port.get_node().get_name()}:{port.get_index()}"
