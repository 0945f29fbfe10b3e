"""The optimized frozen graph: a GraphDef that plain TensorFlow runs anywhere.

Each segment is one `PartitionedCall` node whose library function is the segment's original subgraph (its native
segment). What an engine needs rides along in private attributes (a leading underscore makes TensorFlow ignore them):

==========================  =========================================================================
`_icebreaker_engine`        the engine's name, such as openvino
`_icebreaker_precision`     what it really computes in, such as bf16
`_icebreaker_version`       the engine's version at build time
`_icebreaker_device`        the device it was built for
`_icebreaker_sha256`        hex digest of the payload
`_icebreaker_payload`       the payload itself, or
`_icebreaker_file`          the name of a side file beside the graph that holds it
`_icebreaker_weights`       the folder beside the graph with the weights of a payload in a side file
`_icebreaker_shapes`        input shapes that the engine takes; an open dimension is unknown there
`_icebreaker_output`        on the graph's output nodes: pairs of (position among the outputs, port)
`_icebreaker_function`      on engine nodes that are live in a process (`runtime.live`): their native segment
==========================  =========================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from icebreaker.engines.protocol import Built, Model
from icebreaker.errors import IcebreakerError
from icebreaker.export import exporter
from icebreaker.graph import external_weights
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import DTYPES
from icebreaker.partitioning.partition import Segment
from icebreaker.storage.files import Pieces, digest_of, size_of, write_together
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker.tf.rewrite import to_tensorflow
from icebreaker.tf.session import GraphSession

# Beyond this, payloads go to side files: protobuf ends at 2 GiB, and readers copy a message more than once.
INLINE_BYTES = 1_000_000_000
_ENUMS = {name: number for number, name in DTYPES.items()}
_PREFIX = "_icebreaker_"


@dataclass(frozen=True)
class EngineNode:
    """A segment with the engine that was built for it; `shapes` as the engine takes them, None for open dimensions."""

    segment: Segment
    engine: str
    built: Built
    shapes: tuple[tuple[int | None, ...], ...]


@dataclass(frozen=True)
class StoredEngine:
    """An engine node as found in a file; the payload is read and checked when `payload` is called."""

    node: str
    engine: str
    precision: str
    version: str
    device: str
    sha256: str
    shapes: tuple[tuple[int | None, ...] | None, ...]
    inputs: tuple[Tensor, ...]
    output_dtypes: tuple[str, ...]
    function: str
    _inline: bytes
    _file: Path | None
    _weights_apart: bool = False

    @property
    def has_side_file(self) -> bool:
        """True if its payload lies beside the graph."""
        return self._file is not None

    def payload(self) -> Model:
        """The engine's bytes; an ONNX model whose weights lie beside the graph as its file.

        Raises:
            IcebreakerError: A side file is missing, or the bytes are not those that were written.
        """
        data = self._inline
        if self._file is not None:
            try:
                data = self._file.read_bytes()
            except OSError as error:
                raise IcebreakerError(
                    f"engine {self.node} needs the file {self._file.name} beside the graph, which cannot be read "
                    f"({error.strerror}): copy it along"
                ) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise IcebreakerError(f"engine {self.node} is damaged (its checksum differs): convert the graph again")
        if self._weights_apart and self._file is not None:
            exporter.check_files(self._file)
            return self._file
        return data


def complete_outputs(segment: Segment, wanted: Sequence[Tensor]) -> Segment:
    """Adds the lower ports of a wanted `node:1`, which the node that keeps the name must have too."""
    inside = set(segment.nodes)
    outputs = list(segment.outputs)
    for tensor in wanted:
        if tensor.node in inside:
            outputs += [
                Tensor(tensor.node, port) for port in range(tensor.port) if Tensor(tensor.node, port) not in outputs
            ]
    return replace(segment, outputs=tuple(outputs))


def stand_ins_of(segment: Segment) -> tuple[Tensor, ...]:
    """The placeholders `input_0`, `input_1` … that stand for a segment's inputs in a graph of its own."""
    taken = {*segment.nodes, *segment.constants}
    names = []
    for index in range(len(segment.inputs)):
        name = f"input_{index}"
        while name in taken:
            name = "_" + name
        taken.add(name)
        names.append(name)
    return tuple(map(Tensor, names))


def segment_definition(
    graph: Graph, segment: Segment, original: GraphSession, shapes: Mapping[Tensor, Any]
) -> tuple[Any, Any]:
    """A segment as a graph of its own, for the converter and for running it alone.

    Args:
        graph: The whole graph (TensorFlow's message).
        segment: The segment.
        original: The whole graph in TensorFlow, for dtypes.
        shapes: Input tensor → shape with None for open dimensions, or None for an unknown rank.

    Returns:
        The GraphDef, and the placeholders that stand for `segment.inputs`, in their order.
    """
    whole = graph.definition
    definition = type(whole)(versions=whole.versions)
    stand_ins = dict(zip(segment.inputs, stand_ins_of(segment), strict=True))
    for tensor, stand_in in stand_ins.items():
        node = definition.node.add(name=stand_in.node, op="Placeholder")
        node.attr["dtype"].type = _ENUMS[original.dtype(tensor)]
        shape = shapes.get(tensor)
        if shape is None:
            node.attr["shape"].shape.unknown_rank = True
        else:
            node.attr["shape"].shape.SetInParent()
            for dim in shape:
                node.attr["shape"].shape.dim.add(size=-1 if dim is None else dim)
    for name in (*segment.constants, *segment.nodes):
        node = definition.node.add()
        _copy_inside(graph, name, segment, node, lambda tensor: str(stand_ins.get(tensor, tensor)))
    return definition, tuple(stand_ins[tensor] for tensor in segment.inputs)


def assemble(graph: Graph, outputs: Sequence[Tensor], engines: Sequence[EngineNode], original: GraphSession) -> Any:
    """Puts the optimized graph together.

    Args:
        graph: The original, cut to what the outputs need; TensorFlow's message.
        outputs: The tensors that keep their names.
        engines: The engine nodes; their segments do not overlap.
        original: The original in TensorFlow.

    Returns:
        TensorFlow's GraphDef, payloads inside; of big graphs, payloads and weights stay in files until it is written.
    """
    whole = graph.definition
    result = type(whole)(versions=whole.versions, library=whole.library)
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
    result: Any, graph: Graph, item: EngineNode, original: GraphSession, spelled: Any, control: Any
) -> None:
    segment, built = item.segment, item.built
    function = result.library.function.add()
    signature = function.signature
    signature.name = f"{segment.name}_native_segment"
    arguments = {}
    for index, tensor in enumerate(segment.inputs):
        signature.input_arg.add(name=f"input_{index}", type=_ENUMS[original.dtype(tensor)])
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
        _copy_inside(graph, name, segment, node, inner, names)
    for index, tensor in enumerate(segment.outputs):
        signature.output_arg.add(name=f"output_{index}", type=_ENUMS[original.dtype(tensor)])
        function.ret[f"output_{index}"] = inner(tensor)

    call = result.node.add(name=segment.name, op="PartitionedCall")
    call.input.extend(spelled(tensor) for tensor in segment.inputs)
    call.input.extend(dict.fromkeys(control(name) for name in segment.controls))
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
        "sha256": digest_of([built.payload] if isinstance(built.payload, bytes) else exporter.whole(built.payload)),
    }.items():
        call.attr[_PREFIX + key].s = text.encode()
    if isinstance(built.payload, bytes):
        call.attr[f"{_PREFIX}payload"].s = built.payload
    call.attr[f"{_PREFIX}shapes"].list.SetInParent()
    for shape in item.shapes:
        stored = call.attr[f"{_PREFIX}shapes"].list.shape.add()
        for dim in shape:
            stored.dim.add(size=-1 if dim is None else dim)


def _copy_inside(graph: Graph, name: str, segment: Segment, node: Any, spelled: Any, names: Any = None) -> None:
    """Copies a node into a segment: inputs respelled, controls from outside left to the engine node."""
    source = graph[name]
    members = names or dict.fromkeys((*segment.nodes, *segment.constants))
    node.CopyFrom(source.definition)
    node.ClearField("input")
    node.input.extend(spelled(tensor) for tensor in source.inputs)
    node.input.extend(f"^{names[item] if names else item}" for item in source.controls if item in members)
    if names:
        node.name = names[name]
    node.attr.pop("_class", None)


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
            node.attr["T"].list.type.extend(_ENUMS[original.dtype(tensor)] for tensor in sources)
        else:
            node.attr["T"].type = _ENUMS[original.dtype(sources[0])]
    for position, tensor in enumerate(outputs):
        nodes[tensor.node].attr[f"{_PREFIX}output"].list.i.extend((position, tensor.port))


def portable(definition: Any) -> Any:
    """The graph with engine nodes that were live in some process as calls of their native segments again."""
    if not any(f"{_PREFIX}function" in node.attr for node in definition.node):
        return definition
    result = type(definition)()
    result.CopyFrom(definition)
    for node in result.node:
        if f"{_PREFIX}function" in node.attr:
            node.op = "PartitionedCall"
            name = node.attr[f"{_PREFIX}function"].s.decode("utf-8", "replace")
            kept = {key: value for key, value in node.attr.items() if key in ("Tin", "Tout")}
            for key in [key for key in node.attr if key not in kept and not key.startswith(_PREFIX)]:
                del node.attr[key]
            del node.attr[f"{_PREFIX}function"]
            node.attr["f"].func.name = name
            for key in ("config", "config_proto", "executor_type"):
                node.attr[key].s = b""
    return result


def copy_private(source: Any, target: Any) -> None:
    """Gives the nodes of `target` the private attributes that nodes of the same name have in `source`."""
    nodes = {node.name: node for node in target.node}
    for node in source.node:
        for key, value in node.attr.items():
            if key.startswith(_PREFIX) and node.name in nodes:
                nodes[node.name].attr[key].CopyFrom(value)


def write(
    definition: Any, path: Path, job_id: str = "", *, engines: Sequence[EngineNode] = (), store: Store | None = None
) -> list[str]:
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
        The SHA-256 of the payload of each of `engines`, as it was written.

    Raises:
        IcebreakerError: The graph is too big for protobuf even so, or the disk refuses.
    """
    payloads = {
        item.segment.name: exporter.whole(item.built.payload)
        for item in engines
        if isinstance(item.built.payload, Path)
    }
    inline = {name: (f"{_PREFIX}payload", payload) for name, payload in payloads.items()}
    try:
        graph = external_weights.pieces(definition, store, inline)
        files: dict[Path, bytes | Pieces] = {}
        if size_of(graph) > INLINE_BYTES:
            definition = to_tensorflow(definition)
            for node in definition.node:
                if f"{_PREFIX}payload" in node.attr:
                    payloads.setdefault(node.name, [node.attr.pop(f"{_PREFIX}payload").s])
                if node.name in payloads:
                    digest = node.attr[f"{_PREFIX}sha256"].s.decode()
                    name = f"{path.name}.{node.name.replace('/', '_')}.{digest[:8]}.engine"
                    files[path.with_name(name)] = payloads[node.name]
                    node.attr[f"{_PREFIX}file"].s = name.encode()
            graph = external_weights.pieces(definition, store)
        if size_of(graph) > external_weights.MOST_BYTES and store is not None:
            definition, files = _set_apart(definition, path, engines, store, files)
            graph = external_weights.pieces(definition)
        if size_of(graph) > external_weights.MOST_BYTES:
            raise ValueError
    except (ValueError, RuntimeError) as error:
        raise IcebreakerError(
            f"{path} would pass protobuf's limit of 2 GB: convert fewer or smaller outputs"
        ) from error
    files[path] = graph
    write_together(files, job_id)
    external_weights.sweep(path, files)
    return digests(definition, engines)


def digests(definition: Any, engines: Sequence[EngineNode]) -> list[str]:
    """The SHA-256 of the payload of each of `engines` in a graph; others may be in it that were built elsewhere."""
    names = {item.segment.name for item in engines}
    return [node.attr[f"{_PREFIX}sha256"].s.decode() for node in definition.node if node.name in names]


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
            result.pop(path.with_name(attributes[f"{_PREFIX}file"].s.decode()), None)
            model, names = exporter.with_files_in(item.built.payload, folder.name)
            weights |= names
            digest = hashlib.sha256(model).hexdigest()
            # The suffix tells OpenVINO what is in a file.
            name = f"{path.name}.{item.segment.name.replace('/', '_')}.{digest[:8]}.onnx"
            result[path.with_name(name)] = model
            for key, text in {"sha256": digest, "file": name, "weights": folder.name}.items():
                attributes[_PREFIX + key].s = text.encode()
    result |= {folder / name: [store.folder / name] for name in weights}
    return external_weights.mapped(definition, store, folder.name), result


def stored_engines(graph: Graph, folder: Path) -> tuple[StoredEngine, ...]:
    """The engine nodes of an optimized graph that lies in `folder`; empty for any other graph.

    Raises:
        IcebreakerError: An engine node's attributes are not what `write` makes.
    """
    found = []
    for node in graph:
        attributes = node.definition.attr
        if f"{_PREFIX}engine" not in attributes:
            continue
        values = {}
        for key in ("engine", "precision", "version", "device", "sha256"):
            values[key] = attributes[_PREFIX + key].s.decode("utf-8", "replace")
        file = None
        if f"{_PREFIX}file" in attributes:
            name = attributes[f"{_PREFIX}file"].s.decode("utf-8", "replace")
            if not name or Path(name).name != name:
                raise IcebreakerError(f"engine {node.name} names the side file {name!r}, which is not beside the graph")
            file = folder / name
        if node.op != "PartitionedCall":
            raise IcebreakerError(f"engine {node.name} is a {node.op}, not a PartitionedCall: convert the graph again")
        shapes = attributes[f"{_PREFIX}shapes"].list.shape
        if not len(shapes) == len(node.inputs) == len(attributes["Tin"].list.type) or (
            attributes["f"].func.name not in graph.functions
        ):
            raise IcebreakerError(f"engine {node.name} is not as it was written: convert the graph again")
        found.append(
            StoredEngine(
                node=node.name,
                **values,
                shapes=tuple(node.attrs[f"{_PREFIX}shapes"] or ()),
                inputs=node.inputs,
                output_dtypes=tuple(DTYPES.get(item, f"type {item}") for item in attributes["Tout"].list.type),
                function=attributes["f"].func.name,
                _inline=attributes[f"{_PREFIX}payload"].s if f"{_PREFIX}payload" in attributes else b"",
                _file=file,
                _weights_apart=f"{_PREFIX}weights" in attributes,
            )
        )
    return tuple(found)


def stored_outputs(graph: Graph) -> tuple[Tensor, ...]:
    """The outputs that an optimized graph was made for, in order; of any other graph its candidate outputs.

    Raises:
        IcebreakerError: What was stored has been damaged.
    """
    found: dict[int, Tensor] = {}
    for node in graph:
        if f"{_PREFIX}output" not in node.definition.attr:
            continue
        numbers = node.definition.attr[f"{_PREFIX}output"].list.i
        if len(numbers) % 2 or any(number < 0 for number in numbers):
            raise IcebreakerError(f"output {node.name!r} is not as it was written: convert the graph again")
        found.update(zip(numbers[::2], (Tensor(node.name, port) for port in numbers[1::2]), strict=True))
    if found:
        return tuple(found[position] for position in sorted(found))
    return tuple(Tensor.parse(name) for name in graph.candidate_outputs)


def without_payloads(definition: Any) -> Any:
    """The same graph without engine payloads: what a session needs, and what the app draws."""
    result = type(definition)(versions=definition.versions, library=definition.library)
    for node in definition.node:
        copy = result.node.add(name=node.name, op=node.op, device=node.device)
        copy.input.extend(node.input)
        for key, value in node.attr.items():
            if not key.startswith(_PREFIX):
                copy.attr[key].CopyFrom(value)
    return result
