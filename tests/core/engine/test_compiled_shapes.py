"""Which compiled form a call gets, and what it waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from icebreaker.engine.compiled_shapes import CompiledShapes


@dataclass
class Form:
    """As OpenVINO's compiled models and requests, as far as they are used."""

    name: str

    def get_compiled_model(self) -> Form:
        return self

    def create_infer_request(self) -> Form:
        return Form(self.name)


def failing() -> Form:
    raise RuntimeError("no such form")


def ask(shapes: CompiledShapes, name: str) -> str:
    requests, is_own = shapes.get(name, lambda: Form(name))
    with requests.one() as request:
        assert is_own == (request.name != "all")
        return request.name


def test_the_first_shapes_have_their_own_form_and_all_others_share_one() -> None:
    made: list[str] = []

    def compile_open() -> Form:
        made.append("all")
        return Form("all")

    shapes = CompiledShapes(compile_open, 2)
    assert [ask(shapes, name) for name in "abcab"] == ["a", "all", "all", "a", "all"] and made == ["all"]
    requests = shapes.own("b", lambda: Form("b"))  # the form for all failed on it
    assert requests.compiled.name == "b" and ask(shapes, "b") == "b"


def test_a_big_model_has_one_form_at_a_time() -> None:
    shapes = CompiledShapes(lambda: Form("all"), 1, big=True)
    assert [ask(shapes, name) for name in "aba"] == ["a", "all", "all"]


def test_without_a_form_for_all_the_latest_are_kept() -> None:
    made: list[str] = []

    def asked(name: str) -> None:
        def compile_own() -> Form:
            made.append(name)
            return Form(name)

        shapes.get(name, compile_own)

    shapes = CompiledShapes(failing, 2)
    for name in "ababcac":
        asked(name)
    assert "".join(made) == "abca", "b was the one used least lately when c came, and then a"


@pytest.mark.parametrize("compile_open", [None, lambda: Form("all")])
def test_shapes_that_are_refused_are_not_kept(compile_open: Callable[[], Form] | None) -> None:
    shapes = CompiledShapes(compile_open, 2)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            shapes.get("a", failing)
    assert ask(shapes, "b") == "b"


def test_nobody_waits_for_what_others_have_compiled() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def compile_open() -> Form:
        begun.set()
        assert go_on.wait(60)
        return Form("all")

    shapes = CompiledShapes(compile_open, 2)
    assert ask(shapes, "a") == "a"
    found: list[str] = []
    others = [threading.Thread(target=lambda name=name: found.append(ask(shapes, name))) for name in "bcd"]
    for thread in others:
        thread.start()
    assert begun.wait(60)
    assert ask(shapes, "a") == "a", "while the form for the others is compiled"
    assert not found
    go_on.set()
    for thread in others:
        thread.join()
    assert found == ["all"] * 3


def test_calls_that_meet_get_a_form_of_their_own_once_it_is_there() -> None:
    made = threading.Event()

    def compile_crowded() -> Form:
        made.set()
        return Form("side by side")

    shapes = CompiledShapes(None, 2, compile_crowded=compile_crowded)
    for _ in range(100):
        with shapes.turn() as form:
            assert form is None, "alone"
    assert not made.is_set()
    with shapes.turn() as first:
        for _ in range(100):
            with shapes.turn():
                pass
        assert first is None and made.wait(60)
        for thread in threading.enumerate():
            if thread.name.endswith("(_fill)"):
                thread.join()
        with shapes.turn() as form:
            assert form is not None and form.compiled.name == "side by side"


def test_a_form_that_cannot_be_compiled_is_done_without() -> None:
    shapes = CompiledShapes(failing, 2, compile_crowded=failing)
    assert [ask(shapes, name) for name in "aba"] == ["a", "b", "a"]
    with shapes.turn():
        for _ in range(100):
            with shapes.turn() as form:
                assert form is None
