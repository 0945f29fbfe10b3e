"""Partition: examples, properties on random graphs (executed before and after), and what TF-TRT did."""

import graphlib
import json
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.paths import GRAPHS
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import PASSIVE, PLACEHOLDERS
from icebreaker.graph.protos import GraphDef
from icebreaker.partitioning.partition import Partition, Refusal, partition
from icebreaker.reports import REASONS
from icebreaker.tensors import Tensor

TFTRT = GRAPHS / "tftrt_unit"
NO = Refusal("unsupported_op", "no converter for this op")


def said(refusal: Refusal) -> tuple[str, str]:
    return refusal.code, str(refusal.text)


def graph(*lines: str) -> Graph:
    """A graph from lines such as `name Op input input:1 ^control`; an Enter opens the frame `loop`."""
    definition = GraphDef()
    for line in lines:
        name, op, *inputs = line.split()
        node = definition.node.add(name=name, op=op)
        node.input.extend(inputs)
        if op == "Enter":
            node.attr["frame_name"].s = b"loop"
    return Graph(definition)


def split(source: Graph, outputs: str, refused: str = "", minimum: int = 1) -> Partition:
    return partition(source, [Tensor.parse(t) for t in outputs.split()], dict.fromkeys(refused.split(), NO), minimum)


def members(found: Partition) -> list[set[str]]:
    return [set(segment.nodes) for segment in found.segments]


# -- examples ----------------------------------------------------------------------------------------------------------


def test_a_chain_is_one_segment():
    found = split(graph("x Placeholder", "w Const", "a Mul x w", "b Add a w", "c Relu b"), "c")
    (segment,) = found.segments
    assert segment.name == "TRTEngineOp_000"
    assert segment.nodes == ("a", "b", "c")
    assert segment.constants == ("w",)
    assert segment.inputs == (Tensor("x"),)
    assert segment.outputs == (Tensor("c"),)
    assert segment.controls == ()
    assert segment.size == 3
    assert set(found.left) == {"x"}
    assert found.left["x"].code == "passive"


@pytest.mark.parametrize("minimum", [1, 2])
def test_a_refused_node_splits_a_diamond(minimum):
    source = graph("x Placeholder", "a Relu x", "b Relu a", "c Erf a", "d Add b c")
    found = split(source, "d", "c", minimum)
    # b may go with a or with d, never may all three; like TF-TRT, segments grow from the outputs.
    assert members(found) == ([{"a"}, {"b", "d"}] if minimum == 1 else [{"b", "d"}])
    assert found.left["c"] == NO
    if minimum == 2:
        assert said(found.left["a"]) == ("too_small", "segment of 1 op is below the minimum of 2")


def test_a_path_through_several_refused_nodes_forbids_joining():
    source = graph("x Placeholder", "a Relu x", "e Erf a", "f Erf e", "b Relu f", "c Add a b")
    assert members(split(source, "c", "e f")) == [{"a"}, {"b", "c"}]


def test_refused_side_branches_do_not_split():
    source = graph("x Placeholder", "e Erf x", "s Relu e", "a Relu x", "d Relu a", "b Add a s", "f Erf d")
    assert members(split(source, "b f", "e f")) == [{"s", "a", "d", "b"}]


def test_a_join_may_clear_the_way_for_another():
    """u→v is blocked by u→w→v until w belongs to one of them."""
    source = graph("x Placeholder", "e Erf x", "u Relu x", "w Add u e", "v Add3 u w e")
    assert members(split(source, "v", "e")) == [{"u", "w", "v"}]


def test_control_edges_do_not_join():
    source = graph("x Placeholder", "y Placeholder", "a Relu x", "b Relu y ^a")
    found = split(source, "a b")
    assert members(found) == [{"a"}, {"b"}]
    assert found.segments[1].controls == ("a",)


def test_a_control_edge_may_lie_inside():
    found = split(graph("x Placeholder", "a Relu x", "b Relu a", "c Add a b ^a"), "c")
    assert members(found) == [{"a", "b", "c"}]
    assert found.segments[0].controls == ()


def test_a_control_edge_can_close_a_cycle():
    source = graph("x Placeholder", "a Relu x", "p Print a", "b Relu a ^p")
    found = split(source, "b", "p")
    assert members(found) == [{"a"}, {"b"}]
    assert found.segments[1].controls == ("p",)


def test_a_path_of_nothing_but_control_edges_forbids_joining():
    source = graph("x Placeholder", "y Placeholder", "u Relu x", "w Relu y ^u", "v Relu u ^w")
    assert members(split(source, "v w")) == [{"u"}, {"w"}, {"v"}]


def test_a_control_edge_into_a_constant_can_close_a_cycle():
    source = graph("x Placeholder", "a Relu x", "p Print a", "w Const ^p", "i Identity w", "b Add a i")
    found = split(source, "b", "p")
    assert members(found) == [{"a"}, {"b"}]
    assert found.segments[1].constants == ("w", "i")
    assert found.segments[1].controls == ("p",)
    assert set(found.left) == {"x", "p"}


def test_a_constant_that_waits_for_a_member_moves_in():
    found = split(graph("x Placeholder", "a Relu x", "w Const ^a", "b Add a w"), "b")
    assert members(found) == [{"a", "b"}]
    assert found.segments[0].constants == ("w",)
    assert found.segments[0].controls == ()


def test_waiting_for_a_constant_means_waiting_for_what_it_waits_for():
    source = graph(
        "x Placeholder", "p Print x", "v Const", "w Const ^p", "u Const ^a", "a Relu x", "b Add a a ^w ^v ^u"
    )  # fmt: skip
    found = split(source, "b", "p")
    assert members(found) == [{"a", "b"}]
    assert found.segments[0].controls == ("p",)
    assert set(found.left) == {"x", "p"}


def test_a_shared_constant_is_copied_and_stays():
    source = graph("x Placeholder", "w Const", "a Add x w", "e Erf a w", "b Add e w")
    found = split(source, "b", "e")
    assert [segment.constants for segment in found.segments] == [("w",), ("w",)]
    assert found.left["w"].code == "passive"
    assert set(found.left) == {"x", "w", "e"}


def test_a_refused_constant_is_an_input():
    found = split(graph("x Placeholder", "w Const", "a Add x w"), "a", "w")
    assert found.segments[0].inputs == (Tensor("x"), Tensor("w"))
    assert found.left["w"] == NO


def test_several_tensors_between_neighbours():
    source = graph("x Placeholder", "s Split x", "e Erf s", "a Add3 e s:1 s", "b Add a s:2 s:1")
    found = split(source, "b s:1", "e")
    assert members(found) == [{"s"}, {"a", "b"}]
    assert found.segments[0].outputs == (Tensor("s"), Tensor("s", 1), Tensor("s", 2))
    assert found.segments[1].inputs == (Tensor("e"), Tensor("s", 1), Tensor("s"), Tensor("s", 2))


def test_outputs_inside_a_segment_and_outside():
    source = graph("x Placeholder", "w Const", "a Relu x", "b Relu a", "i Identity b")
    found = split(source, "a i x w")
    assert members(found) == [{"a", "b", "i"}]
    assert set(found.segments[0].outputs) == {Tensor("a"), Tensor("i")}
    assert found.segments[0].size == 2
    assert {name: found.left[name].code for name in found.left} == {"x": "passive", "w": "passive"}


def test_what_the_outputs_do_not_need_is_nowhere():
    found = split(graph("x Placeholder", "a Relu x", "b Relu a", "c Relu a"), "b")
    assert members(found) == [{"a", "b"}]
    assert set(found.left) == {"x"}


def test_values_do_not_pass_through_an_engine_unchanged():
    source = graph("x Placeholder", "i Identity x", "a Relu i", "b Relu a", "j Identity b", "e Erf i j b")
    found = split(source, "e", "e")
    assert members(found) == [{"a", "b"}]
    assert found.left["i"].code == found.left["j"].code == "passive"
    # Inside is fine where it costs nothing.
    source = graph("x Placeholder", "i Identity x", "a Relu i", "j Identity a", "e Erf j")
    assert members(split(source, "e", "e")) == [{"i", "a", "j"}]


def test_passive_nodes_are_no_segment():
    found = split(graph("x Placeholder", "i Identity x", "j StopGradient i", "n NoOp ^j", "k Identity j ^n"), "k")
    assert found.segments == ()
    assert {reason.code for reason in found.left.values()} == {"passive"}


def test_what_is_only_waited_for_is_no_segment():
    found = split(graph("x Placeholder", "a Relu x", "b Relu a", "e Erf x ^b"), "e", "e")
    assert found.segments == ()
    assert "waited for" in str(found.left["b"].text)


def test_too_small():
    source = graph("x Placeholder", "a Relu x", "i Identity a", "b Relu i", "e Erf b", "w Const", "c Add e w")
    found = split(source, "c", "e", 3)
    assert found.segments == ()
    assert said(found.left["a"]) == said(found.left["b"]) == ("too_small", "segment of 2 ops is below the minimum of 3")
    assert said(found.left["c"]) == ("too_small", "segment of 1 op is below the minimum of 3")
    assert found.left["i"].code == found.left["w"].code == "passive"
    assert members(split(source, "c", "e", 2)) == [{"a", "i", "b"}]


def test_names_that_are_taken_are_left_out():
    source = graph("x Placeholder", "a Relu x", "TRTEngineOp_000 PartitionedCall a", "b Relu TRTEngineOp_000")
    source.definition.library.function.add().signature.name = "TRTEngineOp_001_native_segment"
    assert [s.name for s in split(source, "b", "TRTEngineOp_000").segments] == ["TRTEngineOp_002", "TRTEngineOp_003"]


def test_functional_control_flow_stays():
    found = split(graph("x Placeholder", "a Relu x", "w StatelessWhile a", "b Relu w"), "b")
    assert members(found) == [{"a"}, {"b"}]
    assert found.left["w"].code == "control_flow"


COND = (
    "x Placeholder", "p Placeholder", "s Switch x p", "t Identity s:1", "c Const ^t",
    "a1 Relu s", "a2 Relu a1", "b1 Add s:1 c", "b2 Relu b1", "m Merge a2 b2",
)  # fmt: skip


def test_branches_of_a_conditional_stay_apart():
    found = split(graph(*COND, "before Relu x", "after Add m before"), "after")
    assert sorted(map(sorted, members(found))) == [["a1", "a2"], ["after", "before"], ["b1", "b2"]]
    (branch,) = (s for s in found.segments if "b1" in s.nodes)
    assert branch.constants == ("c",)
    assert branch.controls == ("t",)
    assert found.left["s"].code == found.left["m"].code == "control_flow"


def test_a_constant_may_be_all_that_ties_a_segment_to_its_branch():
    source = graph("x Placeholder", "p Placeholder", "s Switch x p", "t Identity s:1", "c Const ^t", "a Add x c",
                   "b Relu x", "d Add a b", "m Merge d s")  # fmt: skip
    found = split(source, "m")
    # b runs in any case, a and d only in the branch.
    assert sorted(map(sorted, members(found))) == [["a", "d"], ["b"]]
    (branch,) = (s for s in found.segments if "a" in s.nodes)
    assert branch.controls == ("t",)


def test_the_same_branch_of_two_switches_is_one_condition():
    source = graph("x Placeholder", "y Placeholder", "p Placeholder", "q Identity p", "s Switch x p", "t Switch y q",
                   "a Add s:1 t:1", "b Relu s", "m Merge b a", "c Relu m", "d Add c y", "z Relu y",
                   "o Add z d")  # fmt: skip
    found = split(source, "o")
    assert sorted(map(sorted, members(found))) == [["a"], ["b"], ["c", "d", "o", "z"]]


@pytest.mark.parametrize("merge", ["Merge s a2", "Merge a1 a2 b1", "Merge a1 t2"])
def test_other_merges_have_a_condition_of_their_own(merge):
    source = graph(
        "x Placeholder", "p Placeholder", "q Placeholder", "s Switch x p", "s2 Switch x q", "a1 Relu s", "a2 Relu s2:1",
        "t2 Relu s2", "b1 Relu s:1", f"m {merge}", "c Relu m", "z Relu x", "y Relu a1", "o Add3 c z y", "d Relu c",
    )  # fmt: skip
    found = split(source, "o d")
    assert {"c", "d"} in members(found)
    assert {"z"} in members(found)
    assert {"o"} in members(found)
    assert any("y" in nodes and not nodes & {"c", "z", "o"} for nodes in members(found))


LOOP = (
    "x Placeholder", "a Relu x", "e Enter a", "m Merge e n", "k Const ^m", "l Less m k", "c LoopCond l",
    "s Switch m c", "i Identity s:1", "w Const ^i", "b1 Add i w", "b2 Relu b1", "n NextIteration b2", "q Exit s",
    "z Relu q", "o Add z a",
)  # fmt: skip


def test_loops_stay_and_segments_form_around_them():
    found = split(graph(*LOOP), "o")
    assert members(found) == [{"a"}, {"z", "o"}]
    assert said(found.left["b2"]) == ("control_flow", "inside the loop loop")
    assert found.left["n"].code == found.left["q"].code == "control_flow"
    # What leaves a loop lives whenever what enters it does.
    assert members(split(graph(*LOOP, "y Placeholder", "y2 Relu y", "o2 Add o y2"), "o2")) == [
        {"a"},
        {"z", "o", "y2", "o2"},
    ]


def test_a_reason_that_was_given_wins_unless_control_flow_says_more():
    source = graph(*LOOP)
    excluded = Refusal("excluded", "excluded by you")
    found = partition(source, [Tensor("o")], {"b1": NO, "s": NO, "b2": excluded, "a": NO}, 1)
    assert found.left["b1"].code == found.left["s"].code == "control_flow"
    assert found.left["b2"] == excluded
    assert found.left["a"] == NO


def test_a_cycle_is_an_error():
    with pytest.raises(IcebreakerError, match=r"'a' waits for itself"):
        split(graph("x Placeholder", "a Add x b", "b Relu a"), "b")


def test_an_output_that_does_not_exist_is_an_error():
    with pytest.raises(IcebreakerError, match=r"output 'relu'.*did you mean"):
        split(graph("x Placeholder", "Relu Relu x"), "relu")


# -- properties --------------------------------------------------------------------------------------------------------

DEAD = None


class Machine:
    """Runs nodes the way TensorFlow's executor does, with numbers that tell how they were made, and dead values.

    Loops run as if they had one iteration whose condition is both true and false: their nodes stay in TensorFlow, so
    only what they wait for and who waits for them matters.
    """

    def __init__(self, source: Graph, seed: int) -> None:
        self.source = source
        self.seed = seed
        self.values: dict[Tensor, int | None] = {}
        self.alive: dict[str, bool] = {}

    def ready(self, name: str) -> bool:
        node = self.source[name]
        return all(tensor.node in self.alive for tensor in self.inputs(name)) and all(
            item in self.alive for item in node.controls
        )

    def inputs(self, name: str) -> list[Tensor]:
        return [t for t in self.source[name].inputs if self.source[t.node].op != "NextIteration"]

    def run(self, name: str, controls: list[str] | None = None) -> None:
        node = self.source[name]
        values = [self.values[tensor] for tensor in self.inputs(name)]
        if node.op == "Merge":
            alive = any(value is not DEAD for value in values)
        else:
            waited = node.controls if controls is None else controls
            alive = all(value is not DEAD for value in values) and all(self.alive[item] for item in waited)
        self.alive[name] = alive
        for port in range(3):
            self.values[Tensor(name, port)] = self.result(name, values, port) if alive else DEAD

    def result(self, name: str, values: list[int | None], port: int) -> int | None:
        node = self.source[name]
        match node.op:
            case "Identity" | "StopGradient" | "Enter" | "Exit" | "LoopCond" | "NextIteration":
                return values[0] if port == 0 else DEAD
            case "IdentityN":
                return values[port] if port < len(values) else DEAD
            case "Switch":
                both = self.source[node.inputs[1].node].op == "LoopCond"
                return values[0] if both or port == (values[1] or 0) % 2 else DEAD
            case "Merge":
                return next(value for value in values if value is not DEAD) if port == 0 else DEAD
            case "Placeholder":
                return zlib.crc32(f"{name}{self.seed}".encode())
            case "Const":
                return zlib.crc32(name.encode())
            case _:
                return zlib.crc32(f"{node.op}{port}{values}".encode())


def execute(source: Graph, seed: int) -> Machine:
    machine = Machine(source, seed)
    waiting = [node.name for node in source]
    while waiting:
        ready = [name for name in waiting if machine.ready(name)]
        assert ready, "the test made a cyclic graph"
        for name in ready:
            machine.run(name)
        waiting = [name for name in waiting if name not in machine.alive]
    return machine


def execute_partition(source: Graph, found: Partition, seed: int, original: Machine) -> Machine:
    """Runs what is left node by node and each segment as one call that sees nothing but its inputs."""
    machine = Machine(source, seed)
    calls = {segment.name: segment for segment in found.segments}
    home = {name: segment.name for segment in found.segments for name in segment.nodes}
    waiting: list[str] = [*found.left, *calls]
    while waiting:
        left_over = []
        for name in waiting:
            segment = calls.get(name)
            if segment is None:
                if not machine.ready(name):
                    left_over.append(name)
                    continue
                machine.run(name)
            elif any(tensor.node not in machine.alive for tensor in segment.inputs) or any(
                item not in machine.alive for item in segment.controls
            ):
                left_over.append(name)
            else:
                alive = all(machine.values[tensor] is not DEAD for tensor in segment.inputs) and all(
                    machine.alive[item] for item in segment.controls
                )
                inner = Machine(source, seed)
                inner.values = {tensor: machine.values[tensor] for tensor in segment.inputs}
                if alive:
                    inside = {*segment.constants, *segment.nodes}
                    pending = [*segment.constants, *segment.nodes]
                    while pending:  # constants may wait for members
                        ready = [
                            item
                            for item in pending
                            if all(
                                tensor.node in inner.alive or tensor in segment.inputs for tensor in source[item].inputs
                            )
                            and all(other in inner.alive for other in source[item].controls if other in inside)
                        ]
                        assert ready, f"{segment} cannot run"
                        for item in ready:
                            inner.run(item, [other for other in source[item].controls if other in inside])
                        pending = [item for item in pending if item not in inner.alive]
                for item in segment.nodes:
                    assert original.alive[item] == alive, f"{item} in {segment}: alive {original.alive[item]}"
                    machine.alive[item] = alive
                for tensor in segment.outputs:
                    machine.values[tensor] = inner.values[tensor] if alive else DEAD
        assert len(left_over) < len(waiting), f"deadlock: {left_over} in {home}"
        waiting = left_over
    return machine


@st.composite
def graphs(draw, control_flow: bool = True) -> tuple[Graph, list[Tensor], dict[str, Refusal]]:
    lines: list[str] = []
    pool: list[str] = []  # tensors anyone may read
    nodes: list[str] = []  # nodes anyone may wait for

    def add(op: str, *inputs: str, ports: int = 1, offer: bool = True) -> str:
        name = f"{op.lower()}{len(lines)}"
        lines.append(" ".join((name, op, *inputs)))
        if offer:
            nodes.append(name)
            pool.extend(f"{name}:{port}" if port else name for port in range(ports))
        return name

    def tensor() -> str:
        # Mostly recent ones: long thin graphs have more ways to go wrong than flat ones.
        return pool[-1 - min(draw(st.integers(0, len(pool) - 1)), draw(st.integers(0, len(pool) - 1)))]

    def controls(share: int) -> list[str]:
        return [f"^{draw(st.sampled_from(nodes))}"] if draw(st.integers(0, 9)) < share else []

    for _ in range(draw(st.integers(1, 3))):
        add("Placeholder")
    kinds = ["op"] * 7 + ["two", "const", "identity", "identity_n", "noop", "controlled"]
    if control_flow:
        kinds += ["switch", "merge", "cond", "cond", "loop"]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=20)):
        match kind:
            case "op":
                add("Add", *dict.fromkeys(tensor() for _ in range(draw(st.integers(1, 3)))), *controls(2))
            case "two":
                add("Split", tensor(), ports=2)
            case "const":
                add("Const", *controls(5))
            case "controlled":
                add("Mul", tensor(), *controls(10))
            case "identity":
                add(draw(st.sampled_from(["Identity", "StopGradient"])), tensor(), *controls(2))
            case "identity_n":
                add("IdentityN", tensor(), tensor(), ports=2)
            case "noop":
                name = f"noop{len(lines)}"
                lines.append(" ".join((name, "NoOp", *controls(10), *controls(5))))
                nodes.append(name)
            case "switch":
                add("Switch", tensor(), tensor(), ports=2)
            case "merge":
                add("Merge", tensor(), tensor())
            case "cond":
                predicate, value = tensor(), tensor()
                first = add("Switch", value, predicate, ports=2)
                second = add("Switch", tensor(), add("Identity", predicate, offer=False), ports=2)
                pivot = add("Identity", f"{first}:1")
                constant = add("Const", f"^{pivot}")
                yes = add("Add", add("Mul", f"{second}:1"), draw(st.sampled_from([f"{first}:1", constant, value])))
                no = add("Add", first, draw(st.sampled_from([first, second, value])))
                add("Merge", no, yes)
            case "loop":
                serial = len(lines)
                enter = f"enter{serial}"
                lines += [
                    f"{enter} Enter {tensor()}", f"lm{serial} Merge {enter} ln{serial}",
                    f"lc{serial} LoopCond lm{serial}", f"ls{serial} Switch lm{serial} lc{serial}",
                    f"li{serial} Identity ls{serial}:1", f"lk{serial} Const ^li{serial}",
                    f"lb{serial} Add li{serial} lk{serial}", f"ln{serial} NextIteration lb{serial}",
                ]  # fmt: skip
                add("Exit", f"ls{serial}")
    source = graph(*lines)
    outputs = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3, unique=True))
    if draw(st.booleans()):
        outputs.append(pool[-1])
    chance = draw(st.sampled_from([0, 1, 3]))
    refused = [node.name for node in source if node.op not in PLACEHOLDERS and draw(st.integers(0, 9)) < chance]
    return source, [Tensor.parse(item) for item in dict.fromkeys(outputs)], dict.fromkeys(refused, NO)


@settings(max_examples=300, deadline=None)
@given(graphs(), st.integers(1, 4), st.randoms())
def test_any_graph_still_computes_the_same(case, minimum, rng):
    source, outputs, refusals = case
    found = partition(source, outputs, refusals, minimum)

    # Each node is in one place; constants may be in several.
    inside = [name for segment in found.segments for name in segment.nodes]
    copied = {name for segment in found.segments for name in segment.constants}
    assert len(inside) == len(set(inside))
    assert not set(inside) & (set(found.left) | copied | set(refusals))
    assert {*inside, *found.left, *copied} | _only_ordering(source, found) == source.ancestors(t.node for t in outputs)
    for segment in found.segments:
        assert segment.size == sum(source[name].op not in PASSIVE for name in segment.nodes) >= minimum
        assert segment.outputs
        assert len(set(segment.inputs)) == len(segment.inputs)
        assert {source[name].op for name in segment.constants} <= {"Const", "Identity", "StopGradient"}
    for name, reason in found.left.items():
        assert reason.code in REASONS, name
        if name in refusals:
            assert reason == refusals[name] or reason.code == "control_flow"

    # Executed for real, segments at once, the outputs are the same, dead ones too.
    for seed in range(4):
        before = execute(source, seed)
        after = execute_partition(source, found, seed, before)
        assert {t: after.values[t] for t in outputs} == {t: before.values[t] for t in outputs}

    # The file's order does not matter.
    definition = GraphDef()
    definition.node.extend(rng.sample(list(source.definition.node), len(source)))
    assert partition(Graph(definition), outputs, refusals, minimum) == found


def _only_ordering(source: Graph, found: Partition) -> set[str]:
    """Constants that members wait for: the segment waits for what these wait for, so they are not needed."""
    kinds = {"Const", "Identity", "StopGradient"}
    stack = [name for s in found.segments for node in (*s.nodes, *s.constants) for name in source[node].controls]
    seen: set[str] = set()
    while stack:
        name = stack.pop()
        if (
            name not in seen
            and source[name].op in kinds
            and all(source[item].op in kinds for item in source.ancestors(t.node for t in source[name].inputs))
        ):
            seen.add(name)
            stack += [*(t.node for t in source[name].inputs), *source[name].controls]
    return seen


def check_condensed(source: Graph, found: Partition) -> None:
    """The graph of segments and what is left has no cycle, and no two neighbouring segments could be joined."""
    home = {name: segment.name for segment in found.segments for name in segment.nodes}
    before: dict[str, set[str]] = {}
    direct: set[tuple[str, str]] = set()
    for segment in found.segments:
        read = {home.get(tensor.node, tensor.node) for tensor in segment.inputs}
        before[segment.name] = read | {home.get(name, name) for name in segment.controls}
        direct |= {(name, segment.name) for name in read if name in before}
    for name in found.left:
        node = source[name]
        before[name] = {home.get(item, item) for item in (*(tensor.node for tensor in node.inputs), *node.controls)}
    order = list(graphlib.TopologicalSorter(before).static_order())
    names = [segment.name for segment in found.segments]
    assert names == sorted(names)
    reach: dict[str, set[str]] = {}
    for name in order:
        reach[name] = before[name].union(*(reach[item] for item in before[name]))
    for first, second in direct:
        detours = before[second] - {first}
        assert any(first in reach[item] for item in detours), f"{first} and {second} could be one segment"
    for index, name in enumerate(names):
        assert not reach[name] & set(names[index:]), "segments are not numbered in topological order"


@settings(max_examples=200, deadline=None)
@given(graphs(control_flow=False))
def test_no_two_neighbours_could_still_be_joined(case):
    source, outputs, refusals = case
    check_condensed(source, partition(source, outputs, refusals, 1))


@pytest.mark.parametrize("seed", range(100))
def test_larger_graphs_stay_acyclic(seed):
    rng = random.Random(seed)
    lines = ["n0 Placeholder"]
    window = rng.choice([4, 10, 100])
    for index in range(1, 100):
        read = [f"n{rng.randrange(max(0, index - window), index)}" for _ in range(rng.choice([1, 2, 3]))]
        if rng.random() < 0.1:
            read.append(f"^n{rng.randrange(index)}")
        lines.append(f"n{index} Add {' '.join(dict.fromkeys(read))}")
    source = graph(*lines)
    share = rng.choice([0.05, 0.2, 0.4])
    refusals = {node.name: NO for node in source if rng.random() < share}
    check_condensed(source, partition(source, [Tensor.parse(name) for name in source.candidate_outputs], refusals, 1))


# -- TensorFlow itself -------------------------------------------------------------------------------------------------


def test_tensorflow_runs_v1_control_flow_around_native_segments():
    """Nested conditionals, a bare switch and a loop: every segment is a call, and all ways through are taken."""
    tf = pytest.importorskip("tensorflow")
    v1 = tf.compat.v1
    from icebreaker.engine.protocol import Built
    from icebreaker.runtime import artifact_writer
    from icebreaker.tf.session import GraphSession

    with tf.Graph().as_default() as made:
        v1.disable_control_flow_v2()
        try:
            x = v1.placeholder(tf.float32, [None, 4], name="x")
            p, q = v1.placeholder(tf.bool, [], name="p"), v1.placeholder(tf.bool, [], name="q")
            y = tf.nn.relu(x * 2.0) + 1.0

            def inner():
                return v1.cond(q, lambda: tf.tanh(y * 3.0) + 4.0, lambda: tf.fill([2, 4], 5.0) * 2.0 - 1.0)

            z = v1.cond(p, lambda: tf.exp(inner()) - y, lambda: tf.sqrt(tf.abs(y)) + 6.0)
            looped = v1.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, tf.nn.relu(v) * 0.5), [0, z])[1]
            # A branch that only a constant ties to its switch, beside a node that runs in any case.
            ends = tf.raw_ops.Switch(data=y, pred=p)
            with tf.control_dependencies([tf.identity(ends.output_true)]):
                tied = tf.constant(7.0)
            always = tf.nn.relu(y - 1.0)
            merged = tf.raw_ops.Merge(inputs=[ends.output_false, tf.exp(always + tied) - always]).output
            tf.nn.softmax(tf.nn.relu(looped) + tf.sigmoid(z) * y + merged + always, name="out")
        finally:
            v1.enable_control_flow_v2()
    source = Graph(made.as_graph_def())
    assert source.has_control_flow
    outputs = [Tensor("out")]
    found = partition(source, outputs, {}, 2)
    assert len(found.segments) > 3
    original = GraphSession(source.definition)
    nodes = [
        artifact_writer.EngineNode(segment, "none", Built(b"", "fp32", "", ""), tuple(() for _ in segment.inputs))
        for segment in found.segments
    ]
    changed = GraphSession(artifact_writer.assemble(source, outputs, nodes, original))
    value = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    for first in (False, True):
        for second in (False, True):
            feeds = {"x": value, "p": first, "q": second}
            np.testing.assert_allclose(changed.run(outputs, feeds)[0], original.run(outputs, feeds)[0], rtol=1e-6)


# -- TF-TRT ------------------------------------------------------------------------------------------------------------

# What TF-TRT 1.15 refused besides Erf: it never took the graph's outputs, fixed the batch dimension (implicit batch),
# had no INT32 arithmetic, and took ranges in INT8 only. Stem → names, or a way to tell.
REFUSED = {
    "biasadd_matmul__BiasaddMatMulTest": {"MatMul_1", "MatMul_3", "Reshape", "Reshape_1"},
    "int32__ExcludeUnsupportedInt32Test": {"MatMul", "BiasAdd"},
    "quantization__NonQuantizedPrecisionsWithRangesTest": {
        "FakeQuantWithMinMaxVars", *(f"FakeQuantWithMinMaxVars_{i}" for i in range(1, 5))
    },
    "reshape_transpose__ReshapeTest": {f"Reshape{suffix}" for suffix in ("", "_1", "_2", "_3", "_4", "_5")},
    "reshape_transpose__IncompatibleTransposeTest": {"transpose-2", "transpose-3"},
}  # fmt: skip
# Of those, what an explicit batch makes possible: the segments that come on top of TF-TRT's.
REBASED = {
    # MatMul with transpose_a, which transposes the batch, and the reshape that follows.
    "biasadd_matmul__BiasaddMatMulTest": [{"MatMul_1", "Reshape"}, {"MatMul_3", "Reshape_1"}],
    # Reshapes that change the batch, in pairs with an Erf behind.
    "reshape_transpose__ReshapeTest": [
        {"Reshape", "Reshape_1"}, {"Reshape_2", "Reshape_3"}, {"Reshape_4", "Reshape_5"}
    ],
    # A transpose of the batch and another dimension, and back.
    "reshape_transpose__IncompatibleTransposeTest": [{"transpose-2", "transpose-3"}],
}  # fmt: skip


def _tftrt() -> list[dict]:
    path = TFTRT / "index.json"
    return json.loads(path.read_text()) if path.exists() else []


@pytest.mark.skipif(not TFTRT.is_dir(), reason=f"TF-TRT's test graphs are not there: {TFTRT}")
@pytest.mark.parametrize("entry", _tftrt(), ids=lambda entry: Path(entry["file"]).stem)
def test_segments_are_those_of_tftrt(entry):
    stem = Path(entry["file"]).stem
    source = Graph(GraphDef.FromString((TFTRT / entry["file"]).read_bytes()))
    outputs = [Tensor.parse(name) for name in entry["outputs"]]
    always = {*(node.name for node in source if node.op == "Erf"), *(tensor.node for tensor in outputs)}

    def real(names) -> set[str]:
        return {name for name in names if source[name].op not in PASSIVE}

    def segments(refused: set[str]) -> list[set[str]]:
        found = partition(source, outputs, dict.fromkeys(always | refused, NO), 1)
        return [real(segment.nodes) for segment in found.segments]

    found = segments(REFUSED.get(stem, set()))
    expected = entry["expected_engines"]["FP32"]
    if isinstance(expected, dict):
        wanted = sorted(sorted(real(names)) for names in expected.values())
        assert sorted(map(sorted, found)) == wanted
    else:  # only the engines' names are known
        assert len(found) == len(expected)
    if stem in REBASED:
        assert sorted(map(sorted, segments(set()))) == sorted(map(sorted, found + REBASED[stem]))


# -- size --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.10])
def test_ten_thousand_nodes(share):
    rng = random.Random(7)
    definition = GraphDef()
    definition.node.add(name="n0", op="Placeholder")
    for index in range(1, 10_000):
        node = definition.node.add(name=f"n{index}", op="Add")
        node.input.extend(f"n{rng.randrange(index)}" for _ in range(2))
    source = Graph(definition)
    refusals = {node.name: NO for node in source if rng.random() < share}
    found = partition(source, [Tensor(name) for name in source.candidate_outputs], refusals)
    inside = [name for segment in found.segments for name in segment.nodes]
    assert len(inside) == len(set(inside)) and not set(inside) & set(refusals)
    assert set(inside) | set(found.left) == {node.name for node in source}
