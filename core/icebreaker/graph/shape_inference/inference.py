"""Goes through a graph and asks each op's rule what its outputs are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.limits import MOST_NODES
from icebreaker.graph.ops import DTYPES, KNOWN_SCALARS, MERGES, NEXT_ITERATIONS
from icebreaker.graph.shape_inference import arrays, creation, elementwise, flow, images, indexing, nn, reductions
from icebreaker.graph.shape_inference.attributes import shape_attr, type_attr
from icebreaker.graph.shape_inference.facts import (
    MOST_OUTPUTS,
    UNKNOWN,
    Fact,
    Known,
    Shape,
    common_shape,
    completed,
    held_values,
    is_possible,
    shape_of,
)
from icebreaker.graph.shape_inference.rule_table import Rule
from icebreaker.graph.traversal import topological_order
from icebreaker.tensors import Tensor

_FAMILIES = (arrays, creation, elementwise, flow, images, indexing, nn, reductions)
RULES: Mapping[str, Rule] = {op: rule for family in _FAMILIES for op, rule in family.RULES.items()}
# Ops without a rule whose one output's type stands in an attribute → that attribute.
_NAMED_TYPES: Mapping[str, str] = {
    "TensorArrayReadV3": "dtype", "TensorArrayConcatV3": "dtype",
    "TensorListGather": "element_dtype",
    "LookupTableFind": "Tout", "LookupTableFindV2": "Tout", "Multinomial": "output_dtype",
    "StringToNumber": "out_type", "DecodeRaw": "out_type", "ReadVariableOp": "dtype", "ResourceGather": "dtype",
    "MaxPoolV2": "T", "Roll": "T", "DecodeImage": "dtype", "MatrixDiag": "T", "UnsortedSegmentSum": "T",
}  # fmt: skip

_MOST_PASSES = 8  # through a graph with loops
_MOST_TENSORS = 2 * MOST_NODES


def infer(
    graph: Graph, cancelled: Callable[[], bool] = lambda: False, given: Mapping[Tensor, Shape] = MappingProxyType({})
) -> dict[Tensor, Known]:
    """All tensors of which something is known.

    A graph with v1 loops is gone through until what comes back in each is what was assumed to come in; a dimension that
    changes on the way is open.

    Args:
        graph: It may have been read without its weights.
        cancelled: Asked now and then; when true, the result is empty.
        given: Sizes that tensors are to have where the graph leaves them open, such as those of a batch.

    Returns:
        Tensor → its dtype and shape as far as they are known. Empty, too, for a graph that promises more tensors than
        any real one has.
    """
    back = {node.name: _coming_back(graph, node) for node in graph if node.op in MERGES}
    back = {name: tensors for name, tensors in back.items() if tensors}
    order = _in_order(graph, back)
    assumed: dict[str, Fact] = {}
    facts: dict[Tensor, Fact] = {}
    for turn in range(_MOST_PASSES + 1):
        passed = _pass(graph, order, back, assumed, given, cancelled)
        if passed is None:
            return {}
        facts = passed
        changed = False
        for merge, tensors in back.items():
            now = facts.get(Tensor(merge), UNKNOWN)
            joined = common_shape([now.shape, *(facts.get(tensor, UNKNOWN).shape for tensor in tensors)])
            changed |= joined != now.shape
            assumed[merge] = Fact(now.dtype, joined)
        if not changed:
            break
        if turn == _MOST_PASSES - 1:  # one loop waits for another: nothing is assumed of any
            assumed = {name: Fact(fact.dtype) for name, fact in assumed.items()}
    return {tensor: Known(fact.dtype, fact.shape) for tensor, fact in facts.items()}


def _pass(
    graph: Graph,
    order: Sequence[Node],
    back: Mapping[str, Sequence[Tensor]],
    assumed: Mapping[str, Fact],
    given: Mapping[Tensor, Shape],
    cancelled: Callable[[], bool],
) -> dict[Tensor, Fact] | None:
    """Goes through the graph once, with what is `assumed` of the Merges at which loops begin; None: it was stopped."""
    scalars_unknown = graph.definition.versions.producer < KNOWN_SCALARS
    facts: dict[Tensor, Fact] = {}
    for number, node in enumerate(order):
        if (number % 1000 == 0 and cancelled()) or len(facts) > _MOST_TENSORS:
            return None
        if node.name in assumed:
            outputs = [assumed[node.name], Fact("int32", ())]
        elif node.op == "Placeholder" and scalars_unknown and not shape_attr(node, "shape"):
            outputs = [Fact(type_attr(node, "dtype"))]  # an empty shape meant "unknown" in those days
        else:
            coming_back = back.get(node.name, ())  # what comes back in a loop is not known yet
            inputs = [facts.get(tensor, UNKNOWN) for tensor in node.inputs if tensor not in coming_back]
            outputs = _outputs_of(node, inputs)
        for port, fact in enumerate(outputs):
            if fact != UNKNOWN:
                tensor = Tensor(node.name, port)
                if given and tensor in given:
                    fact = fact._replace(shape=completed(fact.shape, given[tensor]))
                facts[tensor] = fact
    return facts


def _coming_back(graph: Graph, merge: Node) -> list[Tensor]:
    """What a Merge reads from the end of a loop."""
    return [tensor for tensor in merge.inputs if graph[tensor.node].op in NEXT_ITERATIONS]


def _in_order(graph: Graph, back: Mapping[str, Sequence[Tensor]]) -> list[Node]:
    """Each node after what it reads, but for what comes back in a loop."""
    needs = {
        node.name: {tensor.node for tensor in node.inputs if tensor not in back.get(node.name, ())} for node in graph
    }
    return [graph[name] for name in topological_order(needs)]


def _outputs_of(node: Node, inputs: list[Fact]) -> list[Fact]:
    """What is known of a node's outputs, in order: by its rule, and by what the graph's maker wrote down."""
    rule = None if "_icebreaker_shown" in node.definition.attr else RULES.get(node.op)  # it may be no TensorFlow op
    try:
        outputs = list(islice(rule(node, inputs), MOST_OUTPUTS)) if rule else _types_of(node)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        outputs = []
    if not all(is_possible(fact.shape) for fact in outputs):
        outputs = []
    if rule and not outputs:  # a graph that TensorFlow would refuse
        outputs = _types_of(node)
    attrs = node.definition.attr
    if "_output_shapes" in attrs:
        shapes = [shape_of(shape) for shape in attrs["_output_shapes"].list.shape]
        outputs += [UNKNOWN] * (len(shapes) - len(outputs))
        outputs = [
            fact._replace(shape=completed(fact.shape, shapes[port])) if port < len(shapes) else fact
            for port, fact in enumerate(outputs)
        ]
    return [fact if fact.values is None else fact._replace(values=held_values(fact)) for fact in outputs]


def _types_of(node: Node) -> list[Fact]:
    """The types of an op without a rule, where it calls them by the usual names."""
    attrs = node.definition.attr
    for name in ("Tout", "output_types"):
        if name in attrs and not node.op.startswith("Iterator") and attrs[name].WhichOneof("value") == "list":
            return [Fact(DTYPES.get(number % 100, "")) for number in attrs[name].list.type]
    if node.op in _NAMED_TYPES:
        return [Fact(type_attr(node, _NAMED_TYPES[node.op]))]
    return []
