"""Capture times from file names and Exif data, and frame numbers of videos."""

import io

import pytest
from PIL import Image

from assay.data.capture_time import FramePosition, exif_time, filename_time, parse_frame

_NOON = 1704110462.0  # 2024-01-01 12:01:02


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("open/1715279745553.jpg", 1715279745.553),
        ("1715279745.png", 1715279745.0),
        ("IMG_20240101_120102.jpg", _NOON),
        ("PXL_20240101_120102500.jpg", _NOON + 0.5),
        ("2024-01-01 12.01.02.png", _NOON),
        ("a/2024-01-01T12:01:02.webp", _NOON),
        ("cell0001.png", None),
        ("IMG_0001.jpg", None),
        ("20241301_120102.jpg", None),
        ("17152797455531.jpg", None),
    ],
)
def test_capture_times_in_file_names(name: str, seconds: float | None) -> None:
    assert filename_time(name) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("a/frame_000123.jpg", FramePosition("a/frame_", 123)),
        ("door_frame12.png", FramePosition("./door_frame", 12)),
        ("Video1_007.jpg", FramePosition("./Video1_", 7)),
        ("cell0123.png", None),
        ("IMG_0001.jpg", None),
        ("frame.jpg", None),
    ],
)
def test_frame_numbers_need_a_video_name(name: str, frame: FramePosition | None) -> None:
    assert parse_frame(name) == frame


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_capture_time(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 12:01:02"
    exif.get_ifd(0x8769)[0x9291] = "25"
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, kind, exif=exif)

    assert exif_time(data.getvalue()) == pytest.approx(_NOON + 0.25)


def test_missing_or_damaged_exif_has_no_time() -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "JPEG")

    assert exif_time(data.getvalue()) is None
    assert exif_time(b"\xff\xd8\xff\xe1\0\x20Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(40)) is None
    assert exif_time(b"....Exif\0\0") is None
