import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.core.errors import AssayError
from assay.data import Dataset, PixelCache, PreprocessedImages, load_dataset
from assay.image import Preprocess
from assay.recipe import PreprocessSpec

PREPROCESS = Preprocess(PreprocessSpec(size=16))


@pytest.fixture
def photos(class_folders: Callable[..., Path]) -> Dataset:
    return load_dataset(class_folders(a=3, b=3))


@pytest.fixture
def kept(photos: Dataset, tmp_path: Path) -> PixelCache:
    return PixelCache((sample.digest for sample in photos.samples), tmp_path / "cache")


def remove(photos: Dataset) -> None:
    for sample in photos.samples:
        sample.path.unlink()


def test_pixels_are_those_of_the_preprocessing(photos: Dataset, kept: PixelCache) -> None:
    plain, first = PreprocessedImages(photos.samples, PREPROCESS), PreprocessedImages(photos.samples, PREPROCESS, kept)
    assert len(plain) == len(first) == 6
    for epoch in range(2):
        for index, sample in enumerate(photos.samples):
            expected = PREPROCESS.read(sample.read())
            np.testing.assert_array_equal(plain[index], expected, err_msg=f"epoch {epoch}")
            np.testing.assert_array_equal(first[index], expected, err_msg=f"epoch {epoch}")
            assert first[index].flags.writeable
    with pytest.raises(IndexError):
        plain[6]


def test_the_second_epoch_opens_no_photo(photos: Dataset, kept: PixelCache) -> None:
    pixels = PreprocessedImages(photos.samples, PREPROCESS, kept)
    first = [pixels[index].copy() for index in range(len(pixels))]
    remove(photos)
    for again in (pixels, PreprocessedImages(photos.samples, PREPROCESS, kept), pickle.loads(pickle.dumps(pixels))):  # noqa: S301
        np.testing.assert_array_equal([again[index] for index in range(6)], first)


def test_parts_and_folds_share_what_is_kept(photos: Dataset, kept: PixelCache) -> None:
    train = PreprocessedImages(photos.samples[:4], PREPROCESS, kept)
    pixels = [train[index] for index in range(4)]
    remove(photos)
    np.testing.assert_array_equal(PreprocessedImages(photos.samples[1:3], PREPROCESS, kept)[0], pixels[1])
    with pytest.raises(AssayError, match="can no longer be read: No such file"):
        PreprocessedImages(photos.samples[3:], PREPROCESS, kept)[1]


def test_a_larger_canvas_has_its_own_pixels(photos: Dataset, kept: PixelCache) -> None:
    assert PreprocessedImages(photos.samples, PREPROCESS, kept)[0].shape == (16, 16, 3)
    assert PreprocessedImages(photos.samples, PREPROCESS.scaled(1.25), kept)[0].shape == (20, 20, 3)


def test_a_photo_replaced_since_it_was_scanned_is_not_kept(photos: Dataset, kept: PixelCache) -> None:
    first, second = photos.samples[:2]
    first.path.write_bytes(second.read())
    pixels = PreprocessedImages(photos.samples, PREPROCESS, kept)
    np.testing.assert_array_equal(pixels[0], PREPROCESS.read(second.read()))
    remove(photos)
    with pytest.raises(AssayError, match="can no longer be read"):
        pixels[0]


def test_photos_without_a_digest_are_read_every_time(photos: Dataset, kept: PixelCache) -> None:
    sample = replace(photos.samples[0], digest=None)
    pixels = PreprocessedImages([sample], PREPROCESS, kept)
    np.testing.assert_array_equal(pixels[0], PREPROCESS.read(sample.read()))
    remove(photos)
    with pytest.raises(AssayError, match="can no longer be read"):
        pixels[0]


def test_a_photo_damaged_since_it_was_scanned_is_named(photos: Dataset) -> None:
    photos.samples[0].path.write_bytes(photos.samples[0].read()[:-3])
    with pytest.raises(AssayError, match=r"a/000.jpg can no longer be read as a photo: damaged: truncated"):
        PreprocessedImages(photos.samples, PREPROCESS)[0]
