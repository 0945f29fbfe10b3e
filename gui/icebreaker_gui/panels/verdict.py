"""What a conversion and its measurement come to, in one headline, and what to try where they come to nothing.

One measurement feeds every figure: the race of both graphs once it is over. What was timed of single segments while
converting decides which engine is used; it is no speed of the graph, and so it is in none of these figures.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import Literal

from icebreaker.messages import Message
from icebreaker.reports import REASONS, Benchmark, Conversion, Left
from icebreaker.settings import ConvertSettings
from icebreaker_gui.panels.setup.engine.choice import usable
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting
from icebreaker_gui.style.wording import translate, translated, worded

_NOT_FASTER = ("engine_slower", "no_clear_difference")  # messages that name an engine's time and TensorFlow's

Do = Literal["measure", "convert", "engine", "precision"]


@dataclass(frozen=True)
class Step:
    """Something to try next.

    Attributes:
        words: What the button says.
        tip: What it does.
        do: What kind of thing.
        value: The engine or the precision.
    """

    words: str
    tip: str
    do: Do
    value: str = ""


@dataclass(frozen=True)
class Verdict:
    """What there is to say of the result.

    Attributes:
        headline: In two or three words.
        sure: How sure that is, or why.
        tone: `good`, `plain` or `poor`.
        before_ms: Median of the original; None where it was not measured.
        after_ms: The same of the optimized graph.
        facts: What runs where, and whether the answers are the same.
        steps: What to do next.
    """

    headline: str
    sure: str
    tone: Literal["good", "plain", "poor"]
    before_ms: float | None = None
    after_ms: float | None = None
    facts: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()


def verdict(session: Session) -> Verdict | None:
    """What the last conversion of the open graph came to; None if there was none."""
    conversion, benchmark = session.conversion, session.benchmark
    if conversion is None:
        return None
    if not conversion.segments:
        return _nothing(session, conversion)
    facts = tuple(fact for fact in (_where(conversion), _answers(conversion, benchmark)) if fact)
    if benchmark is None or benchmark.speedup is None or benchmark.optimized is None:
        here = all(segment.runs_here for segment in conversion.segments)
        measure = Step(
            translate("verdict", "Measure"), translate("verdict", "Let both graphs race on the same inputs (F6)"),
            "measure",
        )  # fmt: skip
        sure = translate("verdict", "not measured yet") if here else translate("verdict", "built for another machine")
        return Verdict(translate("verdict", "Converted"), sure, "plain", facts=facts, steps=(measure,) if here else ())
    told = formatting.headline(benchmark)
    low, high = benchmark.speedup.ci95
    tone = "good" if low > 1 else "poor" if high < 1 else "plain"
    steps = () if low > 1 else (_again(), *_others(session, forced=False))
    times = benchmark.original.p50_ms, benchmark.optimized.p50_ms
    return Verdict(told["finding"], told["sure"], tone, *times, facts, steps)


def _nothing(session: Session, conversion: Conversion) -> Verdict:
    """Nothing went to an engine: since none is faster, or since none could."""
    slower = [left for left in conversion.left_in_tensorflow if left.code == "not_faster"]
    precision = formatting.precision((session.converted_with or session.settings).precision)
    if slower:
        times = max((found for left in slower if (found := _times(left))), default=None, key=lambda item: item[1])
        again = Step(
            translate("verdict", "Measure again"),
            translate("verdict", "Convert once more: on a busy machine a small gain may not be seen"),
            "convert",
        )
        if times is None:
            return Verdict(
                translate("verdict", "Nothing to gain at {precision}").format(precision=precision),
                worded(slower[0].reason), "plain", steps=(again, *_others(session, forced=True)),
            )  # fmt: skip
        engine, took, plain = times
        sure = translate("verdict", "{engine} {took}, TensorFlow {plain}").format(
            engine=formatting.engine(engine), took=formatting.milliseconds(took), plain=formatting.milliseconds(plain)
        )
        return Verdict(
            translate("verdict", "Nothing to gain at {precision}").format(precision=precision), sure, "plain",
            steps=(again, *_others(session, forced=True, engine=engine)),
        )  # fmt: skip
    reasons = collections.Counter(left.code for left in conversion.left_in_tensorflow if left.code != "passive")
    code, count = reasons.most_common(1)[0] if reasons else ("passive", 0)
    words = translate("verdict", "{n} op: {reason}"), translate("verdict", "{n} ops: {reason}")
    sure = formatting.count(count, *words) if count else "{reason}"
    return Verdict(
        translate("verdict", "Nothing runs in an engine"), sure.replace("{reason}", translated(REASONS[code])), "plain",
        steps=_others(session, forced=False),
    )  # fmt: skip


def _times(left: Left) -> tuple[str, float, float] | None:
    """Engine, its milliseconds and TensorFlow's, out of the reason that it was not faster."""
    reason = left.reason
    while isinstance(reason, Message) and reason.code not in _NOT_FASTER:
        first = reason.values.get("first")
        reason = first if isinstance(first, Message) else ""
    if not isinstance(reason, Message):
        return None
    took, plain = reason.values.get("engine_ms"), reason.values.get("tensorflow_ms")
    if isinstance(took, int | float) and isinstance(plain, int | float):
        return reason.subject, float(took), float(plain)
    return None


def _again() -> Step:
    return Step(
        translate("verdict", "Measure again"), translate("verdict", "Let both graphs race once more (F6)"), "measure"
    )


def _others(session: Session, *, forced: bool, engine: str = "") -> tuple[Step, ...]:
    """Other settings to try, as far as this machine has them: `forced` with the engine that was measured too."""
    settings, steps = session.converted_with or session.settings, list[Step]()
    here = usable(session)
    names = [status.name for status in here if status.runs]
    if forced and settings.engine == "auto" and names:
        name = engine if engine in names else names[0]
        steps.append(
            Step(
                translate("verdict", "Use {engine} anyway").format(engine=formatting.engine(name)),
                translate("verdict", "Convert with this engine alone, whether it is faster or not"), "engine", name,
            )
        )  # fmt: skip
    tried = _TRIED.get(settings.precision, ())
    for name in tried:
        if any(name in status.precisions for status in here):
            steps.append(
                Step(
                    translate("verdict", "Try {precision}").format(precision=formatting.precision(name)),
                    translate("verdict", "Convert in {precision}").format(precision=formatting.precision(name)),
                    "precision", name,
                )
            )  # fmt: skip
    return tuple(steps)


_TRIED = {"fp32": ("fp16", "int8"), "fp16": ("int8",), "int8": ("fp16",)}


def changes(step: Step) -> dict[str, str]:
    """The settings that a step changes, by their flat names."""
    return {step.do: step.value} if step.do in ConvertSettings().flat else {}


def _where(conversion: Conversion) -> str:
    """What runs where."""
    pairs = dict.fromkeys(
        f"{formatting.engine(segment.engine)} {formatting.precision(segment.precision)}"
        for segment in conversion.segments
    )
    return translate("verdict", "{share} of the ops in {engines}").format(
        share=formatting.percent(conversion.coverage), engines=" + ".join(pairs)
    )


def _answers(conversion: Conversion, benchmark: Benchmark | None) -> str:
    """Whether the answers are the same, and on how much data: what was held back where there is some."""
    accuracy = conversion.accuracy
    if accuracy is not None:
        count = accuracy.samples
        words = translate("verdict", "on {n} sample held back"), translate("verdict", "on {n} samples held back")
        on = formatting.count(count, *words)
        if accuracy.top1_agreement is None:
            return translate("verdict", "error {share} {on}").format(share=formatting.percent(accuracy.error), on=on)
        same = round(accuracy.top1_agreement * count)
        if same == count:
            return translate("verdict", "same answers {on}").format(on=on)
        return translate("verdict", "{same} same answers {on}").format(same=same, on=on)
    compared = [found for found in benchmark.outputs.values() if found.values] if benchmark else []
    if not benchmark or not compared:
        return ""
    on = formatting.count(benchmark.batch, translate("verdict", "on {n} row"), translate("verdict", "on {n} rows"))
    worst = max(found.max_rel for found in compared)
    if worst == 0:
        return translate("verdict", "identical answers {on}").format(on=on)
    return translate("verdict", "answers differ by {share} at most {on}").format(
        share=formatting.scientific(worst), on=on
    )
