"""The command line end to end: real jobs in real child processes, and what is left when they fail."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from helpers.processes import children, wait_until
from icebreaker import sample_models
from icebreaker.formats import graph_files

CLI = [sys.executable, "-m", "icebreaker.cli"]
DIGITS = str(sample_models.sample_path("digits"))
LATENCY = {"p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "throughput", "samples"}
CONVERSION = {"output", "seconds", "coverage", "segments", "left_in_tensorflow"}


def run(*words, code=0):
    """Runs a command to its end; returns stdout and stderr."""
    done = subprocess.run([*CLI, *map(str, words)], capture_output=True, text=True, timeout=600)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout, done.stderr


class Terminal:
    """A command whose stderr is a terminal."""

    def __init__(self, *words):
        main, side = pty.openpty()
        self.seen = b""
        self.process = subprocess.Popen(
            [*CLI, *map(str, words)], stdout=subprocess.PIPE, stderr=side, env=os.environ | {"COLUMNS": "100"}
        )
        os.close(side)
        self._thread = threading.Thread(target=self._read, args=(main,), daemon=True)
        self._thread.start()

    def _read(self, main):
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            while data := os.read(main, 65536):
                self.seen += data
        os.close(main)

    def until(self, words):
        wait_until(lambda: words.encode() in self.seen or self.process.poll() is not None, 300)
        assert self.process.poll() is None, self.seen

    def finish(self):
        out, _ = self.process.communicate(timeout=600)
        self._thread.join(10)
        return self.process.returncode, out.decode(), self.seen.decode()


def after_the_bar(seen):
    """What a terminal shows once the bar is taken away."""
    assert "\x1b[?25l" in seen, "there was a bar"
    *_, after = re.split(r"\x1b\[1A\x1b\[2K", seen)
    return after


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder, the JSON and the terminal output of `icebreaker demo`."""
    pytest.importorskip("icebreaker_gui", reason="the app, which draws the chart, is not installed")
    folder = tmp_path_factory.mktemp("demo") / "new"
    terminal = Terminal("demo", "--json", "--seconds", "0.6", "--output-dir", folder)
    code, out, seen = terminal.finish()
    assert code == 0, seen
    return folder, json.loads(out), seen


def test_demo_leaves_graphs_and_a_chart(demo):
    folder, answer, _ = demo
    assert set(answer) == {"conversion", "benchmark", "files"}
    assert set(answer["conversion"]) == CONVERSION
    assert set(answer["benchmark"]) == {"original", "optimized", "speedup"}
    names = {
        "original": "digits.pb",
        "optimized": "digits.optimized.pb",
        "result": "result.json",
        "chart": "latency.png",
    }
    assert answer["files"] == {key: str(folder / name) for key, name in names.items()}
    assert sorted(item.name for item in folder.iterdir()) == sorted(names.values())
    assert (folder / "latency.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    result = json.loads((folder / "result.json").read_text())
    assert {series for series, _, _ in result["samples"]} == {"original", "optimized"}


def test_progress_bar_is_drawn_and_taken_away(demo):
    _, _, seen = demo
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen)
    assert re.search(r"\r\x1b\[2K[━╸╺]+ +\d\d% Building and checking segment 1 of 1", plain)
    assert "Measuring" in plain and after_the_bar(seen) == ""


def _but_business(err):
    """What was told, without that the machine was busy: other tests run beside this one."""
    return "".join(line for line in err.splitlines(keepends=True) if "of the processors" not in line)


def test_benchmark_contract(demo):
    folder, _, _ = demo
    out, err = run(
        "benchmark", folder / "digits.pb", folder / "digits.optimized.pb", "--seconds", 0.4, "--batch", 2, "--json"
    )
    answer = json.loads(out)
    assert set(answer) == {"original", "optimized", "speedup"} and _but_business(err) == ""
    assert set(answer["original"]) == set(answer["optimized"]) == LATENCY
    assert answer["original"]["throughput"] == pytest.approx(2000 / answer["original"]["mean_ms"])
    low, high = answer["speedup"]["ci95"]
    assert 0 < low <= high and isinstance(answer["speedup"]["median"], float)


def test_compare_contract(demo, tmp_path):
    folder, _, _ = demo
    with np.load(str(sample_models.sample_data("digits")), allow_pickle=False) as whole:
        np.savez(tmp_path / "data.npz", image_bytes=whole["image_bytes"][:10])
    pair = (folder / "digits.pb", folder / "digits.optimized.pb")
    answer = json.loads(run("compare", *pair, "--data", tmp_path / "data.npz", "--json")[0])
    assert set(answer) == {"probabilities", "label"}
    assert set(answer["label"]) == {"max_abs", "max_rel", "cosine", "sqnr_db", "top1_agreement", "values"}
    assert answer["label"]["max_abs"] == 0
    assert answer["probabilities"]["max_rel"] < 1e-4 and answer["probabilities"]["top1_agreement"] == 1


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The optimized graph, and what `icebreaker convert` printed."""
    output = tmp_path_factory.mktemp("converted") / "out.pb"
    output.write_bytes(b"an older conversion")
    return output, *run("convert", DIGITS, "-o", output, "--engine", "openvino", "--json")


def test_convert_contract(converted):
    output, out, err = converted
    answer = json.loads(out)
    assert set(answer) == CONVERSION
    assert all(line.startswith("warning: ") for line in err.splitlines())  # such as that it is not faster here
    assert answer["output"] == str(output) and output.stat().st_size > 1_000_000
    assert [set(item) for item in answer["segments"]] == [
        {"name", "engine", "precision", "nodes", "inputs", "outputs", "build_seconds"}
    ]
    assert answer["segments"][0]["name"].startswith("TRTEngineOp_") and answer["segments"][0]["engine"] == "openvino"
    assert all(set(item) == {"node", "op", "reason"} for item in answer["left_in_tensorflow"])
    inside = set(answer["segments"][0]["nodes"])
    assert 0.5 < answer["coverage"] <= 1 and not inside & {item["node"] for item in answer["left_in_tensorflow"]}
    assert [item.name for item in output.parent.iterdir()] == ["out.pb"]


def test_a_damaged_engine_is_replaced_by_tensorflow_and_said(converted, tmp_path):
    definition = graph_files.read_definition(converted[0])
    (node,) = (item for item in definition.node if "_icebreaker_payload" in item.attr)
    payload = node.attr["_icebreaker_payload"]
    payload.s = payload.s[:-1] + bytes([payload.s[-1] ^ 1])
    (tmp_path / "damaged.pb").write_bytes(definition.SerializeToString())
    out, err = run("compare", DIGITS, tmp_path / "damaged.pb", "--json")
    assert json.loads(out)["probabilities"]["max_rel"] < 1e-4
    assert err.startswith(f"warning: engine {node.name} (openvino) cannot be used here: ") and err.count("\n") == 1


def test_engines_from_elsewhere_need_a_yes(converted, tmp_path, monkeypatch):
    monkeypatch.setenv("ICEBREAKER_CACHE", str(tmp_path))  # as on another machine: nothing was built here
    out, err = run("compare", DIGITS, converted[0], "--json")
    assert json.loads(out)["probabilities"]["max_abs"] == 0, "both ran in TensorFlow"
    assert "not built by you on this machine" in err and "--trust-engines" in err and err.count("\n") == 1
    out, err = run("compare", DIGITS, converted[0], "--trust-engines", "--json")
    assert 0 < json.loads(out)["probabilities"]["max_rel"] < 1e-4 and err == ""


def test_an_optimized_graph_in_the_wrong_place_is_said(converted):
    out, err = run("benchmark", converted[0], "--seconds", 0.2)
    err = _but_business(err)
    assert err.startswith(f"warning: {converted[0]} has engines in it") and err.count("\n") == 1
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["p50", "p90", "p95", "p99", "mean", "rows/s", "calls"]


def _folder(path):
    path.mkdir()


def _halved(path):
    data = Path(DIGITS).read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (_halved, [], "is not a frozen graph, or is damaged or cut short"),
        (lambda path: path.write_text("hello, world"), [], "is a text file and holds no graph"),
        (lambda path: path.write_bytes(b""), [], "is empty"),
        (lambda path: path.write_bytes(b"\x22\x03\x08\xe8\x07"), [], "holds an empty graph"),
        (_folder, [], "is a folder without a saved_model.pb"),
        (lambda path: None, [], "does not exist"),
        (None, ["--outputs", "probabilitys"], "'probabilitys' is not in the graph: did you mean probabilities"),
        (None, ["--exclude", "no/such/node"], "'no/such/node'"),
        (None, ["--inputs", "nonsense"], "'nonsense'"),
    ],
    ids=["truncated", "text", "empty file", "empty graph", "folder", "missing", "output", "exclude", "input"],
)
def test_bad_input_is_one_line_and_no_file(tmp_path, make, options, words):
    model = tmp_path / "model.pb"
    if make:
        make(model)
    before = sorted(tmp_path.iterdir())
    out, err = run("convert", model if make else DIGITS, "-o", tmp_path / "out.pb", *options, "--json", code=1)
    assert out == "" and err.count("\n") == 1 and err.startswith("icebreaker: ") and words in err
    assert sorted(tmp_path.iterdir()) == before


def test_bad_targets(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious")
    for target, words in (
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "nowhere" / "out.pb", "nowhere"),
        (tmp_path / "file" / "out.pb", "file"),
    ):
        out, err = run("convert", DIGITS, "-o", target, code=1)
        assert out == "" and err.count("\n") == 1 and words in err, err
        out, err = run("sample", "digits", "-o", target, code=1)
        assert out == "" and err.count("\n") == 1 and words in err, err
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "precious" and not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize(
    ("to_worker", "number", "code", "words"),
    [
        (True, signal.SIGKILL, 1, "icebreaker: the worker process ended by SIGKILL while "),
        (False, signal.SIGINT, 130, "icebreaker: interrupted"),
        (False, signal.SIGTERM, 143, ""),
    ],
    ids=["worker SIGKILL", "Ctrl+C", "SIGTERM"],
)
def test_killed_in_the_middle(tmp_path, to_worker, number, code, words):
    output = tmp_path / "out.pb"
    output.write_bytes(b"precious")
    terminal = Terminal("convert", DIGITS, "-o", output, "--json")
    terminal.until("Starting TensorFlow")
    (worker,) = children(terminal.process.pid)
    os.kill(worker if to_worker else terminal.process.pid, number)
    found, out, seen = terminal.finish()
    assert (found, out) == (code, "")
    said = after_the_bar(seen)
    assert said.startswith(words) and said.count("\n") == (1 if words else 0)
    assert not Path(f"/proc/{worker}").exists()
    assert [item.name for item in tmp_path.iterdir()] == ["out.pb"] and output.read_bytes() == b"precious"


def test_a_second_signal_ends_no_cleaning_up(tmp_path):
    """Two SIGTERMs in a row, as some supervisors send them."""
    (tmp_path / "tmp").mkdir()
    command = [*CLI, "convert", DIGITS, "-o", tmp_path / "out.pb"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    wait_until(lambda: children(process.pid) and list((tmp_path / "tmp").iterdir()))
    (worker,) = children(process.pid)
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
        time.sleep(0.05)
    process.communicate(timeout=60)
    assert process.returncode == 143 and not Path(f"/proc/{worker}").exists()
    assert not list((tmp_path / "tmp").iterdir()) and not (tmp_path / "out.pb").exists()


def test_what_is_no_file_is_not_replaced(tmp_path):
    target = tmp_path / "target"
    os.mkfifo(target)
    (tmp_path / "link").symlink_to(target)
    for path in (target, tmp_path / "link"):
        _, err = run("convert", DIGITS, "-o", path, code=1)
        assert "is no file but a pipe, which is not replaced" in err and err.count("\n") == 1
    _, err = run("convert", DIGITS, "-o", "/dev/null", code=1)
    assert "/dev/null is no file but a device" in err
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("far.pb")
    run("sample", "digits", "-o", tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "far.pb").read_bytes() == Path(DIGITS).read_bytes()


def test_names_that_are_too_long(tmp_path):
    name = "a" * 256
    for words in (("inspect", name), ("convert", DIGITS, "-o", tmp_path / name), ("convert", DIGITS, "--data", name)):
        more = ("-o", tmp_path / "o.pb") if "--data" in words else ()
        _, err = run(*words, *more, code=1)
        assert err.count("\n") == 1 and name in err
    run("sample", "digits", "-o", tmp_path / name[:-1])
    assert [item.name for item in tmp_path.iterdir()] == [name[:-1]]


def test_sample_and_engines(tmp_path):
    out, err = run("sample", "digits", "-o", tmp_path / "digits.pb", "--json")
    assert json.loads(out) == {"output": str(tmp_path / "digits.pb")} and err == ""
    assert (tmp_path / "digits.pb").read_bytes() == Path(DIGITS).read_bytes()
    engines = {item["name"]: item for item in json.loads(run("engines", "--json")[0])["engines"]}
    assert list(engines) == ["openvino", "onnxruntime", "tensorrt", "tensorrt-rtx", "xla"]
    assert engines["openvino"]["runs"] and engines["onnxruntime"]["runs"]
    assert all(item["detail"] for item in engines.values())


def test_a_reader_that_leaves_early_is_no_crash():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*CLI, "inspect", DIGITS], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
