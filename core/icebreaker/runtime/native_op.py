"""Engine nodes as the native op of `core/native`: TensorFlow calls the engine itself, and no lock of Python's is held.

The op does the whole of a usual call. What is not usual (a shape that the engine was not built for, numbers that it
gets wrong, its errors) goes on to the op's `fallback`, a function of the graph. In a process of Icebreaker's it is the
node as it would be without the op, so all of this is as it is there; in a graph for elsewhere, the native segment.
"""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icebreaker.engine.native_form import NativeForm
from icebreaker.graph.graph import Graph
from icebreaker.runtime.artifact_reader import PREFIX, without_payloads
from icebreaker.runtime.engine_node import EngineNode
from icebreaker.tf import native_library
from icebreaker.tf.rewrite import to_tensorflow

OP = "IcebreakerEngine"
_ANY = (-(1 << 63), (1 << 63) - 1)


def takes(runner: Any) -> bool:
    """Whether the op, if it is here, can run what an engine loaded."""
    return getattr(runner, "has_native_form", False) and native_library.opened() is not None


def _form(node: EngineNode) -> NativeForm | None:
    """What the op runs an engine node from; None where its engine, or what is to be checked, needs Python."""
    runner: Any = node.runner
    is_fit = getattr(runner, "has_native_form", False) and node.stored.inputs and not node.asks_tensorflow
    return runner.native_form() if is_fit else None


def _fill(definition: Any, node: EngineNode, form: NativeForm, fallback: str) -> None:
    """Makes the op of a NodeDef that has a name, its inputs and the types `Tin` and `Tout`; it lacks its model."""
    definition.op = OP
    attributes = definition.attr
    for name in [name for name in attributes if name not in ("Tin", "Tout")]:
        del attributes[name]
    for name in ("shapes", "lowest", "highest", "looks_for_nan", "config"):
        attributes[name].list.SetInParent()
    for shape in node.stored.shapes:
        made = attributes["shapes"].list.shape.add(unknown_rank=shape is None)
        for dim in shape or ():
            made.dim.add(size=-1 if dim is None else dim)
    for limits in form.watch.limits:
        low, high = limits or _ANY
        attributes["lowest"].list.i.append(low)
        attributes["highest"].list.i.append(high)
    attributes["looks_for_nan"].list.b.extend(form.watch.looks_for_nan)
    attributes["config"].list.s.extend(text.encode() for pair in form.config.items() for text in pair)
    attributes["fallback"].func.name = fallback


@dataclass(frozen=True)
class NativeNode:
    """An engine node as the op in this process.

    Attributes:
        definition: Its NodeDef, without inputs.
        fallback: The FunctionDef that it falls back to.
    """

    definition: Any
    fallback: Any


def native_node(node: EngineNode, through_python: Any, owner: Any) -> NativeNode | None:
    """The op for an engine node; None where it is called through Python.

    Args:
        node: The engine node.
        through_python: The NodeDef that calls it through Python.
        owner: What the op's model is kept for: it is forgotten when this is gone.
    """
    library = native_library.opened()
    if library is None or (form := _form(node)) is None:
        return None
    key = uuid.uuid4().hex
    if library.icebreaker_register(key.encode(), form.model, len(form.model)):
        return None
    weakref.finalize(owner, library.icebreaker_unregister, key.encode())
    fallback = _function(f"{OP}_{key}", through_python)
    definition = type(through_python)()
    definition.CopyFrom(through_python)
    definition.ClearField("input")
    _fill(definition, node, form, fallback.signature.name)
    definition.attr["key"].s = key.encode()
    return NativeNode(definition, fallback)


def native_graph(graph: Graph, nodes: Mapping[str, EngineNode]) -> tuple[Any, tuple[str, ...]]:
    """A graph that runs its engines where there is no Python, and the names of the engine nodes that the op runs.

    The models are inside. Icebreaker reads it as a graph without engines (`artifact_reader.portable`).
    """
    result = without_payloads(to_tensorflow(graph.definition))
    native, order = [], f"{PREFIX}output"
    for definition in result.node:
        stored = graph[definition.name].definition.attr
        if order in stored:
            definition.attr[order].MergeFromString(stored[order].SerializeToString())
        node = nodes.get(definition.name)
        form = _form(node) if node is not None else None
        if node is not None and form is not None:
            _fill(definition, node, form, node.stored.function)
            definition.attr["model"].s = form.model
            definition.attr[f"{PREFIX}function"].s = node.stored.function.encode()
            native.append(definition.name)
    return result, tuple(native)


def _function(name: str, node: Any) -> Any:
    """A function that is one node."""
    from tensorflow.core.framework.function_pb2 import FunctionDef

    function = FunctionDef()
    function.signature.name = name
    inner = function.node_def.add()
    inner.CopyFrom(node)
    inner.name = "engine"
    inner.ClearField("input")
    for index, kind in enumerate(node.attr["Tin"].list.type):
        function.signature.input_arg.add(name=f"input_{index}", type=kind)
        inner.input.append(f"input_{index}")
    for index, kind in enumerate(node.attr["Tout"].list.type):
        function.signature.output_arg.add(name=f"output_{index}", type=kind)
        function.ret[f"output_{index}"] = f"engine:output:{index}"
    return function
