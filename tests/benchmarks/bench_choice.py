"""Converts a graph ten times while two busy loops run beside it, and counts how many conversions choose alike.

    make bench-choice                      # the sample, nine of ten must choose alike
    make bench-choice ARGS="--times 20 --loops 0 model.pb"

A choice is which nodes went to which engine. Prints each, with what it took, and exits with 1 if too few are alike.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import icebreaker


def _burn() -> None:
    while True:
        pass


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", help="graphs to convert; the sample if none is given")
    parser.add_argument("--times", type=int, default=10, help="conversions of each")
    parser.add_argument("--loops", type=int, default=2, help="busy loops beside them")
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    loops = [multiprocessing.get_context("spawn").Process(target=_burn, daemon=True) for _ in range(arguments.loops)]
    for loop in loops:
        loop.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            models = arguments.model or [_sample(Path(folder, "digits.pb"))]
            alike = [_choices(model, Path(folder, "out.pb"), arguments) for model in models]
    finally:
        for loop in loops:
            loop.terminate()
    return 0 if all(share >= 0.9 for share in alike) else 1


def _sample(path: Path) -> str:
    subprocess.run([sys.executable, "-m", "icebreaker.cli", "sample", "digits", "-o", path], check=True)
    return str(path)


def _choices(model: str, output: Path, arguments: argparse.Namespace) -> float:
    """The share of conversions that make the most frequent choice."""
    found: Counter[tuple[tuple[str, str, tuple[str, ...]], ...]] = Counter()
    for number in range(arguments.times):
        made = icebreaker.convert(model, output, precision=arguments.precision)
        found[tuple((item.engine, item.precision, item.nodes) for item in made.segments)] += 1
        told = ", ".join(
            f"{item.engine} {item.precision} {item.engine_ms:.2f} of {item.tensorflow_ms:.2f} ms"
            for item in made.segments
        )
        busy = any(getattr(item, "code", "") == "machine_busy" for item in made.warnings)
        print(
            f"{number + 1:3}: {made.coverage:.0%}, {told or 'nothing'}; {made.seconds:.1f} s, others had "
            f"{made.others:.0%}{', said to be busy' if busy else ''}",
            flush=True,
        )  # fmt: skip
    most = max(found.values())
    print(f"{model}: {most} of {arguments.times} conversions choose alike", flush=True)
    return most / arguments.times


if __name__ == "__main__":
    sys.exit(main())
