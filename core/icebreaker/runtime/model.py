"""A loaded graph: call it with arrays, or use its TensorFlow session; its segments run in their engines.

A graph that is one segment calls its engine directly and never imports TensorFlow. Otherwise TensorFlow runs the
graph, and each engine node is the native op, or a `tf.numpy_function`; both hand arrays over without copying.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.engine import cuda
from icebreaker.engine.protocol import Runner
from icebreaker.errors import IcebreakerError
from icebreaker.graph import functions
from icebreaker.graph.graph import Graph, Placeholder
from icebreaker.messages import message
from icebreaker.reports import LayerTime
from icebreaker.runtime import artifact_reader
from icebreaker.runtime.call_values import InputCheck
from icebreaker.runtime.engine_node import EngineNode, EngineWarning, load_engine
from icebreaker.runtime.function_nodes import with_functions
from icebreaker.runtime.native_op import native_graph
from icebreaker.runtime.native_segment import ODD_ERRORS, refusal, refused
from icebreaker.tensors import canonical

_log = logging.getLogger(__name__)


class Outputs(dict[str, np.ndarray]):
    """Output name → array, in the graph's order; `a:0` finds what is stored under `a`."""

    def __missing__(self, name: str) -> np.ndarray:
        spelled = canonical(name)
        if spelled == name:
            raise KeyError(name)
        return self[spelled]


class Model:
    """A loaded graph: call it with arrays, or use its `session`.

    Attributes:
        inputs: The placeholders that the outputs need. Others may be given by name, too, and change nothing.
        outputs: Canonical names of its outputs.
        engines: Engine node → engine, of the segments that run in engines here.
    """

    def __init__(
        self,
        graph: Graph,
        folder: Path,
        *,
        fallback: bool = True,
        trust: bool = False,
        runners: Mapping[str, Runner] | None = None,
    ) -> None:
        """Loads the engines of `graph` (see `load`), except those whose runners (by engine node) are given."""
        self._graph = graph
        self._fallback = fallback
        self._lock = threading.Lock()
        self.nodes: dict[str, EngineNode] = {}
        for stored in artifact_reader.stored_engines(graph, folder):
            try:
                runner = (runners or {}).get(stored.node) or load_engine(stored, trust)
                node = EngineNode(graph, stored, runner, fallback)
            except (IcebreakerError, KeyError, ImportError, TypeError) as error:  # TypeError: a dtype that numpy lacks
                told = message(
                    "stored_engine_unusable", "engine {subject} ({engine}) cannot be used here: {why}",
                    subject=stored.node, engine=stored.engine,
                    why=error.message if isinstance(error, IcebreakerError) else str(error),
                )  # fmt: skip
                if not fallback:
                    raise IcebreakerError(told) from error
                replaced = message("engine_replaced", "{failure}; its segment runs in TensorFlow", failure=told)
                warnings.warn(EngineWarning(replaced), stacklevel=3)
                continue
            self.nodes[stored.node] = node
        self._graph = graph = artifact_reader.with_native(graph, self.nodes)
        tensors = artifact_reader.stored_outputs(graph)
        self._output_tensors = tensors
        needed = graph.ancestors(tensor.node for tensor in tensors)
        self.inputs: tuple[Placeholder, ...] = tuple(item for item in graph.placeholders if item.name in needed)
        self._spare = {item.name for item in graph.placeholders} - needed
        self.outputs: tuple[str, ...] = tuple(map(str, tensors))
        self.engines: Mapping[str, str] = {name: node.stored.engine for name, node in self.nodes.items()}
        self._required = {item.name: item for item in self.inputs if not item.optional}
        self._checks = {item.name: InputCheck(item) for item in self.inputs}
        self._direct = self._find_direct()

    @property
    def is_direct(self) -> bool:
        """True if a call goes straight to one engine, without TensorFlow."""
        return self._direct is not None

    def __call__(self, *arrays: Any, **named: Any) -> Outputs:
        """Runs the graph once.

        Args:
            *arrays: Values of the inputs in the order of `inputs`; or one mapping from input name to value. Tensors of
                TensorFlow that are on the GPU stay there; where `is_direct`, others with `__dlpack__` as well.
            **named: Values by input name.

        Returns:
            The outputs by name: arrays, or tensors on the GPU if the inputs were.

        Raises:
            IcebreakerError: An input is missing or unknown, a value is none of its type or of another shape, or
                TensorFlow refuses the values.
        """
        given = self._given(arrays, named)
        if given and all(map(cuda.is_on_gpu, given.values())):
            if self._direct is not None and self._direct[0].takes_device:
                node, order, ports = self._direct
                if given.keys() == set(order):
                    self._check_tensors(given)
                    results = node.on_device([given[name] for name in order])
                    return Outputs(zip(self.outputs, (results[port] for port in ports), strict=True))
            elif given.keys() == set(self._required) and all(map(_is_tensorflow, given.values())):
                results = self.function(*(given[name] for name in self._required))
                return Outputs(zip(self.outputs, results, strict=True))
        feeds = self._feeds(given)
        if self._direct is not None and len(feeds) == len(self._direct[1]):
            node, order, ports = self._direct
            values = node([feeds[name] for name in order])
            return Outputs(zip(self.outputs, (values[port] for port in ports), strict=True))
        return Outputs(zip(self.outputs, self._run(feeds), strict=True))

    def _run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Has TensorFlow run the graph."""
        import tensorflow as tf

        names = tuple(feeds)
        with self._lock:
            call = self._callables.get(names) or self._callables.setdefault(names, self._callable(names))
            words = self._refusal_of_ranks(feeds)
        if words:
            raise refused(list(feeds.values()), words)
        try:
            return call(*feeds.values())
        except (tf.errors.OpError, *ODD_ERRORS) as error:
            raise self._failure(list(feeds.values()), error) from error

    def _failure(self, values: Sequence[Any], error: Exception) -> IcebreakerError:
        """What TensorFlow ended with: the error of an engine node, which it has made words of, or its own."""
        return next(filter(None, (node.take_failure() for node in self.nodes.values())), refused(values, error))

    def _refusal_of_ranks(self, feeds: Mapping[str, np.ndarray]) -> str:
        """What TensorFlow says against the ranks of inputs whose rank the graph leaves open: its kernels may abort."""
        ranks = tuple(
            (item.name, feeds[item.name].ndim) for item in self.inputs if item.shape is None and item.name in feeds
        )
        if ranks and ranks not in self._refusals:
            from icebreaker.tf.rewrite import from_store

            whole = artifact_reader.without_payloads(from_store(self._graph.definition, self._graph.store))
            self._refusals[ranks] = refusal(whole, {name: (None,) * rank for name, rank in ranks})
        return self._refusals.get(ranks, "")

    def _check_tensors(self, given: Mapping[str, Any]) -> None:
        for name, tensor in given.items():
            self._checks[name].check_tensor(tensor)

    @cached_property
    def session(self) -> Any:
        """An ordinary `tf.compat.v1.Session` on the graph, with the segments in their engines."""
        import tensorflow as tf

        from icebreaker.tf.rewrite import from_store
        from icebreaker.tf.session import session_config

        made = with_functions(self._graph, self.outside, from_host=True)
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(from_store(made.definition, self._graph.store), name="")
        # TensorFlow holds registered functions weakly, by the graph that made them.
        graph._icebreaker_functions = made.functions  # pyright: ignore[reportAttributeAccessIssue]
        return tf.compat.v1.Session(graph=graph, config=session_config(store=self._graph.store))

    def write_native(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """Writes the graph for where there is no Python: one file for TensorFlow and Icebreaker's native library.

        Engine nodes become that library's op, with their models inside; docs/native.md says how a program runs it.
        Icebreaker itself takes such a file for a graph without engines, so keep what `convert` wrote.

        Returns:
            The engine nodes that the op runs; all others run in TensorFlow.

        Raises:
            IcebreakerError: It would pass 2 GB, or cannot be written.
        """
        from icebreaker.runtime import artifact_writer

        definition, native = native_graph(self._graph, self.outside)
        artifact_writer.write(definition, Path(path), store=self._graph.store)
        return native

    @property
    def outside(self) -> dict[str, EngineNode]:
        """The engine nodes that are none of TensorFlow's own: it calls Python for them, or the native op."""
        return {name: node for name, node in self.nodes.items() if node.stored.compiled is None}

    @property
    def graph(self) -> Graph:
        """The optimized graph as it was loaded."""
        return self._graph

    def inside(self, node: str) -> set[str]:
        """Names of the original nodes that an engine node does the work of."""
        wanted = self.nodes[node].stored.function
        return {
            item.name.removesuffix("__node")
            for function in self._graph.definition.library.function if function.signature.name == wanted
            for item in function.node_def
        }  # fmt: skip

    def layer_times(self, feeds: Mapping[str, Any], runs: int) -> dict[str, tuple[LayerTime, ...]]:
        """Engine node → what each of its layers took, for the engines that tell and that these inputs reach."""
        found: dict[str, tuple[LayerTime, ...]] = {}
        for name, node in self.nodes.items():
            if (tell := getattr(node.runner, "layer_times", None)) is None:
                continue
            try:
                found[name] = tell(self._reaching(node, feeds), runs)
            except Exception as error:  # the engine runs all the same
                _log.info("%s does not tell of its layers: %s", name, error)
        return found

    def _reaching(self, node: EngineNode, feeds: Mapping[str, Any]) -> list[np.ndarray]:
        """What an engine node reads when the graph runs on these inputs."""
        if self._direct is not None:
            given = self._feeds(feeds)
            return [given[name] for name in self._direct[1]]
        get = self.session.graph.get_tensor_by_name
        tensors = [get(f"{item.node}:{item.port}") for item in node.stored.inputs]
        return self.session.run(tensors, {get(f"{name}:0"): value for name, value in self._feeds(feeds).items()})

    @cached_property
    def function(self) -> Callable[..., list[Any]]:
        """The graph as a TensorFlow function of its required inputs, in order; gives its outputs, in order.

        Tensors that are on the GPU stay there on their way to an engine and back.
        """
        import tensorflow as tf

        from icebreaker.tf.rewrite import from_store

        made = with_functions(self._graph, self.outside)
        whole = from_store(made.definition, self._graph.store)
        # TensorFlow knows functions by name, in all graphs alike: native segments that nothing calls stay out.
        called = functions.reachable_functions(whole.node, whole.library)
        kept = [item for item in whole.library.function if item.signature.name in called]
        del whole.library.function[:]
        whole.library.function.extend(kept)
        # And another graph's segment may bear the same name.
        digest = hashlib.sha256(whole.library.SerializeToString(deterministic=True)).hexdigest()[:12]
        functions.rename_functions(whole, {name: f"{name}_{digest}" for name in called})
        wanted = [f"{item.node}:{item.port}" for item in self._output_tensors]

        def body(*tensors: Any) -> list[Any]:
            given = {f"{name}:0": tensor for name, tensor in zip(self._required, tensors, strict=True)}
            # Inside a function of somebody else's, shapes may be known only when it runs.
            given = {
                name: tensor if tensor.shape.rank is None else tf.ensure_shape(tensor, tensor.shape)
                for name, tensor in given.items()
            }
            return tf.import_graph_def(whole, input_map=given, return_elements=wanted, name="")

        specs: Any = [tf.TensorSpec(item.shape, getattr(tf, item.dtype)) for item in self._required.values()]  # pyright: ignore
        function = tf.compat.v1.wrap_function(body, specs)
        function._icebreaker_functions = made.functions  # TensorFlow holds them weakly

        def call(*tensors: Any) -> list[Any]:
            if len(tensors) != len(self._required):
                raise IcebreakerError(
                    "inputs_missing", "{given} tensors given, but the graph needs {inputs}",
                    given=len(tensors), inputs=len(self._required),
                )  # fmt: skip
            self._check_tensors(dict(zip(self._required, tensors, strict=True)))
            try:
                return function(*tensors)
            except tf.errors.OpError as error:
                raise self._failure(tensors, error) from error

        return call

    def _find_direct(self) -> tuple[EngineNode, list[str], list[int]] | None:
        if len(self.nodes) != 1:
            return None
        name, node = next(iter(self.nodes.items()))
        order = []
        for tensor in node.stored.inputs:
            source = self._graph[tensor.node]
            if source.op != "Placeholder":
                return None
            order.append(source.name)
        ports = []
        for tensor in self._output_tensors:
            source = self._graph[tensor.node]
            if source.op not in ("Identity", "IdentityN") or source.controls or tensor.port >= len(source.inputs):
                return None
            inner = source.inputs[tensor.port]
            if inner.node != name:
                return None
            ports.append(inner.port)
        return node, order, ports

    def _given(self, arrays: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """What a call was given, by input name."""
        by_name = {item.name: item for item in self.inputs}
        given: dict[str, Any] = {}
        if len(arrays) == 1 and isinstance(arrays[0], Mapping):
            given.update({canonical(str(key)): value for key, value in arrays[0].items()})
        elif len(arrays) > len(by_name):
            raise IcebreakerError(
                "too_many_values", "{given} values given, but the graph has {inputs} inputs",
                given=len(arrays), inputs=len(by_name),
            )  # fmt: skip
        else:
            given.update(zip(by_name, arrays, strict=False))
        given.update({canonical(key): value for key, value in named.items()})
        for name in self._spare.intersection(given):
            del given[name]
        if unknown := set(given) - set(by_name):
            name = sorted(unknown)[0]
            raise IcebreakerError(
                "input_unknown", "{subject!r} is no input of the graph: its inputs are {inputs}",
                subject=name, inputs=tuple(by_name) or "none",
            )  # fmt: skip
        return given

    def _feeds(self, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        by_name = {item.name: item for item in self.inputs}
        if missing := [item.name for item in self.inputs if item.name not in given and not item.optional]:
            # An input may be needed by nothing but another input's default.
            optional_given = any(item.optional and item.name in given for item in self.inputs)
            if not optional_given:
                raise IcebreakerError(
                    "input_missing", "no value given for the input {subject!r}", subject=missing[0]
                )  # fmt: skip
        return {name: self._checks[name](given[name]) for name in by_name if name in given}

    @cached_property
    def _refusals(self) -> dict[tuple[tuple[str, int], ...], str]:
        return {}

    @cached_property
    def _callables(self) -> dict[tuple[str, ...], Callable[..., list[np.ndarray]]]:
        return {}

    def _callable(self, names: tuple[str, ...]) -> Callable[..., list[np.ndarray]]:
        get = self.session.graph.get_tensor_by_name
        return self.session.make_callable(
            [get(f"{item.node}:{item.port}") for item in self._output_tensors], [get(f"{name}:0") for name in names]
        )


def _is_tensorflow(value: Any) -> bool:
    """Whether it is a tensor of TensorFlow, without importing it."""
    return type(value).__module__.partition(".")[0] == "tensorflow"
