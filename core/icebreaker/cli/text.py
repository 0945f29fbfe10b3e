"""What a person reads of a result in a terminal: lines and tables of plain text."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from icebreaker import reports
from icebreaker.cli.wording import worded
from icebreaker.messages import printable

FEW = 12  # rows of a list that are shown before "and N more"


def conversion_lines(made: reports.Conversion) -> list[str]:
    """What a conversion made: its segments, their figures, what stays in TensorFlow and why."""
    lines = [
        f"wrote {made.output} in {made.seconds:.1f} s",
        f"{made.coverage:.1%} of the operations run in {count(len(made.segments), 'engine node')}",
    ]
    lines += [f"{name}: {words}" for name, words in signature_rows(made.signature, made.other_signatures)]
    if made.segments:
        lines += [
            "",
            *table(
                [
                    ("segment", "engine", "precision", "nodes", "TensorFlow", "engine", "deviation"),
                    *(
                        (
                            item.name, item.engine, item.precision, str(len(item.nodes)),
                            milliseconds(item.tensorflow_ms) if item.tensorflow_ms else "",
                            (milliseconds(item.engine_ms) if item.engine_ms else "") if item.runs_here else "not here",
                            f"{item.deviation:.1e}",
                        )
                        for item in made.segments
                    ),
                ],
                right={3, 4, 5, 6},
            ),
        ]  # fmt: skip
        lines += [f"note: {worded(note)}" for item in made.segments for note in item.notes]
    lines += _accuracy_lines(made)
    if made.left_in_tensorflow:
        reasons = Counter(worded(item.reason) for item in made.left_in_tensorflow)
        example = {worded(item.reason): item.node for item in reversed(made.left_in_tensorflow)}
        rows = [
            (str(count), _elided(reason, 90), _elided(example[reason], 50))
            for reason, count in reasons.most_common(FEW)
        ]
        lines += ["", *table([("nodes", "left in TensorFlow because", "such as"), *rows], right={0})]
        if len(reasons) > FEW:
            lines.append(f"and {len(reasons) - FEW} more reasons: --json lists every node")
    lines += [f"warning: {worded(text)}" for text in made.warnings]
    return lines


def signature_rows(taken: str, others: Sequence[str]) -> list[tuple[str, str]]:
    """Which signature of a SavedModel was taken, and which others there are."""
    if not taken:
        return []
    rows = [("signature", printable(taken))]
    return [*rows, ("others", ", ".join(map(printable, others)))] if others else rows


def _accuracy_lines(made: reports.Conversion) -> list[str]:
    """What INT8 costs, where it was asked for."""
    lines = []
    for item in made.segments:
        if item.quantization:
            lines.append(f"{item.name}: {worded(item.quantization.message)}")
            kept = [cost.node or cost.layer for cost in item.quantization.layers if cost.kept]
            lines += [f"  in higher precision: {name}" for name in few(kept)]
    if found := made.accuracy:
        lines += ["", f"on {count(found.samples, 'held-back row')}:", *difference_lines(found.outputs)]
        if found.original is not None and found.optimized is not None:
            lines.append(f"right answers: {found.original:.2%} before, {found.optimized:.2%} after")
    if made.calibration_table:
        lines.append(f"the ranges are in {made.calibration_table}")
    return ["", *lines] if lines else []


def benchmark_lines(found: reports.Benchmark) -> list[str]:
    """Latencies side by side, the speed-up with its interval, and where the time goes."""
    series = {"original": found.original} | ({"optimized": found.optimized} if found.optimized else {})
    rows = [("", *series)]
    for name in ("p50", "p90", "p95", "p99", "mean"):
        rows.append((name, *(milliseconds(getattr(item, f"{name}_ms")) for item in series.values())))
    rows.append(("rows/s", *(_three(item.throughput) for item in series.values())))
    rows.append(("calls", *(str(item.samples) for item in series.values())))
    lines = table(rows, right={1, 2})
    if found.batch != 1:
        lines.append(f"batch of {found.batch} rows")
    if found.speedup:
        low, high = found.speedup.ci95
        lines += ["", f"speed-up {found.speedup.median:.2f}× (95 % interval {low:.2f} to {high:.2f})"]
    if found.outputs:
        lines += ["", *difference_lines(found.outputs)]
    for name, profile in found.profiles.items():
        lines += ["", *_profile_lines(name, profile)]
    return lines


def _profile_lines(series: str, found: reports.Profile) -> list[str]:
    """The nodes that take most of a graph's time, and the layers of its engines."""
    slower = f"watching slows it: {milliseconds(found.watched_ms)} a run, otherwise {milliseconds(found.plain_ms)}"
    lines = [f"where the time of the {series} graph goes ({count(found.runs, 'run')}; {slower})"]

    def slowest(head: str, rows: Sequence[tuple[str, str, float]], total: float) -> list[str]:
        rows = sorted(rows, key=lambda row: -row[2])
        shown = [(name, what, milliseconds(ms), f"{ms / total:.1%}") for name, what, ms in rows[:FEW]] if total else []
        more = [f"and {len(rows) - FEW} more: --json lists all"] if len(rows) > FEW else []
        return [*table([(head, "runs as", "", "share"), *shown], right={2, 3}), *more]

    lines += slowest("node", [(_elided(n, 60), t.ran_as, t.ms) for n, t in found.nodes.items()], found.total_ms)
    for node, layers in found.layers.items():
        rows = [(_elided(item.name, 60), item.type, item.ms) for item in layers]
        lines += ["", *slowest(f"layer of {node}", rows, sum(item.ms for item in layers))]
    return lines


def difference_lines(outputs: Mapping[str, reports.OutputDifference]) -> list[str]:
    """How each output differs from the original's."""
    rows = [("output", "max abs", "max rel", "cosine", "SQNR", "top-1")]
    for name, item in outputs.items():
        sqnr = "identical" if item.sqnr_db is None else f"{item.sqnr_db:.1f} dB"
        if not item.values:  # nothing agrees with everything
            sqnr = "empty: not compared"
        top1 = "" if item.top1_agreement is None else f"{item.top1_agreement:.1%}"
        rows.append((name, f"{item.max_abs:.1e}", f"{item.max_rel:.1e}", f"{item.cosine:.6f}", sqnr, top1))
    return table(rows, right={1, 2, 3, 4, 5})


def table(rows: Sequence[Sequence[str]], right: set[int] | None = None) -> list[str]:
    """Rows as lines with aligned columns; the columns in `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if right and index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def few(items: Sequence[str]) -> list[str]:
    """The first `FEW` lines, and how many more there are."""
    return list(items) if len(items) <= FEW else [*items[:FEW], f"and {len(items) - FEW} more"]


def _elided(text: str, width: int) -> str:
    """Long names differ at both ends, so the middle goes."""
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"


def count(number: int, noun: str) -> str:
    """A number with its noun, such as `2 engine nodes`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def yes(value: bool) -> str:
    """`yes` or `no`."""
    return "yes" if value else "no"


def _three(value: float) -> str:
    """Three digits, never in exponents."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1e-3 else f"{value:.3f}"


def milliseconds(value: float) -> str:
    """A duration with its unit, such as `0.0123 ms`."""
    return f"{_three(value)} ms"


def size(number: int) -> str:
    """A number of bytes with its unit; kB is 1,000 bytes."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} bytes"


def exact(number: int | None) -> str:
    """A whole number with its thousands marked."""
    return "unknown" if number is None else f"{number:,}"


def flops(found: reports.Inspection) -> str:
    """The FLOPs of one row, such as `290 M a row`, and of how many ops they are not known."""
    unknown = count(found.flops_unknown, "op") if found.flops_unknown else ""
    if not found.flops:
        return f"unknown of {unknown}" if unknown else exact(found.flops)
    for unit, factor in ((" T", 10**12), (" G", 10**9), (" M", 10**6), (" k", 10**3), ("", 1)):
        if found.flops >= factor:
            told = f"{_three(found.flops / factor)}{unit} a row"
            return f"{told}, unknown of {unknown}" if unknown else told
    return exact(found.flops)


def shape(dims: Sequence[int | None] | None) -> str:
    """A shape such as `?×224×224×3`; None where even the rank is unknown."""
    if dims is None:
        return "unknown"
    return "×".join("?" if dim is None else str(dim) for dim in dims) or "scalar"


def finite(value: Any) -> Any:
    """JSON has no infinity: the largest number stands for it, so that a script's `difference < limit` stays right."""
    match value:
        case float() if math.isinf(value):
            return math.copysign(sys.float_info.max, value)
        case float() if math.isnan(value):
            return None
        case Mapping():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case _:
            return value
