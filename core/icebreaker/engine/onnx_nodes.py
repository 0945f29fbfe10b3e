"""What ONNX nodes read, in the bodies of loops and branches too."""

from __future__ import annotations

from typing import Any


def reads(node: Any) -> list[str]:
    """Tensors that a node reads, in the bodies of loops and branches too."""
    names = [name for name in node.input if name]
    for item in node.attribute:
        for body in [item.g] if item.HasField("g") else item.graphs:
            own = {value.name for value in (*body.input, *body.initializer)}
            for inner in body.node:
                names += [name for name in reads(inner) if name not in own]
                own.update(inner.output)
            names += [value.name for value in body.output if value.name not in own]
    return names
