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
`_icebreaker_native`        the native segment, where the node calls a function that is the engine (see below)
`_icebreaker_output`        on the graph's output nodes: pairs of (position among the outputs, port)
`_icebreaker_function`      on engine nodes that are live in a process (`live_graph.live`): their native segment
==========================  =========================================================================

An engine that is a function (`Engine.payload`) has no payload beside it: the node calls it, so that plain TensorFlow
runs it too, and attributes without `icebreaker` in their name say how (`_XlaMustCompile`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icebreaker.engine import registry
from icebreaker.engine.segment_model import Model
from icebreaker.errors import IcebreakerError
from icebreaker.export import external_data
from icebreaker.graph.graph import Graph
from icebreaker.graph.ops import DTYPES
from icebreaker.storage.files import read_beside
from icebreaker.tensors import Tensor

PREFIX = "_icebreaker_"
NATIVE = f"{PREFIX}native"
MOST_PAYLOAD_BYTES = 1 << 33  # of an engine in a side file


@dataclass(frozen=True)
class StoredEngine:
    """An engine node as found in a file; the payload is read and checked when `payload` is called.

    Attributes:
        node: Its name.
        engine: The engine's name.
        precision: What it computes in, such as `bf16`.
        version: Version of the engine that built it.
        device: What it was built for.
        sha256: Hex digest of the payload.
        shapes: Of its inputs, as the engine takes them: None where a dimension is open, or the rank is unknown.
        inputs: The tensors it reads.
        output_dtypes: TensorFlow's names of its outputs' types.
        function: The library function with the original nodes.
        compiled: The library function that is the engine, and that the node calls; None if the engine is a payload.
    """

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
    compiled: Any = None

    @property
    def has_side_file(self) -> bool:
        """True if its payload lies beside the graph."""
        return self._file is not None

    def payload(self) -> Model:
        """The engine's bytes; an ONNX model whose weights lie beside the graph as its file.

        Raises:
            IcebreakerError: A side file is missing or no file, or the bytes are not those that were written.
        """
        data = self._inline if self.compiled is None else self.compiled.SerializeToString(deterministic=True)
        if self._file is not None:
            try:
                data = read_beside(self._file.parent, self._file.name, MOST_PAYLOAD_BYTES)
            except OSError as error:
                raise IcebreakerError(
                    "side_file_unreadable",
                    "engine {subject} needs the file {file} beside the graph, which cannot be read ({why})",
                    "copy_along", subject=self.node, file=self._file.name, why=str(error.strerror),
                ) from error  # fmt: skip
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise IcebreakerError(
                "engine_damaged", "engine {subject} is damaged (its checksum differs)", "convert_again",
                subject=self.node,
            )  # fmt: skip
        if self._weights_apart and self._file is not None:
            external_data.check_files(self._file)
            return self._file
        return data


def stored_engines(graph: Graph, folder: Path) -> tuple[StoredEngine, ...]:
    """The engine nodes of an optimized graph that lies in `folder`; empty for any other graph.

    Raises:
        IcebreakerError: An engine node's attributes are not what `write` makes.
    """
    found = []
    for node in graph:
        attributes = node.definition.attr
        if f"{PREFIX}engine" not in attributes:
            continue
        values = {}
        for key in ("engine", "precision", "version", "device", "sha256"):
            values[key] = attributes[PREFIX + key].s.decode("utf-8", "replace")
        file = None
        if f"{PREFIX}file" in attributes:
            name = attributes[f"{PREFIX}file"].s.decode("utf-8", "replace")
            if not name or Path(name).name != name:
                raise IcebreakerError(
                    "side_file_elsewhere",
                    "engine {subject} names the side file {file!r}, which is not beside the graph",
                    subject=node.name, file=name,
                )  # fmt: skip
            file = folder / name
        if node.op != "PartitionedCall":
            raise IcebreakerError(
                "engine_node_odd", "engine {subject} is a {op}, not a PartitionedCall", "convert_again",
                subject=node.name, op=node.op,
            )  # fmt: skip
        shapes = attributes[f"{PREFIX}shapes"].list.shape
        called = attributes["f"].func.name
        native = attributes[NATIVE].func.name if NATIVE in attributes else called
        if not len(shapes) == len(node.inputs) == len(attributes["Tin"].list.type) or not (
            {called, native} <= set(graph.functions)
        ):
            raise IcebreakerError(
                "engine_node_damaged", "engine {subject} is not as it was written", "convert_again", subject=node.name
            )
        found.append(
            StoredEngine(
                node=node.name,
                **values,
                shapes=tuple(node.attrs[f"{PREFIX}shapes"] or ()),
                inputs=node.inputs,
                output_dtypes=tuple(DTYPES.get(item, f"type {item}") for item in attributes["Tout"].list.type),
                function=native,
                _inline=attributes[f"{PREFIX}payload"].s if f"{PREFIX}payload" in attributes else b"",
                _file=file,
                _weights_apart=f"{PREFIX}weights" in attributes,
                compiled=None if native == called else _function(graph, called),
            )
        )
    return tuple(found)


def is_function(engine: str) -> bool:
    """Whether an engine is a function of the graph that TensorFlow itself runs."""
    found = registry.find(engine)
    return found is not None and found.payload == "function"


def _function(graph: Graph, name: str) -> Any:
    return next(item for item in graph.definition.library.function if item.signature.name == name)


def call_native(node: Any) -> None:
    """Makes an engine node (NodeDef) that calls the function that its engine is call its native segment instead."""
    if NATIVE in node.attr:
        node.attr["f"].func.name = node.attr[NATIVE].func.name
        for key in [key for key in node.attr if key.startswith("_") and not key.startswith(PREFIX)]:
            del node.attr[key]
        del node.attr[NATIVE]


def with_native(graph: Graph, kept: Collection[str]) -> Graph:
    """The graph with native segments in the place of functions that are engines, but for the nodes that are `kept`."""
    if not any(NATIVE in node.definition.attr and node.name not in kept for node in graph):
        return graph
    definition = type(graph.definition)()
    definition.CopyFrom(graph.definition)
    for node in definition.node:
        if node.name not in kept:
            call_native(node)
    return Graph(definition, graph.store)


def stored_outputs(graph: Graph) -> tuple[Tensor, ...]:
    """The outputs that an optimized graph was made for, in order; of any other graph its candidate outputs.

    Raises:
        IcebreakerError: What was stored has been damaged.
    """
    found: dict[int, Tensor] = {}
    for node in graph:
        if f"{PREFIX}output" not in node.definition.attr:
            continue
        numbers = node.definition.attr[f"{PREFIX}output"].list.i
        if len(numbers) % 2 or any(number < 0 for number in numbers):
            raise IcebreakerError(
                "output_damaged", "output {subject!r} is not as it was written", "convert_again", subject=node.name
            )
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
            if not key.startswith(PREFIX):
                copy.attr[key].CopyFrom(value)
    return result


def without_engines(definition: Any) -> Any:
    """The same graph with calls of the native segments in the place of engine nodes, so that TensorFlow runs all."""
    result = type(definition)()
    result.CopyFrom(definition)
    for node in result.node:
        for key in [key for key in node.attr if key.startswith(PREFIX) and key != f"{PREFIX}output"]:
            del node.attr[key]
    return result


def portable(definition: Any) -> Any:
    """The graph with engine nodes that were live in some process as calls of their native segments again."""
    if not any(f"{PREFIX}function" in node.attr for node in definition.node):
        return definition
    result = type(definition)()
    result.CopyFrom(definition)
    for node in result.node:
        if f"{PREFIX}function" in node.attr:
            node.op = "PartitionedCall"
            name = node.attr[f"{PREFIX}function"].s.decode("utf-8", "replace")
            kept = {key: value for key, value in node.attr.items() if key in ("Tin", "Tout")}
            for key in [key for key in node.attr if key not in kept and not key.startswith(PREFIX)]:
                del node.attr[key]
            del node.attr[f"{PREFIX}function"]
            node.attr["f"].func.name = name
            for key in ("config", "config_proto", "executor_type"):
                node.attr[key].s = b""
    return result


def copy_private(source: Any, target: Any) -> None:
    """Gives the nodes of `target` the private attributes that nodes of the same name have in `source`."""
    nodes = {node.name: node for node in target.node}
    for node in source.node:
        for key, value in node.attr.items():
            if key.startswith(PREFIX) and node.name in nodes:
                nodes[node.name].attr[key].CopyFrom(value)
