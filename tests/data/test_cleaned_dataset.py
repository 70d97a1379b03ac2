"""Manifests and copies of a data set without bad images."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import UsageError
from assay.data.check import check
from assay.data.check_result import CheckReport
from assay.data.cleaned_dataset import write_cleaned_dataset
from assay.data.loading import load_dataset
from assay.data.manifest import read_manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes with one of everything that is to be left out, and one re-encoded copy, which stays."""
    root = tmp_path / "data"
    for seed in range(10):
        small = np.random.default_rng(seed).integers(30, 226, (12, 16, 3), np.uint8)
        path = root / ("a" if seed < 5 else "b") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC).save(path)
    shutil.copy(root / "a/0.png", root / "a/identical.png")
    shutil.copy(root / "a/1.png", root / "b/conflict.png")
    (root / "a/broken.jpg").write_bytes(b"\xff\xd8\xff")
    Image.new("RGB", (90, 90), "gray").save(root / "b/blank.png")
    Image.open(root / "a/2.png").save(root / "a/copy.jpg", quality=80)
    return root


_KEPT = ["a/0.png", "a/2.png", "a/3.png", "a/4.png", "a/copy.jpg", *(f"b/{n}.png" for n in range(5, 10))]


def _report(root: Path) -> CheckReport:
    return check(root, cache=root.parent / "cache")


def _contents(root: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def test_manifest_without_bad_images(root: Path, tmp_path: Path) -> None:
    before = _contents(root)
    cleaned = write_cleaned_dataset(_report(root), tmp_path / "clean.csv")

    dataset = read_manifest(cleaned.manifest)
    assert [sample.id for sample in dataset.samples] == _KEPT
    assert (cleaned.kept, cleaned.left_out) == (10, 5)
    groups = {sample.id: sample.group for sample in dataset.samples}
    assert groups["a/2.png"] == groups["a/copy.jpg"] is not None
    assert groups["a/3.png"] is None
    assert _contents(root) == before


def test_copy_without_bad_images(root: Path, tmp_path: Path) -> None:
    before = _contents(root)
    cleaned = write_cleaned_dataset(_report(root), tmp_path / "clean")

    dataset = load_dataset(tmp_path / "clean")
    assert [sample.id for sample in dataset.samples] == _KEPT
    assert cleaned.manifest == tmp_path / "clean/manifest.csv"
    assert [sample.id for sample in read_manifest(cleaned.manifest).samples] == _KEPT
    assert all((tmp_path / "clean" / name).read_bytes() == (root / name).read_bytes() for name in _KEPT)
    assert _contents(root) == before


def test_existing_files_and_the_data_folder_are_not_written_to(root: Path, tmp_path: Path) -> None:
    report = _report(root)
    (tmp_path / "there.csv").write_text("mine")

    with pytest.raises(UsageError, match="exists already"):
        write_cleaned_dataset(report, tmp_path / "there.csv")
    with pytest.raises(UsageError, match="within the data"):
        write_cleaned_dataset(report, root / "clean")
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert not (root / "clean").exists()
