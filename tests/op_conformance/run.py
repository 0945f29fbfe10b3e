"""Tries ops in engines."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import tensorflow as tf

from icebreaker.export import exporter
from op_conformance.graphs import graph, op_def
from op_conformance.recipes import has_recipe, variants
from op_conformance.trial import Original, try_engine
from op_conformance.values import DTYPES


@dataclass
class Found:
    """What came of an op in a type and an engine."""

    calls: Counter[str] = field(default_factory=Counter)
    stays: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)


def ops() -> list[str]:
    """Ops that can enter a segment and that TensorFlow has."""
    return sorted(op for op in exporter.supported_ops() if op_def(op) is not None)


def run(
    wanted: list[str], engines: list[str], dtypes: tuple[str, ...] = DTYPES, verbose: bool = True
) -> dict[tuple[str, str, str], Found]:
    results: dict[tuple[str, str, str], Found] = {}
    for op in wanted:
        begun = time.perf_counter()
        for dtype in dtypes:
            for variant in variants(op, dtype):
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
                        found.stays[trial.reasons[0] if trial.reasons else "?"] += len(calls)
                    for outcome in trial.outcomes:
                        found.calls[outcome.kind] += 1
                        if outcome.kind in ("wrong", "answers", "fails"):
                            found.told.append(f"{variant.label}: {outcome.kind}: {outcome.told}")
        if verbose:
            for (name, dtype, engine), found in results.items():
                if name == op:
                    print(
                        f"{op:24} {dtype:9} {engine:12} {dict(found.calls)} {[f'{n}: {why[:110]}' for why, n in found.stays.items()]}"
                    )
                    for line in found.told[:3]:
                        print("      ", line[:420])
            print(f"   {op}: {time.perf_counter() - begun:.1f} s", flush=True)
    return results


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    names = sys.argv[1].split(",") if len(sys.argv) > 1 and sys.argv[1] else ops()
    if names == ["?"]:
        print(*(op for op in ops() if not has_recipe(op)))
        sys.exit()
    kinds = tuple(sys.argv[2].split(",")) if len(sys.argv) > 2 and sys.argv[2] else DTYPES
    run(names, sys.argv[3].split(",") if len(sys.argv) > 3 else ["onnxruntime", "openvino"], kinds)
