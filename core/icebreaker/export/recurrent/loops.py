"""Finds the loops of a graph that are recurrent networks: what runs over all steps of a sequence, and nothing else.

Owns: what counts as such a loop. Refuses: how TensorFlow 2 and 1 write loops (`whiles`, `frames`), the equations in
them (`cells`), how they are exported (`stand_ins`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from icebreaker.export.constants import constant, evaluated
from icebreaker.export.recurrent.cells import Cell, CellFinder, Leaf
from icebreaker.export.recurrent.dimensions import Dimension, counted, origin
from icebreaker.export.recurrent.scans import Scan, Shape
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import FORWARDING
from icebreaker.tensors import Tensor


@dataclass(frozen=True)
class Recurrence:
    """A loop that is a recurrent network, in the graph that it is in.

    Attributes:
        name: The node that it is known by.
        cell: Its equations; None of a loop that is a `scan`.
        sequence: The tensor with all steps, the time first.
        initial: The states before the first step, in the order of the cell's.
        lengths: How many steps each row of the batch has; None: all.
        members: All nodes that it is made of.
        stacks: Nodes that give the outputs → whether of all steps, or just of the last.
        finals: Tensor → which of the cell's states it is at the end.
        lengths_type: TensorFlow's number of the type of `lengths`.
        is_unit: Whether its members make no sense one by one.
        scan: The loop itself, if no equations are known; `sequence`, `initial` and `lengths` say nothing then.
        shapes: Of a scan: those of what `stacks` and then `finals` give, and their types.
        written: Of a scan: for each of `stacks`, which of its outputs that is.
        read_types: Of a scan: TensorFlow's numbers of the types of what it reads.
    """

    name: str
    cell: Cell | None
    sequence: Tensor
    initial: tuple[Tensor, ...]
    lengths: Tensor | None
    members: tuple[str, ...]
    stacks: Mapping[str, bool]
    finals: Mapping[Tensor, int]
    lengths_type: int = 0
    is_unit: bool = False
    scan: Scan | None = None
    shapes: tuple[tuple[Shape | None, str], ...] = ()
    written: tuple[int, ...] = ()
    read_types: tuple[int, ...] = ()

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What it gives."""
        return (*map(Tensor, self.stacks), *self.finals)


class Other(Exception):
    """A loop that is no recurrent network, or one of another kind."""


@dataclass(frozen=True)
class Written:
    """A list of outputs: the tensor of the body that goes into it, and whether it does in each step."""

    value: Tensor
    has_all: bool


class Loop(ABC):
    """One loop of a graph; how it is written, subclasses say.

    Attributes:
        graph: The graph.
        body: The graph that its steps are in.
        results: What its variables become in a step, in the body.
        initial: What they are before, in the graph.
    """

    def __init__(
        self, graph: Graph, body: Graph, results: Sequence[Tensor], initial: Sequence[Tensor],
        shape: Callable[[Tensor], Shape | None],
    ) -> None:  # fmt: skip
        """Takes what is known of every loop; `shape` gives that of a tensor of the graph."""
        self.graph, self.body, self.results, self.initial = graph, body, results, initial
        self.shape = shape
        self._lengths_type = 0

    @abstractmethod
    def place(self, tensor: Tensor) -> int | None:
        """Which variable a tensor of the body is, handed on or not."""

    @abstractmethod
    def outside(self, tensor: Tensor) -> Tensor | None:
        """The tensor of the graph that one of the body is in every step; None if it is none."""

    @abstractmethod
    def limits(self) -> list[Tensor | np.ndarray]:
        """What the counter stays below: tensors of the graph, and numbers; all that ends the loop."""

    @abstractmethod
    def reads(self) -> dict[str, Tensor]:
        """Nodes of the body that read a step → the sequence in the graph."""

    @abstractmethod
    def written(self, sequence: Tensor) -> dict[int, Written]:
        """Variables that are lists of outputs."""

    @abstractmethod
    def uses(self, written: Mapping[int, Written], states: Sequence[int]) -> tuple[dict[str, bool], dict[Tensor, int]]:
        """Who reads the lists, as `Recurrence.stacks`, and the final states: tensor → variable."""

    @abstractmethod
    def members(self) -> tuple[str, ...]:
        """All nodes of the graph that the loop is made of."""

    is_unit = False
    name = ""

    def recurrence(self) -> Recurrence:
        """The network.

        Raises:
            Other: It is none.
        """
        try:
            return self._as_cell()
        except Other:
            return self.as_scan()

    def as_scan(self) -> Recurrence:
        """The loop as a whole.

        Raises:
            Other: It does not go over sequences, or what it does cannot be converted.
        """
        raise Other

    def _as_cell(self) -> Recurrence:
        reads = self.steps
        if len(set(reads.values())) != 1:
            raise Other
        (sequence,) = set(reads.values())
        limits = self.limits()
        if not limits or not all(self.is_length(limit, sequence) for limit in limits):
            raise Other
        written = self.written(sequence)
        rest = {
            index: result for index, result in enumerate(self.results)
            if index not in self.counters and index not in written and self.place(result) != index
        }  # fmt: skip
        lengths: set[Tensor | None] = set()
        new = {index: self._unmasked(result, index, lengths) for index, result in rest.items()}
        finder = CellFinder(self.body, self._leaf, self.value)
        cell = finder.find(new)
        if cell is None or set(cell.states) != set(new):
            raise Other
        h = finder.plain(new[cell.states[0]])
        for item in written.values():
            if finder.plain(self._unmasked(item.value, None, lengths)) != h:
                raise Other
        if len(lengths) != 1 or (lengths != {None} and not all(item.has_all for item in written.values())):
            raise Other
        initial = tuple(self.initial[index] for index in cell.states)
        ranks = [None if (shape := self.shape(item)) is None else len(shape) for item in (sequence, *initial)]
        if ranks != [3, *(2 for _ in initial)]:  # time, batch and values; batch and values
            raise Other
        stacks, finals = self.uses(written, cell.states)
        places = {tensor: cell.states.index(index) for tensor, index in finals.items()}
        return Recurrence(
            self.name, cell, sequence, initial, lengths.pop(), self.members(), stacks, places, self._lengths_type,
            self.is_unit,
        )  # fmt: skip

    @cached_property
    def counters(self) -> frozenset[int]:
        """Variables that are 0, 1, 2 … in the steps."""
        found = []
        for index, result in enumerate(self.results):
            node = self.body[result.node]
            if node.op in ("Add", "AddV2") and len(node.inputs) == 2:
                here = [self.place(item) for item in node.inputs]
                steps = [self.value(item) for item in node.inputs]
                is_next = index in here and is_number(steps[1 - here.index(index)], 1)
                if is_next and is_number(self.value_outside(self.initial[index]), 0):
                    found.append(index)
        return frozenset(found)

    def value(self, tensor: Tensor) -> np.ndarray | None:
        """The value of a tensor of the body that is a constant there, or outside."""

        def leaf(item: Tensor) -> np.ndarray | None:
            outer = self.outside(item)
            return constant(self.body, item) if outer is None else self.value_outside(outer)

        return evaluated(self.body, tensor, leaf)

    def value_outside(self, tensor: Tensor) -> np.ndarray | None:
        """The value of a tensor of the graph, if it is constant."""
        return evaluated(self.graph, tensor, lambda item: constant(self.graph, item))

    def is_length(self, number: Tensor | np.ndarray, sequence: Tensor) -> bool:
        """Whether a number, or a tensor of the graph, is surely how many steps a sequence has."""
        value = self.value_outside(number) if isinstance(number, Tensor) else number
        if value is not None:
            shape = self.shape(sequence)
            return bool(shape) and shape[0] is not None and is_number(value, shape[0])
        assert isinstance(number, Tensor)  # noqa: S101 - the others have values
        found = counted(self.graph, number, self.value_outside)
        return found is not None and self._origin(*found) == self._origin(sequence, 0)

    def _origin(self, tensor: Tensor, axis: int) -> Dimension:
        def rank(item: Tensor) -> int | None:
            shape = self.shape(item)
            return None if shape is None else len(shape)

        return origin(self.graph, tensor, axis, self.value_outside, rank)

    @cached_property
    def steps(self) -> dict[str, Tensor]:
        """Nodes of the body that read a step → the sequence in the graph."""
        return self.reads()

    def _leaf(self, tensor: Tensor) -> Leaf | None:
        if tensor.node in self.steps:
            return Leaf("x")
        place = self.place(tensor) if self.body[tensor.node].op not in FORWARDING else None
        return Leaf("h", place) if place is not None and self.outside(tensor) is None else None

    def _unmasked(self, tensor: Tensor, kept: int | None, lengths: set[Tensor | None]) -> Tensor:
        """What a variable becomes while a row has steps left; behind, it is as it was, or an output is zero.

        Args:
            tensor: What it becomes.
            kept: The variable; None for an output.
            lengths: Gets the tensor that says how many steps each row has, or None.
        """
        node = self.body[plain(self.body, tensor).node]
        if node.op != "Select":
            lengths.add(None)
            return tensor
        test = self.body[plain(self.body, node.inputs[0]).node]
        if test.op != "GreaterEqual" or self.place(test.inputs[0]) not in self.counters:
            raise Other
        count, other = self.outside(test.inputs[1]), node.inputs[1]
        shape = self.shape(count) if count is not None else None
        if count is None or shape is None or len(shape) != 1:
            raise Other
        if not (self._is_zero(other) if kept is None else self.place(other) == kept):
            raise Other
        lengths.add(plain(self.graph, count))
        self._lengths_type = test.definition.attr["T"].type
        return node.inputs[2]

    def _is_zero(self, tensor: Tensor) -> bool:
        outer = self.outside(tensor)
        if outer is not None:
            node = self.graph[plain(self.graph, outer).node]
            value = self.value_outside(node.inputs[1] if node.op == "Fill" else outer)
            return node.op == "ZerosLike" or (value is not None and not value.any())
        value = self.value(tensor)
        return self.body[tensor.node].op == "ZerosLike" or (value is not None and not value.any())


def plain(graph: Graph, tensor: Tensor) -> Tensor:
    """The tensor that is handed on."""
    while (node := graph[tensor.node]).op in FORWARDING and node.inputs:
        tensor = node.inputs[0]
    return tensor


def acts(op: str) -> bool:
    """Whether an op acts or draws numbers, or may fail on purpose; then it is not only there for what it gives."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(op)
    return definition is None or definition.is_stateful or op == "CheckNumerics"


def is_number(value: np.ndarray | None, number: int) -> bool:
    """Whether a value is one whole number, that one."""
    return value is not None and value.size == 1 and value.dtype.kind in "iu" and int(value.item()) == number
