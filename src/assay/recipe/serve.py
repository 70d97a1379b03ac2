"""What the served classifier calls itself and what it accepts."""

from collections.abc import Collection
from typing import Annotated, Literal, Self, get_args

from pydantic import Field

from assay.recipe.base import Settings

ImageFormat = Literal["jpeg", "png", "webp", "tiff", "bmp", "gif", "avif", "jpeg2000", "ppm"]
"""What a photo is, by content."""
_USUAL: tuple[ImageFormat, ...] = ("jpeg", "png")


class ServeSpec(Settings):
    """Names in the answers, limits of uploads, and the precision; they travel in the bundle."""

    service: str = "assay"
    """Name of the service in `GET /health`."""
    label_field: str = "label"
    """Name of the label in an answer."""
    confidence_field: str = "confidence"
    """Name of the confidence in an answer."""
    formats: tuple[ImageFormat, ...] | None = None
    """Image formats that uploads may have, judged by content; unset: JPEG, PNG, and those of the training
    photos."""
    int8: bool = True
    """Ship a model of 8-bit integers besides, and answer with it, if it is as good on validation photos
    (within 0.5 points) and faster on this machine."""
    max_megabytes: Annotated[float, Field(gt=0, le=4096)] = 16.0
    """Largest upload, in MiB."""
    max_side: Annotated[int, Field(ge=1, le=65_535)] = 4096
    """Largest width and height of an upload, in pixels."""

    def with_formats(self, trained_on: Collection[str]) -> Self:
        """Return the same with the formats decided: those that are set, else JPEG, PNG and `trained_on`."""
        if self.formats is not None:
            return self
        known: tuple[ImageFormat, ...] = get_args(ImageFormat)
        accepted = tuple(one for one in known if one in _USUAL or one in trained_on)
        return self.model_copy(update={"formats": accepted})

    @property
    def accepted(self) -> tuple[ImageFormat, ...]:
        """The formats that uploads may have."""
        return self.formats or _USUAL


class LiveSpec(Settings):
    """How a camera is watched."""

    fps: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """Frames classified a second."""
