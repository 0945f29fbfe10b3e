"""Values on which engines err while they are right on friendly ones: negative, zero, big, tiny, twice the same, NaN.

Made for the graph's own inputs, so that what is inside only gets what can get there: behind a Softmax, nothing is big.
The graph in TensorFlow must take them; an input whose hard values it refuses keeps its friendly ones. All are seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from icebreaker.data.input_roles import Role, input_roles
from icebreaker.data.sample_inputs import Feeds
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

# Kind of a set → what is in it, in words that follow "on".
KINDS: Mapping[str, str] = {
    "signed": "negative numbers and zeros",
    "large": "large numbers",
    "beyond": "large whole numbers",
    "largest": "the largest whole numbers",
    "tiny": "tiny numbers",
    "same": "equal and missing numbers",
    "nan": "NaN and infinity",
}
# Of places, the largest that the graph takes: so many are tried from the first on.
_PLACES = (100_000, 20_000, 5_000, 1_000, 300, 100, 30, 12, 5)
_SECONDS = 10.0  # for one run: more means that a number made a loop long
_MOST_INPUTS = 16  # that are tried one by one
# Ops that leave memory as it was where nobody writes: two runs may differ.
_UNWRITTEN = frozenset({"DynamicStitch", "ParallelDynamicStitch", "Empty", "EmptyTensorList"})


@dataclass(frozen=True)
class HardValues:
    """A set of inputs, and what TensorFlow makes of it.

    Attributes:
        kind: A key of `KINDS`.
        feeds: Input name → value, of the shapes of the friendly ones.
        results: Output → value.
    """

    kind: str
    feeds: Feeds
    results: dict[Tensor, np.ndarray]


def hard_values(
    original: GraphSession,
    graph: Graph,
    outputs: Sequence[Tensor],
    friendly: Feeds,
    kinds: Sequence[str] = tuple(KINDS),
    guarded: Callable[[str], AbstractContextManager[bool]] = lambda kind: nullcontext(True),
    *,
    text: bool = True,
) -> Iterator[HardValues]:
    """Sets of hard values that the graph takes.

    Args:
        original: The graph in TensorFlow.
        graph: The same graph.
        outputs: What must come out.
        friendly: Values that it takes.
        kinds: Those of `KINDS` to make.
        guarded: Around the runs of a kind; gives False if it must be left out.
        text: Whether other text may be fed: not where it might name a file that is written.
    """
    roles = input_roles(graph, original)
    words = _words(graph)
    offers = {
        name: _offers(name, value, roles.get(name, "value"), words, np.random.default_rng([7, *name.encode()]))
        for name, value in friendly.items()
        if text or value.dtype != object
    }
    unsure = not _UNWRITTEN.isdisjoint(graph.op_counts)
    for kind in kinds:
        offered = {name: offer[kind] for name, offer in offers.items() if kind in offer}
        if not offered:
            continue
        with guarded(kind) as allowed:
            if not allowed:
                continue
            found = _accepted(original, outputs, friendly, offered)
            if found is not None and not (unsure and _varies(original, found)):
                yield HardValues(kind, *found)


def _accepted(
    original: GraphSession, outputs: Sequence[Tensor], friendly: Feeds, offered: Mapping[str, list[np.ndarray]]
) -> tuple[Feeds, dict[Tensor, np.ndarray]] | None:
    """The hardest of what is offered that the graph takes: all inputs together, else one after the other."""

    def attempt(feeds: Feeds) -> dict[Tensor, np.ndarray] | None:
        try:
            return dict(zip(outputs, original.run(outputs, feeds, _SECONDS), strict=True))
        except Exception:  # whatever TensorFlow says to values that it does not take
            return None

    for index in range(max(map(len, offered.values()))):
        feeds = friendly | {name: offer[min(index, len(offer) - 1)] for name, offer in offered.items()}
        if (results := attempt(feeds)) is not None:
            return feeds, results
    if len(offered) == 1:
        return None
    best: tuple[Feeds, dict[Tensor, np.ndarray]] | None = None
    for name, offer in list(offered.items())[:_MOST_INPUTS]:
        base = best[0] if best else friendly
        for value in offer:
            if (results := attempt(base | {name: value})) is not None:
                best = base | {name: value}, results
                break
    return best


def _varies(original: GraphSession, found: tuple[Feeds, dict[Tensor, np.ndarray]]) -> bool:
    """Whether TensorFlow gives something else the second time."""
    feeds, results = found
    again = original.run(tuple(results), feeds, _SECONDS)
    return any(
        one.shape != two.shape or one.tobytes() != two.tobytes()
        for one, two in zip(results.values(), again, strict=True)
        if one.dtype != object
    )


def _offers(
    name: str, friendly: np.ndarray, role: Role, words: Sequence[bytes], random: np.random.Generator
) -> dict[str, list[np.ndarray]]:
    """Kind → values of a friendly one's type and shape, the hardest first; nothing for what has no elements."""
    if not friendly.size:
        return {}
    match friendly.dtype.kind:
        case "f" if role == "value":
            return _floats(friendly, random)
        case "f":  # whole numbers that are kept in floats
            found = _whole(np.zeros(friendly.shape, np.int32), role, random)
            return {kind: [value.astype(friendly.dtype) for value in values] for kind, values in found.items()}
        case "i" | "u":
            return _whole(friendly, role, random)
        case "b":
            drawn = random.random(friendly.shape) < 0.5
            return {"signed": [drawn], "same": [~friendly]}
        case "O":
            drawn = random.integers(0, len(words), friendly.shape)
            text = np.empty(friendly.shape, object)
            text[...] = np.array([*words, None], object)[drawn]
            return {"signed": [text]}
        case _:
            return {}


def _floats(like: np.ndarray, random: np.random.Generator) -> dict[str, list[np.ndarray]]:
    shape, kind = like.shape, like.dtype
    special = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5])

    def mixed(values: np.ndarray, others: np.ndarray, share: float) -> np.ndarray:
        chosen = others[random.integers(0, len(others), shape)]
        return np.where(random.random(shape) < share, chosen, values).astype(kind)

    signed = mixed(2 * random.standard_normal(shape), special, 0.4)
    large = random.uniform(-300, 300, shape)
    tiny = random.choice([-1.0, 1.0], shape) * 10.0 ** random.uniform(-9, -5, shape)
    missing = mixed(signed, np.array([np.nan, np.nan, np.inf, -np.inf]), 0.2)
    missing.flat[0] = np.nan
    if kind == np.float16:
        tiny = tiny * 100
    found = {
        "signed": [signed],
        "large": [np.where(random.random(shape) < 0.5, np.rint(large), large).astype(kind)],
        "tiny": [tiny.astype(kind)],
        "nan": [missing],
    }
    # Signs may be what it does not take, such as the variance of something.
    return {name: [values[0], np.abs(values[0])] for name, values in found.items()}


def _whole(like: np.ndarray, role: Role, random: np.random.Generator) -> dict[str, list[np.ndarray]]:
    shape, kind = like.shape, like.dtype
    limits = np.iinfo(kind)

    def cast(values: np.ndarray) -> np.ndarray:
        return np.clip(values, limits.min, limits.max).astype(kind)

    if limits.bits <= 16:  # all that there is, the ends among it
        drawn = random.integers(limits.min, limits.max, shape, kind, endpoint=True)
        ends = random.choice(np.array([limits.min, limits.max], kind), shape)
        return {"signed": [np.where(random.random(shape) < 0.1, ends, drawn)]}
    if role == "size":
        return {"signed": [cast(random.integers(0, 4, shape))], "same": [cast(np.ones(shape, np.int64))]}
    gaps = random.choice([0, 0, 2, 5], shape)  # twice the same, and some missing
    same = [cast(np.sort(gaps, axis=None).reshape(shape)), cast(gaps)]
    if role == "index":
        return {
            "signed": [cast(random.integers(-3, 6, shape)), cast(random.integers(-1, 3, shape))],
            "beyond": [cast(random.integers(most // 2, most, shape)) for most in _PLACES],
            "same": [*same, cast(np.sort(np.minimum(gaps, 2), axis=None).reshape(shape))],
        }
    signs = random.choice([-1, 1], shape)
    # Odd, so that a float32 cannot hold it.
    beyond = 2 * random.integers(1 << 23, 1 << 26, shape) + 1
    # Near one another and near the type's end: seconds since 1970, hashes, addresses.
    end = random.integers(0, 1 << 20, shape)
    largest = np.int64(1 << 31) - 1 - end if limits.bits <= 32 else np.int64(1 << 53) + 1 + end * 4097
    return {
        "signed": [cast(random.integers(-9, 10, shape)), cast(random.integers(0, 10, shape))],
        "beyond": [cast(beyond * signs), cast(beyond)],
        "largest": [cast(largest * signs), cast(largest)],
        "same": same,
    }


def _words(graph: Graph) -> list[bytes]:
    """Text to feed: what the graph itself has, such as a table's keys, and what it has not."""
    found: dict[bytes, None] = dict.fromkeys((b"", b"7", b"-3.5", "ä ß 漢".encode(), b"a b  c"))
    for node in graph:
        if node.op == "Const" and (value := node.value) is not None and value.dtype == "string":
            found.update(dict.fromkeys(list(node.definition.attr["value"].tensor.string_val)[:64]))
    return list(found)[:256]
