from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.evaluation import Predictions
from assay.evaluation.report.image_slices import measure_image, slices_by_image_property

Make = Callable[..., Predictions]


@pytest.fixture
def dark(make: Make, tmp_path: Path) -> Predictions:
    """Photos of rising brightness; the classifier fails on the darkest fifth."""
    paths = []
    for place in range(200):
        kind, side = ("JPEG", 24) if place % 2 else ("PNG", 16)
        path = tmp_path / f"{place}.jpg"
        Image.fromarray(np.full((side, side + 8, 3), place, dtype=np.uint8)).save(path, kind)
        paths.append(str(path))
    actual = [place % 3 for place in range(200)]
    predicted = [(k + 1) % 3 if place < 40 else k for place, k in enumerate(actual)]
    return make(actual, predicted, paths=tuple(paths))


def test_dark_photos_stand_out(dark: Predictions):
    seen = []
    found = {one.name: one for one in slices_by_image_property(dark, progress=lambda *state: seen.append(state))}
    assert list(found) == ["Brightness", "Size", "File type"]
    shades = found["Brightness"].slices
    assert [one.count for one in shades] == [40] * 5
    assert [one.accuracy for one in shades] == [0, 1, 1, 1, 1]
    assert found["Brightness"].outliers == {shades[0].name}
    assert shades[0].name == "0 to 15 %"
    assert [one.name for one in found["Size"].slices] == ["24 × 16", "32 × 24"]
    assert {one.name for one in found["File type"].slices} == {"PNG", "JPEG"}  # by content: all are .jpg
    assert not found["Size"].outliers
    assert seen[-1] == ("image properties", 200, 200)
    plain = found["Brightness"].to_dict()
    assert plain["slices"][0]["stands_out"] is True


def test_many_sizes_become_ranges(make: Make, tmp_path: Path):
    paths = []
    for place in range(50):
        paths.append(str(tmp_path / f"{place}.png"))
        Image.new("RGB", (20 + place, 40)).save(paths[-1])
    found = {one.name: one for one in slices_by_image_property(make([0] * 50, paths=tuple(paths)))}
    assert list(found) == ["Size"]  # all are black PNG files
    assert 2 <= len(found["Size"].slices) <= 5
    assert found["Size"].slices[0].name.startswith("shorter side 20 to")
    assert sum(one.count for one in found["Size"].slices) == 50


def test_source_labels_and_photos_that_are_gone(make: Make):
    found = slices_by_image_property(make([0, 1, 2], source_labels=("tabby", "poodle", "tanker")))
    assert [one.name for one in found] == ["Source label"]
    assert slices_by_image_property(make([0, 1, 2], source_labels=("a",) * 3)) == ()
    assert slices_by_image_property(make([])) == ()


def test_a_photo_is_measured_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30), (255, 255, 255)).save(tmp_path / "a.jpg", exif=exif)
    photo = measure_image((tmp_path / "a.jpg").read_bytes())
    assert (photo.format, photo.width, photo.height) == ("jpeg", 30, 60)
    assert photo.brightness == pytest.approx(1, abs=0.01)
