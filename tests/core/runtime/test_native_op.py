"""The native op gives what the way through Python gives: values, errors, fallbacks; it also runs without Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from helpers.paths import ROOT
from icebreaker.conversion.pipeline import convert
from icebreaker.errors import IcebreakerError
from icebreaker.graph import side_effects
from icebreaker.settings import ConvertSettings
from icebreaker.tf import native_library

needs_library = pytest.mark.skipif(
    not native_library.place().is_file(), reason="the native op is not built: it needs g++ (core/native/build.py)"
)
OUTPUTS = ("probabilities:0", "best:0", "large:0", "label:0")


def values(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """What the graph takes."""
    random = np.random.default_rng(seed)
    return {"x": random.random((rows, 8), np.float32), "ids": random.integers(0, 10, (rows, 4), np.int32)}


@pytest.fixture(scope="module")
def optimized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A in TensorFlow (Digamma), B with two inputs and outputs of three types in OpenVINO, C in TensorFlow (words)."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    dense = tf.constant(random.normal(size=(8, 5)).astype(np.float32))
    table = tf.constant(random.normal(size=(10, 5)).astype(np.float32))

    def model(x: Any, ids: Any) -> Any:
        a = tf.math.digamma(x + 1.0)
        b = tf.nn.relu(tf.linalg.matmul(a, dense)) + tf.reduce_mean(tf.gather(table, ids), 1)
        scores = tf.nn.softmax(b, name="scores")
        best = tf.argmax(scores, 1, name="winner")
        words = tf.gather(tf.constant(["zero", "one", "two", "three", "four"]), best)
        return (
            tf.identity(scores, name="probabilities"), tf.identity(best, name="best"),
            tf.identity(b > 0.5, name="large"), tf.identity(words, name="label"),
        )  # fmt: skip

    concrete = tf.function(model).get_concrete_function(
        tf.TensorSpec((None, 8), tf.float32, "x"), tf.TensorSpec((None, 4), tf.int32, "ids")
    )
    folder = tmp_path_factory.mktemp("native")
    (folder / "original.pb").write_bytes(concrete.graph.as_graph_def().SerializeToString())
    convert(folder / "original.pb", folder / "optimized.pb", ConvertSettings.of(outputs=OUTPUTS, engine="openvino"))
    return folder / "optimized.pb"


def ops(model: icebreaker.Model) -> set[str]:
    """What a model's session is made of."""
    return {operation.type for operation in model.session.graph.get_operations()}


@pytest.fixture
def both(optimized: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[icebreaker.Model, icebreaker.Model]:
    """The graph with the native op, and through Python."""
    native, through_python = icebreaker.load(optimized), icebreaker.load(optimized)
    assert "IcebreakerEngine" in ops(native) and "PyFuncStateless" not in ops(native)
    monkeypatch.setenv("ICEBREAKER_NATIVE", "0")
    assert "PyFuncStateless" in ops(through_python) and "IcebreakerEngine" not in ops(through_python)
    monkeypatch.delenv("ICEBREAKER_NATIVE")
    return native, through_python


def outcome(model: icebreaker.Model, feeds: dict[str, np.ndarray]) -> Any:
    """What a call comes to: arrays or an error's words, and what was warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            result: Any = {name: value.tolist() for name, value in model(feeds).items()}
        except IcebreakerError as error:
            result = (error.code, str(error))
    return result, [str(item.message) for item in told]


@needs_library
def test_it_gives_what_python_gives(both: tuple[icebreaker.Model, icebreaker.Model]) -> None:
    native, through_python = both
    odd = values(3)
    odd["x"][1, 2] = np.nan
    outside = values(3)
    outside["ids"][2, 1] = 10  # no row of the table
    below = values(3)
    below["ids"][0, 0] = -1
    small = values(2)
    small["x"] *= 1e-41
    for feeds in (values(1), values(5), values(1), values(7), values(0), odd, outside, below, small, values(5, 1)):
        np.testing.assert_equal(outcome(native, feeds), outcome(through_python, feeds))


@needs_library
def test_a_shape_that_the_engine_was_not_built_for_runs_in_tensorflow(optimized: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(optimized.read_bytes())
    (node,) = (node for node in definition.node if node.op == "PartitionedCall")
    for shape in node.attr["_icebreaker_shapes"].list.shape:
        shape.dim[0].size = 2
    (tmp_path / "fixed.pb").write_bytes(definition.SerializeToString())
    model = icebreaker.load(tmp_path / "fixed.pb")
    assert "IcebreakerEngine" in ops(model)
    assert outcome(model, values(2))[1] == []
    result, (told,) = outcome(model, values(3))
    assert "not built for inputs of shape 3×" in told
    np.testing.assert_allclose(result["probabilities"], plain(optimized, values(3))[0], atol=1e-5)


@needs_library
def test_threads_side_by_side(both: tuple[icebreaker.Model, icebreaker.Model]) -> None:
    native, through_python = both
    feeds = [values(1 + seed % 3, seed) for seed in range(24)]
    expected = [through_python(item)["probabilities:0"] for item in feeds]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for have, want in zip(pool.map(native, feeds), expected, strict=True):
                np.testing.assert_allclose(have["probabilities:0"], want, atol=1e-5)


@needs_library
def test_inside_a_function(both: tuple[icebreaker.Model, icebreaker.Model]) -> None:
    import tensorflow as tf

    native, through_python = both
    tensors = [tf.constant(item) for item in values(3).values()]
    want = through_python(values(3))
    for have, name in zip(native.function(*tensors), want, strict=True):
        np.testing.assert_array_equal(have, want[name])


def plain(path: Path, feeds: dict[str, np.ndarray]) -> list[Any]:
    """Runs a file with nothing but TensorFlow."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(path.read_bytes()), name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run(list(OUTPUTS), {f"{name}:0": value for name, value in feeds.items()})


@pytest.fixture(scope="module")
def written(optimized: Path) -> Path:
    """The graph for where there is no Python."""
    path = optimized.with_name("native.pb")
    assert icebreaker.load(optimized).write_native(path) == ("TRTEngineOp_000",)
    return path


@needs_library
def test_a_graph_with_the_engine_inside(optimized: Path, written: Path) -> None:
    native_library.opened()
    for rows in (2, 3, 0):
        for have, want in zip(plain(written, values(rows)), plain(optimized, values(rows)), strict=True):
            np.testing.assert_allclose(have, want, atol=1e-5) if want.dtype.kind == "f" else None
            assert want.dtype.kind == "f" or (have == want).all()


@needs_library
@pytest.mark.parametrize("damage", ["model", "key", "config"])
def test_what_openvino_refuses_runs_in_the_native_segment(
    optimized: Path, written: Path, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf

    native_library.opened()
    definition = tf.compat.v1.GraphDef.FromString(written.read_bytes())
    (node,) = (node for node in definition.node if node.op == "IcebreakerEngine")
    if damage == "model":
        node.attr["model"].s = node.attr["model"].s.replace(b"</layer>", b"</later>", 1)
    elif damage == "key":
        node.attr["key"].s = b"of another process"
    else:
        node.attr["config"].list.s.extend([b"NUM_STREAMS", b"none"])
    (tmp_path / "damaged.pb").write_bytes(definition.SerializeToString())
    capfd.readouterr()
    for have, want in zip(plain(tmp_path / "damaged.pb", values(3)), plain(optimized, values(3)), strict=True):
        np.testing.assert_array_equal(have, want)  # the native segment is the original, bit for bit
    told = capfd.readouterr().err
    assert ("engine TRTEngineOp_000: " in told and "; runs in TensorFlow" in told) or damage == "key"


def test_icebreaker_reads_it_as_a_graph_without_engines(optimized: Path, written: Path) -> None:
    model = icebreaker.load(written)
    assert not model.engines and model.outputs == icebreaker.load(optimized).outputs
    np.testing.assert_array_equal(model(values(3))["probabilities:0"], plain(optimized, values(3))[0])


def test_the_op_in_a_strangers_graph_needs_consent(written: Path) -> None:
    import tensorflow as tf

    (found,) = side_effects.find_side_effects(tf.compat.v1.GraphDef.FromString(written.read_bytes()))
    assert found.op == "IcebreakerEngine" and found.effect == "runs an engine that is embedded in the graph"


def test_it_says_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    here = native_library.place().is_file()
    assert native_library.state().code == ("native_op_here" if here else "native_op_absent")
    monkeypatch.setenv("ICEBREAKER_NATIVE", "0")
    assert native_library.state().code == "native_op_off" and native_library.opened() is None


@needs_library
def test_a_program_without_python_runs_it(both: Any, written: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    tensorflow, openvino = find_spec("tensorflow"), find_spec("openvino")
    if compiler is None:
        pytest.skip("there is no C compiler (Debian: apt-get install gcc)")
    assert tensorflow and tensorflow.origin and openvino and openvino.origin
    home, program = Path(tensorflow.origin).parent, tmp_path / "run_graph"
    subprocess.run(
        [compiler, ROOT / "tests/helpers/run_graph.c", "-o", program, "-I", home / "include", "-L", home,
         "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{home}"],
        check=True,
    )  # fmt: skip
    (engine,) = (Path(openvino.origin).parent / "libs").glob("libopenvino_c.so*")
    result = subprocess.run(
        [program, native_library.place(), written, "x", "ids", "probabilities", "3"], check=False,
        env={"ICEBREAKER_OPENVINO": str(engine), "PATH": os.environ["PATH"]}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "runs in TensorFlow" not in result.stderr
    feeds = {
        "x": np.arange(24, dtype=np.float32).reshape(3, 8) / 8,
        "ids": np.arange(12, dtype=np.int32).reshape(3, 4) % 10,
    }
    have = np.array(result.stdout.split(), np.float32).reshape(3, 5)
    np.testing.assert_allclose(have, both[1](feeds)["probabilities:0"], atol=1e-6)
