"""Collecting photos of classes: keys, intervals, file names and near-duplicates."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from assay.core.errors import UsageError
from assay.data import load_dataset
from assay.data.capture_time import filename_time, parse_frame
from assay.data.image_features import resize_to_square
from assay.data.image_similarity import THUMBNAIL_SIDE, similarity
from assay.data.near_duplicates import SIMILARITY_THRESHOLDS
from assay.live import Frame
from assay.live.collect import CollectionSummary, ImageWriter, RecentImages, SimilarityMeasure, collect


@pytest.fixture
def recent() -> RecentImages:
    def thumbnail(pixels: np.ndarray) -> np.ndarray:
        return resize_to_square(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), THUMBNAIL_SIDE)

    return RecentImages(SimilarityMeasure(thumbnail, similarity, SIMILARITY_THRESHOLDS[THUMBNAIL_SIDE]))


def scene(seed: int) -> np.ndarray:
    """A picture with shapes of its own."""
    rough = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return cv2.resize(rough, (240, 180), interpolation=cv2.INTER_CUBIC)


def frames(*seeds: int, fps: float = 10) -> list[Frame]:
    return [Frame(scene(seed), number, number / fps, number == 0) for number, seed in enumerate(seeds)]


@pytest.fixture
def collect_photos(make_source: Callable, recent: RecentImages) -> Callable[..., CollectionSummary]:
    def collect_photos(
        given: list[Frame], writer: ImageWriter, current_class: Callable, **settings: object
    ) -> CollectionSummary:
        summary, messages = CollectionSummary(), list[str]()
        chosen = {"interval": 0.0, "real_time": False, "notify": messages.append} | settings
        source = make_source(given, name="videos/line 3.mp4")
        collect(source, writer, recent, current_class, summary=summary, **chosen)
        assert source.released == [True]
        return summary

    return collect_photos


def test_photos_are_taken_while_the_key_of_a_class_is_held(collect_photos, tmp_path: Path):
    held = iter("a-bb-a--")
    keys = {"a": "cup", "b": "bottle"}
    writer = ImageWriter(tmp_path, ("cup", "bottle"))
    summary = collect_photos(frames(*range(8)), writer, lambda: keys.get(next(held)))
    assert summary.written == {"cup": 2, "bottle": 2} == writer.counts
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert found == [f"bottle/line 3_frame{n:06}.jpg" for n in (2, 3)] + [f"cup/line 3_frame{n:06}.jpg" for n in (0, 5)]
    photo = np.asarray(Image.open(tmp_path / "cup" / "line 3_frame000005.jpg"), int)
    assert np.abs(photo - scene(5)).mean() < 4
    assert load_dataset(tmp_path).classes == ("bottle", "cup")


def test_interval_and_maximum_number_of_photos(collect_photos, tmp_path: Path):
    writer = ImageWriter(tmp_path, ("cup",))
    summary = collect_photos(frames(*range(30)), writer, lambda: "cup", interval=0.5, max_images=4)
    assert summary.written == {"cup": 4}
    assert [parse_frame(path.name).number for path in sorted((tmp_path / "cup").iterdir())] == [0, 5, 10, 15]


def test_near_duplicates_are_reported_and_changes_not(collect_photos, tmp_path: Path):
    writer = ImageWriter(tmp_path, ("cup",))
    summary = collect_photos(frames(1, 1, 2, 3, 1), writer, lambda: "cup")
    assert summary.near_duplicates == {"cup": 2}
    assert summary.written == {"cup": 5}
    assert summary.newest_is_duplicate


def test_near_duplicates_can_be_skipped(collect_photos, tmp_path: Path):
    writer = ImageWriter(tmp_path, ("cup",))
    summary = collect_photos(frames(1, 1, 2, 1), writer, lambda: "cup", skip_duplicates=True)
    assert (summary.written, summary.near_duplicates) == ({"cup": 2}, {"cup": 2})
    assert len([*(tmp_path / "cup").iterdir()]) == 2


def test_noise_and_light_do_not_hide_a_near_duplicate(recent: RecentImages):
    noise = np.random.default_rng(0).normal(0, 5, (180, 240, 3))
    assert not recent.is_near_duplicate("cup", scene(1))
    assert recent.is_near_duplicate("cup", (scene(1) * 0.9 + noise).clip(0, 255).astype(np.uint8))
    assert not recent.is_near_duplicate("bottle", scene(1))


def test_existing_files_are_not_overwritten(tmp_path: Path):
    writer = ImageWriter(tmp_path, ("cup",), now=lambda: 1_700_000_000.0)
    live = [writer.write("cup", scene(n)) for n in range(3)]
    video = [writer.write("cup", scene(n), "a", 7) for n in range(3)]
    assert [filename_time(path.name) for path in live] == pytest.approx([1_700_000_000 + n / 1000 for n in range(3)])
    assert len({*live, *video}) == 6 == len([*(tmp_path / "cup").iterdir()])
    assert all(parse_frame(path.name).number == 7 for path in video)
    assert ImageWriter(tmp_path, ("cup",)).counts == {"cup": 6}


@pytest.mark.parametrize(
    "classes", [("",), ("..",), (".a",), ("a/b",), ("a\\b",), ("a\0",), ("cup", "Cup")], ids=range(7)
)
def test_class_names_that_are_no_folder_names_are_rejected(classes: tuple[str, ...], tmp_path: Path):
    with pytest.raises(UsageError):
        ImageWriter(tmp_path, classes)
