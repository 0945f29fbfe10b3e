"""Loops of TensorFlow 1 that go into a segment as a whole, or stay as a whole."""

from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.partitioning.partition import Partition, Refusal, partition
from icebreaker.partitioning.units import Unit
from icebreaker.tensors import Tensor

NO = Refusal("unsupported_op", "no converter for this op")
LOOP = (
    "x Placeholder", "w Const", "a Relu x", "zero Const",
    "e Enter a", "ew Enter w", "m Merge e n", "t Enter zero", "l Less m t", "c LoopCond l", "s Switch m c",
    "k Mul s:1 ew", "one Const ^k", "p Add k one", "n NextIteration p", "o Exit s", "b Relu o ^p", "y Mul b a",
)  # fmt: skip
INSIDE = ("e", "ew", "m", "t", "l", "c", "s", "k", "one", "p", "n", "o")


def graph(*lines: str) -> Graph:
    definition = GraphDef()
    for line in lines:
        name, op, *inputs = line.split()
        node = definition.node.add(name=name, op=op)
        node.input.extend(inputs)
        if op == "Enter":
            node.attr["frame_name"].s = b"loop"
    return Graph(definition)


def split(outputs: str, refused: str = "", minimum: int = 1) -> Partition:
    unit = Unit("c", INSIDE, (Tensor("o"),))
    tensors = [Tensor.parse(name) for name in outputs.split()]
    return partition(graph(*LOOP), tensors, dict.fromkeys(refused.split(), NO), minimum, units=[unit])


def test_a_whole_loop_is_like_one_node_to_its_neighbours():
    (segment,) = split("y").segments
    assert segment.nodes == ("a", *INSIDE, "b", "y")
    assert segment.inputs == (Tensor("x"),) and segment.outputs == (Tensor("y"),)
    assert segment.constants == ("w", "zero") and segment.controls == ()
    assert segment.size == 14  # all but the Const


def test_what_it_gives_and_reads_keeps_its_name():
    found = split("y o", refused="b a")
    (segment,) = [item for item in found.segments if "c" in item.nodes]
    assert segment.nodes == INSIDE
    assert segment.inputs == (Tensor("a"),) and segment.outputs == (Tensor("o"),)
    assert set(found.left) == {"x", "a", "b"}


def test_it_stays_if_one_of_its_nodes_must_or_is_an_output():
    for found in (split("y", refused="k"), split("y p")):
        assert not any("c" in segment.nodes for segment in found.segments)
        assert found.left["c"].code == "control_flow" and found.left["p"].code == "control_flow"


def test_it_counts_as_all_its_nodes():
    assert split("o", minimum=12).segments
    assert not split("o", minimum=13).segments
