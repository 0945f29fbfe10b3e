"""The front of all formats: reads graphs from files, whatever they come as, and tells what is in them.

Adding a format is one module with the names of `format.Format` and one entry in `FORMATS`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.formats import graphdef, keras, structure
from icebreaker.formats.format import Format
from icebreaker.formats.saved_model import reader as saved_model
from icebreaker.formats.saved_model.lookup_tables import wait_for_tables
from icebreaker.formats.saved_model.signatures import Frozen
from icebreaker.formats.shown import onnx_model, tflite_model
from icebreaker.formats.shown.drawing import refuse_shown
from icebreaker.graph import costs, external_weights, limits, side_effects
from icebreaker.graph.graph import Graph, Node
from icebreaker.graph.placement import placed_anywhere
from icebreaker.reports import GraphInput, Inspection
from icebreaker.storage import trusted_engines
from icebreaker.storage.files import exists, write_together
from icebreaker.storage.weight_store import Store

# A graph of so many bytes is big: converted in memory, it would take some 25 times as much there.
BIG_BYTES = 128 << 20
# Asked in this order; the last one takes every file that is left.
FORMATS: tuple[Format, ...] = (saved_model, keras, onnx_model, tflite_model, graphdef)


def needs_worker(path: Path) -> bool:
    """True for what only TensorFlow can read, such as SavedModel folders and Keras models.

    Raises:
        IcebreakerError: There is no such file or folder.
    """
    return _format_of(path).NEEDS_TENSORFLOW


def name_patterns() -> tuple[str, ...]:
    """Names that graph files usually have, such as `*.pb`: for a file dialog."""
    return tuple(pattern for form in reversed(FORMATS) for pattern in form.PATTERNS)


def read_definition(path: Path, allow_side_effects: bool = False) -> Any:
    """The frozen GraphDef message in a file or folder.

    Args:
        path: A graph in any form.
        allow_side_effects: Freeze also what acts outside itself while it is loaded (a SavedModel's initializers).

    Raises:
        IcebreakerError: There is no such file, it holds no graph, or one beyond what `limits` takes.
    """
    definition = _read(path, allow_side_effects, "")[0]
    refuse_shown(definition, str(path))
    return definition


def _read(path: Path, allow_side_effects: bool, signature: str) -> tuple[Any, Frozen | None]:
    form, frozen = _format_of(path), None
    if form is saved_model:
        definition, frozen = saved_model.read_frozen(path, allow_side_effects, signature)
    else:
        definition = form.read(path, allow_side_effects)
    if not definition.node:
        raise IcebreakerError("graph_empty", "{subject} holds an empty graph", "export_with_nodes", subject=path)
    limits.check_limits(definition, str(path))
    return definition, frozen


def read_graph(
    path: Path, allow_side_effects: bool = False, store: Store | None = None, big: int | None = None,
    signature: str = "", shown: bool = False,
) -> Graph:  # fmt: skip
    """The frozen graph in a file or folder, as `read_model` gives it."""
    return read_model(path, allow_side_effects, store, big, signature, shown)[0]


def read_model(
    path: Path, allow_side_effects: bool = False, store: Store | None = None, big: int | None = None,
    signature: str = "", shown: bool = False,
) -> tuple[Graph, Frozen | None]:  # fmt: skip
    """The frozen graph in a file or folder, and what its SavedModel says beside it.

    Args:
        path: A graph in any form.
        allow_side_effects: As in `read_definition`.
        store: Where big weights of a big graph shall lie instead of in memory.
        big: From how many bytes on a graph is big; None: `BIG_BYTES`.
        signature: Which signature of a SavedModel; empty: `serving_default`, or the first by name.
        shown: Read also what is only to be looked at, such as ONNX.

    Returns:
        The graph; of a SavedModel, which signature it is, and what others there are.

    Raises:
        IcebreakerError: As in `read_definition`; the signature is not there.
    """
    form = _format_of(path)
    if signature and form is not saved_model:
        raise IcebreakerError(
            "signature_of_no_saved_model", "{subject} is no SavedModel, so it has no signature {name!r}",
            "leave_signature_out", subject=path, name=signature,
        )  # fmt: skip
    frozen = None
    big = BIG_BYTES if big is None else big
    if store is not None:
        if form is not saved_model:
            definition = form.read_apart(path, store, big, allow_side_effects)
        elif found := saved_model.read_frozen_apart(path, store, big, allow_side_effects, signature):
            definition, frozen = found
        else:
            definition = None
        if definition is not None:
            if not shown:
                refuse_shown(definition, str(path))
            return placed_anywhere(wait_for_tables(_apart(definition, path, store))), frozen
    definition, frozen = _read(path, allow_side_effects, signature)
    if not shown:
        refuse_shown(definition, str(path))
    return placed_anywhere(wait_for_tables(_whole(definition, path, store, big))), frozen


def _whole(definition: Any, path: Path, store: Store | None, big: int) -> Graph:
    """A graph that is in memory, the weights beside it included; those of a big one go to `store`."""
    if beside := external_weights.take_in(definition, path.absolute().parent, store):
        return Graph(definition, beside)
    if store is None or definition.ByteSize() < big:
        return Graph(definition)
    # It was frozen, unpacked or parsed on the way in: from here on it is a file like any other.
    frozen = store.folder / "frozen.pb"
    try:
        frozen.write_bytes(definition.SerializeToString())
        apart = graphdef.read_apart(frozen, store, 0)
    except OSError:
        apart = None
    frozen.unlink(missing_ok=True)
    return Graph(definition) if apart is None else _apart(apart, frozen, store)


def _apart(definition: Any, path: Path, store: Store) -> Graph:
    """A graph of which some weights are in `store`, with those that lie beside it."""
    limits.check_limits(definition, str(path))
    external_weights.take_in(definition, path.absolute().parent, store)
    return Graph(definition, store)


def read_structure(path: Path) -> Graph:
    """The graph in a file without its weights, to be shown and never run; a graph of gigabytes takes megabytes.

    Raises:
        IcebreakerError: As in `read_definition`.
    """
    _format_of(path)  # a pipe must not be opened
    try:
        definition = structure.read(path)
    except (OSError, ValueError):  # text, gzip, or broken: read it all, and have the error in words
        return read_graph(path, shown=True)
    if not definition.node:
        return read_graph(path, shown=True)
    limits.check_limits(definition, str(path))
    external_weights.show(definition)
    return Graph(definition)


def read_constant(path: Path, name: str) -> Node | None:
    """A constant with its values, which `read_structure` left in the file; None if it is not there any more."""
    message = structure.read_node(path, name)
    if message is None or message.op != "Const":
        return None
    return Node(message.name, message.op, (), (), message.device, message)


def inspect(
    path: Path, frozen: str | None = None, allow_side_effects: bool = False, job_id: str = "", signature: str = ""
) -> Inspection:
    """What is in a graph file or folder.

    Args:
        path: A graph in any form.
        frozen: Where to write what had to be frozen on the way in, as a .pb; None: nowhere.
        allow_side_effects: As in `read_definition`.
        job_id: As in `files.write_whole`.
        signature: As in `read_model`.

    Raises:
        IcebreakerError: As in `read_definition`, or `frozen` cannot be written.
    """
    if not needs_worker(path):
        return _counted(read_graph(path, allow_side_effects, signature=signature, shown=True))
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as folder:
        graph, model = read_model(path, allow_side_effects, Store(Path(folder)), signature=signature, shown=True)
        if frozen:
            write_together(external_weights.files(Path(frozen), graph.definition, graph.store), job_id)
        return _counted(graph, frozen or "", model)


def describe(graph: Graph, frozen_path: str = "", model: Frozen | None = None) -> Inspection:
    """What is in a graph that has been read; `frozen_path` is where it was written, if it had to be frozen."""
    return Inspection(
        nodes=len(graph),
        ops=graph.op_counts,
        inputs=tuple(GraphInput(entry.name, entry.dtype, entry.shape) for entry in graph.placeholders),
        outputs=graph.candidate_outputs,
        control_flow=graph.has_control_flow,
        bytes=graph.constant_bytes,
        functions=graph.functions,
        frozen_path=frozen_path,
        side_effects=side_effects.find_side_effects(graph.definition),
        engines=_engines(graph),
        signature=model.signature.name if model else "",
        other_signatures=model.others if model else (),
    )


def _counted(graph: Graph, frozen_path: str = "", model: Frozen | None = None) -> Inspection:
    """As `describe`, with what its ops cost."""
    totals = costs.totals(graph)
    return replace(
        describe(graph, frozen_path, model),
        flops=totals.flops, flops_unknown=totals.unknown, parameters=totals.parameters,
    )  # fmt: skip


def _engines(graph: Graph) -> Mapping[str, bool]:
    """Engine in an optimized graph → whether this user built all of its parts here; see `runtime.artifact_reader`."""
    engines: dict[str, bool] = {}
    for node in graph:
        attributes = node.definition.attr
        if "_icebreaker_engine" in attributes:
            names = ("engine", "precision", "sha256")
            built = trusted_engines.BuiltEngine(
                *(attributes[f"_icebreaker_{name}"].s.decode("utf-8", "replace") for name in names)
            )
            engines[built.engine] = engines.get(built.engine, True) and trusted_engines.built_here(built)
    return engines


def _format_of(path: Path) -> Format:
    if not exists(path):
        raise IcebreakerError("file_missing", "{subject} does not exist", "check_path", subject=path)
    if not (path.is_file() or path.is_dir()):
        raise IcebreakerError("not_a_file", "{subject} is no file", "give_graph_or_saved_model", subject=path)
    return next(form for form in FORMATS if form.matches(path))
