"""What users install: the wheel has everything in it and runs from anywhere; the app's process stays light."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from helpers.paths import ROOT

HEAVY = ("tensorflow", "keras", "openvino", "onnxruntime", "tensorrt", "tensorrt_rtx", "tf2onnx", "onnx")


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Runs a command away from the checkout; its standard output."""
    result = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, f"{command} failed:\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that no old build folder takes part and none is left."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("core", "gui", "resources"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", target, source)
    (made,) = target.glob("icebreaker-*.whl")
    return made


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of an empty environment that has the wheel, and sees the dependencies but not the checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    # A folder named in a .pth file has its own .pth files ignored: the editable install stays out.
    seen = [folder for folder in sys.path if Path(folder).name == "site-packages"]
    (Path(paths["purelib"]) / "dependencies.pth").write_text("\n".join(seen))
    scripts = Path(paths["scripts"])
    run(sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-deps", "--no-index", wheel)
    return scripts


def test_the_wheel_has_every_module_and_resource(wheel):
    expected = {str(path.relative_to(ROOT / "core")) for path in (ROOT / "core/icebreaker").rglob("*.py")}
    expected |= {str(path.relative_to(ROOT / "gui")) for path in (ROOT / "gui").rglob("*.py")}
    expected |= {"icebreaker/py.typed", "icebreaker_gui/py.typed"}
    for path in (ROOT / "resources").rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            name = path.relative_to(ROOT / "resources")
            sample = name.parts[0] == "samples"
            home = "icebreaker/sample_data" if sample else "icebreaker_gui/resources"
            expected.add(str(home / (name.relative_to("samples") if sample else name)))
    expected |= {str(path.relative_to(ROOT / "core")) for path in (ROOT / "core").rglob("libicebreaker-*.so")}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected, "list the package in pyproject.toml, [tool.setuptools]"


def test_the_wheel_runs_from_anywhere(installed, tmp_path):
    script = "import icebreaker, icebreaker_gui; print(icebreaker.__file__, icebreaker_gui.__file__)"
    where = run(installed / "python", "-c", script, cwd=tmp_path)
    assert all(Path(path).is_relative_to(installed.parent) for path in where.split())

    run(installed / "icebreaker", "sample", "digits", "-o", "digits.pb", cwd=tmp_path)
    facts = json.loads(run(installed / "icebreaker", "inspect", "digits.pb", "--json", cwd=tmp_path))
    assert facts["inputs"] == [{"name": "image_bytes", "dtype": "string", "shape": [None]}]
    engines = json.loads(run(installed / "icebreaker", "engines", "--json", cwd=tmp_path))
    assert "openvino" in json.dumps(engines)


def test_the_app_starts_light():
    """Every module of the app, imported: nothing heavy comes along, and of the rest not much."""
    script = f"""
import importlib, json, pkgutil, sys, time
import icebreaker_gui
for module in pkgutil.walk_packages(icebreaker_gui.__path__, "icebreaker_gui."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(json.dumps([sorted({set(HEAVY)!r} & set(sys.modules)), time.process_time(), sorted(sys.modules)]))
"""
    heavy, seconds, modules = json.loads(run(sys.executable, "-c", script, QT_QPA_PLATFORM="offscreen"))
    print(f"importing the whole app takes {seconds:.2f} s of processor time")
    assert "PySide6.QtWidgets" in modules
    assert heavy == []
    assert len(modules) < 900, "each costs time whenever the app is opened; there are about 800"
