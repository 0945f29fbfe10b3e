"""The front door: the main jobs as plain functions, with typed results and errors, from wherever Python runs."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icebreaker
from helpers.paths import DIGITS
from helpers.processes import alive, children, wait_until
from icebreaker import api, events, reports
from icebreaker.jobs import supervisor
from icebreaker.settings import ConvertSettings, Limits

SAMPLES = DIGITS.with_name("digits_test.npz")
GRAPH = """
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "shape" value { shape { dim { size: -1 } dim { size: 4 } } } } }
node { name: "two" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape {} float_val: 2 } } } }
node { name: "y" op: "Mul" input: "x" input: "two" attr { key: "T" value { type: DT_FLOAT } } }
%s
versions { producer: 1000 }
"""
WRITER = """
node { name: "name" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
       attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape {} string_val: "written" } } } }
node { name: "write" op: "WriteFile" input: "name" input: "name" }
node { name: "z" op: "Identity" input: "y" input: "^write" attr { key: "T" value { type: DT_FLOAT } } }
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A graph of one multiplication."""
    path = tmp_path / "tiny.pbtxt"
    path.write_text(GRAPH % "")
    return path


@pytest.fixture
def writer(tmp_path: Path) -> Path:
    """A graph that writes a file."""
    path = tmp_path / "writer.pbtxt"
    path.write_text(GRAPH % WRITER)
    return path


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, reports.Conversion, list[events.Progress]]:
    """The digits sample, converted; what was told of it, and the progress meanwhile."""
    output = tmp_path_factory.mktemp("fast") / "fast.pb"
    told: list[events.Progress] = []
    made = icebreaker.convert(DIGITS, output, engine="onnxruntime", outputs="probabilities", progress=told.append)
    return output, made, told


# -- what each gives ------------------------------------------------------------------------------------------------


def test_convert(fast: tuple[Path, reports.Conversion, list[events.Progress]]) -> None:
    output, made, told = fast
    assert isinstance(made, reports.Conversion) and made.output == str(output) and output.is_file()
    assert [segment.engine for segment in made.segments] == ["onnxruntime"]
    assert all(isinstance(item, reports.Left) for item in made.left_in_tensorflow)
    fractions = [event.fraction for event in told]
    assert fractions == sorted(fractions) and len(set(fractions)) > 4 and 0 <= fractions[0] <= fractions[-1] <= 1
    assert all(isinstance(event, events.Progress) and str(event.stage) for event in told)


def test_load_benchmark_and_compare(fast: tuple[Path, reports.Conversion, list[events.Progress]]) -> None:
    output, _, _ = fast
    rows = np.load(SAMPLES)["image_bytes"][:2]
    assert icebreaker.load(output, fallback=False)(image_bytes=rows)["probabilities"].shape == (2, 10)
    found = icebreaker.benchmark(DIGITS, output, batch=2, seconds=0.2, data=SAMPLES)
    assert isinstance(found, reports.Benchmark) and found.batch == 2
    assert found.optimized and found.speedup and found.speedup.median > 0
    compared = icebreaker.compare(str(DIGITS), output)
    assert isinstance(compared, reports.Comparison) and compared.outputs["probabilities"].max_rel < 1e-4


def test_inspect(tiny: Path) -> None:
    found = icebreaker.inspect(tiny)
    assert isinstance(found, reports.Inspection)
    assert (found.nodes, found.outputs, found.ops) == (3, ("y",), {"Const": 1, "Mul": 1, "Placeholder": 1})


def test_engines() -> None:
    found = api.engines()
    assert all(isinstance(status, reports.EngineStatus) for status in found)
    assert {"openvino", "onnxruntime"} <= {status.name for status in found if status.runs}


def test_calibrate_then_convert_without_data(tmp_path: Path) -> None:
    data = tmp_path / "few.npz"
    np.savez(data, image_bytes=np.load(SAMPLES)["image_bytes"][:48])
    table = tmp_path / "ranges.json"
    settings = ConvertSettings.of(engine="onnxruntime", calibration_method="minmax")
    found = icebreaker.calibrate(DIGITS, data, table, outputs=["probabilities"], settings=settings)
    assert isinstance(found, reports.Calibration) and found.output == str(table) and found.segments
    made = icebreaker.convert(
        DIGITS, tmp_path / "int8.pb", precision="int8", engine="onnxruntime", outputs=["probabilities"],
        calibration_table=table,
    )  # fmt: skip
    assert all(segment.quantization for segment in made.segments)


# -- what is asked --------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that would be run."""
    requests: list[Any] = []
    monkeypatch.setattr(supervisor, "run", lambda request, *more: requests.append(request))
    return requests


def test_arguments_change_settings(asked: list[Any]) -> None:
    given = ConvertSettings.of(precision="fp16", engine="openvino", optimization_level=2, max_batch_size=8)
    icebreaker.convert("m.pb", "o.pb", settings=given)
    icebreaker.convert("m.pb", "o.pb", settings=given, engine="auto", max_batch_size=1, accuracy_budget=0.1)
    assert asked[0].settings == given
    assert asked[1].settings == given.changed(engine="auto", max_batch_size=1, accuracy_budget=0.1)
    icebreaker.convert("m.pb", "o.pb")
    assert asked[2].settings == ConvertSettings()


def test_names_shapes_and_paths_in_every_spelling(asked: list[Any]) -> None:
    icebreaker.convert(
        Path("m.pb"), "~/o.pb", outputs="y:0", inputs=["^x:0"], input_shapes={"x:0": np.array([1, 3])},
        profiles={"z": ([1, 2], np.int64([3, 4]), (5, 6))}, data=Path("d.npz"), calibration="random",
    )  # fmt: skip
    (request,) = asked
    settings = request.settings
    assert (settings.outputs, settings.inputs, settings.input_shapes) == (("y",), ("x",), {"x": (1, 3)})
    assert settings.profiles == {"z": ((1, 2), (3, 4), (5, 6))} and settings.data == "d.npz"
    assert request.output == str(Path.home() / "o.pb") and settings.quantization.calibration == "random"


@pytest.mark.parametrize(
    "call",
    [
        lambda: icebreaker.convert("m.pb", "o.pb", outputs=[1]),  # type: ignore[list-item]
        lambda: icebreaker.convert("m.pb", "o.pb", max_batch_size=1.5),  # type: ignore[arg-type]
        lambda: icebreaker.convert("m.pb", "o.pb", input_shapes={"x": (1.5,)}),  # type: ignore[dict-item]
        lambda: icebreaker.convert(5, "o.pb"),  # type: ignore[arg-type]
        lambda: icebreaker.benchmark("m.pb", seconds="long"),  # type: ignore[arg-type]
    ],
)
def test_wrong_types_are_told_before_anything_starts(call: Callable[[], object], asked: list[Any]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        call()
    assert not asked


# -- what goes wrong ------------------------------------------------------------------------------------------------


def test_errors_are_typed(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(icebreaker.IcebreakerError) as raised:
        icebreaker.convert(tiny, tmp_path / "o.pb", outputs=["yy"])
    assert "'yy' is not in the graph: did you mean y" in str(raised.value)
    with pytest.raises(icebreaker.IcebreakerError) as raised:
        icebreaker.convert(tiny, tmp_path / "o.pb", precision="fp8")  # type: ignore[arg-type]
    assert (raised.value.code, raised.value.message.subject) == ("choice_unknown", "precision")
    with pytest.raises(icebreaker.IcebreakerError) as raised:
        icebreaker.inspect(tmp_path / "missing.pb")
    assert raised.value.code and raised.value.code != "uncoded" and "--" not in str(raised.value)
    with pytest.raises(icebreaker.IcebreakerError, match="took more than 1 s"):
        icebreaker.convert(DIGITS, tmp_path / "o.pb", limits=Limits(time_seconds=1.0))
    assert [path.name for path in tmp_path.iterdir()] == [tiny.name]


def test_consent_is_asked_for(writer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(icebreaker.ConsentNeeded) as raised:
        icebreaker.convert(writer, tmp_path / "o.pb")
    assert raised.value.code == "consent_needed" and raised.value.effects
    assert "allow its side effects" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == [writer.name]
    made = icebreaker.convert(writer, tmp_path / "o.pb", consent=icebreaker.Consent(side_effects=True))
    assert Path(made.output).is_file() and (tmp_path / "written").is_file()


def processes() -> set[int]:
    return set(children(os.getpid()))


@pytest.fixture
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """No process and no file beside those that were there."""
    before, files = processes(), set(tmp_path.iterdir())
    yield
    wait_until(lambda: processes() <= before)
    assert set(tmp_path.iterdir()) == files


@pytest.mark.usefixtures("_nothing_is_left")
@pytest.mark.parametrize("problem", [RuntimeError("the window is closed"), SystemExit(3), KeyboardInterrupt()])
def test_what_the_callback_raises_is_raised(tmp_path: Path, problem: BaseException) -> None:
    def progress(event: events.Progress) -> None:
        if "TensorFlow" in str(event.stage):
            raise problem

    with pytest.raises(type(problem)) as raised:
        icebreaker.convert(DIGITS, tmp_path / "o.pb", progress=progress)
    assert raised.value is problem


@pytest.mark.usefixtures("_nothing_is_left")
@pytest.mark.parametrize("when", ["before", "midway"])
def test_a_job_can_be_cancelled(tmp_path: Path, when: str) -> None:
    cancel = threading.Event()
    if when == "before":
        cancel.set()
    with pytest.raises(icebreaker.JobCancelled):
        icebreaker.convert(DIGITS, tmp_path / "o.pb", progress=lambda event: cancel.set(), cancel=cancel)


def test_the_log_goes_to_the_logger(tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "icebreaker"):
        icebreaker.convert(tiny, tmp_path / "o.pb", minimum_segment_size=1, engine="onnxruntime")
    assert caplog.records and {record.name for record in caplog.records} == {"icebreaker"}


# -- from where it is called ----------------------------------------------------------------------------------------

CALL = "import icebreaker, sys\nfound = icebreaker.inspect(sys.argv[1])\nprint(found.nodes)\n"


def run(*command: str | Path, cwd: Path, stdin: str | None = None) -> str:
    done = subprocess.run([sys.executable, *command], cwd=cwd, input=stdin, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_from_a_script_without_a_guard_and_from_stdin(tiny: Path, tmp_path: Path) -> None:
    """Nothing is imported again in the worker, and nothing needs the caller's `__file__`, which notebooks lack."""
    script = tmp_path / "script.py"
    script.write_text(f"print('once')\n{CALL}")
    assert run(script, tiny, cwd=tmp_path) == "once\n3\n"
    assert run("-", tiny, cwd=tmp_path, stdin=CALL) == "3\n"
    assert run("-c", CALL, tiny, cwd=tmp_path) == "3\n"


def test_from_where_other_modules_bear_our_libraries_names(tiny: Path, tmp_path: Path) -> None:
    """A folder with downloaded models may hold anything; none of it is imported."""
    for name in ("numpy", "json", "tensorflow", "msgspec"):
        (tmp_path / f"{name}.py").write_text("print('gotcha')\nraise SystemExit(9)\n")
    assert run("-P", "-c", CALL, tiny, cwd=tmp_path) == "3\n"


def test_from_threads(tiny: Path) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(icebreaker.inspect(tiny).nodes)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3, 3, 3]


INTERRUPTED = """
import icebreaker, sys
try:
    icebreaker.convert(sys.argv[1], sys.argv[2], progress=lambda event: print(event.stage, flush=True))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_leaves_no_child_and_no_file(tmp_path: Path) -> None:
    script = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, DIGITS, tmp_path / "o.pb"], stdout=subprocess.PIPE, text=True
    )
    assert script.stdout
    while "TensorFlow" not in script.stdout.readline():
        assert script.poll() is None
    (worker,) = children(script.pid)
    os.kill(script.pid, signal.SIGINT)
    rest = script.stdout.read()
    script.stdout.close()
    assert script.wait() == 0 and rest.splitlines()[-1] == "interrupted"
    assert not alive(worker) and not list(tmp_path.iterdir())


def test_importing_it_stays_light(tmp_path: Path) -> None:
    script = (
        "import sys; before = set(sys.modules); import icebreaker; icebreaker.convert, icebreaker.Consent\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    modules = run("-c", script, cwd=tmp_path).split()
    heavy = {"tensorflow", "openvino", "onnxruntime", "onnx", "tf2onnx", "PIL", "numpy", "icebreaker_gui", "PySide6"}
    assert not heavy & set(modules)
    assert len(modules) < 400


def test_every_public_name_is_there() -> None:
    for name in icebreaker.__all__:
        assert getattr(icebreaker, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'turbo'"):
        icebreaker.turbo  # type: ignore[attr-defined]  # noqa: B018
    assert dataclasses.is_dataclass(icebreaker.ConvertSettings)
