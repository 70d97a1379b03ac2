"""Candidate pairs for near-duplicates."""

import cv2
import numpy as np
import pytest

from assay.data import near_duplicate_candidates
from assay.data.near_duplicate_candidates import COLOUR_THUMBNAIL_SIDE, find_candidates


def _photos(count: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(count, 96, 96, 3)).astype(np.float32)
    smooth = [cv2.normalize(cv2.GaussianBlur(item, (0, 0), 9), None, 0, 255, cv2.NORM_MINMAX) for item in noise]
    return np.stack(smooth).astype(np.uint8)


def _coarse(photos: list[np.ndarray]) -> np.ndarray:
    return np.stack(
        [
            cv2.resize(item, (COLOUR_THUMBNAIL_SIDE, COLOUR_THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
            for item in photos
        ]
    )


@pytest.fixture
def with_crops() -> np.ndarray:
    """Sixty photos, and after them the first ten cropped by 5 % at a corner."""
    photos = list(_photos(60))
    return _coarse(photos + [photo[5:, :91] for photo in photos[:10]])


def test_crops_are_proposed(with_crops: np.ndarray) -> None:
    pairs = {tuple(pair) for pair in find_candidates(with_crops).pairs.tolist()}

    assert {(place, place + 60) for place in range(10)} <= pairs


def test_pairs_are_ordered_and_unique(with_crops: np.ndarray) -> None:
    found = find_candidates(with_crops, floor=0.0)

    assert (found.pairs[:, 0] < found.pairs[:, 1]).all()
    assert len(np.unique(found.pairs, axis=0)) == len(found.pairs)
    assert found.cosines.min() >= 0
    assert np.bincount(found.pairs.ravel()).max() < len(with_crops)


@pytest.mark.parametrize("waiting_pairs", [5_000_000, 3])
def test_index_finds_the_same_as_the_exact_search(
    with_crops: np.ndarray, monkeypatch: pytest.MonkeyPatch, waiting_pairs: int
) -> None:
    exact = {tuple(pair) for pair in find_candidates(with_crops, floor=0.8).pairs.tolist()}
    monkeypatch.setattr(near_duplicate_candidates, "_MAX_WAITING_PAIRS", waiting_pairs)
    monkeypatch.setattr(near_duplicate_candidates, "EXACT_SEARCH_LIMIT", 10)
    monkeypatch.setattr(near_duplicate_candidates, "_CLUSTER_SIZE", 5)

    cells = {tuple(pair) for pair in find_candidates(with_crops, floor=0.8).pairs.tolist()}

    assert len(exact) >= 10
    assert cells == exact


def test_mirrored_images_are_proposed_on_request() -> None:
    photos = list(_photos(30))
    coarse = _coarse([*photos, photos[7][:, ::-1]])

    assert [7, 30] not in find_candidates(coarse).pairs.tolist()
    assert [7, 30] in find_candidates(coarse, mirrored=True).pairs.tolist()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_give_no_pair(count: int) -> None:
    assert find_candidates(
        np.zeros((count, COLOUR_THUMBNAIL_SIDE, COLOUR_THUMBNAIL_SIDE, 3), np.uint8)
    ).pairs.shape == (0, 2)


def test_blank_images_give_no_warning_and_no_nan() -> None:
    found = find_candidates(np.full((5, COLOUR_THUMBNAIL_SIDE, COLOUR_THUMBNAIL_SIDE, 3), 255, np.uint8))

    assert np.isfinite(found.cosines).all()
