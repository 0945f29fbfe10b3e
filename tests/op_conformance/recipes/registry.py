"""Recipes by op. Elementwise ops are found by their form.

A recipe takes a type and gives variants. What it leaves out, such as a type that TensorFlow's CPU has no kernel for, is
found when the original is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from op_conformance.graphs import Variant, op_def, types_of
from op_conformance.values import DTYPES, OTHERS, hard, small

Recipe = Callable[[str], Iterable[Variant]]
RECIPES: dict[str, tuple[Recipe, tuple[str, ...]]] = {}


def recipe(*ops: str, of: tuple[str, ...] = DTYPES) -> Callable[[Callable[..., Iterable[Variant]]], Any]:
    """Decorates the recipe of some ops, for these types."""

    def add(make: Callable[..., Iterable[Variant]]) -> Any:
        for op in ops:
            RECIPES[op] = (lambda dtype, op=op: make(op, dtype)), of
        return make

    return add


def variants(op: str, dtype: str) -> list[Variant]:
    """All variants of an op in a type; none if it does not take that."""
    made, of = RECIPES.get(op) or (_elementwise(op), (*DTYPES, *OTHERS))
    if made is None or dtype not in of:
        return []
    return list(made(dtype))


def has_recipe(op: str) -> bool:
    """Whether an op can be tried."""
    return op in RECIPES or _elementwise(op) is not None


def arrays(dtype: str) -> list[np.ndarray]:
    """Vectors of everyday and hard values, and none and one."""
    base = small(dtype)
    return [base, *hard(dtype), base[:0], base[:1]]


def allowed(op: str, dtype: str, attribute: str = "T") -> bool:
    """Whether an op's attribute may be a type."""
    found = types_of(op, attribute)
    return dtype in found or found == ("any",)


def _elementwise(op: str) -> Recipe | None:
    """For ops of one tensor, or two of the same type, whose attributes are types or have defaults."""
    definition = op_def(op)
    if definition is None or any(
        arg.number_attr or arg.type_list_attr or not arg.type_attr for arg in definition.input_arg
    ):
        return None
    given = {arg.type_attr for arg in definition.input_arg}
    if (
        any(not attr.HasField("default_value") and attr.name not in given for attr in definition.attr)
        or len(given) != 1
    ):
        return None
    attribute, names = next(iter(given)), [arg.name for arg in definition.input_arg]
    if len(names) not in (1, 2):
        return None

    def make(dtype: str) -> Iterator[Variant]:
        if not allowed(op, dtype, attribute):
            return
        if len(names) == 1:
            yield Variant("vectors", [{names[0]: values} for values in arrays(dtype)])
            yield Variant("scalar", [{names[0]: value} for value in small(dtype)[:4]])
            cube = np.resize(small(dtype), (2, 1, 3, 1, 2))
            yield Variant("rank 5", [{names[0]: cube}, {names[0]: cube[:, :, :0]}])
        else:
            pairs = [(values[:, None], values[None]) for values in arrays(dtype)]
            yield Variant("each with each", [dict(zip(names, pair, strict=True)) for pair in pairs])
            yield Variant(
                "with a constant", [{names[0]: values} for values in arrays(dtype)], {names[1]: small(dtype)[3]}
            )
            yield Variant("rank 5 and 2", [{
                names[0]: np.resize(small(dtype)[1:], (2, 1, 3, 1, 2)), names[1]: np.resize(small(dtype)[2:5], (3, 2)),
            }])  # fmt: skip

    return make
