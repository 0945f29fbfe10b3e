"""Runs an optimized graph with its segments in their engines: `icebreaker.load`.

A graph that is one segment calls its engine directly and never imports TensorFlow. Otherwise TensorFlow runs the
graph, and each engine node is a `tf.numpy_function` that hands arrays over without copying.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from icebreaker.engines import cuda, protocol, registry
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph import external_weights, functions
from icebreaker.graph.graph import Graph, Placeholder
from icebreaker.graph.ops import PLACEHOLDERS
from icebreaker.runtime import artifact
from icebreaker.runtime.artifact import StoredEngine
from icebreaker.storage import crash_journal, trusted_engines
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import canonical

_log = logging.getLogger(__name__)


class Outputs(dict[str, np.ndarray]):
    """Output name → array, in the graph's order; `a:0` finds what is stored under `a`."""

    def __missing__(self, name: str) -> np.ndarray:
        spelled = canonical(name)
        if spelled == name:
            raise KeyError(name)
        return self[spelled]


class EngineWarning(UserWarning):
    """An engine cannot be used here, and its segment runs in TensorFlow instead."""


def load(path: str | os.PathLike[str], *, fallback: bool = True, trust: bool = False) -> Model:
    """Loads an optimized graph (any frozen graph will do) and its engines.

    Args:
        path: The graph's file; side files are looked for beside it.
        fallback: What to do with an engine that does not fit this machine: run its segment in TensorFlow and warn
            once, or (False) raise.
        trust: Load also engines that were not built by this user on this machine. They go to native code: TensorRT's
            are code for the GPU that nothing checks, others meet an engine's parser.

    Raises:
        IcebreakerError: The file is no graph; or an engine does not fit and `fallback` is False.
    """
    path = Path(path)
    return Model(read(path), path.absolute().parent, fallback=fallback, trust=trust)


def read(path: Path, allow_side_effects: bool = False, store: Store | None = None) -> Graph:
    """The graph in a file; engine nodes that were live as it was written are calls again. Errors as `formats`.

    Weights of more than protobuf holds go to `store`.
    """
    graph = graph_files.read_graph(path, allow_side_effects, store, external_weights.MOST_BYTES)
    definition = artifact.portable(graph.definition)
    return graph if definition is graph.definition else Graph(definition, graph.store)


_living: list[Any] = []


def keep_alive(graph: Any) -> None:
    """Keeps a graph, and the functions that its nodes call, until the process ends: TensorFlow holds them weakly."""
    _living.append(graph)


def live(definition: Any, runners: Mapping[str, protocol.Runner] | None = None) -> Any:
    """A portable optimized graph (TensorFlow's GraphDef) whose engine nodes run their engines in this process.

    Imported with `tf.import_graph_def` and run in any session, it uses the engines. Nodes carry their payload and the
    name of their native segment, so that `artifact.portable` leads back. The engines stay in memory until the process
    ends. An engine that does not fit this machine stays a call of its native segment, with a warning.

    Args:
        definition: What `artifact.assemble` made.
        runners: Engine node → what runs it, where that is loaded already.
    """
    graph = Graph(definition)
    model = Model(graph, Path(), runners=runners)
    made = _with_functions(graph, model._nodes, from_host=True)
    keep_alive(made.functions)
    artifact.copy_private(definition, made.graph)
    for node in made.graph.node:
        if node.name in model._nodes:
            node.attr["_icebreaker_function"].s = model._nodes[node.name].stored.function.encode()
    return made.graph


def _load_engine(stored: StoredEngine, trust: bool) -> protocol.Runner:
    """Makes a stored engine runnable, its payload checked first.

    Raises:
        IcebreakerError: It is damaged, comes from elsewhere, crashed before, or does not fit this machine.
    """
    payload = stored.payload()
    if not trust and not trusted_engines.built_here(stored.sha256):
        raise IcebreakerError(
            "it was not built by you on this machine: convert the graph here, or, if you trust where it comes from, "
            "load it with trust=True (--trust-engines)"
        )
    attempt = crash_journal.Attempt(
        stored.engine, crash_journal.key("load", stored.engine, stored.sha256), lasting=False
    )
    if why := crash_journal.reason(attempt):
        raise IcebreakerError(why)
    with crash_journal.step(f"loading {stored.node} with {stored.engine}", [attempt]):
        return registry.get(stored.engine).load(payload, stored.precision)


class Model:
    """A loaded graph: call it with arrays, or use its `session`.

    Attributes:
        inputs: The graph's placeholders.
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
        runners: Mapping[str, protocol.Runner] | None = None,
    ) -> None:
        """Loads the engines of `graph` (see `load`), except those whose runners (by engine node) are given."""
        self._graph = graph
        self._fallback = fallback
        self._lock = threading.Lock()
        self._nodes: dict[str, _EngineNode] = {}
        for stored in artifact.stored_engines(graph, folder):
            try:
                runner = (runners or {}).get(stored.node) or _load_engine(stored, trust)
                node = _EngineNode(graph, stored, runner, fallback)
            except (IcebreakerError, KeyError, ImportError, TypeError) as error:  # TypeError: a dtype that numpy lacks
                text = f"engine {stored.node} ({stored.engine}) cannot be used here: {error}"
                if not fallback:
                    raise IcebreakerError(text) from error
                warnings.warn(f"{text}; its segment runs in TensorFlow", EngineWarning, stacklevel=3)
                continue
            self._nodes[stored.node] = node
        tensors = artifact.stored_outputs(graph)
        self._output_tensors = tensors
        self.inputs: tuple[Placeholder, ...] = graph.placeholders
        self.outputs: tuple[str, ...] = tuple(map(str, tensors))
        self.engines: Mapping[str, str] = {name: node.stored.engine for name, node in self._nodes.items()}
        self._required = {item.name: item for item in self.inputs if not item.optional}
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
            IcebreakerError: An input is missing or unknown.
        """
        given = self._given(arrays, named)
        if given and all(map(cuda.is_on_gpu, given.values())):
            if self._direct is not None and self._direct[0].takes_device:
                node, order, ports = self._direct
                if given.keys() == set(order):
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
        names = tuple(feeds)
        with self._lock:
            call = self._callables.get(names) or self._callables.setdefault(names, self._callable(names))
        return Outputs(zip(self.outputs, call(*feeds.values()), strict=True))

    @cached_property
    def session(self) -> Any:
        """An ordinary `tf.compat.v1.Session` on the graph, with the segments in their engines."""
        import tensorflow as tf

        from icebreaker.tf.rewrite import from_store
        from icebreaker.tf.session import session_config

        definition = _with_functions(self._graph, self._nodes, from_host=True)
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(from_store(definition.graph, self._graph.store), name="")
        # TensorFlow holds registered functions weakly, by the graph that made them.
        graph._icebreaker_functions = definition.functions  # pyright: ignore[reportAttributeAccessIssue]
        return tf.compat.v1.Session(graph=graph, config=session_config(store=self._graph.store))

    @property
    def graph(self) -> Graph:
        """The optimized graph as it was loaded."""
        return self._graph

    def inside(self, node: str) -> set[str]:
        """Names of the original nodes that an engine node does the work of."""
        wanted = self._nodes[node].stored.function
        return {
            item.name.removesuffix("__node")
            for function in self._graph.definition.library.function if function.signature.name == wanted
            for item in function.node_def
        }  # fmt: skip

    def layer_times(self, feeds: Mapping[str, Any], runs: int) -> dict[str, Sequence[Mapping[str, Any]]]:
        """Engine node → its layers with their `ms`, for the engines that tell and that these inputs reach."""
        found = {}
        for name, node in self._nodes.items():
            if (tell := getattr(node.runner, "layer_times", None)) is None:
                continue
            try:
                found[name] = tell(self._reaching(node, feeds), runs)
            except Exception as error:  # the engine runs all the same
                _log.info("%s does not tell of its layers: %s", name, error)
        return found

    def _reaching(self, node: _EngineNode, feeds: Mapping[str, Any]) -> list[np.ndarray]:
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

        definition = _with_functions(self._graph, self._nodes)
        whole = from_store(definition.graph, self._graph.store)
        # TensorFlow knows functions by name, in all graphs alike: native segments that nothing calls stay out.
        called = functions.reachable_functions(whole.node, whole.library)
        kept = [item for item in whole.library.function if item.signature.name in called]
        del whole.library.function[:]
        whole.library.function.extend(kept)
        wanted = [f"{item.node}:{item.port}" for item in self._output_tensors]

        def body(*tensors: Any) -> list[Any]:
            given = {f"{name}:0": tensor for name, tensor in zip(self._required, tensors, strict=True)}
            return tf.import_graph_def(whole, input_map=given, return_elements=wanted, name="")

        specs: Any = [tf.TensorSpec(item.shape, getattr(tf, item.dtype)) for item in self._required.values()]  # pyright: ignore
        function = tf.compat.v1.wrap_function(body, specs)
        function._icebreaker_functions = definition.functions  # TensorFlow holds them weakly
        return function

    def _find_direct(self) -> tuple[_EngineNode, list[str], list[int]] | None:
        if len(self._nodes) != 1:
            return None
        name, node = next(iter(self._nodes.items()))
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
            given.update({canonical(key): value for key, value in arrays[0].items()})
        elif len(arrays) > len(by_name):
            raise IcebreakerError(f"{len(arrays)} values given, but the graph has {len(by_name)} inputs")
        else:
            given.update(zip(by_name, arrays, strict=False))
        given.update({canonical(key): value for key, value in named.items()})
        if unknown := set(given) - set(by_name):
            name = sorted(unknown)[0]
            raise IcebreakerError(f"{name!r} is no input of the graph: its inputs are {', '.join(by_name) or 'none'}")
        return given

    def _feeds(self, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        by_name = {item.name: item for item in self.inputs}
        if missing := [item.name for item in self.inputs if item.name not in given and not item.optional]:
            # An input may be needed by nothing but another input's default.
            optional_given = any(item.optional and item.name in given for item in self.inputs)
            if not optional_given:
                raise IcebreakerError(f"no value given for the input {missing[0]!r}")
        return {
            name: np.asarray(given[name], object if item.dtype == "string" else _numpy_type(item.dtype))
            for name, item in by_name.items()
            if name in given
        }

    @cached_property
    def _callables(self) -> dict[tuple[str, ...], Callable[..., list[np.ndarray]]]:
        return {}

    def _callable(self, names: tuple[str, ...]) -> Callable[..., list[np.ndarray]]:
        get = self.session.graph.get_tensor_by_name
        return self.session.make_callable(
            [get(f"{item.node}:{item.port}") for item in self._output_tensors], [get(f"{name}:0") for name in names]
        )


class _EngineNode:
    """One engine node at run time: the engine, and the native segment for what the engine does not take."""

    def __init__(self, graph: Graph, stored: StoredEngine, runner: protocol.Runner, fallback: bool) -> None:
        self.stored = stored
        self._graph = graph
        self.runner = runner
        self._fallback = fallback
        self._warned = False
        self._dtypes = [_numpy_type(name) for name in stored.output_dtypes]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        if not self._takes(inputs):
            shapes = ", ".join("×".join(map(str, item.shape)) or "scalar" for item in inputs)
            self._warn(f"it was not built for inputs of shape {shapes}: convert with that batch")
            return self._native(*inputs)
        try:
            outputs = self.runner(inputs)
        except IcebreakerError as error:
            if not self._fallback:
                raise
            self._warn(str(error))
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
                raise IcebreakerError("the engine was not built for these shapes")
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

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"engine {self.stored.node}: {text}; runs in TensorFlow", EngineWarning, stacklevel=3)

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
        call.CopyFrom(artifact.without_payloads(_only(whole, self.stored.node)).node[0])
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


class _Rewritten:
    def __init__(self, graph: Any, functions: Any) -> None:
        self.graph = graph
        self.functions = functions


def _with_functions(graph: Graph, nodes: Mapping[str, _EngineNode], *, from_host: bool = False) -> _Rewritten:
    """The graph with the engine nodes turned into Python functions; public API only: TensorFlow makes the nodes.

    On a GPU, tensors stay there on their way to an engine and back; but what a caller hands over `from_host` the engine
    copies itself, which costs less than TensorFlow's way.
    """
    import tensorflow as tf

    from icebreaker.tf.rewrite import to_tensorflow

    whole = artifact.without_payloads(to_tensorflow(graph.definition))
    scratch = tf.Graph()
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    with scratch.as_default():
        for name, node in nodes.items():
            tin = [getattr(tf, dtype) for dtype in graph[name].attrs["Tin"]] if node.stored.inputs else []
            tout = [getattr(tf, dtype) for dtype in node.stored.output_dtypes]

            def run(*inputs: np.ndarray, _node: _EngineNode = node) -> list[np.ndarray]:
                return _node([np.asarray(value) for value in inputs])  # scalars come as numpy scalars

            placeholders = [tf.compat.v1.placeholder(dtype) for dtype in tin]
            fed = from_host and all(graph[tensor.node].op in PLACEHOLDERS for tensor in graph[name].inputs)
            if on_gpu and node.takes_device and tf.bool not in tin and tin and not fed:
                with tf.device("/GPU:0"):
                    tf.py_function(lambda *tensors, _node=node: _node.on_device(tensors), placeholders, tout, name=name)
            else:
                tf.numpy_function(run, placeholders, tout, stateful=False, name=name)
    made = {item.name: item for item in scratch.as_graph_def().node}
    result = type(whole)(versions=whole.versions, library=whole.library)
    for item in whole.node:
        copy = result.node.add()
        copy.CopyFrom(made.get(item.name, item) if item.name in nodes else item)
        copy.ClearField("input")
        copy.input.extend(item.input)
    return _Rewritten(result, scratch)


def _is_tensorflow(value: Any) -> bool:
    """Whether it is a tensor of TensorFlow, without importing it."""
    return type(value).__module__.partition(".")[0] == "tensorflow"


def _only(whole: Any, name: str) -> Any:
    result = type(whole)()
    result.node.extend(item for item in whole.node if item.name == name)
    return result


def _numpy_type(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.dtype(object if name == "string" else name)
