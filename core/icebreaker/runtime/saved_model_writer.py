"""Writes an optimized graph as a SavedModel that TensorFlow, TensorFlow Serving and Icebreaker load.

The message is of the form that TensorFlow 1 and 2 read alike: a graph and signatures, without an object graph. The
optimized graph has no variables. Where the SavedModel that it was made from has more signatures, what they need stays
beside it, with its variables, tables and assets, and nodes of the optimized graph get a scope in front of their names
(`formats.saved_model.optimized` reads it).
"""

from __future__ import annotations

import errno
import keyword
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icebreaker.errors import IcebreakerError
from icebreaker.export import external_data
from icebreaker.formats import graph_files
from icebreaker.formats.saved_model import reader as saved_model
from icebreaker.formats.saved_model.optimized import SCOPE, rename_nodes
from icebreaker.formats.saved_model.signatures import DEFAULT_SIGNATURE, Frozen, SignatureTensor
from icebreaker.graph import external_weights
from icebreaker.graph.functions import reachable_functions, rename_functions
from icebreaker.graph.graph import Graph
from icebreaker.runtime import artifact_reader, loader
from icebreaker.runtime.artifact_reader import PREFIX
from icebreaker.runtime.artifact_writer import INLINE_BYTES, payloads_apart
from icebreaker.storage.files import Pieces, field, file_beside, size_of
from icebreaker.storage.folders import write_folder
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import from_store, to_tensorflow

TRACED_CALL = "__call__"
INITIALIZER = "__saved_model_init_op"
_NO_SIGNATURES = (INITIALIZER, "__saved_model_train_op")  # they stand among them, and are none
_INITIALIZERS = ("saved_model_main_op", "legacy_init_op")  # the collections of TensorFlow 1 for the same
_ASSETS = "saved_model_assets"  # and for `asset_file_def`
_STATELESS = {"Const", "Placeholder", "PlaceholderWithDefault", "Identity", "NoOp"}
_MOST_FILE_BYTES = 1 << 40


@dataclass(frozen=True)
class Origin:
    """The SavedModel that an optimized graph was made from.

    Attributes:
        frozen: What it says of the signature that was converted.
        meta: Its MetaGraphDef, TensorFlow's message.
    """

    frozen: Frozen
    meta: Any


def write(
    definition: Any,
    folder: Path,
    job_id: str = "",
    *,
    payloads: Mapping[str, Pieces] | None = None,
    store: Store | None = None,
    frozen: Frozen | None = None,
) -> None:
    """Writes an optimized graph as a SavedModel, whole or not at all.

    Args:
        definition: What `artifact_writer.assemble` made.
        folder: The folder to make, or the SavedModel to replace.
        job_id: As for `folders.write_folder`.
        payloads: Engine node → its payload, of those that have it in a file.
        store: The original's store, if weights of the graph lie in files.
        frozen: What the SavedModel says that it was made from; None: its inputs and outputs become `serving_default`.

    Raises:
        IcebreakerError: It is too big for protobuf, or the disk refuses.
    """
    origin = None
    if frozen is not None:  # it was judged as it was read
        origin = Origin(frozen, saved_model.read_source(Path(frozen.folder), True).meta)
    made, graph, scope = _assembled(to_tensorflow(definition), store, origin)
    payloads = {f"{scope}{name}": payload for name, payload in (payloads or {}).items()}
    inline = {name: (f"{PREFIX}payload", payload) for name, payload in payloads.items()}
    written: dict[str, bytes | Path | Pieces] = {}
    try:
        pieces = external_weights.pieces(graph, store, inline)
        if size_of(pieces) > INLINE_BYTES:
            written |= payloads_apart(graph, payloads, "saved_model.pb")
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


def write_from_file(model: Path, optimized: Path, folder: Path, job_id: str = "", *, signature: str = "") -> None:
    """Writes an optimized graph that lies in a file as a SavedModel; as `write`.

    Args:
        model: What it was made from.
        optimized: The graph's file.
        folder: As for `write`.
        job_id: As for `write`.
        signature: The one of `model` that was converted, as settings have it.
    """
    frozen = None
    with tempfile.TemporaryDirectory(prefix="icebreaker-", ignore_cleanup_errors=True) as place:
        if saved_model.matches(model):  # it was judged as it was opened
            _, frozen = graph_files.read_model(model, True, Store(Path(place)), signature=signature)
        graph = loader.read(optimized, store=Store(Path(place)))
        payloads: dict[str, Pieces] = {}
        for stored in artifact_reader.stored_engines(graph, loader.home(optimized)):
            if stored.has_side_file:
                payload = stored.payload()
                payloads[stored.node] = external_data.whole(payload) if isinstance(payload, Path) else [payload]
                graph[stored.node].definition.attr.pop(f"{PREFIX}file")
        write(graph.definition, folder, job_id, payloads=payloads, store=graph.store, frozen=frozen)


def signature_keys(names: Iterable[str], known: Sequence[SignatureTensor] = ()) -> dict[str, str]:
    """What a signature calls tensors: key → name in the graph.

    Args:
        names: Of tensors in the graph.
        known: What they were called before; what has no such key gets one that Python takes for an argument.
    """
    names = list(names)
    found = {item.key: item.tensor for item in known if item.tensor in names}
    for name in names:
        if name not in found.values():
            plain = re.sub(r"\W", "_", name, flags=re.ASCII)
            if not plain.isidentifier() or keyword.iskeyword(plain):
                plain = f"_{plain}"
            found[fresh(plain, found)] = name
    return found


def _assembled(definition: Any, store: Store | None, origin: Origin | None) -> tuple[Any, Any, str]:
    """The MetaGraphDef to write without its graph, that graph, and what stands before the optimized nodes' names."""
    import tensorflow as tf
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    made, kept = MetaGraphDef(), _kept(origin) if origin is not None else None
    if kept is not None:
        made.CopyFrom(kept)
        made.ClearField("graph_def")
        made.ClearField("object_graph_def")  # it would lead to the network as it was
    made.meta_info_def.Clear()
    made.meta_info_def.tags.extend(origin.frozen.tags if origin is not None else ["serve"])
    made.meta_info_def.tensorflow_version = tf.__version__
    graph, scope = _merged(definition, kept)
    name = origin.frozen.signature.name if origin is not None else DEFAULT_SIGNATURE
    if name == TRACED_CALL and DEFAULT_SIGNATURE not in made.signature_def:
        name = DEFAULT_SIGNATURE
    made.signature_def[name].CopyFrom(_signature(definition, store, scope, origin))
    return made, graph, scope


def _kept(origin: Origin) -> Any | None:
    """The MetaGraphDef with the signatures that stay as they are and what they need; None if there are none."""
    from tensorflow.core.protobuf.meta_graph_pb2 import AssetFileDef

    name = origin.frozen.signature.name
    if not set(origin.meta.signature_def) - {name, *_NO_SIGNATURES}:
        return None
    kept = type(origin.meta)()
    kept.CopyFrom(origin.meta)
    for key in (name, "__saved_model_train_op"):
        kept.signature_def.pop(key, None)
    if _ASSETS in kept.collection_def:
        for item in kept.collection_def[_ASSETS].any_list.value if not kept.asset_file_def else ():
            entry = AssetFileDef()
            if item.Unpack(entry):
                kept.asset_file_def.append(entry)
        kept.collection_def.pop(_ASSETS)
    graph, starts = Graph(kept.graph_def), _initializers(kept)
    signatures = [item for key, item in kept.signature_def.items() if key != INITIALIZER]
    needed = graph.ancestors(item for item in map(_node, _named(signatures)) if item in graph)

    def shares(names: Sequence[str]) -> bool:
        """Whether nodes have something to do with a variable or a table that the signatures need."""
        found = graph.ancestors(item for item in names if item in graph)
        return any(graph[item].op not in _STATELESS for item in needed & found)

    kept.signature_def.pop(INITIALIZER, None)
    for key in _INITIALIZERS:
        kept.collection_def.pop(key, None)
    if shares(starts):
        needed |= graph.ancestors(item for item in starts if item in graph)
        # Without an object graph, TensorFlow takes each signature for one to be called: there it would lack its assets.
        kept.collection_def[_INITIALIZERS[0]].node_list.value.extend(starts)
    else:
        kept.ClearField("asset_file_def")
    saver, others = kept.saver_def, set(kept.collection_def) - set(_INITIALIZERS)
    if shares([_node(saver.restore_op_name)]):
        if others:
            return kept  # TensorFlow 1 describes variables there, by nodes: all stay
        ends = (saver.restore_op_name, saver.save_tensor_name, saver.filename_tensor_name)
        needed |= graph.ancestors(item for item in map(_node, ends) if item in graph)
    else:
        kept.ClearField("saver_def")
        for key in others:
            kept.collection_def.pop(key)
    cut = type(kept.graph_def)(versions=kept.graph_def.versions, library=kept.graph_def.library)
    cut.node.extend(node.definition for node in graph if node.name in needed)
    kept.graph_def.CopyFrom(cut)
    return kept


def _node(tensor: str) -> str:
    return tensor.partition(":")[0]


def _named(signatures: Iterable[Any]) -> Iterator[str]:
    """The tensors that signatures name."""
    for signature in signatures:
        for info in (*signature.inputs.values(), *signature.outputs.values()):
            yield info.name
            sparse = info.coo_sparse
            yield from (sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name)
            yield from (part.name for part in info.composite_tensor.components)


def _initializers(meta: Any) -> list[str]:
    """The nodes that a loader runs once to fill tables."""
    if INITIALIZER in meta.signature_def:
        return [_node(info.name) for info in meta.signature_def[INITIALIZER].outputs.values()]
    return [
        _node(name)
        for key in _INITIALIZERS
        if key in meta.collection_def
        for name in meta.collection_def[key].node_list.value
    ]


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
    called = set(reachable_functions(made.node, made.library))  # others were there for the object graph
    functions = [function for function in made.library.function if function.signature.name in called]
    del made.library.function[:]
    made.library.function.extend(functions)
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

    graph, before, frozen = Graph(definition), SignatureDef(), None
    if origin is not None:
        frozen = origin.frozen.signature
        if frozen.name in origin.meta.signature_def:
            before.CopyFrom(origin.meta.signature_def[frozen.name])
    known = {item.tensor for item in frozen.inputs} if frozen else set()
    inputs = [item.name for item in graph.placeholders if not item.optional or item.name in known]
    outputs = [str(tensor) for tensor in artifact_reader.stored_outputs(graph)]
    made = SignatureDef(method_name="tensorflow/serving/predict")
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(from_store(artifact_reader.without_payloads(definition), store), name="")
    for names, known, infos, old in (
        (inputs, frozen.inputs if frozen else (), made.inputs, before.inputs),
        (outputs, frozen.outputs if frozen else (), made.outputs, before.outputs),
    ):
        for key, name in signature_keys(names, known).items():
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


def _files(origin: Origin, made: Any) -> dict[str, Pieces]:
    """The assets that a MetaGraphDef names, and the variables if it restores any.

    Raises:
        IcebreakerError: One is no file, or lies elsewhere.
    """
    home = Path(origin.frozen.folder)
    places = [f"assets/{item.filename}" for item in made.asset_file_def]
    if made.saver_def.restore_op_name:
        places += [f"variables/{file.name}" for file in sorted((home / "variables").glob("variables.*"))]
    found: dict[str, Pieces] = {}
    for place in places:
        try:
            if ".." in Path(place).parts:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            found[place] = [file_beside(home, place, _MOST_FILE_BYTES)]
        except OSError as error:
            raise IcebreakerError(
                "file_not_read", "{subject} could not be read: {reason}",
                subject=home / place, reason=error.strerror or str(error),
            ) from error  # fmt: skip
    return found
