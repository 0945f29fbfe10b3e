"""What the command line prints and how it ends, command by command, as scripts see it.

Each case runs one command in a process of its own, and its exit code, stderr and stdout are compared with a file in
snapshots/. With `--json`, stdout must be what `json.dumps(…, indent=2)` makes of its own value, so that indent,
separators and escapes are held to the byte, and the order of keys is in the snapshot.

What varies from run to run or between machines is replaced by a word in angle brackets: `FIGURES` lists the values,
by key, `WORDS` the parts of sentences, `UNSURE` the lines that are there or not, as the clock has it, and a case's
`open_keys` what is the choice of the machine in this case only. Everything else is verbatim.

`make snapshots` runs the long ones too. After a wanted change: ICEBREAKER_UPDATE_SNAPSHOTS=1 make snapshots, and read
the diff.
"""

import difflib
import fnmatch
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = "ICEBREAKER_UPDATE_SNAPSHOTS"
COMMANDS = ("inspect", "convert", "calibrate", "benchmark", "compare", "diff", "sample", "engines", "demo")


@dataclass(frozen=True)
class Case:
    """One command.

    Attributes:
        name: Of the snapshot.
        words: What follows `icebreaker`; paths are in the common folder, where it runs.
        code: The exit code.
        after: Cases whose files it reads; "graphs": those of snapshot_graphs.py.
        open_keys: Keys in JSON whose values are the machine's choice.
        elsewhere: Whether it runs as if on another machine, on which no engine was built.
        needs: A package that must be installed.
        without: A package that must not be.
        is_long: Whether it is left to `make snapshots`: other tests do the same, and it takes ten seconds or more.
    """

    name: str
    words: str
    code: int = 0
    after: tuple[str, ...] = ("graphs",)
    open_keys: tuple[str, ...] = ()
    elsewhere: bool = False
    needs: str = ""
    without: str = ""
    is_long: bool = False


# No case comes before those that it needs, and the long ones come first, so that none is left alone at the end.
CASES = (
    Case("demo", "demo --seconds 0.3 --output-dir demo --json", after=(), needs="icebreaker_gui", is_long=True),
    Case("sample-digits", "sample digits -o digits.pb --json", after=()),
    Case("engines", "engines --json", after=()),
    # -- conversions: the engine is named, since `auto` lets the clock decide --
    Case("convert-digits", "convert digits.pb -o d.pb --engine openvino --json", after=("sample-digits",)),
    Case("convert-mixed", "convert mixed.pb -o m.pb --engine openvino --exclude net/spoken --json", is_long=True),
    Case(
        "convert-profile",
        "convert chain.pbtxt -o c.pb --engine onnxruntime --profile x=1x4,2x4,8x4 --data chain.npz --json",
    ),
    # Nothing is left to TensorFlow here: called directly, either engine is faster by far.
    Case(
        "convert-auto-fp16",
        "convert mixed.pb -o h.pb --precision fp16 --inputs net/scores,x --outputs probabilities "
        "--minimum-segment-size 2 --max-batch-size 4 --json",
        open_keys=("engine", "precision"),
        is_long=True,
    ),
    Case("convert-unchecked", "convert blind.pb -o b.pb --engine onnxruntime --json"),
    # -- INT8 --
    Case(
        "calibrate",
        "calibrate picture.pb --data random --calibration-samples 16 -o t.json --engine onnxruntime --json",
        open_keys=("method",),
    ),
    Case(
        "convert-int8-random",
        "convert picture.pb -o r.pb --engine onnxruntime --precision int8 --calibration random "
        "--calibration-samples 16 --calibration-method minmax --quantizer own --keep-fp dense --json",
        open_keys=("top1_agreement", "top5_agreement"),
        is_long=True,
    ),
    Case(
        "convert-int8-table",
        "convert picture.pb -o s.pb --engine openvino --precision int8 --calibration-table t.json --quantizer own "
        "--json",
        after=("calibrate",),
        open_keys=("method",),
    ),
    Case(
        "convert-int8-data",
        "convert picture.pb -o q.pb --engine openvino --precision int8 --calibration picture.npz --quantizer own "
        "--calibration-method minmax --accuracy-budget 0.5 --keep-fp dense --json",
        is_long=True,
    ),
    # -- measuring and comparing --
    Case(
        "benchmark-profile",
        "benchmark chain.pb c.pb --batch 2 --seconds 0.1 --profile --json",
        after=("convert-profile",),
    ),
    Case("benchmark-alone", "benchmark c.pb --seconds 0.1 --json", after=("convert-profile",), is_long=True),
    Case("diff", "diff chain.pb mixed.pb --json"),
    Case("compare", "compare digits.pb d.pb --json", after=("convert-digits",)),
    Case(
        "compare-elsewhere",
        "compare chain.pb c.pb --data chain.npz --json",
        after=("convert-profile",),
        elsewhere=True,
        is_long=True,
    ),
    Case("inspect-optimized", "inspect c.pb --json", after=("convert-profile",)),
    Case("inspect-elsewhere", "inspect c.pb --json", after=("convert-profile",), elsewhere=True, is_long=True),
    # -- inspect --
    Case("inspect-saved-model", "inspect saved --allow-side-effects --json"),
    Case("inspect-digits", "inspect digits.pb --json", after=("sample-digits",)),
    Case("inspect-text", "inspect chain.pbtxt --json"),
    Case("inspect-packed-text", "inspect chain.pbtxt.gz --json"),
    Case("inspect-mixed", "inspect mixed.pb --json"),
    Case("inspect-functions", "inspect loop.pb --json"),
    Case("inspect-old-loop", "inspect old_loop.pb --json"),
    Case("inspect-open-shapes", "inspect open_shapes.pb --json"),
    Case("inspect-side-effects", "inspect files.pb --json"),
    # -- what goes wrong --
    Case("fail-int8-without-data", "convert picture.pb -o out.pb --precision int8 --engine openvino --json", 1),
    Case("fail-missing", "inspect no.pb --json", 1),
    Case("fail-folder", "inspect folder --json", 1),
    Case("fail-cut", "inspect cut.pb --json", 1),
    Case("fail-text", "convert hello.pb -o out.pb --json", 1),
    Case("fail-empty", "inspect nothing.pb --json", 1),
    Case("fail-no-nodes", "inspect no_nodes.pb --json", 1),
    Case("fail-gzip", "inspect broken.pb.gz --json", 1),
    Case("fail-output-name", "convert mixed.pb -o out.pb --outputs probabilitys --json", 1),
    Case("fail-exclude", "convert mixed.pb -o out.pb --exclude no/such/node --json", 1),
    Case("fail-target-is-folder", "convert chain.pb -o folder --json", 1),
    Case("fail-target-nowhere", "convert chain.pb -o nowhere/out.pb --json", 1),
    Case("fail-budget-without-int8", "convert chain.pb -o out.pb --accuracy-budget 0.1 --json", 1),
    Case("fail-option", "convert chain.pb -o out.pb --engine openvino --weights refittable --json", 1),
    Case("fail-tensorrt", "convert chain.pb -o out.pb --engine tensorrt --json", 1, without="tensorrt"),
    Case("fail-side-effects", "convert files.pb -o out.pb --json", 1),
    Case("fail-saved-model-side-effects", "inspect saved --json", 1),
    Case("fail-compare-missing", "compare chain.pb no.pb --json", 1),
    Case("fail-sample-nowhere", "sample digits -o nowhere/out.pb --json", 1),
    Case("fail-demo-folder", "demo --output-dir words.txt --json", 1),
    # -- wrong usage --
    Case("usage-command", "no-such-file-nor-command", 2, after=()),
    Case("usage-no-output", "convert x.pb --json", 2, after=()),
    Case("usage-engine", "convert x.pb -o y.pb --engine warp --json", 2, after=()),
    Case("usage-workspace", "convert x.pb -o y.pb --workspace 4XB --json", 2, after=()),
    Case("usage-profile", "convert x.pb -o y.pb --profile x=1x4,2x4 --json", 2, after=()),
    Case("usage-shape-and-profile", "convert x.pb -o y.pb --inputs x=1x4 --profile x=1x4 --json", 2, after=()),
    Case("usage-budget", "convert x.pb -o y.pb --precision int8 --accuracy-budget 2 --json", 2, after=()),
    Case("usage-preprocess", "calibrate x.pb --data d -o t.json --preprocess 224,BGR --json", 2, after=()),
    Case("usage-memory-limit", "benchmark x.pb --memory-limit 1MB --json", 2, after=()),
    Case("usage-seconds", "benchmark x.pb --seconds 0 --json", 2, after=()),
    Case("usage-inputs", "compare x.pb y.pb --inputs x=1xtwo --json", 2, after=()),
    Case("usage-sample", "sample cifar -o x.pb --json", 2, after=()),
    # -- help --
    Case("help", "--help", after=()),
    *(Case(f"help-{name}", f"{name} --help", after=()) for name in COMMANDS),
)

ASKED = [case for case in CASES if not case.is_long or "ICEBREAKER_SNAPSHOTS" in os.environ or UPDATE in os.environ]

# Where a value is in the JSON, as the end of its path (an item of a list is called by its "name", or "*"), its type,
# and the word for it. A value of another type stays as it is, and so does a difference of exactly 0.
FIGURES = (
    # times, and what follows from them
    (("seconds",), float, "<s>"),
    (("build_seconds",), float, "<s>"),
    (("*_ms",), float, "<ms>"),
    (("ms",), float, "<ms>"),
    (("throughput",), float, "<rows/s>"),
    (("original", "samples"), int, "<calls>"),
    (("optimized", "samples"), int, "<calls>"),
    (("speedup", "median"), float, "<ratio>"),
    (("ci95", "*"), float, "<ratio>"),
    (("profiles", "*", "runs"), int, "<runs>"),
    # how far an engine is from TensorFlow: processors round differently
    (("max_abs",), float, "<difference>"),
    (("max_rel",), float, "<difference>"),
    (("cosine",), float, "<cosine>"),
    (("*_db",), float, "<dB>"),
    (("db",), float, "<dB>"),
    (("error",), float, "<error>"),
    (("tried", "*"), float, "<dB>"),
    # what `auto` keeps: in `demo` the race may be close
    (("conversion", "segments"), list, "<segments>"),
    (("conversion", "left_in_tensorflow"), list, "<nodes>"),
    (("conversion", "coverage"), float, "<share>"),
    # the machine
    (("engines", "*", "precisions", "fp16"), str, "<precision>"),
    (("engines", "tensorrt*", "builds"), bool, "<yes or no>"),
    (("engines", "tensorrt*", "runs"), bool, "<yes or no>"),
    (("engines", "tensorrt*", "detail"), str, "<detail>"),
    (("engines", "tensorrt*", "precisions"), dict, "<precisions>"),
    (("engines", "tensorrt*", "options"), dict, "<options>"),
    (("engines", "tensorrt*", "targets"), list, "<targets>"),
    (("engines", "xla", "detail"), str, "<detail>"),
    (("engines", "xla", "precisions"), dict, "<precisions>"),
    (("gpu",), str, "<GPU>"),
    (("gpu_memory_bytes",), int, "<bytes>"),
)
WORDS = (
    (re.compile(r"\d+\.\d\d ms"), "<ms> ms"),
    (re.compile(r"OpenVINO [\d.]+ on [^;]+(; with NNCF [\d.]+)?"), "OpenVINO <version> on <processor>"),
    (re.compile(r"ONNX Runtime [\d.]+ on .+"), "ONNX Runtime <version> on <device>"),
    (re.compile(r"(?<=__inference__initializer_)\d+"), "<number>"),
    # Of usage errors the last line counts; the rest is in the help.
    (re.compile(r"^usage: icebreaker (\w+) \[.+"), r"usage: icebreaker \1 <options>"),
    # Versions of argparse differ here: quotes around choices or none.
    (re.compile(r"(?<=choose from )'.*'(?=\))"), lambda found: found[0].replace("'", "")),
)
UNSURE = re.compile(
    r"(warning: )?TRTEngineOp_\d{3} is not faster: (there is no clear difference: )?\w+ takes <ms> ms here, hand-over "
    r"included, TensorFlow <ms> ms|(warning: )?other programs had \d+% of the processors while .*"
)


class Runs:
    """Runs cases, two at a time, each in the common folder and after those that it needs."""

    def __init__(self, folder, names):
        self._folder = folder / "work"
        self._folder.mkdir()
        self._caches = {False: folder / "cache", True: folder / "empty cache"}
        self._pool = ThreadPoolExecutor(2)
        self._results = {}
        needed = self._with_needed(names)
        if "graphs" in needed:
            self._results["graphs"] = self._pool.submit(self._make_graphs)
        for case in CASES:  # first come, first served: what one waits for has begun
            if case.name in needed:
                self._results[case.name] = self._pool.submit(self._run, case)

    @staticmethod
    def _with_needed(names):
        needed = set(names)
        for case in reversed(CASES):
            if case.name in needed:
                needed.update(case.after)
        return needed

    def result(self, case):
        """The ended process of a case."""
        return self._results[case.name].result()

    def hide(self, text):
        """A text without the folder's name."""
        return text.replace(str(self._folder), "<folder>")

    def close(self):
        self._pool.shutdown(cancel_futures=True)

    def _make_graphs(self):
        script = Path(__file__).with_name("snapshot_graphs.py")
        done = self._start([sys.executable, str(script), str(self._folder)])
        assert done.returncode == 0, done.stderr

    def _run(self, case):
        for name in case.after:
            self._results[name].result()
        return self._start([sys.executable, "-m", "icebreaker.cli", *shlex.split(case.words)], case.elsewhere)

    def _start(self, command, elsewhere=False):
        environment = os.environ | {
            "ICEBREAKER_CACHE": str(self._caches[elsewhere]),
            "COLUMNS": "9999",  # versions of argparse break lines at different places
            "LC_ALL": "C.UTF-8",
            "QT_QPA_PLATFORM": "offscreen",
        }
        return subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", timeout=300, cwd=self._folder, env=environment
        )  # fmt: skip


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """All cases that were asked for, begun at once."""
    chosen = [
        item.callspec.params["case"].name
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    runs = Runs(tmp_path_factory.mktemp("snapshots"), chosen)
    yield runs
    runs.close()


def blurred(value, case, path=()):
    """A JSON value without what varies."""
    if path and path[-1] in case.open_keys:
        return f"<{path[-1]}>"
    for pattern, kind, word in FIGURES:
        end = path[-len(pattern) :]
        if type(value) is kind and len(end) == len(pattern) and all(map(fnmatch.fnmatchcase, end, pattern)):
            return value if word == "<difference>" and value == 0 else word
    if isinstance(value, dict):
        return {key: blurred(item, case, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        names = [item.get("name", "*") if isinstance(item, dict) else "*" for item in value]
        found = [blurred(item, case, (*path, name)) for name, item in zip(names, value, strict=True)]
        return [item for item in found if not (isinstance(item, str) and UNSURE.fullmatch(item))]
    return blurred_text(value) if isinstance(value, str) else value


def blurred_text(text):
    for pattern, word in WORDS:
        text = pattern.sub(word, text)
    return text


def lines(text, case):
    assert not text or text.endswith("\n")
    if "--help" in case.words:
        # Versions of argparse differ in where lines break and in `-o OUT, --output OUT`, 3.13: `-o, --output OUT`.
        text = re.sub(r"\n {16,}", "  ", text)
        text = re.sub(r"(-\w) ([A-Z]\S*), (--[\w-]+ \2)", r"\1, \3", text)
        return re.sub(r"(?<=\S) {2,}", "  ", text).splitlines()
    return blurred(text.splitlines(), case)


def seen(case, done, hide):
    """What a script sees of a command, in the form of a snapshot."""
    if "--json" in case.words and done.returncode == 0:
        value = json.loads(done.stdout)
        assert done.stdout == json.dumps(value, indent=2, allow_nan=False) + "\n", "the form of the JSON has changed"
        answer = blurred(value, case)
    else:
        answer = lines(done.stdout, case)
    record = {
        "command": f"icebreaker {case.words}",
        "exit code": done.returncode,
        "stderr": lines(done.stderr, case),
        "stdout": answer,
    }
    return hide(json.dumps(record, indent=2, ensure_ascii=False)) + "\n"


@pytest.mark.parametrize("case", ASKED, ids=lambda case: case.name)
def test_what_scripts_see_stays(runs, case):
    if case.needs and not importlib.util.find_spec(case.needs):
        pytest.skip(f"{case.needs} is not installed")
    if case.without and importlib.util.find_spec(case.without):
        pytest.skip(f"{case.without} is installed, and this is about its absence")
    done = runs.result(case)
    assert done.returncode == case.code, (done.stdout, done.stderr)
    now = seen(case, done, runs.hide)
    snapshot = SNAPSHOTS / f"{case.name}.json"
    if os.environ.get(UPDATE):
        snapshot.write_text(now, encoding="utf-8")
    before = snapshot.read_text(encoding="utf-8")
    if now != before:
        changes = difflib.unified_diff(before.splitlines(), now.splitlines(), "snapshot", "now", lineterm="")
        pytest.fail("\n".join([f"{done.args} says something else; if that is wanted, {UPDATE}=1", *changes]), False)


def test_every_snapshot_has_its_case():
    names = [case.name for case in CASES]
    assert sorted(names) == sorted({path.stem for path in SNAPSHOTS.iterdir()}) and len(set(names)) == len(names)
