import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from assay.data.image_statistics import (
    FramePosition,
    exif_time,
    extract_features,
    filename_time,
    measure_detail,
    parse_frame,
)
from assay.data.near_duplicates import MIN_DETAIL
from assay.image import DecodeError


def _bytes(pixels: np.ndarray, kind: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def _noise(height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def test_shapes_and_header() -> None:
    features = extract_features(_bytes(_noise(240, 320), "JPEG"))

    assert (features.format, features.width, features.height, features.mode) == ("jpeg", 320, 240, "RGB")
    assert features.colour_thumbnail.shape == (16, 16, 3)
    assert features.gray_thumbnail.shape == (64, 64)
    assert features.colour_thumbnail.dtype == features.gray_thumbnail.dtype == np.uint8
    assert len(features.digest) == 64


def test_small_photos_have_small_thumbnails() -> None:
    assert extract_features(_bytes(_noise(32, 64))).gray_thumbnail.shape == (32, 32)


def test_blur_lowers_sharpness() -> None:
    sharp = _noise(320, 320)
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(12)))

    assert extract_features(_bytes(sharp)).sharpness > 5 * extract_features(_bytes(blurred)).sharpness


def test_light_is_measured() -> None:
    black = extract_features(_bytes(np.zeros((80, 80, 3), np.uint8)))
    assert (black.dark, black.bright, black.contrast, black.sharpness) == (0, 0, 0, 0)

    half = np.zeros((80, 80, 3), np.uint8)
    half[:, 40:] = 200
    assert (extract_features(_bytes(half)).dark, extract_features(_bytes(half)).bright) == (0, 200)


def test_shading_is_no_detail() -> None:
    along = np.linspace(0, 1, 64)
    sky = (80 + 90 * along[:, None] - 40 * along**2).astype(np.uint8)

    assert measure_detail(sky) < MIN_DETAIL
    assert measure_detail(np.asarray(Image.fromarray(_noise(64, 64)).convert("L"))) > 10 * MIN_DETAIL


def test_damaged_bytes_are_refused() -> None:
    data = _bytes(_noise(240, 320), "JPEG")

    with pytest.raises(DecodeError, match="truncated"):
        extract_features(data[: len(data) // 2])


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
def test_times_in_names(name: str, seconds: float | None) -> None:
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
def test_frames_only_where_a_name_speaks_of_films(name: str, frame: FramePosition | None) -> None:
    assert parse_frame(name) == frame


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_time(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:01 12:01:02"
    exif.get_ifd(0x8769)[0x9291] = "25"
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, kind, exif=exif)

    assert exif_time(data.getvalue()) == pytest.approx(_NOON + 0.25)


def test_no_exif_or_damaged_exif_is_no_time() -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "JPEG")

    assert exif_time(data.getvalue()) is None
    assert exif_time(b"\xff\xd8\xff\xe1\0\x20Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(40)) is None
    assert exif_time(b"....Exif\0\0") is None
