"""Comparison of registered images."""

import cv2
import numpy as np
import pytest

from assay.data.image_similarity import SMALL_THUMBNAIL_SIDE, THUMBNAIL_SIDE, halve, similarity


def _picture(seed: int, side: int = 400) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), side / 30)
    return cv2.normalize(blurred, None, 20, 230, cv2.NORM_MINMAX)


def _thumbnail(picture: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("side", [SMALL_THUMBNAIL_SIDE, THUMBNAIL_SIDE])
def test_brightened_crop_is_a_match(side: int) -> None:
    picture = _picture(1)
    crop = picture[4:392, 12:396] * 1.15 + 3
    first = np.stack([_thumbnail(picture, side)] * 2)
    second = np.stack([_thumbnail(picture, side), _thumbnail(crop, side)])

    same, cropped = similarity(first, second)

    assert same > 8
    assert cropped > 3.5


@pytest.mark.parametrize("side", [SMALL_THUMBNAIL_SIDE, THUMBNAIL_SIDE])
def test_other_images_do_not_match(side: int) -> None:
    first = np.stack([_thumbnail(_picture(seed), side) for seed in range(8)])
    second = np.stack([_thumbnail(_picture(seed), side) for seed in range(8, 16)])

    assert similarity(first, second).max() < 0.5


def test_small_difference_on_a_shared_pattern_is_detected() -> None:
    # Products on a line: the same strong bars, and a faint texture of their own.
    bars = np.repeat(np.where(np.arange(400) % 100 < 12, 30.0, 180.0)[:, None], 400, axis=1)
    cells = [bars + (_picture(seed) - 128) * 0.15 for seed in range(2)]
    first, second = (_thumbnail(cell.astype(np.float32), THUMBNAIL_SIDE)[None] for cell in cells)

    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.97
    assert similarity(first, second)[0] < 2.5
    assert similarity(first, first * 0.9)[0] > 8


def test_similarity_does_not_depend_on_the_batch() -> None:
    pictures = np.stack([_thumbnail(_picture(seed), THUMBNAIL_SIDE) for seed in range(4)])
    moved = np.roll(pictures, 1, axis=2)

    together = similarity(pictures, moved)
    alone = np.concatenate([similarity(pictures[i : i + 1], moved[i : i + 1]) for i in range(4)])

    np.testing.assert_allclose(together, alone, atol=1e-2)


def test_blank_images_give_finite_numbers() -> None:
    blank = np.full((3, THUMBNAIL_SIDE, THUMBNAIL_SIDE), 200, np.uint8)
    other = np.stack(
        [
            blank[0],
            np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8),
            _thumbnail(_picture(3), THUMBNAIL_SIDE).astype(np.uint8),
        ]
    )

    assert np.isfinite(similarity(blank, other)).all()


def test_halved_averages_squares() -> None:
    images = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)

    np.testing.assert_array_equal(halve(images)[0], [[2.5, 4.5], [10.5, 12.5]])
