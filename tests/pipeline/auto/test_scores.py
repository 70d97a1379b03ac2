"""Scores of candidates and their paired comparison."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data import Sample
from assay.evaluation.clusters import standard_error
from assay.pipeline.auto.candidate_results import describe_gain
from assay.pipeline.auto.scores import HeldOutScores, gain_over


def samples(count: int, group: int = 1) -> list[Sample]:
    """Return samples in groups of `group`."""
    return [
        Sample(f"{row}.png", Path(f"{row}.png"), "a", group=f"g{row // group}" if group > 1 else None)
        for row in range(count)
    ]


def logits(targets: np.ndarray, wrong: set[int], confidence: float = 2.0, classes: int = 2) -> np.ndarray:
    """Return logits that predict the target, except in the rows `wrong`."""
    predicted = [(target + (row in wrong)) % classes for row, target in enumerate(targets)]
    return confidence * np.eye(classes)[predicted]


def scores(targets: np.ndarray, wrong: set[int], **options: int) -> HeldOutScores:
    return HeldOutScores.of(samples(len(targets), **options), targets, [logits(targets, wrong)], "accuracy")


def test_accuracy_and_balanced_accuracy():
    targets = np.array([0] * 8 + [1] * 2)
    found = scores(targets, {8})
    assert found.accuracy == found.objective == pytest.approx(0.9)
    assert found.balanced_accuracy == pytest.approx(0.75)
    balanced = HeldOutScores.of(samples(10), targets, [logits(targets, {8})], "balanced_accuracy")
    assert balanced.objective == pytest.approx(0.75)
    assert balanced.accuracy == pytest.approx(0.9)


def test_repetitions_are_averaged():
    targets = np.zeros(4, dtype=np.int64)
    found = HeldOutScores.of(samples(4), targets, [logits(targets, {0}), logits(targets, set())], "accuracy")
    assert found.correct.tolist() == [0.5, 1, 1, 1]


def test_a_clear_gain_is_better_and_its_reverse_is_not():
    targets = np.arange(200) % 2
    worse, better = scores(targets, set(range(40))), scores(targets, set(range(10)))
    assert gain_over(better, worse).objective == pytest.approx(0.15)
    assert gain_over(better, worse).is_better()
    assert not gain_over(worse, better).is_better()


def test_a_gain_within_noise_is_not_better():
    targets = np.arange(200) % 2
    # 10 photos are gained and 8 lost.
    assert not gain_over(scores(targets, set(range(8))), scores(targets, set(range(10, 20)))).is_better()


def test_the_same_predictions_are_not_better():
    targets = np.arange(20) % 2
    assert not gain_over(scores(targets, {1}), scores(targets, {1})).is_better()


def test_a_gain_within_one_group_is_noise():
    targets = np.arange(100) % 2
    alone = gain_over(scores(targets, set()), scores(targets, set(range(10))))
    together = gain_over(scores(targets, set(), group=10), scores(targets, set(range(10)), group=10))
    assert together.objective == alone.objective
    assert together.objective_error > 3 * alone.objective_error
    assert alone.is_better()
    assert not together.is_better() or together.objective > together.objective_error


def test_different_images_cannot_be_compared():
    targets = np.zeros(4, dtype=np.int64)
    with pytest.raises(ValueError, match="different images"):
        gain_over(scores(targets, set()), scores(targets[:3], set()))


@given(st.lists(st.booleans(), min_size=5, max_size=60))
def test_without_groups_the_error_is_that_of_a_mean(values: list[bool]):
    numbers = np.array(values, dtype=float)
    found = standard_error(numbers, np.ones(len(numbers)), np.arange(len(numbers)))
    assert found == pytest.approx(numbers.std(ddof=1) / np.sqrt(len(numbers)))


def test_the_interval_is_not_empty_without_mistakes():
    targets = np.arange(50) % 2
    assert 0.02 < scores(targets, set()).half_width < 0.1
    assert scores(targets[:1], set()).half_width == 1


def test_slower_predictions_need_a_larger_gain():
    targets = np.arange(1000) % 2
    gain = gain_over(scores(targets, {0, 1, 2}), scores(targets, {0, 1, 2, 3, 4}))
    assert gain.objective == pytest.approx(0.002)
    assert gain.is_better()
    assert not gain.is_better(slower=True)


def test_photos_of_one_group_give_an_interval_of_everything_and_no_comparison():
    targets = np.arange(4) % 2
    found, better = scores(targets, {1}, group=4), scores(targets, set(), group=4)
    assert found.half_width == 0.5
    gain = gain_over(better, found)
    assert not gain.is_better()
    assert describe_gain(gain, "accuracy") == (
        "accuracy +25.0 points on a single photo or group of photos: too few to compare"
    )
