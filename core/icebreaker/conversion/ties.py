"""Where TensorFlow's own answer hangs on the last bits: an engine that rounds otherwise is not wrong there.

An arg max of two scores that are almost the same, a rounding of 2.4999: TensorFlow itself gives something else when
what it decides on is moved by what rounding may move it. So it is asked: the floats that a graph of operations decides
on are moved a few times by at most the tolerance of the precision, and its float inputs by the precision's last bits.
What changes is a tie. Floats that were not computed, and whole numbers that are kept in floats, are never moved: those
are names and counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icebreaker.graph.ops import FORWARDING, PLACEHOLDERS, V1_CONTROL_FLOW
from icebreaker.metrics.agreement import Agreement, agreement
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

_DRAWS = 8
# Half of the last bit of a number of 1, with room for a few operations.
_LAST_BITS: Mapping[str, float] = {"fp32": 2.0**-21, "fp16": 2.0**-10, "bf16": 2.0**-7}
# Ops that make something whole, true or ordered of floats: op → the slots that they decide on.
_DECIDING: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(
        ("ArgMax", "ArgMin", "TopK", "TopKV2", "Cast", "Floor", "Ceil", "Round", "Rint", "Sign", "Where", "NthElement",
         "CombinedNonMaxSuppression", "Unique", "UniqueV2", "Bucketize", "InTopK", "InTopKV2"), (0,)
    ),
    **dict.fromkeys(
        ("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual", "FloorDiv", "FloorMod", "Mod",
         "TruncateMod", "TruncateDiv", "NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3",
         "NonMaxSuppressionV4", "NonMaxSuppressionV5", "LowerBound", "UpperBound"), (0, 1)
    ),
}  # fmt: skip
_MOVING_NAMES = """
    Const Cast Reshape Transpose Squeeze ExpandDims Concat ConcatV2 Pack Unpack Split SplitV Slice StridedSlice Gather
    GatherV2 GatherNd Pad PadV2 MirrorPad Tile Fill Select SelectV2 Relu Relu6 Max Min Maximum Minimum MaxPool Neg Abs
    Floor Ceil Round Rint Sign BroadcastTo ReverseV2 Reverse ReverseSequence DepthToSpace SpaceToDepth BatchToSpaceND
    SpaceToBatchND ScatterNd IdentityN TopK TopKV2 ClipByValue OneHot ZerosLike OnesLike
"""
# Ops that hand floats on as they are, or choose among them.
_MOVING = FORWARDING | PLACEHOLDERS | frozenset(
    _MOVING_NAMES.split()
)  # fmt: skip


@dataclass(frozen=True)
class Spread:
    """What TensorFlow gives of one output when what it decides on is moved a little.

    Attributes:
        moves: Where that changes it; None: even the shape changes.
        low: The smallest of what it gives, of numbers.
        high: The largest.
    """

    moves: np.ndarray | None
    low: Any = None
    high: Any = None


class Ties:
    """Operations whose answers are to be judged."""

    def __init__(self, definition: Any, outputs: Sequence[Tensor], store: Store | None) -> None:
        """Looks for what decides.

        Args:
            definition: The operations, as a GraphDef of TensorFlow.
            outputs: What is judged.
            store: Where big constants are.
        """
        plain = GraphSession(definition, store=store)
        changed = type(definition)()
        changed.CopyFrom(definition)
        self._entries: list[str] = []
        looped = any(node.op in V1_CONTROL_FLOW for node in definition.node)
        if not looped:
            self._open(plain.graph, changed)
        plain.close()
        self._session = GraphSession(changed, reference=True, store=store)
        self._outputs = tuple(outputs)

    def spreads(self, feeds: Mapping[str, np.ndarray], tolerance: float, precision: str) -> list[Spread]:
        """For each output, where TensorFlow's answer on these inputs is a tie.

        Args:
            feeds: Values of the inputs by canonical name.
            tolerance: By how much of its range what is decided on may be moved.
            precision: Of the engine.
        """
        entries = [Tensor(name) for name in self._entries]
        base = self._session.run([*self._outputs, *entries], feeds)
        answers, decided = base[: len(self._outputs)], base[len(self._outputs) :]
        random = np.random.default_rng(0)
        drawn: list[list[np.ndarray]] = []
        for _ in range(_DRAWS):
            moved = {name: _rounded(value, _LAST_BITS.get(precision, 0.0), random) for name, value in feeds.items()}
            for entry, value in zip(self._entries, decided, strict=True):
                if not _is_whole(value):
                    moved[entry] = _shifted(value, tolerance, random)
            with contextlib.suppress(Exception):  # what a tie decides may be out of range elsewhere
                drawn.append(self._session.run(self._outputs, moved))
        return [
            _spread(answer, [draw[index] for draw in drawn], tolerance) for index, answer in enumerate(answers)
        ]  # fmt: skip

    def without(
        self, agreements: Sequence[Agreement], feeds: Mapping[str, np.ndarray], want: Sequence[np.ndarray],
        have: Sequence[np.ndarray], tolerance: float, precision: str,
    ) -> list[Agreement]:  # fmt: skip
        """Compares again what does not agree, without the places that are ties; the session is closed afterwards."""
        try:
            spreads = self.spreads(feeds, tolerance, precision)
        finally:
            self._session.close()
        found = []
        for first, left, right, spread in zip(agreements, want, have, spreads, strict=True):
            if first.agrees:
                found.append(first)
            elif spread.moves is None:  # even the shape is a tie
                found.append(Agreement(0.0, True, 0))
            else:
                found.append(agreement(left, right, tolerance, spread.moves, spread.low, spread.high))
        return found

    def _open(self, graph: Any, definition: Any) -> None:
        """Puts an entry in front of each place where computed floats are decided on."""
        nodes = {node.name: node for node in definition.node}
        computed: set[str] = set()
        for operation in graph.get_operations():
            comes_computed = any(item.name in computed for item in operation.inputs)
            if comes_computed or operation.type not in _MOVING:
                computed.update(item.name for item in operation.outputs if item.dtype.is_floating)
            for slot in _DECIDING.get(operation.type, ()):
                if operation.type == "Cast" and operation.outputs[0].dtype.is_floating:
                    continue
                if slot < len(operation.inputs) and (read := operation.inputs[slot]).name in computed:
                    entry = definition.node.add(
                        name=f"icebreaker/tie_{len(self._entries)}", op="PlaceholderWithDefault"
                    )
                    entry.input.append(nodes[operation.name].input[slot])
                    entry.attr["dtype"].type = read.dtype.as_datatype_enum
                    entry.attr["shape"].shape.unknown_rank = True
                    nodes[operation.name].input[slot] = entry.name
                    self._entries.append(entry.name)


def _is_whole(value: np.ndarray) -> bool:
    """Whether floats are whole numbers: then they name or count something."""
    finite = value[np.isfinite(value)]
    return bool((finite == np.rint(finite)).all())


def _rounded(value: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Each float moved by at most a share of itself."""
    if value.dtype.kind != "f" or _is_whole(value):
        return value
    return (value * (1 + share * random.uniform(-1, 1, value.shape))).astype(value.dtype)


def _shifted(value: np.ndarray, tolerance: float, random: np.random.Generator) -> np.ndarray:
    """Each float moved by at most a share of the largest."""
    finite = np.abs(value[np.isfinite(value)])
    most = tolerance * float(finite.max()) if finite.size else 0.0
    return (value + most * random.uniform(-1, 1, value.shape)).astype(value.dtype)


def _spread(answer: np.ndarray, drawn: Sequence[np.ndarray], tolerance: float) -> Spread:
    if any(item.shape != answer.shape for item in drawn):
        return Spread(None)
    moves = np.zeros(answer.shape, bool)
    if answer.dtype.kind == "O":
        for item in drawn:
            moves |= item != answer
        return Spread(moves)
    low, high = answer, answer
    finite = np.abs(answer[np.isfinite(answer)]) if answer.dtype.kind == "f" else None
    most = tolerance * float(finite.max()) if finite is not None and finite.size else 0.0
    for item in drawn:
        low, high = np.minimum(low, item), np.maximum(high, item)
        if answer.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                same = (np.abs(item - answer) <= most) | (item == answer) | (np.isnan(item) & np.isnan(answer))
            moves |= ~same
        else:
            moves |= item != answer
    return Spread(moves, low, high)
