"""Concrete functions of TensorFlow 2, made graphs without variables. Needs TensorFlow, so it runs in the worker."""

from __future__ import annotations

from typing import Any

import numpy as np

from icebreaker.errors import IcebreakerError
from icebreaker.formats.saved_model.signatures import node_name
from icebreaker.graph import external_weights


def freeze(function: Any, source: str) -> Any:
    """Turns the variables of a concrete function into constants.

    Args:
        function: A `tf.types.experimental.ConcreteFunction`.
        source: What to name in errors.

    Returns:
        The GraphDef, in which the outputs bear the names of the signature's outputs where these are free.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from icebreaker.graph.protos import GraphDef

    size = sum(item.dtype.size * int(np.prod(item.shape)) for item in function.variables)
    if size > external_weights.MOST_BYTES:
        raise IcebreakerError(
            "frozen_too_big",
            "{subject} would be a graph of {gigabytes:.1f} GB, but protobuf ends at 2 GB", "export_part_or_saved_model",
            subject=source, gigabytes=size / 1e9,
        )  # fmt: skip
    try:
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    except Exception as error:
        raise IcebreakerError(
            "not_freezable", "{subject} could not be frozen: {reason}", subject=source, reason=str(error)
        ) from error
    leftover = [item.name for item in frozen.inputs if item.dtype.name in ("resource", "variant")]
    if leftover:
        raise IcebreakerError(
            "keeps_state",
            "{subject} keeps state that cannot be frozen in {tensor!r} (a table or a variable that changes)",
            "export_signature_without",
            subject=source, tensor=leftover[0],
        )  # fmt: skip
    try:
        definition = GraphDef.FromString(frozen.graph.as_graph_def().SerializeToString())
    except Exception as error:  # protobuf's and TensorFlow's versions raise differently
        raise IcebreakerError(
            "frozen_not_readable", "{subject} could not be frozen ({reason})", "export_a_part",
            subject=source, reason=str(error),
        ) from error  # fmt: skip
    _name_outputs(definition, function.structured_outputs, frozen.outputs)
    return definition


def _name_outputs(definition: Any, structured: Any, outputs: Any) -> None:
    """Renames the final Identity nodes (`Identity`, `Identity_1` …) to what the signature calls them."""
    if not isinstance(structured, dict) or len(structured) != len(outputs):
        return
    taken = {node.name for node in definition.node}
    read = {text.removeprefix("^").split(":")[0] for node in definition.node for text in node.input}
    nodes = {node.name: node for node in definition.node}
    for key, tensor in zip(sorted(structured), outputs, strict=True):
        name = node_name(key)
        node = nodes.get(tensor.op.name)
        if node is not None and node.op == "Identity" and node.name not in read and name not in taken:
            node.name = name
            taken.add(name)
