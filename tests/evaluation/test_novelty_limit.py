"""Few false alarms on photos to come, from many validation photos or few."""

import numpy as np
import pytest

from assay.evaluation.selective_classification import MIN_NOVELTY_PHOTOS, novelty_limit

SHAPES = {
    "normal": lambda rng, count: 1 + 0.1 * rng.normal(size=count),
    "skewed": lambda rng, count: np.exp(0.3 * rng.normal(size=count)),
    "two kinds": lambda rng, count: np.where(rng.random(count) < 0.1, 3.0, 1.0) + rng.random(count),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [60, 300, 2000])
def test_the_allowed_share_is_kept_in_nearly_all_trials(shape: str, count: int):
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
def test_few_photos_allow_few_alarms_too(shape: str):
    rng = np.random.default_rng(1)
    alarms = []
    for _ in range(200):
        limit = novelty_limit(SHAPES[shape](rng, 12), 0.05)
        assert limit is not None
        alarms.append((SHAPES[shape](rng, 2000) > limit).mean())
    assert np.mean(alarms) <= 0.05


def test_from_45_photos_on_the_limit_is_one_of_the_distances():
    distance = np.random.default_rng(2).random(45)
    assert novelty_limit(distance, 0.05) == distance.max()
    assert (novelty_limit(distance[:44], 0.05) or 0) > distance[:44].max()


def test_more_alarms_allowed_is_a_nearer_limit():
    distance = np.random.default_rng(3).random(500)
    limits = [novelty_limit(distance, share) or 0 for share in (0.01, 0.05, 0.2)]
    assert limits == sorted(limits, reverse=True)
    assert len(set(limits)) == 3


def test_a_handful_says_nothing():
    assert novelty_limit(np.ones(MIN_NOVELTY_PHOTOS - 1), 0.05) is None


@pytest.mark.parametrize("distance", [np.zeros(8), np.zeros(100), np.array([0, 0, 0, 1e9, 1e9]), np.ones(6)])
def test_strange_distances_give_a_limit_above_nothing(distance: np.ndarray):
    limit = novelty_limit(distance, 0.05)
    assert limit is not None
    assert 0 < limit < 1e31
