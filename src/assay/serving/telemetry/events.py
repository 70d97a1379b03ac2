"""What the server reports while it works, and who listens to it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from assay.bundle import BundleInfo
from assay.serving.request_record import RequestRecord


class MetricsSink(Protocol):
    """Told what happens; quick, never raising, callable from any thread."""

    def request(self, request_id: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """Tie what is told and logged within the block, in the same task or thread, to one request.

        Args:
            request_id: in every line that is logged within.
            headers: of the request, names in lower case; `traceparent` continues the caller's trace.
        """

    def answered(self, record: RequestRecord, tier: str) -> None:
        """A request to classify has been answered, with whatever status."""

    def phase(self, name: str, seconds: float, ended: float | None = None) -> None:
        """A phase of a request took so long: queue, decode, inference or total.

        Args:
            name: one of the four.
            seconds: how long it took.
            ended: when it ended, by `time.perf_counter`; None for just now. Traces place the phase by it.
        """

    def batch(self, size: int) -> None:
        """A batch of photos went through the model."""

    def queue_length(self, length: int) -> None:
        """So many photos wait now."""

    def rejected(self, reason: str) -> None:
        """A request was turned away: overload, deadline, limit, auth, upload, country, origin."""

    def cache(self, event: str) -> None:
        """hit, miss, or unavailable (the store is away)."""

    def damaged(self, part: str) -> None:
        """A value in Redis was damaged, and counted as missing: cache, limits, nonces."""

    def journal(self, backlog: int, dropped: int) -> None:
        """So many records wait to be written; so many were given up since the start."""

    def degraded(self, part: str, *, down: bool) -> None:
        """A part works without its store: cache, limits, journal."""

    def model(self, name: str, info: BundleInfo) -> None:
        """A model is in use from now on, under this name; it takes the place of the one before."""
