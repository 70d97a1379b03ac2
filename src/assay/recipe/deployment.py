"""Settings of a classifier in use, which its bundle stores: uploads, responses, int8 and the camera."""

from collections.abc import Collection
from typing import Annotated, Literal, Self, get_args

from pydantic import Field

from assay.recipe.base import Settings

ImageFormat = Literal["jpeg", "png", "webp", "tiff", "bmp", "gif", "avif", "jpeg2000", "ppm"]
"""Format of an image file, detected from its content."""
_USUAL: tuple[ImageFormat, ...] = ("jpeg", "png")


class ServeSpec(Settings):
    """Field names of responses, limits of uploads, and int8 quantization; stored in the bundle."""

    service_name: str = "assay"
    """Name of the service in `GET /health`."""
    label_field: str = "label"
    """Name of the response field with the label."""
    confidence_field: str = "confidence"
    """Name of the response field with the confidence."""
    formats: tuple[ImageFormat, ...] | None = None
    """Accepted image formats, detected from the content; unset: JPEG, PNG, and those of the training
    photos."""
    int8: bool = True
    """Add an int8-quantized model to the bundle and use it, if its accuracy on the validation photos is
    within 0.5 points and it is faster on this machine. Processors without int8 dot products make none."""
    max_megabytes: Annotated[float, Field(gt=0, le=4096)] = 16.0
    """Largest upload, in MiB."""
    max_side: Annotated[int, Field(ge=1, le=65_535)] = 4096
    """Largest width and height of an upload, in pixels."""

    def with_formats(self, trained_on: Collection[str]) -> Self:
        """Return a copy with `formats` resolved: those that are set, else JPEG, PNG and `trained_on`."""
        if self.formats is not None:
            return self
        known: tuple[ImageFormat, ...] = get_args(ImageFormat)
        accepted = tuple(name for name in known if name in _USUAL or name in trained_on)
        return self.model_copy(update={"formats": accepted})

    @property
    def accepted(self) -> tuple[ImageFormat, ...]:
        """The accepted formats."""
        return self.formats or _USUAL


class LiveSpec(Settings):
    """Classification of camera frames."""

    fps: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """Frames to classify per second."""
