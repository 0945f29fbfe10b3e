"""The one codec: what is written is read again, and nothing else is."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icebreaker import codec, events, reports
from icebreaker.jobs import requests
from icebreaker.messages import Message
from icebreaker.preprocessing import Preprocessing
from icebreaker.settings import (
    CALIBRATION_METHODS,
    HARDWARE_COMPATIBILITY,
    PRECISIONS,
    QUANTIZERS,
    WEIGHTS,
    BuilderSettings,
    Consent,
    ConvertSettings,
    Limits,
    QuantizationSettings,
)

# -- values of every type that travels ------------------------------------------------------------------------------

names = st.text(max_size=12)
optional_names = st.none() | names
floats = st.floats()
shares = st.none() | st.floats(0.01, 1)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | floats | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def tuples(items: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=most).map(tuple)


shapes = tuples(st.integers(0, 99))
profiles = st.tuples(st.integers(1, 9), st.integers(10, 99), st.integers(100, 999)).map(
    lambda sizes: tuple((size,) for size in sizes)
)
builders = st.builds(
    BuilderSettings, workspace_bytes=st.integers(0, 1 << 40), optimization_level=st.none() | st.integers(0, 5),
    hardware_compatibility=st.sampled_from(HARDWARE_COMPATIBILITY), version_compatible=st.booleans(),
    weights=st.sampled_from(WEIGHTS), compute_capabilities=tuples(st.sampled_from(["8.0", "12.0"])),
)  # fmt: skip
quantizations = st.builds(
    QuantizationSettings, calibration=optional_names,
    calibration_method=st.sampled_from(("auto", *CALIBRATION_METHODS)),
    quantizer=st.sampled_from(QUANTIZERS), calibration_table=optional_names,
    calibration_samples=st.none() | st.integers(1, 999), calibration_seed=st.integers(0, 999),
    preprocessing=st.none() | st.builds(Preprocessing, st.integers(1, 999), st.integers(1, 999), st.just("BGR")),
    accuracy_budget=shares,
    keep_float=tuples(names),
)  # fmt: skip
settings = st.builds(
    ConvertSettings, outputs=tuples(names), inputs=tuples(names),
    input_shapes=st.dictionaries(names.map("s".__add__), shapes, max_size=2),
    profiles=st.dictionaries(names.map("p".__add__), profiles, max_size=2),
    engine=st.sampled_from(["auto", "openvino", "onnxruntime"]), precision=st.sampled_from(PRECISIONS),
    max_batch_size=st.integers(1, 99), memory_fraction=shares, minimum_segment_size=st.integers(1, 99),
    exclude=tuples(names), data=optional_names, builder=builders, quantization=quantizations,
)  # fmt: skip
consents = st.builds(Consent, st.booleans(), st.booleans(), st.booleans(), st.booleans())
limits = st.builds(Limits, st.none() | st.integers(1 << 30, 1 << 50), st.none() | st.floats(1, 1e9), st.floats(1, 1e9))
common = {"consent": consents, "limits": limits}
every_request = st.one_of(
    st.builds(requests.Inspect, model=names, frozen=names, **common),
    st.builds(requests.AskEngines, **common),
    st.builds(requests.MakeSample, sample=names, output=names, **common),
    st.builds(requests.Convert, model=names, output=names, settings=settings, **common),
    st.builds(requests.Calibrate, model=names, output=names, settings=settings, **common),
    st.builds(
        requests.Benchmark, model=names, optimized=names, batch=st.integers(1, 99), seconds=floats, settings=settings,
        profile=st.booleans(), **common,
    ),
    st.builds(requests.Compare, model=names, optimized=names, settings=settings, **common),
)  # fmt: skip
flat_messages = st.builds(
    Message, names, st.sampled_from(["broke", "{subject} broke"]), names, st.sampled_from(["", "export_again"]),
    st.dictionaries(names, names | floats | st.integers(-(2**53), 2**53), max_size=2),
)  # fmt: skip
messages = st.builds(
    Message, names, st.just("{why}; {others}"), names, st.just(""),
    st.fixed_dictionaries({"why": flat_messages, "others": tuples(flat_messages | names)}),
)  # fmt: skip
words = names | flat_messages | messages
every_event = st.one_of(
    st.builds(events.Progress, words, st.floats(0, 1)),
    st.builds(events.Log, st.sampled_from(["debug", "warning"]), words),
    st.builds(events.Sample, names, floats, floats),
    st.builds(events.Done, plain),
    st.builds(events.Failed, messages, names),
    st.just(events.Cancelled()),
)
differences = st.builds(
    reports.OutputDifference, floats, floats, floats, st.none() | floats, st.none() | st.floats(0, 1)
)
latencies = st.builds(reports.Latency, floats, floats, floats, floats, floats, floats, st.integers(0, 99))
benchmarks = st.builds(
    reports.Benchmark, latencies, st.none() | latencies,
    st.none() | st.builds(reports.Speedup, floats, st.tuples(floats, floats)),
    st.dictionaries(names, differences, max_size=2), st.integers(1, 99),
)  # fmt: skip
conversions = st.builds(
    reports.Conversion, names, floats, floats,
    left_in_tensorflow=tuples(st.builds(reports.Left, names, names, words, names)), warnings=tuples(words),
    segments=st.just(()),
)  # fmt: skip
every_report = st.one_of(
    benchmarks,
    conversions,
    st.builds(reports.Comparison, st.dictionaries(names, differences, max_size=3)),
    st.builds(reports.SampleFile, names),
)


# -- there and back -------------------------------------------------------------------------------------------------


def same(value: Any, other: Any) -> bool:
    """Equality under which NaN is NaN."""
    return value == other or repr(value) == repr(other)


@given(settings)
def test_settings_come_back(value: ConvertSettings) -> None:
    assert codec.decode(codec.encode(value), ConvertSettings) == value
    assert ConvertSettings.of(**value.flat) == value


@given(every_request)
def test_requests_come_back(value: requests.Request) -> None:
    again = codec.decode(codec.encode(value), type(value))
    assert type(again) is type(value) and same(again, value)


@given(every_event)
def test_events_come_back_on_one_line(value: events.Event) -> None:
    line = events.encode(value)
    assert len(line.splitlines()) == 1 and line.isascii()
    again = events.decode(line)
    assert type(again) is type(value) and same(again, value)


@given(every_report)
def test_reports_come_back(value: Any) -> None:
    assert same(codec.decode(codec.encode(value), type(value)), value)


@pytest.mark.parametrize("figure", [math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308, -0.0])
def test_every_figure_comes_back(figure: float) -> None:
    difference = reports.OutputDifference(figure, figure, figure, figure, None)
    again = codec.decode(codec.encode(difference), reports.OutputDifference)
    assert repr(again) == repr(difference)


def test_a_path_that_is_no_text_survives() -> None:
    """Linux lets a file's name be any bytes."""
    request = requests.Inspect(model=b"/data/\xff.pb".decode("utf-8", "surrogateescape"))
    assert codec.decode(codec.encode(request).encode(), requests.Inspect) == request


# -- what is none ---------------------------------------------------------------------------------------------------


def places(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Ways to every object within plain values."""
    found = [at] if isinstance(data, dict) else []
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return found + [place for key, inner in pairs for place in places(inner, (*at, key))]


def with_extra(data: Any, place: tuple[Any, ...], name: str) -> Any:
    """The same values, with one field more at a place."""
    copied = json.loads(json.dumps(data))
    inner = copied
    for key in place:
        inner = inner[key]
    inner[name] = 1
    return copied


WHY = Message("inner", "because")
REASON = Message("outer", "{why} and {others}", values={"why": WHY, "others": (WHY, "x")})
LATENCY = reports.Latency(1.0, 2.0, 3.0, 4.0, 1.5, 666.7, 100)
DEEP: list[tuple[Any, Any, set[tuple[Any, ...]]]] = [
    # a value, its type, and the places that are open to any name (the values of messages are)
    (
        requests.Convert(model="m", output="o"),
        requests.Convert,
        {("settings", "input_shapes"), ("settings", "profiles")},
    ),
    (events.Progress("x", 0.5), events.Event, set()),
    (events.Failed(REASON), events.Event, set()),
    (
        reports.Conversion("o", 1.0, 0.5, (), (reports.Left("n", "o", REASON, "c"),), (REASON,)),
        reports.Conversion,
        {("tensors",)},
    ),
    (
        reports.Benchmark(LATENCY, None, reports.Speedup(2.0, (1.9, 2.1)), {"y": reports.OutputDifference(*[1.0] * 5)}),
        reports.Benchmark,
        {("outputs",), ("profiles",)},
    ),
]


@pytest.mark.parametrize(("value", "kind", "open_places"), DEEP, ids=lambda item: type(item).__name__)
def test_unknown_fields_are_refused_at_any_depth(value: Any, kind: Any, open_places: set[tuple[Any, ...]]) -> None:
    data = json.loads(codec.encode(value))
    assert codec.from_plain(data, kind) == value
    closed = [place for place in places(data) if place not in open_places and place[-1:] != ("values",)]
    assert () in closed
    for place in closed:
        for name in ("surplus", ""):
            with pytest.raises(ValueError):
                codec.from_plain(with_extra(data, place, name), kind)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ConvertSettings, {"outputs": "logits"}),
        (ConvertSettings, {"outputs": [1]}),
        (ConvertSettings, {"max_batch_size": "8"}),
        (ConvertSettings, {"max_batch_size": 1.5}),
        (ConvertSettings, {"max_batch_size": None}),
        (ConvertSettings, {"input_shapes": {"x": ["1"]}}),
        (ConvertSettings, {"builder": []}),
        (ConvertSettings, {"builder": {"version_compatible": 1}}),
        (ConvertSettings, []),
        (Consent, {"engines": "yes"}),
        (requests.Convert, {"job": "convert", "model": "m"}),
        (requests.Convert, {"job": "inspect", "model": "m", "output": "o"}),
        (requests.Convert, {"job": "convert", "model": "m", "output": "o", "consent": None}),
        (reports.Conversion, {"output": "o"}),
        (reports.Comparison, {"outputs": {"y": {"max_abs": "inf"}}}),
        (events.Event, {"event": "Progress", "stage": 5, "fraction": 0.5}),
        (events.Event, {"event": "Failed", "message": "words only"}),
    ],
)
def test_wrong_types_are_refused(kind: Any, data: Any) -> None:
    with pytest.raises(ValueError):
        codec.from_plain(data, kind)


@pytest.mark.parametrize("text", ["", "{", "nul", "[" * 100_000, '{"a":' * 100_000, "\x00", '{"outputs": [}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    for kind in (ConvertSettings, reports.Conversion, requests.Convert):
        with pytest.raises(ValueError):
            codec.decode(text, kind)


@given(plain)
def test_no_stranger_gets_further_than_an_error(data: Mapping[str, Any]) -> None:
    for kind in (requests.Convert, reports.Conversion, events.Event, Message):
        with pytest.raises(ValueError):
            codec.from_plain(data, kind)  # type: ignore[arg-type] - a union


def test_a_settings_file_cannot_consent() -> None:
    fields = {field.name for field in dataclasses.fields(Consent)}
    assert not fields & set(ConvertSettings().flat)
    for name in (*fields, "consent", "allow_side_effects", "trust_engines"):
        with pytest.raises(ValueError, match="unknown"):
            codec.from_plain({name: True}, ConvertSettings)
