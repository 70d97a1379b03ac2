"""Which images are meant by path arguments."""

import os
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from assay.core.errors import UsageError
from assay.image.ignore_rules import SkippedFiles
from assay.image.input_paths import expand_image_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("b/2.png", "b/1.png", "a.png", "c/.hidden.png", ".cache/x.png", "c/d/3.data"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name, "PNG")
    (root / "notes.txt").write_text("no photo", encoding="utf-8")
    (root / "c" / "empty.JPG").touch()
    (root / "c" / "text.jpeg").write_text("no photo", encoding="utf-8")
    return root


def _names(found: object, root: Path) -> list[str]:
    assert not isinstance(found, list)
    return [str(path.relative_to(root)) for path in found]


def test_folder_lists_images_also_broken_ones(folder: Path):
    assert _names(expand_image_paths([str(folder)]), folder) == [
        "a.png", "b/1.png", "b/2.png", "c/d/3.data", "c/empty.JPG", "c/text.jpeg",
    ]  # fmt: skip


def test_folder_is_walked_lazily(folder: Path):
    found = expand_image_paths([str(folder)])
    first = list(islice(found, 1))
    (folder / "b" / "2.png").unlink()
    assert [path.name for path in first] == ["a.png"]
    assert "2.png" not in [path.name for path in found]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["b/2.png", "b"], ["b/2.png", "b/1.png"]),
        (["b", "b/2.png"], ["b/1.png", "b/2.png"]),
        (["b", "b"], ["b/1.png", "b/2.png"]),
        (["b", "."], ["b/1.png", "b/2.png", "a.png", "c/d/3.data", "c/empty.JPG", "c/text.jpeg"]),
        (["b", ".", "c"], ["b/1.png", "b/2.png", "a.png", "c/d/3.data", "c/empty.JPG", "c/text.jpeg"]),
        (["b/*.png", "b/1.png"], ["b/1.png", "b/2.png"]),
        (["notes.txt"], ["notes.txt"]),
    ],
)
def test_each_photo_is_listed_once(folder: Path, typed: list[str], expected: list[str]):
    assert _names(expand_image_paths([str(folder / name) for name in typed]), folder) == expected


def test_output_file_is_not_listed(folder: Path):
    out = folder / "b" / "1.png"
    assert "b/1.png" not in _names(expand_image_paths([str(folder)], exclude=[out]), folder)
    assert "b/1.png" not in _names(expand_image_paths([str(folder / "b" / "*")], exclude=[out]), folder)
    with pytest.raises(UsageError, match="is the output file"):
        expand_image_paths([str(out)], exclude=[out])


def test_an_empty_path_is_not_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match="the path of a photo is empty"):
        expand_image_paths([""])
    assert list(expand_image_paths(["."]))


@pytest.mark.parametrize("name", ["nowhere.png", "*.nothing", "c/.."])
def test_missing_paths_raise_at_once(folder: Path, name: str):
    for path in [*folder.rglob("*.*")]:
        if path.is_file():
            path.unlink()
    with pytest.raises(UsageError, match=r"does not exist|matches no file|contains no photos"):
        expand_image_paths([str(folder / name)])


def test_links_are_followed_and_each_photo_listed_once(folder: Path, tmp_path: Path):
    Image.new("RGB", (4, 4)).save(tmp_path / "e.png")
    (tmp_path / "more").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "more" / "f.png")
    (folder / "d.png").symlink_to(folder / "a.png")
    (folder / "e.png").symlink_to(tmp_path / "e.png")
    (folder / "more").symlink_to(tmp_path / "more")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.png").symlink_to(folder / "nowhere")
    skipped = SkippedFiles()
    names = _names(expand_image_paths([str(folder)], skipped=skipped), folder)
    assert names[-2:] == ["e.png", "more/f.png"]
    assert "d.png" not in names
    assert not any(name.startswith("loop") for name in names)
    assert skipped.counts == {
        "broken link": 1,
        "folder reached twice": 1,
        "hidden": 2,
        "link to a photo listed already": 1,
        "not an image": 1,
    }


def test_pipes_in_folders_are_skipped(folder: Path):
    os.mkfifo(folder / "pipe.png")
    assert "pipe.png" not in _names(expand_image_paths([str(folder)]), folder)
