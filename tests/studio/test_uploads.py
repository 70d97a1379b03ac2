"""Uploaded files: safe names, bounded sizes, and nothing that is no photo."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studio_projects import paint

from assay.core.errors import AssayError, UsageError
from assay.image.ignore_rules import SkippedFiles
from assay.image.image_files import walk_images
from assay.studio.uploads import read_limited, safe_name, save_photo, save_video


async def stream(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@given(
    st.one_of(st.text(max_size=300), st.sampled_from(["../../etc/passwd", "C:\\x\\..\\y.jpg", ".", "..", "Thumbs.db"]))
)
def test_any_name_becomes_that_of_a_visible_file_in_the_folder(name: str):
    safe = safe_name(name)
    assert safe
    assert Path(safe).name == safe
    assert not set(safe) & set('/\\:*?"<>|\0\n')
    assert not safe.startswith((".", "-"))
    assert len(safe.encode()) <= 1000


def test_a_photo_is_stored_unchanged_and_once(tmp_path: Path):
    data = paint(tmp_path / "source.png").read_bytes()
    path, new = save_photo(data, tmp_path / "photos", "../../a<b>.png")
    assert (path.parent, new, path.read_bytes()) == (tmp_path / "photos", True, data)
    assert save_photo(data, tmp_path / "photos", "../../a<b>.png") == (path, False)
    other = paint(tmp_path / "other.png", seed=1).read_bytes()
    second, new = save_photo(other, tmp_path / "photos", "a<b>.png")
    assert (new, second != path, second.read_bytes()) == (True, True, other)
    third, _ = save_photo(other, tmp_path / "photos", "Thumbs.db")
    assert third in list(walk_images(tmp_path / "photos", SkippedFiles()))


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n12345", b"GIF89a" + bytes(100)])
def test_what_is_no_photo_is_refused_and_not_stored(tmp_path: Path, data: bytes):
    with pytest.raises(AssayError):
        save_photo(data, tmp_path, "x.png")
    assert list(tmp_path.iterdir()) == []


def test_a_body_is_read_up_to_its_limit():
    assert asyncio.run(read_limited(stream(b"ab", b"cd"), 4)) == b"abcd"
    with pytest.raises(UsageError):
        asyncio.run(read_limited(stream(b"ab", b"cde"), 4))


def test_a_video_needs_the_suffix_of_one(tmp_path: Path):
    path = asyncio.run(save_video(stream(b"ab", b"c"), tmp_path, "../a.mp4"))
    assert (path, path.read_bytes()) == (tmp_path / "a.mp4", b"abc")
    with pytest.raises(UsageError):
        asyncio.run(save_video(stream(b"x"), tmp_path, "a.sh"))


def test_a_video_never_replaces_another_of_its_name(tmp_path: Path):
    videos = [b"first", b"second", b"third", b"other"]
    (tmp_path / "a-3.mp4").symlink_to("absent")
    paths = [asyncio.run(save_video(stream(data), tmp_path, "a.mp4")) for data in videos]
    assert [path.name for path in paths] == ["a.mp4", "a-2.mp4", "a-4.mp4", "a-5.mp4"]
    assert [path.read_bytes() for path in paths] == videos
    assert asyncio.run(save_video(stream(b"sec", b"ond"), tmp_path, "a.mp4")) == paths[1]
    assert len(list(tmp_path.iterdir())) == 5


def test_videos_of_one_name_uploaded_at_once_are_all_kept(tmp_path: Path):
    async def upload() -> list[Path]:
        return await asyncio.gather(*(save_video(stream(bytes([n])), tmp_path, "a.mp4") for n in range(20)))

    assert {path.read_bytes() for path in asyncio.run(upload())} == {bytes([n]) for n in range(20)}


def test_a_video_whose_name_is_that_of_a_folder_gets_another(tmp_path: Path):
    (tmp_path / "a.mp4").mkdir()
    assert asyncio.run(save_video(stream(b"x"), tmp_path, "a.mp4")).name == "a-2.mp4"
