"""Big graphs: their weights stay in files, nothing is lost on the way, and memory stays small."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
import icebreaker.conversion.pipeline as convert_module
from helpers.graph_maker import Maker, wide
from icebreaker.conversion.pipeline import convert
from icebreaker.formats import graph_files, structure
from icebreaker.runtime import artifact_reader, artifact_writer
from icebreaker.settings import ConvertSettings
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession


@pytest.fixture
def all_are_big(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every graph counts as big, and every constant of more than 4 kB."""
    monkeypatch.setattr(graph_files, "BIG_BYTES", 0)
    monkeypatch.setattr(structure, "BIG_WEIGHT_BYTES", structure.LONG_BYTES)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two segments around an op without converter; four weights, one of them behind an Identity, and a fifth in use."""
    made = Maker(-1, 8, 8, 16)
    made.add("Conv2D", made.weight(3, 3, 16, 48), strides=[1, 1, 1, 1], padding=b"SAME")
    made.add("BiasAdd", made.weight(48))
    made.add("Relu")
    made.add("Mean", made.constant(np.array([1, 2], np.int32)), Tidx=3)
    made.add("AddV2", made.constant(np.array(1, np.float32)))
    made.add("Digamma")
    made.dense(48, 64)
    read = made.definition.node.add(name="read", op="Identity", input=[made.weight(64, 48)])
    read.attr["T"].type = 1
    made.add("MatMul", read.name)
    product = made.last
    made.last = shared = made.weight(48, 48)
    made.add("Sum", made.constant(np.array(0, np.int32)), Tidx=3)
    total, made.last = made.last, product
    made.add("MatMul", shared)
    made.add("AddV2", total)
    made.add("Softmax")
    path = tmp_path / "model.pb"
    path.write_bytes(made.definition.SerializeToString())
    return path


def run(path: Path, values: np.ndarray) -> np.ndarray:
    definition = graph_files.read_definition(path)
    (output,) = artifact_reader.stored_outputs(graph_files.read_graph(path))
    return GraphSession(definition).run([output], {"x": values})[0]


def test_only_weights_leave_the_message(all_are_big: None, model: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = Store(tmp_path / "store")
    whole, graph = graph_files.read_graph(model), graph_files.read_graph(model, store=store)
    sizes = set()
    for before, after in zip(whole, graph, strict=True):
        assert before.name == after.name
        content = before.definition.attr["value"].tensor.tensor_content if before.op == "Const" else b""
        if file := store.of(after.definition):
            assert file.read_bytes() == content
            sizes.add(len(content))
        else:
            assert before.definition == after.definition
    assert sizes == {4 * 3 * 3 * 16 * 48, 4 * 48 * 64}  # the 48×48 one is summed up as well
    assert len(list(store.folder.iterdir())) == 3


def test_what_is_overlooked_fails(all_are_big: None, model: Path, tmp_path: Path) -> None:
    graph = graph_files.read_graph(model, store=Store(tmp_path))
    output = Tensor.parse(graph.candidate_outputs[0])
    with pytest.raises(Exception, match="Cannot parse tensor"):
        GraphSession(graph.definition).run([output], {"x": np.zeros((1, 8, 8, 16), "f4")})


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("inline", [0, 1 << 30])
def test_converts_as_it_would_in_memory(
    all_are_big: None, model: Path, engine: str, inline: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_writer, "INLINE_BYTES", inline)
    target = model.with_name("optimized.pb")
    report = convert(model, target, ConvertSettings.of(engine=engine, minimum_segment_size=2))
    assert [item.engine for item in report.segments] == [engine, engine]
    assert bool(list(model.parent.glob("*.engine"))) == (inline == 0)
    assert all(
        len(item.payload()) > 10_000
        for item in artifact_reader.stored_engines(graph_files.read_graph(target), model.parent)
    )
    values = np.random.default_rng(1).standard_normal((3, 8, 8, 16)).astype("f4")
    expected = run(model, values)
    assert np.abs(run(target, values) - expected).max() < 1e-6  # its native segments
    (found,) = icebreaker.load(target, fallback=False)(values).values()
    assert np.abs(found - expected).max() < 1e-5


def test_int8_has_the_same_ranges_as_in_memory(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(structure, "BIG_WEIGHT_BYTES", structure.LONG_BYTES)
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(2).standard_normal((96, 8, 8, 16)).astype("f4"))
    settings = ConvertSettings.of(precision="int8", calibration=str(data), minimum_segment_size=2)
    found = []
    for big in (0, 1 << 30):
        monkeypatch.setattr(convert_module, "_BIG_BYTES_INT8", big)
        target = tmp_path / f"{big}.pb"
        report = convert(model, target, replace(settings, engine="onnxruntime"))
        assert {item.precision for item in report.segments} == {"int8"}
        values = np.load(data)["x"][:5]
        (output,) = icebreaker.load(target, fallback=False)(values).values()
        assert np.abs(output - run(model, values)).max() < 0.05
        tables = [item["table"] for item in json.loads(Path(report.calibration_table).read_text())["segments"]]
        # Names of helpers are made up anew each time.
        ranges = [(item["graph"], list(item["tensors"].values()), list(item["layers"].values())) for item in tables]
        found.append((ranges, output.tolist()))
    assert found[0] == found[1]


def test_a_full_disk_is_no_end(all_are_big: None, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "keep", full)
    graph = graph_files.read_graph(model, store=Store(tmp_path))
    assert graph.store is None
    GraphSession(graph.definition).run([Tensor.parse(graph.candidate_outputs[0])], {"x": np.zeros((1, 8, 8, 16), "f4")})


_CONVERTS = """
import sys
from pathlib import Path
from icebreaker import events
from icebreaker.conversion import pipeline
from icebreaker.settings import ConvertSettings

def figure(name):
    return int(dict(line.split(":", 1) for line in open("/proc/self/status"))[name].split()[0]) * 1024

def emit(event):
    if isinstance(event, events.Progress) and str(event.stage) == "Running the original graph":
        print(figure("VmRSS"))

pipeline.convert(Path(sys.argv[1]), Path(sys.argv[2]), ConvertSettings(), emit=emit)
print(figure("VmHWM"))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_small(tmp_path: Path) -> None:
    """Of 134 MB, with all engines: 18 times as much were taken before weights were kept in files."""
    model = tmp_path / "wide.pb"
    model.write_bytes(wide(2).SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", _CONVERTS, str(model), str(tmp_path / "out.pb")], capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    libraries, peak = map(int, done.stdout.split())
    assert (peak - libraries) / model.stat().st_size < 3
