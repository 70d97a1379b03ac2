from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from assay.data.dataset import Sample
from assay.data.feature_store import open_feature_store
from assay.data.features import Features
from assay.data.image_scan import ScannedImage, scan_images
from assay.data.loading import list_source
from assay.data.near_duplicates import find_burst_pairs, thumbnail_correlation

_SCENES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)


def _photo(name: str, scene: int = 0, taken: float | None = None) -> ScannedImage:
    features = Features(
        digest=name, format="jpeg", width=640, height=480, mode="RGB", orientation=1, frames=1,
        value_type="uint8", low=0, high=255, capture_time=taken,
        brightness=128, dark=0, bright=255, contrast=60, sharpness=0.1, detail=20,
        colour_thumbnail=_SCENES[scene], gray_thumbnail=np.zeros((64, 64), np.uint8),
    )  # fmt: skip
    return ScannedImage(Sample(name, Path(name), "a"), features)


def _pairs(*photos: ScannedImage) -> list[list[int]]:
    pairs: list[list[int]] = find_burst_pairs(photos).tolist()
    return pairs


def test_moments_and_likeness_together() -> None:
    photos = [
        _photo("a/1715279745553.jpg"),
        _photo("b/1715279746000.jpg"),
        _photo("a/1715279746100.jpg", scene=1),
    ]

    assert _pairs(*photos) == [[0, 1]]


def test_the_same_scene_minutes_later_is_no_burst() -> None:
    assert _pairs(_photo("a/20240101_120000.jpg"), _photo("a/20240101_120300.jpg")) == []


def test_exif_times_count_in_any_order_of_files() -> None:
    photos = [_photo("a/x.jpg", taken=100), _photo("a/y.jpg", taken=500), _photo("b/z.jpg", taken=101)]

    assert _pairs(*photos) == [[0, 2]]


def test_frames_of_one_film_only() -> None:
    photos = [_photo("a/frame_0010.jpg"), _photo("a/frame_0012.jpg"), _photo("b/frame_0011.jpg")]

    assert _pairs(*photos) == [[0, 1]]


def test_numbers_alone_say_nothing_of_time() -> None:
    assert _pairs(_photo("a/cell0001.png"), _photo("a/cell0002.png")) == []


def test_no_photos_no_pairs() -> None:
    assert find_burst_pairs([]).shape == (0, 2)


def test_blank_photos_correlate_with_nothing() -> None:
    photo = _photo("a")
    blank = photo._replace(features=replace(photo.features, colour_thumbnail=np.zeros((16, 16, 3), np.uint8)))

    assert thumbnail_correlation(blank, blank) == 0
    assert thumbnail_correlation(photo, photo) > 0.999


def test_the_bottle_photos(bottles: Path, tmp_path: Path) -> None:
    with open_feature_store(tmp_path) as store:
        photos = scan_images(list_source(bottles).samples, store).images
    times = {photo.sample.id: int(Path(photo.sample.id).stem) for photo in photos}
    found = {
        frozenset((photos[first].sample.id, photos[second].sample.id)) for first, second in find_burst_pairs(photos)
    }
    ordered = sorted(times, key=times.__getitem__)
    expected = {frozenset(pair) for pair in pairwise(ordered) if times[pair[1]] - times[pair[0]] <= 2000}

    assert len(expected) == 14
    assert expected <= found
