"""Damages real inputs and gives them to whatever reads files: `python -m fuzz.fuzz --help`, or `make fuzz`.

Every input must end in a valid result or in an IcebreakerError of one line, within 2 s of processor time and 1 GB of
memory, and no file may come of it. Bytes are flipped, cut, repeated and spliced; messages get fields swapped, renamed,
removed and set to hostile values; functions come about, are handed to each other and called in circles; SavedModels get
other savers, signatures and object graphs (`fuzz.damage`). Input number N of a seed is always the same, so a finding
can be made again: --first N --count 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import faulthandler
import hashlib
import io
import itertools
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image
from tensorboard.compat.proto.meta_graph_pb2 import MetaGraphDef  # pyright: ignore[reportAttributeAccessIssue]

from fuzz.damage import damage_arrays, damage_bytes, damage_graph, damage_json, damage_saved_model
from helpers.paths import GRAPHS as SHARED
from helpers.paths import ROOT
from helpers.shown_models import onnx_model, tflite_model
from icebreaker import codec, events, reports
from icebreaker.data import dataset, sample_inputs, tfrecord
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files, structure
from icebreaker.formats.saved_model.effects import saved_model_effects
from icebreaker.formats.saved_model.optimized import optimized_signature
from icebreaker.graph import external_weights, limits, shape_inference, side_effects
from icebreaker.graph.functions import reachable_functions
from icebreaker.graph.graph import Graph, Placeholder
from icebreaker.graph.ops import DTYPES
from icebreaker.graph.protos import GraphDef, VariableDef
from icebreaker.partitioning import partition
from icebreaker.quantization import calibration_table as tables
from icebreaker.runtime import artifact_reader
from icebreaker.runtime.call_values import InputCheck, fits, numpy_type
from icebreaker.settings import ConvertSettings, parse_size
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker_gui import layout

SECONDS = 2.0  # of processor time
BYTES = 1 << 30
_BESIDE, _WEIGHT = "graph.pb.weights", bytes(256)


class Slow(Exception):
    """An input took too long."""


@dataclass
class Tally:
    """What came of the inputs."""

    inputs: collections.Counter[str] = field(default_factory=collections.Counter)
    taken: collections.Counter[str] = field(default_factory=collections.Counter)
    findings: dict[str, list[int]] = field(default_factory=dict)
    slowest: float = 0.0

    def lines(self) -> list[str]:
        """For people."""
        kinds = [f"{kind}: {count:,} inputs, {self.taken[kind]:,} taken" for kind, count in self.inputs.items()]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = [
            f"FINDING at input {numbers[0]} ({len(numbers)} in all):\n{text}" for text, numbers in self.findings.items()
        ]
        total = f"{sum(self.inputs.values()):,} inputs; slowest {self.slowest:.2f} s; peak memory {peak:.0f} MB"
        return [*kinds, total, *found]


# -- what is damaged -----------------------------------------------------------------------------------------------


def slim(definition: Any) -> Any:
    """The graph without the content of its big constants: damage shall hit what is read."""
    for node in definition.node:
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) > 256:
            node.attr["value"].tensor.tensor_content = b""
    return definition


def graphs() -> list[bytes]:
    """Real graphs: the shipped sample, and those of the shared folder where it is there."""
    paths = [ROOT / "resources" / "samples" / "digits.pb", *sorted(SHARED.glob("*.pb"))]
    paths += sorted((SHARED / "tftrt_unit").glob("*.pb"))
    found = []
    for path in paths:
        if path.stat().st_size < 3_000_000:
            data = slim(graph_files.read_definition(path)).SerializeToString()
            if len(data) < 120_000:
                found.append(data)
    return found


def optimized() -> bytes:
    """The sample as its conversion leaves it: one engine node with its function and its attributes."""
    definition = slim(graph_files.read_definition(ROOT / "resources" / "samples" / "digits.pb"))
    result = GraphDef(versions=definition.versions)
    result.node.extend(node for node in definition.node if node.op == "Placeholder")
    function = result.library.function.add()
    function.signature.name = "TRTEngineOp_000_native_segment"
    function.signature.input_arg.add(name="input_0", type=1)
    function.signature.output_arg.add(name="output_0", type=1)
    function.node_def.extend(node for node in definition.node if node.op != "Placeholder")
    call = result.node.add(name="TRTEngineOp_000", op="PartitionedCall", input=[result.node[0].name])
    call.attr["f"].func.name = function.signature.name
    call.attr["Tin"].list.type.append(1)
    call.attr["Tout"].list.type.append(1)
    payload = b"not an ONNX model, but that is for the engine to say"
    texts = {"engine": "openvino", "precision": "fp32", "version": "1", "device": "CPU"}
    for key, text in texts.items():
        call.attr[f"_icebreaker_{key}"].s = text.encode()
    call.attr["_icebreaker_sha256"].s = hashlib.sha256(payload).hexdigest().encode()
    call.attr["_icebreaker_payload"].s = payload
    call.attr["_icebreaker_shapes"].list.shape.add().dim.add(size=-1)
    output = result.node.add(name="digit", op="Identity", input=["TRTEngineOp_000"])
    output.attr["T"].type = 1
    output.attr["_icebreaker_output"].list.i.extend((0, 0))
    return result.SerializeToString()


def weights_beside() -> bytes:
    """The same, with a weight in a file beside it."""
    definition = GraphDef.FromString(optimized())
    node = next(node for node in definition.library.function[0].node_def if node.op == "Const")
    dtype = node.attr["dtype"].type
    node.Clear()
    node.name, node.op = "weight", external_weights.MAPPED
    node.attr["dtype"].type = dtype
    node.attr["shape"].shape.dim.add(size=len(_WEIGHT) // 4)
    node.attr["memory_region_name"].s = f"{_BESIDE}/{hashlib.sha256(_WEIGHT).hexdigest()}".encode()
    return definition.SerializeToString()


def saved_model() -> bytes:
    """A MetaGraphDef as TensorFlow writes it: a variable, a saver, a resource with an initializer, a signature."""
    meta = MetaGraphDef()
    graph, objects = meta.graph_def, meta.object_graph_def
    for name, op in {"v": "VarHandleOp", "x": "Placeholder", "file": "Placeholder"}.items():
        graph.node.add(name=name, op=op)
    bodies = {
        "save": ("ShardedFilename", "SaveV2", "MergeV2Checkpoints"),
        "restore": ("RestoreV2", "AssignVariableOp"),
        "initializer": ("HashTableV2", "LookupTableImportV2"),
        "serve": ("ReadVariableOp", "MatMul"),
    }
    for name, ops in bodies.items():
        call = graph.node.add(
            name=f"call_{name}", op="StatefulPartitionedCall", input=["x" if name == "serve" else "file"]
        )
        call.attr["f"].func.name = name
        function = graph.library.function.add()
        function.signature.name = name
        function.signature.input_arg.add(name="a", type=7)
        for op in ops:
            function.node_def.add(name=op, op=op, input=["a"])
        if name in ("initializer", "serve"):
            objects.concrete_functions[name].SetInParent()
            objects.nodes.add().function.concrete_functions.append(name)
            objects.nodes[0].children.add(node_id=len(objects.nodes) - 1, local_name=f"_{name}")
    graph.node[-1].attr["_icebreaker_output"].list.i.extend((0, 0))  # as a conversion writes it
    graph.node[-1].attr["_icebreaker_scope"].s = b"call_"
    saver = meta.saver_def
    saver.save_tensor_name, saver.restore_op_name, saver.filename_tensor_name = "call_save:0", "call_restore", "file:0"
    meta.signature_def["serving_default"].inputs["x"].name = "x:0"
    meta.signature_def["serving_default"].outputs["y"].name = "call_serve:0"
    meta.collection_def["saved_model_main_op"].node_list.value.append("call_initializer")
    meta.collection_def["variables"].bytes_list.value.append(VariableDef(variable_name="v:0").SerializeToString())
    return meta.SerializeToString()


def calls() -> list[bytes]:
    """Inputs, and values for them."""
    known: list[dict[str, Any]] = [
        {"dtype": "float32", "shape": [None, 4], "value": [[1.0, 2.0, 3.0, 4.0]], "form": "array"},
        {"dtype": "int32", "shape": [2], "value": [1, 2], "form": ""},
        {"dtype": "string", "shape": [None], "value": ["a", "b"], "form": ""},
        {"dtype": "bfloat16", "shape": None, "value": 1.5, "form": "half"},
        {"dtype": "bool", "shape": [], "value": True, "form": "objects"},
        {"dtype": "complex64", "shape": [1], "value": [1], "form": "complex"},
        {"dtype": "resource", "shape": [], "value": 1, "form": "bytes"},
    ]
    return [json.dumps(item).encode() for item in known]


def calibration_table() -> bytes:
    """A small table as INT8 calibration writes it."""
    tensors = {name: tables.Range(-1.0, 2.0, 1.5, "max") for name in ("a", "b")}
    layers = {"conv": (0.5, 0.25), "dense": None}
    return tables.Table("a" * 64, "b" * 64, 100, "max", tensors, layers, {"max": 30.0}).to_json().encode()


def arrays(pack: bool) -> bytes:
    stream = io.BytesIO()
    save: Callable[..., None] = np.savez_compressed if pack else np.savez
    save(stream, x=np.arange(64, dtype=np.float32).reshape(16, 4), words=np.array([b"a", b"bc"]))
    return stream.getvalue()


def records() -> bytes:
    """Encoded pictures as TFRecords; their checksums are not looked at."""
    found = b""
    for number in range(10):
        stream = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(stream, "PNG")
        example = tfrecord.example_class()()
        example.features.feature["image"].bytes.value.append(stream.getvalue())
        data = example.SerializeToString()
        found += len(data).to_bytes(8, "little") + bytes(4) + data + bytes(4)
    return found


# -- who reads it --------------------------------------------------------------------------------------------------


def read_graph(path: Path) -> None:
    """All that opening a graph does: reading, listing, its shapes, its engines, its picture, its segments."""
    shown = graph_files.read_structure(path)  # as the app reads it
    graph = graph_files.read_graph(path)  # as a worker does
    big = mock.patch.object(structure, "BIG_WEIGHT_BYTES", structure.LONG_BYTES)
    with tempfile.TemporaryDirectory() as folder, big:
        apart = graph_files.read_graph(path, store=Store(Path(folder)), big=0)  # as it does with a big one
    for other in (shown, apart):
        if [node.name for node in other] != [node.name for node in graph]:
            raise AssertionError("the ways to read a graph see different nodes")
    effects = {(item.function, item.node) for item in side_effects.find_side_effects(graph.definition)}
    named = set(reachable_functions(graph.definition.node, graph.definition.library))
    for function in (item for item in graph.definition.library.function if item.signature.name in named):
        acting = (node for node in function.node_def if node.op in side_effects.EFFECTS)
        assert all((function.signature.name, node.name) in effects for node in acting), "an op was overlooked"
    shape_inference.infer(shown)
    json.dumps(graph_files.describe(graph).to_json(), allow_nan=False)
    with contextlib.suppress(IcebreakerError):
        for stored in artifact_reader.stored_engines(graph, path.parent):
            with contextlib.suppress(IcebreakerError):
                stored.payload()
    outputs = artifact_reader.stored_outputs(graph)
    if len(graph) < 400:
        with contextlib.suppress(IcebreakerError):
            partition.partition(graph, [Tensor.parse(name) for name in graph.candidate_outputs], {})
        outline = layout.build(graph, outputs=[str(item) for item in outputs])
        layout.Layout(outline).scene(frozenset())


def read_shown(path: Path) -> None:
    """A model that is only looked at, as the app does."""
    graph = graph_files.read_graph(path, shown=True)
    try:
        graph_files.read_graph(path)
        raise AssertionError("it would be converted")
    except IcebreakerError:
        pass
    shape_inference.infer(graph)
    json.dumps(graph_files.describe(graph).to_json(), allow_nan=False)
    if len(graph) < 400:
        layout.Layout(layout.build(graph, outputs=list(graph.candidate_outputs))).scene(frozenset())


def read_saved_model(path: Path) -> None:
    """What is looked at before TensorFlow's loader runs: every op that acts outside must be found, wherever it is."""
    try:
        meta = MetaGraphDef.FromString(path.read_bytes())
    except DecodeError:
        raise IcebreakerError("no_saved_model", "no SavedModel") from None
    limits.check_limits(meta.graph_def, str(path))
    for name in list(meta.signature_def):
        if (optimized := optimized_signature(meta, name)) is not None:
            graph_files.describe(Graph(optimized[0]))
    found = {(item.function, item.node) for item in saved_model_effects(meta)}
    bodies = {
        "": meta.graph_def.node,
        **{item.signature.name: item.node_def for item in meta.graph_def.library.function},
    }
    roots = {name for name in meta.object_graph_def.concrete_functions if name in bodies}
    for name, body in bodies.items():
        for node in body:
            if node.op in side_effects.EFFECTS and (name in roots or node.op not in side_effects.SAVERS_OPS):
                assert (name, node.name) in found, f"{name}/{node.name} ({node.op}) was overlooked"


def read_arrays(path: Path) -> None:
    """Values for the inputs."""
    items = (Placeholder("x", "float32", (None, 4)), Placeholder("words", "string", (None,)))
    sample_inputs.read_values(path, Graph(GraphDef()), items, 2)


def read_calibration(path: Path) -> None:
    """Calibration data: as the app previews it, and every batch."""
    items = [dataset.Input("x", "float32", (None, 4))]
    if path.suffix == ".tfrecord":
        items = [dataset.Input("image", "float32", (None, 8, 8, 3))]
    for batch in itertools.islice(dataset.open_data(path, items), 20):
        assert all(np.isfinite(value).all() for value in batch.values())


def read_call(path: Path) -> None:
    """A value that a loaded graph is called with: what is taken is of the input's type and shape."""
    try:
        given = json.loads(path.read_bytes())
        dtype, sizes, value, form = (given[key] for key in ("dtype", "shape", "value", "form"))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise IcebreakerError("no_call", "no call") from None
    dtype = dtype if dtype in DTYPES.values() else "float32"
    known = isinstance(sizes, list) and all(item is None or type(item) is int for item in sizes)
    item = Placeholder("x", dtype, tuple(sizes) if known else None)
    with contextlib.suppress(Exception):  # numpy raises what it likes: then the value is given as it is
        match form:
            case "array":
                value = np.asarray(value)
            case "objects":
                value = np.array([value, None, {}], object)
            case "bytes":
                value = np.frombuffer(json.dumps(value).encode(), np.uint8).view("S1")
            case "half":
                value = np.asarray(value, np.float16)
            case "complex":
                value = np.asarray(value, np.complex64)
    array = InputCheck(item)(value)
    assert array.dtype == numpy_type(dtype), f"{array.dtype} for {dtype}"
    assert fits(item.shape, array.shape), f"{array.shape} for {item.shape}"


def read_settings(path: Path) -> None:
    """Settings, as a project or a script has them."""
    try:
        settings = codec.decode(path.read_bytes(), ConvertSettings)
    except ValueError:
        raise IcebreakerError("no_settings", "no settings") from None
    assert codec.decode(codec.encode(settings), ConvertSettings) == settings


def read_event(path: Path) -> None:
    """What a worker says; native code may write into its channel."""
    try:
        event = events.decode(path.read_bytes().decode("utf-8", "replace"))
    except ValueError:
        raise IcebreakerError("no_event", "no event") from None
    events.encode(event)


def read_report(path: Path) -> None:
    """A result that was kept."""
    try:
        codec.decode(path.read_bytes(), reports.Conversion)
    except ValueError:
        raise IcebreakerError("no_report", "no report") from None


def read_table(path: Path) -> None:
    """A calibration table."""
    tables.read_tables(path)


def read_size(path: Path) -> None:
    """A size as the user writes it."""
    parse_size(path.read_bytes().decode("utf-8", "replace"))


@dataclass(frozen=True)
class Target:
    """Something that reads files, and what it is given."""

    kind: str
    read: Callable[[Path], None]
    seeds: list[bytes] = field(repr=False)
    damage: Callable[[random.Random, bytes, list[bytes]], bytes]
    share: int
    suffix: str = ""


def targets() -> list[Target]:
    """What is tried, and how often of a hundred."""
    settings = ConvertSettings.of(outputs=("y",), input_shapes={"x": (1, 2)}, exclude=("a", "b"), memory_fraction=0.5)
    event = events.encode(events.Sample("original", 1.0, 2.0)).encode()
    progress = events.encode(events.Progress("Building", 0.5)).encode()
    segment = reports.SegmentReport("n", "openvino", "fp32", ("a",), ("x",), ("y",), 1.0)
    conversion = reports.Conversion("o", 1.0, 0.5, (segment,), (reports.Left("a", "b", "c", "d"),), ("w",))
    return [
        Target("graphs", read_graph, graphs(), damage_graph, 40),
        Target("optimized graphs", read_graph, [optimized(), weights_beside()], damage_graph, 25),
        Target("SavedModels", read_saved_model, [saved_model()], damage_saved_model, 15),
        Target("ONNX models", read_shown, [onnx_model().SerializeToString()], damage_bytes, 5, ".onnx"),
        Target("TensorFlow Lite models", read_shown, [tflite_model()], damage_bytes, 5, ".tflite"),
        Target("arguments of calls", read_call, calls(), damage_json, 8),
        Target("calibration tables", read_table, [calibration_table()], damage_json, 8),
        Target("input values", read_arrays, [arrays(False), arrays(True)], damage_arrays, 5, ".npz"),
        Target("calibration arrays", read_calibration, [arrays(False), arrays(True)], damage_arrays, 5, ".npz"),
        Target("calibration records", read_calibration, [records()], damage_bytes, 5, ".tfrecord"),
        Target("settings", read_settings, [codec.encode(settings).encode()], damage_json, 8),
        Target("reports", read_report, [codec.encode(conversion).encode()], damage_json, 4),
        Target("events", read_event, [event, progress], damage_json, 4),
        Target("sizes", read_size, [b"4GB", b"1.5 MiB", b"123"], damage_bytes, 1),
    ]


def place_weights(folder: Path) -> None:
    """Puts the file into a folder that graphs with weights beside them name."""
    weight = folder / _BESIDE / hashlib.sha256(_WEIGHT).hexdigest()
    weight.parent.mkdir()
    weight.write_bytes(_WEIGHT)


def is_fit_for_people(error: IcebreakerError) -> bool:
    """True if it is one line that somebody can read."""
    return bool(str(error)) and "\n" not in str(error) and len(str(error)) <= 3000


def run(
    seed: int = 1, first: int = 0, count: int = 1 << 62, seconds: float = float("inf"), keep: Path | None = None
) -> Tally:
    """Goes through the inputs from number `first` on, until `count` of them or `seconds` have passed."""
    tally = Tally()
    known = targets()
    shares = [target.share for target in known]
    began = time.monotonic()
    warnings.simplefilter("ignore")  # zipfile's, about names that occur twice

    def too_slow(number: int, frame: object) -> None:
        raise Slow

    before = signal.signal(signal.SIGVTALRM, too_slow)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, limits[1]))
    faulthandler.dump_traceback_later(1e6, exit=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            place_weights(Path(folder))
            for index in range(first, first + count):
                if time.monotonic() - began > seconds:
                    break
                chance = random.Random(seed * 1_000_003 + index)
                (target,) = chance.choices(known, shares)
                data = target.damage(chance, chance.choice(target.seeds), target.seeds)
                path = Path(folder) / f"input{target.suffix}"
                path.write_bytes(data)
                tally.inputs[target.kind] += 1
                faulthandler.dump_traceback_later(60, exit=True)
                signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
                start = time.process_time()
                try:
                    target.read(path)
                    tally.taken[target.kind] += 1
                except IcebreakerError as error:
                    if not is_fit_for_people(error):
                        tally.findings.setdefault(f"{target.kind}: an odd error: {str(error)[:300]!r}", []).append(
                            index
                        )
                except Exception as error:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                    place = traceback.extract_tb(error.__traceback__)
                    lines = [f"{item.filename}:{item.lineno} {item.name}" for item in place[-4:]]
                    text = "\n".join([f"{target.kind}: {type(error).__name__}: {str(error)[:200]}", *lines])
                    if isinstance(error, Slow):
                        text = f"{target.kind}: over {SECONDS} s: {place[-1].name} in {Path(place[-1].filename).name}"
                    tally.findings.setdefault(text, []).append(index)
                    if keep:
                        keep.mkdir(exist_ok=True)
                        (keep / f"{index}{target.suffix}").write_bytes(data)
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                path.unlink()
                if {item.name for item in Path(folder).iterdir()} - {_BESIDE}:
                    tally.findings.setdefault(f"{target.kind}: a file was written", []).append(index)
                tally.slowest = max(tally.slowest, time.process_time() - start)
    finally:
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGVTALRM, before)
    return tally


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Damages real inputs and gives them to whatever reads files.")
    parser.add_argument("--seed", default="1", help="a number, or today for one that changes every day")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, default=1 << 62)
    parser.add_argument("--seconds", type=float, default=60.0, help="default: 60")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of the findings")
    chosen = parser.parse_args()
    seed = datetime.date.today().toordinal() if chosen.seed == "today" else int(chosen.seed)
    print(f"seed {seed}", flush=True)
    tally = run(seed, chosen.first, chosen.count, chosen.seconds, chosen.keep)
    print(*tally.lines(), sep="\n")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
