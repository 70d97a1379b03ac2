from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.evaluation import Predictions, compute_metrics, precision_coverage_curve, precision_recall_curve

Make = Callable[..., Predictions]


def test_by_hand(make: Make):
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
def test_every_point_is_what_counting_gives(make: Make, labels: list[int], seed: int):
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


def test_no_photos_and_no_such_class(make: Make):
    assert precision_coverage_curve(make([])).precision.size == 0
    assert precision_recall_curve(make([]), "cat").recall.size == 0
    with pytest.raises(ValueError, match="not in tuple"):
        precision_recall_curve(make([0]), "whale")
