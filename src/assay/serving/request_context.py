"""The state of one HTTP request while it is processed, its log records, and its cancellation on disconnect."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.types import Receive

from assay.serving.auth import ANONYMOUS, Authorization, Client
from assay.serving.errors import ClientDisconnectedError, DeadlineError
from assay.serving.model_registry import ServedModel
from assay.serving.request_record import ImageMetadata, RequestRecord, new_id
from assay.serving.results import ClassificationResult

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
    """HTTP status; None until it is known, or if it is that of the whole response."""
    error: str | None = None
    """Why this image has no result; None: it has one, or the whole request failed."""
    image: ImageMetadata | None = None
    result: ClassificationResult | None = None
    cached: bool = False
    content: bytes | None = None
    """The file, if images may be kept."""


@dataclass(slots=True)
class RequestContext:
    """A request while it is processed."""

    request_id: str
    headers: Mapping[str, str]
    """Names in lower case; repeated headers are joined by commas."""
    method: str = "GET"
    """As the client sent it, including HEAD."""
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.perf_counter)
    is_classification: bool = False
    """Whether the request is recorded: requests to classify images, whatever their outcome."""
    client: Client | None = None
    """The client, as far as the key proves it; set for rejected requests too."""
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

    def to_records(self, status: int, region: str | None) -> list[RequestRecord]:
        """Return a record for every image, or a single one if no image was read; `region` is that of the server."""
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
                region=region,
            )
            for outcome in self.outcomes or [ImageOutcome()]
        ]


def request_context(request: Request) -> RequestContext:
    """Return the context that the middleware has created for a request."""
    context = request.scope["context"]
    if not isinstance(context, RequestContext):
        raise TypeError("the application is not wrapped in RequestContextMiddleware")
    return context


@asynccontextmanager
async def fail_at(end: float, seconds: float) -> AsyncIterator[None]:
    """Cancel the block at a time of the event loop, `seconds` after the work began, and raise `DeadlineError`."""
    try:
        async with asyncio.timeout_at(end):
            yield
    except TimeoutError:
        raise DeadlineError(seconds) from None


@asynccontextmanager
async def cancel_on_disconnect(receive: Receive | None) -> AsyncIterator[None]:
    """Cancel the block when the client disconnects, and raise `ClientDisconnectedError`.

    The request's body must have been read. If `receive` is None, the block is never cancelled.
    """
    if receive is None:
        yield
        return
    task, disconnected, left = asyncio.current_task(), False, False

    def cancel(_: asyncio.Task[None]) -> None:
        nonlocal disconnected
        # A callback that is scheduled already cannot be removed.
        if task is not None and not left:
            disconnected = True
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
        left = True
        watcher.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
