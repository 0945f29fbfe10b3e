"""Adding an engine is one class: this file brings one, and every part of the program takes it up."""

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from icebreaker import events
from icebreaker.engine import registry
from icebreaker.engine.protocol import BuildOptions, Built, Colour, Engine, Runner
from icebreaker.engine.segment_model import Model, SegmentModel
from icebreaker.errors import IcebreakerError
from icebreaker.graph.protos import AttrValue, GraphDef, NodeDef
from icebreaker.jobs import requests, supervisor
from icebreaker.reports import EngineStatus
from icebreaker.settings import ConvertSettings
from icebreaker_gui.style import formatting, theme

PLACE = f"{Path(__file__).stem}:Reference"
FLOAT = AttrValue(type=1)


class Reference(Engine):
    """ONNX's own evaluator in NumPy: slow, and right."""

    name = "reference"
    title = "ONNX Reference"
    colour = Colour(light="#6b4a2f", dark="#d9b38c")
    payload = "model"
    takes_open_shapes = False

    def status(self) -> EngineStatus:
        return EngineStatus(self.name, True, True, "ONNX's reference in NumPy", {"fp32": "fp32"})

    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        options.progress("Reading", 0.5)
        return Built(segment.onnx_bytes(), options.precision, importlib.metadata.version("onnx"), "CPU")

    def load(self, payload: Model, precision: str) -> Runner:
        import onnx
        from onnx.reference import ReferenceEvaluator

        assert isinstance(payload, bytes)
        evaluator: Any = ReferenceEvaluator(onnx.load_from_string(payload))

        def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            return evaluator.run(None, dict(zip(evaluator.input_names, inputs, strict=True)))

        return run


WEIGHTS = np.random.default_rng(5).normal(size=(2, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers over rows of eight values."""
    shape = AttrValue()
    for size in (-1, 8):
        shape.shape.dim.add(size=size)
    nodes = [NodeDef(name="x", op="Placeholder", attr={"dtype": FLOAT, "shape": shape})]
    source = "x"
    for index, weights in enumerate(WEIGHTS):
        value = AttrValue()
        value.tensor.dtype = 1
        for size in weights.shape:
            value.tensor.tensor_shape.dim.add(size=size)
        value.tensor.tensor_content = weights.tobytes()
        nodes += [
            NodeDef(name=f"w{index}", op="Const", attr={"dtype": FLOAT, "value": value}),
            NodeDef(name=f"m{index}", op="MatMul", input=[source, f"w{index}"], attr={"T": FLOAT}),
            NodeDef(name=f"y{index}", op="Tanh", input=[f"m{index}"], attr={"T": FLOAT}),
        ]
        source = f"y{index}"
    path = tmp_path_factory.mktemp("registry") / "layers.pb"
    path.write_bytes(GraphDef(node=nodes).SerializeToString())
    return path


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engine as a plug-in: processes that are started see it by the environment, this one is told."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv(registry.VARIABLE, PLACE)
    registry.register(Reference)
    yield
    registry.unregister(Reference.name)


def terminal(*words: object) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "icebreaker.cli", *map(str, words)], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_terminal_offers_it_and_tells_of_it(plugged):
    assert "--engine {auto,openvino,onnxruntime,tensorrt,tensorrt-rtx,xla,reference}" in terminal("convert", "--help")
    (line,) = (item for item in terminal("engines").splitlines() if item.startswith("reference"))
    assert line.split(maxsplit=3) == ["reference", "yes", "yes", "ONNX's reference in NumPy"]


def test_it_converts_a_graph_that_can_be_loaded(plugged, model, tmp_path):
    output = tmp_path / "faster.pb"
    report = json.loads(terminal("convert", model, "-o", output, "--engine", "reference", "--json"))
    assert [item["engine"] for item in report["segments"]] == ["reference"]
    loaded = icebreaker.load(output)
    assert loaded.engines == {"TRTEngineOp_000": "reference"}
    rows = np.ones((1, 8), np.float32)
    expected = np.tanh(np.tanh(rows @ WEIGHTS[0]) @ WEIGHTS[1])
    assert loaded(rows)["y1"] == pytest.approx(expected, abs=1e-5)


def test_it_competes_where_the_fastest_is_wanted(plugged, model, tmp_path):
    told: list[events.Event] = []
    request = requests.Convert(model=str(model), output=str(tmp_path / "auto.pb"))
    report = supervisor.run(request, told.append)
    stages = {str(item.stage) for item in told if isinstance(item, events.Progress)}
    assert "TRTEngineOp_000: reference: Reading" in stages, "it was built"
    for segment in report.segments:  # none, where TensorFlow is faster
        assert {"openvino", "onnxruntime", "reference"} <= {tried.engine for tried in segment.candidates}


def test_the_app_calls_and_paints_it_as_it_says(plugged):
    assert formatting.engine("reference") == "ONNX Reference"
    assert [look.engine("reference").name() for look in (theme.LIGHT, theme.DARK)] == ["#6b4a2f", "#d9b38c"]


def test_built_in_engines_say_what_users_read():
    for name in registry.names():
        engine = registry.find(name)
        assert engine is not None and engine.name == name
        assert engine.title and engine.colour, name
        assert "fp32" in engine.precisions, name
    assert registry.title("openvino") == "OpenVINO"
    assert registry.title("of another version") == "of another version"


def test_a_name_that_is_unknown_is_refused():
    registry.require("auto")
    for ask in (registry.require, registry.get, registry.chosen):
        with pytest.raises(IcebreakerError) as raised:
            ask("warp")
        assert str(raised.value) == (
            "engine 'warp' is unknown: choose auto, openvino, onnxruntime, tensorrt, tensorrt-rtx, xla"
        )


def test_a_plug_in_that_cannot_be_imported_takes_nothing_else_away():
    script = "from icebreaker.engine import registry; print(*registry.names(), registry.machine().engines[-1])"
    environment = os.environ | {registry.VARIABLE: "no_such_module:Engine, pathlib:Path"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("openvino onnxruntime tensorrt tensorrt-rtx xla EngineStatus(name='pathlib:Path'")
    assert "it cannot be imported: TypeError" in done.stdout
    assert "No module named 'no_such_module'" in done.stderr


def test_asking_for_classes_loads_no_vendor_library():
    script = (
        "import sys; from icebreaker.engine import registry; print(*map(registry.title, registry.names()), sep=',')"
    )
    script += "; assert not {'openvino', 'onnxruntime', 'onnx', 'tensorrt', 'tensorrt_rtx'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "OpenVINO,ONNX Runtime,TensorRT,TensorRT-RTX,XLA", done.stderr


class Session(Engine):
    """TensorFlow itself, as an engine that starts from TensorFlow's form of a segment."""

    name = "session"
    title = "TensorFlow's Session"
    starts_from = "tensorflow"

    def status(self) -> EngineStatus:
        return EngineStatus(self.name, True, True, "TensorFlow", {"fp32": "fp32"})

    def supported_ops(self) -> frozenset[str]:
        return frozenset({"Digamma", "MatMul", "Tanh"})

    def build(self, segment: SegmentModel, options: BuildOptions) -> Built:
        names = [[port.name for port in ports] for ports in (segment.inputs, segment.outputs)]
        payload = json.dumps(names).encode() + b"\n" + segment.graph_def().SerializeToString()
        return Built(payload, options.precision, "1", "CPU")

    def load(self, payload: Model, precision: str) -> Runner:
        import tensorflow as tf

        assert isinstance(payload, bytes)
        line, _, content = payload.partition(b"\n")
        inputs, outputs = json.loads(line)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(tf.compat.v1.GraphDef.FromString(content), name="")
        session = tf.compat.v1.Session(graph=graph)
        return lambda values: session.run(outputs, dict(zip(inputs, values, strict=True)))


def test_an_engine_that_starts_from_tensorflow_takes_what_has_no_form_in_onnx(model, tmp_path):
    from icebreaker.conversion.pipeline import convert

    definition = GraphDef.FromString(model.read_bytes())
    next(node for node in definition.node if node.name == "y0").op = "Digamma"
    (tmp_path / "digamma.pb").write_bytes(definition.SerializeToString())
    registry.register(Session)
    try:
        settings = ConvertSettings(engine="session", minimum_segment_size=1)
        report = convert(tmp_path / "digamma.pb", tmp_path / "faster.pb", settings)
        (segment,) = report.segments
        assert {"m0", "y0", "m1", "y1"} <= set(segment.nodes) and segment.engine == "session"
        rows = np.full((2, 8), 0.25, np.float32)
        plain, loaded = icebreaker.load(tmp_path / "digamma.pb"), icebreaker.load(tmp_path / "faster.pb")
        assert loaded.engines == {"TRTEngineOp_000": "session"}
        np.testing.assert_allclose(loaded(rows)["y1"], plain(rows)["y1"], rtol=1e-5)
    finally:
        registry.unregister("session")


def test_what_an_engine_is_handed_is_made_when_it_asks():
    made = []
    segment = SegmentModel((), (), lambda: made.append("onnx") or b"model", lambda: made.append("graph"))
    assert not made
    assert segment.onnx == segment.onnx == segment.onnx_bytes() == b"model" and made == ["onnx"]
    assert segment.with_onnx(b"other").onnx == b"other" and made == ["onnx"]
    with pytest.raises(IcebreakerError, match="no form in TensorFlow"):
        segment.with_onnx(b"other").graph_def()
