"""The rule by which engines are accepted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from icebreaker.metrics.agreement import agreement


@pytest.mark.parametrize("kind", ["int32", "int64", "uint8", "bool"])
@given(st.data())
def test_whole_numbers_and_truth_values_agree_if_they_are_equal(kind, data):
    shape = data.draw(npst.array_shapes(max_dims=2, max_side=4))
    want, have = (data.draw(npst.arrays(kind, shape)) for _ in range(2))
    found = agreement(want, have, 1e9)
    assert found.agrees == bool((want == have).all())
    assert (found.other is None) == found.agrees


def test_a_number_beyond_what_a_float_holds_is_told():
    want = np.int32([1700000187, 1700000123])
    found = agreement(want, np.int32([1700000128, 1700000123]), 1e-4)
    assert not found.agrees and found.other == (1, "1700000187", "1700000128")


def test_text_is_equal_or_wrong():
    want = np.array([b"a", b"b"], object)
    assert agreement(want, want.copy(), 0.1).agrees
    assert not agreement(want, np.array([b"a", b"c"], object), 0.1).agrees


@pytest.mark.parametrize(
    "have, good", [([1, np.nan], True), ([np.nan, np.nan], False), ([1, np.inf], False), ([1, 0], False)]
)
def test_nan_stands_where_nan_stands(have, good):
    assert agreement(np.float32([1.0, np.nan]), np.float32(have), 0.1).agrees == good


def test_floats_are_within_a_share_of_the_range():
    want = np.float32([100.0, 1.0])
    assert agreement(want, np.float32([100.0, 1.009]), 1e-4).agrees
    assert not agreement(want, np.float32([100.0, 1.02]), 1e-4).agrees


def test_what_has_no_elements_agrees_and_was_not_compared():
    found = agreement(np.zeros((0, 3), "f4"), np.zeros((0, 3), "f4"), 1e-4)
    assert found.agrees and not found.compared


def test_a_tie_is_not_counted_if_it_is_one_of_what_tensorflow_gives():
    want, moves = np.int64([3, 5]), np.array([True, False])
    low, high = np.int64([2, 5]), np.int64([3, 5])
    assert agreement(want, np.int64([2, 5]), 1e-4, moves, low, high).agrees
    assert not agreement(want, np.int64([1, 5]), 1e-4, moves, low, high).agrees
    assert not agreement(want, np.int64([3, 4]), 1e-4, moves, low, high).agrees


def test_what_moves_a_little_excuses_as_much():
    want = np.float32([1.0, -1.0])
    none = np.zeros(2, bool)
    low, high = want - np.float32(1e-4), want + np.float32(1e-4)
    assert agreement(want, np.float32([1.002, -1.0]), 1e-4, none, low, high).agrees
    assert not agreement(want, np.float32([1.02, -1.0]), 1e-4, none, low, high).agrees
