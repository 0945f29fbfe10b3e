"""ONNX models, to be looked at: read in the worker, in which native code of a library's may fail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.formats.shown import Described, Drawing, new_function, new_graph, write_attribute
from icebreaker.storage.files import check_file
from icebreaker.storage.weight_store import Store

NEEDS_TENSORFLOW = True
PATTERNS = ("*.onnx",)
KIND = "an ONNX model"
_MOST_BYTES = (1 << 31) - 1
_MOST_DEPTH = 32
_KEPT_BYTES = 1024  # of an initializer that shapes may depend on
# ONNX's numbers of types → TensorFlow's.
_TYPES: Mapping[int, int] = {
    1: 1, 2: 4, 3: 6, 4: 17, 5: 5, 6: 3, 7: 9, 8: 7, 9: 10, 10: 19, 11: 2, 12: 22, 13: 23, 14: 8, 15: 18, 16: 14,
}  # fmt: skip
_STRING = 8


def matches(path: Path) -> bool:
    """A file whose name ends in `.onnx`."""
    return path.suffix.lower() == ".onnx" and path.is_file()


def read(path: Path, allow_side_effects: bool = False) -> Any:
    """The model as a graph to be looked at. Weights in files beside it are not read.

    Raises:
        IcebreakerError: It is no ONNX model, or is damaged.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        check_file(path, _MOST_BYTES)
        model = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise IcebreakerError(
            "file_not_read", "{subject} could not be read: {reason}", subject=path, reason=error.strerror or str(error)
        ) from error
    except DecodeError as error:
        raise _damaged(path) from error
    if not model.graph.node:
        raise _damaged(path)
    definition, drawing = new_graph(KIND)
    try:
        _draw(drawing, definition, model.graph, _described(model), 0)
    except (UnicodeError, TypeError, ValueError) as error:  # names that are no text, numbers beyond what there is
        raise _damaged(path) from error
    drawing.finish()
    return definition


def read_apart(path: Path, store: Store, big: int, allow_side_effects: bool = False) -> Any | None:
    """Nothing is read apart: it is only shown."""
    return None


def _damaged(path: Path) -> IcebreakerError:
    return IcebreakerError(
        "onnx_damaged", "{subject} is no ONNX model, or is damaged or cut short", "copy_again", subject=path
    )


def _described(model: Any) -> dict[str, Described]:
    """Tensor → its type and shape, as the model says, and as ONNX tells from that."""
    import onnx

    slim = onnx.ModelProto()
    slim.CopyFrom(model)
    for item in slim.graph.initializer:
        if item.ByteSize() > _KEPT_BYTES:
            for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                item.ClearField(name)
    try:
        inferred = onnx.shape_inference.infer_shapes(slim)
    except Exception:  # of many kinds, about a model that need not be right to be looked at
        inferred = slim
    graph, found = inferred.graph, {}
    for item in (*graph.value_info, *graph.input, *graph.output):
        found[item.name] = _of_type(item)
    return found


def _of_type(item: Any) -> Described:
    tensor = item.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else -1 for dim in tensor.shape.dim]
    return Described(item.name, _TYPES.get(tensor.elem_type, 0), shape)


def _draw(drawing: Drawing, definition: Any, graph: Any, described: Mapping[str, Described], depth: int) -> None:
    """Draws a graph, and the bodies of its loops and branches as functions."""
    constants = {item.name for item in graph.initializer}
    for item in graph.input:
        if item.name not in constants:
            drawing.input(item.name, described.get(item.name) or _of_type(item))
    for item in graph.initializer:
        drawing.constant(item.name, Described(item.name, _TYPES.get(item.data_type, 0), item.dims), _content(item))
    for item in graph.node:
        gives = [described.get(name) or Described(name) for name in item.output]
        name = item.name or next(filter(None, item.output), item.op_type)
        domain = f"{item.domain}." if item.domain not in ("", "ai.onnx") else ""
        if item.op_type == "Constant" and not domain and len(item.attribute) == 1 and item.attribute[0].name == "value":
            tensor = item.attribute[0].t
            drawing.constant(
                name, Described(item.output[0] if item.output else name, _TYPES.get(tensor.data_type, 0), tensor.dims),
                _content(tensor),
            )  # fmt: skip
            continue
        node = drawing.node(name, domain + item.op_type, [name for name in item.input if name], gives)
        for attribute in item.attribute:
            _write(node, attribute, definition, depth)


def _write(node: Any, attribute: Any, definition: Any, depth: int) -> None:
    """Writes an attribute; a graph becomes a function."""
    kind, key = attribute.type, attribute.name
    single = {1: "f", 2: "i", 3: "s"}
    lists = {6: "floats", 7: "ints", 8: "strings"}
    if kind in single:
        write_attribute(node.attr, key, getattr(attribute, single[kind]))
    elif kind in lists:
        write_attribute(node.attr, key, list(getattr(attribute, lists[kind])))
    elif kind == 4:  # a tensor
        value = node.attr[key].tensor
        value.dtype = _TYPES.get(attribute.t.data_type, 0)
        for size in attribute.t.dims:
            value.tensor_shape.dim.add(size=size)
    elif kind == 5 and depth < _MOST_DEPTH:  # a graph
        name = f"{node.name}/{key}"
        taken = {item.signature.name for item in definition.library.function}
        while name in taken:
            name += "_"
        body = new_function(definition, KIND, name)
        node.attr[key].func.name = name
        graph = attribute.g
        described = {item.name: _of_type(item) for item in (*graph.value_info, *graph.input, *graph.output)}
        _draw(body, definition, graph, described, depth + 1)
        body.finish([(item.name or "output", described[item.name]) for item in graph.output], outside=True)


def _content(tensor: Any) -> bytes | list[bytes] | None:
    """The bytes of a tensor in TensorFlow's order, or its texts; None where they are elsewhere, or of no known form."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        return None
    if tensor.data_type == _STRING:
        return list(tensor.string_data)
    if tensor.raw_data:
        return tensor.raw_data
    try:
        # It makes an array of as many elements as are there, and then gives it the shape.
        return np.ascontiguousarray(numpy_helper.to_array(tensor)).tobytes()
    except Exception:  # of many kinds, about a tensor that contradicts itself
        return None
