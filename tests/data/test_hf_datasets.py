"""Rows of the `datasets` library are written as files and a manifest that `load_dataset` reads."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from assay.core.errors import AssayError, UsageError
from assay.data import as_path, load_dataset

FEATURES = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["red", "blue"])})


def _picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8))


@pytest.fixture
def make() -> Callable[..., datasets.Dataset]:
    def rows(count: int = 6, first: int = 0) -> datasets.Dataset:
        values = {
            "photo": [_picture(first + row) for row in range(count)],
            "kind": [row % 2 for row in range(count)],
        }
        return datasets.Dataset.from_dict(values, FEATURES)

    return rows


def test_paths_are_returned_unchanged(tmp_path: Path):
    assert as_path("photos", tmp_path) == Path("photos")
    assert list(tmp_path.iterdir()) == []


def test_rows_become_images_with_labels(make, tmp_path: Path):
    dataset = load_dataset(as_path(make(), tmp_path))
    assert dataset.counts() == {"blue": 3, "red": 3}
    assert all(sample.split is None for sample in dataset.samples)
    first = Image.open(dataset.samples[0].path)
    assert np.array_equal(np.array(first), np.array(_picture(0)))


def test_same_rows_are_written_once(make, tmp_path: Path):
    path = as_path(make(), tmp_path)
    before = {file: file.stat().st_mtime_ns for file in path.parent.rglob("*")}
    assert as_path(make(), tmp_path) == path
    assert {file: file.stat().st_mtime_ns for file in path.parent.rglob("*")} == before
    assert as_path(make(first=50), tmp_path) != path


def test_encoded_files_are_copied_unchanged(tmp_path: Path):
    _picture(1).save(tmp_path / "a.jpg", quality=70)
    original = (tmp_path / "a.jpg").read_bytes()
    rows = datasets.Dataset.from_dict({"photo": [str(tmp_path / "a.jpg")] * 2, "kind": [0, 1]}, FEATURES)
    (item, other) = load_dataset(as_path(rows, tmp_path)).samples
    assert item.read() == original
    assert item.path.suffix == ".jpeg"
    assert other.label == "blue"


def test_dataset_dict_provides_the_splits(make, tmp_path: Path):
    parts = datasets.DatasetDict({"train": make(6), "validation": make(4, 20), "test": make(2, 40)})
    dataset = load_dataset(as_path(parts, tmp_path))
    assert [len(dataset.part(split)) for split in ("train", "val", "test")] == [6, 4, 2]


def test_dataset_dict_with_one_entry_has_no_splits(make, tmp_path: Path):
    dataset = load_dataset(as_path(datasets.DatasetDict({"train": make()}), tmp_path))
    assert {sample.split for sample in dataset.samples} == {None}


@pytest.mark.parametrize("form", ["pillow", "bytes", "mapping"])
def test_objects_with_the_same_interface_are_accepted(tmp_path: Path, form: str):
    class Plain:
        features: dict[str, str]

        def __init__(self) -> None:
            self.features = {"image": "any", "label": "any", "group": "any"}

        def __iter__(self) -> Iterator[dict[str, object]]:
            for row in range(4):
                file = io.BytesIO()
                _picture(row).save(file, "PNG")
                data = file.getvalue()
                image = {"pillow": _picture(row), "bytes": data, "mapping": {"bytes": data}}[form]
                yield {"image": image, "label": "ab"[row % 2], "group": row // 2}

    dataset = load_dataset(as_path(Plain(), tmp_path))
    assert dataset.counts() == {"a": 2, "b": 2}
    assert [sample.group for sample in dataset.samples] == ["0", "0", "1", "1"]


def test_invalid_data_is_rejected(make, tmp_path: Path):
    for wrong in (7, ["a.jpg"], {}, {"train": 7}):
        with pytest.raises(UsageError, match="data must be a path, a datasets"):
            as_path(wrong, tmp_path)
    with pytest.raises(UsageError, match="splits must be called"):
        as_path({"train": make(), "extra": make()}, tmp_path)
    with pytest.raises(UsageError, match="none is called 'image'"):
        as_path(make().remove_columns("photo"), tmp_path)


@pytest.mark.parametrize("label", [None, -1])
def test_row_without_a_label_is_named(tmp_path: Path, label: int | None):
    rows = datasets.Dataset.from_dict({"photo": [_picture(1)] * 2, "kind": [0, label]}, FEATURES)
    with pytest.raises(AssayError, match="row 2 has no label"):
        as_path(rows, tmp_path)


def test_row_without_an_image_is_named(tmp_path: Path):
    rows = datasets.Dataset.from_dict({"photo": [_picture(1), None], "kind": [0, 1]}, FEATURES)
    with pytest.raises(AssayError, match="row 2 has no picture"):
        as_path(rows, tmp_path)
    gone = datasets.Dataset.from_dict({"photo": ["/nowhere/a.jpg"], "kind": [0]}, FEATURES)
    with pytest.raises(AssayError, match=r"row 1: /nowhere/a\.jpg cannot be read"):
        as_path(gone, tmp_path)
