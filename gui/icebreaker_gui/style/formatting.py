"""How figures are written: one way for each kind, everywhere in the app."""

from __future__ import annotations

from collections.abc import Sequence

from icebreaker.engine import registry
from icebreaker.reports import Benchmark, OutputDifference
from icebreaker_gui.style.wording import translate

PRECISION_NAMES = {"fp32": "FP32", "fp16": "FP16", "bf16": "bfloat16", "int8": "INT8", "tf32": "TF32"}


def engine(name: str) -> str:
    """An engine's name as its makers write it."""
    return "TensorFlow" if name == "tensorflow" else registry.title(name)


def precision(name: str) -> str:
    """A precision as the field writes it."""
    return PRECISION_NAMES.get(name, name)


def size(count: float) -> str:
    """Bytes with decimal units, `12.5 MB`."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def short_number(value: float) -> str:
    """A large count with three significant digits, `1.23 M`."""
    for unit in ("", " k", " M", " G", " T"):
        if value < 999.5 or unit == " T":
            break
        value /= 1000
    return f"{value:.0f}{unit}" if value >= 100 or not unit else f"{value:.3g}{unit}"


def exact_size(count: int) -> str:
    """Bytes with the largest unit that gives a whole number, so that `settings.parse_size` reads back what it was."""
    for unit, factor in (("GiB", 1 << 30), ("GB", 10**9), ("MiB", 1 << 20), ("MB", 10**6)):
        if count and count % factor == 0:
            return f"{count // factor} {unit}"
    return str(count)


def milliseconds(value: float) -> str:
    """A latency with three significant digits, in ms or µs."""
    if value < 1:
        return f"{value * 1000:.3g} µs"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def duration(seconds: float) -> str:
    """How long something takes, in words for a person: `12 s`, `2 min 5 s`, `1 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def about(seconds: float) -> str:
    """A guess of how long something still takes, no more exact than it is: `about 20 s left`."""
    if seconds < 5:
        return translate("figures", "a few seconds left")
    step = 5 if seconds < 60 else 30 if seconds < 600 else 60
    return translate("figures", "about {time} left").format(time=duration(round(seconds / step) * step or step))


def ratio(value: float) -> str:
    """How many times, `2.4×`; two decimals near 1, where they matter."""
    return f"{value:.2f}×" if value < 2 else f"{value:.1f}×"


def percent(share: float) -> str:
    """A share from 0 to 1; what is not quite all or nothing is never shown as all or nothing."""
    value = 100 * share
    if 99 < value < 100 or 0 < value < 1:
        return f"{min(99.9, max(0.1, value)):.1f} %"
    return f"{value:.0f} %"


def scientific(value: float) -> str:
    """A small deviation, `2.3e-07`; exact zero is `0`."""
    return "0" if value == 0 else f"{value:.1e}" if value < 0.01 else f"{value:.3g}"


def closeness(difference: OutputDifference, digits: int = 1) -> str:
    """How well an output agrees: its signal to noise ratio in decibels, or in words where there is none."""
    if not difference.values:  # nothing agrees with everything
        return translate("figures", "empty: not compared")
    if difference.sqnr_db is None:
        return translate("figures", "identical")
    return f"{difference.sqnr_db:.{digits}f} dB"


def shape(dims: Sequence[int | None] | None) -> str:
    """A shape with `?` for open dimensions, `? × 224 × 224 × 3`."""
    if dims is None:
        return "?"
    return " × ".join("?" if dim is None else str(dim) for dim in dims) or "scalar"


def count(number: int, one: str, many: str) -> str:
    """A number with its noun: `one` or `many` with `{n}` in it, both already translated."""
    return (one if number == 1 else many).format(n=f"{number:,}")


def last_result(result: tuple[float, str, str] | None) -> str:
    """What came of a file last, `2.4× · OpenVINO INT8`; "" if nothing is known."""
    if result is None:
        return ""
    factor, name, kind = result
    return f"{ratio(factor)} · {engine(name)} {precision(kind)}" if name else ratio(factor)


def headline(benchmark: Benchmark) -> dict[str, str]:
    """What a measurement says: `finding` in two or three words, and how `sure` it is."""
    if benchmark.speedup is None:
        finding = translate("figures", "{median} a call")
        sure = translate("figures", "the original, median")
        return {"finding": finding.format(median=milliseconds(benchmark.original.p50_ms)), "sure": sure}
    low, high = benchmark.speedup.ci95
    times = benchmark.speedup.median
    if low <= 1 <= high:
        finding = translate("figures", "No clear difference")
    elif times > 1:
        finding = translate("figures", "{ratio} faster").format(ratio=ratio(times))
    else:
        finding = translate("figures", "{ratio} slower").format(ratio=ratio(1 / times))
        low, high = 1 / high, 1 / low
    sure = translate("figures", "95 % between {low} and {high}")
    return {"finding": finding, "sure": sure.format(low=ratio(low), high=ratio(high))}
