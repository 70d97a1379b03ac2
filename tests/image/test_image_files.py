"""Listing image files: links, loops, other files, and output of Assay."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import make_files

from assay.core.errors import AssayError
from assay.image.ignore_rules import SkippedFiles, is_assay_output
from assay.image.image_files import is_image_file, list_folder_content, walk_images


def _list(root: Path, skipped: SkippedFiles | None = None) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk_images(root, skipped or SkippedFiles())]


def test_files_are_ordered_by_name_at_any_depth(tmp_path: Path) -> None:
    make_files(tmp_path, "b/2", "b/1", "a", "c/d/3", "c.jpg")
    assert _list(tmp_path) == ["a", "b/1", "b/2", "c/d/3", "c.jpg"]


SYSTEM_FOLDERS = [
    *(
        "#recycle",
        "#Recycle",
        "$RECYCLE.BIN",
        "RECYCLER",
        "lost+found",
        "System Volume Information",
        "@eaDir",
    ),
    *(
        "__MACOSX",
        "#snapshot",
        "@tmp",
        "@Recycle",
        "@Recently-Snapshot",
        "LOST.DIR",
        "FOUND.000",
        "__pycache__",
    ),
]
HIDDEN_FOLDERS = [
    ".Trash",
    ".Trash-1000",
    ".Trashes",
    ".thumbnails",
    ".git",
    ".ipynb_checkpoints",
    ".@__thumb",
    "@__thumb",
    "@Trash",
    "$WinREAgent",
    "OneDriveTemp",
]


@pytest.mark.parametrize("name", [*SYSTEM_FOLDERS, *HIDDEN_FOLDERS])
def test_system_folders_are_skipped_and_counted(tmp_path: Path, name: str) -> None:
    make_files(tmp_path, "cat/1.jpg", f"{name}/2.jpg", f"cat/{name}/3.jpg")
    skipped = SkippedFiles()
    assert _list(tmp_path, skipped) == ["cat/1.jpg"]
    assert skipped.counts.total() == 2
    assert [path.name for path in list_folder_content(tmp_path, SkippedFiles()).folders] == ["cat"]
    assert _list(tmp_path / name) == ["2.jpg"], "a folder that is asked for is listed"


@pytest.mark.parametrize(
    "name",
    ["Thumbs.db", "thumbs.DB", "ehthumbs.db", "desktop.ini", ".DS_Store", "._1.jpg", "Icon\r", "Picasa.ini"],
)
def test_system_files_are_skipped_and_counted(tmp_path: Path, name: str) -> None:
    skipped = SkippedFiles()
    assert _list(make_files(tmp_path, "1.jpg", name), skipped) == ["1.jpg"]
    assert skipped.counts.total() == 1


def test_a_class_may_have_the_name_of_the_program(tmp_path: Path) -> None:
    skipped = SkippedFiles()
    assert _list(make_files(tmp_path, "assay-positive/1.jpg", "Assay/2.jpg"), skipped) == [
        "Assay/2.jpg",
        "assay-positive/1.jpg",
    ]
    assert not skipped.counts


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("any name", ["run.json", "recipe.yaml", "evaluation/test/misclassified.png"]),
        ("series", ["crossval.json", "manifest.csv", "repeat-1/fold-1/curves.png"]),
        ("variants", ["variants.json", "manifest.csv", "small/curves.png"]),
        ("tune", ["tune.json", "tune.csv"]),
        ("evaluation-1", ["metrics.json", "confusion_matrix.json", "confusion_matrix.png"]),
        ("augmented", [".augment.json", "train/cat/1.jpg"]),
        ("explanations", ["1-heat.png", "2-heat.png", "sheet.png"]),
        ("bench", ["bench.json", "bench.png"]),
        ("exported", ["model.onnx", "model.onnx.json", "example_onnx.py"]),
        ("assay-demo", ["photos/cat/1.png"]),
        ("data-0123456789ab", ["manifest.csv", "train/000000.jpg"]),
        ("uncertain", [".lock", "manifest.csv", "1.jpg"]),
        ("pixels", ["CACHEDIR.TAG", "1.png"]),
        ("predictions", ["_assay.json", "_photos/00000.parquet", "part-000000.parquet"]),
    ],
)
@pytest.mark.parametrize("where", ["", "cat/", "runs/"])
def test_output_of_assay_is_skipped(tmp_path: Path, folder: str, files: list[str], where: str) -> None:
    make_files(tmp_path, "cat/1.jpg", *(f"{where}{folder}/{name}" for name in files))
    skipped = SkippedFiles()
    assert _list(tmp_path, skipped) == ["cat/1.jpg"]
    assert skipped.counts["written by Assay"] == 1
    assert [path.name for path in list_folder_content(tmp_path, SkippedFiles()).folders] == ["cat"]
    assert _list(tmp_path / where / folder), "a folder that is asked for is listed"


@pytest.mark.parametrize("names", [["a-lr.png"], ["a-lr.png", "a-1/run.json", "a-1/recipe.yaml"]])
def test_learning_rate_curves_are_skipped(tmp_path: Path, names: list[str]) -> None:
    make_files(tmp_path, "cat/1.jpg", "dog/1-lr.png", *(f"runs/{name}" for name in names))
    assert [path.name for path in list_folder_content(tmp_path, SkippedFiles()).folders] == ["cat", "dog"]
    assert _list(tmp_path) == ["cat/1.jpg", "dog/1-lr.png"]


def test_images_that_only_resemble_output_are_listed(tmp_path: Path) -> None:
    names = [
        "a/sheet.png",
        "b/1-heat.png",
        "c/sheet.png",
        "c/1-heat.png",
        "c/2.jpg",
        "d/manifest.csv",
        "d/1.jpg",
    ]
    assert sorted(_list(make_files(tmp_path, *names))) == sorted(names)


def test_cache_folder_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "kept"))
    make_files(tmp_path, "cat/1.jpg", "kept/engines/1.png")
    assert _list(tmp_path) == ["cat/1.jpg"]
    assert is_assay_output(tmp_path / "kept")


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root = make_files(tmp_path / "photos", "a/1", "a/deep/2")
    make_files(tmp_path / "pool", "3", "inner/4", ".5")
    (root / "a/loop").symlink_to(root / "a")
    (root / "a/up").symlink_to(tmp_path)
    (root / "b").symlink_to(tmp_path / "pool")
    (root / "c").symlink_to(tmp_path / "pool")
    (root / "d").symlink_to(tmp_path / "pool/inner")
    (tmp_path / "pool/back").symlink_to(root)
    (root / "e").symlink_to("e")
    (root / "f").symlink_to("nowhere")
    skipped = SkippedFiles()
    assert _list(root, skipped) == ["a/1", "a/deep/2", "b/3", "b/inner/4"]
    assert skipped.counts == {"folder reached twice": 5, "broken link": 2, "hidden": 1}


def test_file_is_listed_once_under_its_real_path(tmp_path: Path) -> None:
    root = make_files(tmp_path / "photos", "z/1.jpg", "z/.kept/2.jpg")
    make_files(tmp_path / "pool", "3.jpg", "4.jpg", ".5.jpg")
    for name, target in (
        ("a.jpg", root / "z/1.jpg"),
        ("b.jpg", root / "a.jpg"),
        ("c.jpg", root / "z/.kept/2.jpg"),
        ("d.jpg", tmp_path / "pool/3.jpg"),
        ("e.jpg", tmp_path / "pool/3.jpg"),
        ("f", tmp_path / "pool"),
        ("g.jpg", tmp_path / "pool/4.jpg"),
        ("h.jpg", tmp_path / "pool/.5.jpg"),
    ):
        (root / name).symlink_to(target)
    skipped = SkippedFiles()
    assert _list(root, skipped) == ["z/1.jpg", "c.jpg", "d.jpg", "f/4.jpg", "h.jpg"]
    assert skipped.counts["link to a photo listed already"] == 5


def test_classes_do_not_list_each_others_images(tmp_path: Path) -> None:
    root = make_files(tmp_path / "photos", "cat/1.jpg", "dog/2.jpg", "loose.jpg", ".pool/3.jpg")
    (root / "dog/1.jpg").symlink_to(root / "cat/1.jpg")
    (root / "dog/all").symlink_to(root / "cat")
    (root / "dog/3.jpg").symlink_to(root / "loose.jpg")
    (root / "dog/4.jpg").symlink_to(root / ".pool/3.jpg")
    skipped = SkippedFiles()
    found = [path.name for path in walk_images(root / "dog", skipped, {root / "cat", root / "dog"})]
    assert found == ["2.jpg", "3.jpg", "4.jpg"]
    assert skipped.counts == {"link to photos of another class": 2}


@pytest.mark.parametrize("target", [".", "..", "/", "cat", "../photos/dog", "latest"])
def test_links_to_parent_or_sibling_folders_are_not_followed(tmp_path: Path, target: str) -> None:
    root = make_files(tmp_path / "photos", "cat/1.jpg", "dog/2.jpg")
    (root / "latest").symlink_to(target)
    skipped = SkippedFiles()
    assert [path.name for path in list_folder_content(root, skipped).folders] == ["cat", "dog"]
    assert skipped.counts.total() == (0 if target == "latest" else 1)
    assert _list(root) == ["cat/1.jpg", "dog/2.jpg"]


def test_unreadable_links_are_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_files(tmp_path, "cat/1.jpg")
    (tmp_path / "cat/link").symlink_to("elsewhere")

    def refused(path: object) -> str:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.readlink", refused)
    assert _list(tmp_path) == ["cat/1.jpg"]


def test_linked_folder_is_listed(tmp_path: Path) -> None:
    make_files(tmp_path / "pool", "1.jpg")
    (tmp_path / "photos").symlink_to(tmp_path / "pool")
    assert _list(tmp_path / "photos") == ["1.jpg"]


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder with one photo below more folders than Python may recurse."""
    before = Path.cwd()
    os.chdir(tmp_path)
    for _ in range(sys.getrecursionlimit() + 200):
        os.mkdir("a")  # noqa: PTH102 - pathlib recurses
        os.chdir("a")
    Path("1.jpg").write_bytes(b"x")
    os.chdir(before)
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path / "a")], check=True)


def test_very_deep_folders(deep: Path) -> None:
    assert [path.name for path in walk_images(deep, SkippedFiles())] == ["1.jpg"]
    assert len(list_folder_content(deep, SkippedFiles()).folders) == 1


@contextmanager
def _without_rights(root: Path) -> Iterator[None]:
    """Drop root privileges."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (root, *root.parents):
        if folder.owner() == "root" and not folder.stat().st_mode & 0o005:
            folder.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_unreadable_folders_are_counted(tmp_path: Path) -> None:
    root, skipped = make_files(tmp_path, "a/1.jpg", "b/2.jpg", "c/d/3.jpg"), SkippedFiles()
    closed = root / "b", root / "c/d"
    for folder in closed:
        folder.chmod(0)
    with _without_rights(root):
        assert _list(root, skipped) == ["a/1.jpg"]
        assert skipped.unreadable == dict.fromkeys(closed, "Permission denied")
        with pytest.raises(AssayError, match="b cannot be read: Permission denied"):
            _list(root / "b")
    for folder in closed:
        folder.chmod(0o755)


def test_undecodable_names(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9/\xff.jpg")
    assert _list(make_files(tmp_path, name)) == [name]


def test_pipes_are_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    skipped = SkippedFiles()
    assert _list(tmp_path, skipped) == []
    assert skipped.counts == {"not a regular file": 1}


def test_image_is_detected_by_name_or_content(tmp_path: Path) -> None:
    (tmp_path / "1.JPEG").write_bytes(b"text")
    (tmp_path / "2.bin").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    (tmp_path / "3.txt").write_bytes(b"text")
    assert [is_image_file(path) for path in sorted(tmp_path.iterdir())] == [True, True, False]
    assert is_image_file(tmp_path / "gone")
