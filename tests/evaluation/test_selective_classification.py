"""Precision and coverage at thresholds, guaranteed precision, and novelty limits."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from assay.core.errors import AssayError
from assay.evaluation import Predictions, compute_metrics, precision_coverage_curve, precision_recall_curve
from assay.evaluation.selective_classification import (
    GUARANTEE_CONFIDENCE,
    MIN_NOVELTY_PHOTOS,
    PrecisionCoverageCurve,
    choose_threshold,
    count_answers,
    curve_from_dict,
    curve_to_dict,
    min_photos_for_precision,
    novelty_limit,
    precision_lower_bound,
)

Make = Callable[..., Predictions]


def test_curve_by_hand(make: Make):
    # Sure 0.9 (right), 0.8 (wrong), 0.8 (right), 0.6 (wrong).
    rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.6, 0.4]])
    predictions = make([0, 0, 1, 1], classes=("ok", "defect"), probabilities=rows)
    curve = precision_coverage_curve(predictions)
    assert curve.threshold.tolist() == [0.6, 0.8, 0.9]
    assert curve.answered.tolist() == [4, 3, 1]
    assert curve.correct.tolist() == [2, 2, 1]
    assert curve.coverage.tolist() == [1, 0.75, 0.25]
    assert curve.precision.tolist() == [0.5, pytest.approx(2 / 3), 1]
    called = precision_recall_curve(predictions, "defect")
    assert called.threshold.tolist() == [0.1, 0.4, 0.8]
    assert called.precision.tolist() == [0.5, pytest.approx(2 / 3), 0.5]
    assert called.recall.tolist() == [1, 1, 0.5]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(0, 999))
def test_every_point_equals_direct_counting(make: Make, labels: list[int], seed: int):
    predictions = make(labels, seed=seed, skill=1.0)
    curve = precision_coverage_curve(predictions)
    assert curve.precision[0] == pytest.approx(compute_metrics(predictions).accuracy)
    assert (np.diff(curve.answered) < 0).all()
    for threshold, answered, correct in zip(*curve[:3], strict=True):
        assert answered == (predictions.confidence >= threshold).sum()
        assert correct == predictions.correct[predictions.confidence >= threshold].sum()
    called = precision_recall_curve(predictions, "cat")
    if predictions.actual.min() == 0:
        assert called.recall[0] == 1
    else:
        assert np.isnan(called.recall).all()


def test_empty_curve_and_unknown_class(make: Make):
    assert precision_coverage_curve(make([])).precision.size == 0
    assert precision_recall_curve(make([]), "cat").recall.size == 0
    with pytest.raises(ValueError, match="not in tuple"):
        precision_recall_curve(make([0]), "whale")


def calibrated(count: int, seed: int) -> Predictions:
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


def test_guaranteed_precision_holds_on_other_images():
    others = calibrated(200_000, seed=10_000)
    kept = []
    for seed in range(60):
        selection = choose_threshold(precision_coverage_curve(calibrated(1500, seed)), 1500, 0.97)
        assert selection.reached
        familiar = np.ones(len(others), dtype=np.bool_)
        found = count_answers(others.confidence, others.correct, familiar, selection.threshold)
        kept.append(found.precision or 0.0)
    assert np.mean(np.array(kept) >= 0.97) >= 0.85
    assert min(kept) >= 0.96


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_bound_is_clopper_pearson(pair: tuple[int, int]):
    correct, answered = pair
    bound = float(precision_lower_bound(np.array([correct]), np.array([answered]))[0])
    assert 0 <= bound <= correct / answered
    if correct:
        assert binom.sf(correct - 1, answered, bound) == pytest.approx(1 - GUARANTEE_CONFIDENCE, rel=1e-6)


def test_number_of_correct_answers_needed_for_a_target():
    for target in (0.9, 0.99, 0.999):
        needed = min_photos_for_precision(target)
        bounds = precision_lower_bound(np.array([needed - 1, needed]), np.array([needed - 1, needed]))
        assert bounds[0] < target <= bounds[1]
    assert min_photos_for_precision(0.99) == 230


def test_few_images_do_not_reach_the_target(make: Callable[..., Predictions]):
    selection = choose_threshold(precision_coverage_curve(make([0] * 20, [0] * 20)), 20, 0.99)
    assert not selection.reached
    assert (selection.answered, selection.coverage, selection.precision) == (20, 1.0, 1.0)
    assert selection.bound == pytest.approx(0.1 ** (1 / 20))


def _curve(make: Make, wrong: list[bool]) -> PrecisionCoverageCurve:
    """Return the curve of images that are ordered by confidence, the most confident first."""
    sure = np.linspace(0.99, 0.6, len(wrong))
    first = np.where(wrong, 1 - sure, sure)
    rows = np.stack([first, 1 - first], axis=1)
    return precision_coverage_curve(make([0] * len(wrong), list(map(int, wrong)), classes="ab", probabilities=rows))


@pytest.mark.parametrize("effect", [1.0, 5.0, 50.0])
def test_without_a_guarantee_the_precision_on_held_out_images_reaches_the_target(make: Make, effect: float):
    curve = _curve(make, [n >= 30 and n % 5 == 0 for n in range(200)])
    selection = choose_threshold(curve, 200, 0.99, effect)
    assert not selection.reached
    assert (selection.answered, selection.precision) == (30, 1.0)
    lower = choose_threshold(curve, 200, 0.9, effect)
    assert lower.precision is not None
    assert lower.precision >= 0.9
    assert lower.answered >= 30


def test_if_the_most_confident_image_is_wrong_large_groups_do_not_lower_the_threshold(make: Make):
    curve = _curve(make, [n == 0 or (n >= 40 and n % 3 == 0) for n in range(200)])
    alone, grouped = (choose_threshold(curve, 200, 0.99, effect) for effect in (1.0, 5.0))
    assert not alone.reached
    assert alone.threshold == grouped.threshold
    assert grouped.precision is not None
    assert grouped.precision > 0.95


def test_out_of_distribution_images_count_against_coverage(make: Callable[..., Predictions]):
    selection = choose_threshold(precision_coverage_curve(make([0] * 20, [0] * 20)), 40, 0.8)
    assert selection.reached
    assert selection.to_dict()["coverage"] == 0.5


def test_one_mistake_in_three_hundred_reaches_the_target(make: Callable[..., Predictions]):
    selection = choose_threshold(precision_coverage_curve(make([0] * 301, [0] * 300 + [1])), 301, 0.98)
    assert selection.reached
    assert selection.answered == 301
    assert selection.correct == 300


def test_threshold_without_images_raises(make: Callable[..., Predictions]):
    with pytest.raises(AssayError, match="validation split"):
        choose_threshold(precision_coverage_curve(make([])), 0, 0.9)


def test_answer_counts():
    confidence = np.array([0.6, 0.8, 0.9, 0.95])
    correct = np.array([True, False, True, True])
    familiar = np.array([True, True, True, False])
    found = count_answers(confidence, correct, familiar, 0.8)
    assert (found.count, found.answered, found.correct, found.out_of_distribution) == (4, 2, 1, 1)
    assert (found.coverage, found.precision) == (0.5, 0.5)
    nothing = count_answers(confidence, correct, familiar, 0.99)
    assert (nothing.coverage, nothing.precision) == (0, None)


def test_curve_survives_a_round_trip_and_thinning_keeps_its_ends():
    curve = precision_coverage_curve(calibrated(3000, seed=1))
    whole = curve_from_dict(curve_to_dict(curve, 3000), 3000)
    for before, after in zip(curve, whole, strict=True):
        np.testing.assert_array_equal(before, after)
    thin = curve_from_dict(curve_to_dict(curve, 100), 3000)
    assert thin.threshold.size == 100
    assert (thin.threshold[0], thin.threshold[-1]) == (curve.threshold[0], curve.threshold[-1])
    exact, near = (choose_threshold(item, 3000, 0.97) for item in (curve, thin))
    assert near.reached
    assert exact.threshold <= near.threshold < exact.threshold + 0.02


@pytest.mark.parametrize(
    "values",
    [{}, {"threshold": [0.5], "answered": [1, 2], "correct": [1]}, {"threshold": 1, "answered": None}],
)
def test_invalid_curves_raise(values: dict[str, object]):
    with pytest.raises(ValueError, match=r"no curve|columns"):
        curve_from_dict(values, 3)


SHAPES = {
    "normal": lambda rng, count: 1 + 0.1 * rng.normal(size=count),
    "skewed": lambda rng, count: np.exp(0.3 * rng.normal(size=count)),
    "two kinds": lambda rng, count: np.where(rng.random(count) < 0.1, 3.0, 1.0) + rng.random(count),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [60, 300, 2000])
def test_false_positive_rate_is_kept_in_nearly_all_trials(shape: str, count: int):
    rng = np.random.default_rng(0)
    draw = SHAPES[shape]
    alarms = []
    for _ in range(200):
        limit = novelty_limit(draw(rng, count), 0.05)
        assert limit is not None
        alarms.append((draw(rng, 5000) > limit).mean())
    assert np.mean(np.array(alarms) <= 0.05) >= 0.85
    assert np.mean(alarms) <= 0.046


@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_false_positive_rate_is_kept_with_few_images(shape: str):
    rng = np.random.default_rng(1)
    alarms = []
    for _ in range(200):
        limit = novelty_limit(SHAPES[shape](rng, 12), 0.05)
        assert limit is not None
        alarms.append((SHAPES[shape](rng, 2000) > limit).mean())
    assert np.mean(alarms) <= 0.05


def test_limit_is_one_of_the_distances_from_45_images_on():
    distance = np.random.default_rng(2).random(45)
    assert novelty_limit(distance, 0.05) == distance.max()
    assert (novelty_limit(distance[:44], 0.05) or 0) > distance[:44].max()


def test_higher_false_positive_rate_gives_a_lower_limit():
    distance = np.random.default_rng(3).random(500)
    limits = [novelty_limit(distance, share) or 0 for share in (0.01, 0.05, 0.2)]
    assert limits == sorted(limits, reverse=True)
    assert len(set(limits)) == 3


def test_no_limit_with_too_few_images():
    assert novelty_limit(np.ones(MIN_NOVELTY_PHOTOS - 1), 0.05) is None


@pytest.mark.parametrize("distance", [np.zeros(8), np.zeros(100), np.array([0, 0, 0, 1e9, 1e9]), np.ones(6)])
def test_degenerate_distances_give_a_positive_limit(distance: np.ndarray):
    limit = novelty_limit(distance, 0.05)
    assert limit is not None
    assert 0 < limit < 1e31


def test_images_of_groups_count_as_less_for_the_limit():
    rng = np.random.default_rng(4)
    alarms = []
    for _ in range(200):
        bursts = np.repeat(rng.normal(1, 0.2, 60), 5) + rng.normal(0, 1e-3, 300)
        limit = novelty_limit(bursts, 0.05, design_effect=5.0)
        assert limit is not None
        alarms.append((rng.normal(1, 0.2, 5000) > limit).mean())
    assert np.mean(np.array(alarms) <= 0.05) >= 0.85


def test_images_in_groups_guarantee_as_much_as_fewer_independent_ones(make: Callable[..., Predictions]):
    curve = precision_coverage_curve(make([0] * 400, [0] * 400))
    alone = choose_threshold(curve, 400, 0.99)
    grouped = choose_threshold(curve, 400, 0.99, design_effect=4)
    fewer = choose_threshold(precision_coverage_curve(make([0] * 100, [0] * 100)), 100, 0.99)
    assert alone.reached
    assert not grouped.reached
    assert grouped.bound == pytest.approx(fewer.bound)
    assert grouped.answered == 400
