"""Loading data sets from folders, manifests and array files."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from assay.core.errors import AssayError, UsageError
from assay.data import count_groups, leaking_groups
from assay.data.loading import load_dataset, load_split_dataset
from assay.recipe import DataSpec, SplitSpec

Make = Callable[..., Path]
WritePhoto = Callable[..., Path]


def test_folders_become_a_data_set(class_folders: Make) -> None:
    root = class_folders(open=3, closed=2)
    data = load_dataset(root)
    assert data.classes == ("closed", "open")
    assert [sample.id for sample in data.samples] == [
        "closed/000.jpg",
        "closed/001.jpg",
        "open/000.jpg",
        "open/001.jpg",
        "open/002.jpg",
    ]
    assert all(len(sample.digest or "") == 64 for sample in data.samples)
    assert (data.unreadable, dict(data.skipped), data.warnings) == ((), {}, ())
    assert load_dataset(str(root)).fingerprint == data.fingerprint


def test_unreadable_files_are_listed_and_left_out(class_folders: Make) -> None:
    root = class_folders(open=2, closed=2)
    (root / "open/notes.txt").write_text("notes")
    (root / "open/.hidden.jpg").write_text("hidden")
    cut = root / "open/000.jpg"
    cut.write_bytes(cut.read_bytes()[:-3])
    data = load_dataset(root)
    assert data.counts() == {"closed": 2, "open": 1}
    assert [item.id for item in data.unreadable] == ["open/000.jpg"]
    assert "truncated" in data.unreadable[0].reason
    assert data.skipped == {"hidden": 1, "not an image": 1}


def test_existing_splits_are_kept_and_missing_classes_give_a_warning(class_folders: Make) -> None:
    root = class_folders(train__a=2, train__b=2, Validation__a=1, Validation__b=1, test__a=1, test__b=0)
    data = load_dataset(root)
    assert [len(data.part(split)) for split in ("train", "val", "test")] == [4, 2, 1]
    assert data.warnings == ("the existing split test has no photo of 'b'",)


def test_mapping_decides_the_class_order(class_folders: Make) -> None:
    root = class_folders(cat=1, ship=1, truck=1)
    data = load_dataset(root, mapping={"vehicle": ("truck", "ship", "tram"), "animal": ("cat",)})
    assert data.classes == ("vehicle", "animal")
    assert data.warnings == ("data.class_mapping names 'tram', of which the data has no photo",)
    assert {(sample.label, sample.source_label) for sample in data.samples} == {
        ("vehicle", "truck"),
        ("vehicle", "ship"),
        ("animal", "cat"),
    }
    with pytest.raises(AssayError, match="'truck' belongs to"):
        load_dataset(root, mapping={"vehicle": ("ship",), "animal": ("cat",)})
    with pytest.raises(AssayError, match="class 'plant' has no readable photo"):
        load_dataset(root, mapping={"vehicle": ("truck", "ship"), "animal": ("cat",), "plant": ("tree",)})


def test_data_with_the_new_classes_is_not_mapped(class_folders: Make) -> None:
    data = load_dataset(class_folders(animal=1, vehicle=1), mapping={"vehicle": ("ship",), "animal": ("cat",)})
    assert (data.classes, data.warnings) == (("vehicle", "animal"), ())


def test_given_classes_keep_their_order_and_can_be_absent(class_folders: Make) -> None:
    root = class_folders(open=1)
    data = load_dataset(root, classes=["open", "closed"])
    assert data.classes == ("open", "closed")
    assert data.warnings == ("the data has no photo of 'closed'",)
    with pytest.raises(AssayError, match="has the class 'open', but the classifier knows 'shut', 'ajar'"):
        load_dataset(root, classes=["shut", "ajar"])


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({"open": 2}, "one class only, 'open'; add a folder with photos of another class"),
        ({"open": 2, "closed": 0}, "class 'closed' has no readable photo"),
        ({"open": 2, "closed": 0, "ajar": 0}, "classes 'ajar', 'closed' have no readable photo"),
        ({"open": 1, "Open": 1}, "'Open' and 'open' differ only in case"),
        ({"open": 0, "closed": 0}, "holds no images"),
    ],
)
def test_invalid_classes_raise(class_folders: Make, counts: dict[str, int], sentence: str) -> None:
    with pytest.raises(AssayError, match=sentence):
        load_dataset(class_folders(**counts))


def test_hint_for_a_parent_folder(class_folders: Make) -> None:
    root = class_folders(data__open=1, data__closed=1)
    with pytest.raises(AssayError, match=f"perhaps {root / 'data'} was meant"):
        load_dataset(root)


def test_first_reason_is_named_if_nothing_is_readable(class_folders: Make) -> None:
    root = class_folders(open=0, closed=0)
    (root / "open/1.jpg").touch()
    (root / "closed/1.jpg").write_text("text")
    with pytest.raises(AssayError, match=r"none of the 2 photos .* closed/1.jpg: not an image"):
        load_dataset(root)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("photo.jpg", "is a file, not data"),
        ("photos.zip", r"photos\.zip is an archive: unpack it, and give the folder"),
        ("photos.TAR.gz", r"photos\.TAR\.gz is an archive: unpack it"),
        ("photos.7z", r"photos\.7z is an archive: unpack it"),
        ("data.pkl", "is a pickle"),
        ("missing", "there is no file or folder"),
    ],
)
def test_unsupported_paths_raise(tmp_path: Path, write_photo: WritePhoto, name: str, sentence: str) -> None:
    if name != "missing":
        write_photo(tmp_path / name)
    with pytest.raises(UsageError, match=sentence):
        load_dataset(tmp_path / name)


def test_manifests_are_verified(tmp_path: Path, write_photo: WritePhoto) -> None:
    write_photo(tmp_path / "photos/1.jpg")
    write_photo(tmp_path / "photos/2.jpg")
    table = tmp_path / "table.csv"
    table.write_text("path,label,group\nphotos/1.jpg,a,g\nphotos/2.jpg,b,\nphotos/3.jpg,b,\n")
    data = load_dataset(table)
    assert [(item.id, item.label, item.group) for item in data.samples] == [
        ("photos/1.jpg", "a", "g"),
        ("photos/2.jpg", "b", None),
    ]
    assert [(item.id, item.reason) for item in data.unreadable] == [("photos/3.jpg", "the file does not exist")]


def test_the_order_of_the_file_system_does_not_matter(class_folders: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(a=3, b=3)
    first = load_dataset(root)
    real = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with real(path) as entries:
                self.entries = list(entries)[::-1]

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            self.entries = []

    monkeypatch.setattr(os, "scandir", Backwards)
    assert load_dataset(root) == first


def test_array_files_are_loaded(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.array(["open", "closed", "open", "open"]))
    data = load_dataset(tmp_path / "data.npz")
    assert data.counts() == {"closed": 1, "open": 3}
    assert data.samples[0].id == "data.npz#0"


def test_button_cells_are_loaded(button_cells: Path) -> None:
    data = load_dataset(button_cells)
    assert data.counts() == {"back_view": 19, "side_view": 14, "top_view": 22}
    assert len({sample.digest for sample in data.samples}) == 55 - 7


def test_cifar10_has_a_test_split(cifar10: Path) -> None:
    data = load_dataset(
        cifar10,
        mapping={
            "vehicle": ("airplane", "automobile", "ship", "truck"),
            "animal": ("bird", "cat", "deer", "dog", "frog", "horse"),
        },
    )
    assert data.counts("test") == {"vehicle": 160, "animal": 240}


def test_missing_paths_of_a_table_name_their_base_folder(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("path,label\na.jpg,a\nb.jpg,b\n")
    with pytest.raises(AssayError, match="paths are relative to the table's folder"):
        load_dataset(tmp_path / "table.csv")


@pytest.mark.parametrize("name", ["table.tsv", "table.jsonl", "TABLE.CSV"])
def test_tables_with_other_names_are_loaded(tmp_path: Path, write_photo: WritePhoto, name: str) -> None:
    write_photo(tmp_path / "é/1.jpg")
    write_photo(tmp_path / "b/2.jpg")
    text = "File;Class\n e\u0301\\1.jpg ; 1.0\nb\\2.jpg;0.0\n"
    if name.endswith("jsonl"):
        text = '{"file_name": "e\u0301/1.jpg", "label": 1.0}\n{"file_name": "b\\\\2.jpg", "label": 0}\n'
    (tmp_path / name).write_text(text, encoding="utf-8")
    data = load_dataset(tmp_path / name)
    assert data.counts() == {"0": 1, "1": 1}
    assert data.unreadable == ()


def test_class_without_readable_images_names_the_first_reason(tmp_path: Path, write_photo: WritePhoto) -> None:
    write_photo(tmp_path / "b.png")
    (tmp_path / "t.csv").write_text("path,label\n~/a.png,A\nb.png,B\n")
    with pytest.raises(AssayError, match=r"'A' has no readable .*first, ~/a.png: the file does not exist"):
        load_dataset(tmp_path / "t.csv")


def test_hint_for_classes_one_level_deeper(tmp_path: Path, write_photo: WritePhoto) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / "images" / name).mkdir(parents=True)
            write_photo(tmp_path / part / "images" / name / f"{part}.png")
    with pytest.raises(AssayError, match=r"'images'.*perhaps the folders in it are the classes"):
        load_dataset(tmp_path)


THIRDS = DataSpec(split=SplitSpec(train=0.6, val=0.2, test=0.2))
AT_RANDOM = DataSpec(split=SplitSpec(method="random", train=0.6, val=0.2, test=0.2))


def test_bursts_of_real_photos_stay_in_one_split(bottles: Path):
    for seed in range(5):
        dataset = load_split_dataset(bottles, THIRDS, seed)
        assert count_groups(dataset.samples) >= 4
        assert not leaking_groups(dataset.samples)
        assert {sample.split for sample in dataset.samples} == {"train", "val", "test"}


def test_byte_identical_images_stay_in_one_split(button_cells: Path):
    dataset = load_split_dataset(button_cells, THIRDS, seed=1)
    parts: dict[str | None, set[str | None]] = {}
    for sample in dataset.samples:
        parts.setdefault(sample.digest, set()).add(sample.split)
    assert len(parts) < len(dataset)
    assert all(len(found) == 1 for found in parts.values())


def test_random_split_warns_of_leaks(bottles: Path):
    leaking = [seed for seed in range(5) if leaking_groups(load_split_dataset(bottles, AT_RANDOM, seed).samples)]
    assert leaking
    dataset = load_split_dataset(bottles, AT_RANDOM, leaking[0])
    assert any("more than one split" in warning for warning in dataset.warnings)


def test_new_images_do_not_move_old_ones(bottles: Path, tmp_path: Path):
    few = tmp_path / "photos"
    for photo in sorted(bottles.rglob("*.jpg"))[::2]:
        (few / photo.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, few / photo.parent.name / photo.name)
    before = load_split_dataset(few, THIRDS, seed=0)
    parts = {sample.id: sample.split for sample in before.samples if sample.split is not None}
    shutil.copytree(bottles, few, dirs_exist_ok=True)
    after = load_split_dataset(few, THIRDS, seed=7, like=parts)
    assert len(after) == 20
    assert {sample.id: sample.split for sample in after.samples if sample.id in parts} == parts
