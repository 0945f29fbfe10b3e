"""Messages: one line from a template, its values and a remedy, in the words of whoever shows it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icebreaker import codec
from icebreaker.cli.wording import REMEDIES as TERMINAL
from icebreaker.cli.wording import worded
from icebreaker.errors import ConsentNeeded, IcebreakerError, JobCancelled
from icebreaker.messages import REMEDIES, Message, message, one_line, printable

names = st.text(max_size=30)


def test_the_line_has_subject_values_and_remedy() -> None:
    told = message(
        "choice_unknown", "{what} {subject!r} is unknown, of {count:,}", "choose_from",
        subject="warp", what="engine", count=1234, choices=("a", "b"),
    )  # fmt: skip
    assert str(told) == "engine 'warp' is unknown, of 1,234: choose a, b"
    assert (told.code, told.subject, told.remedy, told.values["count"]) == (
        "choice_unknown",
        "warp",
        "choose_from",
        1234,
    )


def test_the_remedy_may_stand_within_the_text() -> None:
    told = message("crashed", "{subject} crashed; {remedy}, if you like", "retry_crashed", subject="n")
    assert str(told) == f"n crashed; {REMEDIES['retry_crashed']}, if you like"


def test_messages_within_messages_are_worded_alike() -> None:
    inner = message("time_limit", "took too long", "one_engine_or_more_time")
    outer = message("worker_ended", "the worker {why} and {others}", why=inner, others=(inner, "x", 2))
    assert "allow it more time" in str(outer) and "--" not in str(outer)
    assert worded(outer).count("--time-limit") == 2
    german = {"the worker {why} and {others}": "{others}, {why}", "took too long": "zu lang"}
    assert outer.worded({}, lambda text: german.get(text, "hilf dir")) == "zu lang: hilf dir, x, 2, zu lang: hilf dir"


@given(names, names)
def test_data_is_never_taken_for_a_template(name: str, value: str) -> None:
    """A node may be called `{0}` or have a line break in its name."""
    told = message("node_odd", "{subject} has {value}", subject=name, value=f"{{{value}}}")
    assert str(told) == one_line(f"{name} has {{{value}}}")
    assert len(str(told).splitlines()) <= 1


@given(st.text(max_size=5000))
def test_a_line_is_one_and_not_endless(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 2005 and len(line.splitlines()) <= 1 and one_line(line) == line


def test_what_commands_a_terminal_is_spelled_out() -> None:
    told = message("node_odd", "{subject} is odd", subject="a\x1b[1Kb\x9b\u202ec\u2069\x00 é ×")
    assert str(told) == r"a\x1b[1Kb\x9b\u202ec\u2069\x00 é × is odd"
    assert printable("one\ttwo\n") == r"one\ttwo\n"


@pytest.mark.parametrize(
    ("text", "remedy", "values"),
    [
        ("{missing}", "", {}),
        ("{value", "", {"value": 1}),
        ("{0}", "", {}),
        ("{value:d}", "", {"value": "x"}),
        ("{value.nothing}", "", {"value": 1}),
        ("fine", "no_such_remedy", {}),
        ("fine", "choose_from", {}),  # which names {choices}
        ("{value:>99999999999999999999}", "", {"value": "x"}),
    ],
)
def test_what_cannot_be_worded_is_no_message(text: str, remedy: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be worded"):
        message("odd", text, remedy, **values)
    with pytest.raises(ValueError):  # whoever sent it
        codec.from_plain({"code": "odd", "text": text, "remedy": remedy, "values": values}, Message)


def test_the_terminal_words_remedies_that_there_are() -> None:
    assert set(TERMINAL) <= set(REMEDIES)
    assert not [code for code, text in REMEDIES.items() if "--" in text], "flags are the terminal's"
    assert worded("a vendor's words") == "a vendor's words"


def test_an_error_is_its_message() -> None:
    error = IcebreakerError("output_unknown", "{subject} is not in {file}", subject="y", file="m.pb")
    assert str(error) == "y is not in m.pb"
    assert (error.code, error.message.subject, error.message.values) == ("output_unknown", "y", {"file": "m.pb"})
    assert str(IcebreakerError(error.message)) == str(error)


EFFECT = message("side_effect", "{subject} writes files", subject="w")
CONSENT = ConsentNeeded("consent_needed", "{subject} acts: {first}", subject="m.pb", first=EFFECT, more=-2)


@pytest.mark.parametrize(
    "error",
    [IcebreakerError("a_code", "{subject} broke", subject="n"), JobCancelled(), CONSENT],
    ids=lambda error: error.code,
)
def test_errors_survive_other_processes(error: IcebreakerError) -> None:
    """As messages, which is how workers send them, and as pickles, which is how pools of processes do."""
    sent = codec.decode(codec.encode(error.message), Message)
    for again in (IcebreakerError.of(sent), pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):  # noqa: S301
        assert type(again) is type(error) and again.message == error.message and str(again) == str(error)
        if isinstance(again, ConsentNeeded):
            assert (again.effects, again.more) == ((EFFECT,), 0)


def test_errors_are_one_line() -> None:
    assert str(IcebreakerError("a_code", "a:\n  {subject}\r\n", subject="b\tc")) == "a: b c"
    long = str(IcebreakerError("size_malformed", "{subject!r} is not a size: write bytes", subject="x" * 1_000_000))
    assert len(long) < 2100 and long.startswith("'xxx") and long.endswith("is not a size: write bytes")
