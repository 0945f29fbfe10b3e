"""Tries every op that can enter a segment, in every type, in engines, and writes what came of it into a table.

Run by `make op-conformance`. Ops are tried in processes of their own, a few at a time, since an engine may end one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from op_conformance.values import DTYPES, OTHERS

ENGINES = ("onnxruntime", "openvino")
_AT_ONCE = 20  # ops
_ALL = (*DTYPES, *OTHERS)
# Types in which all variants are tried; in others, the first few: their values are what is special.
_FULL = ("float32", "int32", "int64", "bool")
_FEW = 3
_BAD = ("wrong", "fails", "crash")


@dataclass
class Found:
    """What came of an op in a type and an engine.

    Attributes:
        calls: Kind of outcome → how many calls ended so.
        stays: Why the op stays in TensorFlow → how many calls were not made for that.
        told: A line on each call that is not right.
    """

    calls: Counter[str] = field(default_factory=Counter)
    stays: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)


# Op, type, engine → what came of it.
Results = dict[tuple[str, str, str], Found]


def ops() -> list[str]:
    """Ops that can enter a segment and that TensorFlow has."""
    from icebreaker.export import exporter, fake_quant
    from op_conformance.graphs import op_def

    return sorted(op for op in exporter.supported_ops() | fake_quant.IN_FLOAT.keys() if op_def(op) is not None)


def run(
    wanted: Iterable[str], engines: Sequence[str] = ENGINES, dtypes: Sequence[str] = _ALL, most: int = 1000
) -> Results:
    """Tries ops in this process; of each and each type, the first variants.

    Args:
        wanted: The ops.
        engines: The engines.
        dtypes: The types.
        most: How many variants at most.
    """
    from op_conformance.graphs import graph
    from op_conformance.recipes import variants
    from op_conformance.trial import Original, try_engine

    results: Results = {}
    for op in wanted:
        for dtype in dtypes:
            for variant in variants(op, dtype)[: most if dtype in _FULL else min(most, _FEW)]:
                try:
                    definition, outputs, calls = graph(op, variant)
                except (TypeError, ValueError):
                    continue  # TensorFlow does not take that
                original = Original(definition, outputs)
                if isinstance(original(calls[0]), str):
                    continue  # it has no kernel
                for engine in engines:
                    found = results.setdefault((op, dtype, engine), Found())
                    trial = try_engine(original, engine, calls[0], calls, variant.atol)
                    if not trial.outcomes:
                        found.stays[trial.reasons[0] if trial.reasons else "it computes nothing"] += len(calls)
                    for outcome in trial.outcomes:
                        found.calls[outcome.kind] += 1
                        if outcome.kind in ("wrong", "answers", "fails"):
                            found.told.append(f"{variant.label}: {outcome.kind}: {outcome.told}")
    return results


def bad(results: Results) -> list[str]:
    """What is wrong, a line each."""
    return [
        f"{op} of {dtype} in {engine}: {line}"
        for (op, dtype, engine), found in results.items()
        if any(found.calls[kind] for kind in _BAD)
        for line in found.told or ["it ended the process"]
    ]


def _run_apart(wanted: Sequence[str], engines: Sequence[str], dtypes: Sequence[str], kept: Path) -> None:
    """Tries a few ops in a process of its own; if an engine ends it, those that are left one by one."""
    command = [sys.executable, "-m", "op_conformance.run", "--ops", ",".join(wanted), "--keep", str(kept), "--here"]
    command += ["--engines", ",".join(engines), "--types", ",".join(dtypes)]
    if not subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        return
    if len(wanted) > 1:
        for op in _left(wanted, kept):
            _run_apart([op], engines, dtypes, kept)
        return
    _keep({(wanted[0], "any", engine): Found(Counter(crash=1)) for engine in engines}, kept)


def _left(wanted: Sequence[str], kept: Path) -> list[str]:
    """The ops of which a file has no results yet."""
    done = {op for op, _, _ in read(kept)} if kept.exists() else set[str]()
    return [op for op in wanted if op not in done]


def _keep(results: Results, kept: Path) -> None:
    """Adds results to a file, one a line."""
    with kept.open("a", encoding="utf-8") as file:
        for key, found in results.items():
            file.write(json.dumps([*key, found.calls, found.stays, found.told]) + "\n")


def read(kept: Path) -> Results:
    """The results in a file; of those that were kept twice, the later ones."""
    results: Results = {}
    for line in kept.read_text(encoding="utf-8").splitlines():
        op, dtype, engine, calls, stays, told = json.loads(line)
        results[op, dtype, engine] = Found(Counter(calls), Counter(stays), told)
    return results


def main() -> int:
    """Returns 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ops", default="", help="with commas; all if none are named")
    parser.add_argument("--types", default=",".join(_ALL))
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--keep", type=Path, help="a file to which results are added as they come; ops in it are done")
    parser.add_argument("--table", type=Path, help="the file to write the table to")
    parser.add_argument("--here", action="store_true", help="in this process")
    args = parser.parse_args()
    wanted = args.ops.split(",") if args.ops else ops()
    engines, dtypes = args.engines.split(","), args.types.split(",")
    with tempfile.TemporaryDirectory() as folder:
        kept = args.keep or Path(folder, "results.jsonl")
        if args.here:
            for op in wanted:
                _keep(run([op], engines, dtypes), kept)
            return 0
        left = _left(wanted, kept)
        for start in range(0, len(left), _AT_ONCE):
            print(f"{start} of {len(left)} ops: {', '.join(left[start : start + _AT_ONCE])}", flush=True)
            _run_apart(left[start : start + _AT_ONCE], engines, dtypes, kept)
        results = read(kept)
    for line in bad(results):
        print(line)
    if args.table:
        from op_conformance.table import table

        args.table.write_text(table(results, wanted), encoding="utf-8")
    return int(bool(bad(results)))


if __name__ == "__main__":
    sys.exit(main())
