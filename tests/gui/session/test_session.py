"""The session: opening, cancelling, dying workers, saving; without any widget."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from helpers.shown_models import onnx_model
from icebreaker import reports
from icebreaker.errors import IcebreakerError
from icebreaker_gui.session import autosave
from icebreaker_gui.session.session import Session

_SECONDS = 60_000


def wait_idle(qtbot: QtBot, session: Session) -> None:
    qtbot.waitUntil(lambda: not session.busy, timeout=_SECONDS)


def test_opens_a_graph(session: Session, qtbot: QtBot, digits: Path) -> None:
    with qtbot.waitSignals([session.graphChanged, session.settingsChanged], timeout=_SECONDS):
        session.open(digits)
    assert session.graph is not None and session.inspection is not None
    assert session.inspection.nodes == len(session.graph)
    assert session.settings.outputs == session.graph.candidate_outputs
    assert session.settings.data, "the sample's own values come with it"
    assert session.recent.paths == [str(digits)]
    assert not session.busy


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "empty", "no nodes", "folder"])
def test_bad_files_leave_what_was_open(session: Session, qtbot: QtBot, digits: Path, tmp_path: Path, kind: str) -> None:
    session.open(digits)
    wait_idle(qtbot, session)
    graph = session.graph
    bad = tmp_path / "bad.pb"
    match kind:
        case "text":
            bad.write_text("Hello, this is no graph.\n")
        case "truncated":
            bad.write_bytes(digits.read_bytes()[:100_000])
        case "empty":
            bad.write_bytes(b"")
        case "no nodes":
            bad.write_bytes(b"\x22\x03\x08\xc1\x0d")  # a GraphDef that has versions and nothing else
        case "folder":
            bad.mkdir()
    session.open(bad)
    wait_idle(qtbot, session)
    assert session.problem and "bad.pb" in session.problem.title
    assert "\n" not in session.problem.text and len(session.problem.text) > 20
    assert session.graph is graph and session.path == digits
    assert session.recent.paths == [str(digits)]
    session.dismiss_problem()
    assert session.problem is None


def test_a_later_open_wins(session: Session, qtbot: QtBot, digits: Path, tmp_path: Path) -> None:
    opened = []
    session.graphChanged.connect(lambda: opened.append(session.path))
    other = tmp_path / "other.pb"
    other.write_bytes(digits.read_bytes())
    session.open(digits)
    session.open(other)
    wait_idle(qtbot, session)
    qtbot.wait(300)
    assert opened == [other]


def test_reading_can_be_given_up(session: Session, qtbot: QtBot, digits: Path) -> None:
    session.open(digits)
    assert session.can_cancel
    session.cancel()
    assert not session.busy
    qtbot.wait(500)
    assert session.graph is None and session.problem is None


def test_a_value_out_of_range_changes_nothing(session: Session) -> None:
    before = session.settings
    with pytest.raises(IcebreakerError, match="max batch size"):
        session.change(max_batch_size=0)
    assert session.settings == before


def _begin_conversion(session: Session, qtbot: QtBot, digits: Path) -> None:
    session.open(digits)
    wait_idle(qtbot, session)
    session.change(accuracy_budget=0.01)  # left in the form for INT8, while the precision is FP32
    session.convert()
    begun = lambda: session.activity is None or (session.activity.fraction or 0) > 0  # noqa: E731
    qtbot.waitUntil(begun, timeout=_SECONDS)
    assert session.problem is None, session.problem


def test_a_cache_folder_that_vanishes_under_the_app(
    session: Session, qtbot: QtBot, digits: Path, tmp_path: Path
) -> None:
    session.open(digits)
    wait_idle(qtbot, session)
    session.measure_after_convert = False
    session.change(engine="onnxruntime", minimum_segment_size=1)
    cache = session.folder.parent.parent
    shutil.rmtree(cache)
    session.convert()  # makes it anew
    wait_idle(qtbot, session)
    assert session.problem is None and session.conversion and session.conversion.segments
    shutil.rmtree(cache)
    session.save(tmp_path / "nothing.pb")
    wait_idle(qtbot, session)
    assert session.problem and "No such file" in session.problem.text
    cache.write_bytes(b"")  # and now nothing can be made there
    session.convert()
    assert not session.busy and session.problem and session.problem.title == "The conversion could not begin"
    cache.unlink()


def test_killing_the_worker(session: Session, qtbot: QtBot, digits: Path) -> None:
    _begin_conversion(session, qtbot, digits)
    assert session.job and session.job.pid
    os.kill(session.job.pid, signal.SIGKILL)
    wait_idle(qtbot, session)
    assert session.problem and "SIGKILL" in session.problem.text
    assert session.conversion is None
    assert not [path for path in session.folder.glob("run*/*") if path.is_file()]
    session.convert()  # and all goes on
    qtbot.waitUntil(lambda: session.job is not None and session.job.pid is not None, timeout=_SECONDS)
    session.cancel()
    wait_idle(qtbot, session)


def test_cancel(session: Session, qtbot: QtBot, digits: Path) -> None:
    _begin_conversion(session, qtbot, digits)
    session.cancel()
    assert session.activity and session.activity.cancelling
    wait_idle(qtbot, session)
    assert session.problem is None and session.conversion is None
    assert session.log.lines[-1].text == "Cancelled"
    assert not [path for path in session.folder.glob("run*/*") if path.is_file()]


def test_shutting_down_ends_the_job(session: Session, qtbot: QtBot, digits: Path) -> None:
    _begin_conversion(session, qtbot, digits)
    assert session.job and session.job.pid
    pid = session.job.pid
    session.shutdown()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_output_that_does_not_exist(session: Session, qtbot: QtBot, digits: Path) -> None:
    session.open(digits)
    wait_idle(qtbot, session)
    session.change(outputs=("nowhere",))
    session.convert()
    wait_idle(qtbot, session)
    assert session.problem and "nowhere" in session.problem.text
    assert session.conversion is None


def test_what_lies_beside_a_graph_is_saved_with_it(session: Session, qtbot: QtBot, tmp_path: Path) -> None:
    home, target = tmp_path / "results", tmp_path / "mine"
    (home / "optimized.pb.weights").mkdir(parents=True)
    target.mkdir()
    names = ("optimized.pb", "optimized.pb.TRTEngineOp_000.0123abcd.onnx", f"optimized.pb.weights/{'0' * 64}")
    for name in names:
        (home / name).write_text(name)
    session.conversion = reports.Conversion(str(home / names[0]), 1.0, 1.0, (), ())
    session.save(target / "saved.pb")
    wait_idle(qtbot, session)
    found = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert found == {"saved.pb": names[0], names[1]: names[1], names[2]: names[2]}


def test_a_saved_model_is_frozen_in_the_worker(session: Session, qtbot: QtBot, tmp_path: Path) -> None:
    folder = tmp_path / "a model of mine"
    code = """
import sys, tensorflow as tf
class Model(tf.Module):
    def __init__(self):
        self.weights = tf.Variable(tf.ones((4, 3)))
    @tf.function(input_signature=[tf.TensorSpec((None, 4), name="x")])
    def serve(self, x):
        return {"y": tf.nn.relu(x @ self.weights)}
model = Model()
tf.saved_model.save(model, sys.argv[1], signatures=model.serve)
"""
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True)
    session.open(folder)
    wait_idle(qtbot, session)
    assert session.problem is None and session.inspection
    assert session.path == folder and session.stem == folder.name
    assert [item.name for item in session.inspection.inputs] == ["x"]
    assert session.inspection.outputs == ("y",)


def test_what_a_killed_session_left_is_removed(session: Session, qtbot: QtBot) -> None:
    code = (
        "import os; from icebreaker_gui.session.session import Session; s = Session(); print(s.folder);"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-u", "-c", code], capture_output=True, text=True)
    left = Path(killed.stdout.strip())
    assert left.is_dir() and left != session.folder
    assert autosave.find_lost() is None  # there was nothing in it that could come back
    qtbot.waitUntil(lambda: not left.exists(), timeout=5000)
    assert session.folder.is_dir()


def test_an_open_optimized_graph_is_measured_with_its_engines_if_the_user_trusts_them(
    session: Session, qtbot: QtBot, digits: Path, tmp_path: Path
) -> None:
    optimized = tmp_path / "optimized.pb"
    session.measure_after_convert, session.seconds = False, 0.3
    session.open(digits)
    wait_idle(qtbot, session)
    session.change(engine="onnxruntime", minimum_segment_size=1)
    session.convert()
    wait_idle(qtbot, session)
    assert session.conversion and session.conversion.segments
    session.save_model(tmp_path / "served")
    wait_idle(qtbot, session)
    assert session.saved_path == tmp_path / "served" and (session.saved_path / "saved_model.pb").is_file()
    session.save(optimized)
    wait_idle(qtbot, session)
    questions: list[tuple[list[str], Callable[[bool], object]]] = []
    session.trustWanted.connect(lambda engines, answer: questions.append((engines, answer)))

    session.open(optimized)
    wait_idle(qtbot, session)
    assert session.inspection and session.inspection.engines == {"onnxruntime": True}
    session.measure()
    wait_idle(qtbot, session)
    assert not questions and session.benchmark and session.benchmark.optimized, session.problem
    assert set(session.benchmark.profiles) == {"original", "optimized"}
    assert all(item.max_abs < 1e-5 for item in session.benchmark.outputs.values())
    # That the machine was busy is no matter, nor how fast the engine is: other tests run beside this one.
    told = [line.text for line in session.log.lines if line.level == "warning"]
    assert not [text for text in told if "processors" not in text and "is not faster" not in text]

    shutil.rmtree(tmp_path / "cache" / "engines")  # as on another machine
    session.open(optimized)
    wait_idle(qtbot, session)
    session.measure()
    assert not session.busy and len(questions) == 1 and questions[0][0] == ["onnxruntime"]
    questions[0][1](False)
    wait_idle(qtbot, session)
    assert session.benchmark and session.benchmark.optimized is None and not session.consent.engines
    session.measure()
    assert not session.busy and len(questions) == 2
    questions[1][1](True)
    wait_idle(qtbot, session)
    assert session.benchmark.optimized and session.consent.engines
    session.open(optimized)
    wait_idle(qtbot, session)
    assert not session.consent.engines, "trust is in one file, not in all that follow"


def test_an_onnx_model_is_shown_and_not_converted(session: Session, qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_model().SerializeToString())
    session.open(path)
    wait_idle(qtbot, session)
    assert session.graph and "conv_0" in session.graph and session.stem == "model", session.problem
    session.convert()
    assert session.problem and session.problem.text.startswith(f"{path} is an ONNX model, which is shown here")
    assert not session.busy
