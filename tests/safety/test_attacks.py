"""Graphs from strangers that act as they are opened or run: whatever opens them, nothing happens without consent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

import icebreaker
from helpers.paths import SHARED
from icebreaker import tftrt
from icebreaker.benchmarking.benchmark import benchmark
from icebreaker.benchmarking.compare import compare
from icebreaker.conversion.pipeline import convert
from icebreaker.errors import ConsentNeeded, IcebreakerError
from icebreaker.formats import graph_files
from icebreaker.graph.protos import GraphDef
from icebreaker.settings import Consent, ConvertSettings

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
BUILDERS = SHARED / "cases" / "attacks"
FLOAT, STRING = 1, 7


# -- graphs that write a file -----------------------------------------------------------------------------------------


def _base() -> Any:
    """x → Relu(x) = `mid`."""
    definition = GraphDef()
    node = definition.node.add(name="x", op="Placeholder")
    node.attr["dtype"].type = FLOAT
    node.attr["shape"].shape.dim.add(size=1)
    definition.node.add(name="mid", op="Relu", input=["x"]).attr["T"].type = FLOAT
    return definition


def _text(nodes: Any, name: str, text: str) -> None:
    node = nodes.add(name=name, op="Const")
    node.attr["dtype"].type = node.attr["value"].tensor.dtype = STRING
    node.attr["value"].tensor.tensor_shape.SetInParent()
    node.attr["value"].tensor.string_val.append(text.encode())


def _function(definition: Any, name: str) -> Any:
    """A function of a float that gives it back; `act` is what it does beside that, and comes later."""
    function = definition.library.function.add()
    function.signature.name = name
    function.signature.is_stateful = True
    function.signature.input_arg.add(name="a", type=FLOAT)
    function.signature.output_arg.add(name="b", type=FLOAT)
    function.signature.control_output.append("act")
    function.control_ret["act"] = "act"
    function.node_def.add(name="i", op="Identity", input=["a", "^act"]).attr["T"].type = FLOAT
    function.ret["b"] = "i:output:0"
    return function


def _writer(definition: Any, file: Path) -> None:
    function = _function(definition, "evil")
    _text(function.node_def, "file", str(file))
    _text(function.node_def, "words", "unasked")
    function.node_def.add(name="act", op="WriteFile", input=["file:output:0", "words:output:0"])


def _call(nodes: Any, name: str, source: str) -> Any:
    node = nodes.add(name=name, op="StatefulPartitionedCall", input=[source])
    for key in ("Tin", "Tout"):
        node.attr[key].list.type.append(FLOAT)
    for key in ("config", "config_proto", "executor_type"):
        node.attr[key].s = b""
    return node


def _handed_on(definition: Any) -> Any:
    """A function that calls the one that it is handed."""
    function = _function(definition, "outer")
    function.signature.attr.add(name="given", type="func")
    call = _call(function.node_def, "act", "a")
    call.attr["f"].placeholder = "given"
    return function


def bound(file: Path) -> Any:
    definition = _base()
    _writer(definition, file)
    _handed_on(definition)
    call = _call(definition.node, "y", "mid")
    call.attr["f"].func.name = "outer"
    call.attr["f"].func.attr["given"].func.name = "evil"
    return definition


def called_by_op(file: Path) -> Any:
    definition = _base()
    _writer(definition, file)
    _handed_on(definition)
    definition.node.add(name="y", op="outer", input=["mid"]).attr["given"].func.name = "evil"
    return definition


def printed(file: Path) -> Any:
    definition = _base()
    function = _function(definition, "outer")
    function.signature.attr.add(name="given", type="string")
    _text(function.node_def, "words", "unasked")
    node = function.node_def.add(name="act", op="PrintV2", input=["words:output:0"])
    node.attr["output_stream"].placeholder = "given"
    node.attr["end"].s = b"\n"
    call = _call(definition.node, "y", "mid")
    call.attr["f"].func.name = "outer"
    call.attr["f"].func.attr["given"].s = f"file://{file}".encode()
    return definition


def plain(file: Path) -> Any:
    definition = _base()
    _text(definition.node, "file", str(file))
    _text(definition.node, "words", "unasked")
    definition.node.add(name="act", op="WriteFile", input=["file", "words"])
    definition.node.add(name="y", op="Identity", input=["mid", "^act"]).attr["T"].type = FLOAT
    return definition


FROZEN = (bound, called_by_op, printed, plain)


@pytest.mark.parametrize("attack", FROZEN)
def test_nothing_that_opens_a_frozen_graph_runs_it(attack: Callable[[Path], Any], tmp_path: Path) -> None:
    path, written = tmp_path / "graph.pb", tmp_path / "written"
    definition = attack(written)
    path.write_bytes(definition.SerializeToString())
    assert graph_files.inspect(path).side_effects
    settings = ConvertSettings.of(outputs=("y",))
    for act in (
        lambda: icebreaker.load(path),
        lambda: convert(path, tmp_path / "out.pb", settings),
        lambda: benchmark(str(path), seconds=0.1, settings=settings),
        lambda: compare(str(path), str(path), settings),
        lambda: tftrt.create_inference_graph(definition, ["y"]),
        lambda: tftrt.TrtGraphConverter(input_graph_def=definition, nodes_denylist=["y"]).convert(),
        lambda: tftrt.save_saved_model(definition, tmp_path / "saved"),
    ):
        with pytest.raises(ConsentNeeded, match="acts outside itself"):
            act()
    assert {item.name for item in tmp_path.iterdir()} == {"graph.pb"}


def test_who_allows_it_gets_it(tmp_path: Path) -> None:
    path, written = tmp_path / "graph.pb", tmp_path / "written"
    path.write_bytes(plain(written).SerializeToString())
    model = icebreaker.load(path, allow_side_effects=True)
    assert not written.exists()
    assert model([2.0])["y"] == [2.0] and written.read_text() == "unasked"


def test_functions_that_unfold_beyond_measure_are_refused(tmp_path: Path) -> None:
    """41 functions, each of which calls the next one twice: TensorFlow would inline them until memory ends."""
    definition = _base()
    for number in range(41):
        function = _function(definition, f"f{number}")
        _call(function.node_def, "act", "a").attr["f"].func.name = f"f{number + 1}"
        _call(function.node_def, "again", "act:output:0").attr["f"].func.name = f"f{number + 1}"
    _function(definition, "f41").node_def.add(name="act", op="NoOp")
    _call(definition.node, "y", "mid").attr["f"].func.name = "f0"
    path = tmp_path / "graph.pb"
    path.write_bytes(definition.SerializeToString())
    for act in (graph_files.inspect, icebreaker.load):
        with pytest.raises(IcebreakerError, match="more than 1,000,000 nodes"):
            act(path)
    with pytest.raises(IcebreakerError, match="more than 1,000,000 nodes"):
        tftrt.create_inference_graph(definition, ["y"])


# -- the attacks that were found --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the shared builders have put their graphs into."""
    if not BUILDERS.is_dir():
        pytest.skip(f"{BUILDERS} is not there")
    folder = tmp_path_factory.mktemp("attacks")
    names = ("function_attribute", "savedmodel_1_initializer", "savedmodel_2_call_it", "savedmodel_3_hide_it")
    script = "import runpy, sys; folder, *names = sys.argv[1:]; sys.argv[1:] = [folder]; [*map(runpy.run_path, names)]"
    command = [sys.executable, "-c", script, str(folder), *(str(BUILDERS / f"{name}.py") for name in names)]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    yield folder
    assert not list(folder.rglob("PWNED*"))


@pytest.mark.parametrize("name", ["funcattr.pb", "printattr.pb", "plain.pb", "m", "m2"])
def test_the_attacks_that_were_found(built: Path, tmp_path: Path, name: str) -> None:
    path = built / name
    try:
        assert graph_files.inspect(path).side_effects
    except ConsentNeeded:
        assert path.is_dir(), "a frozen graph is looked at without consent"
    for act in (
        lambda: convert(path, tmp_path / "out.pb", ConvertSettings()),
        lambda: benchmark(str(path), seconds=0.1),
        lambda: compare(str(path), str(path)),
        lambda: icebreaker.load(path),
    ):
        with pytest.raises(ConsentNeeded):
            act()
    assert not list(built.rglob("PWNED*")) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["funcattr.pb", "m2"])
def test_the_app_opens_them_and_nothing_happens(
    built: Path, name: str, qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from icebreaker_gui.session.session import Session

    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path / "cache"))
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    session = Session()
    asked: list[str] = []
    session.consentWanted.connect(lambda text, then: asked.append(text))
    try:
        session.open(built / name)
        end = time.monotonic() + 60
        while session.busy and time.monotonic() < end:
            qapp.processEvents()
            time.sleep(0.01)
        session.convert()
        session.measure()
        qapp.processEvents()
        assert asked and not session.busy
    finally:
        session.shutdown()
    assert not list(built.rglob("PWNED*"))


def test_with_consent_they_are_what_they_seem(tmp_path: Path) -> None:
    """The tests above prove nothing if these graphs could not run at all."""
    for attack in FROZEN:
        path, written = tmp_path / f"{attack.__name__}.pb", tmp_path / f"{attack.__name__}.txt"
        path.write_bytes(attack(written).SerializeToString())
        settings = ConvertSettings.of(outputs=("y",))
        benchmark(str(path), seconds=0.1, settings=settings, consent=Consent(side_effects=True))
        assert written.exists(), attack.__name__
