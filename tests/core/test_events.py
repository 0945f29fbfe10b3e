"""Events: one line each, whatever they say; what is none is told from them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icebreaker import events
from icebreaker.messages import message


@pytest.mark.parametrize(
    "event",
    [
        events.Progress("Building", 0.5),
        events.Log("info", 'two\nlines "and" ä'),
        events.Sample("original", 1.5, 2.5),
        events.Done({"output": "x", "nested": [1, None, {"a": 0.5}]}),
        events.Failed(message("worker_broke", "it broke with {figure}", figure=1.5), "Traceback"),
        events.Cancelled(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_are_one_line_each(event):
    line = events.encode(event)
    assert "\n" not in line and events.decode(line) == event


def test_infinite_figures_survive_between_processes():
    done = events.decode(events.encode(events.Done({"max_abs": math.inf})))
    assert isinstance(done, events.Done) and done.result["max_abs"] == math.inf


@pytest.mark.parametrize("line", ["", "{", "5", "[]", "{}", '{"event":"Bang"}', '{"event":"Progress"}', '"Progress"'])
def test_what_is_no_event(line):
    with pytest.raises(ValueError):
        events.decode(line)


@given(st.text())
def test_no_line_breaks_the_reader(line):
    with pytest.raises(ValueError):
        events.decode(line)
