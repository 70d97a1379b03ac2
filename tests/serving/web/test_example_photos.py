"""Example photos: which files are taken, and who may see them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from assay.core.errors import UsageError
from assay.serving.web.example_photos import MAX_EXAMPLES, read_examples


def photo(path: Path, shade: int = 0) -> Path:
    Image.new("RGB", (400, 200), (shade, 20, 20)).save(path)
    return path


def test_files_and_folders_are_read_and_bounded(tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(30):
        photo(folder / f"{number:02}.png", number)
    (folder / "notes.txt").write_text("no photo")
    alone = photo(tmp_path / "alone.png")
    names = [item.name for item in read_examples([alone, folder])]
    assert len(names) == MAX_EXAMPLES
    assert names[:2] == ["alone.png", "01.png"]
    (example,) = read_examples([alone])
    assert example.data == alone.read_bytes()
    assert example.thumbnail[:2] == b"\xff\xd8"
    assert read_examples([]) == []


def broken(folder: Path) -> Path:
    (folder / "broken.png").write_bytes(b"no photo")
    return folder / "broken.png"


@pytest.mark.parametrize("make", [lambda folder: folder / "absent", lambda folder: folder, broken])
def test_what_cannot_be_shown_is_named(tmp_path: Path, make: Callable[[Path], Path]):
    path = make(tmp_path)
    with pytest.raises(UsageError, match=f"^examples: .*{path.name}"):
        read_examples([path])
