"""Folders with a `metadata.csv`, as Hugging Face's `imagefolder` has them."""

from pathlib import Path

import pytest
from PIL import Image

from assay.core.errors import AssayError
from assay.data import load_dataset


def _photos(folder: Path, *colours: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for colour in colours:
        Image.new("RGB", (8, 8), colour).save(folder / f"{colour}.png")


def _labels(folder: Path, *lines: str) -> None:
    (folder / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")


def test_metadata_labels_a_flat_folder(tmp_path: Path):
    _photos(tmp_path, "red", "blue")
    _labels(tmp_path, "file_name,label", "red.png,warm", "blue.png,cold")
    assert {one.id: one.label for one in load_dataset(tmp_path).samples} == {"red.png": "warm", "blue.png": "cold"}


def test_each_part_may_have_its_own(tmp_path: Path):
    for part in ("train", "validation"):
        _photos(tmp_path / part, "red", "blue")
        _labels(tmp_path / part, "file_name,label", "red.png,warm", "blue.png,cold")
    dataset = load_dataset(tmp_path)
    assert [(one.id, one.split) for one in dataset.samples] == [
        ("train/blue.png", "train"),
        ("train/red.png", "train"),
        ("validation/blue.png", "val"),
        ("validation/red.png", "val"),
    ]
    assert dataset.classes == ("cold", "warm")


def test_metadata_without_labels_leaves_the_folders_their_say(tmp_path: Path):
    _photos(tmp_path / "warm", "red")
    _photos(tmp_path / "cold", "blue")
    _labels(tmp_path, "file_name,width", "warm/red.png,8")
    assert load_dataset(tmp_path).classes == ("cold", "warm")


def test_a_part_without_metadata_beside_one_with_is_named(tmp_path: Path):
    _photos(tmp_path / "train", "red", "blue")
    _labels(tmp_path / "train", "file_name,label", "red.png,warm", "blue.png,cold")
    _photos(tmp_path / "test" / "warm", "red")
    with pytest.raises(AssayError, match=r"test has no metadata\.csv with labels"):
        load_dataset(tmp_path)


def test_metadata_may_be_json_lines(tmp_path: Path):
    for part in ("train", "dev"):
        _photos(tmp_path / part, "red", "blue")
        lines = ['{"file_name": "red.png", "label": "warm"}', '{"file_name": "blue.png", "label": "cold"}']
        (tmp_path / part / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    dataset = load_dataset(tmp_path)
    assert [(one.id, one.split, one.label) for one in dataset.samples] == [
        ("dev/blue.png", "val", "cold"),
        ("dev/red.png", "val", "warm"),
        ("train/blue.png", "train", "cold"),
        ("train/red.png", "train", "warm"),
    ]
    _labels(tmp_path / "dev", "file_name,label", "red.png,cold")
    with pytest.raises(AssayError, match=r"metadata\.csv and metadata\.jsonl both have labels"):
        load_dataset(tmp_path)


def test_metadata_in_another_dialect(tmp_path: Path):
    _photos(tmp_path, "red", "blue")
    _labels(tmp_path, "File_Name;Label", "red.png;1.0", "blue.png; 0.0")
    assert load_dataset(tmp_path).classes == ("0", "1")


def test_a_manifest_may_say_file_name(tmp_path: Path):
    _photos(tmp_path, "red", "blue")
    (tmp_path / "list.csv").write_text("file_name,label\nred.png,a\nblue.png,b\n", encoding="utf-8")
    assert len(load_dataset(tmp_path / "list.csv")) == 2
