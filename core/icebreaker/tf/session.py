"""A graph in plain TensorFlow: what everything is compared with. Imports TensorFlow, so it runs in workers only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.graph.external_weights import MAPPED
from icebreaker.graph.ops import DTYPES
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import from_store

# Ops that hold or make variables: a graph with one of them is not frozen.
_VARIABLES = frozenset({"VariableV2", "Variable", "VarHandleOp", "VarIsInitializedOp", "ReadVariableOp"})
# What TensorFlow says of a fetched tensor in a branch that was not taken.
_DEAD = "does not have value"


def session_config(memory_fraction: float | None = None, store: Store | None = None) -> Any:
    """A session's ConfigProto; the fraction counts only in a process whose first session it configures."""
    import tensorflow as tf

    # Nodes may be pinned to a device of the machine that they were exported on.
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
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


class GraphSession:
    """A graph imported into TensorFlow, with one session on it at a time.

    Attributes:
        graph: The `tf.Graph`.
    """

    def __init__(
        self, definition: Any, memory_fraction: float | None = None, *, reference: bool = False,
        store: Store | None = None,
    ) -> None:  # fmt: skip
        """Imports a graph; nothing of it runs yet.

        Args:
            definition: A GraphDef message.
            memory_fraction: TensorFlow's share of the GPU's memory, 0 to 1; None: it takes what it wants.
            reference: It is what others are compared with: `run` computes exact FP32, and TensorFlow runs the graph as
                it stands, since each new set of fetches would be optimized anew.
            store: Where the contents of some of its constants are.

        Raises:
            IcebreakerError: TensorFlow refuses the graph, or it is not frozen.
        """
        import tensorflow as tf

        definition = from_store(definition, store)
        for node in definition.node:
            if node.op in _VARIABLES:
                raise IcebreakerError(
                    "not_frozen", "node {subject!r} is a variable, so the graph is not frozen", "freeze_or_saved_model",
                    subject=node.name,
                )  # fmt: skip
        self.graph = tf.Graph()
        try:
            with self.graph.as_default():
                tf.import_graph_def(definition, name="")
        except Exception as error:
            raise IcebreakerError(
                "graph_refused", "TensorFlow refuses the graph: {reason}", reason=str(error)
            ) from error
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
        raise IcebreakerError(
            "output_missing", "node {subject!r} has no output {port}", subject=tensor.node, port=tensor.port
        )

    def run(
        self, fetches: Sequence[Tensor], feeds: Mapping[str, Any], seconds: float | None = None
    ) -> list[np.ndarray]:
        """Runs the graph once.

        Args:
            fetches: What to compute.
            feeds: Canonical tensor name → its value.
            seconds: How long it may take; TensorFlow raises if it takes longer.

        Returns:
            The values of the fetches, in their order.
        """
        wanted = [self._get(tensor) for tensor in fetches]
        given = {self._get(Tensor.parse(key)): value for key, value in feeds.items()}
        options = None
        if seconds is not None:
            import tensorflow as tf

            options = tf.compat.v1.RunOptions(timeout_in_ms=int(seconds * 1000))
        with exact_float32() if self._reference else contextlib.nullcontext():
            values = self.session.run(wanted, given, options)
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
            [self._get(tensor) for tensor in fetches], [self._get(Tensor.parse(key)) for key in feeds]
        )

    def close(self) -> None:
        """Frees the session and what its nodes hold; the graph can still be asked, and run in a new one."""
        if self._session is not None:
            self._session.close()
            self._session = None  # only then

    def _get(self, tensor: Tensor) -> Any:
        return self.graph.get_tensor_by_name(f"{tensor.node}:{tensor.port}")
