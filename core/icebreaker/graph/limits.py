"""How big a graph may be: checked on the message, before memory or time is spent on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.graph.side_effects import called_functions

# Limits: far above any real graph, far below what would harm the machine. docs/safety.md lists them.
MOST_NODES = 1_000_000  # functions' nodes included
MOST_FUNCTION_DEPTH = 64
MOST_RANK = 254  # TensorFlow's own limit
MOST_CONSTANT_BYTES = 1 << 31  # of one constant, as it will be in memory; a file can hold no more
MOST_CONSTANTS_BYTES = 1 << 33  # of all of them together

_ITEM_BYTES: Mapping[int, int] = {
    1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 7: 24, 8: 8, 9: 8, 10: 1, 11: 1, 12: 1, 13: 4, 14: 2, 15: 2, 16: 2, 17: 2,
    18: 16, 19: 2, 20: 64, 21: 64, 22: 4, 23: 8,
}  # fmt: skip


def check_limits(definition: Any, source: str) -> None:
    """Refuses a GraphDef that is no graph anybody made, before memory or time is spent on it.

    Args:
        definition: A GraphDef message.
        source: What to name in the error, such as the file.

    Raises:
        IcebreakerError: A limit of this module is passed, or a constant has a shape that cannot be.
    """
    functions = {item.signature.name: item for item in definition.library.function}
    count = len(definition.node) + sum(len(item.node_def) for item in functions.values())
    if count > MOST_NODES:
        raise IcebreakerError(
            f"{source} has {count:,} nodes, but at most {MOST_NODES:,} are taken: export a part of it"
        )
    total = _constant_bytes(definition.node, source)
    for item in functions.values():
        total += _constant_bytes(item.node_def, source)
    if total > MOST_CONSTANTS_BYTES:
        raise IcebreakerError(
            f"{source} has constants that unfold to {total / 1e9:.1f} GB, but at most "
            f"{MOST_CONSTANTS_BYTES / 1e9:.1f} GB are taken: it is damaged, or was made to fill the memory"
        )
    if functions:
        _check_depth(functions, source)


def _constant_bytes(nodes: Sequence[Any], source: str) -> int:
    total = 0
    for node in nodes:
        if node.op not in ("Const", "HostConst"):
            continue
        tensor = node.attr["value"].tensor
        dims = tensor.tensor_shape.dim
        size = _ITEM_BYTES.get(tensor.dtype, 1)
        for dim in dims:
            size *= dim.size
        if len(dims) > MOST_RANK or any(dim.size < 0 for dim in dims):
            raise IcebreakerError(
                f"{source}: the constant {node.name!r} has an impossible shape: the file is damaged, export it again"
            )
        if size > MOST_CONSTANT_BYTES:
            raise IcebreakerError(
                f"{source}: the constant {node.name!r} unfolds to more than {MOST_CONSTANT_BYTES / 1e9:.1f} GB: it is "
                "damaged, or was made to fill the memory"
            )
        total += size
    return total


def _check_depth(functions: Mapping[str, Any], source: str) -> None:
    """Functions that call themselves or nest too deeply would overflow TensorFlow's stack."""
    calls = {
        name: sorted({other for node in item.node_def for other in called_functions(node) if other in functions})
        for name, item in functions.items()
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
                depth[name] = 1 + max((depth[item] for item in calls[name]), default=0)
                if depth[name] > MOST_FUNCTION_DEPTH:
                    raise IcebreakerError(
                        f"{source}: functions are nested more than {MOST_FUNCTION_DEPTH} deep, such as {start!r}: "
                        "export the graph with its functions inlined"
                    )
            elif other in open_ones:
                raise IcebreakerError(
                    f"{source}: the function {other!r} calls itself, which cannot be frozen: export it again"
                )
            elif other not in depth:
                open_ones.add(other)
                stack.append((other, iter(calls[other])))
