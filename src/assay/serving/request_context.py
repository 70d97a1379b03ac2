"""The state of one HTTP request while it is processed, from which its log records are built."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from assay.serving.auth.interfaces import ANONYMOUS, Authorization, Client
from assay.serving.models import ServedModel
from assay.serving.request_record import ImageMetadata, RequestRecord, new_id
from assay.serving.results import ClassificationResult

_CLASSIFY_PATHS = re.compile(r"/classify/batch|/v2/models/[^/]+(/versions/[^/]+)?/infer")
_VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,100}")


def is_classification(method: str, path: str) -> bool:
    """Tell whether a request is one to classify photos, by its method and decoded path."""
    return method == "POST" and (path == "/classify" or _CLASSIFY_PATHS.fullmatch(path) is not None)


def accept_request_id(given: str | None) -> str:
    """Return the client's id of a request if it is a decent one, else a new one."""
    return given if given is not None and _VALID_REQUEST_ID.fullmatch(given) else new_id()


@dataclass(slots=True)
class ImageOutcome:
    """What became of one photo."""

    status: int | None = None
    """HTTP status; None until it is known, or that of the whole request's answer."""
    error: str | None = None
    """Why there is no result, where that is this photo's own; None: why the whole request failed."""
    image: ImageMetadata | None = None
    result: ClassificationResult | None = None
    cached: bool = False
    photo: bytes | None = None
    """The file, where photos may be kept."""


@dataclass(slots=True)
class RequestContext:
    """A request while it is worked on."""

    request_id: str
    headers: Mapping[str, str]
    """Names in lower case; a header that came several times is one, joined by commas."""
    method: str = "GET"
    """As the client sent it, HEAD too."""
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.perf_counter)
    recorded: bool = False
    """Whether it is one that the request log keeps: those that send photos, however they end."""
    client: Client | None = None
    """Who asks, as far as the key proves it: set for requests that are refused, too."""
    admission: Authorization | None = None
    error: str | None = None
    """The sentence that the client was answered; None for a success."""
    model: ServedModel | None = None
    outcomes: list[ImageOutcome] = field(default_factory=list)
    bytes_held: int = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the first byte."""
        return time.perf_counter() - self.started

    @property
    def tier(self) -> str:
        """Of the client, as far as it is known."""
        return ANONYMOUS if self.client is None else self.client.tier

    def records(self, status: int) -> list[RequestRecord]:
        """Return a record of every photo, or one of a request that got as far as none.

        Args:
            status: of the answer.
        """
        took = self.elapsed
        return [
            RequestRecord(
                request_id=self.request_id,
                timestamp=self.timestamp,
                client_id=ANONYMOUS if self.client is None else self.client.id,
                image=one.image,
                result=None if one.result is None else one.result.label,
                confidence=None if one.result is None else one.result.confidence,
                unknown=None if one.result is None else one.result.unknown,
                processing_time=took,
                model="" if self.model is None else self.model.name,
                model_version="" if self.model is None else self.model.info.version,
                cache_hit=one.cached,
                status=status if one.status is None else one.status,
                error=None if one.result is not None else one.error or self.error,
            )
            for one in self.outcomes or [ImageOutcome()]
        ]
