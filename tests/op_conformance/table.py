"""The table of ops, types and engines in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from icebreaker.engine import registry
from op_conformance.recipes import has_recipe
from op_conformance.run import ENGINES, Found, Results

_HEAD = """# What engines compute of each op

Ops that can enter a segment were put through a conversion each alone, in their types and with their attributes'
variants, and called with everyday and with hard values: negative ones, zero, the ends of the type, beyond 2^24,
2^31 and 2^53, near zero, infinite, NaN, twice the same, none at all. What came out was compared with TensorFlow:
whole numbers and truth values exactly, floats within 2e-4, half precision within 1e-2. `make op-conformance` does it
again and writes this page; {calls} calls of {count} ops in {combinations} combinations of op, type and engine were
made, and {bad} went wrong in silence.

- **right**: as TensorFlow, whatever was tried.
- **right ↩**: as TensorFlow; calls whose values are beyond the engine (whole numbers too large for it, a NaN that it
  would lose, an infinity that becomes one, nothing at all) are computed by TensorFlow, with a warning.
- **stays**: the op stays in TensorFlow, for the reason that is told; *in part*: some of its variants do.
- **answers**: TensorFlow raises an error at values that are not allowed, such as a place that an array does not have,
  and the engine gives something. Where the array's size is known, such calls go to TensorFlow, which raises; whole
  numbers are not divided by zero. Elsewhere nothing is done: what the engine gives is what the graph gives.

A NaN that may arise within a segment (0 / 0, ∞ - ∞, the logarithm of a negative number) and that the engine would lose
afterwards is looked for in the ranges of its numbers: the op that may make it stays in TensorFlow, unless nothing after
it loses NaNs.

Numbers that are not normal (below 1.2e-38) are not compared: TensorFlow itself takes them for zero on some threads.
Whole numbers made of floats that they cannot hold are undefined in TensorFlow, too.

| op | {titles} | calls |
|---|{lines}---|
"""


def table(results: Results, wanted: Sequence[str]) -> str:
    """The page."""
    calls = sum(sum(found.calls.values()) + sum(found.stays.values()) for found in results.values())
    tried = {op for op, _, _ in results}
    wrong = sum(found.calls["wrong"] for found in results.values())
    rows = []
    for op in sorted(tried):
        cells = [_cell(results, op, engine) for engine in ENGINES]
        count = sum(
            sum(found.calls.values()) + sum(found.stays.values())
            for (name, _, _), found in results.items()
            if name == op
        )
        rows.append(f"| {op} | {' | '.join(cells)} | {count} |")
    untried = [op for op in wanted if op not in tried]
    page = _HEAD.format(
        calls=calls, count=len(tried), combinations=len(results), bad=wrong or "none",
        titles=" | ".join(map(registry.title, ENGINES)), lines="---|" * len(ENGINES),
    )  # fmt: skip
    page += "\n".join(rows) + "\n"
    left = [op for op in untried if has_recipe(op)]
    if left:
        page += f"\nNot tried in the run that this page is from: {', '.join(left)}.\n"
    if alone := [op for op in untried if not has_recipe(op)]:
        page += f"\nWithout a recipe, so tried in whole graphs only: {', '.join(alone)}.\n"
    return page


def _cell(results: Results, op: str, engine: str) -> str:
    """What came of an op in an engine: verdicts, each with the types that it holds for."""
    verdicts: dict[str, list[str]] = {}
    for (name, dtype, tried), found in results.items():
        if name == op and tried == engine:
            verdicts.setdefault(_verdict(found), []).append(dtype)
    return "<br>".join(f"{verdict}: {', '.join(dtypes)}" for verdict, dtypes in verdicts.items()) or "–"


def _verdict(found: Found) -> str:
    why = found.stays.most_common(1)[0][0] if found.stays else ""
    why = " ".join(why.replace("|", "/").split())
    why = why if len(why) < 90 else f"{why[:88]}…"
    if not found.calls:
        return f"stays ({why})"
    bad = next((kind for kind in ("crash", "wrong", "fails") if found.calls[kind]), "")
    verdict = {"crash": "**ends the process**", "wrong": "**wrong**", "fails": "fails, TensorFlow runs it"}.get(
        bad, "right"
    )
    verdict += " ↩" if found.calls["gave way"] else ""
    verdict += ", answers" if found.calls["answers"] else ""
    return verdict + (f", in part stays ({why})" if why else "")
