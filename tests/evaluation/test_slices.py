"""Accuracy by image property."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import UsageError
from assay.evaluation import Predictions, accuracy_by_slice, accuracy_by_source_label, slices_text, wilson_interval
from assay.evaluation.slices import SliceGroup, measure_image, measure_images, slices_by_image_property

Make = Callable[..., Predictions]


@pytest.fixture
def mapped(make: Make) -> Predictions:
    """Three birds of which two are taken for vehicles, two frogs, one truck."""
    return make(
        [0, 0, 0, 0, 0, 1],
        [1, 1, 0, 0, 0, 1],
        classes=("animal", "vehicle"),
        source_labels=("bird", "bird", "bird", "frog", "frog", "truck"),
    )


def test_least_accurate_slice_first(mapped: Predictions):
    bird, frog, truck = accuracy_by_source_label(mapped)
    assert (bird.name, bird.actual, bird.count, bird.correct) == ("bird", "animal", 3, 1)
    assert bird.accuracy == pytest.approx(1 / 3)
    assert bird.interval == wilson_interval(1, 3)
    assert (bird.mistaken_for, bird.mistaken_count) == ("vehicle", 2)
    assert bird.confidence == pytest.approx(mapped.confidence[:3].mean())
    assert (frog.name, frog.mistaken_for, frog.mistaken_count) == ("frog", None, 0)
    assert (truck.name, truck.actual) == ("truck", "vehicle")
    assert sum(item.count for item in (bird, frog, truck)) == len(mapped)
    assert json.loads(json.dumps(bird.to_dict(), allow_nan=False)) == bird.to_dict()


def test_slices_by_any_property(mapped: Predictions):
    found = accuracy_by_slice(mapped, ["small", "large"] * 3)
    assert {item.name: (item.count, item.actual) for item in found} == {
        "small": (3, "animal"),
        "large": (3, None),
    }
    with pytest.raises(ValueError, match="2 names for 6 photos"):
        accuracy_by_slice(mapped, ["a", "b"])


def test_no_slices_without_source_labels_or_images(make: Make):
    with pytest.raises(UsageError, match="no source labels"):
        accuracy_by_source_label(make([0]))
    assert accuracy_by_slice(make([]), []) == ()
    assert slices_text((), "size").split()[0] == "size"


def test_text_table(mapped: Predictions):
    lines = slices_text(accuracy_by_source_label(mapped), "category").splitlines()
    assert lines[0].split()[:5] == ["category", "class", "photos", "correct", "accuracy"]
    assert lines[1].split()[:6] == ["bird", "animal", "3", "1", "33.3", "%"]
    assert lines[1].endswith("vehicle (2)")
    assert "several" in slices_text(accuracy_by_slice(mapped, ["x"] * 6), "size")


def slices_of(predictions: Predictions, **others: object) -> tuple[SliceGroup, ...]:
    return slices_by_image_property(predictions, measure_images(predictions, **others))


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


def test_dark_images_are_below_average(dark: Predictions):
    seen = []
    found = {item.name: item for item in slices_of(dark, progress=lambda *state: seen.append(state))}
    assert list(found) == ["Brightness", "Size", "File type"]
    shades = found["Brightness"].slices
    assert [item.count for item in shades] == [40] * 5
    assert [item.accuracy for item in shades] == [0, 1, 1, 1, 1]
    assert found["Brightness"].below_average == {shades[0].name}
    assert shades[0].name == "0 to 15 %"
    assert [item.name for item in found["Size"].slices] == ["24 × 16", "32 × 24"]
    assert {item.name for item in found["File type"].slices} == {"PNG", "JPEG"}  # by content: all are .jpg
    assert not found["Size"].below_average
    assert seen[-1] == ("image properties", 200, 200)
    plain = found["Brightness"].to_dict()
    assert plain["slices"][0]["below_average"] is True


def test_many_sizes_are_grouped(make: Make, tmp_path: Path):
    paths = []
    for place in range(50):
        paths.append(str(tmp_path / f"{place}.png"))
        Image.new("RGB", (20 + place, 40)).save(paths[-1])
    found = {item.name: item for item in slices_of(make([0] * 50, paths=tuple(paths)))}
    assert list(found) == ["Size"]  # all are black PNG files
    assert 2 <= len(found["Size"].slices) <= 5
    assert found["Size"].slices[0].name.startswith("shorter side 20 to")
    assert sum(item.count for item in found["Size"].slices) == 50


def test_source_labels_and_missing_images(make: Make):
    found = slices_of(make([0, 1, 2], source_labels=("tabby", "poodle", "tanker")))
    assert [item.name for item in found] == ["Source label"]
    assert slices_of(make([0, 1, 2], source_labels=("a",) * 3)) == ()
    assert slices_of(make([])) == ()


def test_images_are_measured_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30), (255, 255, 255)).save(tmp_path / "a.jpg", exif=exif)
    photo = measure_image((tmp_path / "a.jpg").read_bytes())
    assert (photo.format, photo.width, photo.height) == ("jpeg", 30, 60)
    assert photo.brightness == pytest.approx(1, abs=0.01)


def test_known_properties_are_not_measured_again(dark: Predictions):
    known = measure_images(dark)
    dark = replace(dark, paths=("/gone",) * len(dark))
    assert measure_images(dark, known=known) == known
    assert measure_images(dark, known=dict(list(known.items())[:7])) == dict(list(known.items())[:7])
    assert slices_by_image_property(dark, known) == slices_of(dark, known=known)
