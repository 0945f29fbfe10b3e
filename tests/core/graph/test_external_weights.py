"""Graphs of more than protobuf holds, made small: their weights lie beside them, and nothing else is read."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from helpers.graph_maker import Maker
from icebreaker import events
from icebreaker.benchmarking import benchmark, compare
from icebreaker.conversion.pipeline import convert
from icebreaker.errors import IcebreakerError
from icebreaker.formats import graph_files, structure
from icebreaker.formats.saved_model import reader as saved_model
from icebreaker.graph import external_weights, side_effects
from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.jobs.requests import Inspect
from icebreaker.jobs.supervisor import Job
from icebreaker.runtime import artifact_reader, artifact_writer
from icebreaker.settings import ConvertSettings
from icebreaker.storage.files import write_together
from icebreaker.storage.weight_store import Store
from icebreaker.tensors import Tensor
from icebreaker.tf.session import GraphSession

VALUES = np.random.default_rng(1).standard_normal((3, 8, 8, 16)).astype("f4")


@pytest.fixture(autouse=True)
def protobuf_holds_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_files, "BIG_BYTES", 0)
    monkeypatch.setattr(structure, "BIG_WEIGHT_BYTES", structure.LONG_BYTES)
    monkeypatch.setattr(saved_model, "BIG_WEIGHT_BYTES", structure.LONG_BYTES)
    monkeypatch.setattr(artifact_writer, "INLINE_BYTES", 0)
    monkeypatch.setattr(external_weights, "MOST_BYTES", 20_000)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two segments around an op without converter."""
    made = Maker(-1, 8, 8, 16)
    made.add("Conv2D", made.weight(3, 3, 16, 48), strides=[1, 1, 1, 1], padding=b"SAME")
    made.add("BiasAdd", made.weight(48))
    made.add("Relu")
    made.add("Mean", made.constant(np.array([1, 2], np.int32)), Tidx=3)
    made.add("AddV2", made.constant(np.array(1, np.float32)))
    made.add("Digamma")
    made.dense(48, 64)
    made.dense(64, 48)
    made.add("Softmax")
    path = tmp_path / "model.pb"
    path.write_bytes(made.definition.SerializeToString())
    return path


def optimized(model: Path, engine: str = "openvino") -> Path:
    target = model.with_name("optimized.pb")
    report = convert(model, target, ConvertSettings.of(engine=engine, minimum_segment_size=2))
    assert [item.engine for item in report.segments] == [engine, engine]
    return target


def expected(model: Path) -> np.ndarray:
    graph = Graph(graph_files.read_definition(model))
    return GraphSession(graph.definition).run([Tensor(graph.candidate_outputs[0])], {"x": VALUES})[0]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_runs_from_anywhere(model: Path, engine: str) -> None:
    target = optimized(model, engine)
    weights = sorted(external_weights.folder_of(target).iterdir())
    assert target.stat().st_size < 20_000 and sum(item.stat().st_size for item in weights) > 50_000
    assert {item.suffix for item in target.parent.glob("optimized.pb.TRT*")} == {".onnx"}
    loaded = icebreaker.load(target, fallback=False)
    assert len(loaded.engines) == 2
    (found,) = loaded(VALUES).values()
    assert np.abs(found - expected(model)).max() < 1e-5
    (found,) = loaded.function(VALUES)
    assert np.abs(np.asarray(found) - expected(model)).max() < 1e-5
    assert compare.compare(str(model), str(target)).outputs


def test_plain_tensorflow_runs_it_in_its_folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = optimized(model)
    definition = GraphDef.FromString(target.read_bytes())
    (output,) = artifact_reader.stored_outputs(Graph(definition))
    monkeypatch.chdir(target.parent)
    found = GraphSession(definition).run([output], {"x": VALUES})[0]
    assert np.abs(found - expected(model)).max() < 1e-6


def test_goes_in_again(model: Path, tmp_path: Path) -> None:
    target = optimized(model)
    again = tmp_path / "again.pb"
    assert convert(target, again, ConvertSettings.of(engine="onnxruntime")).segments == ()  # it is optimized already
    (found,) = icebreaker.load(again, fallback=False)(VALUES).values()
    assert np.abs(found - expected(model)).max() < 1e-5
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(IcebreakerError, match="side files of its engines would stay behind: convert the graph that"):
        convert(target, tmp_path / "elsewhere" / "again.pb", ConvertSettings())
    told = graph_files.inspect(target)
    assert told.side_effects == () and told.engines == {"openvino": True}
    shown = graph_files.read_structure(target)
    assert "ImmutableConst" not in {node.op for f in shown.definition.library.function for node in f.node_def}


def test_what_is_replaced_goes(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = optimized(model)
    (external_weights.folder_of(target) / "note.txt").write_text("mine")
    optimized(model, "onnxruntime")
    assert len(list(target.parent.glob("optimized.pb.TRT*"))) == 2
    monkeypatch.setattr(external_weights, "MOST_BYTES", 1 << 30)
    optimized(model)
    assert [item.name for item in external_weights.folder_of(target).iterdir()] == ["note.txt"]


def test_what_another_graph_needs_stays(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = optimized(model)
    renamed = target.rename(model.with_name("renamed"))
    before = set(target.parent.glob("optimized.pb.*/*")) | set(target.parent.glob("optimized.pb.TRT*"))
    optimized(model, "onnxruntime")
    now = set(target.parent.glob("optimized.pb.*/*")) | set(target.parent.glob("optimized.pb.TRT*"))
    assert before < now
    (found,) = icebreaker.load(renamed, fallback=False)(VALUES).values()
    assert np.abs(found - expected(model)).max() < 1e-5
    renamed.unlink()
    monkeypatch.setattr(external_weights, "MOST_BYTES", 1 << 30)
    optimized(model)
    assert len(list(target.parent.glob("optimized.pb.TRT*"))) == 2 and not external_weights.folder_of(target).exists()


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("links", [True, False])
def test_a_graph_with_its_weights_beside_it_is_converted(
    model: Path, monkeypatch: pytest.MonkeyPatch, engine: str, links: bool
) -> None:
    want = expected(model)
    monkeypatch.setattr(external_weights, "MOST_BYTES", 1 << 30)
    with tempfile.TemporaryDirectory() as folder:
        graph = graph_files.read_graph(model, store=Store(Path(folder)), big=0)
        monkeypatch.setattr(external_weights, "MOST_BYTES", 20_000)
        frozen = model.with_name("frozen.pb")
        write_together(external_weights.files(frozen, graph.definition, graph.store))
    assert list(external_weights.folder_of(frozen).iterdir())
    if not links:  # the folder for temporary files is on another disk

        def refuse(*_: object) -> None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(os, "link", refuse)
    target = optimized(frozen, engine)
    shutil.rmtree(external_weights.folder_of(frozen))
    (found,) = icebreaker.load(target, fallback=False)(VALUES).values()
    assert np.abs(found - want).max() < 1e-5


def test_what_is_damaged_or_missing_is_told(model: Path) -> None:
    target = optimized(model)
    folder = external_weights.folder_of(target)
    name = sorted(folder.iterdir())[0]
    content = name.read_bytes()
    name.write_bytes(bytes(len(content)))
    with pytest.raises(IcebreakerError, match=r"is damaged \(its checksum differs\): copy the folder optimized\.pb"):
        icebreaker.load(target)
    name.write_bytes(content)
    icebreaker.load(target, fallback=False)
    shutil.rmtree(folder)
    with pytest.raises(IcebreakerError, match=r"copy the folder optimized\.pb\.weights along"):
        icebreaker.load(target)
    assert graph_files.read_structure(target).placeholders  # to be shown, nothing is read


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "../model.pb", "optimized.pb.weights/../../secret", "x.weights/passwd"]
)
def test_no_other_file_is_taken_for_weights(model: Path, place: str) -> None:
    target = optimized(model)
    definition = GraphDef.FromString(target.read_bytes())
    node = next(n for f in definition.library.function for n in f.node_def if n.op == external_weights.MAPPED)
    node.attr["memory_region_name"].s = place.encode()
    target.write_bytes(definition.SerializeToString())
    with pytest.raises(side_effects.ConsentNeeded, match=r"ImmutableConst\) reads files"):
        benchmark.benchmark(str(target), seconds=0.1)


def test_an_engine_reads_nothing_but_weights(model: Path) -> None:
    import hashlib

    import onnx

    target = optimized(model)
    definition = GraphDef.FromString(target.read_bytes())
    for node in definition.node:
        if "_icebreaker_file" in node.attr:
            file = target.with_name(node.attr["_icebreaker_file"].s.decode())
            payload = onnx.load(str(file), load_external_data=False)
            for tensor in payload.graph.initializer:
                for entry in tensor.external_data:
                    if entry.key == "location":
                        entry.value = "../../../../etc/passwd"
            file.write_bytes(payload.SerializeToString())
            node.attr["_icebreaker_sha256"].s = hashlib.sha256(file.read_bytes()).hexdigest().encode()
    target.write_bytes(definition.SerializeToString())
    with pytest.raises(IcebreakerError, match="which is not among the weights beside it"):
        icebreaker.load(target, fallback=False)


_MAKES = """
import numpy as np, sys, tensorflow as tf
K = tf.keras
K.utils.set_random_seed(1)
ids, image = K.Input((7,), dtype="int32", name="ids"), K.Input((16, 16, 3), name="image")
y = K.layers.Conv2D(64, 3, activation="relu")(image)
y = K.layers.Conv2D(32, 3)(K.layers.BatchNormalization()(y))
y = K.layers.Concatenate()([K.layers.Flatten()(K.layers.Embedding(200, 32)(ids)), K.layers.Flatten()(y)])
model = K.Model([ids, image], [K.layers.Dense(5, name="a")(y), K.layers.Dense(2, activation="softmax", name="b")(y)])
model.export(sys.argv[1], verbose=False)
lstm = K.Input((7, 40), name="steps")
K.Model(lstm, K.layers.LSTM(80)(lstm)).export(sys.argv[2], verbose=False)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("exported")
    paths = folder / "mixed", folder / "lstm"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", _MAKES, *map(str, paths)], check=True, env=environment, capture_output=True)
    return paths


def outcome(graph: Graph, feeds: dict[str, Any]) -> dict[str, np.ndarray]:
    names = sorted(graph.candidate_outputs)
    results = GraphSession(graph.definition, store=graph.store).run([Tensor(name) for name in names], feeds)
    return dict(zip(names, results, strict=True))


def test_a_saved_model_is_frozen_from_its_checkpoint(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr(external_weights, "MOST_BYTES", 1 << 31)
    whole, apart = graph_files.read_graph(exported[0]), graph_files.read_graph(exported[0], store=store)
    assert apart.store is store and len(list(tmp_path.iterdir())) == 5  # all but biases and batch norm
    assert set(apart.placeholders) == set(whole.placeholders)
    random = np.random.default_rng(3)
    feeds = {"ids": random.integers(0, 200, (4, 7), np.int32), "image": random.random((4, 16, 16, 3), np.float32)}
    want, have = outcome(whole, feeds), outcome(apart, feeds)
    assert want.keys() == have.keys() and all(np.array_equal(want[name], have[name]) for name in want)


def test_variables_in_loops_are_frozen_in_memory(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert saved_model.read_apart(exported[1], Store(tmp_path), 0) is None
    with pytest.raises(IcebreakerError, match=r"lstm would be a graph of 0\.0 GB, but protobuf ends at 2 GB"):
        graph_files.read_graph(exported[1], store=Store(tmp_path))
    monkeypatch.setattr(external_weights, "MOST_BYTES", 1 << 31)
    graph = graph_files.read_graph(exported[1], store=Store(tmp_path))
    assert outcome(graph, {"steps": np.ones((2, 7, 40), np.float32)})


def test_a_saved_model_becomes_a_file_with_its_weights_beside(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = tmp_path / "mixed.frozen.pb"
    told = graph_files.inspect(exported[0], str(frozen))
    assert told.frozen_path == str(frozen) and told.bytes > 100_000 and frozen.stat().st_size < 30_000
    graph = graph_files.read_graph(frozen)
    monkeypatch.setattr(external_weights, "MOST_BYTES", 1 << 31)
    feeds = {"ids": np.zeros((1, 7), np.int32), "image": np.ones((1, 16, 16, 3), np.float32)}
    want, have = outcome(graph_files.read_graph(exported[0]), feeds), outcome(graph, feeds)
    assert all(np.array_equal(want[name], have[name]) for name in want)


_MAKES_BIG = """
import sys, tensorflow as tf
model = tf.Module()
model.w = tf.Variable(tf.random.stateless_normal((40_000, 1_000), (1, 2)))
call = tf.function(lambda x: {"y": tf.matmul(x, model.w)}, [tf.TensorSpec((None, 40_000), tf.float32, "x")])
tf.saved_model.save(model, sys.argv[1], signatures=call)
"""


def test_opening_leaves_nothing_when_it_is_cancelled_while_it_writes(tmp_path: Path) -> None:
    made, frozen = tmp_path / "big", tmp_path / "here" / "big.frozen.pb"
    frozen.parent.mkdir()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", _MAKES_BIG, str(made)], check=True, env=environment, capture_output=True)
    seen: list[events.Event] = []
    job = Job(Inspect(model=str(made), frozen=str(frozen)), seen.append).start()
    end = time.monotonic() + 60
    while not any(item.stat().st_size > 1 << 20 for item in frozen.parent.iterdir() if item.suffix == ".tmp"):
        assert time.monotonic() < end and not frozen.exists(), seen
    job.cancel()
    assert isinstance(job.wait(2), events.Cancelled)
    assert not list(frozen.parent.iterdir())
