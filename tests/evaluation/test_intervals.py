"""Wilson intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from assay.evaluation import wilson_interval

shares = st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(shares, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_interval_agrees_with_scipy(share: tuple[int, int], level: float):
    interval = wilson_interval(*share, level)
    expected = binomtest(*share).proportion_ci(level, method="wilson")
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(shares)
def test_interval_contains_the_proportion_and_is_within_0_and_1(share: tuple[int, int]):
    successes, total = share
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    assert low < high


def test_interval_of_ten_in_eleven():
    # The button cells' 90.91 % on 11 photos.
    assert wilson_interval(10, 11) == pytest.approx((0.623, 0.984), abs=5e-4)


def test_perfect_result_has_an_interval():
    assert wilson_interval(20, 20).low == pytest.approx(0.839, abs=5e-4)
    assert wilson_interval(20, 20).high == 1
    assert wilson_interval(0, 20).low == 0


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (-1, 3), (4, 3)])
def test_invalid_proportions_raise(successes: int, total: int):
    with pytest.raises(ValueError, match="not a proportion"):
        wilson_interval(successes, total)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_invalid_levels_raise(level: float):
    with pytest.raises(ValueError, match="confidence level"):
        wilson_interval(1, 2, level)
