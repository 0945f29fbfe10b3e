"""An engine node at run time: the engine, and the original nodes for what the engine does not take."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from icebreaker.engine import registry
from icebreaker.engine.protocol import GivesWay, Runner
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.messages import Message, message
from icebreaker.runtime.artifact_reader import StoredEngine, is_function
from icebreaker.runtime.call_values import fits, numpy_type, shape_words
from icebreaker.runtime.native_segment import NativeSegment
from icebreaker.storage import crash_journal, trusted_engines


class EngineWarning(UserWarning):
    """An engine cannot be used here, and its segment runs in TensorFlow instead; `message` says why."""

    def __init__(self, message: Message) -> None:
        """Says so in plain English."""
        super().__init__(str(message))
        self.message = message


def load_engine(stored: StoredEngine, trust: bool) -> Runner:
    """Makes a stored engine runnable, its payload checked first.

    Raises:
        IcebreakerError: It is damaged, comes from elsewhere (which of a function in the graph is no matter: that is
            TensorFlow's as the rest is), crashed before, or does not fit this machine.
    """
    payload, in_graph = stored.payload(), is_function(stored.engine)
    if in_graph != (stored.compiled is not None):  # what is no part of the graph was not judged as one
        raise IcebreakerError("engine_node_damaged", "it is not as it was written", "convert_again")
    built = trusted_engines.BuiltEngine(stored.engine, stored.precision, stored.sha256)
    if not trust and not in_graph and not trusted_engines.built_here(built):
        raise IcebreakerError("engine_untrusted", "it was not built by you on this machine", "convert_here_or_trust")
    attempt = crash_journal.Attempt(
        stored.engine, crash_journal.key("load", stored.engine, stored.sha256), lasting=False
    )
    if why := crash_journal.reason(attempt):
        raise IcebreakerError("engine_crashed", "{why}", subject=stored.engine, why=why)
    with crash_journal.step(f"loading {stored.node} with {stored.engine}", [attempt]):
        return registry.get(stored.engine).load(payload, stored.precision)


class EngineNode:
    """One engine node at run time: the engine, and the native segment for what the engine does not take."""

    def __init__(self, graph: Graph, stored: StoredEngine, runner: Runner, fallback: bool) -> None:
        self.stored = stored
        self._graph = graph
        self.runner = runner
        self._fallback = fallback
        self._warned = False
        self._failure: IcebreakerError | None = None
        self._dtypes = [numpy_type(name) for name in stored.output_dtypes]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs on arrays in the host's memory, in the order of the node's inputs; gives its outputs in their order.

        Raises:
            IcebreakerError: The engine fails, and `fallback` is False; or TensorFlow refuses the values as well.
        """
        if not all(item.size for item in inputs):  # each engine has its own idea of nothing
            return self._native(inputs)
        if not self._takes(inputs):
            shapes = ", ".join(shape_words(item.shape) for item in inputs)
            return self._give_way(inputs, message(
                "shapes_not_built_for", "it was not built for inputs of shape {shapes}", "convert_with_that_batch",
                shapes=shapes,
            ))  # fmt: skip
        self._native.check_for_engine(inputs)
        try:
            outputs = self.runner(inputs)
        except IcebreakerError as error:
            if not self._fallback and not isinstance(error, GivesWay):
                raise
            return self._give_way(inputs, error.message)
        return [item.astype(dtype, copy=False) for item, dtype in zip(outputs, self._dtypes, strict=True)]

    @cached_property
    def takes_device(self) -> bool:
        """Whether the engine runs on tensors that are on the GPU; DLPack has no truth values in TensorFlow."""
        return hasattr(self.runner, "on_device") and np.dtype(bool) not in self._dtypes

    def on_device(self, inputs: Sequence[Any]) -> list[Any]:
        """Like a call, on the GPU: TensorFlow's tensors in and out, or others with `__dlpack__`."""
        import tensorflow as tf

        dlpack = tf.experimental.dlpack
        is_tensorflow = tf.is_tensor(inputs[0])
        try:
            if not self._takes(inputs):
                raise IcebreakerError("shapes_not_taken", "the engine was not built for these shapes")
            runner: Any = self.runner
            results = runner.on_device([dlpack.to_dlpack(item) if tf.is_tensor(item) else item for item in inputs])
            if is_tensorflow:  # while the GPU works
                results = [dlpack.from_dlpack(item.__dlpack__()) for item in results]
            runner.wait()
            return results
        except IcebreakerError:
            if not is_tensorflow:
                raise
            return [tf.constant(item) for item in self([item.numpy() for item in inputs])]  # which may fall back

    def inside_tensorflow(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Like a call, from TensorFlow, which makes words of an error: `take_failure` has it."""
        try:
            return self(inputs)
        except IcebreakerError as error:
            self._failure = error
            raise

    def take_failure(self) -> IcebreakerError | None:
        """What the last call inside TensorFlow failed with, once."""
        failure, self._failure = self._failure, None
        return failure

    def _give_way(self, inputs: Sequence[np.ndarray], why: Message) -> list[np.ndarray]:
        """Runs the original nodes, and tells once why; what TensorFlow refuses too is not the engine's fault."""
        results = self._native(inputs)
        if not self._warned:
            self._warned = True
            told = message(
                "engine_gave_way", "engine {subject}: {why}; runs in TensorFlow", subject=self.stored.node, why=why
            )
            warnings.warn(EngineWarning(told), stacklevel=4)
        return results

    def _takes(self, inputs: Sequence[Any]) -> bool:
        """Whether the shapes are among those that the engine was exported for."""
        return all(fits(shape, item.shape) for shape, item in zip(self.stored.shapes, inputs, strict=True))

    @cached_property
    def _native(self) -> NativeSegment:
        """The original nodes."""
        return NativeSegment(self._graph, self.stored)
