"""Finds the loops of a graph that are recurrent networks: what runs over all steps of a sequence, and nothing else.

Keras and TensorFlow 2 write them as one While with lists: of the steps that are read, of the outputs that are written.
Owns: what counts as such a loop. Refuses: the equations in it (`cells`), how it is exported (`stand_ins`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from icebreaker.export.constants import constant, evaluated
from icebreaker.export.recurrent.cells import Cell, CellFinder, Leaf
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import FORWARDING
from icebreaker.tensors import Tensor

Shape = tuple[int | None, ...]
_WHILES = frozenset({"While", "StatelessWhile"})
_LISTS = frozenset({"TensorListFromTensor", "TensorListReserve", "TensorListStack"})
# What gives a tensor with as many rows as it reads.
_KEEP_ROWS = frozenset({"Identity", "ReverseV2", "Relu", "Cast", "StopGradient"})


@dataclass(frozen=True)
class Recurrence:
    """A loop that is a recurrent network, in the graph that it is in.

    Attributes:
        name: The While node.
        cell: Its equations.
        sequence: The tensor with all steps, the time first.
        initial: The states before the first step, in the order of the cell's.
        lists: Nodes that only it needs: they make the lists that it reads.
        stacks: Nodes that give a list that it wrote as a tensor → whether that has all steps, or just the last.
        finals: Output port → which of the cell's states it gives at the end.
    """

    name: str
    cell: Cell
    sequence: Tensor
    initial: tuple[Tensor, ...]
    lists: tuple[str, ...]
    stacks: Mapping[str, bool]
    finals: Mapping[int, int]

    @property
    def nodes(self) -> frozenset[str]:
        """All nodes that it is made of."""
        return frozenset((self.name, *self.lists, *self.stacks))


def find_recurrences(graph: Graph, shape: Callable[[Tensor], Shape | None]) -> dict[str, Recurrence]:
    """The loops of a graph that are recurrent networks, by the name of the While.

    Args:
        graph: The graph, in TensorFlow's message.
        shape: A tensor's shape as TensorFlow infers it.
    """
    found = {}
    for node in graph:
        if node.op in _WHILES:
            try:
                found[node.name] = _Loop(graph, node.name, shape).recurrence()
            except _Other:
                continue
    return found


class _Other(Exception):
    """A loop that is no recurrent network, or one of another kind."""


class _Loop:
    """One While node and its functions."""

    def __init__(self, graph: Graph, name: str, shape: Callable[[Tensor], Shape | None]) -> None:
        self._graph, self._node, self._shape = graph, graph[name], shape
        library = {function.signature.name: function for function in graph.definition.library.function}
        functions = [library.get((self._node.attrs.get(key) or {}).get("function")) for key in ("body", "cond")]
        if None in functions:
            raise _Other
        self.body, self.arguments, self.results = _body(functions[0], graph.definition)
        self.cond, self.limits, self.test = _body(functions[1], graph.definition)
        if len(self.arguments) != len(self._node.inputs) or len(self.results) != len(self.arguments):
            raise _Other
        self.places = {name: index for index, name in enumerate(self.arguments)}

    def recurrence(self) -> Recurrence:
        """The network.

        Raises:
            _Other: It is none.
        """
        reads, writes, states = self._read_lists, {}, {}
        for index, result in enumerate(self.results):
            if index in self._fixed or index in self._counters:
                continue
            writer = self.body[result.node]
            if writer.op == "TensorListSetItem":
                writes[index] = writer
            else:
                states[index] = result
        if len(set(reads.values())) != 1:
            raise _Other
        finder = CellFinder(self.body, self._leaf, self._constant)
        cell = finder.find(states)
        if cell is None or set(cell.states) != set(states):
            raise _Other
        (source,) = set(reads.values())
        sequence = self._graph[self._outer(source).node].inputs[0]
        self._check_steps(sequence)
        h = self.results[cell.states[0]]
        whole = {index: self._check_written(writer, h, sequence) for index, writer in writes.items()}
        stacks: dict[str, bool] = {}
        finals: dict[int, int] = {}
        for tensor, reader in self._readers():
            if tensor.port in whole and reader.op == "TensorListStack":
                stacks[reader.name] = whole[tensor.port]
            elif tensor.port in states:
                finals[tensor.port] = cell.states.index(tensor.port)
            else:
                raise _Other
        lists = [self._outer(index).node for index in (source, *whole)]
        for name in lists:
            if self._graph.consumers[name] != (self._node.name,):
                raise _Other
        initial = tuple(self._node.inputs[index] for index in cell.states)
        self._check_ranks(sequence, initial)
        return Recurrence(self._node.name, cell, sequence, initial, tuple(lists), stacks, finals)

    @cached_property
    def _fixed(self) -> frozenset[int]:
        """Arguments that stay as they are."""
        return frozenset(
            index for index, result in enumerate(self.results) if self.places.get(result.node) == index
        )  # fmt: skip

    @cached_property
    def _counters(self) -> frozenset[int]:
        """Arguments that are 0, 1, 2 … in the steps."""
        found = []
        for index, result in enumerate(self.results):
            node = self.body[result.node]
            if node.op in ("Add", "AddV2") and len(node.inputs) == 2:
                here = [self._place(item) for item in node.inputs]
                steps = [self._constant_in(self.body, item) for item in node.inputs]
                start = self._value_outside(self._node.inputs[index])
                if index in here and _is(steps[1 - here.index(index)], 1) and _is(start, 0):
                    found.append(index)
        return frozenset(found)

    @cached_property
    def _read_lists(self) -> dict[str, int]:
        """Nodes of the body that read the item of this step → the argument that is the list."""
        found: dict[str, int] = {}
        for node in self.body:
            if node.op == "TensorListGetItem":
                place, step = self._place(node.inputs[0]), self._place(node.inputs[1])
                source = self._graph[self._outer(place).node] if place is not None else None
                if place not in self._fixed or step not in self._counters or source is None:
                    raise _Other
                if source.op != "TensorListFromTensor":
                    raise _Other
                found[node.name] = place
        return found

    def _leaf(self, tensor: Tensor) -> Leaf | None:
        if tensor.node in self._read_lists:
            return Leaf("x")
        place = self.places.get(tensor.node)
        return Leaf("h", place) if place is not None and place not in self._fixed else None

    def _constant(self, tensor: Tensor) -> np.ndarray | None:
        place = self.places.get(tensor.node)
        if place is not None:
            return self._value_outside(self._node.inputs[place]) if place in self._fixed else None
        return constant(self.body, tensor)

    def _check_steps(self, sequence: Tensor) -> None:
        """Sees to it that the loop ends with the last step of the sequence, and not before."""
        stack, limits = [self.test[0]], 0
        names = {name: index for index, name in enumerate(self.limits)}
        while stack:
            tensor = stack.pop()
            node = self.cond[tensor.node]
            if node.op in FORWARDING:
                stack.append(node.inputs[0])
            elif node.op == "LogicalAnd":
                stack += node.inputs
            elif node.op == "Less" and names.get(_plain(self.cond, node.inputs[0]).node) in self._counters:
                limit = _plain(self.cond, node.inputs[1])
                place = names.get(limit.node)
                if place is None:
                    value = self._constant_in(self.cond, limit)
                    if not self._is_static_length(sequence, value):
                        raise _Other
                elif place not in self._fixed or not self._is_length(self._node.inputs[place], sequence):
                    raise _Other
                limits += 1
            else:
                raise _Other
        if not limits:
            raise _Other

    def _check_written(self, writer: Any, h: Tensor, sequence: Tensor) -> bool:
        """Whether a list has the outputs of all steps; if not, it has that of the last."""
        place = self._place(writer.inputs[0])
        made = self._graph[self._outer(place).node] if place is not None else None
        finder = CellFinder(self.body, self._leaf, self._constant)
        if made is None or made.op != "TensorListReserve" or finder.plain(writer.inputs[2]) != finder.plain(h):
            raise _Other
        if self.results[place].node != writer.name or writer.attrs.get("resize_if_index_out_of_bounds"):
            raise _Other
        step = writer.inputs[1]
        if self._place(step) in self._counters and self._is_length(made.inputs[1], sequence):
            return True
        if _is(self._constant_in(self.body, step), 0) and _is(self._value_outside(made.inputs[1]), 1):
            return False
        raise _Other

    def _check_ranks(self, sequence: Tensor, initial: Sequence[Tensor]) -> None:
        """ONNX wants time, batch and values, and states of batch and values."""
        shapes = [self._shape(sequence), *map(self._shape, initial)]
        if [None if shape is None else len(shape) for shape in shapes] != [3, *(2 for _ in initial)]:
            raise _Other

    def _is_length(self, tensor: Tensor, sequence: Tensor) -> bool:
        """Whether a number outside is how many steps the sequence has."""
        value = self._value_outside(tensor)
        if value is not None:
            return self._is_static_length(sequence, value)
        node = self._graph[_plain(self._graph, tensor).node]
        if node.op != "StridedSlice" or (shape := self._graph[node.inputs[0].node]).op != "Shape":
            return False
        first = [self._value_outside(item) for item in node.inputs[1:]]
        if not (_is(first[0], 0) and _is(first[1], 1) and node.attrs.get("shrink_axis_mask") == 1):
            return False
        return _rows_from(self._graph, shape.inputs[0]) == _rows_from(self._graph, sequence)

    def _is_static_length(self, sequence: Tensor, value: np.ndarray | None) -> bool:
        shape = self._shape(sequence)
        return value is not None and bool(shape) and shape[0] is not None and _is(value, shape[0])

    def _readers(self) -> list[tuple[Tensor, Any]]:
        """What is read of the While, and by whom."""
        found = []
        for name in self._graph.consumers[self._node.name]:
            reader = self._graph[name]
            found += [(tensor, reader) for tensor in reader.inputs if tensor.node == self._node.name]
        return found

    def _place(self, tensor: Tensor) -> int | None:
        """Which argument a tensor of the body is, handed on or not."""
        return self.places.get(_plain(self.body, tensor).node)

    def _outer(self, place: int) -> Tensor:
        return _plain(self._graph, self._node.inputs[place])

    def _value_outside(self, tensor: Tensor) -> np.ndarray | None:
        return evaluated(self._graph, tensor, lambda item: constant(self._graph, item))

    def _constant_in(self, body: Graph, tensor: Tensor) -> np.ndarray | None:
        return evaluated(body, tensor, lambda item: constant(body, item))


def _body(function: Any, definition: Any) -> tuple[Graph, list[str], list[Tensor]]:
    """A function as a graph, its arguments, and what it gives, as far back as it is handed on."""
    import tensorflow as tf
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

    try:
        with tf.Graph().as_default():
            library = type(definition)(versions=definition.versions, library=definition.library)
            tf.import_graph_def(library, name="")
            body, flat = function_def_to_graph_def(function)
    except Exception as error:  # of many kinds
        raise _Other from error
    graph = Graph(body)
    results = [
        _plain(graph, Tensor.parse(flat[function.ret[item.name]])) for item in function.signature.output_arg
    ]  # fmt: skip
    return graph, [item.name for item in function.signature.input_arg], results


def _plain(graph: Graph, tensor: Tensor) -> Tensor:
    while (node := graph[tensor.node]).op in FORWARDING and node.inputs:
        tensor = node.inputs[0]
    return tensor


def _rows_from(graph: Graph, tensor: Tensor) -> Tensor:
    """The earliest tensor that surely has as many rows."""
    while (node := graph[tensor.node]).op in _KEEP_ROWS and node.inputs:
        tensor = node.inputs[0]
    return tensor


def _is(value: np.ndarray | None, number: int) -> bool:
    return value is not None and value.size == 1 and value.dtype.kind in "iu" and int(value.item()) == number
