"""The record of one answered request, as the request log and telemetry keep it.

It holds no image and nothing personal beyond the client's id.
"""

import random
import time
from dataclasses import dataclass, field
from datetime import datetime

_RANDOM = random.Random()  # noqa: S311 - unlike any other, not secret; seeded by the system


def new_id() -> str:
    """Return 32 hexadecimal digits that no other call returns, here or elsewhere; later ones sort behind.

    Milliseconds since 1970 in front (12 digits), so that indexes grow at their end; 80 random bits behind.
    """
    return f"{time.time_ns() // 1_000_000:012x}{_RANDOM.getrandbits(80):020x}"


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """The uploaded photo in figures."""

    size: int
    """Bytes."""
    format: str
    """By content: jpeg, png, ...; `unknown` for what is no image."""
    dimensions: tuple[int, int] | None
    """Upright width and height in pixels; None when the photo was refused."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request to classify a photo, and its answer."""

    request_id: str
    """As the client sent it or the server made it; clients may send one id twice."""
    timestamp: datetime
    """When the request arrived, UTC."""
    client_id: str
    """The key's client; `anonymous` where keys are off."""
    image: ImageMetadata | None
    """None when no photo was received."""
    result: str | None
    """The label that was answered; None for errors."""
    confidence: float | None
    """Calibrated, 0-1."""
    unknown: bool | None
    """Whether the classifier called the photo unknown."""
    processing_time: float
    """Seconds from the first byte to the answer."""
    model: str
    """Name of the model."""
    model_version: str
    cache_hit: bool
    status: int
    """HTTP status of the answer."""
    error: str | None = None
    """The sentence that the client was answered where the photo was refused or the server failed."""
    id: str = field(default_factory=new_id)
    """The record's own: a record that is written twice is stored once."""
