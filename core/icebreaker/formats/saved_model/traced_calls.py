"""What the object graph of a SavedModel tells: a traced `__call__`, and which variables its functions are bound to.

Without signatures, the trace becomes one. The checkpoint has an object graph of its own: the two, walked side by side,
tell where the values of variables are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CALL = "__call__"


def add_call(meta: Any, folder: Path) -> Mapping[str, str]:
    """Adds a signature `__call__` to a MetaGraphDef, if it has such a trace of tensors.

    Args:
        meta: The message, which is changed.
        folder: Where the SavedModel lies.

    Returns:
        Variable that was added → its key in the checkpoint.
    """
    objects = meta.object_graph_def
    library = {function.signature.name: function for function in meta.graph_def.library.function}
    name = _trace(objects, library)
    if not name:
        return {}
    function, bound = library[name], list(objects.concrete_functions[name].bound_inputs)
    arguments = list(function.signature.input_arg)
    given, captured = arguments[: len(arguments) - len(bound)], arguments[len(arguments) - len(bound) :]
    keys = _keys(objects, folder)
    graph = meta.graph_def
    taken = {node.name for node in graph.node}
    apart: dict[str, str] = {}
    call = graph.node.add(name=_fresh(CALL.strip("_"), taken), op="StatefulPartitionedCall")
    call.attr["f"].func.name = name
    call.attr["Tin"].list.type.extend(item.type for item in arguments)
    call.attr["Tout"].list.type.extend(item.type for item in function.signature.output_arg)
    signature = meta.signature_def[CALL]
    signature.method_name = "tensorflow/serving/predict"
    for argument, shape in zip(given, _shapes(objects.concrete_functions[name], len(given)), strict=True):
        node = graph.node.add(name=_fresh(argument.name, taken), op="Placeholder")
        node.attr["dtype"].type = argument.type
        node.attr["shape"].shape.CopyFrom(shape)
        call.input.append(node.name)
        entry = signature.inputs[argument.name]
        entry.name, entry.dtype = f"{node.name}:0", argument.type
        entry.tensor_shape.CopyFrom(shape)
    for number, item in zip(bound, captured, strict=True):
        call.input.append(_captured(graph, objects.nodes[number], number, item, keys, apart, taken))
    for port, item in enumerate(function.signature.output_arg):
        entry = signature.outputs[f"output_{port}"]
        entry.name, entry.dtype = f"{call.name}:{port}", item.type
        entry.tensor_shape.unknown_rank = True
    return apart


def bound_variables(meta: Any, folder: Path) -> Mapping[str, str]:
    """Variables that calls in a graph are handed → their keys in the checkpoint.

    What restores a SavedModel of a Keras 3 model names copies of them, which its functions do not use.
    """
    objects = meta.object_graph_def
    keys = _keys(objects, folder)
    found: dict[str, str] = {}
    for node in meta.graph_def.node:
        name = node.attr["f"].func.name if "f" in node.attr else ""
        if name in objects.concrete_functions:
            bound = objects.concrete_functions[name].bound_inputs
            given = [text for text in node.input if not text.startswith("^")]
            pairs = zip(given[len(given) - len(bound) :], bound, strict=False)
            found.update({text: keys[number] for text, number in pairs if number in keys})
    return found


def _trace(objects: Any, library: Mapping[str, Any]) -> str:
    """The function that calling the model runs, in inference if there are several; empty if there is none."""
    if not objects.nodes:
        return ""
    children = {child.local_name: child.node_id for child in objects.nodes[0].children}
    if CALL not in children or children[CALL] >= len(objects.nodes):
        return ""
    names = [
        name for name in objects.nodes[children[CALL]].function.concrete_functions
        if name in library and name in objects.concrete_functions and library[name].signature.output_arg
        and len(library[name].signature.input_arg) > len(objects.concrete_functions[name].bound_inputs)
    ]  # fmt: skip
    given = {name: objects.concrete_functions[name].canonicalized_input_signature for name in names}
    return min(names, key=lambda name: (_has_true(given[name]), names.index(name)), default="")


def _has_true(value: Any) -> bool:
    """Whether an argument in a StructuredValue is True."""
    match value.WhichOneof("kind"):
        case "bool_value":
            return bool(value.bool_value)
        case "tuple_value":
            return any(map(_has_true, value.tuple_value.values))
        case "list_value":
            return any(map(_has_true, value.list_value.values))
        case "dict_value":
            return any(map(_has_true, value.dict_value.fields.values()))
        case _:
            return False


def _shapes(concrete: Any, count: int) -> list[Any]:
    """The shapes of the arguments, as the trace says; unknown where they cannot be told."""
    from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto

    found: list[Any] = []
    stack = [concrete.canonicalized_input_signature]
    while stack:
        value = stack.pop()
        match value.WhichOneof("kind"):
            case "tensor_spec_value":
                found.append(value.tensor_spec_value.shape)
            case "bounded_tensor_spec_value":
                found.append(value.bounded_tensor_spec_value.shape)
            case "tuple_value":
                stack.extend(reversed(value.tuple_value.values))
            case "list_value":
                stack.extend(reversed(value.list_value.values))
            case "dict_value":
                stack.extend(value.dict_value.fields[key] for key in sorted(value.dict_value.fields, reverse=True))
            case _:
                pass
    return found if len(found) == count else [TensorShapeProto(unknown_rank=True)] * count


def _captured(
    graph: Any, item: Any, number: int, argument: Any, keys: Mapping[int, str], apart: dict[str, str], taken: set[str]
) -> str:
    """The tensor that a function is bound to: a variable, or what the graph holds a constant or a resource as."""
    match item.WhichOneof("kind"):
        case "variable":
            node = graph.node.add(name=_fresh(item.variable.name or f"variable_{number}", taken), op="VarHandleOp")
            node.attr["dtype"].type = item.variable.dtype
            node.attr["shape"].shape.CopyFrom(item.variable.shape)
            if number in keys:
                apart[node.name] = keys[number]
            return node.name
        case "constant":
            return str(item.constant.operation)
        case "captured_tensor":
            return str(item.captured_tensor.name)
        case _:  # a table or an asset: what was saved without a signature names no node for it
            node = graph.node.add(name=_fresh(argument.name, taken), op="Placeholder")
            node.attr["dtype"].type = argument.type
            return node.name


def _keys(objects: Any, folder: Path) -> Mapping[int, str]:
    """Number of an object in the SavedModel → key of its value in the checkpoint, by walking both graphs together."""
    import tensorflow as tf
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    saved = TrackableObjectGraph()
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        saved.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    except Exception:  # there is none, or it is damaged: whoever reads a value says so
        return {}
    found: dict[int, str] = {}
    pairs, seen = [(0, 0)], {0}
    while pairs:
        here, there = pairs.pop()
        if here >= len(objects.nodes) or there >= len(saved.nodes):
            continue
        for attribute in saved.nodes[there].attributes:
            if attribute.name == "VARIABLE_VALUE":
                found[here] = attribute.checkpoint_key
        others = {child.local_name: child.node_id for child in saved.nodes[there].children}
        for child in objects.nodes[here].children:
            if child.local_name in others and child.node_id not in seen:
                seen.add(child.node_id)
                pairs.append((child.node_id, others[child.local_name]))
    return found


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
