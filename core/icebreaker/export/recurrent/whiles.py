"""Loops as Keras and TensorFlow 2 write them: one While with lists of the steps that are read, and of the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from icebreaker.export.constants import constant
from icebreaker.export.exporter import DTYPES as CONVERTED
from icebreaker.export.recurrent.loops import Loop, Other, Recurrence, Shape, Written, acts, is_number, plain
from icebreaker.export.recurrent.scans import ENUMS, Entry, Scan, exported_body
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import DTYPES, FORWARDING
from icebreaker.tensors import Tensor

OPS = frozenset({"While", "StatelessWhile"})


class WhileLoop(Loop):
    """A While node and its functions."""

    def __init__(self, graph: Graph, name: str, shape: Callable[[Tensor], Shape | None]) -> None:
        """Reads the functions.

        Raises:
            Other: They are not there, or do not go with the node.
        """
        self._node, self.name = graph[name], name
        library = {function.signature.name: function for function in graph.definition.library.function}
        functions: list[Any] = [
            library.get((self._node.attrs.get(key) or {}).get("function")) for key in ("body", "cond")
        ]
        if None in functions:
            raise Other
        self._types = [DTYPES.get(item.type, "") for item in functions[0].signature.input_arg]
        body, arguments, results = _body(functions[0], graph.definition)
        self._arguments = arguments
        self._cond, limits, self._test = _body(functions[1], graph.definition)
        if not len(arguments) == len(self._node.inputs) == len(results) == len(limits):
            raise Other
        self._places = {name: index for index, name in enumerate(arguments)}
        self._limits = {name: index for index, name in enumerate(limits)}
        self._fixed = {index for index, result in enumerate(results) if self._places.get(result.node) == index}
        self._lists: list[str] = []
        super().__init__(graph, body, results, self._node.inputs, shape)

    def place(self, tensor: Tensor) -> int | None:
        """An argument of the body."""
        return self._places.get(plain(self.body, tensor).node)

    def outside(self, tensor: Tensor) -> Tensor | None:
        """What an argument that stays as it is was called with."""
        place = self.place(tensor)
        return self._node.inputs[place] if place in self._fixed else None

    def limits(self) -> list[Tensor | np.ndarray]:
        """Of comparisons that must all hold."""
        found: list[Tensor | np.ndarray] = []
        stack = [self._test[0]]
        while stack:
            node = self._cond[stack.pop().node]
            if node.op in FORWARDING:
                stack.append(node.inputs[0])
            elif node.op == "LogicalAnd":
                stack += node.inputs
            elif node.op == "Less" and self._limits.get(plain(self._cond, node.inputs[0]).node) in self.counters:
                limit = plain(self._cond, node.inputs[1])
                place = self._limits.get(limit.node)
                value = self._number(limit) if place is None else None
                if place in self._fixed:
                    found.append(self._node.inputs[place])
                elif value is not None:
                    found.append(value)
                else:
                    raise Other
            else:
                raise Other
        return found

    def reads(self) -> dict[str, Tensor]:
        """Of TensorListGetItem."""
        found: dict[str, Tensor] = {}
        for node in self.body:
            if node.op == "TensorListGetItem":
                source = self.outside(node.inputs[0])
                made = self.graph[plain(self.graph, source).node] if source is not None else None
                if self.place(node.inputs[1]) not in self.counters or made is None:
                    raise Other
                if made.op != "TensorListFromTensor":
                    raise Other
                self._lists.append(made.name)
                found[node.name] = made.inputs[0]
        return found

    def written(self, sequence: Tensor | None) -> dict[int, Written]:
        """Of TensorListSetItem."""
        found: dict[int, Written] = {}
        for index, result in enumerate(self.results):
            writer = self.body[result.node]
            if writer.op != "TensorListSetItem":
                continue
            made = self.graph[plain(self.graph, self._node.inputs[index]).node]
            if made.op != "TensorListReserve" or self.place(writer.inputs[0]) != index:
                raise Other
            if writer.attrs.get("resize_if_index_out_of_bounds"):
                raise Other
            self._lists.append(made.name)
            step, count = writer.inputs[1], made.inputs[1]
            if self.place(step) in self.counters and self._is_count(count, sequence):
                found[index] = Written(writer.inputs[2], has_all=True)
            elif is_number(self.value(step), 0) and is_number(self.value_outside(count), 1):
                found[index] = Written(writer.inputs[2], has_all=False)
            else:
                raise Other
        return found

    def _is_count(self, number: Tensor, sequence: Tensor | None) -> bool:
        """Whether a number is surely how often the loop runs."""
        if sequence is not None:
            return self.is_length(number, sequence)
        limit = self._limit(self.limits())
        if isinstance(limit, Tensor):
            return plain(self.graph, limit) == plain(self.graph, number)
        return is_number(self.value_outside(number), limit)

    def uses(self, written: Mapping[int, Written], states: Sequence[int]) -> tuple[dict[str, bool], dict[Tensor, int]]:
        """Lists by TensorListStack, states by anybody."""
        stacks: dict[str, bool] = {}
        finals: dict[Tensor, int] = {}
        for name in self.graph.consumers[self.name]:
            reader = self.graph[name]
            for tensor in reader.inputs:
                if tensor.node != self.name:
                    continue
                if tensor.port in written and reader.op == "TensorListStack":
                    stacks[name] = written[tensor.port].has_all
                elif tensor.port in states:
                    finals[tensor] = tensor.port
                else:
                    raise Other
        for index in states:  # an output of the graph has no reader
            finals.setdefault(Tensor(self.name, index), index)
        if any(self.graph.consumers[item] != (self.name,) for item in self._lists):
            raise Other
        self._stacks = tuple(stacks)
        return stacks, finals

    def members(self) -> tuple[str, ...]:
        """It, what makes its lists, and what makes tensors of them."""
        return tuple(dict.fromkeys((*self._lists, self.name, *self._stacks)))

    def as_scan(self) -> Recurrence:
        """Over its sequences, or so many times as it counts to."""
        limits, sequences = self.limits(), list(dict.fromkeys(self.steps.values()))
        self._lists = []
        self.reads()
        limit: Tensor | int | None = None
        if not sequences:
            limit = self._limit(limits)
        elif not limits or not all(self.is_length(item, each) for item in limits for each in sequences):
            raise Other
        written = self.written(sequences[0] if sequences else None)
        states = [
            index for index, result in enumerate(self.results)
            if index not in self.counters and index not in written and index not in self._fixed
        ]  # fmt: skip
        scan = self._scan(states, written, limit)
        stacks, finals = self.uses(written, states)
        which = [list(written).index(self.graph[name].inputs[0].port) for name in stacks]
        begin = len(states) + len(scan.fixed)
        shapes = [
            (self.shape(Tensor(name)), scan.dtypes[begin + place]) for name, place in zip(stacks, which, strict=True)
        ]
        shapes += [(self.shape(tensor), self._types[index]) for tensor, index in finals.items()]
        types = [*scan.dtypes[:begin], *(str(self.body[name].attrs["element_dtype"]) for name in self.steps)]
        if isinstance(limit, Tensor):
            types.append(self._types[min(self.counters)])
        places = {tensor: states.index(index) for tensor, index in finals.items()}
        nothing = Tensor(self.name)
        return Recurrence(
            self.name, None, nothing, (), None, self.members(), stacks, places, scan=scan, shapes=tuple(shapes),
            written=tuple(which), read_types=tuple(ENUMS[dtype] for dtype in types),
        )  # fmt: skip

    def _scan(self, states: Sequence[int], written: Mapping[int, Written], limit: Tensor | int | None) -> Scan:
        """Converts the body."""
        names = self._arguments
        values = {index: self.value_outside(self._node.inputs[index]) for index in self._fixed}
        constants = {names[index]: value for index, value in values.items() if value is not None}
        fixed = [index for index in sorted(self._fixed) if values[index] is None and self._types[index] in CONVERTED]
        results = [self.results[index] for index in states]
        outputs = [item.value for item in written.values()]
        used = self._used([*results, *outputs])
        fixed = [index for index in fixed if names[index] in used]
        counters = [index for index in sorted(self.counters) if names[index] in used]
        if limit is not None and not counters:
            counters = sorted(self.counters)[:1]
        if any(self._types[index] not in CONVERTED for index in (*states, *fixed)):
            raise Other
        shapes = {index: self.shape(self._node.inputs[index]) for index in (*states, *fixed)}
        entries = [Entry(names[index], self._types[index], shapes[index]) for index in (*states, *fixed)]
        for name, sequence in self.steps.items():
            shape = self.shape(sequence)
            dtype = str(self.body[name].attrs.get("element_dtype"))
            if not shape or dtype not in CONVERTED:
                raise Other
            entries.append(Entry(name, dtype, shape[1:]))
        entries += [Entry(names[index], self._types[index], ()) for index in counters]
        results += [Tensor(names[index]) for index in fixed]
        made = exported_body(self.body, entries, constants, [*results, *outputs])
        if made is None:
            raise Other
        inputs = self._node.inputs
        return Scan(
            made[0], tuple(inputs[index] for index in states), tuple(inputs[index] for index in fixed),
            tuple(self.steps.values()), limit, tuple(self._types[index] for index in counters), tuple(made[1]),
        )  # fmt: skip

    def _used(self, tensors: Sequence[Tensor]) -> set[str]:
        """Nodes that tensors of the body come from; what a step reads of a list is not looked behind."""
        found: set[str] = set()
        stack = [tensor.node for tensor in tensors]
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                if name not in self.steps:
                    stack += [tensor.node for tensor in self.body[name].inputs]
        return found

    def _limit(self, limits: Sequence[Tensor | np.ndarray]) -> Tensor | int:
        """How often a loop runs that reads no sequence."""
        numbers = [self.value_outside(item) if isinstance(item, Tensor) else item for item in limits]
        if limits and all(item is not None and item.size == 1 for item in numbers):
            return max(min(int(item.item()) for item in numbers if item is not None), 0)
        if len(limits) != 1 or not isinstance(limits[0], Tensor):
            raise Other
        return limits[0]

    def _number(self, tensor: Tensor) -> np.ndarray | None:
        return constant(self._cond, tensor)


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
        raise Other from error
    if any(node.op != "Placeholder" and acts(node.op) for node in body.node):
        raise Other
    graph = Graph(body)
    results = [plain(graph, Tensor.parse(flat[function.ret[item.name]])) for item in function.signature.output_arg]
    return graph, [item.name for item in function.signature.input_arg], results
