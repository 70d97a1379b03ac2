"""Random augmentation of training images, repeatable by seed.

Transforms of albumentations, and those that it lacks or cannot repeat.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import albumentations
import cv2
import numpy as np
from PIL import Image

from assay.core.errors import UsageError
from assay.recipe import Transform
from assay.recipe import augmentation as settings

Array = np.ndarray
Range = tuple[float, float]


def brightness(pixels: Array, generator: np.random.Generator, *, factor: Range) -> Array:
    """Multiply all values by a factor from the range `factor`; round, clip to 0-255."""
    return _linear_map(pixels, generator.uniform(*factor), 0.0)


def contrast(pixels: Array, generator: np.random.Generator, *, alpha: Range) -> Array:
    """Map values I to α(I - μ) + μ, where μ is the mean of all pixels and channels; round, clip to 0-255."""
    drawn = generator.uniform(*alpha)
    return _linear_map(pixels, drawn, (1 - drawn) * float(pixels.mean()))


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


def random_crop(pixels: Array, generator: np.random.Generator, *, padding: float) -> Array:
    """Shift by up to `padding` of each side; what lies outside is the reflection of the image.

    The shifts in x and y are uniform over whole pixels, as in the usual augmentation of CIFAR-10 (He et al., "Deep
    Residual Learning for Image Recognition", 2016, section 4.2, there with zeros outside).
    """
    height, width = pixels.shape[:2]
    down, right = round(padding * height), round(padding * width)
    padded = cv2.copyMakeBorder(pixels, down, down, right, right, cv2.BORDER_REFLECT_101)
    top, left = (int(generator.integers(2 * most, endpoint=True)) for most in (down, right))
    return np.asarray(padded[top : top + height, left : left + width])


def _linear_map(pixels: Array, factor: float, offset: float) -> Array:
    levels = np.rint(np.arange(256) * factor + offset).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, levels))


_Step = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Augment:
    """A recipe's random transforms in order; the same pixels and seed give the same result on every machine.

    Not thread-safe; may be pickled to other processes. `size` is the side of the result in pixels; None keeps every
    image's own width and height. Raises `UsageError` if a transform's values are invalid, such as a blur without an
    odd kernel size.
    """

    def __init__(self, transforms: Sequence[Transform], size: int | None) -> None:
        self.size = size
        self._crops = any(isinstance(spec, settings.RandomResizedCrop) for spec in transforms)
        self._steps = [(spec.p, _build(spec, size)) for spec in transforms]

    def __call__(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        """Augment an image, uint8 [H, W, 3], at random; the result is a new array.

        Without a random crop, the image is resized to `size` first, so that kernels and noise are in the network's
        pixels; otherwise the crop resizes it. `seed`, 0 or more, is the only source of randomness.
        """
        # One generator for all steps. albumentations' Compose would seed each step with the same numbers: all
        # steps of equal probability would be applied together or not at all.
        generator = np.random.default_rng(seed)
        changed = pixels if self._crops else _resized(pixels, self.size)
        for probability, step in self._steps:
            if generator.random() < probability:
                changed = step(changed, generator)
        changed = np.ascontiguousarray(_resized(changed, self.size))
        return changed.copy() if np.shares_memory(changed, pixels) else changed


class _AlbumentationsStep:
    """A transform of albumentations; `strict` makes an unknown argument an error instead of a warning."""

    def __init__(self, kind: Callable[..., Any], **values: Any) -> None:
        self.transform = kind(**values, p=1.0, strict=True)

    def __call__(self, pixels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        self.transform.set_random_state(generator, random.Random(int(generator.integers(2**63))))  # noqa: S311
        return np.asarray(self.transform(image=pixels)["image"])


def _resized(pixels: np.ndarray, size: int | None) -> np.ndarray:
    if size is None or pixels.shape[:2] == (size, size):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def _build(spec: Transform, size: int | None) -> _Step:
    try:
        return _STEP_BUILDERS[spec.name](spec, size)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"augmentation {spec.name} cannot be made from {spec!r}: {reason}") from None


def _random_resized_crop(spec: settings.RandomResizedCrop, size: int | None) -> _Step:
    if size is None:
        return partial(_crop_to_own_size, spec=spec)
    return _crop_to(spec, (size, size))


def _crop_to_own_size(
    pixels: np.ndarray, generator: np.random.Generator, *, spec: settings.RandomResizedCrop
) -> np.ndarray:
    return _crop_to(spec, (pixels.shape[0], pixels.shape[1]))(pixels, generator)


def _crop_to(spec: settings.RandomResizedCrop, shape: tuple[int, int]) -> _Step:
    return _AlbumentationsStep(
        albumentations.RandomResizedCrop,
        size=shape,
        scale=spec.scale,
        ratio=spec.ratio,
        interpolation=cv2.INTER_LINEAR,
        area_for_downscale="image",
    )


def _rotate(spec: settings.Rotate, _: int | None) -> _Step:
    return _AlbumentationsStep(albumentations.Rotate, limit=spec.degrees, border_mode=cv2.BORDER_REFLECT_101)


def _color_jitter(spec: settings.ColorJitter, _: int | None) -> _Step:
    return _AlbumentationsStep(
        albumentations.ColorJitter,
        brightness=spec.brightness,
        contrast=spec.contrast,
        saturation=spec.saturation,
        hue=spec.hue,
    )


def _optical_distortion(spec: settings.OpticalDistortion, _: int | None) -> _Step:
    return _AlbumentationsStep(
        albumentations.OpticalDistortion, distort_limit=spec.limit, border_mode=cv2.BORDER_REFLECT_101
    )


def _grid_distortion(spec: settings.GridDistortion, size: int | None) -> _Step:
    if size is not None and spec.steps > size:
        raise ValueError(f"an image of {size} pixels per side cannot have more cells than pixels")
    distort = _AlbumentationsStep(
        albumentations.GridDistortion,
        num_steps=spec.steps,
        distort_limit=spec.limit,
        border_mode=cv2.BORDER_REFLECT_101,
    )
    return partial(_if_cells_fit, distort=distort, cells=spec.steps)


def _if_cells_fit(
    pixels: np.ndarray, generator: np.random.Generator, *, distort: _AlbumentationsStep, cells: int
) -> np.ndarray:
    """Apply a grid distortion unless a side of the image has fewer pixels than the grid has cells."""
    return distort(pixels, generator) if min(pixels.shape[:2]) >= cells else pixels


def _motion_blur(spec: settings.MotionBlur, _: int | None) -> _Step:
    return _AlbumentationsStep(albumentations.MotionBlur, blur_limit=_odd_range(spec.kernel), allow_shifted=False)


def _odd_range(kernel: tuple[int, int]) -> tuple[int, int]:
    low, high = kernel[0] | 1, kernel[1] - (kernel[1] + 1) % 2
    if low < 3 or low > high:
        raise ValueError("the range of kernel sizes must contain an odd number and start at 3 or above")
    return low, high


_STEP_BUILDERS: Final[dict[str, Callable[[Any, int | None], _Step]]] = {
    "random_resized_crop": _random_resized_crop,
    "random_crop": lambda spec, _: partial(random_crop, padding=spec.padding),
    "horizontal_flip": lambda _, __: _AlbumentationsStep(albumentations.HorizontalFlip),
    "vertical_flip": lambda _, __: _AlbumentationsStep(albumentations.VerticalFlip),
    "rotate": _rotate,
    "color_jitter": _color_jitter,
    "brightness": lambda spec, _: partial(brightness, factor=spec.factor),
    "contrast": lambda spec, _: partial(contrast, alpha=spec.alpha),
    "gaussian_noise": lambda spec, _: partial(gaussian_noise, variance=spec.variance),
    "motion_blur": _motion_blur,
    "gaussian_blur": lambda spec, _: partial(gaussian_blur, kernel=_odd_range(spec.kernel)),
    "optical_distortion": _optical_distortion,
    "grid_distortion": _grid_distortion,
}
