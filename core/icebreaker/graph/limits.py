"""How big a graph may be: checked on the message, before memory or time is spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.graph import functions
from icebreaker.graph.functions import Callee

# Limits: far above any real graph, far below what would harm the machine. docs/safety.md lists them.
MOST_NODES = 1_000_000  # functions' nodes included, as often as they are called
MOST_FUNCTION_DEPTH = 64  # functions that call functions
MOST_RANK = 254  # TensorFlow's own limit
MOST_CONSTANT_BYTES = 1 << 31  # of one constant, as it will be in memory; a file can hold no more
MOST_CONSTANTS_BYTES = 1 << 33  # of all of them together

# DataType enum → bytes of one element in memory, those of handles and of strings' heads included.
_MEMORY_BYTES: Mapping[int, int] = {
    1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 7: 24, 8: 8, 9: 8, 10: 1, 11: 1, 12: 1, 13: 4, 14: 2, 15: 2, 16: 2, 17: 2,
    18: 16, 19: 2, 20: 64, 21: 64, 22: 4, 23: 8,
}  # fmt: skip


def check_limits(definition: Any, source: str) -> None:
    """Refuses a GraphDef beyond what any real graph is, before memory or time is spent on it.

    Args:
        definition: A GraphDef message.
        source: What to name in the error, such as the file.

    Raises:
        IcebreakerError: It has too many nodes, too big constants, functions that occur twice, nest too deeply, call
            themselves or unfold to too many, or a constant whose shape cannot be.
    """
    library = definition.library.function
    (name, times), *_ = [*Counter(function.signature.name for function in library).most_common(1), ("", 0)]
    if times > 1:
        raise IcebreakerError(
            "function_repeated", "{file}: the function {subject!r} is there twice", "damaged_export_again",
            subject=name, file=source,
        )  # fmt: skip
    count = len(definition.node) + sum(len(function.node_def) for function in library)
    if count > MOST_NODES:
        raise IcebreakerError(
            "too_many_nodes", "{subject} has {count:,} nodes, but at most {most:,} are taken", "export_a_part",
            subject=source, count=count, most=MOST_NODES,
        )  # fmt: skip
    total = _constant_bytes(definition.node, source)
    for function in library:
        total += _constant_bytes(function.node_def, source)
    if total > MOST_CONSTANTS_BYTES:
        raise IcebreakerError(
            "constants_too_big",
            "{subject} has constants that unfold to {gigabytes:.1f} GB, but at most {most:.1f} GB are taken",
            "made_to_fill_memory", subject=source, gigabytes=total / 1e9, most=MOST_CONSTANTS_BYTES / 1e9,
        )  # fmt: skip
    if library:
        _check_calls(definition, source)


def _constant_bytes(nodes: Sequence[Any], source: str) -> int:
    """Bytes that the constants among NodeDef messages will have in memory; raises for one that has too many."""
    total = 0
    for node in nodes:
        if node.op not in ("Const", "HostConst"):
            continue
        tensor = node.attr["value"].tensor
        dims = tensor.tensor_shape.dim
        size = _MEMORY_BYTES.get(tensor.dtype, 1)
        for dim in dims:
            size *= dim.size
        if len(dims) > MOST_RANK or any(dim.size < 0 for dim in dims):
            raise IcebreakerError(
                "constant_shape_impossible", "{file}: the constant {subject!r} has an impossible shape",
                "damaged_export_again", subject=node.name, file=source,
            )  # fmt: skip
        if size > MOST_CONSTANT_BYTES:
            raise IcebreakerError(
                "constant_too_big", "{file}: the constant {subject!r} unfolds to more than {most:.1f} GB",
                "made_to_fill_memory", subject=node.name, file=source, most=MOST_CONSTANT_BYTES / 1e9,
            )  # fmt: skip
        total += size
    return total


def _check_calls(definition: Any, source: str) -> None:
    """Refuses functions that call themselves, nest too deeply, or call each other too often to be put in place."""
    calls = functions.calls(definition)
    bodies = {function.signature.name: len(function.node_def) for function in definition.library.function}
    depth: dict[Callee, int] = {}
    size: dict[Callee, int] = {}  # nodes, with those of all that is called
    for start in calls:
        stack: list[tuple[Callee, Iterator[Callee]]] = [] if start in depth else [(start, iter(calls[start]))]
        open_ones = {start}
        while stack:
            here, rest = stack[-1]
            other = next(rest, None)
            if other is None:
                stack.pop()
                open_ones.discard(here)
                called = [item for item in calls[here] if item in depth]
                depth[here] = 1 + max((depth[item] for item in called), default=0)
                size[here] = bodies.get(here.name, 0) + sum(size[item] for item in called)
                _check_call(here, depth[here], size[here], source)
            elif other in open_ones:
                raise IcebreakerError(
                    "function_calls_itself", "{file}: the function {subject!r} calls itself, which cannot be frozen",
                    "export_again", subject=other.name, file=source,
                )  # fmt: skip
            elif other not in depth and other in calls:
                open_ones.add(other)
                stack.append((other, iter(calls[other])))


def _check_call(callee: Callee, depth: int, size: int, source: str) -> None:
    """Refuses what nests too deeply or is too big with all that it calls."""
    if depth > MOST_FUNCTION_DEPTH + (callee.kind == "graph"):
        raise IcebreakerError(
            "functions_too_deep", "{file}: functions are nested more than {most} deep, such as {subject!r}",
            "export_inlined", subject=callee.name, file=source, most=MOST_FUNCTION_DEPTH,
        )  # fmt: skip
    if size > MOST_NODES:
        raise IcebreakerError(
            "functions_unfold", "{file}: with functions in the place of their calls it has more than {most:,} nodes",
            "export_a_part", subject=callee.name, file=source, most=MOST_NODES,
        )  # fmt: skip
