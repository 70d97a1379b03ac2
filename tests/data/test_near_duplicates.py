"""Detection of duplicates, near-duplicates and bursts."""

import io
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from assay.data import near_duplicates
from assay.data.dataset import Sample
from assay.data.image_feature_cache import open_feature_store
from assay.data.image_features import Features
from assay.data.image_scan import ScannedImage, scan_images
from assay.data.loading import list_source
from assay.data.near_duplicates import (
    DuplicateLink,
    LinkKind,
    connected_groups,
    find_burst_pairs,
    find_near_duplicates,
    thumbnail_correlation,
)


def _cropped(image: Image.Image, rng: random.Random) -> Image.Image:
    width, height = (round(side * rng.uniform(0.95, 1)) for side in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _scaled(image: Image.Image, rng: random.Random) -> Image.Image:
    scale = rng.uniform(0.5, 2)
    return image.resize((round(image.width * scale), round(image.height * scale)))


def _brightened(image: Image.Image, rng: random.Random) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(rng.uniform(0.8, 1.2))


def _copy(path: Path, target: Path, rng: random.Random) -> None:
    image = Image.open(path).convert("RGB")
    for change in rng.sample([_cropped, _scaled, _brightened], 2):
        image = change(image, rng)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=rng.randint(40, 90))
    target.write_bytes(stream.getvalue())


def near_duplicate_groups(samples: Sequence[Sample], *, cache: Path, mirrored: bool = False) -> list[frozenset[str]]:
    with open_feature_store(cache) as store:
        images = scan_images(samples, store).images
        return find_near_duplicates(images, store, mirrored=mirrored).id_groups(images)


@pytest.fixture
def samples(tmp_path: Path) -> Callable[[int], list[Sample]]:
    """Makes a folder of different photos, each of the given number with a changed copy."""

    def make(copies: int) -> list[Sample]:
        rng = random.Random(0)
        for number in range(30):
            small = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
            photo = Image.fromarray(small).resize((240, 180), Image.Resampling.BICUBIC)
            path = tmp_path / "a" / f"{number:02}.png"
            path.parent.mkdir(exist_ok=True)
            photo.save(path)
            if number < copies:
                _copy(path, tmp_path / "a" / f"{number:02} copy.jpg", rng)
        return list_source(tmp_path).samples

    return make


def test_modified_copies_are_found_and_nothing_else(samples: Callable[[int], list[Sample]], tmp_path: Path) -> None:
    groups = near_duplicate_groups(samples(15), cache=tmp_path / "cache")

    assert sorted(sorted(group) for group in groups) == [
        [f"a/{number:02} copy.jpg", f"a/{number:02}.png"] for number in range(15)
    ]


def test_mirrored_copies_are_found_on_request_only(samples: Callable[[int], list[Sample]], tmp_path: Path) -> None:
    samples(0)
    Image.open(tmp_path / "a/03.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "a/new.png")
    found = list_source(tmp_path).samples

    assert near_duplicate_groups(found, cache=tmp_path / "cache") == []
    assert near_duplicate_groups(found, mirrored=True, cache=tmp_path / "cache") == [
        frozenset({"a/03.png", "a/new.png"})
    ]


def test_blank_photos_and_skies_are_not_linked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(6):
        Image.new("RGB", (100, 100), (200, 200, 190 + number)).save(tmp_path / f"a/blank{number}.png")
        sky = np.linspace(90 + number, 200 + 3 * number, 100)[:, None].repeat(100, 1).astype(np.uint8)
        Image.fromarray(sky).save(tmp_path / f"a/sky{number}.png")
    shutil.copy(tmp_path / "a/sky0.png", tmp_path / "a/sky6.png")

    groups = near_duplicate_groups(list_source(tmp_path).samples, cache=tmp_path / "cache")

    assert groups == [frozenset({"a/sky0.png", "a/sky6.png"})]


def test_very_large_group_is_reported(
    samples: Callable[[int], list[Sample]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_TRUSTED_GROUP", 4)
    samples(0)
    rng = np.random.default_rng(0)
    base = np.asarray(Image.open(tmp_path / "a/00.png"), np.float32)
    for number in range(12):  # one product after the other: the same but for a faint texture
        texture = Image.fromarray(rng.normal(0, 1, (30, 40)).astype(np.float32)).resize((240, 180))
        cell = base + 6 * np.asarray(texture)[:, :, None]
        Image.fromarray(cell.clip(0, 255).astype(np.uint8)).save(tmp_path / f"a/cell{number:02}.png")
    with open_feature_store(tmp_path / "cache") as store:
        photos = scan_images(list_source(tmp_path).samples, store).images
        alike = find_near_duplicates(photos, store)

    (doubt,) = alike.adjustments
    assert doubt.kind is LinkKind.near
    assert doubt.largest_before > 4 >= doubt.largest_after
    assert len(doubt.dropped) >= 4
    assert max((len(group) for group in alike.groups()), default=0) <= 4
    assert not set(doubt.dropped) & set(alike.links)


def test_second_search_uses_cached_comparisons(
    samples: Callable[[int], list[Sample]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = samples(6)
    first = near_duplicate_groups(photos, cache=tmp_path / "cache")
    compared: list[int] = []
    monkeypatch.setattr(near_duplicates, "find_candidates", lambda coarse, **_: compared.append(len(coarse)))

    assert set(near_duplicate_groups(photos[::-1], cache=tmp_path / "cache")) == set(first)
    assert compared == []


def test_groups_are_connected_components_of_links() -> None:
    assert connected_groups([(5, 4), (1, 2), (2, 3), (9, 8), (8, 4)]) == [(4, 5, 8, 9), (1, 2, 3)]
    assert connected_groups([]) == []


def test_groups_by_kind_of_link() -> None:
    links = (
        DuplicateLink(0, 1, LinkKind.identical, float("inf")),
        DuplicateLink(1, 2, LinkKind.near, 4.0),
        DuplicateLink(5, 6, LinkKind.burst, 0.0),
    )
    alike = near_duplicates.NearDuplicates(links)

    assert alike.groups() == [(0, 1, 2), (5, 6)]
    assert alike.groups(LinkKind.identical) == [(0, 1)]
    assert alike.groups(LinkKind.identical, LinkKind.burst) == [(0, 1), (5, 6)]


def test_near_duplicates_of_the_button_cells(button_cells: Path, tmp_path: Path) -> None:
    with open_feature_store(tmp_path) as store:
        photos = scan_images(list_source(button_cells).samples, store).images
        alike = find_near_duplicates(photos, store)
    identical = [{photos[place].sample.id for place in group} for group in alike.groups(LinkKind.identical)]

    assert sorted(map(len, identical)) == [2, 2, 2, 2, 4]
    assert {f"back_view/{number}.jpg" for number in (1, 6, 7, 9)} in identical
    assert max(map(len, alike.groups())) == 4


def test_bursts_of_the_bottles(bottles: Path, tmp_path: Path) -> None:
    groups = near_duplicate_groups(list_source(bottles).samples, cache=tmp_path)

    assert [len(group) for group in groups] == [7, 5, 3, 2, 2]
    assert all(len({item.split("/")[0] for item in group}) == 1 for group in groups)


def test_near_duplicates_of_tiny_photos(cifar10: Path, tmp_path: Path) -> None:
    train = cifar10 / "train"
    sources = sorted(train.rglob("*.jpg"))[::10]
    rng = random.Random(1)
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    for number, path in enumerate(sources):
        shutil.copy(path, folder / f"{number:03}.jpg")
        _copy(path, folder / f"{number:03} copy.jpg", rng)

    groups = near_duplicate_groups(list_source(tmp_path / "data").samples, cache=tmp_path / "cache")
    right = [group for group in groups if len({item[:5] for item in group}) == 1]

    assert len(right) >= 0.9 * len(sources)
    assert len(groups) - len(right) <= 1


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


def test_bursts_need_similar_time_and_content() -> None:
    photos = [
        _photo("a/1715279745553.jpg"),
        _photo("b/1715279746000.jpg"),
        _photo("a/1715279746100.jpg", scene=1),
    ]

    assert _pairs(*photos) == [[0, 1]]


def test_same_scene_minutes_later_is_not_a_burst() -> None:
    assert _pairs(_photo("a/20240101_120000.jpg"), _photo("a/20240101_120300.jpg")) == []


def test_exif_times_do_not_depend_on_file_order() -> None:
    photos = [_photo("a/x.jpg", taken=100), _photo("a/y.jpg", taken=500), _photo("b/z.jpg", taken=101)]

    assert _pairs(*photos) == [[0, 2]]


def test_only_frames_of_one_video_form_a_burst() -> None:
    photos = [_photo("a/frame_0010.jpg"), _photo("a/frame_0012.jpg"), _photo("b/frame_0011.jpg")]

    assert _pairs(*photos) == [[0, 1]]


def test_numbered_names_alone_imply_no_burst() -> None:
    assert _pairs(_photo("a/cell0001.png"), _photo("a/cell0002.png")) == []


def test_no_pairs_without_photos() -> None:
    assert find_burst_pairs([]).shape == (0, 2)


def test_blank_photos_do_not_correlate() -> None:
    photo = _photo("a")
    blank = photo._replace(features=replace(photo.features, colour_thumbnail=np.zeros((16, 16, 3), np.uint8)))

    assert thumbnail_correlation(blank, blank) == 0
    assert thumbnail_correlation(photo, photo) > 0.999


def test_groups_of_the_bottle_photos(bottles: Path, tmp_path: Path) -> None:
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
