"""Calls a loaded graph so that its random nodes give what was drawn before, which makes its answers comparable."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from icebreaker.runtime.model import Model
from icebreaker.tensors import Tensor


def answers(model: Model, feeds: Mapping[str, np.ndarray], draws: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs by name.

    Args:
        model: The graph; random nodes are never inside its engines.
        feeds: Input name → value.
        draws: Random tensor → value; empty: the graph draws for itself, if it does at all.
    """
    if not draws:
        return model(feeds)

    def get(name: str) -> object:
        tensor = Tensor.parse(name)
        return model.session.graph.get_tensor_by_name(f"{tensor.node}:{tensor.port}")

    given = {get(name): value for name, value in {**feeds, **draws}.items()}
    values = model.session.run([get(name) for name in model.outputs], given)
    return dict(zip(model.outputs, values, strict=True))
