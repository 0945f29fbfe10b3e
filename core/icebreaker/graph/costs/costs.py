"""The costs of every op of a graph, and their sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from icebreaker.graph.costs import rules
from icebreaker.graph.graph import Graph, TensorValue
from icebreaker.graph.ops import FORWARDING, ITEM_BYTES
from icebreaker.graph.shape_inference import Known, Shape, infer
from icebreaker.tensors import Tensor

# Types of what is learned; whole numbers of other types are axes, sizes and indices.
_LEARNED = frozenset({
    "float32", "float64", "float16", "bfloat16", "float8_e5m2", "float8_e4m3fn", "complex64", "complex128",
    "int8", "uint8", "int4", "uint4", "qint8", "quint8", "qint16", "quint16", "qint32",
})  # fmt: skip
_IMAGES = frozenset({"Conv2D", "DepthwiseConv2dNative", "Conv3D"})
_UNKNOWN = Known()


class Cost(NamedTuple):
    """What one run of an op costs.

    Attributes:
        flops: Additions, multiplications and other operations on single numbers; None: they cannot be told.
        parameters: Elements of the learned constants that it reads; of a constant, its own.
        bytes: What it reads and writes; None: it cannot be told.
    """

    flops: int | None
    parameters: int
    bytes: int | None


class Totals(NamedTuple):
    """The costs of a graph's ops together, for one row of its inputs.

    Attributes:
        flops: Of the ops of which they can be told.
        parameters: Elements of all learned constants, each counted once.
        unknown: How many ops there are whose FLOPs cannot be told.
    """

    flops: int
    parameters: int
    unknown: int


def parameters_of(value: TensorValue | None) -> int:
    """How many parameters a constant is: a single number is none, nor are whole numbers that no layer learns."""
    return value.size if value is not None and value.shape and value.dtype in _LEARNED else 0


def one_row(graph: Graph, cancelled: Callable[[], bool] = lambda: False) -> Mapping[Tensor, Known]:
    """Dtypes and shapes for one row of the inputs: in front, where they are open, they have one element.

    An image whose number is still open then, because it comes out of a loop, counts as one, too.
    """
    given: dict[Tensor, Shape] = {}
    whole = True
    for entry in graph.placeholders:
        shape = entry.shape
        if shape and shape[0] is None:
            shape = (1, *shape[1:])
            given[Tensor(entry.name)] = shape
        whole = whole and shape is not None and None not in shape
    tensors = infer(graph, cancelled, given)
    if whole and (counted := _images_uncounted(graph, tensors)):
        tensors = infer(graph, cancelled, {**given, **counted})
    return tensors


def _images_uncounted(graph: Graph, tensors: Mapping[Tensor, Known]) -> dict[Tensor, Shape]:
    """What goes into convolutions, of a number that nobody tells → the shape of one."""
    found: dict[Tensor, Shape] = {}
    for node in graph:
        if node.op in _IMAGES and node.inputs:
            shape = tensors.get(node.inputs[0], _UNKNOWN).shape
            if shape and shape[0] is None and None not in shape[1:]:
                found[node.inputs[0]] = (1, *shape[1:])
    return found


def op_costs(
    graph: Graph, tensors: Mapping[Tensor, Known], cancelled: Callable[[], bool] = lambda: False
) -> dict[str, Cost]:
    """Node → its cost.

    Args:
        graph: It may have been read without its weights.
        tensors: What is known of its tensors, such as `one_row` gives.
        cancelled: Asked now and then; when true, the result is empty.
    """
    learned = {node.name: count for node in graph if (count := parameters_of(node.value))}
    home: dict[str, str] = {}  # what hands on a constant → that constant

    def source(name: str) -> str:
        """The node that a value comes from, behind ops that hand it on."""
        passed: list[str] = []
        while name not in home and graph[name].op in FORWARDING and graph[name].inputs and name not in passed:
            passed.append(name)
            name = graph[name].inputs[0].node
        name = home.get(name, name)
        home.update(dict.fromkeys(passed, name))
        return name

    read: dict[str, set[int]] = {}
    for node in graph:
        for tensor in node.inputs:
            read.setdefault(tensor.node, {0}).add(tensor.port)
    costs: dict[str, Cost] = {}
    for number, node in enumerate(graph):
        if number % 1000 == 0 and cancelled():
            return {}
        if node.op == "Const":
            value = node.value
            costs[node.name] = Cost(0, learned.get(node.name, 0), value.nbytes if value else None)
            continue
        inputs = [tensors.get(tensor, _UNKNOWN) for tensor in node.inputs]
        ports = sorted(read.get(node.name, {0}))
        outputs = [tensors.get(Tensor(node.name, port), _UNKNOWN) for port in ports]
        moved = 0
        if node.op not in rules.VIEWS:
            moved = _bytes([*(outputs[:1] if node.op in rules.LOOKUPS else inputs[:1]), *inputs[1:], *outputs])
        used = () if node.op in FORWARDING else {source(tensor.node) for tensor in node.inputs}
        costs[node.name] = Cost(
            rules.flops(node, inputs, outputs), sum(learned.get(name, 0) for name in used), moved
        )  # fmt: skip
    return costs


def totals_of(graph: Graph, costs: Mapping[str, Cost]) -> Totals:
    """The sums over a graph."""
    ops = [costs[node.name].flops for node in graph if node.name in costs]
    parameters = sum(costs[node.name].parameters for node in graph if node.op == "Const" and node.name in costs)
    return Totals(sum(count for count in ops if count), parameters, ops.count(None))


def totals(graph: Graph) -> Totals:
    """The costs of a graph for one row of its inputs."""
    return totals_of(graph, op_costs(graph, one_row(graph)))


def _bytes(tensors: list[Known]) -> int | None:
    """Bytes of some tensors together; None if one of them is open, or of a type without a fixed size."""
    total = 0
    for known in tensors:
        count = rules.elements(known)
        if count is None or known.dtype not in ITEM_BYTES:
            return None
        total += count * ITEM_BYTES[known.dtype]
    return total
