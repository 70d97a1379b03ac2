"""The record of one request for the request log and telemetry; of personal data, it has only the client's id."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

_RANDOM = random.Random()  # noqa: S311 - ids are unique, not secret; seeded by the system


def new_id() -> str:
    """Return a unique id of 32 hexadecimal digits that sorts by time, as a ULID does.

    12 digits are milliseconds since 1970, so that indexes grow at their end; the others are random.
    """
    return f"{time.time_ns() // 1_000_000:012x}{_RANDOM.getrandbits(80):020x}"


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """Size and format of an uploaded image."""

    size: int
    """Bytes."""
    format: str
    """Detected by content: jpeg, png, ...; `unknown` for other files."""
    dimensions: tuple[int, int] | None
    """Upright width and height in pixels; None if the image was rejected."""

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata ready for JSON."""
        return {
            "size": self.size,
            "format": self.format,
            "dimensions": None if self.dimensions is None else list(self.dimensions),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Parse what `to_dict` returned; raise `KeyError`, `TypeError` or `ValueError` for anything else."""
        dimensions = None
        if values["dimensions"] is not None:
            width, height = values["dimensions"]
            dimensions = width, height
        return cls(values["size"], values["format"], dimensions)


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request to classify an image, and its result."""

    request_id: str
    """Sent by the client or created by the server; clients may send the same id twice."""
    timestamp: datetime
    """When the request arrived, UTC."""
    client_id: str
    """The client of the API key; `anonymous` if keys are disabled."""
    image: ImageMetadata | None
    """None if no image was received."""
    result: str | None
    """The label; None for errors."""
    confidence: float | None
    """Calibrated, 0-1."""
    unknown: bool | None
    """Whether the classifier abstained."""
    processing_time: float
    """Seconds from the first byte to the response."""
    model: str
    """Name of the model."""
    model_version: str
    cache_hit: bool
    status: int
    """HTTP status of the response."""
    error: str | None = None
    """The message of the error response."""
    region: str | None = None
    """The server's region; None if it has no name."""
    id: str = field(default_factory=new_id)
    """Unique; a record that is written twice is stored once."""
