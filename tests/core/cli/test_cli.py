"""The command line without its jobs: options, help, exit codes, and `inspect`, which needs no worker."""

import importlib.metadata
import importlib.util
import json
import math
import os
import shlex
import subprocess
import sys

import pytest

from icebreaker import reports
from icebreaker.cli import main, options, text
from icebreaker.errors import IcebreakerError
from icebreaker.graph.protos import GraphDef
from icebreaker.jobs import supervisor
from icebreaker.jobs.requests import AskEngines
from icebreaker.preprocessing import Preprocessing
from icebreaker.settings import Consent, ConvertSettings, Limits

PBTXT = """
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "shape" value { shape { dim { size: -1 } dim { size: 4 } } } } }
node { name: "two" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
       attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape {} float_val: 2 } } } }
node { name: "y" op: "Mul" input: "x" input: "two" attr { key: "T" value { type: DT_FLOAT } } }
versions { producer: 1000 }
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.pbtxt"
    path.write_text(PBTXT)
    return str(path)


def run(capsys, *words):
    """Exit code, stdout, stderr of a command."""
    try:
        code = main.main(words)
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def parsed(*words):
    parser, _ = options.make_parser()
    return parser.parse_args(words)


def settings_of(*words):
    return options.settings(parsed(*words))


def test_inspect_json_is_the_contract_and_nothing_else(capsys, model):
    code, out, err = run(capsys, "inspect", model, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "nodes": 3,
        "ops": {"Const": 1, "Mul": 1, "Placeholder": 1},
        "inputs": [{"name": "x", "dtype": "float32", "shape": [None, 4]}],
        "outputs": ["y"],
        "control_flow": False,
        "bytes": 4,
        "flops": 4,
        "flops_unknown": 0,
        "parameters": 0,
    }


def test_inspect_for_people(capsys, model):
    code, out, err = run(capsys, "inspect", model)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    told = ["constants", "4", "bytes"], ["parameters", "0"], ["FLOPs", "4", "a", "row"]
    for expected in (["nodes", "3"], ["x", "float32", "?×4"], ["y"], ["Mul", "1"], *told):
        assert expected in lines


COMMANDING = "\x1b[2K\rgone\n\u202etxt.exe\u2066"


def test_names_command_no_terminal(capsys, tmp_path):
    definition = GraphDef()
    definition.node.add(name=COMMANDING, op="Placeholder").attr["dtype"].type = 1
    definition.node.add(name="out", op=f"Print{COMMANDING}", input=[COMMANDING])
    path = tmp_path / f"{COMMANDING.replace('/', '')}.pb"
    path.write_bytes(definition.SerializeToString())
    code, out, err = run(capsys, "inspect", str(path))
    assert code == 0 and not err
    assert "\\x1b[2K\\rgone\\n\\u202etxt.exe\\u2066" in out
    assert not set(COMMANDING) & set(out) & set("\x1b\r\u202e\u2066")
    assert json.loads(run(capsys, "inspect", "--json", str(path))[1])["inputs"][0]["name"] == COMMANDING
    code, _, err = run(capsys, "inspect", str(path) + "x")
    assert code == 1 and err.count("\n") == 1 and "\\x1b[2K" in err and not set("\x1b\r\u202e") & set(err)


@pytest.mark.parametrize("closed", ["2>&-", "2>&- <&-"])
def test_without_stderr_the_json_stays_json(model, tmp_path, closed):
    def asked(file):
        words = [sys.executable, "-P", "-m", "icebreaker.cli", "inspect", "--json", file]
        return subprocess.run(["/bin/sh", "-c", f"{shlex.join(words)} {closed}"], capture_output=True, text=True)

    done, failed = asked(model), asked("nothing.pb")
    assert done.returncode == 0 and json.loads(done.stdout)["nodes"]
    assert failed.returncode == 1 and not failed.stdout


def test_inspect_is_quick_and_loads_nothing_heavy(model):
    """Its imports are those of the app's process."""
    heavy = "{'tensorflow', 'openvino', 'onnxruntime', 'onnx', 'tf2onnx', 'keras', 'PySide6', 'icebreaker_gui'}"
    script = (
        "import sys; from icebreaker.cli import main\n"
        f"main.main(['inspect', {model!r}]); print({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.endswith("\nset()\n") and done.stderr == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: export the graph again"),
        (b"hello, world\n", "is a text file and holds no graph"),
        (b"\x1f\x8b\x08\x00broken", "is a damaged gzip file"),
        (b"\x0a\xff\xff\x03cut short", "is not a frozen graph, or is damaged or cut short"),
        (b"\x22\x03\x08\xe8\x07", "holds an empty graph"),
    ],
)
def test_files_that_are_no_graph(capsys, tmp_path, content, words):
    path = tmp_path / "model.pb"
    path.write_bytes(content)
    code, out, err = run(capsys, "inspect", str(path), "--json")
    assert (code, out) == (1, "")
    assert err.startswith(f"icebreaker: {path} ") and words in err and err.count("\n") == 1


def test_folders_and_missing_files(capsys, tmp_path):
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "no.pb", "does not exist")):
        code, out, err = run(capsys, "inspect", str(path))
        assert (code, out, err.count("\n")) == (1, "", 1) and words in err


@pytest.mark.parametrize(
    "words",
    [
        ["inspect"],
        ["inspect", "a", "b"],
        ["--frobnicate"],
        ["no-such-file-nor-command"],
        ["convert", "x.pb"],
        ["convert", "x.pb", "-o", "y.pb", "--precision", "fp8"],
        ["convert", "x.pb", "-o", "y.pb", "--engine", "warp"],
        ["convert", "x.pb", "-o", "y.pb", "--workspace", "4XB"],
        ["convert", "x.pb", "-o", "y.pb", "--memory-fraction", "1.5"],
        ["convert", "x.pb", "-o", "y.pb", "--max-batch-size", "0"],
        ["convert", "x.pb", "-o", "y.pb", "--inputs", "x=1xtwo"],
        ["convert", "x.pb", "-o", "y.pb", "--inputs", "x=-1x3"],
        ["convert", "x.pb", "-o", "y.pb", "--outputs", "a,,b"],
        ["benchmark", "x.pb", "--seconds", "0"],
        ["benchmark", "x.pb", "--seconds", "nan"],
        ["benchmark", "x.pb", "--batch", "-1"],
        ["compare", "x.pb"],
        ["sample", "cifar", "-o", "y.pb"],
    ],
    ids=" ".join,
)
def test_usage_errors(capsys, words):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("usage: icebreaker") and ": error: " in err.splitlines()[-1]


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (0, importlib.metadata.version("icebreaker") + "\n", "")
    code, out, _ = run(capsys, "--help")
    commands = ("inspect", "convert", "benchmark", "compare", "sample", "engines", "demo")
    assert code == 0 and all(f"\n    {name} " in out for name in commands)
    for name in commands:
        assert run(capsys, name, "--help")[0] == 0


def test_every_setting_has_its_option():
    arguments = parsed(
        "convert", "m.pb", "-o", "o.pb", "--inputs", "^a:0=1x3,b,c=", "--outputs", "y:0,z:1", "--precision", "fp16",
        "--engine", "openvino", "--max-batch-size", "8", "--workspace", "4GB", "--memory-fraction", "0.67",
        "--minimum-segment-size", "5", "--exclude", "n:0", "^m", "--data", "d.npz",
        "--allow-side-effects", "--retry-crashed", "--memory-limit", "2GiB", "--time-limit", "600",
        "--patience", "60",
        "--calibration", "photos", "--calibration-method", "mse", "--calibration-table", "t.json",
        "--calibration-samples", "99", "--calibration-seed", "7", "--accuracy-budget", "0.01",
        "--keep-fp", "n:0", "head/*", "--quantizer", "nncf",
        "--preprocess", "224x192,bgr,mean=1/2/3,std=2,crop=stretch", "--allow-python",
        "--profile", "b=1x8,2x8,4x64", "d:0=3", "--optimization-level", "5", "--hardware-compatibility", "ampere-plus",
        "--version-compatible", "--weights", "refittable", "--compute-capability", "8.9", "12.0",
    )  # fmt: skip
    assert options.settings(arguments).flat == {
        "calibration": "photos",
        "calibration_method": "mse",
        "calibration_table": "t.json",
        "calibration_samples": 99,
        "calibration_seed": 7,
        "quantizer": "nncf",
        "accuracy_budget": 0.01,
        "keep_float": ("n", "head/*"),
        "preprocessing": Preprocessing(192, 224, "BGR", mean=(1.0, 2.0, 3.0), std=(2.0,), crop="stretch"),
        "outputs": ("y", "z:1"),
        "inputs": ("a", "b", "c"),
        "input_shapes": {"a": (1, 3), "c": ()},
        "profiles": {"b": ((1, 8), (2, 8), (4, 64)), "d": ((3,), (3,), (3,))},
        "optimization_level": 5,
        "hardware_compatibility": "ampere-plus",
        "version_compatible": True,
        "weights": "refittable",
        "compute_capabilities": ("8.9", "12.0"),
        "engine": "openvino",
        "precision": "fp16",
        "max_batch_size": 8,
        "workspace_bytes": 4_000_000_000,
        "memory_fraction": 0.67,
        "minimum_segment_size": 5,
        "exclude": ("n", "m"),
        "data": "d.npz",
    }
    assert options.consent(arguments) == Consent(side_effects=True, python=True, crashed=True)
    assert options.limits(arguments) == Limits(memory_bytes=1 << 31, time_seconds=600.0, patience_seconds=60.0)
    assert options.consent(parsed("compare", "m.pb", "o.pb", "--trust-engines")) == Consent(engines=True)
    plain = parsed("convert", "m.pb", "-o", "o.pb")
    assert options.settings(plain) == ConvertSettings()
    assert (options.consent(plain), options.limits(plain)) == (Consent(), Limits())


@pytest.mark.parametrize("words", [[], ["model.pbtxt"]])
def test_without_a_command_the_app_opens(monkeypatch, tmp_path, model, words):
    pytest.importorskip("icebreaker_gui", reason="the app is not installed")
    started = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda path, argv: started.append((path, argv)))
    main.main(words)
    assert started == [(sys.executable, [sys.executable, "-P", "-m", "icebreaker_gui", *words])]


def test_without_the_app_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, out, err = run(capsys)
    assert (code, out) == (1, "") and err.startswith("icebreaker: the app is not installed") and err.count("\n") == 1


def test_infinity_becomes_a_number_that_json_has():
    found = text.finite({"max_abs": math.inf, "sqnr_db": -math.inf, "list": [math.nan, 1.5, None, "x"]})
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "max_abs": sys.float_info.max,
        "sqnr_db": -sys.float_info.max,
        "list": [None, 1.5, None, "x"],
    }


def test_tables_are_aligned():
    assert text.table([("a", "long"), ("longer", "1")], right={1}) == ["a       long", "longer     1"]
    assert text.table([("x", ""), ("y", "")]) == ["x", "y"]


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.01234, "0.0123 ms"), (1.5, "1.5 ms"), (55.123, "55.1 ms"), (1234.5, "1,234 ms")],
)
def test_durations(value, words):
    assert text.milliseconds(value) == words


def test_conversion_for_people():
    segment = reports.SegmentReport(
        "TRTEngineOp_000", "openvino", "fp32", ("a", "b", "c"), ("x",), ("c",), 0.5, 12.3, 4.56, 2e-7
    )
    left = tuple(reports.Left(f"n{i}", "Foo", "no converter for Foo", "unsupported_op") for i in range(3))
    lines = text.conversion_lines(reports.Conversion("o.pb", 2.54, 0.98765, (segment,), left, ("mind the gap",)))
    whole = "\n".join(lines)
    assert "wrote o.pb in 2.5 s" in whole and "98.8% of the operations run in 1 engine node\n" in whole
    assert "TRTEngineOp_000  openvino  fp32           3     12.3 ms  4.56 ms    2.0e-07" in lines
    assert "    3  no converter for Foo        n0" in lines
    assert lines[-1] == "warning: mind the gap"


def test_a_job_that_fails_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    code, out, err = run(capsys, "engines", "--json")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("icebreaker: the worker process could not start: ")
    with pytest.raises(IcebreakerError) as raised:
        supervisor.run(AskEngines())
    assert "Traceback" in raised.value.__notes__[0]
