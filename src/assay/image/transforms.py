"""Random changes that are ours, because albumentations lacks them or does otherwise than the recipes say.

Its Gaussian noise draws from a generator that the whole process shares, so no seed repeats it; its Gaussian
blur also has kernels of even side; it has no contrast about the mean of all channels. Each function takes
pixels as uint8 [H, W, 3], leaves them unchanged, and draws only from the generator it is given.
"""

import cv2
import numpy as np

Array = np.ndarray
Range = tuple[float, float]


def brightness(pixels: Array, generator: np.random.Generator, *, factor: Range) -> Array:
    """Multiply all values by a factor from the range `factor`; round, clip to 0-255."""
    return _linear(pixels, generator.uniform(*factor), 0.0)


def contrast(pixels: Array, generator: np.random.Generator, *, alpha: Range) -> Array:
    """Map values I to α(I - μ) + μ, where μ is the mean of all pixels and channels; round, clip to 0-255."""
    drawn = generator.uniform(*alpha)
    return _linear(pixels, drawn, (1 - drawn) * float(pixels.mean()))


def gaussian_noise(pixels: Array, generator: np.random.Generator, *, variance: Range) -> Array:
    """Add independent normal noise to every value; round, clip to 0-255.

    The standard deviation is uniform between the square roots of the ends of `variance` (0-255 scale).
    albumentations draws its noise from a generator shared by the process, which no seed can repeat.
    """
    std = generator.uniform(variance[0] ** 0.5, variance[1] ** 0.5)
    noise = generator.standard_normal(pixels.shape, dtype=np.float32)
    noise *= np.float32(std)
    noise += pixels
    return np.rint(noise, out=noise).clip(0, 255, out=noise).astype(np.uint8)


def gaussian_blur(pixels: Array, generator: np.random.Generator, *, kernel: tuple[int, int]) -> Array:
    """Blur with a random odd kernel size from the range `kernel`, whose ends are odd; borders are mirrored.

    The standard deviation for size k is 0.3((k - 1) / 2 - 1) + 0.8 pixels, OpenCV's rule.
    """
    side = int(generator.integers(kernel[0] // 2, kernel[1] // 2, endpoint=True)) * 2 + 1
    return np.asarray(cv2.GaussianBlur(pixels, (side, side), 0))


def _linear(pixels: Array, factor: float, offset: float) -> Array:
    levels = np.rint(np.arange(256) * factor + offset).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, levels))
