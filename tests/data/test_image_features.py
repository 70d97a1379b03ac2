"""Features of single images."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from assay.data.image_features import extract_features, measure_detail
from assay.data.near_duplicates import MIN_DETAIL
from assay.image import DecodeError


def _bytes(pixels: np.ndarray, kind: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def _noise(height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def test_shapes_and_header_fields() -> None:
    features = extract_features(_bytes(_noise(240, 320), "JPEG"))

    assert (features.format, features.width, features.height, features.mode) == ("jpeg", 320, 240, "RGB")
    assert features.colour_thumbnail.shape == (16, 16, 3)
    assert features.gray_thumbnail.shape == (64, 64)
    assert features.colour_thumbnail.dtype == features.gray_thumbnail.dtype == np.uint8
    assert len(features.digest) == 64


def test_small_images_have_small_thumbnails() -> None:
    assert extract_features(_bytes(_noise(32, 64))).gray_thumbnail.shape == (32, 32)


def test_blur_lowers_sharpness() -> None:
    sharp = _noise(320, 320)
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(12)))

    assert extract_features(_bytes(sharp)).sharpness > 5 * extract_features(_bytes(blurred)).sharpness


def test_brightness_is_measured() -> None:
    black = extract_features(_bytes(np.zeros((80, 80, 3), np.uint8)))
    assert (black.dark, black.bright, black.contrast, black.sharpness) == (0, 0, 0, 0)

    half = np.zeros((80, 80, 3), np.uint8)
    half[:, 40:] = 200
    assert (extract_features(_bytes(half)).dark, extract_features(_bytes(half)).bright) == (0, 200)


def test_shading_is_not_detail() -> None:
    along = np.linspace(0, 1, 64)
    sky = (80 + 90 * along[:, None] - 40 * along**2).astype(np.uint8)

    assert measure_detail(sky) < MIN_DETAIL
    assert measure_detail(np.asarray(Image.fromarray(_noise(64, 64)).convert("L"))) > 10 * MIN_DETAIL


def test_damaged_bytes_raise() -> None:
    data = _bytes(_noise(240, 320), "JPEG")

    with pytest.raises(DecodeError, match="truncated"):
        extract_features(data[: len(data) // 2])
