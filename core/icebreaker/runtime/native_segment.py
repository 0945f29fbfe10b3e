"""The original nodes of a segment, for what its engine does not take: shapes that TensorFlow refuses are refused first.

Inside a function TensorFlow's kernels meet whatever comes, and some end the process over a shape of another rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph, tensor_value
from icebreaker.runtime.artifact_reader import PREFIX, StoredEngine, call_native
from icebreaker.runtime.call_values import shape_words

Shape = tuple[int | None, ...]
_MOST_CONSTANT_BYTES = 1 << 14  # those that decide shapes are small
_MOST_WORDS = 300
_MOST_SHAPES = 1000  # that are remembered
# What calling a session may raise beside `tf.errors.OpError`.
ODD_ERRORS = (TypeError, ValueError, RuntimeError)


# What TensorFlow demands of the shapes that these ops read is more than ONNX does, which stretches what has the size 1.
_DEMANDING = frozenset({"AddN", "ApproximateEqual", "BatchMatMul", "ClipByValue", "Einsum", "Select"})
_DEMANDING_OF_CHANNELS = frozenset({
    "BiasAdd", "BiasAddV1", "FakeQuantWithMinMaxVarsPerChannel", "FusedBatchNorm", "FusedBatchNormV2",
    "FusedBatchNormV3",
})  # fmt: skip


class NativeSegment:
    """A segment in TensorFlow: what its shape inference says of it, and a session to run it in."""

    def __init__(self, graph: Graph, stored: StoredEngine) -> None:
        """Loads nothing yet."""
        self._graph, self._stored = graph, stored
        self._refusals: dict[tuple[Shape, ...], str] = {}  # shapes → TensorFlow's words; empty: it takes them

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs it once.

        Raises:
            IcebreakerError: TensorFlow refuses the values.
        """
        import tensorflow as tf

        # The batch is left open: it decides no rank, and kernels check sizes.
        self._check(inputs, [(None, *item.shape[1:]) if item.ndim else () for item in inputs])
        try:
            return self._call(*inputs)
        except (tf.errors.OpError, *ODD_ERRORS) as error:
            raise refused(inputs, error) from error

    def check_for_engine(self, inputs: Sequence[np.ndarray]) -> None:
        """Refuses the shapes that TensorFlow would refuse, and an engine might not.

        Raises:
            IcebreakerError: TensorFlow's shape inference refuses them.
        """
        if self._engine_is_lenient:
            self._check(inputs, [item.shape for item in inputs])

    @cached_property
    def _function(self) -> Any:
        library = self._graph.definition.library.function
        return next(item for item in library if item.signature.name == self._stored.function)

    @cached_property
    def _engine_is_lenient(self) -> bool:
        ops = {node.op for node in self._function.node_def}
        shapes = [shape for shape in self._stored.shapes if shape is None or None in shape]
        has_open_channels = any(
            shape is None or (len(shape) > 1 and None in (shape[-1], *shape[1:2])) for shape in shapes
        )
        return bool(shapes) and not (
            ops.isdisjoint(_DEMANDING) and (not has_open_channels or ops.isdisjoint(_DEMANDING_OF_CHANNELS))
        )

    def _check(self, inputs: Sequence[np.ndarray], shapes: Sequence[Shape]) -> None:
        key = tuple(shapes)
        if key not in self._refusals:
            if len(self._refusals) >= _MOST_SHAPES:
                self._refusals.clear()
            self._refusals[key] = self._inferred(shapes)
        if words := self._refusals.get(key):
            raise refused(inputs, words)

    @cached_property
    def _whole(self) -> Any:
        from icebreaker.tf.rewrite import from_store

        return from_store(self._graph.definition, self._graph.store)

    @cached_property
    def _call(self) -> Callable[..., list[np.ndarray]]:
        """A session of its own, with threads of its own: it is called from inside a session."""
        import tensorflow as tf

        from icebreaker.tf.session import session_config

        whole, stored = self._whole, self._stored
        definition = type(whole)(versions=whole.versions, library=whole.library)
        call = definition.node.add()
        call.CopyFrom(_only(whole, stored.node).node[0])
        call_native(call)
        for key in [key for key in call.attr if key.startswith(PREFIX)]:
            del call.attr[key]
        call.ClearField("input")
        names = [f"input_{index}" for index in range(len(stored.inputs))]
        call.input.extend(names)
        for name, number in zip(names, call.attr["Tin"].list.type, strict=True):
            definition.node.add(name=name, op="Placeholder").attr["dtype"].type = number
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(definition, name="")
        config = session_config(store=self._graph.store)
        config.use_per_session_threads = True
        session = tf.compat.v1.Session(graph=graph, config=config)
        outputs = graph.get_operation_by_name(stored.node).outputs
        return session.make_callable(list(outputs), [graph.get_tensor_by_name(f"{name}:0") for name in names])

    def _inferred(self, shapes: Sequence[Shape]) -> str:
        """Why TensorFlow's shape inference refuses the segment with these inputs; empty if it does not."""
        import tensorflow as tf
        from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

        whole = self._whole
        function = next(item for item in whole.library.function if item.signature.name == self._stored.function)
        with tf.Graph().as_default():
            tf.import_graph_def(type(whole)(versions=whole.versions, library=whole.library), name="")
            body, _ = function_def_to_graph_def(function)
        arguments = (item.name for item in function.signature.input_arg)
        return refusal(body, dict(zip(arguments, shapes, strict=True)))


def refusal(definition: Any, shapes: Mapping[str, Shape]) -> str:
    """Why TensorFlow refuses a graph when its inputs have these shapes; empty if it does not.

    Args:
        definition: TensorFlow's GraphDef.
        shapes: Placeholder → its shape; None where a dimension is not known.
    """
    import tensorflow as tf

    light = type(definition)(versions=definition.versions, library=definition.library)
    for node in definition.node:
        copy = light.node.add()
        if node.name in shapes:
            copy.MergeFrom(type(copy)(name=node.name, op="Placeholder"))
            copy.attr["dtype"].CopyFrom(node.attr["dtype"])
            shape = copy.attr["shape"].shape
            shape.SetInParent()
            for dim in shapes[node.name]:
                shape.dim.add(size=-1 if dim is None else dim)
        elif node.op == "Const" and tensor_value(node.attr["value"].tensor).nbytes > _MOST_CONSTANT_BYTES:
            copy.MergeFrom(type(copy)(name=node.name, op="Placeholder", input=node.input))
            copy.attr["dtype"].CopyFrom(node.attr["dtype"])
            copy.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
        else:
            copy.CopyFrom(node)
    try:
        with tf.Graph().as_default():
            tf.import_graph_def(light, name="")
    except ValueError as error:
        return str(error)
    return ""


def refused(inputs: Sequence[Any], why: Any) -> IcebreakerError:
    """The error for values that TensorFlow refuses: in its words, or as it raised them."""
    # Before what is wrong TensorFlow may say where, in lines of its own; behind it, at which nodes.
    said = str(getattr(why, "message", why)).partition("[[{{")[0].strip().rpartition("\n")[2][:_MOST_WORDS]
    return IcebreakerError(
        "values_refused", "TensorFlow refuses inputs of shape {shapes}: {words}",
        shapes=tuple(shape_words(item.shape) for item in inputs), words=said,
    )  # fmt: skip


def _only(whole: Any, name: str) -> Any:
    result = type(whole)()
    result.node.extend(item for item in whole.node if item.name == name)
    return result
