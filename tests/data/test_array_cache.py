"""The caches of decoded pixels and embeddings."""

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.core.errors import AssayError
from assay.data import Dataset, PreprocessedImages, array_cache, load_dataset
from assay.data.array_cache import EmbeddingCache, PixelCache, clear_array_caches
from assay.data.array_store import store_file_size
from assay.image import Preprocess
from assay.recipe import PreprocessSpec

SPEC = PreprocessSpec(size=16)
BYTES = 16 * 16 * 3
SQUARE = np.full((16, 16, 3), 7, np.uint8)


def digests(count: int, first: int = 0) -> list[str]:
    return [f"{number:064x}" for number in range(first, first + count)]


def files(folder: Path) -> list[Path]:
    return sorted((folder / "pixels").glob("*.pixels"))


def aged(folder: Path) -> None:
    """Make every file look as if it had been used an hour earlier than it was."""
    for path in files(folder):
        os.utime(path, (path.stat().st_atime - 3600, path.stat().st_mtime - 3600))


def test_same_images_and_settings_share_a_file(tmp_path: Path) -> None:
    PixelCache(digests(5), tmp_path).open(SPEC).put(digests(1)[0], SQUARE)
    again = PixelCache([*reversed(digests(5)), digests(1)[0], None], tmp_path).open(SPEC)
    assert again.get(digests(1)[0]) is not None
    normalised = SPEC.model_copy(update={"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)})
    assert PixelCache(digests(5), tmp_path).open(normalised).get(digests(1)[0]) is not None
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"size": 24},
        {"roi": (0.0, 0.0, 1.0, 0.3)},
        {"center_crop": 0.5},
        {"resize_mode": "stretch"},
        {"fill": (0, 0, 0)},
    ],
)
def test_different_settings_are_cached_separately(tmp_path: Path, change: dict[str, object]) -> None:
    pixel_cache = PixelCache(digests(2), tmp_path)
    pixel_cache.open(SPEC).put(digests(1)[0], SQUARE)
    assert pixel_cache.open(SPEC.model_copy(update=change)).get(digests(1)[0]) is None


def test_different_decoder_versions_are_cached_separately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixel_cache = PixelCache(digests(2), tmp_path)
    pixel_cache.open(SPEC).put(digests(1)[0], SQUARE)
    monkeypatch.setattr(array_cache.PIL, "__version__", "99")
    assert pixel_cache.open(SPEC).get(digests(1)[0]) is None


def test_least_recently_used_files_are_removed_first(tmp_path: Path) -> None:
    limit = 2 * store_file_size(10, BYTES)
    first, second, third = (PixelCache(digests(10, first), tmp_path, limit) for first in (0, 10, 20))
    first.open(SPEC).close()
    aged(tmp_path)
    second.open(SPEC).close()
    aged(tmp_path)
    first.open(SPEC).close()
    aged(tmp_path)
    before = files(tmp_path)
    third.open(SPEC).close()
    assert len(files(tmp_path)) == 2
    assert len(set(before) - set(files(tmp_path))) == 1
    first_again = first.open(SPEC)
    assert digests(1)[0] in first_again
    assert sum(path.stat().st_size for path in files(tmp_path)) <= limit


def test_file_in_use_is_kept_and_the_other_gets_the_rest(tmp_path: Path) -> None:
    limit = store_file_size(14, BYTES)
    held = PixelCache(digests(10), tmp_path, limit).open(SPEC)
    held.put(digests(1)[0], SQUARE)
    other = PixelCache(digests(10, 10), tmp_path, limit).open(SPEC)
    assert held.get(digests(1)[0]) is not None
    assert not any(digest in other for digest in digests(10, 10))
    held.close()
    other.close()
    room = PixelCache(digests(10, 10), tmp_path, limit).open(SPEC)
    assert all(digest in room for digest in digests(10, 10))


def test_with_too_little_space_the_first_images_are_cached(tmp_path: Path) -> None:
    limit = store_file_size(40, BYTES)
    for _ in range(2):
        slots = PixelCache(digests(100), tmp_path, limit).open(SPEC)
        held = [digest in slots for digest in digests(100)]
        assert 30 <= sum(held) <= 40
        assert held == sorted(held, reverse=True)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= limit


def test_no_cache_without_space_images_or_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    for pixel_cache in (
        PixelCache(digests(3), tmp_path, 0),
        PixelCache([], tmp_path),
        PixelCache(digests(3), tmp_path / "file"),
    ):
        slots = pixel_cache.open(SPEC)
        slots.put(digests(1)[0], SQUARE)
        assert slots.get(digests(1)[0]) is None
    assert "pixels are not kept in" in caplog.text


def test_file_of_wrong_length_is_recreated(tmp_path: Path) -> None:
    pixel_cache = PixelCache(digests(3), tmp_path)
    pixel_cache.open(SPEC).close()
    files(tmp_path)[0].write_bytes(b"short")
    slots = pixel_cache.open(SPEC)
    slots.put(digests(1)[0], SQUARE)
    assert slots.get(digests(1)[0]) is not None


def test_images_shared_by_data_sets_are_found(tmp_path: Path) -> None:
    first = PixelCache(digests(5), tmp_path).open(SPEC)
    for digest in digests(5):
        first.put(digest, SQUARE)
    first.close()
    (older,) = files(tmp_path)
    more = PixelCache(digests(6, first=1), tmp_path).open(SPEC)
    assert [more.get(digest) is not None for digest in digests(7)] == [*[True] * 5, False, False]
    more.close()
    # From then on they are its own.
    older.unlink()
    again = PixelCache(digests(6, first=1), tmp_path).open(SPEC)
    assert [again.get(digest) is not None for digest in digests(7)] == [False, *[True] * 4, False, False]
    assert (again.get(digests(2)[1]) == SQUARE).all()


def test_damaged_files_are_skipped(tmp_path: Path) -> None:
    first = PixelCache(digests(5), tmp_path).open(SPEC)
    first.put(digests(5)[4], SQUARE)
    first.close()
    (older,) = files(tmp_path)
    content = older.read_bytes()
    older.write_bytes(content[:-100])
    assert PixelCache(digests(6), tmp_path).open(SPEC).get(digests(5)[4]) is None
    older.write_bytes(content[:-1] + b"x")
    assert PixelCache(digests(7), tmp_path).open(SPEC).get(digests(5)[4]) is None


def test_default_limit_is_a_share_of_the_free_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_cache.PixelCache, "most_bytes", store_file_size(3, BYTES))
    slots = PixelCache(digests(10), tmp_path).open(SPEC)
    assert sum(digest in slots for digest in digests(10)) <= 3


def test_clear_removes_everything(tmp_path: Path) -> None:
    slots = PixelCache(digests(3), tmp_path).open(SPEC)
    slots.put(digests(1)[0], SQUARE)
    assert clear_array_caches(tmp_path) > 0
    assert files(tmp_path) == []
    assert clear_array_caches(tmp_path) == 0
    assert slots.get(digests(1)[0]) is not None


def test_embeddings_are_keyed_by_everything_they_depend_on(tmp_path: Path) -> None:
    row = np.linspace(-1, 1, 7, dtype=np.float32)
    cache = EmbeddingCache(digests(4), tmp_path)
    cache.open({"backbone": "a"}, 7).put(digests(4)[2], row)
    pixel_cache = EmbeddingCache(reversed(digests(4)), tmp_path).open({"backbone": "a"}, 7).get(digests(4)[2])
    np.testing.assert_array_equal(pixel_cache, row)
    assert pixel_cache is not None
    assert pixel_cache.dtype == np.float32
    assert cache.open({"backbone": "b"}, 7).get(digests(4)[2]) is None


def test_embeddings_have_their_own_limit_and_are_cleared_too(tmp_path: Path) -> None:
    pixels = PixelCache(digests(3), tmp_path)
    pixels.open(SPEC).put(digests(1)[0], SQUARE)
    limit = store_file_size(10, 28)
    for number in range(3):
        item = EmbeddingCache(digests(10), tmp_path, limit).open({"backbone": number}, 7)
        item.put(digests(1)[0], np.zeros(7, np.float32))
        item.close()
    assert len(list((tmp_path / "embeddings").glob("*.embeddings"))) == 1
    assert pixels.open(SPEC).get(digests(1)[0]) is not None
    assert clear_array_caches(tmp_path) > 0
    assert not [*tmp_path.glob("*/*.pixels"), *tmp_path.glob("*/*.embeddings")]


PREPROCESS = Preprocess(PreprocessSpec(size=16))


@pytest.fixture
def photos(class_folders: Callable[..., Path]) -> Dataset:
    return load_dataset(class_folders(a=3, b=3))


@pytest.fixture
def pixel_cache(photos: Dataset, tmp_path: Path) -> PixelCache:
    return PixelCache((sample.digest for sample in photos.samples), tmp_path / "cache")


def remove(photos: Dataset) -> None:
    for sample in photos.samples:
        sample.path.unlink()


def test_pixels_are_those_of_the_preprocessing(photos: Dataset, pixel_cache: PixelCache) -> None:
    plain, first = (
        PreprocessedImages(photos.samples, PREPROCESS),
        PreprocessedImages(photos.samples, PREPROCESS, pixel_cache),
    )
    assert len(plain) == len(first) == 6
    for epoch in range(2):
        for index, sample in enumerate(photos.samples):
            expected = PREPROCESS.read(sample.read())
            np.testing.assert_array_equal(plain[index], expected, err_msg=f"epoch {epoch}")
            np.testing.assert_array_equal(first[index], expected, err_msg=f"epoch {epoch}")
            assert first[index].flags.writeable
    with pytest.raises(IndexError):
        plain[6]


def test_second_epoch_opens_no_file(photos: Dataset, pixel_cache: PixelCache) -> None:
    pixels = PreprocessedImages(photos.samples, PREPROCESS, pixel_cache)
    first = [pixels[index].copy() for index in range(len(pixels))]
    remove(photos)
    for again in (
        pixels,
        PreprocessedImages(photos.samples, PREPROCESS, pixel_cache),
        pickle.loads(pickle.dumps(pixels)),  # noqa: S301
    ):
        np.testing.assert_array_equal([again[index] for index in range(6)], first)


def test_splits_and_folds_share_the_cache(photos: Dataset, pixel_cache: PixelCache) -> None:
    train = PreprocessedImages(photos.samples[:4], PREPROCESS, pixel_cache)
    pixels = [train[index] for index in range(4)]
    remove(photos)
    np.testing.assert_array_equal(PreprocessedImages(photos.samples[1:3], PREPROCESS, pixel_cache)[0], pixels[1])
    with pytest.raises(AssayError, match="can no longer be read: No such file"):
        PreprocessedImages(photos.samples[3:], PREPROCESS, pixel_cache)[1]


def test_larger_input_scale_is_cached_separately(photos: Dataset, pixel_cache: PixelCache) -> None:
    assert PreprocessedImages(photos.samples, PREPROCESS, pixel_cache)[0].shape == (16, 16, 3)
    assert PreprocessedImages(photos.samples, PREPROCESS.scaled(1.25), pixel_cache)[0].shape == (20, 20, 3)


def test_image_changed_since_the_scan_is_not_cached(photos: Dataset, pixel_cache: PixelCache) -> None:
    first, second = photos.samples[:2]
    first.path.write_bytes(second.read())
    pixels = PreprocessedImages(photos.samples, PREPROCESS, pixel_cache)
    np.testing.assert_array_equal(pixels[0], PREPROCESS.read(second.read()))
    remove(photos)
    with pytest.raises(AssayError, match="can no longer be read"):
        pixels[0]


def test_images_without_a_digest_are_not_cached(photos: Dataset, pixel_cache: PixelCache) -> None:
    sample = replace(photos.samples[0], digest=None)
    pixels = PreprocessedImages([sample], PREPROCESS, pixel_cache)
    np.testing.assert_array_equal(pixels[0], PREPROCESS.read(sample.read()))
    remove(photos)
    with pytest.raises(AssayError, match="can no longer be read"):
        pixels[0]


def test_image_damaged_since_the_scan_is_named(photos: Dataset) -> None:
    photos.samples[0].path.write_bytes(photos.samples[0].read()[:-3])
    with pytest.raises(AssayError, match=r"a/000.jpg can no longer be read as a photo: damaged: truncated"):
        PreprocessedImages(photos.samples, PREPROCESS)[0]
