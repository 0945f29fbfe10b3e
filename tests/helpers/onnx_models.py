"""Small ONNX models in ONNX's text form, and running them without optimizations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import parser


def model(text: str, **constants: npt.ArrayLike) -> bytes:
    """A model from ONNX's text form; `constants` become initializers."""
    proto = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]>\n{text}')
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}{number}"
    return proto.SerializeToString()


def run(data: bytes, *inputs: np.ndarray) -> list[Any]:
    """What ONNX Runtime's CPU provider gives with its optimizations off: they would compute around casts in FP32."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {item.name: value for item, value in zip(session.get_inputs(), inputs, strict=True)}))
