"""TensorFlow's graph with engine nodes that run: as the native op, or as Python functions that get the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import PLACEHOLDERS
from icebreaker.runtime.artifact_reader import without_payloads
from icebreaker.runtime.engine_node import EngineNode
from icebreaker.runtime.native_op import native_node


@dataclass(frozen=True)
class FunctionGraph:
    """A graph whose engine nodes run their engines.

    Attributes:
        definition: TensorFlow's GraphDef.
        functions: The TensorFlow graph that registered the functions: they live as long as it does.
    """

    definition: Any
    functions: Any


_living: list[Any] = []


def keep_alive(graph: Any) -> None:
    """Keeps a graph, and the functions that its nodes call, until the process ends: TensorFlow holds them weakly."""
    _living.append(graph)


def with_functions(
    graph: Graph, nodes: Mapping[str, EngineNode], *, from_host: bool = False, native: bool = True
) -> FunctionGraph:
    """The graph with the engine nodes turned into Python functions; public API only: TensorFlow makes the nodes.

    Those that can be the `native` op are that. On a GPU, tensors stay there on their way to an engine and back; what a
    caller hands over `from_host` the engine copies itself, which costs less than TensorFlow's way.
    """
    import tensorflow as tf

    from icebreaker.tf.rewrite import to_tensorflow

    whole = without_payloads(to_tensorflow(graph.definition))
    scratch = tf.Graph()
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    with scratch.as_default():
        for name, node in nodes.items():
            tin = [getattr(tf, dtype) for dtype in graph[name].attrs["Tin"]] if node.stored.inputs else []
            tout = [getattr(tf, dtype) for dtype in node.stored.output_dtypes]

            def run(*inputs: np.ndarray, _node: EngineNode = node) -> list[np.ndarray]:
                return _node.inside_tensorflow([np.asarray(value) for value in inputs])  # scalars come as numpy scalars

            placeholders = [tf.compat.v1.placeholder(dtype) for dtype in tin]
            fed = from_host and all(graph[tensor.node].op in PLACEHOLDERS for tensor in graph[name].inputs)
            if on_gpu and node.takes_device and tf.bool not in tin and tin and not fed:
                with tf.device("/GPU:0"):
                    tf.py_function(lambda *tensors, _node=node: _node.on_device(tensors), placeholders, tout, name=name)
            else:
                tf.numpy_function(run, placeholders, tout, stateful=False, name=name)
    made = {item.name: item for item in scratch.as_graph_def().node}
    result = type(whole)(versions=whole.versions, library=whole.library)
    for name in nodes if native else ():
        if (op := native_node(nodes[name], made[name], scratch)) is not None:
            made[name] = op.definition
            result.library.function.append(op.fallback)
    for item in whole.node:
        copy = result.node.add()
        copy.CopyFrom(made.get(item.name, item) if item.name in nodes else item)
        copy.ClearField("input")
        copy.input.extend(item.input)
    return FunctionGraph(result, scratch)
