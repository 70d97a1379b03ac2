"""Detection of label issues."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.evaluation.confident_learning import find_label_issues


def sure(labels: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """Probabilities of a good classifier."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(labels.size, classes))
    logits[np.arange(labels.size), labels] += 5
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_flipped_labels_come_first(classes: int):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, classes, 1000)
    flipped = np.zeros(1000, dtype=bool)
    flipped[rng.choice(1000, 50, replace=False)] = True
    labels = np.where(flipped, (truth + 1) % classes, truth)
    found = find_label_issues(sure(truth, classes), labels)
    assert flipped[found.order[:50]].mean() > 0.9
    assert flipped[found.rows].mean() > 0.8
    assert (found.suggested[found.order[:40]] == truth[found.order[:40]]).mean() > 0.9
    assert 40 <= found.expected_errors <= 70


def test_correct_labels_are_not_issues():
    labels = np.arange(300) % 3
    probabilities = np.full((300, 3), 0.1)
    probabilities[np.arange(300), labels] = 0.8
    found = find_label_issues(probabilities, labels)
    assert not found.is_issue.any()
    assert found.rows.size == found.expected_errors == 0
    assert found.to_dict() == {"count": 0, "expected_errors": 0}


def test_thresholds_are_per_class():
    # Photos of class 1 are never given more than 0.55 for it; one labelled 0 with 0.6 for class 1 is an issue.
    labels = np.array([0] * 50 + [1] * 50)
    probabilities = np.array([[0.9, 0.1]] * 50 + [[0.45, 0.55]] * 50)
    probabilities[0] = [0.4, 0.6]
    found = find_label_issues(probabilities, labels)
    assert found.rows.tolist() == [0]
    assert found.suggested[0] == 1
    assert found.order[0] == 0
    assert found.margin[0] < 0 < found.margin[50:].min()


@pytest.mark.parametrize("labels", [[], [0], [1, 1, 1]])
def test_degenerate_inputs(labels: list[int]):
    found = find_label_issues(np.full((len(labels), 3), 1 / 3), np.array(labels, dtype=np.int64))
    assert found.order.tolist() == list(range(len(labels)))


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.full((3, 2), 0.5), [0, 1]),
        (np.full((2, 2), 0.5), [0, 2]),
        (np.full((2, 2), 0.6), [0, 1]),
        (np.ones((2, 1)), [0, 0]),
        (np.full(2, 0.5), [0, 1]),
        (np.full((1, 2), np.nan), [0]),
    ],
)
def test_invalid_inputs_raise(probabilities: np.ndarray, labels: list[int]):
    with pytest.raises(ValueError, match=r"class|fit|sum"):
        find_label_issues(probabilities, np.array(labels))


@given(st.integers(0, 60), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_ranking_is_a_permutation_by_margin(count: int, classes: int, seed: int):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    probabilities = rng.dirichlet(np.ones(classes), count)
    found = find_label_issues(probabilities, labels)
    assert sorted(found.order.tolist()) == list(range(count))
    assert (np.diff(found.margin[found.order]) >= 0).all()
    assert (found.suggested != labels).all()
    assert 0 <= found.expected_errors <= count
    # A suspect's other class is at least as probable as that class usually is; it is never its own label.
    assert set(found.rows.tolist()) == set(np.flatnonzero(found.is_issue).tolist())
