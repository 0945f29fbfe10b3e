"""Turns a segment into ONNX, the form that every engine takes.

tf2onnx does the conversion. Around it, what was measured to make it fast and right: Grappler folds constants first
(twice: batch norm is folded in the second pass), big weights travel as placeholders and are attached again at the end
(tf2onnx copies constants many times), and whatever it leaves unconverted is found here, since it does not raise.
Runs in the worker: imports TensorFlow.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.export import op_converters
from icebreaker.graph import external_weights
from icebreaker.graph.external_weights import MAPPED
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import DTYPES as TYPES
from icebreaker.graph.ops import WEIGHT_SLOTS
from icebreaker.messages import Message, message
from icebreaker.storage.files import Pieces, field
from icebreaker.storage.weight_store import Store, give_memory_back, opened, rows
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import from_store

os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")  # else every optimizer pass deep-copies the graph

OPSET = 18
# Above this, a constant that feeds a weight slot travels as a placeholder.
_BIG_BYTES = 16 << 10
_GRAPPLER_BYTES = 32 << 20
# What tf2onnx's registry cannot convert on its own or gets wrong, although it lists the op.
_DENIED = frozenset({
    "PyFunc", "PyFuncStateless", "EagerPyFunc", "PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile",
    "If", "StatelessIf", "TensorListReserve", "TensorListFromTensor", "TensorListStack", "TensorListGetItem",
    "TensorListSetItem", "TensorListResize", "TensorListLength", "HashTableV2", "LookupTableFindV2",
    "RandomUniform", "RandomStandardNormal", "RandomUniformInt", "Multinomial", "StringToHashBucketFast",
})  # fmt: skip
DTYPES = frozenset({
    "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "bool",
})  # fmt: skip


class Refused(IcebreakerError):
    """The converter does not take some nodes of a segment.

    Attributes:
        reasons: Node name → why.
    """

    def __init__(self, reasons: Mapping[str, Message]) -> None:
        """Keeps `reasons`."""
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        super().__init__("export_refused", "{reasons}", reasons=told)
        self.reasons = dict(reasons)


@dataclass(frozen=True)
class Exported:
    """A segment as ONNX.

    Attributes:
        model: The serialized ModelProto; with `file`, its big weights lie beside that.
        file: The same in a file, if the graph's big weights lie in a store.
        inputs: ONNX input names, in the order of the tensors that were asked for.
        outputs: ONNX output names, likewise.
        shapes: Input name → shape, None where a dimension is open.
        nodes: ONNX node name → name of the original node it came from; helpers that serve no single node are left out.
    """

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int | None, ...]]
    nodes: Mapping[str, str] = attribute(repr=False)
    file: Path | None = None

    @property
    def source(self) -> bytes | Path:
        """What an engine takes."""
        return self.model if self.file is None else self.file


def supported_ops() -> frozenset[str]:
    """TensorFlow ops that tf2onnx has a handler for, less those that it cannot convert outside their context."""
    import tf2onnx.tfonnx  # noqa: F401  # pyright: ignore - registers the handlers
    from tf2onnx.handler import tf_op

    names: set[str] = set()
    for handlers in tf_op.get_opsets().values():
        for opset, handler in enumerate(handlers):
            if opset <= OPSET:
                names.update(handler)
    return frozenset((names | op_converters.HANDLERS.keys()) - _DENIED)


def export(
    segment: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor], handlers: Mapping[str, Any] | None = None,
    store: Store | None = None, folds: bool = True,
) -> Exported:  # fmt: skip
    """Converts a segment.

    Args:
        segment: TensorFlow's GraphDef: the segment's nodes, its constants, and a Placeholder (with dtype and, as far
            as known, `shape`) for every input.
        inputs: The placeholders, in the order that the engine will take them.
        outputs: The tensors to give.
        handlers: Converters of our own by op, in tf2onnx's form, such as `quantized_ops.HANDLERS`.
        store: Where some of the segment's constants lie; its ONNX form then goes there too, unless
            it is folded.
        folds: Fold what can be folded into weights, such as a batch norm. It takes half of the time, and engines that
            compile for this machine do it as well.

    Raises:
        Refused: Some nodes cannot be converted.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx.tfonnx  # pyright: ignore[reportMissingImports]
    from tf2onnx import tf_loader  # pyright: ignore[reportMissingImports]

    input_names = [f"{item.node}:{item.port}" for item in inputs]
    output_names = [f"{item.node}:{item.port}" for item in outputs]
    aside: dict[str, np.ndarray] = {}
    if folds:
        folded, store = _without_weights(segment, aside, store), None
        for names in _groups(aside):
            given = _with_weights(folded, {name: aside.pop(name) for name in names})
            folded = _without_weights(_grappler(given, input_names, output_names), aside)
            give_memory_back()
    else:
        folded = _grappler(from_store(_without_weights(segment, aside), store), input_names, output_names)
    slim, weights = _weights_as_placeholders(folded, aside)
    with _quiet_tf2onnx() as complaints, tf.Graph().as_default() as graph:
        tf.import_graph_def(slim, name="")

        def converted() -> Any:
            with tf_loader.tf_session(graph=graph):
                return tf2onnx.tfonnx.process_tf_graph(
                    graph,
                    opset=OPSET,
                    continue_on_error=True,
                    input_names=[*input_names, *weights],
                    output_names=output_names,
                    custom_op_handlers={**op_converters.HANDLERS, **(handlers or {})},
                )

        try:
            model = _optimized(converted).make_model("icebreaker", producer_name="icebreaker")
        except Exception as error:
            raise Refused(_blame(segment, str(error), complaints)) from error
    known = {node.name for node in segment.node}
    leftover = _leftover(model, known)
    if leftover:
        raise Refused({name: complaints.get(name, reason) for name, reason in leftover.items()})
    try:
        onnx.checker.check_model(model)  # before the weights come back: it copies the model
    except onnx.checker.ValidationError as error:
        raise Refused(_blame(segment, str(error), {})) from error
    try:
        _attach(model, weights, store)
    except OSError as error:
        raise IcebreakerError(
            "temporary_folder_full", "the weights need room in {subject} ({why})", "free_some_or_tmpdir",
            subject=tempfile.gettempdir(), why=str(error.strerror),
        ) from error  # fmt: skip
    _finish(model, input_names, output_names)
    nodes = {node.name: name for node in model.graph.node if (name := origin(node.name, known))}
    shapes = {
        item.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in item.type.tensor_type.shape.dim)
        for item in model.graph.input
    }
    content = model.SerializeToString()
    file = None
    if store is not None and any(item.external_data for item in model.graph.initializer):
        file = store.folder / f"{hashlib.sha256(content).hexdigest()}.onnx"
        file.write_bytes(content)
    return Exported(content, tuple(input_names), tuple(output_names), shapes, nodes, file)


def whole(file: Path) -> Pieces:
    """A model whose weights lie beside it, as one with its weights inside."""
    import onnx

    slim = onnx.load(str(file), load_external_data=False)
    inside = [item for item in slim.graph.initializer if not item.external_data]
    apart = [item for item in slim.graph.initializer if item.external_data]
    del slim.graph.initializer[:]
    slim.graph.initializer.extend(inside)
    # Messages that follow one another are one: what is repeated is appended.
    pieces: list[bytes | Path] = [slim.SerializeToString()]
    for item in apart:
        location = next(entry.value for entry in item.external_data if entry.key == "location")
        item.ClearField("external_data")
        item.ClearField("data_location")
        pieces += field(7, field(5, [item.SerializeToString(), *field(9, [file.with_name(location)])]))
    return pieces


def with_files_in(file: Path, folder: str) -> tuple[bytes, set[str]]:
    """A model whose weights lie beside it, as it finds them in a folder beside it; and their names."""
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    names = set()
    for entry in _locations(model):
        names.add(entry.value)
        entry.value = f"{folder}/{entry.value}"
    return model.SerializeToString(deterministic=True), names


def check_files(file: Path) -> None:
    """Sees to it that a model reads nothing but weights that lie beside it.

    Raises:
        IcebreakerError: As `beside.file_at`; or it is no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(file), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise IcebreakerError(
            "onnx_file_damaged", "{subject} is no ONNX model, or is damaged", "convert_again", subject=file
        ) from error
    for place in {entry.value for entry in _locations(model)}:
        external_weights.file_at(file.parent, place)


def _locations(message: Any) -> Iterator[Any]:
    """The entries in an ONNX message that name a file, wherever they are."""
    for kind, value in message.ListFields():
        for item in (value if kind.is_repeated else (value,)) if kind.message_type else ():
            if item.DESCRIPTOR.name != "TensorProto":
                yield from _locations(item)
            else:
                yield from (entry for entry in item.external_data if entry.key == "location")


def _optimized(convert: Callable[[], Any]) -> Any:
    """What tf2onnx's passes make of a converted graph. A pass that fails is left out."""
    from tf2onnx import optimizer
    from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

    class Transposes(TransposeOptimizer):
        """As it is, but for a scalar that is added to a convolution: it takes that for a bias and fails."""

        def _add_handler(self, trans: Any, node: Any) -> Any:
            added = node.inputs[1]
            if added.is_const() and not added.get_tensor_value(as_list=False).ndim:
                return self._handle_node_having_branches(trans, node)
            return super()._add_handler(trans, node)

    passes: Any = {**optimizer._get_optimizers(), "optimize_transpose": Transposes}
    del passes["global_pool_optimizer"]  # turns the means of a LayerNorm into GlobalAveragePool
    graph = convert()
    try:
        return optimizer.optimize_graph(graph, catch_errors=False, optimizers=passes)
    except Exception:  # and the graph is half changed; now each pass works on a copy, which is slower
        return optimizer.optimize_graph(convert(), catch_errors=True, optimizers=passes)


def _grappler(definition: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Folds constants and batch norms; the named tensors stay."""
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    rewrite: Any = config.graph_options.rewrite_options
    rewrite.optimizers[:] = ["constfold", "function", "dependency"]
    rewrite.meta_optimizer_iterations = rewrite.TWO
    rewrite.experimental_disable_folding_quantization_emulation = True
    config.graph_options.infer_shapes = True
    meta = meta_graph_pb2.MetaGraphDef(graph_def=definition)
    fetches = meta_graph_pb2.CollectionDef()
    fetches.node_list.value.extend([*inputs, *outputs])
    meta.collection_def["train_op"].CopyFrom(fetches)
    try:
        return tf_optimizer.OptimizeGraph(config, meta)
    except Exception:  # Grappler is a help, not a need
        return definition


def _groups(weights: Mapping[str, np.ndarray]) -> list[list[str]]:
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


def _with_weights(definition: Any, weights: Mapping[str, np.ndarray]) -> Any:
    """The graph with these weights in the place of their stand-ins; changes it."""
    import tensorflow as tf

    for node in definition.node:
        if node.name in weights:
            node.op = "Const"
            node.attr.pop("shape")
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
    return definition


def _without_weights(definition: Any, aside: dict[str, np.ndarray], store: Store | None = None) -> Any:
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


def _weights_as_placeholders(definition: Any, aside: Mapping[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
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


def _attach(model: Any, weights: Mapping[str, np.ndarray], store: Store | None) -> None:
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


def _finish(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Gives every node a name of its own, and inputs and outputs the asked order."""
    names: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in names:
            node.name = f"{node.name or node.op_type}__{index}"
        names.add(node.name)
    for items, order in ((model.graph.input, inputs), (model.graph.output, outputs)):
        by_name = {item.name: type(item).FromString(item.SerializeToString()) for item in items}
        missing = [name for name in order if name not in by_name]
        if missing:
            lost = Tensor.parse(missing[0]).node
            raise Refused({lost: message("tensor_lost", "the converter lost this tensor on the way", subject=lost)})
        del items[:]
        items.extend(by_name[name] for name in order)


def _leftover(model: Any, known: set[str]) -> dict[str, Message]:
    """TensorFlow ops that tf2onnx passed through, by the original node's name."""
    from onnx import defs

    found = {}
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or not defs.has(node.op_type, node.domain):
            name = origin(node.name, known) or node.name
            found[name] = message(
                "op_left_over", "{op} could not be converted to ONNX", subject=name, op=node.op_type
            )  # fmt: skip
    return found


def origin(name: str, known: set[str]) -> str | None:
    """The original node that an ONNX node came from, if it is one; tf2onnx appends `__12` to names of helpers."""
    while name not in known:
        shorter = re.sub(r"(__\d+|_[A-Za-z]+_*)$", "", name)
        if shorter == name:
            return None
        name = shorter
    return name


def _blame(segment: Any, text: str, complaints: Mapping[str, Message]) -> dict[str, Message]:
    """Finds the nodes that an error speaks of; the longest names win. Nobody named: everything is blamed."""
    if complaints:
        return dict(complaints)
    computing = [node.name for node in segment.node if node.op not in ("Const", "Placeholder")]
    words = set(re.findall(r"[\w./\\>-]+", text))
    named = [name for name in computing if name in words]
    reason = message("converter_failed", "the converter failed: {words}", words=" ".join(text.split())[:300])
    return dict.fromkeys(named or computing, reason)


@contextlib.contextmanager
def _quiet_tf2onnx() -> Iterator[dict[str, Message]]:
    """Keeps tf2onnx's log off the terminal; yields node name → its complaint, filled as it works."""
    complaints: dict[str, Message] = {}

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            match = re.search(
                r"Tensorflow op \[([^:\]]+): \w+\] is not supported|Failed to convert node '?([^'\s]+)'?", text
            )
            if match:
                lines = text.strip().splitlines()
                complaints[match[1] or match[2]] = message(
                    "converter_refuses", "the converter refuses it: {words}", subject=match[1] or match[2],
                    words=lines[-1].strip()[:300],
                )  # fmt: skip

    logger = logging.getLogger("tf2onnx")
    listener, level, propagate = Listener(), logger.level, logger.propagate
    logger.addHandler(listener)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield complaints
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
        logger.propagate = propagate
