"""What the served classifier calls itself and what it accepts."""

from typing import Annotated, Literal

from pydantic import Field

from assay.recipe.base import Settings


class ServeSpec(Settings):
    """Names in the answers, limits of uploads, and the precision; they travel in the bundle."""

    service: str = "assay"
    """Name of the service in `GET /health`."""
    label_field: str = "label"
    """Name of the label in an answer."""
    confidence_field: str = "confidence"
    """Name of the confidence in an answer."""
    formats: tuple[Literal["jpeg", "png", "webp", "tiff", "bmp"], ...] = ("jpeg", "png")
    """Image formats that uploads may have, judged by content."""
    int8: bool = True
    """Ship a model of 8-bit integers besides, and answer with it, if it is as good on validation photos
    (within 0.5 points) and faster on this machine."""
    max_megabytes: Annotated[float, Field(gt=0)] = 16.0
    """Largest upload, in MiB."""
    max_side: Annotated[int, Field(ge=1)] = 4096
    """Largest width and height of an upload, in pixels."""


class LiveSpec(Settings):
    """How a camera is watched."""

    fps: Annotated[float, Field(gt=0)] = 2.0
    """Frames classified a second."""
