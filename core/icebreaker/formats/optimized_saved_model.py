"""What a conversion wrote as a SavedModel (`runtime.saved_model_writer`): its graph is frozen, and read as it stands.

Where other signatures stayed beside it, the names of its nodes have a scope in front, which its output nodes name:
`_icebreaker_scope`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.graph.functions import reachable_functions
from icebreaker.graph.graph import Graph
from icebreaker.tensors import Tensor

SCOPE = "_icebreaker_scope"
_OUTPUT = "_icebreaker_output"


def optimized_graph(meta: Any, signature: str) -> Any | None:
    """The graph of a signature that a conversion wrote, with the names that it had then.

    Args:
        meta: A MetaGraphDef.
        signature: A key of its signatures.

    Returns:
        A GraphDef; None if the signature is not of that kind.
    """
    described = meta.signature_def[signature]
    try:
        outputs = [Tensor.parse(info.name).node for info in described.outputs.values()]
        inputs = [Tensor.parse(info.name).node for info in described.inputs.values()]
        whole = Graph(meta.graph_def)
    except IcebreakerError:  # whoever reads it otherwise says so
        return None
    if not outputs or not all(name in whole and _OUTPUT in whole[name].definition.attr for name in outputs):
        return None
    needed = whole.ancestors([*outputs, *(name for name in inputs if name in whole)])
    made = type(meta.graph_def)(versions=meta.graph_def.versions)
    made.node.extend(node.definition for node in whole if node.name in needed)
    library = meta.graph_def.library
    called = set(reachable_functions(made.node, library))
    made.library.function.extend(item for item in library.function if item.signature.name in called)
    made.library.gradient.extend(item for item in library.gradient if item.function_name in called)
    _take_scope_off(made)
    return made


def _take_scope_off(definition: Any) -> None:
    scopes = {node.attr[SCOPE].s.decode("utf-8", "replace") for node in definition.node if SCOPE in node.attr}
    if len(scopes) == 1 and all(node.name.startswith(*scopes) for node in definition.node):
        (scope,) = scopes
        rename_nodes(definition.node, lambda name: name.removeprefix(scope))
    for node in definition.node:
        node.attr.pop(SCOPE, None)


def rename_nodes(nodes: Iterable[Any], renamed: Callable[[str], str]) -> None:
    """Gives nodes other names, where they are read and colocated, too; changes the messages."""
    for node in nodes:
        node.name = renamed(node.name)
        for slot, text in enumerate(node.input):
            node.input[slot] = f"^{renamed(text[1:])}" if text.startswith("^") else renamed(text)
        for slot, place in enumerate(node.attr["_class"].list.s if "_class" in node.attr else ()):
            if place.startswith(b"loc:@"):
                node.attr["_class"].list.s[slot] = b"loc:@" + renamed(place[5:].decode("utf-8", "replace")).encode()
