"""The random changes that training photos go through, each with its ranges.

Names follow the field; units are in the docstrings. `image/augment.py` turns them into transforms.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assay.recipe.base import Probability, Range, Settings

Kernel = Annotated[int, Field(ge=1, le=255)]


class _Transform(Settings):
    p: Probability = 1.0
    """Probability that the transform is applied to a photo."""

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name} must ascend, not {list(value)}")
        return self


class RandomResizedCrop(_Transform):
    """A random part of the photo, enlarged to the network's size."""

    name: Literal["random_resized_crop"]
    scale: Annotated[Range, Field()] = (0.08, 1.0)
    """Share of the area that is kept."""
    ratio: Range = (0.75, 1.3333)
    """Width divided by height of the part."""


class HorizontalFlip(_Transform):
    """Mirrored left to right."""

    name: Literal["horizontal_flip"]
    p: Probability = 0.5


class VerticalFlip(_Transform):
    """Mirrored top to bottom."""

    name: Literal["vertical_flip"]
    p: Probability = 0.5


class Rotate(_Transform):
    """Turned about the centre; the corners are filled by reflection."""

    name: Literal["rotate"]
    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Largest angle either way, in degrees."""


class ColorJitter(_Transform):
    """Brightness, contrast, saturation and hue, each by a random factor."""

    name: Literal["color_jitter"]
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Factor within 1 ± this."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Factor within 1 ± this."""
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Factor within 1 ± this."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Shift within ± this share of the colour circle."""


class Brightness(_Transform):
    """Every pixel times one factor."""

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
    """Blurred along a random direction."""

    name: Literal["motion_blur"]
    kernel: tuple[Kernel, Kernel] = (3, 7)
    """Kernel side in pixels, odd."""


class GaussianBlur(_Transform):
    """Blurred evenly."""

    name: Literal["gaussian_blur"]
    kernel: tuple[Kernel, Kernel] = (3, 7)
    """Kernel side in pixels, odd."""


class OpticalDistortion(_Transform):
    """Barrel or pincushion distortion of a lens."""

    name: Literal["optical_distortion"]
    limit: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest distortion coefficient either way."""


class GridDistortion(_Transform):
    """A grid laid over the photo, its cells stretched at random."""

    name: Literal["grid_distortion"]
    steps: Annotated[int, Field(ge=1, le=64)] = 5
    """Cells a side."""
    limit: Annotated[float, Field(ge=0, le=0.9)] = 0.3
    """Largest stretch of a cell either way."""


Transform = Annotated[
    RandomResizedCrop
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
    """How `assay augment` writes photos."""

    copies: Annotated[int, Field(ge=0, le=1000)] = 5
    """Changed copies of every photo of the training and, with the gentler list, of the validation part."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Quality of JPEG files."""
    png_level: Annotated[int, Field(ge=0, le=9)] = 6
    """Compression level of PNG files."""
    max_side: Annotated[int, Field(ge=16, le=65500)] = 4096
    """Longest side in pixels; larger photos are made smaller."""


class AugmentSpec(Settings):
    """What happens to photos before they teach."""

    train: tuple[Transform, ...] = ()
    """Applied in this order to every training photo, anew each epoch."""
    limited: tuple[Transform, ...] = ()
    """The gentler list that `assay augment` applies to validation photos; training never uses it."""
    canvas: Annotated[float, Field(ge=1, le=4)] = 1.0
    """Training photos are held at `size` times this, so that random crops need not enlarge pixels."""
    offline: OfflineSpec = OfflineSpec()
