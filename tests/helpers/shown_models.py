"""Small models of other kinds, made without TensorFlow."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import onnx
from onnx import helper, numpy_helper

from icebreaker.formats.tflite_model import schema_of_tensorflow


def onnx_model() -> Any:
    """A convolution, a branch, an op of somebody's own, and a weight that lies in a file beside."""
    outside = onnx.TensorProto(name="e", data_type=1, dims=[4], data_location=1)
    outside.external_data.add(key="location", value="/etc/passwd")
    weight = numpy_helper.from_array(np.arange(216, dtype=np.float32).reshape(8, 3, 3, 3), "w")
    vector = helper.make_tensor_value_info
    body = helper.make_graph([helper.make_node("Add", ["r", "r"], ["b"])], "body", [], [vector("b", 1, None)])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv:0", strides=[2, 2], auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Split", ["r"], ["s1", "s2"], axis=1, num_outputs=2),
        helper.make_node("Mul", ["s2", "e"], ["m"]),
        helper.make_node("If", ["cond"], ["i"], then_branch=body, else_branch=body),
        helper.make_node("Mine", ["m", "", "i"], ["y"], domain="com.me", weights=[1.5, 2.5], mode="fast"),
    ]
    inputs, outputs = [vector("x", 1, ["N", 3, 8, 8]), vector("cond", 9, [])], [vector("y", 1, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight, outside])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.me", 1)])


def tflite_model() -> bytes:
    """A product with a matrix, and a loop around an addition."""
    schema = schema_of_tensorflow()
    model, codes = schema.ModelT(), ("FULLY_CONNECTED", "WHILE", "ADD", "LESS")
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    for name in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        model.operatorCodes.append(code)

    def graph(tensors: list[tuple[str, list[int], Any]], inputs: list[int], outputs: list[int], ops: list[Any]) -> Any:
        made = schema.SubGraphT()
        made.tensors, made.inputs, made.outputs, made.operators = [], inputs, outputs, ops
        for name, shape, value in tensors:
            tensor = schema.TensorT()
            tensor.name, tensor.shape, tensor.type = name.encode(), shape, schema.TensorType.FLOAT32
            if value is not None:
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(np.asarray(value, np.float32).tobytes(), np.uint8)
                model.buffers.append(buffer)
                tensor.buffer = len(model.buffers) - 1
            made.tensors.append(tensor)
        return made

    def op(name: str, reads: list[int], gives: list[int], kind: str = "", **options: int) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = codes.index(name), reads, gives
        if kind:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            made.builtinOptions = getattr(schema, f"{kind}T")()
            for key, value in options.items():
                setattr(made.builtinOptions, key, value)
        return made

    dense = op("FULLY_CONNECTED", [0, 1, -1], [2], "FullyConnectedOptions", fusedActivationFunction=1)
    loop = op("WHILE", [2], [3], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    main = [("x", [1, 4], None), ("w", [2, 4], np.ones((2, 4))), ("h", [1, 2], None), ("y", [1, 2], None)]
    model.subgraphs = [
        graph(main, [0], [3], [dense, loop]),
        graph([("a", [1, 2], None), ("most", [1], [9.0]), ("less", [1], None)], [0], [2], [op("LESS", [0, 1], [2])]),
        graph([("a", [1, 2], None), ("b", [1, 2], None)], [0], [1], [op("ADD", [0, 0], [1])]),
    ]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
