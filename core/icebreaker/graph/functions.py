"""Functions of a GraphDef's library: which ones nodes call, directly, through others, or through what they are handed.

A function can be handed another one: an attribute of its body is a `placeholder` then, which takes the value that the
caller binds to it. So whoever wants to know what may run has to look at all values that are bound anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from icebreaker.graph.traversal import reachable

_MOST_NAME_BYTES = 4096  # texts in attributes that are longer, such as payloads, are no function's name


def called_functions(node: Any) -> Iterator[str]:
    """Names that a NodeDef may call functions by: those in its attributes, and its op, which can be one as well."""
    yield node.op  # TensorFlow 1 calls a function by its name
    yield from function_attributes(node)


def function_attributes(node: Any) -> Iterator[str]:
    """Names of the functions that a NodeDef's attributes hold, those that are handed to such functions included."""
    for value in _values(node.attr.values()):
        for function in _functions(value):
            yield function.name


def _functions(value: Any) -> Sequence[Any]:
    """The functions that an AttrValue is, as NameAttrLists."""
    match value.WhichOneof("value"):
        case "func":
            return (value.func,)
        case "list":
            return value.list.func
        case _:
            return ()


def _values(values: Any) -> Iterator[Any]:
    """AttrValues, and those that are handed to the functions in them, at any depth."""
    stack = list(values)
    while stack:
        value = stack.pop()
        yield value
        for function in _functions(value):
            stack.extend(function.attr.values())


def rename_functions(definition: Any, names: Mapping[str, str]) -> None:
    """Gives functions of a GraphDef other names, wherever they are named; changes the message."""
    library = definition.library
    bodies = [definition.node, *(function.node_def for function in library.function)]
    nodes = [node for body in bodies for node in body]
    for node in nodes:
        node.op = names.get(node.op, node.op)
    attributes = [node.attr for node in nodes] + [function.attr for function in library.function]
    for value in _values([value for item in attributes for value in item.values()]):
        for function in _functions(value):
            function.name = names.get(function.name, function.name)
    for function in library.function:
        function.signature.name = names.get(function.signature.name, function.signature.name)
    for gradient in library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)


def reachable_functions(nodes: Sequence[Any], library: Any) -> list[str]:
    """The functions that may run when nodes of a graph do.

    Args:
        nodes: NodeDef messages.
        library: The graph's FunctionDefLibrary.

    Returns:
        Names of functions of the library, each once: named in whatever way by the nodes or by other such functions,
        gradients of those, and what Grappler may put in their place.
    """
    functions = {function.signature.name: function for function in library.function}
    if not functions:
        return []
    gradients = {gradient.function_name: gradient.gradient_func for gradient in library.gradient}
    # Grappler may swap one function for another that implements the same interface.
    swapped = [name for name, function in functions.items() if "api_implements" in function.attr]

    def named(nodes: Sequence[Any], *values: Any) -> list[str]:
        found = [node.op for node in nodes]
        for value in _values([*values, *(value for node in nodes for value in node.attr.values())]):
            found += [function.name for function in _functions(value)]
            texts = [text for text in (value.s, *value.list.s) if len(text) < _MOST_NAME_BYTES]
            found += [text.decode("utf-8", "replace") for text in texts]
        return [name for name in found if name in functions]

    def called_by(name: str) -> list[str]:
        function = functions[name]
        defaults = [item.default_value for item in function.signature.attr]
        called = named(function.node_def, *function.attr.values(), *defaults)
        return [*called, gradients[name]] if gradients.get(name) in functions else called

    return list(reachable([*swapped, *named(nodes)], called_by))


class Callee(NamedTuple):
    """What can call and be called: a function; a placeholder, which stands for what is bound to it; or the graph."""

    kind: Literal["graph", "function", "placeholder"]
    name: str = ""


def calls(definition: Any) -> Mapping[Callee, Sequence[Callee]]:
    """What the graph and each function of its library may call, as often as their nodes say so.

    A placeholder may be whatever is bound to an attribute of its name anywhere in the file: more than can be, so that
    nothing is overlooked.
    """
    functions = {function.signature.name: function for function in definition.library.function}
    gradients = {gradient.function_name: gradient.gradient_func for gradient in definition.library.gradient}
    found: dict[Callee, list[Callee]] = {Callee("graph"): []}

    def bind(attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            here = Callee("placeholder", key)
            items = [Callee("function", function.name) for function in _functions(value) if function.name in functions]
            if value.WhichOneof("value") == "placeholder" and value.placeholder != key:
                items.append(Callee("placeholder", value.placeholder))
            found.setdefault(here, []).extend(items)

    def called(node: Any) -> Iterator[Callee]:
        for name in called_functions(node):
            if name in functions:
                yield Callee("function", name)
                if node.op == "SymbolicGradient" and gradients.get(name) in functions:
                    yield Callee("function", gradients[name])
        for value in node.attr.values():
            if value.WhichOneof("value") == "placeholder":
                yield Callee("placeholder", value.placeholder)

    for function in functions.values():
        bind({item.name: item.default_value for item in function.signature.attr})
    bodies = {Callee("function", name): function.node_def for name, function in functions.items()}
    for caller, body in {Callee("graph"): definition.node, **bodies}.items():
        found[caller] = [callee for node in body for callee in called(node)]
        for node in body:
            if node.op in functions:
                bind(node.attr)
            for value in _values(node.attr.values()):
                for function in _functions(value):
                    bind(function.attr)
    return found
