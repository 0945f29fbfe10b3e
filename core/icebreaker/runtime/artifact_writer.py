"""Writes an optimized graph: puts it together from the original and the engines, and into files.

The format is described in `artifact_reader`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icebreaker.engine.protocol import Built
from icebreaker.errors import IcebreakerError
from icebreaker.export import external_data
from icebreaker.graph import external_weights
from icebreaker.graph.graph import Graph
from icebreaker.partitioning.partition import Segment
from icebreaker.runtime.artifact_reader import NATIVE, PREFIX, is_function
from icebreaker.runtime.segment_graph import ENUMS, copy_inside
from icebreaker.storage.files import Pieces, digest_of, size_of, write_together
from icebreaker.storage.trusted_engines import BuiltEngine
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import to_tensorflow
from icebreaker.tf.session import GraphSession

# Beyond this, payloads go to side files: protobuf ends at 2 GiB, and readers copy a message more than once.
INLINE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class EngineNode:
    """A segment with the engine that was built for it; `shapes` as the engine takes them, None for open dimensions."""

    segment: Segment
    engine: str
    built: Built
    shapes: tuple[tuple[int | None, ...], ...]


def assemble(
    graph: Graph, outputs: Sequence[Tensor], engines: Sequence[EngineNode], original: GraphSession,
    spare_inputs: Sequence[Any] = (),
) -> Any:  # fmt: skip
    """Puts the optimized graph together.

    Args:
        graph: The original, cut to what the outputs need; TensorFlow's message.
        outputs: The tensors that keep their names.
        engines: The engine nodes; their segments do not overlap.
        original: The original in TensorFlow.
        spare_inputs: Placeholders that nothing reads, to be fed as before.

    Returns:
        TensorFlow's GraphDef, payloads inside; of big graphs, payloads and weights stay in files until it is written.
    """
    whole = graph.definition
    result = type(whole)(versions=whole.versions, library=whole.library)
    result.node.extend(spare_inputs)
    moved: dict[Tensor, str] = {}  # tensor of a segment → where it is now
    inside: dict[str, EngineNode] = {}
    for item in engines:
        for port, tensor in enumerate(item.segment.outputs):
            moved[tensor] = f"{item.segment.name}:{port}" if port else item.segment.name
        inside.update(dict.fromkeys(item.segment.nodes, item))
    kept = _still_needed(graph, outputs, engines, inside)

    def spelled(tensor: Tensor) -> str:
        return moved.get(tensor, str(tensor))

    def control(name: str) -> str:
        return f"^{inside[name].segment.name}" if name in inside else f"^{name}"

    for node in graph:
        if node.name in kept:
            copy = result.node.add()
            copy.CopyFrom(node.definition)
            copy.ClearField("input")
            copy.input.extend(spelled(tensor) for tensor in node.inputs)
            copy.input.extend(dict.fromkeys(control(name) for name in node.controls))
            copy.attr.pop("_class", None)  # colocation with nodes that may be gone
    for item in engines:
        _add_engine(result, graph, item, original, spelled, control)
    _keep_names(result, outputs, moved, original)
    return result


def _still_needed(
    graph: Graph, outputs: Sequence[Tensor], engines: Sequence[EngineNode], inside: Mapping[str, EngineNode]
) -> set[str]:
    """Nodes outside of segments that the outputs need, now that segments carry copies of their constants."""
    found: set[str] = set()
    opened: set[str] = set()
    stack = [item.node for item in outputs]
    while stack:
        name = stack.pop()
        if name in inside:
            item = inside[name]
            if item.segment.name not in opened:
                opened.add(item.segment.name)
                stack.extend(tensor.node for tensor in item.segment.inputs)
                stack.extend(item.segment.controls)
        elif name not in found:
            found.add(name)
            stack.extend(tensor.node for tensor in graph[name].inputs)
            stack.extend(graph[name].controls)
    return found


def _add_engine(
    result: Any,
    graph: Graph,
    item: EngineNode,
    original: GraphSession,
    spelled: Callable[[Tensor], str],
    control: Callable[[str], str],
) -> None:
    """Adds an engine node and its native segment; `spelled` and `control` say how the new graph names what it reads."""
    segment, built = item.segment, item.built
    function = result.library.function.add()
    signature = function.signature
    signature.name = f"{segment.name}_native_segment"
    arguments = {}
    for index, tensor in enumerate(segment.inputs):
        signature.input_arg.add(name=f"input_{index}", type=ENUMS[original.dtype(tensor)])
        arguments[tensor] = f"input_{index}"
    taken = {f"input_{index}" for index in range(len(segment.inputs))}
    # A function's node may not bear an argument's name.
    names = {name: f"{name}__node" if name in taken else name for name in (*segment.constants, *segment.nodes)}

    def inner(tensor: Tensor) -> str:
        if tensor in arguments:
            return arguments[tensor]
        argument, index = original.output_argument(tensor)
        return f"{names[tensor.node]}:{argument}:{index}"

    for name in (*segment.constants, *segment.nodes):
        node = function.node_def.add()
        copy_inside(graph, name, segment, node, inner, names)
    for index, tensor in enumerate(segment.outputs):
        signature.output_arg.add(name=f"output_{index}", type=ENUMS[original.dtype(tensor)])
        function.ret[f"output_{index}"] = inner(tensor)

    call = result.node.add(name=segment.name, op="PartitionedCall")
    call.input.extend(spelled(tensor) for tensor in segment.inputs)
    call.input.extend(dict.fromkeys(control(name) for name in segment.controls))
    if is_function(item.engine):
        _call_compiled(result, call, type(function).FromString(built.payload), signature.name)
    else:
        call.attr["f"].func.name = signature.name
    call.attr["Tin"].list.SetInParent()
    call.attr["Tin"].list.type.extend(argument.type for argument in signature.input_arg)
    call.attr["Tout"].list.type.extend(argument.type for argument in signature.output_arg)
    for key in ("config", "config_proto", "executor_type"):
        call.attr[key].s = b""
    for key, text in {
        "engine": item.engine,
        "precision": built.precision,
        "version": built.version,
        "device": built.device,
        "sha256": digest_of(
            [built.payload] if isinstance(built.payload, bytes) else external_data.whole(built.payload)
        ),
    }.items():
        call.attr[PREFIX + key].s = text.encode()
    if isinstance(built.payload, bytes) and not is_function(item.engine):
        call.attr[f"{PREFIX}payload"].s = built.payload
    call.attr[f"{PREFIX}shapes"].list.SetInParent()
    for shape in item.shapes:
        stored = call.attr[f"{PREFIX}shapes"].list.shape.add()
        for dim in shape:
            stored.dim.add(size=-1 if dim is None else dim)


def _call_compiled(result: Any, call: Any, made: Any, native: str) -> None:
    """Makes an engine node call the function that its engine is, which says how it is to be called."""
    if all(item.signature.name != made.signature.name for item in result.library.function):
        result.library.function.append(made)
    call.attr["f"].func.name = made.signature.name
    for key, value in made.attr.items():
        call.attr[key].CopyFrom(value)
    call.attr[NATIVE].func.name = native


def _keep_names(result: Any, outputs: Sequence[Tensor], moved: Mapping[Tensor, str], original: GraphSession) -> None:
    """Gives the outputs that went into segments a node of their own name, and marks all outputs with their order."""
    nodes = {node.name: node for node in result.node}
    ports: dict[str, int] = {}
    for tensor in outputs:
        if tensor in moved:
            ports[tensor.node] = max(tensor.port, ports.get(tensor.node, 0))
    for name, last in ports.items():
        sources = [Tensor(name, port) for port in range(last + 1)]
        node = nodes[name] = result.node.add(name=name, op="IdentityN" if last else "Identity")
        node.input.extend(moved[tensor] for tensor in sources)
        if last:
            node.attr["T"].list.type.extend(ENUMS[original.dtype(tensor)] for tensor in sources)
        else:
            node.attr["T"].type = ENUMS[original.dtype(sources[0])]
    for position, tensor in enumerate(outputs):
        nodes[tensor.node].attr[f"{PREFIX}output"].list.i.extend((position, tensor.port))


def write(
    definition: Any, path: Path, job_id: str = "", *, engines: Sequence[EngineNode] = (), store: Store | None = None
) -> list[BuiltEngine]:
    """Writes an optimized graph; payloads go to side files where it would pass 1 GB, weights where it would pass 2 GB.

    A side file's name has the payload's hash in it, `NAME.TRTEngineOp_000.0123abcd.engine`, so that the graph that is
    replaced keeps its own until the new one is there.

    Args:
        definition: What `assemble` made.
        path: The file to make or replace.
        job_id: As for `files.write_whole`.
        engines: The engine nodes, and
        store: the original's store, if parts of the graph lie in files.

    Returns:
        Each of `engines`, as it was written.

    Raises:
        IcebreakerError: The graph is too big for protobuf even so, or the disk refuses.
    """
    payloads = payload_files(engines)
    inline = {name: (f"{PREFIX}payload", payload) for name, payload in payloads.items()}
    try:
        graph = external_weights.pieces(definition, store, inline)
        files: dict[Path, bytes | Pieces] = {}
        if size_of(graph) > INLINE_BYTES:
            definition = to_tensorflow(definition)
            sides = payloads_apart(definition, payloads, path.name)
            files = {path.with_name(name): payload for name, payload in sides.items()}
            graph = external_weights.pieces(definition, store)
        if size_of(graph) > external_weights.MOST_BYTES and store is not None:
            definition, files = _set_apart(definition, path, engines, store, files)
            graph = external_weights.pieces(definition)
        if size_of(graph) > external_weights.MOST_BYTES:
            raise ValueError
    except (ValueError, RuntimeError) as error:
        raise IcebreakerError(
            "graph_too_big", "{subject} would pass protobuf's limit of 2 GB", "fewer_outputs", subject=path
        ) from error
    files[path] = graph
    write_together(files, job_id)
    external_weights.sweep(path, files)
    return built_engines(definition, engines)


def payload_files(engines: Sequence[EngineNode]) -> dict[str, Pieces]:
    """Engine node → its payload, of those that have it in a file until the graph is written."""
    return {
        item.segment.name: external_data.whole(item.built.payload)
        for item in engines
        if isinstance(item.built.payload, Path)
    }


def payloads_apart(definition: Any, payloads: Mapping[str, Pieces], name: str) -> dict[str, Pieces]:
    """Takes the payloads out of a graph's engine nodes, and has the nodes name side files; changes the message.

    Args:
        definition: TensorFlow's GraphDef.
        payloads: Engine node → its payload, of those that have it in a file.
        name: The graph's file, beside which they will lie.

    Returns:
        Side file → its content.
    """
    files: dict[str, Pieces] = {}
    for node in definition.node:
        if f"{PREFIX}payload" in node.attr or node.name in payloads:
            payload = payloads.get(node.name) or [node.attr[f"{PREFIX}payload"].s]
            node.attr.pop(f"{PREFIX}payload", None)
            digest = node.attr[f"{PREFIX}sha256"].s.decode()
            side = f"{name}.{node.name.replace('/', '_')}.{digest[:8]}.engine"
            files[side] = payload
            node.attr[f"{PREFIX}file"].s = side.encode()
    return files


def built_engines(definition: Any, engines: Sequence[EngineNode]) -> list[BuiltEngine]:
    """What was built of a graph's engines: those of `engines`; others may be in it that were built elsewhere."""
    names = {item.segment.name for item in engines}
    return [
        BuiltEngine(*(node.attr[PREFIX + key].s.decode() for key in ("engine", "precision", "sha256")))
        for node in definition.node
        if node.name in names
    ]


def _set_apart(
    definition: Any, path: Path, engines: Sequence[EngineNode], store: Store, files: Mapping[Path, bytes | Pieces]
) -> tuple[Any, dict[Path, bytes | Pieces]]:
    """A graph and its side files with what lies in a store in the folder beside it."""
    folder = external_weights.folder_of(path)
    weights = {file.name for file in external_weights.stored(definition, store)}
    result = dict(files)
    nodes = {node.name: node for node in definition.node}
    for item in engines:
        if isinstance(item.built.payload, Path):
            attributes = nodes[item.segment.name].attr
            result.pop(path.with_name(attributes[f"{PREFIX}file"].s.decode()), None)
            model, names = external_data.with_files_in(item.built.payload, folder.name)
            weights |= names
            digest = hashlib.sha256(model).hexdigest()
            # The suffix tells OpenVINO what is in a file.
            name = f"{path.name}.{item.segment.name.replace('/', '_')}.{digest[:8]}.onnx"
            result[path.with_name(name)] = model
            for key, text in {"sha256": digest, "file": name, "weights": folder.name}.items():
                attributes[PREFIX + key].s = text.encode()
    result |= {folder / name: [store.folder / name] for name in weights}
    return external_weights.mapped(definition, store, folder.name), result
