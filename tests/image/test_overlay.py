"""Heat maps over photos."""

import io

import numpy as np
import pytest
from PIL import Image

from assay.image.overlay import encode_png, heatmap_overlay

RNG = np.random.default_rng(0)


def ramp(height: int = 40, width: int = 256) -> np.ndarray:
    return np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))


def lightness(pixels: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB pixels, 0-100."""
    linear = np.where(pixels <= 0.04045 * 255, pixels / 255 / 12.92, ((pixels / 255 + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def test_lightness_increases_evenly_with_heat():
    gray = np.full((40, 256, 3), 128, dtype=np.uint8)
    steps = np.diff(lightness(heatmap_overlay(gray, ramp())[20])[[0, 32, 64, 96, 150, 192, 224, 255]])
    assert (steps > 2).all()


def test_photo_is_gray_without_heat():
    photo = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    shown = heatmap_overlay(photo, np.zeros((30, 40), dtype=np.float32)).astype(int)
    assert np.ptp(shown, axis=2).max() <= 3
    luma = photo @ np.array([0.299, 0.587, 0.114])
    assert np.corrcoef(shown.mean(axis=2).ravel(), luma.ravel())[0, 1] > 0.99


def test_outline_at_half_of_the_heat():
    shown = heatmap_overlay(np.zeros((40, 256, 3), dtype=np.uint8), ramp())
    white = np.flatnonzero((shown[20] > 200).all(axis=1))
    assert white.min() == pytest.approx(128, abs=2)


def test_outside_of_the_box_is_dark():
    photo = np.full((40, 60, 3), 200, dtype=np.uint8)
    heat = np.zeros((40, 60), dtype=np.float32)
    shown = heatmap_overlay(photo, heat, (10, 5, 50, 40))
    np.testing.assert_array_equal(shown[5:, 10:50], heatmap_overlay(photo, heat)[5:, 10:50])
    assert shown[:5].max() < shown[20, 20].min() * 0.6
    assert shown[:, 50:].max() < shown[20, 20].min() * 0.6


def test_inputs_are_not_changed():
    photo, heat = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8), RNG.random((30, 40))
    kept = photo.copy(), heat.copy()
    heatmap_overlay(photo, heat, (1, 1, 20, 20))
    np.testing.assert_array_equal(photo, kept[0])
    np.testing.assert_array_equal(heat, kept[1])


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="does not fit"):
        heatmap_overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4)))


def test_png_keeps_every_pixel():
    pixels = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    data = encode_png(pixels)
    assert data == encode_png(pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
