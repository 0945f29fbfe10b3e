"""A float ONNX model, prepared for INT8 and indexed by tensor."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.engine.onnx_nodes import reads
from icebreaker.engine.onnx_sessions import open_session, quiet_options
from icebreaker.errors import IcebreakerError


def prepare(model: bytes) -> bytes:
    """Folds constants and batch norms with ONNX Runtime's basic passes, which keep the names of layers.

    Raises:
        IcebreakerError: ONNX Runtime does not take the model.
    """
    import onnx
    import onnxruntime as ort

    options = quiet_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # Else it would quantize weights and biases itself where the graph carries Q/DQ nodes.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    with tempfile.TemporaryDirectory(prefix="icebreaker-") as folder:
        options.optimized_model_filepath = str(Path(folder) / "model.onnx")
        try:
            # A Gemm in place of MatMul + Add would have a new name.
            open_session(model, options, ["MatMulAddFusion"])
        except IcebreakerError as error:
            raise IcebreakerError(
                "not_preparable", "the segment cannot be prepared for INT8: {reason}",
                reason=error.message.values["reason"],
            ) from error  # fmt: skip
        prepared = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in prepared.graph.node} | {""}
    versions = [opset for opset in prepared.opset_import if opset.domain in used]
    del prepared.opset_import[:]
    prepared.opset_import.extend(versions)
    return prepared.SerializeToString()


class IndexedModel:
    """A prepared model with its nodes by the tensors that they read and make.

    Attributes:
        proto: The ONNX `ModelProto`; not to be changed.
        nodes: Its nodes, in order of execution.
        constants: Initializer name → its `TensorProto`.
        inputs: `ValueInfoProto` of the inputs that have to be fed.
        outputs: Names of the outputs.
        readers: Tensor → indices of the nodes that read it, in bodies of loops and branches too.
        producer: Tensor → index of the node that makes it.
        floats: Tensors that are known to be float32; constants are not among them.
    """

    def __init__(self, model: bytes) -> None:
        """Prepares and indexes a serialized ONNX model.

        Raises:
            IcebreakerError: ONNX Runtime does not take it.
        """
        import onnx
        from onnx import TensorProto

        self.proto: Any = onnx.load_from_string(prepare(model))
        graph = self.proto.graph
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
        typed = onnx.shape_inference.infer_shapes(self.proto).graph
        self.floats: set[str] = {
            item.name
            for item in (*typed.input, *typed.value_info, *typed.output)
            if item.type.tensor_type.elem_type == TensorProto.FLOAT
        }

    def constant(self, name: str) -> np.ndarray:
        """A constant's value."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name])

    def number(self, name: str) -> np.ndarray | None:
        """A constant with one value; None if `name` is no such constant."""
        value = self.constant(name) if name in self.constants else None
        return value if value is not None and value.size == 1 else None

    def producer_of(self, name: str) -> Any:
        """The node that makes a tensor; None for inputs and constants."""
        return self.nodes[self.producer[name]] if name in self.producer else None

    def observed(self, names: Sequence[str]) -> Any:
        """A session on the whole model that can give these tensors, too."""
        from onnx import ValueInfoProto

        outputs = self.proto.graph.output
        count = len(outputs)
        outputs.extend(ValueInfoProto(name=name) for name in names if name not in self.outputs)
        content = self.proto.SerializeToString()  # a copy of the model would double its weights
        del outputs[count:]
        return open_session(content)

    def part(
        self,
        nodes: Sequence[Any],
        feeds: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        constants: Sequence[Any] = (),
    ) -> Any:
        """A session for some nodes.

        Args:
            nodes: In order of execution; they may be others than the model's own.
            feeds: Tensors that are fed, with samples that tell their types.
            outputs: Tensors that it gives.
            constants: `TensorProto` beside the model's own constants.
        """
        import onnx
        from onnx import helper

        needed = {name for node in nodes for name in reads(node)}
        own = [tensor for name, tensor in self.constants.items() if name in needed]
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
            for name, value in feeds.items()
        ]
        graph = helper.make_graph(
            nodes, "part", inputs, [onnx.ValueInfoProto(name=name) for name in outputs], [*own, *constants]
        )
        model = helper.make_model(graph, opset_imports=list(self.proto.opset_import), ir_version=self.proto.ir_version)
        return open_session(model.SerializeToString())
