"""What a conversion is about: inputs and outputs, what the user excludes, the engines, and where the result goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from icebreaker import gpu
from icebreaker.conversion.context import Notices
from icebreaker.engine import registry
from icebreaker.engine.protocol import Engine
from icebreaker.errors import IcebreakerError
from icebreaker.formats.saved_model.signatures import Frozen
from icebreaker.graph.graph import Graph
from icebreaker.reports import EngineStatus
from icebreaker.settings import ConvertSettings
from icebreaker.storage.files import place_to_write
from icebreaker.storage.folders import place_for_folder
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import prune, to_tensorflow
from icebreaker.tf.session import GraphSession


def check_target(output: Path, form: str = "graph") -> None:
    """Finds out before an hour of work whether a file, or a SavedModel's folder, can be written.

    Raises:
        IcebreakerError: It is a folder or no file, or its folder is missing or cannot be written to.
    """
    folder = (place_for_folder if form == "saved_model" else place_to_write)(output).parent
    if not folder.is_dir():
        raise IcebreakerError("target_folder_missing", "{subject} does not exist", "make_folder", subject=folder)
    if not os.access(folder, os.W_OK):
        raise IcebreakerError("target_read_only", "{subject} cannot be written to", "another_folder", subject=folder)


def chosen_outputs(graph: Graph, settings: ConvertSettings, frozen: Frozen | None = None) -> tuple[Tensor, ...]:
    """The tensors to keep, each once: those of the settings, of a SavedModel's signature, or the candidate outputs.

    Raises:
        IcebreakerError: A name is not in the graph, or there is nothing that could be an output.
    """
    given = [item.tensor for item in frozen.signature.outputs] if frozen else ()
    tensors = [graph.require(name, "output") for name in settings.outputs or given or graph.candidate_outputs]
    if not tensors:
        raise IcebreakerError("outputs_missing", "the graph has no node that could be an output", "name_an_output")
    return tuple(dict.fromkeys(tensors))


def check_ports(outputs: Sequence[Tensor], original: GraphSession) -> None:
    """Raises IcebreakerError if a node gives fewer tensors than an output's port says."""
    for tensor in outputs:
        count = original.output_count(tensor.node)
        if tensor.port >= count:
            raise IcebreakerError(
                "output_port_missing", "output {subject} is not in the graph: {node!r} has {count} outputs",
                subject=tensor, node=tensor.node, count=count,
            )  # fmt: skip


def cut_at_inputs(graph: Graph, outputs: Sequence[Tensor], settings: ConvertSettings) -> Graph:
    """Makes the inputs that the user named plain placeholders; what only fed them falls away.

    Raises:
        IcebreakerError: The outputs need an input that was not named.
    """
    if not settings.inputs:
        return graph
    named = {graph.require(name, "input").node for name in settings.inputs}
    definition = to_tensorflow(graph.definition)
    result = type(definition)(versions=definition.versions, library=definition.library)
    whole = GraphSession(definition, store=graph.store)
    for node in definition.node:
        if node.name in named and node.op != "Placeholder":
            placeholder = result.node.add(name=node.name, op="Placeholder")
            kind = whole.graph.get_operation_by_name(node.name).outputs[0].dtype
            placeholder.attr["dtype"].type = kind.as_datatype_enum
            shape = whole.shape(Tensor(node.name))
            placeholder.attr["shape"].shape.unknown_rank = shape is None
            for size in shape or ():
                placeholder.attr["shape"].shape.dim.add(size=-1 if size is None else size)
        else:
            result.node.add().CopyFrom(node)
    whole.close()
    cut = prune(Graph(result, graph.store), outputs)
    for placeholder in cut.placeholders:
        if placeholder.name not in named and not placeholder.optional:
            raise IcebreakerError(
                "input_needed", "the outputs need the input {subject!r} too", "name_input_too",
                subject=placeholder.name,
            )  # fmt: skip
    return cut


def usable_engines(settings: ConvertSettings, notices: Notices) -> tuple[list[Engine], dict[str, str]]:
    """Asks engines what they can do here.

    Returns:
        The engines to try: the chosen one, or with `auto` all that run here; and name → version and device of each.

    Raises:
        IcebreakerError: There is none, or none has the options that are asked for.
    """
    if settings.engine != "auto":
        status = registry.status(settings.engine)
        if not status.builds:
            raise IcebreakerError(
                "engine_unusable", "engine {subject} cannot be used here: {why}",
                subject=settings.engine, why=status.detail,
            )  # fmt: skip
        statuses = [status]
    else:
        statuses = [
            status
            for name in registry.names()
            if (status := registry.status(name)).runs and registry.get(name).joins_auto()
        ]
        if not statuses:
            raise IcebreakerError("no_engine_runs", "no engine can run here", "install_an_engine")
    check_options(settings, statuses, notices)
    engines = [registry.get(status.name) for status in statuses]
    return engines, {status.name: str(status.detail) for status in statuses}


def check_options(settings: ConvertSettings, statuses: Sequence[EngineStatus], notices: Notices) -> None:
    """Warns of a workspace that is too large for the GPU, where an engine has one.

    Raises:
        IcebreakerError: An option is asked for that none of these engines has.
    """
    if why := settings.unmet(statuses):
        raise IcebreakerError(why)
    has_workspace = any(status.options for status in statuses)
    if has_workspace and (warning := gpu.workspace_warning(settings.builder.workspace_bytes, settings.memory_fraction)):
        notices.warn(warning)
