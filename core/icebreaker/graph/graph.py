"""An immutable view of a TensorFlow graph, without TensorFlow.

Owns: names, nodes, edges, attributes as plain Python values. Refuses: reading files (`formats`), deciding what
converts (`convert`), where things are drawn (`layout`). It accepts a GraphDef message of any package
(`tensorboard.compat.proto` in the app, `tensorflow.core.framework` in the worker): the fields are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor

# DataType enum of tensorflow/core/framework/types.proto; reference types are these + 100.
DTYPES: Mapping[int, str] = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
    9: "int64", 10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16", 16: "quint16",
    17: "uint16", 18: "complex128", 19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}  # fmt: skip
ITEM_BYTES: Mapping[str, int] = {
    "float32": 4, "float64": 8, "int32": 4, "uint8": 1, "int16": 2, "int8": 1, "complex64": 8, "int64": 8, "bool": 1,
    "qint8": 1, "quint8": 1, "qint32": 4, "bfloat16": 2, "qint16": 2, "quint16": 2, "uint16": 2, "complex128": 16,
    "float16": 2, "uint32": 4, "uint64": 8, "float8_e5m2": 1, "float8_e4m3fn": 1, "int4": 1, "uint4": 1,
}  # fmt: skip

PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
# Ops that move a value on unchanged or carry none: they never count as work that an engine could do.
PASSIVE = frozenset({"Const", "Identity", "IdentityN", "Snapshot", "StopGradient", "NoOp"}) | PLACEHOLDERS
V1_CONTROL_FLOW = frozenset(
    name + suffix
    for name in ("Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond")
    for suffix in ("", "V2") if not (suffix and name != "Switch")
) | {"RefSwitch", "RefMerge", "RefEnter", "RefExit", "RefNextIteration", "_SwitchN"}  # fmt: skip
FUNCTIONAL_CONTROL_FLOW = frozenset({"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "For"})
CONTROL_FLOW = V1_CONTROL_FLOW | FUNCTIONAL_CONTROL_FLOW
_FLOATS = frozenset({"float16", "float32", "float64"})
# Op → the input in which it takes a weight: of that, only type and shape matter to whoever looks at the graph.
WEIGHT_SLOTS: Mapping[str, int] = {
    "Conv2D": 1, "DepthwiseConv2dNative": 1, "Conv3D": 1, "Conv2DBackpropInput": 1, "MatMul": 1,
    "BatchMatMulV2": 1, "GatherV2": 0,
}  # fmt: skip
# Ops whose inputs are looked at one by one: fewer make no sense.
_FEWEST_INPUTS: Mapping[str, int] = {
    "Identity": 1, "Snapshot": 1, "StopGradient": 1, "Switch": 2, "SwitchV2": 2, "RefSwitch": 2, "_SwitchN": 2,
    "Merge": 1, "RefMerge": 1, "Enter": 1, "RefEnter": 1, "Exit": 1, "RefExit": 1, "NextIteration": 1,
    "RefNextIteration": 1, "LoopCond": 1,
}  # fmt: skip
# Sinks that produce no value anybody wants as the graph's output.
_NEVER_OUTPUTS = frozenset({
    "NoOp", "Assert", "Print", "PrintV2", "Const", "SaveV2", "RestoreV2", "Save", "MakeIterator", "Iterator",
    "IteratorV2", "OneShotIterator", "IteratorToStringHandle", "IteratorFromStringHandle", "VarHandleOp",
    "AssignVariableOp", "Assign", "NextIteration", "ControlTrigger", "Abort",
}) | PLACEHOLDERS  # fmt: skip


@dataclass(frozen=True)
class TensorValue:
    """What a Const holds, told without its content."""

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
        """Attributes as plain values: bool, int, float, str, bytes, shapes as tuples (None: unknown rank), lists
        of those, `TensorValue` for tensors, `{"function": name}` for functions.
        """  # noqa: D205
        return {key: _plain(value) for key, value in self.definition.attr.items()}

    @property
    def value(self) -> TensorValue | None:
        """Of a Const: dtype and shape of what it holds."""
        return tensor_value(self.definition.attr["value"].tensor) if self.op == "Const" else None

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the library functions that its attributes refer to."""
        found = []
        for value in self.definition.attr.values():
            if value.WhichOneof("value") == "func":
                found.append(value.func.name)
            elif value.WhichOneof("value") == "list":
                found.extend(function.name for function in value.list.func)
        return tuple(found)


@dataclass(frozen=True)
class Placeholder:
    """An input of a graph. `shape` has None for unknown dimensions and is None when even the rank is unknown."""

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
        nodes = []
        for item in definition.node:
            inputs, controls = [], []
            for text in item.input:
                if text.startswith("^"):
                    controls.append(text[1:])
                else:
                    node, _, port = text.rpartition(":")
                    numbered = node and port.isascii() and port.isdigit()
                    inputs.append(Tensor(node, int(port)) if numbered else Tensor(text))
            nodes.append(Node(item.name, item.op, tuple(inputs), tuple(controls), item.device, item))
        self.nodes: tuple[Node, ...] = tuple(nodes)
        self._by_name = {node.name: node for node in nodes}
        if len(self._by_name) != len(nodes):
            seen: set[str] = set()
            twice = next(n.name for n in nodes if n.name in seen or seen.add(n.name))
            raise IcebreakerError(f"node {twice!r} occurs twice in the graph: the file is damaged, export it again")
        for node in nodes:
            if len(node.inputs) < _FEWEST_INPUTS.get(node.op, 0):
                raise IcebreakerError(f"node {node.name!r} ({node.op}) lacks an input: export the whole graph again")
            for name in (*(tensor.node for tensor in node.inputs), *node.controls):
                if name not in self._by_name:
                    raise IcebreakerError(
                        f"node {node.name!r} reads {name!r}, which is not in the graph: export the whole graph again"
                    )

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
        found: dict[str, dict[str, None]] = {node.name: {} for node in self.nodes}
        for node in self.nodes:
            for tensor in node.inputs:
                found[tensor.node][node.name] = None
            for name in node.controls:
                found[name][node.name] = None
        return {name: tuple(readers) for name, readers in found.items()}

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """Names of the functions in the graph's library."""
        return tuple(function.signature.name for function in self.definition.library.function)

    @cached_property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The graph's inputs, in its order."""
        found = []
        for node in self.nodes:
            if node.op in PLACEHOLDERS:
                optional = node.op == "PlaceholderWithDefault"
                shape, dtype = node.attrs.get("shape"), node.attrs.get("dtype", "float32")
                if not isinstance(dtype, str) or not (shape is None or isinstance(shape, tuple)):
                    raise IcebreakerError(f"input {node.name!r} has no proper dtype and shape: export the graph again")
                # Before GraphDef version 24 an empty shape meant "unknown"; a scalar input cannot be told from it.
                if shape == () and 0 < self.definition.versions.producer < 24:
                    shape = None
                found.append(Placeholder(node.name, dtype, shape, optional))
        return tuple(found)

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
            if groups.issuperset(self.consumers[node.name]) and node.op not in _NEVER_OUTPUTS and not _is_handle(node)
        ]
        fed = self.descendants(item.name for item in self.placeholders)
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
        for found in (taken, others):
            stack = list(found)
            while stack:
                node = self._by_name[stack.pop()]
                fresh = {tensor.node for tensor in node.inputs if node.op == "Identity"} - found
                found |= fresh
                stack += fresh
        weights = (self._by_name[name] for name in taken - others)
        return frozenset(node.name for node in weights if node.value is not None and node.value.dtype in _FLOATS)

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """The named nodes and all that they need, over data and control edges."""
        found: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                node = self._by_name[name]
                stack.extend(tensor.node for tensor in node.inputs)
                stack.extend(node.controls)
        return found

    def descendants(self, names: Iterable[str]) -> set[str]:
        """The named nodes and all that depend on them, over data and control edges."""
        found: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                stack.extend(self.consumers[name])
        return found

    def require(self, name: str, role: str = "node") -> Tensor:
        """Parses a name and checks that its node is in the graph.

        Raises:
            IcebreakerError: It is not; the text proposes the nearest names.
        """
        tensor = Tensor.parse(name)
        if tensor.node not in self._by_name:
            import difflib

            near = difflib.get_close_matches(tensor.node, self._by_name, 3, 0.5) or list(self.candidate_outputs[:3])
            raise IcebreakerError(
                f"{role} {name!r} is not in the graph" + (f": did you mean {', '.join(near)}?" if near else "")
            )
        return tensor


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
