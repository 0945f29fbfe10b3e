"""What a conversion wrote as a SavedModel (`runtime.saved_model_writer`): its graph is frozen, and read as it stands.

Where other signatures stayed beside it, the names of its nodes have a scope in front, which its output nodes name:
`_icebreaker_scope`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.formats.saved_model.signatures import Signature, SignatureTensor
from icebreaker.graph.functions import reachable_functions
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import DTYPES
from icebreaker.tensors import Tensor, canonical

SCOPE = "_icebreaker_scope"
_OUTPUT = "_icebreaker_output"


def optimized_signatures(meta: Any) -> set[str]:
    """The signatures of a MetaGraphDef whose outputs are marked as a conversion marks them."""
    marked = {node.name for node in meta.graph_def.node if _OUTPUT in node.attr}
    return {
        name for name, item in meta.signature_def.items()
        if item.outputs and all(info.name.partition(":")[0] in marked for info in item.outputs.values())
    }  # fmt: skip


def optimized_signature(meta: Any, name: str) -> tuple[Any, Signature] | None:
    """The graph of a signature that a conversion wrote, with the names that it had then.

    Args:
        meta: A MetaGraphDef.
        name: A key of its signatures.

    Returns:
        A GraphDef, and how it is called; None if the signature is not of that kind.
    """
    described = meta.signature_def[name]
    try:
        outputs = [Tensor.parse(info.name).node for info in described.outputs.values()]
        inputs = [Tensor.parse(info.name).node for info in described.inputs.values()]
        whole = Graph(meta.graph_def)
    except IcebreakerError:  # whoever reads it otherwise says so
        return None
    if not outputs or not all(item in whole and _OUTPUT in whole[item].definition.attr for item in outputs):
        return None
    needed = whole.ancestors([*outputs, *(item for item in inputs if item in whole)])
    made = type(meta.graph_def)(versions=meta.graph_def.versions)
    made.node.extend(node.definition for node in whole if node.name in needed)
    library = meta.graph_def.library
    called = set(reachable_functions(made.node, library))
    made.library.function.extend(item for item in library.function if item.signature.name in called)
    made.library.gradient.extend(item for item in library.gradient if item.function_name in called)
    scope = _take_scope_off(made)

    def told(infos: Any) -> tuple[SignatureTensor, ...]:
        return tuple(
            SignatureTensor(key, canonical(info.name).removeprefix(scope), DTYPES.get(info.dtype, ""), _shape(info))
            for key, info in infos.items()
        )

    return made, Signature(name, told(described.inputs), told(described.outputs), described.method_name)


def _shape(info: Any) -> tuple[int | None, ...] | None:
    shape = info.tensor_shape
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def _take_scope_off(definition: Any) -> str:
    """Takes what stands before all names off, and returns it."""
    scopes = {node.attr[SCOPE].s.decode("utf-8", "replace") for node in definition.node if SCOPE in node.attr}
    for node in definition.node:
        node.attr.pop(SCOPE, None)
    if len(scopes) != 1 or not all(node.name.startswith(*scopes) for node in definition.node):
        return ""
    (scope,) = scopes
    rename_nodes(definition.node, lambda name: name.removeprefix(scope))
    return scope


def rename_nodes(nodes: Iterable[Any], renamed: Callable[[str], str]) -> None:
    """Gives nodes other names, where they are read and colocated, too; changes the messages."""
    for node in nodes:
        node.name = renamed(node.name)
        for slot, text in enumerate(node.input):
            node.input[slot] = f"^{renamed(text[1:])}" if text.startswith("^") else renamed(text)
        for slot, place in enumerate(node.attr["_class"].list.s if "_class" in node.attr else ()):
            if place.startswith(b"loc:@"):
                node.attr["_class"].list.s[slot] = b"loc:@" + renamed(place[5:].decode("utf-8", "replace")).encode()
