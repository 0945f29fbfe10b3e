"""Graphs of any size with random weights, made node by node without TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from icebreaker.graph.protos import GraphDef


class Maker:
    """Makes a GraphDef node by node, without TensorFlow."""

    def __init__(self, *shape: int) -> None:
        """Begins with one input of that shape."""
        self.definition: Any = GraphDef()
        self.definition.versions.producer = 1882
        self.random = np.random.default_rng(0)
        node = self.definition.node.add(name="x", op="Placeholder")
        node.attr["dtype"].type = 1
        for size in shape:
            node.attr["shape"].shape.dim.add(size=size)
        self.last = "x"

    def constant(self, value: Any) -> str:
        """A Const with these values (float32 or int32)."""
        node = self.definition.node.add(name=f"constant_{len(self.definition.node)}", op="Const")
        tensor = node.attr["value"].tensor
        node.attr["dtype"].type = tensor.dtype = {"float32": 1, "int32": 3}[value.dtype.name]
        for size in value.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = value.tobytes()
        return node.name

    def weight(self, *shape: int) -> str:
        """Random values that keep the size of what flows through a layer with ReLU."""
        scale = np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        return self.constant(self.random.standard_normal(shape, np.float32) * scale)

    def add(self, op: str, *others: str, **attributes: Any) -> None:
        """A node that reads the last one first."""
        node = self.definition.node.add(name=f"{op}_{len(self.definition.node)}", op=op, input=[self.last, *others])
        node.attr["T"].type = 1
        for key, value in attributes.items():
            if isinstance(value, bytes):
                node.attr[key].s = value
            elif isinstance(value, list):
                node.attr[key].list.i.extend(value)
            else:
                node.attr[key].type = value
        self.last = node.name

    def dense(self, inputs: int, outputs: int) -> None:
        """A matrix product, a bias, and ReLU."""
        self.add("MatMul", self.weight(inputs, outputs))
        self.add("BiasAdd", self.weight(outputs))
        self.add("Relu")


def wide(layers: int, width: int = 4096) -> Any:
    """Matrix products one after the other: 67 MB each."""
    made = Maker(-1, width)
    for _ in range(layers):
        made.dense(width, width)
    return made.definition


def vgg() -> Any:
    """As VGG-16: 138 million weights, 103 million of them in one matrix."""
    made = Maker(-1, 224, 224, 3)
    channels = 3
    for repeats, filters in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(repeats):
            made.add("Conv2D", made.weight(3, 3, channels, filters), strides=[1, 1, 1, 1], padding=b"SAME")
            made.add("BiasAdd", made.weight(filters))
            made.add("Relu")
            channels = filters
        made.add("MaxPool", ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding=b"VALID")
    made.add("Reshape", made.constant(np.array([-1, 25088], np.int32)), Tshape=3)
    made.dense(25088, 4096)
    made.dense(4096, 4096)
    made.dense(4096, 1000)
    return made.definition
