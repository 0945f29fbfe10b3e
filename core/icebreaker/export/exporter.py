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
from icebreaker.export.weights import attach, groups, weights_as_placeholders, with_weights, without_weights
from icebreaker.messages import Message, message
from icebreaker.storage.weight_store import Store, give_memory_back
from icebreaker.tensors import Tensor
from icebreaker.tf.folding import folded as folded_graph
from icebreaker.tf.rewrite import from_store

os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")  # else every optimizer pass deep-copies the graph

OPSET = 18
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

_WHOLE = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
# Op → the types of its first input in which tf2onnx computes it in floats, which have not all of their numbers.
IN_FLOATS: Mapping[str, frozenset[str]] = {
    "Einsum": _WHOLE, **dict.fromkeys(("MaxPool", "MaxPoolV2"), _WHOLE - {"int8", "int16", "uint8", "uint16"})
}  # fmt: skip


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
    from tf2onnx import tf_loader, tf_utils  # pyright: ignore[reportMissingImports]

    # It would make FLOAT16 of bfloat16, which ends at 65504; float32 holds all its values.
    tf_utils.TF_TO_ONNX_DTYPE[tf.bfloat16.as_datatype_enum] = onnx.TensorProto.FLOAT
    input_names = [f"{item.node}:{item.port}" for item in inputs]
    output_names = [f"{item.node}:{item.port}" for item in outputs]
    aside: dict[str, np.ndarray] = {}
    if folds:
        folded, store = without_weights(segment, aside, store), None
        for names in groups(aside):
            given = with_weights(folded, {name: aside.pop(name) for name in names})
            folded = without_weights(folded_graph(given, input_names, output_names), aside)
            give_memory_back()
    else:
        folded = folded_graph(from_store(without_weights(segment, aside), store), input_names, output_names)
    slim, weights = weights_as_placeholders(folded, aside)
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
        _check(model)  # before the weights come back: it copies the model
    except onnx.checker.ValidationError as error:
        raise Refused(_blame(segment, str(error), {})) from error
    try:
        attach(model, weights, store)
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


def _check(model: Any) -> None:
    """Raises ValidationError if the model is none. ONNX demands shapes that engines do without: of unknown rank."""
    import onnx

    parts = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    kinds = [item.type.tensor_type for item in parts if not item.type.tensor_type.HasField("shape")]
    for kind in kinds:
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    finally:
        for kind in kinds:
            kind.ClearField("shape")


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
            raised = record.exc_info[1] if record.exc_info else None
            if match and isinstance(raised, IcebreakerError):  # a converter of our own has words
                complaints[match[1] or match[2]] = raised.message
            elif match:
                words = str(raised) if raised is not None else text.strip().splitlines()[-1].strip()
                complaints[match[1] or match[2]] = message(
                    "converter_refuses", "the converter refuses it: {words}", subject=match[1] or match[2],
                    words=words[:300],
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
