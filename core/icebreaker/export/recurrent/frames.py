"""Loops as TensorFlow 1 writes them: nodes between Enter and Exit, with arrays of the steps and of the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from icebreaker.export.recurrent.loops import Loop, Other, Shape, Written, acts, is_number, plain
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import FORWARDING
from icebreaker.tensors import Tensor


class FrameLoop(Loop):
    """The nodes of one frame."""

    is_unit = True

    def __init__(self, graph: Graph, name: str, shape: Callable[[Tensor], Shape | None]) -> None:
        """Finds the nodes.

        Args:
            graph: The graph.
            name: Of the loop's LoopCond.
            shape: A tensor's shape.

        Raises:
            Other: It is no loop as TensorFlow makes them.
        """
        self.name, self._test = name, graph[name]
        switches = [graph[item] for item in graph.consumers[name]]
        if not switches or any(node.op != "Switch" for node in switches):
            raise Other
        self._merges = [graph[plain(graph, node.inputs[0]).node] for node in switches]
        if any(node.op != "Merge" or len(node.inputs) != 2 for node in self._merges):
            raise Other
        sides = [sorted((graph[item.node] for item in node.inputs), key=lambda node: node.op) for node in self._merges]
        if any([node.op for node in pair] != ["Enter", "NextIteration"] for pair in sides):
            raise Other
        self._places = {node.name: index for index, node in enumerate(switches)}
        self._tests = {node.name: index for index, node in enumerate(self._merges)}
        self._frame = sides[0][0].attrs.get("frame_name")
        self._inside = self._nodes(graph)
        self._arrays: list[str] = []
        self._sequence: Tensor | None = None
        results = [plain(graph, back.inputs[0]) for _, back in sides]
        super().__init__(graph, graph, results, [enter.inputs[0] for enter, _ in sides], shape)

    def place(self, tensor: Tensor) -> int | None:
        """What a Switch lets into the body."""
        tensor = plain(self.graph, tensor)
        return self._places.get(tensor.node) if tensor.port == 1 else None

    def outside(self, tensor: Tensor) -> Tensor | None:
        """What an Enter brings in that is the same in each step."""
        node = self.graph[plain(self.graph, tensor).node]
        return node.inputs[0] if node.op == "Enter" and node.attrs.get("is_constant") else None

    def limits(self) -> list[Tensor | np.ndarray]:
        """Of comparisons that must all hold."""
        found: list[Tensor | np.ndarray] = []
        stack = [self._test.inputs[0]]
        while stack:
            node = self.graph[stack.pop().node]
            if node.op in FORWARDING:
                stack.append(node.inputs[0])
            elif node.op == "LogicalAnd":
                stack += node.inputs
            elif node.op == "Less" and self._tests.get(plain(self.graph, node.inputs[0]).node) in self.counters:
                outer, value = self.outside(node.inputs[1]), self.value(node.inputs[1])
                if outer is None and value is None:
                    raise Other
                found.append(outer if outer is not None else np.asarray(value))
            else:
                raise Other
        return found

    def reads(self) -> dict[str, Tensor]:
        """Of TensorArrayReadV3, in this frame."""
        found: dict[str, Tensor] = {}
        for name in self._inside:
            node = self.graph[name]
            if node.op == "TensorArrayReadV3":
                flow = self.outside(node.inputs[2])
                filled = self.graph[plain(self.graph, flow).node] if flow is not None else None
                if filled is None or filled.op != "TensorArrayScatterV3" or len(filled.inputs) != 4:
                    raise Other
                array, places, sequence = self._array(filled.inputs[0]), filled.inputs[1], filled.inputs[2]
                if self._outer_array(node) != array or self._array(filled.inputs[3]) != array:
                    raise Other
                if self.place(node.inputs[1]) not in self.counters or not self._is_all(places, sequence):
                    raise Other
                self._arrays += [array, filled.name]
                found[name] = sequence
        return found

    def written(self, sequence: Tensor) -> dict[int, Written]:
        """Of TensorArrayWriteV3."""
        self._sequence, found = sequence, dict[int, Written]()
        for index, result in enumerate(self.results):
            writer = self.graph[result.node]
            if writer.op != "TensorArrayWriteV3":
                continue
            array = self._array(self.initial[index])
            if self._outer_array(writer) != array or self.place(writer.inputs[3]) != index:
                raise Other
            if self.place(writer.inputs[1]) not in self.counters or self.graph[array].attrs.get("dynamic_size"):
                raise Other
            if not self.is_length(self.graph[array].inputs[0], sequence):
                raise Other
            self._arrays.append(array)
            found[index] = Written(writer.inputs[2], has_all=True)
        return found

    def uses(self, written: Mapping[int, Written], states: Sequence[int]) -> tuple[dict[str, bool], dict[Tensor, int]]:
        """What leaves by an Exit: arrays to be gathered whole, and states."""
        stacks: dict[str, bool] = {}
        finals: dict[Tensor, int] = {}
        for name in self._inside:
            node = self.graph[name]
            if node.op != "Exit":
                continue
            index = self._places.get(node.inputs[0].node)
            readers = [self.graph[item] for item in self.graph.consumers[name]]
            if index is not None and index in states:
                finals[Tensor(name)] = index
            elif index in written:
                for reader in readers:
                    if reader.op == "TensorArrayGatherV3":
                        self._take_gather(reader)
                        stacks[reader.name] = True
                    elif reader.op != "TensorArraySizeV3":
                        raise Other
            elif readers:
                raise Other
        known = {*self._inside, *self._arrays, *stacks}
        for name in self._arrays:
            if not known.issuperset(self.graph.consumers[name]):
                raise Other
        self._stacks = tuple(stacks)
        return stacks, finals

    def members(self) -> tuple[str, ...]:
        """The frame, the arrays, and what fills and gathers them."""
        names = {*self._inside, *self._arrays, *self._stacks}
        return tuple(node.name for node in self.graph if node.name in names)

    def _nodes(self, graph: Graph) -> list[str]:
        """All nodes of the frame, from its Enters to its Exits."""
        stack = [
            node.name for node in graph if node.op == "Enter" and node.attrs.get("frame_name") == self._frame
        ]  # fmt: skip
        found: dict[str, None] = {}
        while stack:
            name = stack.pop()
            node = graph[name]
            if name in found:
                continue
            if node.op in ("Enter", "RefEnter") and node.attrs.get("frame_name") != self._frame:
                raise Other  # a loop in the loop
            if acts(node.op) and not node.op.startswith("TensorArray"):
                raise Other
            found[name] = None
            if node.op != "Exit":
                stack += graph.consumers[name]
        return list(found)

    def _take_gather(self, node: Node) -> None:
        """Sees to it that all of an array is gathered, and takes what says so along."""
        if self._sequence is not None and self._is_all(node.inputs[1], self._sequence):
            return
        places = self.graph[plain(self.graph, node.inputs[1]).node]
        size = self.graph[places.inputs[1].node] if places.op == "Range" else None
        if size is None or size.op != "TensorArraySizeV3" or self._array(size.inputs[0]) != self._array(node.inputs[0]):
            raise Other
        first = [self.value_outside(places.inputs[index]) for index in (0, 2)]
        if not (is_number(first[0], 0) and is_number(first[1], 1)) or size.inputs[1] != node.inputs[2]:
            raise Other
        self._arrays += [places.name, size.name]

    def _is_all(self, places: Tensor, sequence: Tensor) -> bool:
        """Whether these are all places of a sequence, in order."""
        node = self.graph[plain(self.graph, places).node]
        if node.op != "Range":
            value, shape = self.value_outside(places), self.shape(sequence)
            return value is not None and bool(shape) and value.tolist() == list(range(shape[0] or 0))
        first = [self.value_outside(node.inputs[index]) for index in (0, 2)]
        return is_number(first[0], 0) and is_number(first[1], 1) and self.is_length(node.inputs[1], sequence)

    def _array(self, tensor: Tensor) -> str:
        """The array that a handle or a flow is of, as it is made."""
        node = self.graph[plain(self.graph, tensor).node]
        if node.op != "TensorArrayV3":
            raise Other
        return node.name

    def _outer_array(self, node: Node) -> str:
        """The array that a node in the body reads or writes."""
        handle = self.outside(node.inputs[0])
        if handle is None:
            raise Other
        return self._array(handle)
