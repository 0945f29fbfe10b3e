"""Big weights on their way through the converter: they are taken out of the graph, and attached to the ONNX model.

tf2onnx and Grappler copy constants many times, so a big one travels as a placeholder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.graph.external_weights import MAPPED
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import DTYPES as TYPES
from icebreaker.graph.ops import WEIGHT_SLOTS
from icebreaker.storage.weight_store import Store, opened, rows

# Above this, a constant that feeds a weight slot travels as a placeholder.
_BIG_BYTES = 16 << 10
_GRAPPLER_BYTES = 32 << 20


def groups(weights: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Names of the weights that Grappler is given at a time, as it makes about ten copies; without any, one group."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, value in weights.items():
        if groups[-1] and size + value.nbytes > _GRAPPLER_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += value.nbytes
    return groups


def with_weights(definition: Any, weights: Mapping[str, np.ndarray]) -> Any:
    """The graph with these weights in the place of their stand-ins; changes it."""
    import tensorflow as tf

    for node in definition.node:
        if node.name in weights:
            node.op = "Const"
            node.attr.pop("shape")
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
    return definition


def without_weights(definition: Any, aside: dict[str, np.ndarray], store: Store | None = None) -> Any:
    """The graph with stand-ins for its big weights, whose values go to `aside` by name; so do those in `store`."""
    import tensorflow as tf

    weights = Graph(definition).weights
    slim = type(definition)(versions=definition.versions, library=definition.library)
    for node in definition.node:
        tensor = node.attr["value"].tensor if node.name in weights else None
        file = store.of(node) if store is not None else None
        if tensor is not None and (file or len(tensor.tensor_content) >= _BIG_BYTES) and not node.input:
            shape = [dim.size for dim in tensor.tensor_shape.dim]
            aside[node.name] = opened(file, TYPES[tensor.dtype], shape) if file else tf.make_ndarray(tensor)
            stand_in = slim.node.add(name=node.name, op=MAPPED)
            stand_in.attr["dtype"].CopyFrom(node.attr["dtype"])
            stand_in.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
        else:
            slim.node.add().CopyFrom(node)
    return slim


def weights_as_placeholders(definition: Any, aside: Mapping[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """Replaces big constants that only feed weight slots; returns the slim graph and tensor name → value.

    The value of one that lies in a store is read as it is needed.
    """
    import tensorflow as tf

    readers: dict[str, list[tuple[Any, int]]] = {}
    for node in definition.node:
        for slot, text in enumerate(node.input):
            readers.setdefault(text.removeprefix("^").split(":")[0], []).append((node, slot))
    slim = type(definition)()
    slim.versions.CopyFrom(definition.versions)
    slim.library.CopyFrom(definition.library)
    weights = {}
    for node in definition.node:
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        if node.op == MAPPED:
            placeholder = slim.node.add(name=node.name, op="Placeholder")
            for key in ("dtype", "shape"):
                placeholder.attr[key].CopyFrom(node.attr[key])
            value = aside.get(node.name)
            weights[f"{node.name}:0"] = (
                value
                if value is not None
                else opened(
                    Path(node.attr["memory_region_name"].s.decode()),
                    TYPES[node.attr["dtype"].type],
                    [dim.size for dim in node.attr["shape"].shape.dim],
                )
            )
        elif (
            tensor is not None
            and len(tensor.tensor_content) >= _BIG_BYTES
            and readers.get(node.name)
            and all(WEIGHT_SLOTS.get(reader.op) == slot for reader, slot in readers[node.name])
        ):
            placeholder = slim.node.add(name=node.name, op="Placeholder")
            placeholder.attr["dtype"].CopyFrom(node.attr["dtype"])
            placeholder.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
            weights[f"{node.name}:0"] = tf.make_ndarray(tensor)
        else:
            slim.node.add().CopyFrom(node)
    return slim, weights


def attach(model: Any, weights: Mapping[str, np.ndarray], store: Store | None) -> None:
    """Makes the weights that travelled as inputs initializers again, transposed where only a Transpose reads them."""
    graph = model.graph
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    removed: set[str] = set()
    for name, value in weights.items():
        kept = False
        for reader in readers.get(name, []):
            if reader.op_type == "Transpose" and reader.output[0] not in {item.name for item in graph.output}:
                axes = next((list(item.ints) for item in reader.attribute if item.name == "perm"), None)
                graph.initializer.append(_initializer(value.transpose(axes), reader.output[0], store))
                removed.add(reader.name)
            else:
                kept = True
        if kept:
            graph.initializer.append(_initializer(value, name, store))
    kept_nodes = [node for node in graph.node if node.name not in removed]
    kept_inputs = [item for item in graph.input if item.name not in weights]
    del graph.node[:], graph.input[:]
    graph.node.extend(kept_nodes)
    graph.input.extend(kept_inputs)


def _initializer(value: np.ndarray, name: str, store: Store | None) -> Any:
    """A weight for an ONNX graph; one from a store stays there."""
    from onnx import TensorProto, helper, numpy_helper

    if store is None or not isinstance(value, np.memmap):
        return numpy_helper.from_array(np.ascontiguousarray(value), name)
    is_as_kept = value.flags.c_contiguous  # all of them are views of whole files
    location = Path(str(value.filename)) if is_as_kept else store.keep(rows(value))
    tensor = TensorProto(
        name=name, dims=value.shape, data_type=helper.np_dtype_to_tensor_dtype(value.dtype),
        data_location=TensorProto.EXTERNAL,
    )  # fmt: skip
    for key, text in {"location": location.name, "offset": "0", "length": str(value.nbytes)}.items():
        tensor.external_data.add(key=key, value=text)
    return tensor
