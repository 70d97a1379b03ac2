"""Calibration error, Brier score and reliability tables."""

import itertools
import json
from bisect import bisect_right
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from assay.evaluation import (
    Predictions,
    apply_temperature,
    brier_score,
    fit_temperature,
    measure_calibration,
    reliability_table,
)
from assay.evaluation.calibration import confidence_histogram, ece_if_calibrated

Make = Callable[..., Predictions]
photos = st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.61, 0.9, 1.0]), st.booleans()), min_size=1, max_size=80)


@settings(deadline=None)
@given(photos, st.integers(1, 20), st.integers(0, 99))
def test_table_contains_every_image_once_in_any_order(pairs: list[tuple[float, bool]], bins: int, seed: int):
    confidence, correct = (np.array(column) for column in zip(*pairs, strict=True))
    table = reliability_table(confidence, correct, bins)
    assert sum(item.count for item in table) == len(pairs)
    assert sum(item.correct for item in table) == correct.sum()
    assert 1 <= len(table) <= bins
    for item in table:
        assert item.low - 1e-12 <= item.confidence <= item.high + 1e-12
        assert item.interval.low <= item.accuracy <= item.interval.high
    for item, after in itertools.pairwise(table):
        assert item.high < after.low  # equals share a bin
    shuffled = np.random.default_rng(seed).permutation(len(pairs))
    assert [item.count for item in reliability_table(confidence[shuffled], correct[shuffled], bins)] == [
        item.count for item in table
    ]


@given(st.integers(1, 300), st.integers(1, 20))
def test_bins_have_equal_size_for_distinct_confidences(count: int, bins: int):
    confidence = np.linspace(0.3, 0.9, count)
    counts = [item.count for item in reliability_table(confidence, np.ones(count, dtype=bool), bins)]
    assert len(counts) == min(bins, count)
    assert max(counts) - min(counts) <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 20))
def test_error_of_a_perfectly_calibrated_classifier_is_that_of_the_table(confidences: list[float], bins: int):
    confidence = np.array(confidences)
    drawn = np.random.default_rng(3).random(len(confidences)) < np.sort(confidence)
    table = reliability_table(np.sort(confidence), drawn, bins)
    expected = sum(item.count * abs(item.accuracy - item.confidence) for item in table) / len(confidences)
    assert ece_if_calibrated(confidence, bins, draws=1, seed=3) == pytest.approx(expected, abs=1e-12)


def test_error_of_a_perfectly_calibrated_classifier_falls_with_the_number_of_images():
    errors = [ece_if_calibrated(np.linspace(0.5, 1, count)) for count in (15, 150, 1500)]
    assert errors[0] == pytest.approx(2 / 6, abs=0.03)  # bins of one photo: 2p(1 - p), on average over p
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0
    assert ece_if_calibrated(np.empty(0)) is None
    assert ece_if_calibrated(np.ones(5)) == 0


def test_expected_calibration_error_by_hand(make: Make):
    # Two bins: (0.6, 0.7) with one right, (0.8, 1.0) with both right.
    sure = np.array([0.6, 0.7, 0.8, 1.0])
    predictions = make([0, 1, 0, 0], classes=("a", "b"), probabilities=np.stack([sure, 1 - sure], axis=1))
    found = measure_calibration(predictions, bins=2)
    assert [(item.count, item.accuracy) for item in found.bins] == [(2, 0.5), (2, 1.0)]
    assert found.ece == pytest.approx((2 * abs(0.5 - 0.65) + 2 * abs(1 - 0.9)) / 4)
    assert found.brier == pytest.approx(2 * (0.4**2 + 0.7**2 + 0.2**2 + 0) / 4)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    assert found.to_dict()["bins"][0]["interval"] == list(found.bins[0].interval)


def test_confident_and_wrong_has_the_worst_scores(make: Make):
    found = measure_calibration(make([0, 0], probabilities=np.array([[0.0, 1, 0], [0, 1, 0]])))
    assert (found.ece, found.brier) == (1, 2)
    assert len(found.bins) == 1


def test_no_photos(make: Make):
    found = measure_calibration(make([]))
    assert found.ece is found.brier is None
    assert found.bins == ()


def test_brier_is_twice_scikit_learns_for_two_classes():
    rng = np.random.default_rng(0)
    chance, actual = rng.random(50), rng.integers(0, 2, 50)
    ours = brier_score(np.stack([1 - chance, chance], axis=1), actual)
    assert ours == pytest.approx(2 * brier_score_loss(actual, chance))


def test_fitted_temperature_improves_overconfident_predictions(make: Make):
    rng = np.random.default_rng(0)
    actual = rng.integers(0, 3, 6000)
    logits = rng.normal(size=(6000, 3))
    logits[np.arange(6000), actual] += 1.5
    logits *= 4  # far too sure
    half = np.arange(6000) < 3000
    temperature = fit_temperature(logits[half], actual[half]).value
    unseen = list(actual[~half])
    before = measure_calibration(make(unseen, probabilities=apply_temperature(logits[~half], 1)))
    after = measure_calibration(make(unseen, probabilities=apply_temperature(logits[~half], temperature)))
    assert before.ece > 0.1
    assert after.ece < 0.03
    assert after.brier < before.brier


@pytest.mark.parametrize("bins", [0, -3])
def test_number_of_bins_must_be_positive(bins: int):
    with pytest.raises(ValueError, match="no reliability"):
        reliability_table(np.ones(3), np.ones(3, dtype=bool), bins)


def test_histogram_bins_have_equal_size():
    found = confidence_histogram(np.linspace(0.5, 1, 1000))
    assert len(found["counts"]) == 10
    assert found["edges"][4] == pytest.approx(0.75, abs=0.002)
    assert max(found["counts"]) - min(found["counts"]) <= 4


def test_full_confidence_has_its_own_bin():
    found = confidence_histogram(np.array([0.6] * 30 + [0.99999] * 70))
    assert found == {"edges": [1.0], "counts": [30, 70]}


@pytest.mark.parametrize("confidence", [[], [0.9], [1.0] * 50, np.linspace(0.5, 1, 19)])
def test_few_or_equal_confidences_give_one_bin(confidence: list[float]):
    assert confidence_histogram(np.asarray(confidence)) == {"edges": [], "counts": [len(confidence)]}


@given(st.lists(st.floats(0, 1), max_size=200))
def test_every_image_is_counted_in_its_bin(confidence: list[float]):
    found = confidence_histogram(np.asarray(confidence))
    edges, counts = found["edges"], [0] * len(found["counts"])
    for value in np.round(confidence, 3):
        counts[bisect_right(edges, value)] += 1
    assert counts == found["counts"]
    assert edges == sorted(set(edges))
    assert all(counts) or not confidence
