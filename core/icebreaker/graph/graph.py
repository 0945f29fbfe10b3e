"""An immutable view of a TensorFlow graph, without TensorFlow.

Owns: names, nodes, edges, attributes as plain Python values. Refuses: reading files (`formats`), deciding what
converts (`conversion`), where things are drawn (the app's `layout`). It accepts a GraphDef message of any package
(`tensorboard.compat.proto` in the app, `tensorflow.core.framework` in the worker): the fields are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from icebreaker.errors import IcebreakerError
from icebreaker.graph.functions import function_attributes
from icebreaker.graph.ops import (
    CONTROL_FLOW,
    DTYPES,
    FEWEST_INPUTS,
    FLOATS,
    ITEM_BYTES,
    KNOWN_SCALARS,
    NEVER_OUTPUTS,
    PLACEHOLDERS,
    WEIGHT_SLOTS,
)
from icebreaker.graph.traversal import reachable
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor


@dataclass(frozen=True)
class TensorValue:
    """Dtype and shape of what a Const holds, without the content."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for dim in self.shape:
            count *= dim
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of the elements; 0 where the type has no fixed size."""
        return self.size * ITEM_BYTES.get(self.dtype, 0)


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        name: Its unique name, scopes separated by `/`.
        op: The operation's type, such as `Conv2D`.
        inputs: The tensors it reads, in order.
        controls: Names of the nodes that must run before it.
        device: The device it was placed on, usually empty.
        definition: The NodeDef message it was made from. Read it, never write it.
    """

    name: str
    op: str
    inputs: tuple[Tensor, ...]
    controls: tuple[str, ...]
    device: str = field(repr=False)
    definition: Any = field(repr=False)

    @cached_property
    def attrs(self) -> Mapping[str, Any]:
        """Attributes as plain values.

        These are bool, int, float, str, bytes, shapes as tuples (None: unknown rank), lists of those, `TensorValue`
        for tensors, `{"function": name}` for functions.
        """
        return {key: _plain(value) for key, value in self.definition.attr.items()}

    @property
    def value(self) -> TensorValue | None:
        """Of a Const: dtype and shape of what it holds."""
        return tensor_value(self.definition.attr["value"].tensor) if self.op == "Const" else None

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes that it reads or waits for; one that it reads twice is there twice."""
        return (*(tensor.node for tensor in self.inputs), *self.controls)

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the library functions that its attributes refer to."""
        return tuple(function_attributes(self.definition))


@dataclass(frozen=True)
class Placeholder:
    """An input of a graph.

    Attributes:
        name: The node's name.
        dtype: Name of its dtype, such as `float32`.
        shape: None for dimensions that are open; None altogether when even the rank is.
        optional: It has a default value, so it need not be fed.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    optional: bool = False


class Graph:
    """Nodes and edges of a GraphDef, checked on entry and never changed afterwards."""

    def __init__(self, definition: Any, store: Store | None = None) -> None:
        """Reads a GraphDef message; some of its constants may lie in `store`.

        Raises:
            IcebreakerError: A name occurs twice, an input names a node that is not there, or one is missing.
        """
        self.definition = definition
        self.store = store
        self.nodes: tuple[Node, ...] = tuple(_node(message) for message in definition.node)
        self._by_name = {node.name: node for node in self.nodes}
        self._check()

    def _check(self) -> None:
        if len(self._by_name) != len(self.nodes):
            seen: set[str] = set()
            twice = next(node.name for node in self.nodes if node.name in seen or seen.add(node.name))
            raise IcebreakerError(
                "node_repeated", "node {subject!r} occurs twice in the graph", "damaged_export_again", subject=twice
            )
        for node in self.nodes:
            if len(node.inputs) < FEWEST_INPUTS.get(node.op, 0):
                raise IcebreakerError(
                    "input_missing", "node {subject!r} ({op}) lacks an input", "export_whole_again",
                    subject=node.name, op=node.op,
                )  # fmt: skip
            for tensor in node.inputs:
                if tensor.node not in self._by_name:
                    raise _not_in_graph(node, tensor.node)
            for source in node.controls:
                if source not in self._by_name:
                    raise _not_in_graph(node, source)

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    @cached_property
    def consumers(self) -> Mapping[str, tuple[str, ...]]:
        """Node name → names of the nodes that read it or wait for it, each once, in the graph's order."""
        consumers: dict[str, dict[str, None]] = {node.name: {} for node in self.nodes}
        for node in self.nodes:
            name = node.name
            for tensor in node.inputs:
                consumers[tensor.node][name] = None
            for source in node.controls:
                consumers[source][name] = None
        return {name: tuple(readers) for name, readers in consumers.items()}

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """Names of the functions in the graph's library."""
        return tuple(function.signature.name for function in self.definition.library.function)

    @cached_property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The graph's inputs, in its order."""
        placeholders: list[Placeholder] = []
        for node in self.nodes:
            if node.op in PLACEHOLDERS:
                optional = node.op == "PlaceholderWithDefault"
                shape, dtype = node.attrs.get("shape"), node.attrs.get("dtype", "float32")
                if not isinstance(dtype, str) or not (shape is None or isinstance(shape, tuple)):
                    raise IcebreakerError(
                        "placeholder_malformed", "input {subject!r} has no proper dtype and shape",
                        "export_graph_again", subject=node.name,
                    )  # fmt: skip
                if shape == () and node.op == "Placeholder" and self.definition.versions.producer < KNOWN_SCALARS:
                    shape = None
                known = cast("tuple[int | None, ...] | None", shape)
                placeholders.append(Placeholder(node.name, dtype, known, optional))
        return tuple(placeholders)

    @cached_property
    def candidate_outputs(self) -> tuple[str, ...]:
        """Canonical names of the tensors that nothing reads and that carry data.

        Sinks that depend on a placeholder win; only a graph without any such sink offers the others. A NoOp at the
        end, which groups what should run, does not count as a reader.
        """
        groups = {node.name for node in self.nodes if node.op == "NoOp" and not self.consumers[node.name]}
        sinks = [
            node
            for node in self.nodes
            if groups.issuperset(self.consumers[node.name]) and node.op not in NEVER_OUTPUTS and not _is_handle(node)
        ]
        fed = self.descendants(placeholder.name for placeholder in self.placeholders)
        return tuple(node.name for node in sinks if node.name in fed) or tuple(node.name for node in sinks)

    @property
    def has_control_flow(self) -> bool:
        """True if a v1 (Switch, Enter …) or functional (While, If …) control flow op is in the graph or its library."""
        return any(node.op in CONTROL_FLOW for node in self.nodes) or any(
            item.op in CONTROL_FLOW for function in self.definition.library.function for item in function.node_def
        )

    @cached_property
    def op_counts(self) -> Mapping[str, int]:
        """Op type → number of nodes, the most frequent first."""
        counts: dict[str, int] = {}
        for node in self.nodes:
            counts[node.op] = counts.get(node.op, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def constant_bytes(self) -> int:
        """Bytes that the constants hold: those in functions, and in files beside the graph (ImmutableConst), too."""
        bodies = [self.definition.node, *(function.node_def for function in self.definition.library.function)]
        return sum(_constant_bytes(node) for body in bodies for node in body)

    @cached_property
    def weights(self) -> frozenset[str]:
        """The constants that nodes take as weights, directly or through Identity, and nothing else reads."""
        taken: set[str] = set()
        others: set[str] = set()
        for node in self.nodes:
            for slot, tensor in enumerate(node.inputs):
                if node.op != "Identity":
                    (taken if WEIGHT_SLOTS.get(node.op) == slot else others).add(tensor.node)

        def forwarded(name: str) -> list[str]:
            node = self._by_name[name]
            return [tensor.node for tensor in node.inputs] if node.op == "Identity" else []

        weights = set(reachable(taken, forwarded)).difference(reachable(others, forwarded))
        return frozenset(name for name in weights if (value := self._by_name[name].value) and value.dtype in FLOATS)

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """The named nodes and all that they need, over data and control edges."""
        return set(reachable(names, lambda name: self._by_name[name].sources))

    def descendants(self, names: Iterable[str]) -> set[str]:
        """The named nodes and all that depend on them, over data and control edges."""
        return set(reachable(names, self.consumers.__getitem__))

    def require(self, name: str, role: str = "node") -> Tensor:
        """Parses a tensor's or node's name and checks that the node is in the graph.

        Args:
            name: In any spelling that `Tensor.parse` understands.
            role: What it is, for the error: `output`, `input`, `node`.

        Raises:
            IcebreakerError: It is not; the text proposes the nearest names.
        """
        tensor = Tensor.parse(name)
        if tensor.node not in self._by_name:
            import difflib

            usual = [item.name for item in self.placeholders] if role == "input" else self.candidate_outputs
            near = difflib.get_close_matches(tensor.node, self._by_name, 3, 0.5) or usual[:3]
            raise IcebreakerError(
                "node_unknown", "{role} {subject!r} is not in the graph", "did_you_mean" if near else "",
                subject=name, role=role, near=tuple(near),
            )  # fmt: skip
        return tensor


def _not_in_graph(node: Node, source: str) -> IcebreakerError:
    return IcebreakerError(
        "input_not_in_graph", "node {subject!r} reads {input!r}, which is not in the graph", "export_whole_again",
        subject=node.name, input=source,
    )  # fmt: skip


def _node(message: Any) -> Node:
    """Reads a NodeDef; `^name` among its inputs is a control edge."""
    inputs: list[Tensor] = []
    controls: list[str] = []
    for text in message.input:
        if text.startswith("^"):
            controls.append(text[1:])
        elif ":" not in text:
            inputs.append(Tensor(text))
        else:
            node, _, port = text.rpartition(":")
            numbered = node and port.isascii() and port.isdigit()
            inputs.append(Tensor(node, int(port)) if numbered else Tensor(text))
    return Node(message.name, message.op, tuple(inputs), tuple(controls), message.device, message)


def _is_handle(node: Node) -> bool:
    """True for a node whose only purpose is to name a resource."""
    return node.attrs.get("dtype") in ("resource", "variant") or node.attrs.get("T") in ("resource", "variant")


def tensor_value(tensor: Any) -> TensorValue:
    """Dtype and shape of a TensorProto."""
    return TensorValue(
        DTYPES.get(tensor.dtype, f"type {tensor.dtype}"), tuple(dim.size for dim in tensor.tensor_shape.dim)
    )


def _constant_bytes(node: Any) -> int:
    if node.op == "Const":
        return tensor_value(node.attr["value"].tensor).nbytes
    if node.op == "ImmutableConst":
        shape = tuple(max(0, dim.size) for dim in node.attr["shape"].shape.dim)
        return TensorValue(DTYPES.get(node.attr["dtype"].type, ""), shape).nbytes
    return 0


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return None
        case "s":
            return _text(value.s)
        case "type":
            return DTYPES.get(value.type % 100, f"type {value.type}")
        case "shape":
            return _shape(value.shape)
        case "tensor":
            return tensor_value(value.tensor)
        case "func":
            return {"function": value.func.name}
        case "list":
            lists = value.list
            for name in ("i", "f", "b"):
                if values := getattr(lists, name):
                    return list(values)
            return (
                [_text(item) for item in lists.s]
                or [DTYPES.get(item % 100, f"type {item}") for item in lists.type]
                or [_shape(item) for item in lists.shape]
                or [tensor_value(item) for item in lists.tensor]
                or [{"function": item.name} for item in lists.func]
            )
        case _:
            return getattr(value, kind)
