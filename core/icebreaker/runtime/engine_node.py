"""An engine node at run time: the engine, and the original nodes for what the engine does not take."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from icebreaker.engine import registry
from icebreaker.engine.protocol import GivesWay, Runner
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.messages import Message, message
from icebreaker.runtime.artifact_reader import StoredEngine, without_payloads
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
        IcebreakerError: It is damaged, comes from elsewhere, crashed before, or does not fit this machine.
    """
    payload = stored.payload()
    if not trust and not trusted_engines.built_here(stored.sha256):
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
        self._dtypes = [numpy_type(name) for name in stored.output_dtypes]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs on arrays in the host's memory, in the order of the node's inputs; gives its outputs in their order.

        Raises:
            IcebreakerError: The engine fails, and `fallback` is False.
        """
        if not self._takes(inputs):
            shapes = ", ".join("×".join(map(str, item.shape)) or "scalar" for item in inputs)
            self._warn(message(
                "shapes_not_built_for", "it was not built for inputs of shape {shapes}", "convert_with_that_batch",
                shapes=shapes,
            ))  # fmt: skip
            return self._native(*inputs)
        try:
            outputs = self.runner(inputs)
        except IcebreakerError as error:
            if not self._fallback and not isinstance(error, GivesWay):
                raise
            self._warn(error.message)
            return self._native(*inputs)
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

    def _warn(self, why: Message) -> None:
        """Tells once why the original nodes run."""
        if not self._warned:
            self._warned = True
            told = message(
                "engine_gave_way", "engine {subject}: {why}; runs in TensorFlow", subject=self.stored.node, why=why
            )
            warnings.warn(EngineWarning(told), stacklevel=3)

    def _takes(self, inputs: Sequence[Any]) -> bool:
        """Whether the shapes are among those that the engine was exported for."""
        return all(
            shape is None
            or (len(shape) == len(item.shape) and all(w in (None, h) for w, h in zip(shape, item.shape, strict=True)))
            for shape, item in zip(self.stored.shapes, inputs, strict=True)
        )

    @cached_property
    def _native(self) -> Callable[..., list[np.ndarray]]:
        """The native segment in a session of its own, with threads of its own: it is called from inside a session."""
        import tensorflow as tf

        from icebreaker.tf.rewrite import from_store
        from icebreaker.tf.session import session_config

        whole = from_store(self._graph.definition, self._graph.store)
        definition = type(whole)(versions=whole.versions, library=whole.library)
        call = definition.node.add()
        call.CopyFrom(without_payloads(_only(whole, self.stored.node)).node[0])
        call.ClearField("input")
        names = [f"input_{index}" for index in range(len(self.stored.inputs))]
        call.input.extend(names)
        for name, number in zip(names, call.attr["Tin"].list.type, strict=True):
            definition.node.add(name=name, op="Placeholder").attr["dtype"].type = number
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(definition, name="")
        config = session_config(store=self._graph.store)
        config.use_per_session_threads = True
        session = tf.compat.v1.Session(graph=graph, config=config)
        outputs = graph.get_operation_by_name(self.stored.node).outputs
        return session.make_callable(list(outputs), [graph.get_tensor_by_name(f"{name}:0") for name in names])


def _only(whole: Any, name: str) -> Any:
    result = type(whole)()
    result.node.extend(item for item in whole.node if item.name == name)
    return result


def numpy_type(name: str) -> Any:
    """NumPy's type for one of TensorFlow's, by name; raises TypeError if NumPy has none."""
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.dtype(object if name == "string" else name)
