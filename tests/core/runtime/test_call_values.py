"""What a call of a loaded model may be given: all that TensorFlow's session takes, and one clear error for the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.processes import environment
from icebreaker.errors import IcebreakerError
from icebreaker.graph.graph import Placeholder
from icebreaker.runtime.call_values import InputCheck

PICTURES = InputCheck(Placeholder("x", "float32", (None, 8, 8, 1)))
PICTURE = np.zeros((1, 8, 8, 1), np.float32)
WHOLE_NUMBER = InputCheck(Placeholder("n", "int32", None))
TEXTS = InputCheck(Placeholder("t", "string", (None,)))


@pytest.mark.parametrize(
    "value",
    [
        PICTURE, PICTURE.astype(np.float64), PICTURE.astype(np.int8), PICTURE.tolist(), PICTURE.astype(object),
        np.full_like(PICTURE, np.nan), np.zeros((0, 8, 8, 1), np.float32), np.asfortranarray(PICTURE.repeat(3, 0)),
    ],
)  # fmt: skip
def test_what_a_session_casts_is_cast(value: Any) -> None:
    made = PICTURES(value)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, np.asarray(value, np.float32))


def test_what_needs_no_cast_is_not_copied() -> None:
    assert PICTURES(PICTURE) is PICTURE


@pytest.mark.parametrize(
    ("value", "code", "remedy"),
    [
        (None, "input_missing", ""),
        (PICTURE[0], "input_shape_wrong", "add_first_dimension"),
        (1.0, "input_shape_wrong", "give_its_shape"),
        ([], "input_shape_wrong", "give_its_shape"),
        (PICTURE[..., None], "input_shape_wrong", "give_its_shape"),
        (PICTURE[:, 1:], "input_shape_wrong", "give_its_shape"),
        ("text", "input_not_taken", "give_its_type"),
        (np.array(["1.5"]), "input_not_taken", "give_its_type"),
        ([None], "input_not_taken", "give_its_type"),
        ([[1], [1, 2]], "input_not_taken", "give_its_type"),
        (object(), "input_not_taken", "give_its_type"),
        (10**400, "input_not_taken", "give_its_type"),
        (PICTURE.astype("datetime64[s]"), "input_not_taken", "give_its_type"),
        (PICTURE.astype(complex), "input_not_taken", "give_its_type"),
        (np.zeros((1, 8, 8, 1), "V4"), "input_not_taken", "give_its_type"),
    ],
)
def test_the_rest_is_one_error_that_names_the_input(value: Any, code: str, remedy: str) -> None:
    with pytest.raises(IcebreakerError) as caught:
        PICTURES(value)
    assert (caught.value.code, caught.value.message.remedy, caught.value.message.subject) == (code, remedy, "x")


def test_its_words() -> None:
    with pytest.raises(IcebreakerError) as caught:
        PICTURES(PICTURE[0])
    assert str(caught.value) == (
        "the input 'x' takes float32 of shape ?×8×8×1, but was given 8×8×1: "
        "add its first dimension, as value[None] does for an array"
    )


def test_a_number_that_would_be_another_is_refused() -> None:
    assert WHOLE_NUMBER(7) == 7
    for value in (1 << 40, float("nan"), [1 << 40]):
        with pytest.raises(IcebreakerError, match="int32"):
            WHOLE_NUMBER(value)


def test_texts() -> None:
    assert TEXTS(["a", b"\0b"]).tolist() == ["a", b"\0b"]
    assert TEXTS(np.array([b"a"])).tolist() == [b"a"]
    for value in ([1], [None], ["\ud800"], [["a"], ["a", "b"]]):
        with pytest.raises(IcebreakerError):
            TEXTS(value)


def test_a_type_that_numpy_lacks_is_refused_when_it_is_given() -> None:
    with pytest.raises(IcebreakerError, match="resource"):
        InputCheck(Placeholder("r", "resource", ()))(1)


def test_anything_at_all_ends_no_process_and_gets_no_answer_where_tensorflow_refuses(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "helpers.odd_calls", str(tmp_path), "150"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
