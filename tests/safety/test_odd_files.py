"""Pipes, devices, links out of the folder, files of terabytes: refused in one line before a byte is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import fuzz
from icebreaker.data import dataset, sample_inputs
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph import external_weights
from icebreaker.graph.graph import Graph, Placeholder
from icebreaker.graph.protos import GraphDef
from icebreaker.quantization import calibration_table
from icebreaker.runtime import artifact_reader


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _far(path: Path) -> None:
    secret = path.parents[2] / "secret"
    secret.write_bytes(b"secret")
    path.symlink_to(secret)


def _terabyte(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)  # takes no room on the disk


KINDS = {"pipe": os.mkfifo, "device": _device, "link out": _far, "terabyte": _terabyte}
WORDS = "is no file|a link that leads out of its folder|GB are read"


@pytest.mark.parametrize("kind", KINDS)
def test_engines_beside_a_graph(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    definition = GraphDef.FromString(fuzz.optimized())
    for node in definition.node:
        if "_icebreaker_payload" in node.attr:
            del node.attr["_icebreaker_payload"]
            node.attr["_icebreaker_file"].s = b"side.engine"
    (stored,) = artifact_reader.stored_engines(Graph(definition), folder)
    KINDS[kind](folder / "side.engine")
    with pytest.raises(IcebreakerError, match=WORDS):
        stored.payload()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_beside_a_graph(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a" / "graph.pb"
    weight = path.parent / fuzz._BESIDE / hashlib.sha256(fuzz._WEIGHT).hexdigest()
    weight.parent.mkdir(parents=True)
    path.write_bytes(fuzz.weights_beside())
    KINDS[kind](weight)
    with pytest.raises(IcebreakerError, match=WORDS):
        graph_files.read_graph(path)
    weight.unlink()
    weight.write_bytes(bytes(1 << 20))
    with pytest.raises(IcebreakerError, match="is not as its file beside the graph"):
        graph_files.read_graph(path)
    weight.write_bytes(fuzz._WEIGHT)
    assert external_weights.file_at(path.parent, f"{fuzz._BESIDE}/{weight.name}") == weight
    graph_files.read_graph(path)


_x = Placeholder("x", "float32", (None, 4))


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("data.npz", lambda path: dataset.open_data(path, [_x])),
        ("data.npy", lambda path: dataset.open_data(path, [_x])),
        ("data.tfrecord", lambda path: dataset.open_data(path, [_x])),
        ("data.py", lambda path: dataset.open_data(path, [_x], allow_code=True)),
        ("data.npz", lambda path: sample_inputs.read_values(path, Graph(GraphDef()), (_x,), 1)),
        ("table.json", calibration_table.read_tables),
        ("graph.pb", graph_files.read_graph),
        ("graph.pb", graph_files.read_structure),
        ("graph.pbtxt", graph_files.inspect),
        ("model.keras", graph_files.inspect),
    ],
)
def test_what_the_user_names(tmp_path: Path, kind: str, name: str, read: Callable[[Path], object]) -> None:
    KINDS[kind](tmp_path / name)
    with pytest.raises(IcebreakerError, match="is no file"):
        read(tmp_path / name)


def test_images_among_pipes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(IcebreakerError, match="has no images"):
        dataset.open_data(tmp_path, [Placeholder("x", "float32", (None, 4, 4, 3))])
