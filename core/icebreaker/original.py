"""A graph in plain TensorFlow: what everything is compared with. Imports TensorFlow, so it runs in workers only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from icebreaker import safety
from icebreaker.errors import IcebreakerError
from icebreaker.graph import DTYPES, V1_CONTROL_FLOW, Graph, Tensor
from icebreaker.store import Store

# Ops that hold or make variables: a graph with one of them is not frozen.
_VARIABLES = frozenset({"VariableV2", "Variable", "VarHandleOp", "VarIsInitializedOp", "ReadVariableOp"})
MAPPED = "ImmutableConst"  # the op whose value TensorFlow reads from a file
# Their values come from outside or cannot be had twice.
_DEAD = "does not have value"


def to_tensorflow(definition: Any) -> Any:
    """TensorFlow's own GraphDef message with the same content."""
    from tensorflow.core.framework.graph_pb2 import GraphDef

    return definition if isinstance(definition, GraphDef) else GraphDef.FromString(definition.SerializeToString())


def from_store(definition: Any, store: Store | None) -> Any:
    """TensorFlow's message in which constants that lie in a store are read from there, in functions too."""
    definition = to_tensorflow(definition)
    if store is None:
        return definition
    result = type(definition)()
    result.CopyFrom(definition)
    for nodes in (result.node, *(function.node_def for function in result.library.function)):
        names = set()
        for node in nodes:
            if path := store.of(node):
                tensor = node.attr["value"].tensor
                node.op = MAPPED
                node.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
                node.attr["memory_region_name"].s = str(path).encode()
                node.attr.pop("value")
                names.add(f"{node.name}:output:0")
        for node in nodes:  # a function's body spells a tensor with the op's word for it
            for slot, text in enumerate(node.input):
                if text in names:
                    node.input[slot] = text.replace(":output:", ":tensor:")
    return result


def prune(graph: Graph, outputs: Iterable[Tensor]) -> Graph:
    """The part of a graph that the outputs need, with its function library; TensorFlow's message.

    Waiting for what neither acts nor keeps state orders nothing, so such control edges go. TensorFlow's own freezing
    leaves a NoOp that waits for every weight: followed, it would keep all weights beside the engine that has them.
    """
    pure = _pure_nodes(graph)
    needed: set[str] = set()
    stack = [item.node for item in outputs]
    while stack:
        name = stack.pop()
        if name not in needed:
            needed.add(name)
            stack.extend(tensor.node for tensor in graph[name].inputs)
            stack.extend(item for item in graph[name].controls if item not in pure)
    whole = to_tensorflow(graph.definition)
    if whole is not graph.definition and len(needed) == len(graph):
        definition = whole  # ours alone: no need to copy the weights once more
    else:
        definition = type(whole)(versions=whole.versions, library=whole.library)
        definition.node.extend(node for node in whole.node if node.name in needed)
    for node in definition.node:
        if any(item.startswith("^") and item[1:] in pure for item in node.input):
            kept = [item for item in node.input if not (item.startswith("^") and item[1:] in pure)]
            del node.input[:]
            node.input.extend(kept)
    return Graph(definition, graph.store)


def inline_functions(graph: Graph) -> Graph:
    """The graph with the bodies of functions in the place of their calls, so that what is in them can go to an engine.

    A call becomes an Identity of the same name on its results; its ops are called `call/op`. Conditions and loops,
    whose functions run sometimes or often, stay. So do the engine nodes of an optimized graph, and all calls where
    the result would pass `safety.MOST_NODES`.
    """
    if not graph.definition.library.function:
        return graph
    definition = to_tensorflow(graph.definition)
    library = {function.signature.name: function for function in definition.library.function}
    called = {node.name: name for node in definition.node if (name := _called(node, library))}
    sizes = _sizes(library) if called else {}
    if not called or len(definition.node) + sum(sizes[name] for name in called.values()) > safety.MOST_NODES:
        return graph
    import tensorflow as tf

    result = type(definition)(versions=definition.versions, library=definition.library)
    taken = {node.name for node in definition.node}
    with tf.Graph().as_default():
        tf.import_graph_def(type(definition)(versions=definition.versions, library=definition.library), name="")
        for node in definition.node:
            if node.name in called:
                _inline(node, library, result, taken)
            else:
                result.node.add().CopyFrom(node)
    return Graph(result, graph.store)


def _called(node: Any, library: Mapping[str, Any]) -> str:
    """The function that a node calls once and for all; empty for any other node."""
    name = node.op  # TensorFlow 1 calls a function by its name
    if name in ("PartitionedCall", "StatefulPartitionedCall") and "_icebreaker_engine" not in node.attr:
        name = node.attr["f"].func.name
    return name if name in library and not library[name].signature.attr else ""


def _sizes(library: Mapping[str, Any]) -> Mapping[str, int]:
    """Nodes of each function with those of the functions that it calls; `safety` has seen that none calls itself."""
    sizes: dict[str, int] = {}

    def size(name: str) -> int:
        if name not in sizes:
            body = library[name].node_def
            sizes[name] = sum(1 + (size(other) if (other := _called(node, library)) else 0) for node in body)
        return sizes[name]

    for name in library:
        size(name)
    return sizes


def _inline(call: Any, library: Mapping[str, Any], result: Any, taken: set[str]) -> None:
    """Writes the body of the function that `call` calls into `result`, and an Identity in the place of the call."""
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

    function = library[_called(call, library)]
    body, flat = function_def_to_graph_def(function)
    given = [text for text in call.input if not text.startswith("^")]
    waits = [text for text in call.input if text.startswith("^")]
    arguments = dict(zip((item.name for item in function.signature.input_arg), given, strict=True))
    names: dict[str, str] = {}
    for node in body.node:
        if node.name not in arguments:
            name = f"{call.name}/{node.name}"
            while name in taken:
                name += "_"
            taken.add(name)
            names[node.name] = name

    def spelled(text: str) -> str:
        node, _, port = text.removeprefix("^").partition(":")
        if text.startswith("^"):
            return f"^{names[node]}" if node in names else f"^{arguments[node].partition(':')[0]}"
        if node in arguments:
            return arguments[node]
        return f"{names[node]}:{port}" if port not in ("", "0") else names[node]

    for node in body.node:
        if node.name in arguments:
            continue
        inputs = list(map(spelled, node.input))
        if node.op != "Const":
            inputs += [text for text in waits if text not in inputs]
        node.name = names[node.name]
        node.attr.pop("_class", None)  # colocation with nodes that have other names now
        del node.input[:]
        node.input.extend(inputs)
        if _called(node, library):
            _inline(node, library, result, taken)
        else:
            result.node.add().CopyFrom(node)
    made = result.node.add(name=call.name, device=call.device)
    types = [item.type for item in function.signature.output_arg]
    made.input.extend(spelled(flat[function.ret[item.name]]) for item in function.signature.output_arg)
    made.input.extend(dict.fromkeys(f"^{names[name]}" for name in function.control_ret.values() if name in names))
    made.op = ("NoOp", "Identity", "IdentityN")[min(len(types), 2)]
    if len(types) == 1:
        made.attr["T"].type = types[0]
    elif types:
        made.attr["T"].list.type.extend(types)


def _pure_nodes(graph: Graph) -> set[str]:
    """Nodes that only compute, from others that only compute.

    In a graph with v1 control flow these are constants and what passes them on: there, waiting for a node also tells
    whether a branch is taken, and to which loop a constant belongs.
    """
    from tensorflow.python.framework import op_def_registry

    ops = {"Const", "Identity", "IdentityN", "NoOp"}
    if V1_CONTROL_FLOW.isdisjoint(graph.op_counts):
        definitions = {op: op_def_registry.get(op) for op in graph.op_counts}
        ops |= {op for op, item in definitions.items() if item is not None and not item.is_stateful}
        ops.discard("CheckNumerics")  # it is waited for because it may fail
    found = {node.name for node in graph if node.op in ops}
    stack = [node.name for node in graph if node.name not in found]
    while stack:
        for reader in graph.consumers[stack.pop()]:
            if reader in found:
                found.remove(reader)
                stack.append(reader)
    return found


def session_config(memory_fraction: float | None = None, store: Store | None = None) -> Any:
    """A session's ConfigProto; the fraction counts only in a process whose first session it configures."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto()
    if store is not None:  # else its own folding, beside Grappler's, reads every constant in a file into memory
        config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    if memory_fraction is not None:
        config.gpu_options.per_process_gpu_memory_fraction = memory_fraction
    else:
        config.gpu_options.allow_growth = True  # TensorFlow would take it all at once, and engines need some
    return config


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Makes TensorFlow compute FP32 as such: on newer GPUs it rounds factors to TF32, 10 bits, unless told not to."""
    import tensorflow as tf

    rounds = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(rounds)


class Original:
    """A graph imported into TensorFlow, with one session on it at a time.

    Raises:
        IcebreakerError: TensorFlow refuses the graph, or it is not frozen.
    """

    def __init__(
        self, definition: Any, memory_fraction: float | None = None, *, reference: bool = False,
        store: Store | None = None,
    ) -> None:  # fmt: skip
        """Imports a GraphDef message, with constants that lie in `store`; nothing of it runs yet.

        A `reference` is what others are compared with: its `run` computes exact FP32, and TensorFlow runs the graph
        as it stands, since each new set of fetches would be optimized anew.
        """
        import tensorflow as tf

        definition = from_store(definition, store)
        for node in definition.node:
            if node.op in _VARIABLES:
                raise IcebreakerError(
                    f"node {node.name!r} is a variable, so the graph is not frozen: freeze it, or give its SavedModel"
                )
        self.graph = tf.Graph()
        try:
            with self.graph.as_default():
                tf.import_graph_def(definition, name="")
        except Exception as error:
            raise IcebreakerError(f"TensorFlow refuses the graph: {error}") from error
        self._config = session_config(memory_fraction, store)
        self._config.graph_options.rewrite_options.disable_meta_optimizer = reference
        self._reference = reference
        self._stored = str(store.folder).encode() if store else b"\0"
        self._session: Any = None

    @property
    def session(self) -> Any:
        """The session, which begins when it is needed."""
        if self._session is None:
            import tensorflow as tf

            self._session = tf.compat.v1.Session(graph=self.graph, config=self._config)
        return self._session

    def dtype(self, tensor: Tensor) -> str:
        """Its dtype's name; reference types count as what they refer to."""
        return DTYPES.get(self._get(tensor).dtype.as_datatype_enum % 100, "unknown")

    def shape(self, tensor: Tensor) -> tuple[int | None, ...] | None:
        """Its shape as TensorFlow infers it; None: even the rank is unknown."""
        shape = self._get(tensor).shape
        return None if shape.rank is None else tuple(shape.as_list())

    def output_count(self, node: str) -> int:
        """How many tensors a node gives."""
        return len(self.graph.get_operation_by_name(node).outputs)

    def is_stateful(self, node: str) -> bool:
        """True for ops with state or effects outside the graph, by TensorFlow's own registry."""
        return bool(self.graph.get_operation_by_name(node).op_def.is_stateful)

    def output_argument(self, tensor: Tensor) -> tuple[str, int]:
        """How a function's body spells a tensor: the name of the op's output argument, and the index within it."""
        operation = self.graph.get_operation_by_name(tensor.node)
        if operation.type == MAPPED and operation.get_attr("memory_region_name").startswith(self._stored):
            return "output", 0  # it is a Const to everybody else
        port = tensor.port
        for argument in operation.op_def.output_arg:
            if argument.number_attr:
                count = operation.get_attr(argument.number_attr)
            elif argument.type_list_attr:
                count = len(operation.get_attr(argument.type_list_attr))
            else:
                count = 1
            if port < count:
                return argument.name, port
            port -= count
        raise IcebreakerError(f"node {tensor.node!r} has no output {tensor.port}")

    def run(self, fetches: Sequence[Tensor], feeds: Mapping[str, Any]) -> list[np.ndarray]:
        """Runs the graph once; `feeds` by canonical tensor name."""
        wanted = [self._get(item) for item in fetches]
        given = {self._get(Tensor.parse(key)): value for key, value in feeds.items()}
        with exact_float32() if self._reference else contextlib.nullcontext():
            values = self.session.run(wanted, given)
        return [np.asarray(value) for value in values]

    def observe(self, fetches: Sequence[Tensor], feeds: Mapping[str, Any]) -> dict[Tensor, np.ndarray]:
        """Runs the graph and returns what can be had: tensors in a branch that is not taken are left out."""
        import tensorflow as tf

        wanted = list(fetches)
        if not wanted:
            return {}
        try:
            return dict(zip(wanted, self.run(wanted, feeds), strict=True))
        except tf.errors.InvalidArgumentError as error:
            if _DEAD not in str(error):
                raise
            if len(wanted) == 1:
                return {}
            middle = len(wanted) // 2
            return self.observe(wanted[:middle], feeds) | self.observe(wanted[middle:], feeds)

    def callable(self, fetches: Sequence[Tensor], feeds: Sequence[str]) -> Callable[..., list[np.ndarray]]:
        """A function of the fed values, in their order: the fastest way to call a session."""
        return self.session.make_callable(
            [self._get(item) for item in fetches], [self._get(Tensor.parse(key)) for key in feeds]
        )

    def close(self) -> None:
        """Frees the session and what its nodes hold; the graph can still be asked, and run in a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None  # only then

    def _get(self, tensor: Tensor) -> Any:
        return self.graph.get_tensor_by_name(f"{tensor.node}:{tensor.port}")
