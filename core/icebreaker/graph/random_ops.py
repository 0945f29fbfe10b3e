"""Ops that draw random numbers, anew in each run: what hangs on them is compared with the same draws, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icebreaker.graph.functions import reachable_functions
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.ops import ENTERS, EXITS
from icebreaker.graph.traversal import reachable
from icebreaker.messages import Message, message
from icebreaker.tensors import Tensor

_NAMES = """
    RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal ParameterizedTruncatedNormal RandomShuffle
    RandomGamma RandomPoisson RandomPoissonV2 Multinomial RandomCrop StatefulUniform StatefulUniformInt
    StatefulUniformFullInt StatefulStandardNormal StatefulStandardNormalV2 StatefulTruncatedNormal
    StatefulRandomBinomial NonDeterministicInts RngReadAndSkip RngSkip UniformCandidateSampler
    LogUniformCandidateSampler LearnedUnigramCandidateSampler ThreadUnsafeUnigramCandidateSampler
    FixedUnigramCandidateSampler AllCandidateSampler SampleDistortedBoundingBox SampleDistortedBoundingBoxV2
"""
# Those whose draws are no function of their inputs, of all that TensorFlow 2.21 registers: not the stateless ones.
RANDOM_OPS = frozenset(_NAMES.split())


@dataclass(frozen=True)
class Randomness:
    """Where a graph draws random numbers.

    Attributes:
        draws: What random nodes give that is read or is an output, and can be recorded and fed again.
        hidden: Nodes that draw where nothing can be fed: in loops and functions.
        clouded: All nodes that hang on `hidden` ones.
    """

    draws: tuple[Tensor, ...]
    hidden: tuple[str, ...]
    clouded: frozenset[str]

    @property
    def any(self) -> bool:
        """Whether two runs on the same inputs may differ."""
        return bool(self.draws or self.hidden)


def find_randomness(graph: Graph, outputs: Sequence[Tensor]) -> Randomness:
    """Finds what draws random numbers, and what hangs on draws that cannot be fed."""
    random = [node for node in graph if node.op in RANDOM_OPS]
    functions = {item.signature.name: item for item in graph.definition.library.function}

    def draws_inside(node: Node) -> bool:
        names = reachable_functions([node.definition], graph.definition.library) if functions else ()
        return any(inner.op in RANDOM_OPS for name in names for inner in functions[name].node_def)

    in_functions = [node.name for node in graph if node.functions and draws_inside(node)] if functions else []
    in_loops = _in_loops(graph)
    hidden = [*(node.name for node in random if node.name in in_loops), *in_functions]
    clouded = frozenset(reachable(hidden, lambda name: graph.consumers[name]))
    open_to = {node.name for node in random if node.name not in in_loops}
    read = dict.fromkeys((*(tensor for node in graph for tensor in node.inputs), *outputs)) if open_to else {}
    draws = tuple(tensor for tensor in read if tensor.node in open_to)
    return Randomness(draws, tuple(hidden), clouded)


def random_not_compared(tensor: Tensor) -> Message:
    """The warning that an output is not compared."""
    return message(
        "random_not_compared",
        "{subject} is not compared: it depends on random numbers that are drawn inside of a loop or function",
        subject=tensor,
    )


def _in_loops(graph: Graph) -> frozenset[str]:
    """Nodes inside the loops of TensorFlow 1."""
    starts = [node.name for node in graph if node.op in ENTERS]
    inside = reachable(starts, lambda name: () if graph[name].op in EXITS else graph.consumers[name])
    return frozenset(name for name in inside if graph[name].op not in EXITS)
