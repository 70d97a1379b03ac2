import numpy as np
import pytest
from PIL import Image

from assay.image.augmentation import brightness, contrast, gaussian_blur, gaussian_noise

_RAMP = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)


def _generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.7])
def test_brightness_multiplies(factor: float):
    changed = brightness(_RAMP, _generator(), factor=(factor, factor))
    np.testing.assert_array_equal(changed, np.rint(_RAMP * factor).clip(0, 255))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.7])
def test_contrast_is_about_the_mean_of_the_photo(photo: Image.Image, alpha: float):
    pixels = np.asarray(photo)
    mean = pixels.mean()
    changed = contrast(pixels, _generator(), alpha=(alpha, alpha))
    np.testing.assert_array_equal(changed, np.rint(alpha * (pixels - mean) + mean).clip(0, 255))


def test_contrast_keeps_the_mean():
    pixels = np.full((8, 8, 3), 100, np.uint8)
    pixels[::2] = 140
    changed = contrast(pixels, _generator(), alpha=(0.5, 0.5))
    assert set(changed.ravel()) == {110, 130}


def test_factors_cover_their_range():
    gray = np.full((1, 1, 3), 100, np.uint8)
    generator = _generator()
    drawn = [int(brightness(gray, generator, factor=(0.8, 1.2))[0, 0, 0]) for _ in range(500)]
    assert (min(drawn), max(drawn)) == (80, 120)
    two = np.array([[[100, 100, 100], [120, 120, 120]]], np.uint8)
    drawn = [int(contrast(two, generator, alpha=(0.5, 1.5))[0, 0, 0]) for _ in range(500)]
    assert (min(drawn), max(drawn)) == (95, 105)


@pytest.mark.parametrize("variance", [10.0, 50.0])
def test_noise_has_the_variance_on_every_channel_and_no_bias(variance: float):
    gray = np.full((400, 400, 3), 128, np.uint8)
    noise = gaussian_noise(gray, _generator(), variance=(variance, variance)).astype(float) - 128
    # Rounding to whole levels adds 1/12.
    assert noise.var(axis=(0, 1)) == pytest.approx([variance + 1 / 12] * 3, rel=0.02)
    assert np.abs(noise.mean(axis=(0, 1))).max() < 0.05
    assert abs(np.corrcoef(noise[:, :, 0].ravel(), noise[:, :, 1].ravel())[0, 1]) < 0.02


def test_noise_draws_its_variance_from_the_range():
    gray, generator = np.full((100, 100, 3), 128, np.uint8), _generator()
    drawn = [gaussian_noise(gray, generator, variance=(10, 50)).var() for _ in range(100)]
    assert 9.5 < min(drawn) < 14
    assert 45 < max(drawn) < 52.5


def test_noise_is_clipped_not_wrapped():
    for level in (0, 255):
        noisy = gaussian_noise(np.full((50, 50, 3), level, np.uint8), _generator(), variance=(50, 50))
        assert np.abs(noisy.astype(int) - level).max() < 50


def test_blur_takes_every_odd_kernel_and_no_other():
    point = np.zeros((15, 15, 3), np.uint8)
    point[7, 7] = 255
    generator = _generator()
    widths = {int((gaussian_blur(point, generator, kernel=(3, 7))[7, :, 0] > 0).sum()) for _ in range(60)}
    assert widths == {3, 5, 7}
    assert (gaussian_blur(point, generator, kernel=(5, 5))[7, :, 0] > 0).sum() == 5


def test_the_pixels_given_are_left_alone():
    before = _RAMP.copy()
    brightness(_RAMP, _generator(), factor=(0.5, 0.5))
    contrast(_RAMP, _generator(), alpha=(0.5, 0.5))
    gaussian_noise(_RAMP, _generator(), variance=(10, 50))
    gaussian_blur(_RAMP, _generator(), kernel=(3, 7))
    np.testing.assert_array_equal(_RAMP, before)
