"""Whether the folders of a data set are classes or parts: known names, unknown ones, and what is doubtful."""

from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import make_files

from assay.core.errors import AssayError
from assay.data.class_folders import Listing, list_folder
from assay.data.loading import load_dataset
from assay.recipe import Layout


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
def test_parts_of_other_tools(tmp_path: Path, folders: str, splits: str) -> None:
    expected = {(label, split) for label in ("cat", "dog") for split in splits.split()}
    assert _places(make_files(tmp_path, *_with(folders))) == expected
    assert _places(tmp_path, "splits") == expected
    assert {label for label, _ in _places(tmp_path, "classes")} == set(folders.split())


@pytest.mark.parametrize("above", ["data", "archive/data", "a/b/Images"])
def test_parts_may_lie_deeper(tmp_path: Path, above: str) -> None:
    make_files(tmp_path, *(f"{above}/{name}" for name in _with("train test")), "readme.txt")
    assert _places(tmp_path) == {(label, split) for label in ("cat", "dog") for split in ("train", "test")}
    assert {sample.id.rpartition("/")[0] for sample in list_folder(tmp_path).samples} == {
        f"{above}/{part}/{label}" for part in ("train", "test") for label in ("cat", "dog")
    }


def test_a_part_may_stand_in_a_folder_of_its_own_name(tmp_path: Path) -> None:
    make_files(tmp_path, *_with("seg_train/seg_train seg_test/seg_test"), "seg_pred/seg_pred/9.jpg")
    listing = list_folder(tmp_path)
    assert _pairs(listing) == {(label, part) for label in ("cat", "dog") for part in ("train", "test")}
    assert listing.warnings == ["folder 'seg_pred' beside the ready-made parts was ignored"]


def test_two_folders_of_one_part_are_joined_and_said(tmp_path: Path) -> None:
    listing = list_folder(make_files(tmp_path, *_with("train dev validation")))
    assert {split for _, split in _pairs(listing)} == {"train", "val"}
    assert listing.warnings == ["the folders 'dev', 'validation' together are the part val"]


@pytest.mark.parametrize("names", ["train/1.jpg bus/1.jpg", "train/1.jpg test/1.jpg bus/1.jpg", "valid/1 invalid/1"])
def test_classes_with_names_of_parts(tmp_path: Path, names: str) -> None:
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
        (["train/cat/1.jpg", "train/dog/1.jpg", "test1/1.jpg"], "train has the name of a part.*'test1'"),
        (["Train/cat/1.jpg", "Train/dog/1.jpg", "unlabelled/1.jpg"], "may be a part or a class.*--layout"),
        (["trainA/1.jpg", "trainB/1.jpg", "testA/1.jpg", "testB/1.jpg"], "classes 'a', 'b'.*train/a"),
        (
            ["cat_train/1.jpg", "cat_test/1.jpg", "dog_train/1.jpg", "dog_test/1.jpg"],
            "the classes 'cat', 'dog'",
        ),
        (_with("train test extra"), "extra holds the same classes as 'test', 'train'"),
        (["cat/1.jpg", "dog/1.jpg", "old/cat/1.jpg", "old/dog/1.jpg"], "old holds folders of the same names"),
    ],
)
def test_what_may_be_either_is_not_guessed(tmp_path: Path, names: list[str], sentence: str) -> None:
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
def test_folders_within_classes_are_no_parts(tmp_path: Path, names: list[str]) -> None:
    assert _places(make_files(tmp_path, *names)) == {(name.partition("/")[0], None) for name in names}


def test_unknown_parts_are_shared_out_anew_on_demand(tmp_path: Path) -> None:
    listing = list_folder(make_files(tmp_path, *_with("fold1 fold2")), "splits")
    assert _pairs(listing) == {("cat", None), ("dog", None)}
    assert "shared out anew" in listing.warnings[0]


def test_parts_may_stand_within_classes(tmp_path: Path) -> None:
    make_files(tmp_path, *_with("cat dog", "train val test"))
    assert _places(tmp_path) == {(label, part) for label in ("cat", "dog") for part in ("train", "val", "test")}


def test_a_class_may_lack_a_part(tmp_path: Path) -> None:
    make_files(tmp_path, "cat/train/1.jpg", "cat/test/2.jpg", "dog/train/3.jpg")
    assert _places(tmp_path) == {("cat", "train"), ("cat", "test"), ("dog", "train")}


@pytest.mark.parametrize(
    "names", ["steam_train electric_train", "test_positive test_negative", "crash_test road_test", "dev prod"]
)
def test_words_of_parts_in_names_of_classes_do_no_harm(tmp_path: Path, names: str) -> None:
    make_files(tmp_path, *(f"{name}/1.jpg" for name in names.split()))
    assert _places(tmp_path) == {(name, None) for name in names.split()}


def test_photos_of_trains_and_tests(tmp_path: Path) -> None:
    for place, name in enumerate(("train/1", "train/2", "test/1", "test/2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (60 * place, 0, 0)).save(tmp_path / f"{name}.png")
    data = load_dataset(tmp_path, layout="classes")
    assert data.classes == ("test", "train")
    assert {sample.split for sample in data.samples} == {None}
