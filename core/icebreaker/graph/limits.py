"""How big a graph may be: checked on the message, before memory or time is spent on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.graph.functions import called_functions

# Limits: far above any real graph, far below what would harm the machine. docs/safety.md lists them.
MOST_NODES = 1_000_000  # functions' nodes included
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
        IcebreakerError: It has too many nodes, too big constants, functions nested too deeply or that call themselves,
            or a constant whose shape cannot be.
    """
    functions = {function.signature.name: function for function in definition.library.function}
    count = len(definition.node) + sum(len(function.node_def) for function in functions.values())
    if count > MOST_NODES:
        raise IcebreakerError(
            "too_many_nodes", "{subject} has {count:,} nodes, but at most {most:,} are taken", "export_a_part",
            subject=source, count=count, most=MOST_NODES,
        )  # fmt: skip
    total = _constant_bytes(definition.node, source)
    for function in functions.values():
        total += _constant_bytes(function.node_def, source)
    if total > MOST_CONSTANTS_BYTES:
        raise IcebreakerError(
            "constants_too_big",
            "{subject} has constants that unfold to {gigabytes:.1f} GB, but at most {most:.1f} GB are taken",
            "made_to_fill_memory", subject=source, gigabytes=total / 1e9, most=MOST_CONSTANTS_BYTES / 1e9,
        )  # fmt: skip
    if functions:
        _check_depth(functions, source)


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


def _check_depth(functions: Mapping[str, Any], source: str) -> None:
    """Refuses functions that call themselves or nest too deeply: they would overflow TensorFlow's stack."""
    calls = {
        name: sorted({other for node in function.node_def for other in called_functions(node) if other in functions})
        for name, function in functions.items()
    }
    depth: dict[str, int] = {}
    for start in calls:
        stack: list[tuple[str, Iterator[str]]] = [] if start in depth else [(start, iter(calls[start]))]
        open_ones = {start}
        while stack:
            name, rest = stack[-1]
            other = next(rest, None)
            if other is None:
                stack.pop()
                open_ones.discard(name)
                depth[name] = 1 + max((depth[called] for called in calls[name]), default=0)
                if depth[name] > MOST_FUNCTION_DEPTH:
                    raise IcebreakerError(
                        "functions_too_deep", "{file}: functions are nested more than {most} deep, such as {subject!r}",
                        "export_inlined", subject=start, file=source, most=MOST_FUNCTION_DEPTH,
                    )  # fmt: skip
            elif other in open_ones:
                raise IcebreakerError(
                    "function_calls_itself", "{file}: the function {subject!r} calls itself, which cannot be frozen",
                    "export_again", subject=other, file=source,
                )  # fmt: skip
            elif other not in depth:
                open_ones.add(other)
                stack.append((other, iter(calls[other])))
