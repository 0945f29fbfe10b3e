"""Keeps parts of an OpenVINO network in FP32 where the rest computes in 16 bits.

OpenVINO's plugins leave nodes alone that bear the mark `precise`. Python cannot set it, a network's XML can bear it.
Optimizations may lose it, and those that join nodes (snippets) do. So the compiled network is looked at: where the mark
was not heeded, it is compiled without snippets, and at last in FP32.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.engine.numbers.exactness import Network, Step, exact_nodes

# OpenVINO's words → ONNX's, for the ops that `exactness` speaks of.
_OPS: Mapping[str, str] = {
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
HALVES = ("bf16", "f16")  # as OpenVINO calls what it computes in


def exact_names(network: Any, *, to_the_digit: bool = False) -> frozenset[str]:
    """Names of the nodes of an `openvino.Model` that must not compute in 16 bits; see `exact_nodes`."""
    steps, kinds, constants = [], {}, set()
    for op in network.get_ordered_ops():
        given = [_name(port) for port in op.outputs()]
        kinds.update(zip(given, (port.get_element_type().get_type_name() for port in op.outputs()), strict=True))
        kind: str = op.get_type_name()
        if kind == "Constant":
            constants.update(given)
        elif kind not in ("Parameter", "Result"):
            reads = tuple(_name(port.get_source_output()) for port in op.inputs())
            steps.append(Step(op.get_friendly_name(), _OPS.get(kind) or kind, reads, tuple(given)))
    return exact_nodes(
        Network(
            steps,
            floats={name for name, kind in kinds.items() if kind in _FLOATS},
            constants=constants,
            outputs={_name(result.input(0).get_source_output()) for result in network.get_results()},
        ),
        to_the_digit=to_the_digit,
    )


def untrue_quotients(network: Any) -> frozenset[str]:
    """Divisions whose last digit decides, as where a Floor comes after: OpenVINO multiplies by the reciprocal instead.

    That is the same by a constant power of two; and by chance behind what was learned.
    """
    divisions = [op for op in network.get_ops() if op.get_type_name() == "Divide" and _divides_floats(op)]
    names = exact_names(network, to_the_digit=True) if divisions else frozenset()
    return frozenset(op.get_friendly_name() for op in divisions if op.get_friendly_name() in names)


def _divides_floats(op: Any) -> bool:
    """Whether it divides floats by something else than a power of two."""
    divisor = op.input(1).get_source_output().get_node()
    if op.get_output_element_type(0).get_type_name() not in _FLOATS:
        return False
    return divisor.get_type_name() != "Constant" or bool((np.frexp(divisor.get_data())[0] != 0.5).any())


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


def compile_exactly(core: Any, network: Any, device: str, config: Mapping[str, Any], names: frozenset[str]) -> Any:
    """Compiles for a device in the precision of `config`, but these nodes, which are marked, in FP32."""
    known = {op.get_friendly_name() for op in network.get_ops()}
    without_snippets = [{"SNIPPETS_MODE": "DISABLE"}] if device == "CPU" else []
    for extra in ({}, *without_snippets):
        compiled = core.compile_model(network, device, {**config, **extra})
        if not names or is_heeded(compiled, names, known):
            return compiled
    return core.compile_model(network, device, {**config, "INFERENCE_PRECISION_HINT": "f32"})


def is_heeded(compiled: Any, names: Collection[str], known: Collection[str]) -> bool:
    """Whether what these nodes read from one another, and what they give, was left in FP32.

    Args:
        compiled: The compiled network; a node of it does the work of one or more.
        names: The nodes that were marked.
        known: All nodes.
    """
    made = {op.get_friendly_name(): _Made.of(op, names, known) for op in compiled.get_runtime_model().get_ordered_ops()}
    if any(node.is_exact_at_end and node.is_half for node in made.values()):
        return False
    rounding = {
        name
        for name, node in made.items()
        if node.is_half
        and node.is_made_up
        and any(made[source].is_exact_at_end or made[source].is_input for source in node.sources)
    }
    return not any(node.is_exact_at_begin and rounding.intersection(node.sources) for node in made.values())


@dataclass(frozen=True)
class _Made:
    """A node of a compiled network.

    Attributes:
        sources: The nodes that it reads from.
        is_half: Whether it gives 16 bits.
        is_input: Whether it is what the network is given.
        is_made_up: Whether OpenVINO put it in.
        is_exact_at_begin: Whether what it reads must be exact.
        is_exact_at_end: Whether what it gives must be exact.
    """

    sources: tuple[str, ...]
    is_half: bool
    is_input: bool
    is_made_up: bool
    is_exact_at_begin: bool
    is_exact_at_end: bool

    @classmethod
    def of(cls, op: Any, names: Collection[str], known: Collection[str]) -> _Made:
        """What OpenVINO tells of a node."""
        told = {key: value.astype(str) for key, value in op.get_rt_info().items()}
        parts = [part for part in told.get("originalLayersNames", "").split(",") if part in known]
        exact = [part in names for part in parts]
        kind = told.get("layerType") or op.get_type_name()
        return cls(
            sources=tuple(port.get_source_output().get_node().get_friendly_name() for port in op.inputs()),
            is_half=any(item.strip().lower() in HALVES for item in told.get("outputPrecisions", "").split(",")),
            is_input=kind in ("Input", "Parameter"),
            is_made_up=not parts,
            # Joined nodes tell of no order among what they read.
            is_exact_at_begin=bool(exact) and (any(exact) if kind == "Subgraph" else exact[0]),
            is_exact_at_end=bool(exact) and exact[-1],
        )


def _name(port: Any) -> str:
    """A name for what a node gives."""
    return f"{port.get_node().get_name()}:{port.get_index()}"
