"""Where numbers in floating point are names or places: there, half precision must not round.

A float may be a measurement, of which 8 or 11 bits are enough, or a word's id, a position, a coordinate, a count, of
which 16 bits make another. Which it is shows in what becomes of it. From where exactness is needed (an index, a shape,
a comparison of what no weight has touched, a step such as Floor, the argument of a sine), the search goes backwards
until it meets what was learned: the result of a convolution or matrix product is a measurement. Sums of what is made of
whole numbers alone are counts.

Engines tell of their networks in ONNX's words and get names of nodes back; how they keep those in FP32 is their affair.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

# Which inputs are a place, in ONNX's order of inputs.
_INDEX_INPUTS: Mapping[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,), "Expand": (1,), "Gather": (1, 2), "GatherElements": (1,), "GatherND": (1,),
    "GridSample": (1,), "NonMaxSuppression": (0,), "OneHot": (0, 1), "Pad": (1, 2), "Range": (0, 1, 2),
    "Reshape": (1,), "Resize": (1, 2, 3), "RoiAlign": (1,), "ScatterElements": (1,), "ScatterND": (1,),
    "Slice": (1, 2, 3, 4), "Split": (1, 2), "Tile": (1,), "TopK": (1,), "Unsqueeze": (1,),
}  # fmt: skip
_STEPS = frozenset({"Ceil", "Floor", "Mod", "Round"})
_COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "NotEqual"})
_PERIODIC = frozenset({"Cos", "Sin", "Tan"})
_BODIES = frozenset({"If", "Loop", "Scan"})
_SUMS = frozenset({"CumSum", "ReduceL1", "ReduceSum"})
# A place that is found among scores: which score is the greatest does not ask for all their digits.
_CHOICES = frozenset({"ArgMax", "ArgMin", "NonMaxSuppression", "NonZero", "Shape", "Size", "TopK"}) | _COMPARISONS
_PRODUCTS = frozenset({"Einsum", "Gemm", "MatMul"})
_HEAVY = _PRODUCTS | {
    "Conv", "ConvTranspose", "DeformConv", "DequantizeLinear", "GRU", "LSTM", "QuantizeLinear", "RNN",
}  # fmt: skip
_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})
_LEARNED = 2  # of `depth`: at least this much lies between a tensor and what the graph was given


class _Need(IntEnum):
    """How far back a need of exactness reaches."""

    REST = 0  # behind the one matrix product: to the next
    STEP = 1  # to what was learned
    INDEX = 2  # through one matrix product: that of a coordinate transform


@dataclass(frozen=True)
class Step:
    """A node: its op in ONNX's words, and the tensors it reads and gives, those of inner graphs among the inputs."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """What has to be known of a network.

    Attributes:
        steps: Its nodes, each after those that it reads from.
        floats: Tensors in floating point.
        constants: Tensors that are known beforehand.
        outputs: What it gives.
    """

    steps: Sequence[Step]
    floats: Collection[str]
    constants: Collection[str]
    outputs: Collection[str] = field(default=())


def exact_nodes(network: Network, *, to_the_digit: bool = False) -> frozenset[str]:
    """Names of the nodes whose float results must have all digits of FP32, and so must what they read.

    Args:
        network: The network.
        to_the_digit: Only those whose last digit decides: before a step or a comparison, and untouched by weights,
            behind which the last digit is chance.
    """
    return _Search(network, to_the_digit).run()


class _Search:
    def __init__(self, network: Network, to_the_digit: bool) -> None:
        self._network, self._to_the_digit = network, to_the_digit
        self._fixed = set(network.constants)  # and what is computed from them alone: not a place to begin at
        self._makers: dict[str, Step] = {}
        self._depth: dict[str, int] = {}  # float tensor → heavy nodes on the way to it, up to `_LEARNED`
        self._needs: dict[str, _Need] = {}
        self._found: set[str] = set()

    def run(self) -> frozenset[str]:
        self._go_forward()
        for step in self._network.steps:
            if not self._fixed.issuperset(step.outputs):
                self._begin_at(step)
        for tensor in () if self._to_the_digit else self._network.outputs:
            if self._depth.get(tensor) == 0:  # nobody knows what will become of it
                self._ask(tensor, _Need.STEP)
        if self._to_the_digit:
            touched = {step.name for step in self._network.steps if any(map(self._depth.get, self._floats(step)))}
            return frozenset(self._found - touched)
        return frozenset(self._found)

    def _go_forward(self) -> None:
        """Finds what is constant, what was learned, and sums of what is made of whole numbers alone."""
        whole: set[str] = set()
        for step in self._network.steps:
            if step.inputs and all(name in self._fixed or not name for name in step.inputs):
                self._fixed.update(step.outputs)
            self._makers.update(dict.fromkeys(step.outputs, step))
            floats = [name for name in step.outputs if name in self._network.floats]
            reads, weight = self._floats(step), self._weight(step)
            depth = max((self._depth.get(name, 0) for name in reads), default=0)
            self._depth.update(dict.fromkeys(floats, min(depth + weight, _LEARNED)))
            if floats and not weight and all(name in whole for name in reads):
                whole.update(floats)
                if step.op in _SUMS and not self._fixed.issuperset(step.outputs):
                    self._keep(step)

    def _weight(self, step: Step) -> int:
        """How far a node leads from what the graph was given towards what was learned."""
        if step.op in _LOOKUPS and step.inputs[0] in self._fixed:
            return _LEARNED  # an embedding
        return 1 if step.op in _PRODUCTS else _LEARNED if step.op in _HEAVY else 0

    def _floats(self, step: Step) -> list[str]:
        """The floats that a node reads and that are not known beforehand."""
        network = self._network
        return [name for name in step.inputs if name in network.floats and name not in network.constants]

    def _begin_at(self, step: Step) -> None:
        """Asks for what a node needs to be exact."""
        for slot in _INDEX_INPUTS.get(step.op, ()):
            if slot < len(step.inputs):
                self._ask(step.inputs[slot], _Need.INDEX)
        reads = self._floats(step)
        depth = max((self._depth.get(name, 0) for name in reads), default=0)
        if (
            step.op in _STEPS
            or (step.op == "Cast" and step.outputs[0] not in self._network.floats)
            or (step.op in _PERIODIC and depth < _LEARNED and not self._to_the_digit)
            or (step.op in _CHOICES | _BODIES and depth == 0)
            # What is left behind the point.
            or (step.op in ("Add", "Sub") and len(reads) == 2 and any(map(self._is_step, reads)))
        ):
            self._keep(step)

    def _is_step(self, tensor: str) -> bool:
        """Whether a tensor comes from Floor or its like, its sign turned perhaps: OpenVINO subtracts by adding."""
        maker = self._makers.get(tensor)
        if maker is not None and maker.op in ("Mul", "Neg"):
            maker = next((self._makers[name] for name in self._floats(maker) if name in self._makers), None)
        return maker is not None and maker.op in _STEPS

    def _keep(self, step: Step) -> None:
        """Keeps a node in FP32, and asks for what it reads."""
        if reads := self._floats(step):
            self._found.add(step.name)
            for name in reads:
                self._ask(name, _Need.STEP)

    def _ask(self, tensor: str, need: _Need) -> None:
        """Asks for a tensor, and for those it is made of."""
        waiting = [(tensor, need)]
        while waiting:
            name, need = waiting.pop()
            step = self._makers.get(name)
            if step is None or self._needs.get(name, -1) >= need:
                continue
            self._needs[name] = need
            if name not in self._network.floats:
                if need is _Need.INDEX and step.op not in _CHOICES:
                    self._found.update([step.name] if step.op == "Cast" and self._floats(step) else [])
                    waiting += [(item, need) for item in step.inputs]
                continue
            after = need
            if step.op in _HEAVY:
                if not self._passes(step, need):
                    continue
                after = _Need.REST
            self._found.add(step.name)
            waiting += [(item, after) for item in self._floats(step)]
            if step.op == "Cast" and need is _Need.INDEX:
                waiting.append((step.inputs[0], need))

    def _passes(self, step: Step, need: _Need) -> bool:
        """Whether a heavy node computes with names and places, too."""
        if need is _Need.REST:
            return False
        if step.op in _PRODUCTS and need is _Need.INDEX:
            return True
        return all(self._depth.get(name, 0) == 0 for name in self._floats(step))
