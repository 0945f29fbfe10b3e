"""Damages real inputs and gives them to whatever reads files: `python -m fuzz.fuzz --help`, or `make fuzz`.

Every input must end in a valid result or in an IcebreakerError of one line, within 2 s of processor time and 1 GB of
memory. Bytes are flipped, cut, repeated and spliced; messages get fields swapped, renamed, removed and set to hostile
values. Input number N of a seed is always the same, so a finding can be made again: --first N --count 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import datetime
import faulthandler
import gzip
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
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from PIL import Image

from helpers.paths import GRAPHS as SHARED
from helpers.paths import ROOT
from icebreaker import codec, events, reports
from icebreaker.data import dataset, sample_inputs, tfrecord
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files, structure
from icebreaker.graph import external_weights, shape_inference
from icebreaker.graph.graph import Graph, Placeholder
from icebreaker.graph.protos import GraphDef
from icebreaker.partitioning import partition
from icebreaker.quantization import calibration_table as tables
from icebreaker.runtime import artifact_reader
from icebreaker.settings import ConvertSettings, parse_size
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker_gui import layout

SECONDS = 2.0  # of processor time
BYTES = 1 << 30
_BESIDE, _WEIGHT = "graph.pb.weights", bytes(256)
_HOSTILE = (0, 1, -1, 2, 127, 128, 255, 1 << 15, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63))
_OPS = (
    "Const", "Placeholder", "PlaceholderWithDefault", "Identity", "Switch", "Merge", "Enter", "Exit", "NextIteration",
    "LoopCond", "While", "If", "PartitionedCall", "NoOp", "PyFunc", "WriteFile", "Conv2D", "IdentityN", "", "☃",
)  # fmt: skip
_VALUES = (
    None, True, False, 0, -1, 1e308, float("nan"), float("inf"), 10**400, "", "x", "☃" * 1000, "\x00", [], {}, [[]],
    {"a": {"b": []}}, [1, "a", None], [[[[[]]]]],
)  # fmt: skip


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


# -- how it is damaged ---------------------------------------------------------------------------------------------


def damage_bytes(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to four blows to the bytes."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found)) if found else 0
        length = min(chance.choice((1, 2, 4, 8, 64, 1024)), len(found) - at)
        match chance.randrange(8):
            case 0 | 1:
                if found:
                    found[at] ^= 1 << chance.randrange(8)
            case 2:
                found[at : at + length] = chance.randbytes(length)
            case 3:
                del found[at:]
            case 4:
                del found[at : at + length]
            case 5:
                found[at:at] = found[at : at + length] * chance.choice((1, 2, 50))
            case 6:
                other = chance.choice(others)
                start = chance.randrange(len(other)) if other else 0
                found[at : at + length] = other[start : start + length]
            case 7:  # a length or a number beyond all measure
                found[at : at + 1] = b"\xff" * chance.randint(1, 9) + bytes([chance.randrange(128)])
    return bytes(found)


def damage_graph(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Blows to the bytes, or to the message's fields."""
    if chance.random() < 0.4:
        return damage_bytes(chance, data, others)
    definition = GraphDef()
    try:
        definition.ParseFromString(data)
    except DecodeError:
        return damage_bytes(chance, data, others)
    for _ in range(chance.randint(1, 6)):
        _damage_message(chance, definition)
    found = definition.SerializeToString()
    if chance.random() < 0.05:
        with contextlib.suppress(UnicodeDecodeError):
            found = text_format.MessageToString(definition).encode()
            if chance.random() < 0.5:
                found = damage_bytes(chance, found, others)
    if chance.random() < 0.05:
        found = gzip.compress(found, 1)
        if chance.random() < 0.5:
            found = damage_bytes(chance, found, others)
    return found


def _damage_message(chance: random.Random, definition: Any) -> None:
    nodes = definition.node
    functions = definition.library.function
    if functions and chance.random() < 0.3:
        nodes = chance.choice(functions).node_def
    if not nodes:
        nodes.add(name="new", op=chance.choice(_OPS))
        return
    node, other = chance.choice(nodes), chance.choice(nodes)
    match chance.randrange(13):
        case 0:
            node.op = chance.choice((*_OPS, other.op))
        case 1:
            node.name = chance.choice((other.name, "", "☃/☃", "/" * 500, other.name + "/x", "^a", "a:1"))
        case 2:
            node.input.append(
                chance.choice(
                    (other.name, f"^{other.name}", f"{other.name}:{chance.choice(_HOSTILE)}", "", ":", "^", "^^x")
                )
            )
        case 3 if node.input:
            node.input[chance.randrange(len(node.input))] = other.name  # cycles, too
        case 4 if node.input:
            del node.input[chance.randrange(len(node.input)) :]
        case 5 if node.attr:
            node.attr.pop(chance.choice(sorted(node.attr)))
        case 6 | 7:
            key = chance.choice((*sorted(node.attr), *sorted(other.attr), "value", "dtype", "shape", "T", "f"))
            _damage_attribute(chance, node.attr[key])
        case 8:
            nodes.add().CopyFrom(node)
        case 9:
            function = functions.add() if chance.random() < 0.5 or not functions else chance.choice(functions)
            function.signature.name = chance.choice((function.signature.name, node.op, "f", ""))
            function.node_def.add().CopyFrom(node)
        case 10:
            node.attr["f"].func.name = functions[0].signature.name if functions else "f"
        case 11:
            definition.versions.producer = chance.choice(_HOSTILE[:8])
        case 12:
            del nodes[chance.randrange(len(nodes)) :]


def _damage_attribute(chance: random.Random, value: Any) -> None:
    number = chance.choice(_HOSTILE)
    match chance.randrange(9):
        case 0:
            value.i = number
        case 1:
            value.type = max(min(number, (1 << 31) - 1), -(1 << 31))
        case 2:
            value.s = chance.randbytes(chance.choice((0, 1, 40)))
        case 3:
            value.shape.dim.add(size=number)
        case 4:
            value.shape.unknown_rank = True
        case 5:
            value.tensor.dtype = chance.randrange(130)
            for _ in range(chance.choice((1, 3, 300))):
                value.tensor.tensor_shape.dim.add(size=number)
        case 6:
            value.list.SetInParent()
        case 7:
            value.list.i.extend([number] * chance.choice((1, 3, 1000)))
        case 8:
            value.list.shape.add().dim.add(size=number)


def damage_json(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Blows to the text, or to the values in it."""
    if chance.random() < 0.4:
        return damage_bytes(chance, data, others)
    value = json.loads(data)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(value))
        if not places:
            break
        container, key = chance.choice(places)
        match chance.randrange(4):
            case 0 | 1:
                container[key] = copy.deepcopy(chance.choice((*_VALUES, chance.choice(_HOSTILE))))
            case 2:
                del container[key]
            case 3 if isinstance(container, dict):
                container[chance.choice(("", "x", "event", "__class__"))] = copy.deepcopy(container[key])
    text = json.dumps(value)
    return ("[" * 100_000 if chance.random() < 0.002 else text).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def damage_arrays(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Blows to the archive, or to an array in it, whose checksum is right then."""
    if chance.random() < 0.5:
        return damage_bytes(chance, data, others)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if chance.random() < 0.7:
                content = damage_bytes(chance, content, others)
            if chance.random() < 0.2:
                kind = chance.choice(("<f4", "|O", "<U9", "<i8", "|V0", "|S0"))
                shape = tuple(chance.choice(_HOSTILE) for _ in range(chance.randint(0, 3)))
                head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
                padded = head.ljust(117) + "\n"
                content = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + content[128:]
            new.writestr(chance.choice((name, name, "../../x.npy", "☃.npy", "x")), content)
    return stream.getvalue()


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
