"""Settings of the preprocessing of images: region of interest, crop, resizing and normalization."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from assay.recipe.base import Fraction, Probability, Settings

Channels = tuple[float, float, float]
_MAX_VALUE = 1e30
MAX_SIZE = 2048
"""Largest side of the network's input, in pixels."""


class PreprocessSpec(Settings):
    """Region of interest, centre crop and resizing, in that order, then normalization.

    Training, evaluation, command line, server and camera use the same values; they are stored in the bundle.
    """

    roi: tuple[Probability, Probability, Probability, Probability] = (0.0, 0.0, 1.0, 1.0)
    """Region of interest as fractions of the upright photo: left, top, right, bottom."""
    center_crop: Fraction = 1.0
    """Share of the region's width and height to keep around its centre."""
    resize_mode: Literal["stretch", "crop", "letterbox"] = "crop"
    """stretch: resize both sides to `size`; crop: resize the shorter side, then crop the centre; letterbox:
    resize the longer side, then pad."""
    size: Annotated[int, Field(ge=8, le=MAX_SIZE)] = 224
    """Side of the network's square input, in pixels."""
    fill: tuple[int, int, int] = (114, 114, 114)
    """Colour of the letterbox's padding, RGB 0-255."""
    value_range: tuple[float, float] | None = None
    """Values of black and white in photos of more than 8 bits per channel; null: as declared by their type or
    by the file; photos that declare neither are refused."""
    mean: Channels | None = None
    """Mean of each RGB channel on a 0-1 scale; null: that of the pretrained weights."""
    std: Channels | None = None
    """Standard deviation of each RGB channel on a 0-1 scale; null: that of the pretrained weights."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        left, top, right, bottom = self.roi
        if left >= right or top >= bottom:
            raise ValueError(f"roi {list(self.roi)} is empty: left must be below right and top below bottom")
        if self.value_range is not None and not -_MAX_VALUE < self.value_range[0] < self.value_range[1] < _MAX_VALUE:
            raise ValueError(f"value_range {list(self.value_range)} must be [black, white], black below white")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std must be set together")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be above 0 in every channel")
        if not all(0 <= value <= 255 for value in self.fill):
            raise ValueError("fill must lie within 0-255 in every channel")
        return self
