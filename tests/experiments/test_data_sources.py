"""Locating data sets, and subsets with equally many images per class."""

import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from data_sources import ARCHIVES, archive_folder, locate, write_subset
from PIL import Image

from assay.core.errors import AssayError, UsageError
from assay.data import read_manifest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with six training and four test images each."""
    for split, count in (("train", 6), ("test", 4)):
        for label in ("cat", "dog"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), (number, len(split), len(label))).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_given_folder_is_used(photos: Path, tmp_path: Path) -> None:
    assert locate("bottles", tmp_path, photos) == photos
    with pytest.raises(UsageError, match="there is no file or folder"):
        locate("bottles", tmp_path, tmp_path / "other")
    with pytest.raises(UsageError, match="no data set is called"):
        locate("bottle", tmp_path)


def test_archive_is_unpacked_once(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    with tarfile.open(tmp_path / ARCHIVES["bottles"], "w") as archive:
        archive.add(photos, "bottles")
    folder = locate("bottles", tmp_path / "runs")
    assert sorted(path.name for path in folder.iterdir()) == ["test", "train"]
    (tmp_path / ARCHIVES["bottles"]).unlink()
    assert locate("bottles", tmp_path / "runs") == folder


def test_missing_archive_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    with pytest.raises(AssayError, match="is missing: set ASSAY_DATA"):
        locate("magnetic-tiles", tmp_path / "runs")


def test_subset_has_equally_many_images_per_class(photos: Path, tmp_path: Path) -> None:
    manifest = write_subset(photos, 8, 4, 0, tmp_path / "subset.csv")
    found = Counter((sample.split, sample.label) for sample in read_manifest(manifest).samples)
    assert found == {("train", "cat"): 4, ("train", "dog"): 4, ("test", "cat"): 2, ("test", "dog"): 2}
    other = write_subset(photos, 8, 4, 1, tmp_path / "other.csv")
    again = write_subset(photos, 8, 4, 0, tmp_path / "again.csv")
    assert again.read_text() == manifest.read_text() != other.read_text()


def test_impossible_subsets_raise(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="cannot be divided equally"):
        write_subset(photos, 7, 4, 0, tmp_path / "a.csv")
    with pytest.raises(AssayError, match="fewer than 10"):
        write_subset(photos, 20, 4, 0, tmp_path / "b.csv")


def test_archives_are_those_of_the_tests() -> None:
    if not (archive_folder() / "bottles.tar").is_file():
        if os.environ.get("ASSAY_REQUIRE_DATA"):
            pytest.fail(f"{archive_folder()} has no bottles.tar")
        pytest.skip("the data sets are not on this machine")
    assert all((archive_folder() / file).is_file() for file in ARCHIVES.values())
