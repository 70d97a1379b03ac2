"""A threshold that keeps its promise on photos that did not choose it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from assay.core.errors import AssayError
from assay.evaluation import Predictions, precision_coverage_curve
from assay.evaluation.selective_classification import (
    GUARANTEE_CONFIDENCE,
    choose_threshold,
    count_answers,
    curve_from_dict,
    curve_to_dict,
    min_photos_for_precision,
    precision_lower_bound,
)


def honest(count: int, seed: int) -> Predictions:
    """Photos of two classes whose confidence is exactly the probability of being right."""
    rng = np.random.default_rng(seed)
    confidence = 1 - 0.5 * rng.random(count) ** 3
    right = rng.random(count) < confidence
    names = tuple(str(number) for number in range(count))
    return Predictions(
        classes=("a", "b"),
        ids=names,
        paths=names,
        actual=np.where(right, 0, 1),
        probabilities=np.stack([confidence, 1 - confidence], axis=1),
    )


def test_the_target_holds_on_other_photos_in_nearly_all_trials():
    others = honest(200_000, seed=10_000)
    kept = []
    for seed in range(60):
        selection = choose_threshold(precision_coverage_curve(honest(1500, seed)), 1500, 0.97)
        assert selection.reached
        familiar = np.ones(len(others), dtype=np.bool_)
        found = count_answers(others.confidence, others.correct, familiar, selection.threshold)
        kept.append(found.precision or 0.0)
    assert np.mean(np.array(kept) >= 0.97) >= 0.85
    assert min(kept) >= 0.96


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_bound_is_the_share_at_which_so_many_right_answers_are_just_likely_enough(pair: tuple[int, int]):
    correct, answered = pair
    bound = float(precision_lower_bound(np.array([correct]), np.array([answered]))[0])
    assert 0 <= bound <= correct / answered
    if correct:
        assert binom.sf(correct - 1, answered, bound) == pytest.approx(1 - GUARANTEE_CONFIDENCE, rel=1e-6)


def test_so_many_faultless_answers_prove_a_target():
    for target in (0.9, 0.99, 0.999):
        needed = min_photos_for_precision(target)
        bounds = precision_lower_bound(np.array([needed - 1, needed]), np.array([needed - 1, needed]))
        assert bounds[0] < target <= bounds[1]
    assert min_photos_for_precision(0.99) == 230


def test_few_photos_prove_little_and_it_is_said(make: Callable[..., Predictions]):
    selection = choose_threshold(precision_coverage_curve(make([0] * 20, [0] * 20)), 20, 0.99)
    assert not selection.reached
    assert (selection.answered, selection.coverage, selection.precision) == (20, 1.0, 1.0)
    assert selection.bound == pytest.approx(0.1 ** (1 / 20))


def test_refused_photos_count_against_the_coverage(make: Callable[..., Predictions]):
    selection = choose_threshold(precision_coverage_curve(make([0] * 20, [0] * 20)), 40, 0.8)
    assert selection.reached
    assert selection.to_dict()["coverage"] == 0.5


def test_one_mistake_among_three_hundred_is_allowed(make: Callable[..., Predictions]):
    selection = choose_threshold(precision_coverage_curve(make([0] * 301, [0] * 300 + [1])), 301, 0.98)
    assert selection.reached
    assert selection.answered == 301
    assert selection.correct == 300


def test_no_photos_choose_nothing(make: Callable[..., Predictions]):
    with pytest.raises(AssayError, match="validation part"):
        choose_threshold(precision_coverage_curve(make([])), 0, 0.9)


def test_counts_of_answers():
    confidence = np.array([0.6, 0.8, 0.9, 0.95])
    correct = np.array([True, False, True, True])
    familiar = np.array([True, True, True, False])
    found = count_answers(confidence, correct, familiar, 0.8)
    assert (found.count, found.answered, found.correct, found.out_of_distribution) == (4, 2, 1, 1)
    assert (found.coverage, found.precision) == (0.5, 0.5)
    nothing = count_answers(confidence, correct, familiar, 0.99)
    assert (nothing.coverage, nothing.precision) == (0, None)


def test_a_curve_survives_the_file_and_thinning_keeps_its_ends():
    curve = precision_coverage_curve(honest(3000, seed=1))
    whole = curve_from_dict(curve_to_dict(curve, 3000), 3000)
    for before, after in zip(curve, whole, strict=True):
        np.testing.assert_array_equal(before, after)
    thin = curve_from_dict(curve_to_dict(curve, 100), 3000)
    assert thin.threshold.size == 100
    assert (thin.threshold[0], thin.threshold[-1]) == (curve.threshold[0], curve.threshold[-1])
    exact, near = (choose_threshold(one, 3000, 0.97) for one in (curve, thin))
    assert near.reached
    assert exact.threshold <= near.threshold < exact.threshold + 0.02


@pytest.mark.parametrize(
    "values",
    [{}, {"threshold": [0.5], "answered": [1, 2], "correct": [1]}, {"threshold": 1, "answered": None}],
)
def test_what_is_no_curve_is_refused(values: dict[str, object]):
    with pytest.raises(ValueError, match=r"no curve|columns"):
        curve_from_dict(values, 3)
