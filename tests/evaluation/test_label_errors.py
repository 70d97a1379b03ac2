import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.evaluation.label_errors import label_suspects


def _noisy(seed: int, share: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make probabilities of a good model, labels with a share flipped, and which ones are."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, 2000)
    logits = rng.normal(size=(2000, 3)) + 3.5 * np.eye(3)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    flipped = rng.random(2000) < share
    return probabilities, np.where(flipped, (true + rng.integers(1, 3, 2000)) % 3, true), flipped


@pytest.mark.parametrize("seed", range(3))
def test_flipped_labels_come_first(seed: int) -> None:
    probabilities, labels, flipped = _noisy(seed)
    suspects = label_suspects(probabilities, labels)
    top = suspects.order[: flipped.sum()]

    assert flipped[top].mean() > 0.8
    assert flipped[suspects.likely].mean() > 0.6


def test_the_suggestion_is_another_class() -> None:
    probabilities, labels, _ = _noisy(0)

    assert (label_suspects(probabilities, labels).suggested != labels).all()


def test_a_class_the_model_is_always_unsure_of_is_not_suspect() -> None:
    sure = np.tile([0.98, 0.02], (50, 1))
    unsure = np.tile([0.55, 0.45], (50, 1))
    wrong = np.array([[0.99, 0.01]])
    labels = np.repeat([0, 1, 1], [50, 50, 1])
    suspects = label_suspects(np.concatenate([sure, unsure, wrong]), labels)

    assert suspects.order[0] == 100
    assert not suspects.likely[:100].any()
    assert suspects.likely[100]


@given(st.integers(1, 30), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_every_photo_is_ranked_once(photos: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.3), photos)
    suspects = label_suspects(probabilities, rng.integers(0, classes, photos))

    assert sorted(suspects.order) == list(range(photos))
    assert (np.diff(suspects.margins[suspects.order]) >= 0).all()
    assert (np.abs(suspects.margins) <= 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.full((2, 2), 0.5), np.array([0, 2])),
        (np.full((2, 2), 0.5), np.array([0])),
        (np.full((2, 2), 0.6), np.array([0, 1])),
        (np.ones((2, 1)), np.array([0, 0])),
    ],
)
def test_nonsense_is_refused(probabilities: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"class|match|sum"):
        label_suspects(probabilities, labels)
