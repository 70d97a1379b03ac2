import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from assay.data.dataset import Sample
from assay.data.image_scan import verify

WritePhoto = Callable[..., Path]


def candidate(path: Path) -> Sample:
    return Sample(path.name, path, "a")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "JPEG"),
        ("a.JPG", "WEBP"),
        ("photo", "PNG"),
        ("a.txt", "BMP"),
        ("日本.jpeg", "JPEG"),
        ("a.png", "TIFF"),
    ],
)
def test_content_decides_not_the_name(tmp_path: Path, write_photo: WritePhoto, name: str, kind: str) -> None:
    path = write_photo(tmp_path / name, kind)
    verified = verify([candidate(path)])
    assert [sample.digest for sample in verified.samples] == [hashlib.sha256(path.read_bytes()).hexdigest()]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("missing", [40, 400])
def test_truncated_photos_are_unreadable(tmp_path: Path, write_photo: WritePhoto, kind: str, missing: int) -> None:
    path = write_photo(tmp_path / "a.jpg", kind, (200, 200))
    whole = path.read_bytes()
    assert len(verify([candidate(path)]).samples) == 1
    path.write_bytes(whole[:-missing])
    assert [one.id for one in verify([candidate(path)]).unreadable] == ["a.jpg"]


@pytest.mark.parametrize("progressive", [False, True])
def test_large_jpegs_that_lack_one_byte_of_picture_are_found_by_draft_decoding(
    tmp_path: Path, progressive: bool
) -> None:
    path = tmp_path / "a.jpg"
    Image.effect_noise((1080, 1920), 60).save(path, progressive=progressive)
    assert len(verify([candidate(path)]).samples) == 1
    path.write_bytes(path.read_bytes()[:-3])
    assert len(verify([candidate(path)]).unreadable) == 1


def test_a_photo_that_asks_for_too_much_work_is_listed_as_too_complex(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("L", (4096, 4096)).save(path, progressive=True)
    data = path.read_bytes()
    last = data.rfind(b"\xff\xda")
    path.write_bytes(data[:last] + data[last:-2] * 1000 + b"\xff\xd9")
    (unreadable,) = verify([candidate(path)]).unreadable
    assert unreadable.reason.startswith("too complex: ")


def test_other_files_are_skipped_and_false_photos_are_not(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "web.JPEG").write_text("<html>not found</html>")
    verified = verify([candidate(path) for path in sorted(tmp_path.iterdir())] + [candidate(tmp_path / "gone.png")])
    assert verified.samples == []
    assert verified.skipped == {"not an image": 1}
    assert {one.id: one.reason for one in verified.unreadable} == {
        "empty.jpg": "empty file",
        "web.JPEG": "unsupported: a web page, not a photo",
        "gone.png": "the file does not exist",
    }


def test_names_that_are_not_unicode_are_listed(tmp_path: Path, write_photo: WritePhoto) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    write_photo(tmp_path / "a.jpg").rename(path)
    verified = verify([candidate(path)])
    assert [(one.id, one.reason) for one in verified.unreadable] == [
        ("caf\\xe9.jpg", "its name is not valid Unicode"),
    ]


def test_order_is_kept_and_progress_reaches_the_end(tmp_path: Path, write_photo: WritePhoto) -> None:
    paths = [write_photo(tmp_path / f"{number}.png", "PNG", (8, 8)) for number in range(50)]
    told: list[tuple[str, int, int]] = []
    verified = verify([candidate(path) for path in paths], lambda *step: told.append(step))
    assert [sample.path for sample in verified.samples] == paths
    assert told[-1] == ("Reading photos", 50, 50)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
