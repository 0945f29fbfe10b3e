"""Functions of a GraphDef's library: which ones nodes call, directly or through others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from icebreaker.graph.traversal import reachable


def called_functions(node: Any) -> Iterator[str]:
    """Names that a NodeDef may call functions by: those in its attributes, and its op, which can be one as well."""
    yield node.op  # TensorFlow 1 calls a function by its name
    yield from function_attributes(node)


def function_attributes(node: Any) -> Iterator[str]:
    """Names of the functions that a NodeDef's attributes hold, in the attributes' order."""
    for value in node.attr.values():
        match value.WhichOneof("value"):
            case "func":
                yield value.func.name
            case "list":
                for function in value.list.func:
                    yield function.name
            case _:
                pass


def reachable_functions(nodes: Sequence[Any], library: Any) -> list[str]:
    """The functions that may run when nodes of a graph do.

    Args:
        nodes: NodeDef messages.
        library: The graph's FunctionDefLibrary.

    Returns:
        Names of functions of the library, each once: called by the nodes or by other such functions, gradients of
        those, and what Grappler may put in their place.
    """
    functions = {function.signature.name: function for function in library.function}
    if not functions:
        return []
    gradients = {gradient.function_name: gradient.gradient_func for gradient in library.gradient}
    # Grappler may swap one function for another that implements the same interface.
    swapped = [name for name, function in functions.items() if "api_implements" in function.attr]

    def called_by(name: str) -> list[str]:
        called = [other for node in functions[name].node_def for other in called_functions(node) if other in functions]
        return [*called, gradients[name]] if gradients.get(name) in functions else called

    starts = [*swapped, *(name for node in nodes for name in called_functions(node) if name in functions)]
    return list(reachable(starts, called_by))
