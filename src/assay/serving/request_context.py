"""The context of one request (id, client, timing, images), and the record of it that is stored and logged."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from starlette.types import Receive

from assay.serving.auth import ANONYMOUS, Authorization, Client
from assay.serving.errors import ClientDisconnectedError, DeadlineError
from assay.serving.models import ServedModel
from assay.serving.results import ClassificationResult

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
    """Upright width and height in pixels; None when the image was rejected."""

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata ready for JSON."""
        return {
            "size": self.size,
            "format": self.format,
            "dimensions": None if self.dimensions is None else list(self.dimensions),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the metadata that `to_dict` has returned.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
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
    """The client of the API key; `anonymous` where keys are off."""
    image: ImageMetadata | None
    """None when no image was received."""
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
    id: str = field(default_factory=new_id)
    """Unique; a record that is written twice is stored once."""


_CLASSIFY_PATHS = re.compile(r"/classify/batch|/v2/models/[^/]+(/versions/[^/]+)?/infer")
_VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,100}")


def is_classification(method: str, path: str) -> bool:
    """Return whether a request asks to classify images, by its method and decoded path."""
    return method == "POST" and (path == "/classify" or _CLASSIFY_PATHS.fullmatch(path) is not None)


def accept_request_id(client_id: str | None) -> str:
    """Return the client's id of a request if it is valid, else a new one."""
    return client_id if client_id is not None and _VALID_REQUEST_ID.fullmatch(client_id) else new_id()


@dataclass(slots=True)
class ImageOutcome:
    """The outcome for one image of a request."""

    status: int | None = None
    """HTTP status; None until it is known, or where it is that of the whole response."""
    error: str | None = None
    """Why this image has no result; None: it has one, or the whole request failed."""
    image: ImageMetadata | None = None
    result: ClassificationResult | None = None
    cached: bool = False
    content: bytes | None = None
    """The file, where images may be kept."""


@dataclass(slots=True)
class RequestContext:
    """A request while it is processed."""

    request_id: str
    headers: Mapping[str, str]
    """Names in lower case; repeated headers are joined by commas."""
    method: str = "GET"
    """As the client sent it, HEAD too."""
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.perf_counter)
    is_classification: bool = False
    """Whether the request log keeps it: requests to classify images, however they end."""
    client: Client | None = None
    """Who asks, as far as the key proves it; set for rejected requests too."""
    authorization: Authorization | None = None
    error: str | None = None
    """The message of the error response; None for a success."""
    model: ServedModel | None = None
    outcomes: list[ImageOutcome] = field(default_factory=list)
    reserved_bytes: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self.started

    @property
    def tier(self) -> str:
        """The client's tier."""
        return ANONYMOUS if self.client is None else self.client.tier

    def to_records(self, status: int) -> list[RequestRecord]:
        """Return a record for every image, or a single one where no image was read.

        Args:
            status: of the response.
        """
        elapsed = self.elapsed
        return [
            RequestRecord(
                request_id=self.request_id,
                timestamp=self.timestamp,
                client_id=ANONYMOUS if self.client is None else self.client.id,
                image=outcome.image,
                result=None if outcome.result is None else outcome.result.label,
                confidence=None if outcome.result is None else outcome.result.confidence,
                unknown=None if outcome.result is None else outcome.result.unknown,
                processing_time=elapsed,
                model="" if self.model is None else self.model.name,
                model_version="" if self.model is None else self.model.info.version,
                cache_hit=outcome.cached,
                status=status if outcome.status is None else outcome.status,
                error=None if outcome.result is not None else outcome.error or self.error,
            )
            for outcome in self.outcomes or [ImageOutcome()]
        ]


@asynccontextmanager
async def fail_at(end: float, seconds: float) -> AsyncIterator[None]:
    """Cancel the block at a time of the event loop, `seconds` after the work began.

    Raises:
        DeadlineError: it had not ended by then.
    """
    try:
        async with asyncio.timeout_at(end):
            yield
    except TimeoutError:
        raise DeadlineError(seconds) from None


@asynccontextmanager
async def cancel_on_disconnect(receive: Receive | None) -> AsyncIterator[None]:
    """Cancel the block when the client disconnects.

    Args:
        receive: of the request, whose body must have been read; None: the block is never cancelled.

    Raises:
        ClientDisconnectedError: the client disconnected.
    """
    if receive is None:
        yield
        return
    task, disconnected = asyncio.current_task(), False

    def cancel(_: asyncio.Task[None]) -> None:
        nonlocal disconnected
        disconnected = True
        if task is not None:
            task.cancel()

    watcher = asyncio.create_task(_wait_for_disconnect(receive))
    watcher.add_done_callback(cancel)
    try:
        yield
    except asyncio.CancelledError:
        if disconnected and task is not None and not task.uncancel():
            raise ClientDisconnectedError from None
        raise
    finally:
        watcher.remove_done_callback(cancel)
        watcher.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
