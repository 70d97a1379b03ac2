"""Whether the folders of a data set are classes or splits: known names, unknown names and ambiguous cases."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import make_files

from assay.core.errors import AssayError
from assay.data.class_folders import Listing, list_folder
from assay.data.loading import load_dataset
from assay.recipe import Layout

Make = Callable[..., Path]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_first_level_is_the_class_at_any_depth(tmp_path: Path) -> None:
    for name in ("open/1", "open/day 1/left/2", "closed/öß/3.JPG"):
        touch(tmp_path / name)
    listing = list_folder(tmp_path)
    found = {sample.id: (sample.label, sample.split) for sample in listing.samples}
    assert found == {
        "open/1": ("open", None),
        "open/day 1/left/2": ("open", None),
        "closed/öß/3.JPG": ("closed", None),
    }
    assert listing.labels == ["closed", "open"]
    assert listing.nested == ["closed", "open"]


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("Train", "VALID", "Test"), {"train", "val", "test"}),
        (("train", "validation"), {"train", "val"}),
        (("train", "test"), {"train", "test"}),
        (("test",), {"test"}),
    ],
)
def test_existing_splits(tmp_path: Path, folders: tuple[str, ...], splits: set[str]) -> None:
    for folder in folders:
        touch(tmp_path / folder / "cat/1.jpg")
    listing = list_folder(tmp_path)
    assert {sample.split for sample in listing.samples} == splits
    assert {sample.label for sample in listing.samples} == {"cat"}


def test_train_can_be_a_class_among_others(tmp_path: Path) -> None:
    touch(tmp_path / "train/1.jpg")
    touch(tmp_path / "bus/1.jpg")
    assert {(sample.label, sample.split) for sample in list_folder(tmp_path).samples} == {
        ("train", None),
        ("bus", None),
    }


def test_other_folders_beside_splits_are_named(tmp_path: Path) -> None:
    for name in ("train/a/1", "test/a/1", "notes/x"):
        touch(tmp_path / name)
    listing = list_folder(tmp_path)
    assert len(listing.samples) == 2
    assert listing.warnings == ["folder 'notes' beside the existing splits was ignored"]


def test_hidden_and_loose_files_are_counted(tmp_path: Path) -> None:
    for name in ("a/1", "a/.2", "a/.git/3", "a/Thumbs.db", "__MACOSX/a/1", "readme", "b/1", ".c/1"):
        touch(tmp_path / name)
    listing = list_folder(tmp_path)
    assert [sample.id for sample in listing.samples] == ["a/1", "b/1"]
    assert listing.skipped == {
        "hidden": 3,
        "of the operating system or a storage device": 2,
        "outside a class folder": 1,
    }


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "photos/a/deep/1")
    touch(tmp_path / "elsewhere/2")
    (tmp_path / "photos/a/loop").symlink_to(tmp_path / "photos/a")
    (tmp_path / "photos/a/0 first").symlink_to(tmp_path / "photos/a/deep")
    (tmp_path / "photos/a/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "photos/a")
    (tmp_path / "photos/a/gone").symlink_to(tmp_path / "nothing")
    touch(tmp_path / "photos/b/1")
    os.mkfifo(tmp_path / "photos/b/pipe")
    (tmp_path / "photos/a/self").symlink_to("self")
    (tmp_path / "photos/self").symlink_to("self")
    listing = list_folder(tmp_path / "photos")
    assert sorted(sample.id for sample in listing.samples) == ["a/deep/1", "a/more/2", "b/1"]
    assert listing.skipped == {
        "folder reached twice": 3,
        "broken link": 2,
        "outside a class folder": 1,
        "not a regular file": 1,
    }


def test_decomposed_and_composed_names_are_one_class(tmp_path: Path) -> None:
    touch(tmp_path / "train/cafe\u0301/1")
    touch(tmp_path / "test/caf\u00e9/1")
    assert list_folder(tmp_path).labels == ["caf\u00e9"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ((), "it is empty"),
        (("1.jpg",), "it holds files but no class folders"),
        (("train/1.jpg", "test/1.jpg"), "holds files but no class folders"),
    ],
)
def test_unlabelled_data_is_rejected(tmp_path: Path, files: tuple[str, ...], sentence: str) -> None:
    for name in files:
        touch(tmp_path / name)
    with pytest.raises(AssayError, match=sentence):
        list_folder(tmp_path)


def test_splits_can_be_links_into_one_folder(tmp_path: Path) -> None:
    parts = ("train/cat", "train/dog", "test/cat", "test/dog")
    for place, part in enumerate(parts):
        photo = touch(tmp_path / f"all photos/{place}.jpg")
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "1.jpg").symlink_to(photo)
    listing = list_folder(tmp_path)
    assert [sample.id for sample in listing.samples] == sorted(f"{part}/1.jpg" for part in parts)
    (tmp_path / "train/dog/other").symlink_to(tmp_path / "test")
    assert list_folder(tmp_path).skipped["link to photos of another class"] == 1


def _places(root: Path, layout: Layout = "auto") -> set[tuple[str, str | None]]:
    return _pairs(list_folder(root, layout))


def _pairs(listing: Listing) -> set[tuple[str, str | None]]:
    return {(sample.label, sample.split) for sample in listing.samples}


def _with(parts: str, classes: str = "cat dog") -> list[str]:
    return [f"{part}/{label}/1.jpg" for part in parts.split() for label in classes.split()]


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        ("Training Testing", "train test"),
        ("training_set test_set", "train test"),
        ("TRAIN dev holdout", "train val test"),
        ("train valid", "train val"),
        ("train2017 val2017", "train val"),
        ("seg_train seg_test", "train test"),
        ("Training Validation Evaluation", "train val test"),
    ],
)
def test_splits_of_other_tools(tmp_path: Path, folders: str, splits: str) -> None:
    expected = {(label, split) for label in ("cat", "dog") for split in splits.split()}
    assert _places(make_files(tmp_path, *_with(folders))) == expected
    assert _places(tmp_path, "splits") == expected
    assert {label for label, _ in _places(tmp_path, "classes")} == set(folders.split())


@pytest.mark.parametrize("above", ["data", "archive/data", "a/b/Images"])
def test_splits_can_be_nested(tmp_path: Path, above: str) -> None:
    make_files(tmp_path, *(f"{above}/{name}" for name in _with("train test")), "readme.txt")
    assert _places(tmp_path) == {(label, split) for label in ("cat", "dog") for split in ("train", "test")}
    assert {sample.id.rpartition("/")[0] for sample in list_folder(tmp_path).samples} == {
        f"{above}/{part}/{label}" for part in ("train", "test") for label in ("cat", "dog")
    }


def test_split_inside_a_folder_of_the_same_name(tmp_path: Path) -> None:
    make_files(tmp_path, *_with("seg_train/seg_train seg_test/seg_test"), "seg_pred/seg_pred/9.jpg")
    listing = list_folder(tmp_path)
    assert _pairs(listing) == {(label, part) for label in ("cat", "dog") for part in ("train", "test")}
    assert listing.warnings == ["folder 'seg_pred' beside the existing splits was ignored"]


def test_two_folders_of_one_split_are_joined_with_a_warning(tmp_path: Path) -> None:
    listing = list_folder(make_files(tmp_path, *_with("train dev validation")))
    assert {split for _, split in _pairs(listing)} == {"train", "val"}
    assert listing.warnings == ["the folders 'dev', 'validation' together are the split val"]


@pytest.mark.parametrize("names", ["train/1.jpg bus/1.jpg", "train/1.jpg test/1.jpg bus/1.jpg", "valid/1 invalid/1"])
def test_classes_with_names_of_splits(tmp_path: Path, names: str) -> None:
    make_files(tmp_path, *names.split())
    assert _places(tmp_path) == {(name.partition("/")[0], None) for name in names.split()}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["train/1.jpg", "test/1.jpg"], "--layout classes"),
        (
            ["train/steam/1.jpg", "train/diesel/1.jpg", "test/crash/1.jpg"],
            "--layout classes or --layout splits",
        ),
        (
            _with("fold1 fold2 fold3"),
            "'fold1', 'fold2', 'fold3' .*'cat', 'dog'.*--layout classes or --layout splits",
        ),
        (_with("batch_a batch_b", "ok defect broken"), "--layout classes or --layout splits"),
        (["s1/cat/1", "s1/dog/1", "s2/cat/1", "s3/dog/1"], "--layout classes or --layout splits"),
        (["train/cat/1.jpg", "train/dog/1.jpg", "test1/1.jpg"], "train has the name of a split.*'test1'"),
        (["Train/cat/1.jpg", "Train/dog/1.jpg", "unlabelled/1.jpg"], "may be a split or a class.*--layout"),
        (["trainA/1.jpg", "trainB/1.jpg", "testA/1.jpg", "testB/1.jpg"], "classes 'a', 'b'.*train/a"),
        (
            ["cat_train/1.jpg", "cat_test/1.jpg", "dog_train/1.jpg", "dog_test/1.jpg"],
            "the classes 'cat', 'dog'",
        ),
        (_with("train test extra"), "extra holds the same classes as 'test', 'train'"),
        (["cat/1.jpg", "dog/1.jpg", "old/cat/1.jpg", "old/dog/1.jpg"], "old holds folders of the same names"),
    ],
)
def test_ambiguous_folders_are_rejected(tmp_path: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(AssayError, match=sentence):
        list_folder(make_files(tmp_path, *names))
    assert {label for label, _ in _places(tmp_path, "classes")} == {name.partition("/")[0] for name in names}


@pytest.mark.parametrize(
    "names",
    [
        ["open/day1/1.jpg", "open/day2/1.jpg", "closed/day3/1.jpg"],
        ["covid/images/1.jpg", "normal/images/1.jpg"],
        [
            "open/1.jpg",
            "open/left/1.jpg",
            "open/right/1.jpg",
            "closed/1.jpg",
            "closed/left/1.jpg",
            "closed/right/1.jpg",
        ],
    ],
)
def test_folders_within_classes_are_not_splits(tmp_path: Path, names: list[str]) -> None:
    assert _places(make_files(tmp_path, *names)) == {(name.partition("/")[0], None) for name in names}


def test_unknown_splits_are_split_again_on_request(tmp_path: Path) -> None:
    listing = list_folder(make_files(tmp_path, *_with("fold1 fold2")), "splits")
    assert _pairs(listing) == {("cat", None), ("dog", None)}
    assert "split anew" in listing.warnings[0]


def test_splits_can_be_within_classes(tmp_path: Path) -> None:
    make_files(tmp_path, *_with("cat dog", "train val test"))
    assert _places(tmp_path) == {(label, part) for label in ("cat", "dog") for part in ("train", "val", "test")}


def test_class_can_lack_a_split(tmp_path: Path) -> None:
    make_files(tmp_path, "cat/train/1.jpg", "cat/test/2.jpg", "dog/train/3.jpg")
    assert _places(tmp_path) == {("cat", "train"), ("cat", "test"), ("dog", "train")}


@pytest.mark.parametrize(
    "names", ["steam_train electric_train", "test_positive test_negative", "crash_test road_test", "dev prod"]
)
def test_split_words_in_class_names_are_harmless(tmp_path: Path, names: str) -> None:
    make_files(tmp_path, *(f"{name}/1.jpg" for name in names.split()))
    assert _places(tmp_path) == {(name, None) for name in names.split()}


def test_classes_called_train_and_test(tmp_path: Path) -> None:
    for place, name in enumerate(("train/1", "train/2", "test/1", "test/2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (60 * place, 0, 0)).save(tmp_path / f"{name}.png")
    data = load_dataset(tmp_path, layout="classes")
    assert data.classes == ("test", "train")
    assert {sample.split for sample in data.samples} == {None}
