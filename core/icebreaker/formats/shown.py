"""Models of other kinds as graphs that can be looked at, and nothing else: what ONNX and TensorFlow Lite share here.

Their nodes become nodes of a GraphDef, with the ops' own names, so that the graph view draws them. Each bears
`_icebreaker_shown` with what the model is, by which all that converts or runs graphs refuses it. Types and shapes stand
in `Tout` and `_output_shapes`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import tensor_value
from icebreaker.graph.ops import ITEM_BYTES
from icebreaker.graph.protos import GraphDef

SHOWN = "_icebreaker_shown"
_MOST_ITEMS = 1 << 16  # of a list among attributes: more are not shown


@dataclass(frozen=True)
class Described:
    """A tensor of a model.

    Attributes:
        key: What tells it from others.
        dtype: TensorFlow's number of its type; 0: TensorFlow has none.
        shape: -1 for open dimensions; None: the rank is open.
    """

    key: Hashable
    dtype: int = 0
    shape: Sequence[int] | None = None


@dataclass
class Drawing:
    """A graph of a model while it is drawn: its own, or that of a function.

    Attributes:
        kind: What the model is, such as `ONNX`.
        nodes: Where its NodeDef messages go.
        function: The FunctionDef whose body it is; None: the graph itself.
    """

    kind: str
    nodes: Any
    function: Any = None
    _places: dict[Hashable, str] = field(default_factory=dict)
    _reads: list[tuple[Any, Sequence[Hashable]]] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def input(self, name: str, tensor: Described) -> None:
        """Adds an input: a Placeholder, or an argument of the function."""
        if self.function is None:
            node = self.node(name, "Placeholder", (), (tensor,))
            node.attr["dtype"].type = tensor.dtype
            _write_shape(node.attr["shape"].shape, tensor.shape)
        else:
            name = self._fresh(name)
            self.function.signature.input_arg.add(name=name, type=tensor.dtype)
            self._places[tensor.key] = name

    def constant(self, name: str, tensor: Described, content: bytes | Sequence[bytes] | None) -> None:
        """Adds a Const; `content` are its bytes, or its texts, or None where they are not here."""
        node = self.node(name, "Const", (), (tensor,))
        node.attr["dtype"].type = tensor.dtype
        value = node.attr["value"].tensor
        value.dtype = tensor.dtype
        _write_shape(value.tensor_shape, tensor.shape or ())
        if content is not None and not isinstance(content, bytes):
            value.string_val.extend(content)
        elif content is not None and len(content) == (told := tensor_value(value)).size * ITEM_BYTES.get(told.dtype, 0):
            value.tensor_content = content

    def node(self, name: str, op: str, reads: Sequence[Hashable], gives: Sequence[Described]) -> Any:
        """Adds a node, and returns its message; what it reads may be given by nodes that come later."""
        node = self.nodes.add(name=self._fresh(name or op), op=op or "?")
        node.attr[SHOWN].s = self.kind.encode()
        node.attr["Tout"].list.type.extend(item.dtype for item in gives)
        node.attr["Tout"].list.SetInParent()
        place = f"{node.name}:" if self.function is None else f"{node.name}:output:"  # as a function's body spells it
        for port, item in enumerate(gives):
            self._places[item.key] = f"{place}{port}"
            _write_shape(node.attr["_output_shapes"].list.shape.add(), item.shape)
        self._reads.append((node, reads))
        return node

    def finish(self, gives: Iterable[tuple[str, Described]] = (), outside: bool = False) -> None:
        """Joins the nodes, once all are there.

        Args:
            gives: Name and tensor of each result of a function.
            outside: Nodes may read what is outside of the function, which is not drawn.

        Raises:
            IcebreakerError: A node reads what nothing gives.
        """
        for node, reads in self._reads:
            for key in reads:
                if key in self._places:
                    node.input.append(self._places[key])
                elif not outside:
                    raise IcebreakerError(
                        "tensor_from_nowhere", "node {subject!r} reads {tensor!r}, which nothing gives",
                        "damaged_export_again", subject=node.name, tensor=str(key),
                    )  # fmt: skip
        for name, tensor in gives:
            if tensor.key in self._places and name not in self.function.ret:
                self.function.signature.output_arg.add(name=name, type=tensor.dtype)
                self.function.ret[name] = self._places[tensor.key]

    def _fresh(self, name: str) -> str:
        """A name that no node has, and that does not read like a port or a control edge."""
        name = plain = re.sub(r":(?=\d+$)", "_", name.lstrip("^").strip()) or "node"
        number = 1
        while name in self._names:
            number += 1
            name = f"{plain}_{number}"
        self._names.add(name)
        return name


def write_attribute(attributes: Any, key: str, value: Any) -> None:
    """Writes a plain value, or a list of such, into a node's attributes; what is none of these is left out."""
    if isinstance(value, bool):
        attributes[key].b = value
    elif isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        attributes[key].i = value
    elif isinstance(value, float):
        attributes[key].f = value
    elif isinstance(value, str | bytes):
        attributes[key].s = value.encode() if isinstance(value, str) else value
    elif isinstance(value, list | tuple) and len(value) <= _MOST_ITEMS:
        found = attributes[key].list
        found.SetInParent()
        for item in value:
            if isinstance(item, int) and -(1 << 63) <= item < 1 << 63:
                found.i.append(item)
            elif isinstance(item, float):
                found.f.append(item)
            elif isinstance(item, str | bytes):
                found.s.append(item.encode() if isinstance(item, str) else item)


def refuse_shown(definition: Any, source: str) -> None:
    """Raises IcebreakerError if a graph is only there to be looked at."""
    kinds = {node.attr[SHOWN].s.decode("utf-8", "replace") for node in definition.node if SHOWN in node.attr}
    if kinds:
        raise IcebreakerError(
            "only_shown", "{subject} is {kind}, which is shown here, but not converted or run", "give_tensorflows_form",
            subject=source, kind=min(kinds),
        )  # fmt: skip


def new_graph(kind: str) -> tuple[Any, Drawing]:
    """A GraphDef, and the drawing of it."""
    definition = GraphDef()
    return definition, Drawing(kind, definition.node)


def new_function(definition: Any, kind: str, name: str) -> Drawing:
    """A function in a GraphDef's library, as a drawing."""
    function = definition.library.function.add()
    function.signature.name = name
    return Drawing(kind, function.node_def, function)


def _write_shape(message: Any, shape: Sequence[int] | None) -> None:
    message.SetInParent()
    message.unknown_rank = shape is None
    for size in shape or ():
        message.dim.add(size=size)
