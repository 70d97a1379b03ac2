"""Bootstrap intervals."""

import itertools
import json
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from assay.evaluation import Interval, Predictions, bootstrap_intervals, compute_metrics
from assay.evaluation.bootstrap import _weighted_auc

Make = Callable[..., Predictions]


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.lists(st.integers(0, 100), max_size=30), st.integers(0, 1000))
def test_every_interval_contains_its_estimate(make: Make, classes: int, labels: list[int], seed: int):
    predictions = make([k % classes for k in labels], classes=[f"c{k}" for k in range(classes)], seed=seed)
    metrics, found = compute_metrics(predictions), bootstrap_intervals(predictions, resamples=50)
    pairs = [
        (metrics.balanced_accuracy, found.balanced_accuracy),
        (metrics.macro.f1, found.macro_f1),
        (metrics.roc_auc, found.roc_auc),
        *((item.f1 if item.support else None, of) for item, of in zip(metrics.classes, found.f1, strict=True)),
    ]
    for estimate, interval in pairs:
        assert (estimate is None) == (interval is None)
        if interval is not None:
            assert 0 <= interval.low <= estimate <= interval.high <= 1 + 1e-12
            assert interval.low < interval.high
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()


def test_same_seed_gives_the_same_intervals(make: Make):
    predictions = make([0, 1, 2] * 20)
    assert bootstrap_intervals(predictions, seed=3) == bootstrap_intervals(predictions, seed=3)
    assert bootstrap_intervals(predictions, seed=3) != bootstrap_intervals(predictions, seed=4)


def test_perfect_predictions_have_an_interval(make: Make):
    found = bootstrap_intervals(make([0, 1] * 10, [0, 1] * 10, classes=("ok", "defect")))
    assert found.balanced_accuracy.high == found.macro_f1.high == found.roc_auc.high == 1
    # Wilson gives 0.84 for 20 of 20; the balanced accuracy is known no better.
    assert 0.75 < found.balanced_accuracy.low < 0.9
    assert found.roc_auc.low < 0.97


def test_more_photos_narrow_the_interval(make: Make):
    widths = []
    for times in (10, 100, 1000):
        found = bootstrap_intervals(make([0, 1, 1] * times, classes=("ok", "defect"), skill=1.5))
        widths.append([high - low for low, high in (found.balanced_accuracy, found.f1[1], found.roc_auc)])
    for few, many in itertools.pairwise(widths):
        assert all(wide > 1.5 * narrow for wide, narrow in zip(few, many, strict=True))


def test_higher_level_is_wider(make: Make):
    predictions = make([0, 1, 2] * 20, skill=1.0)
    narrow, wide = (bootstrap_intervals(predictions, level=level).balanced_accuracy for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    with pytest.raises(ValueError, match="confidence level"):
        bootstrap_intervals(predictions, level=95)


@pytest.mark.parametrize(("classes", "photos", "recall"), [(2, 10, 0.95), (2, 50, 0.99), (3, 15, 0.9), (6, 20, 0.95)])
def test_intervals_of_balanced_accuracy_and_f1_have_their_coverage(
    make: Make, classes: int, photos: int, recall: float
):
    """Of 60 test sets drawn from a known truth about 95 % must hold it; with the plain bootstrap 65 % do."""
    rng = np.random.default_rng(0)
    actual = np.repeat(np.arange(classes), photos)
    names = [f"c{k}" for k in range(classes)]
    hits = 0
    for seed in range(60):
        mistaken = (actual + rng.integers(1, classes, actual.size)) % classes
        predicted = np.where(rng.random(actual.size) < recall, actual, mistaken)
        found = bootstrap_intervals(make(list(actual), predicted, classes=names), resamples=100, seed=seed)
        # Errors are spread evenly, so balanced accuracy and macro F1 both equal the recall.
        hits += found.balanced_accuracy.low <= recall <= found.balanced_accuracy.high
        hits += found.macro_f1.low <= recall <= found.macro_f1.high
    assert 0.87 <= hits / 120 <= 1


@pytest.mark.parametrize(("positives", "negatives", "distance"), [(10, 10, 2.5), (20, 80, 3.0), (60, 90, 1.2)])
def test_interval_of_roc_auc_has_its_coverage(positives: int, negatives: int, distance: float):
    """The same for two normal distributions, whose area is known."""
    rng = np.random.default_rng(1)
    truth = float(np.mean(rng.normal(distance, 1, 400_000) > rng.normal(0, 1, 400_000)))
    actual = np.repeat([1, 0], [positives, negatives])
    hits = 0
    for seed in range(60):
        sure = 1 / (1 + np.exp(-rng.normal(distance * actual, 1)))
        predictions = Predictions(
            classes=("ok", "defect"),
            ids=tuple(map(str, range(actual.size))),
            paths=tuple(map(str, range(actual.size))),
            actual=actual,
            probabilities=np.stack([1 - sure, sure], axis=1),
        )
        low, high = bootstrap_intervals(predictions, resamples=100, seed=seed).roc_auc or Interval(0, 0)
        hits += low <= truth <= high
    assert hits / 60 >= 0.88


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7]), st.booleans(), st.integers(1, 3)), min_size=2))
def test_weighted_auc_agrees_with_scikit_learn(photos: list[tuple[float, bool, int]]):
    photos = [*photos, (0.3, True, 1), (0.4, False, 2)]
    scores, actual, weights = (np.array(column) for column in zip(*photos, strict=True))
    ours = _weighted_auc(scores, actual, weights[None].astype(float))
    assert ours[0] == pytest.approx(roc_auc_score(actual, scores, sample_weight=weights))


def test_many_images_use_fewer_resamples(make: Make, monkeypatch: pytest.MonkeyPatch):
    module = sys.modules["assay.evaluation.bootstrap"]
    monkeypatch.setattr(module, "_MAX_AUC_WORK", 1)
    monkeypatch.setattr(module, "_MAX_CELLS", 100)
    predictions = make([0, 1, 2] * 20, skill=1.0)
    found = bootstrap_intervals(predictions).roc_auc
    monkeypatch.undo()
    usual = bootstrap_intervals(predictions).roc_auc
    assert found == pytest.approx(usual, abs=0.03)
