import os
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core.errors import AssayError
from assay.data.class_folders import list_folder

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
def test_ready_made_parts(tmp_path: Path, folders: tuple[str, ...], splits: set[str]) -> None:
    for folder in folders:
        touch(tmp_path / folder / "cat/1.jpg")
    listing = list_folder(tmp_path)
    assert {sample.split for sample in listing.samples} == splits
    assert {sample.label for sample in listing.samples} == {"cat"}


def test_train_may_be_a_class_among_others(tmp_path: Path) -> None:
    touch(tmp_path / "train/1.jpg")
    touch(tmp_path / "bus/1.jpg")
    assert {(sample.label, sample.split) for sample in list_folder(tmp_path).samples} == {
        ("train", None),
        ("bus", None),
    }


def test_other_folders_beside_ready_made_parts_are_named(tmp_path: Path) -> None:
    for name in ("train/a/1", "test/a/1", "notes/x"):
        touch(tmp_path / name)
    listing = list_folder(tmp_path)
    assert len(listing.samples) == 2
    assert listing.warnings == ["folder 'notes' beside the ready-made parts was ignored"]


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


def test_loops_of_links_end_and_links_are_followed(tmp_path: Path) -> None:
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
def test_what_has_no_labels_is_refused(tmp_path: Path, files: tuple[str, ...], sentence: str) -> None:
    for name in files:
        touch(tmp_path / name)
    with pytest.raises(AssayError, match=sentence):
        list_folder(tmp_path)


def test_parts_may_be_links_into_a_folder_of_all_photos(tmp_path: Path) -> None:
    parts = ("train/cat", "train/dog", "test/cat", "test/dog")
    for place, part in enumerate(parts):
        photo = touch(tmp_path / f"all photos/{place}.jpg")
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "1.jpg").symlink_to(photo)
    listing = list_folder(tmp_path)
    assert [sample.id for sample in listing.samples] == sorted(f"{part}/1.jpg" for part in parts)
    (tmp_path / "train/dog/other").symlink_to(tmp_path / "test")
    assert list_folder(tmp_path).skipped["link to photos of another class"] == 1
