"""Writes an optimized graph as a SavedModel that TensorFlow, TensorFlow Serving and Icebreaker load.

The message is of the form that TensorFlow 1 and 2 read alike: a graph and signatures, without an object graph. The
optimized graph has no variables. Where the SavedModel that it was made from has more signatures, its graph stays beside
the optimized one, with its variables, and nodes of the optimized graph get a scope in front of their names
(`formats.optimized_saved_model` reads it).
"""

from __future__ import annotations

import dataclasses
import errno
import keyword
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.export import external_data
from icebreaker.formats.optimized_saved_model import SCOPE, rename_nodes
from icebreaker.graph import external_weights
from icebreaker.graph.functions import rename_functions
from icebreaker.graph.graph import Graph
from icebreaker.runtime import artifact_reader
from icebreaker.runtime.artifact_reader import PREFIX
from icebreaker.runtime.artifact_writer import INLINE_BYTES, EngineNode, built_engines, payloads_apart
from icebreaker.storage.files import Pieces, field, file_beside, size_of
from icebreaker.storage.folders import write_folder
from icebreaker.storage.trusted_engines import BuiltEngine
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import from_store, to_tensorflow

DEFAULT_SIGNATURE = "serving_default"
INITIALIZER = "__saved_model_init_op"
_MOST_FILE_BYTES = 1 << 40


@dataclasses.dataclass(frozen=True)
class Origin:
    """What an optimized graph was made from, where that is a SavedModel.

    Attributes:
        meta: Its MetaGraphDef, TensorFlow's message.
        folder: Where its variables and assets lie.
        signature: The one that was converted.
        inputs: Name in the graph → what the signature calls it; outputs, likewise.
        initializers: Nodes of the graph that fill its tables.
        assets: Constant of the graph → name of the file among the assets whose path it is.
    """

    meta: Any
    folder: Path
    signature: str
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    initializers: Sequence[str] = ()
    assets: Mapping[str, str] = dataclasses.field(default_factory=dict)


def write(
    definition: Any,
    folder: Path,
    job_id: str = "",
    *,
    engines: Sequence[EngineNode] = (),
    store: Store | None = None,
    origin: Origin | None = None,
) -> list[BuiltEngine]:
    """Writes an optimized graph as a SavedModel, whole or not at all.

    Args:
        definition: What `artifact_writer.assemble` made.
        folder: The folder to make, or the SavedModel to replace.
        job_id: As for `folders.write_folder`.
        engines: As for `artifact_writer.write`, and
        store: likewise.
        origin: What the graph was made from; None: a graph, whose inputs and outputs become `serving_default`.

    Returns:
        Each of `engines`, as it was written.

    Raises:
        IcebreakerError: It is too big for protobuf, or the disk refuses.
    """
    made, graph, scope = _assembled(to_tensorflow(definition), store, origin)
    payloads = {
        f"{scope}{item.segment.name}": external_data.whole(item.built.payload)
        for item in engines
        if isinstance(item.built.payload, Path)
    }
    inline = {name: (f"{PREFIX}payload", payload) for name, payload in payloads.items()}
    written: dict[str, bytes | Path | Pieces] = {}
    try:
        pieces = external_weights.pieces(graph, store, inline)
        if size_of(pieces) > INLINE_BYTES:
            sides = payloads_apart(graph, payloads, "saved_model.pb")
            written |= sides
            pieces = external_weights.pieces(graph, store)
        # MetaGraphDef.graph_def, in SavedModel.meta_graphs, behind SavedModel.saved_model_schema_version
        message = [b"\x08\x01", *field(2, [made.SerializeToString(deterministic=True), *field(2, pieces)])]
        if size_of(message) > external_weights.MOST_BYTES:
            raise ValueError
    except (ValueError, RuntimeError) as error:
        raise IcebreakerError(
            "graph_too_big", "{subject} would pass protobuf's limit of 2 GB", "fewer_outputs_or_graph", subject=folder
        ) from error
    written["saved_model.pb"] = message
    if origin is not None:
        written |= _files(origin, made)
    write_folder(folder, written, job_id)
    return built_engines(definition, engines)


def identifiers(names: Iterable[str], known: Mapping[str, str] = {}) -> dict[str, str]:
    """Name → what a signature calls it: as it is `known`, or as Python takes it for an argument, each another one."""
    found: dict[str, str] = {}
    taken = set(known.values())
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        if not plain.isidentifier() or keyword.iskeyword(plain):
            plain = f"_{plain}"
        found[name] = known[name] if name in known else fresh(plain, taken)
        taken.add(found[name])
    return found


def _assembled(definition: Any, store: Store | None, origin: Origin | None) -> tuple[Any, Any, str]:
    """The MetaGraphDef to write without its graph, that graph, and what stands before the optimized nodes' names."""
    import tensorflow as tf
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    name, made, kept = DEFAULT_SIGNATURE, MetaGraphDef(), None
    if origin is not None:
        name, kept = origin.signature, _kept(origin)
    if kept is not None:
        made.CopyFrom(kept)
        made.ClearField("graph_def")
        made.ClearField("object_graph_def")  # it would lead to the network as it was
    made.meta_info_def.Clear()
    made.meta_info_def.tags.append("serve")
    made.meta_info_def.tensorflow_version = tf.__version__
    graph, scope = _merged(definition, kept)
    made.signature_def[name].CopyFrom(_signature(definition, store, scope, origin))
    if origin is not None:
        _initialize(made, graph, scope, origin)
    return made, graph, scope


def _kept(origin: Origin) -> Any | None:
    """The MetaGraphDef with the signatures that stay as they are; None if there are none."""
    if not set(origin.meta.signature_def) - {origin.signature, INITIALIZER, "__saved_model_train_op"}:
        return None
    kept = type(origin.meta)()
    kept.CopyFrom(origin.meta)
    kept.signature_def.pop(origin.signature, None)
    return kept


def _merged(definition: Any, kept: Any | None) -> tuple[Any, str]:
    """The optimized graph, beside that of other signatures if there are any; and what its nodes' names begin with."""
    made = type(definition)()
    made.CopyFrom(definition)
    if kept is None:
        return made, ""
    other, taken = kept.graph_def, {node.name.partition("/")[0] for node in kept.graph_def.node}
    scope = fresh("icebreaker", taken) + "/"
    bodies = {function.signature.name: function for function in other.library.function}
    names: dict[str, str] = {}
    for function in made.library.function:
        name = function.signature.name
        if name in bodies and bodies[name] != function:
            names[name] = fresh(name, {*bodies, *names.values()})
    rename_functions(made, names)
    rename_nodes(made.node, lambda name: f"{scope}{name}")
    for node in made.node:
        if f"{PREFIX}output" in node.attr:
            node.attr[SCOPE].s = scope.encode()
    made.node.extend(other.node)
    here = {function.signature.name for function in made.library.function}
    made.library.function.extend(body for name, body in bodies.items() if name not in here)
    known = {item.function_name for item in made.library.gradient}
    made.library.gradient.extend(item for item in other.library.gradient if item.function_name not in known)
    return made, scope


def fresh(name: str, taken: Collection[str]) -> str:
    """The name, or with a number behind it, so that it is not among `taken`."""
    return next(item for item in (name, *(f"{name}_{n}" for n in range(2, len(taken) + 3))) if item not in taken)


def _signature(definition: Any, store: Store | None, scope: str, origin: Origin | None) -> Any:
    """How the optimized graph is called, by the names that the signature had where it was made from one."""
    import tensorflow as tf
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

    graph = Graph(definition)
    known_inputs, known_outputs = (origin.inputs, origin.outputs) if origin is not None else ({}, {})
    inputs = [item.name for item in graph.placeholders if not item.optional or item.name in known_inputs]
    outputs = [str(tensor) for tensor in artifact_reader.stored_outputs(graph)]
    made = SignatureDef(method_name="tensorflow/serving/predict")
    before = origin.meta.signature_def[origin.signature] if origin is not None else SignatureDef()
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(from_store(artifact_reader.without_payloads(definition), store), name="")
    for names, known, infos, old in (
        (inputs, known_inputs, made.inputs, before.inputs),
        (outputs, known_outputs, made.outputs, before.outputs),
    ):
        for name, key in identifiers(names, known).items():
            tensor = Tensor.parse(name)
            found = whole.get_tensor_by_name(f"{tensor.node}:{tensor.port}")
            info = TensorInfo(dtype=found.dtype.as_datatype_enum, tensor_shape=found.shape.as_proto())
            if key in old and old[key].dtype == info.dtype:
                info.tensor_shape.CopyFrom(old[key].tensor_shape)
            info.name = f"{scope}{found.name}"
            infos[key].CopyFrom(info)
    if before.method_name and set(before.inputs) == set(made.inputs) and set(before.outputs) == set(made.outputs):
        made.method_name = before.method_name
    return made


def _initialize(made: Any, graph: Any, scope: str, origin: Origin) -> None:
    """Has the loader fill the tables of the optimized graph beside those of the other signatures."""
    from tensorflow.core.framework.types_pb2 import DT_INVALID

    own = [f"^{scope}{name}" for name in origin.initializers]
    for name, file in origin.assets.items():
        made.asset_file_def.add(filename=file).tensor_info.name = f"{scope}{name}:0"
    if not own:
        return
    old = [info.name for info in made.signature_def[INITIALIZER].outputs.values()]
    for key in ("saved_model_main_op", "legacy_init_op"):
        if key in made.collection_def and not old:
            old = list(made.collection_def[key].node_list.value)
    own += [f"^{name.partition(':')[0]}" for name in old]
    node = graph.node.add(name=fresh("icebreaker_init", {item.name for item in graph.node}), op="NoOp", input=own)
    info = made.signature_def[INITIALIZER].outputs[INITIALIZER]
    info.name, info.dtype, info.tensor_shape.unknown_rank = node.name, DT_INVALID, True


def _files(origin: Origin, made: Any) -> dict[str, Pieces]:
    """The assets that a MetaGraphDef names, and the variables if it restores any.

    Raises:
        IcebreakerError: One is no file, or lies elsewhere.
    """
    places = [f"assets/{item.filename}" for item in made.asset_file_def]
    if made.saver_def.restore_op_name:
        places += [f"variables/{file.name}" for file in sorted((origin.folder / "variables").glob("variables.*"))]
    found: dict[str, Pieces] = {}
    for place in places:
        try:
            if ".." in Path(place).parts:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            found[place] = [file_beside(origin.folder, place, _MOST_FILE_BYTES)]
        except OSError as error:
            raise IcebreakerError(
                "file_not_read", "{subject} could not be read: {reason}",
                subject=origin.folder / place, reason=error.strerror or str(error),
            ) from error  # fmt: skip
    return found
