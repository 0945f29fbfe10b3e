import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from icebreaker.errors import IcebreakerError
from icebreaker.metrics.output_difference import difference


def test_known_figures():
    found = difference(np.array([3.0, -4.0, 0.0]), np.array([3.0, -4.0, 0.5]))
    assert found.max_abs == 0.5
    assert found.max_rel == 0.125  # 0.5 of a range of 4
    assert found.cosine == pytest.approx(25 / (5 * math.sqrt(25.25)))
    assert found.sqnr_db == pytest.approx(10 * math.log10(25 / 0.25))
    assert found.top1_agreement is None


def test_identical_values():
    found = difference(np.arange(6, dtype="f4").reshape(2, 3), np.arange(6, dtype="f4").reshape(2, 3))
    assert (found.max_abs, found.max_rel, found.cosine, found.sqnr_db, found.top1_agreement) == (
        0,
        0,
        1,
        None,
        1,
    )


def test_range_is_that_of_the_reference():
    assert difference([2.0], [4.0]).max_rel == 1.0
    assert difference([4.0], [2.0]).max_rel == 0.5


def test_zero_reference_gives_the_absolute_difference():
    found = difference([0.0, 0.0], [0.0, 0.25])
    assert (found.max_abs, found.max_rel, found.cosine, found.sqnr_db) == (0.25, 0.25, 0.0, -math.inf)


def test_zero_answer_is_all_wrong():
    found = difference([1.0, 2.0], [0.0, 0.0])
    assert (found.max_rel, found.cosine, found.sqnr_db) == (1.0, 0.0, 0.0)


def test_nan_and_infinity_match_at_the_same_place():
    values = np.array([np.nan, np.inf, -np.inf, 2.0])
    found = difference(values, values.copy())
    assert (found.max_abs, found.cosine, found.sqnr_db) == (0.0, 1.0, None)
    other = values.copy()
    other[3] = 3.0
    assert difference(values, other).max_rel == 0.5


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1.0])
def test_nan_or_infinity_on_one_side_is_an_infinite_difference(wrong):
    right = np.inf if wrong != np.inf else 1.0
    found = difference([right, 1.0], [wrong, 1.0])
    assert (found.max_abs, found.max_rel, found.cosine, found.sqnr_db) == (math.inf, math.inf, 0.0, -math.inf)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty(shape):
    found = difference(np.zeros(shape, "f4"), np.zeros(shape, "f4"))
    assert (found.max_abs, found.cosine, found.sqnr_db, found.top1_agreement) == (0.0, 1.0, None, None)


def test_strings():
    left = np.array([[b"cat", "ä".encode()], [b"dog", b"x\0"]], dtype=object)
    same = difference(left, left.copy())
    assert (same.max_abs, same.max_rel, same.cosine, same.sqnr_db, same.top1_agreement) == (
        0.0,
        0.0,
        1.0,
        None,
        None,
    )
    other = left.copy()
    other[1, 1] = b"x"  # trailing zero bytes count
    found = difference(left, other)
    assert (found.max_abs, found.max_rel, found.cosine) == (1.0, 1.0, 0.75)
    assert difference(b"a\0", b"a").max_abs == 1.0
    assert difference(np.array(["ä"]), np.array(["ä".encode()], dtype=object)).max_abs == 0.0


def test_bool_and_whole_numbers():
    assert difference(np.array([True, False]), np.array([True, True])).max_abs == 1.0
    assert difference(np.array(2**53, "i8"), np.array(2**53 + 1, "i8")).max_abs == 1.0
    assert difference(np.array([-(2**63)], "i8"), np.array([2**63 - 1], "i8")).max_abs == float(2**64)
    assert difference(np.array([0], "u1"), np.array([255], "u1")).max_abs == 255.0
    assert difference(np.array([7], "i4"), np.array([7], "i8")).max_abs == 0.0


def test_other_types():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    found = difference(np.array([[1, 2]], ml_dtypes.bfloat16), np.array([[1, 3]], ml_dtypes.bfloat16))
    assert (found.max_abs, found.top1_agreement) == (1.0, 1.0)
    assert difference(np.array([3 + 4j]), np.array([0j])).max_abs == 5.0
    assert difference(np.array([1e300, 1e300]), np.array([1e300, -1e300])).cosine == pytest.approx(0.0)
    assert difference(np.array([1.7e308]), np.array([-1.7e308])).max_abs == math.inf


def test_top1():
    left = np.array([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]])
    right = np.array([[0.2, 0.8], [0.4, 0.6], [0.4, 0.6]])
    assert difference(left, right).top1_agreement == pytest.approx(2 / 3)  # the tie of the third row agrees with both
    assert difference(np.ones((2, 3, 1)), np.ones((2, 3, 1))).top1_agreement is None


def test_mismatches_are_explained():
    with pytest.raises(IcebreakerError, match=r"shape is \[3\], but the original's is \[2\]"):
        difference(np.zeros(2), np.zeros(3))
    with pytest.raises(IcebreakerError, match="text in the other graph"):
        difference(np.zeros(1), np.array([b"a"], dtype=object))


@settings(deadline=None, max_examples=100)
@given(
    npst.arrays("f8", (2, 3), elements=st.floats(-1e150, 1e150)),
    npst.arrays("f8", (2, 3), elements=st.floats(-1e150, 1e150)),
    st.sampled_from([2.0**-40, 2.0**40]),
)
def test_figures_are_in_range_and_do_not_depend_on_the_scale(left, right, scale):
    found, scaled = difference(left, right), difference(left * scale, right * scale)
    assert found.max_abs >= 0 and -1 <= found.cosine <= 1
    assert (found.sqnr_db is None) == (found.max_abs == 0)
    if (abs(left).max() > 1e-100 or not left.any()) and (found.max_abs > 1e-100 or not found.max_abs):
        assert scaled.cosine == pytest.approx(found.cosine, abs=1e-9)
        if left.any():
            assert scaled.max_rel == pytest.approx(found.max_rel)
