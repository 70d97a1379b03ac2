"""Settings of augmentation: the random transforms of training images with their ranges.

`assay.image.augmentation` implements them.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assay.recipe.base import Probability, Range, Settings

Kernel = Annotated[int, Field(ge=1, le=255)]


class _Transform(Settings):
    p: Probability = 1.0
    """Probability of applying the transform to a photo."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name} must ascend, not {list(value)}")
        return self


class RandomResizedCrop(_Transform):
    """A random crop of the photo, resized to the network's input size."""

    name: Literal["random_resized_crop"]
    scale: Annotated[Range, Field()] = (0.08, 1.0)
    """Share of the photo's area in the crop."""
    ratio: Range = (0.75, 1.3333)
    """Aspect ratio of the crop, width divided by height."""


class RandomCrop(_Transform):
    """A shift in a random direction: a crop of the network's input size from the photo, enlarged by reflection."""

    name: Literal["random_crop"]
    padding: Annotated[float, Field(ge=0, le=0.5)] = 0.125
    """Width of the reflected border on every side, which is also the largest shift, as a share of that side."""


class HorizontalFlip(_Transform):
    """Flip left to right."""

    name: Literal["horizontal_flip"]
    p: Probability = 0.5


class VerticalFlip(_Transform):
    """Flip top to bottom."""

    name: Literal["vertical_flip"]
    p: Probability = 0.5


class Rotate(_Transform):
    """Rotation about the centre; the corners are filled by reflection."""

    name: Literal["rotate"]
    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Largest angle in either direction, in degrees."""


class ColorJitter(_Transform):
    """Random changes of brightness, contrast, saturation and hue."""

    name: Literal["color_jitter"]
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The factor is drawn from [1 - brightness, 1 + brightness]."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The factor is drawn from [1 - contrast, 1 + contrast]."""
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The factor is drawn from [1 - saturation, 1 + saturation]."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The shift is drawn from [-hue, hue], as a fraction of the hue circle."""


class Brightness(_Transform):
    """Multiplication of all pixels by one factor."""

    name: Literal["brightness"]
    factor: Range = (0.8, 1.2)
    """Range of the factor."""


class Contrast(_Transform):
    """α(I - μ) + μ, where μ is the photo's mean."""

    name: Literal["contrast"]
    alpha: Range = (0.8, 1.2)
    """Range of α."""


class GaussianNoise(_Transform):
    """Independent normal noise on every pixel and channel."""

    name: Literal["gaussian_noise"]
    variance: Range = (10.0, 50.0)
    """Variance on the 0-255 scale."""


class MotionBlur(_Transform):
    """Blur in a random direction."""

    name: Literal["motion_blur"]
    kernel: tuple[Kernel, Kernel] = (3, 7)
    """Range of the kernel size in pixels, odd."""


class GaussianBlur(_Transform):
    """Gaussian blur."""

    name: Literal["gaussian_blur"]
    kernel: tuple[Kernel, Kernel] = (3, 7)
    """Range of the kernel size in pixels, odd."""


class OpticalDistortion(_Transform):
    """Barrel or pincushion distortion of a lens."""

    name: Literal["optical_distortion"]
    limit: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest absolute value of the distortion coefficient."""


class GridDistortion(_Transform):
    """Random stretching of the cells of a grid."""

    name: Literal["grid_distortion"]
    steps: Annotated[int, Field(ge=1, le=64)] = 5
    """Number of cells per side."""
    limit: Annotated[float, Field(ge=0, le=0.9)] = 0.3
    """Largest relative stretch of a cell."""


Transform = Annotated[
    RandomResizedCrop
    | RandomCrop
    | HorizontalFlip
    | VerticalFlip
    | Rotate
    | ColorJitter
    | Brightness
    | Contrast
    | GaussianNoise
    | MotionBlur
    | GaussianBlur
    | OpticalDistortion
    | GridDistortion,
    Field(discriminator="name"),
]


class OfflineSpec(Settings):
    """Output of `assay augment`."""

    copies: Annotated[int, Field(ge=0, le=1000)] = 5
    """Augmented copies of every training photo and, with the list `val`, of every validation photo."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Quality of JPEG files."""
    png_compression: Annotated[int, Field(ge=0, le=9)] = 6
    """Compression level of PNG files."""
    max_side: Annotated[int, Field(ge=16, le=65500)] = 4096
    """Longest side in pixels; larger photos are scaled down."""


class AugmentSpec(Settings):
    """Augmentation of training photos."""

    train: tuple[Transform, ...] = ()
    """Transforms applied in this order to every training photo, with new random numbers in each epoch."""
    val: tuple[Transform, ...] = ()
    """Weaker transforms that `assay augment` applies to validation photos; training does not use them."""
    input_scale: Annotated[float, Field(ge=1, le=4)] = 1.0
    """Training photos are resized to `preprocess.size` times this before augmentation, so that random crops
    are not enlarged."""
    offline: OfflineSpec = OfflineSpec()
