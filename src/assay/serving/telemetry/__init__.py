"""Events that the server emits, and the sinks that receive them: metrics, drift detection, logs and traces."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

from assay.bundle import BundleInfo
from assay.serving.request_record import RequestRecord


class RequestCompleted(NamedTuple):
    """A request to classify was answered, with any status; one event per photo."""

    record: RequestRecord
    tier: str


class StageCompleted(NamedTuple):
    """A stage of a request ended."""

    stage: str
    """queue, decode, inference or total."""
    seconds: float
    ended: float | None = None
    """When it ended, by `time.perf_counter`; None: now. Used for spans in traces."""


class BatchCompleted(NamedTuple):
    """The model has processed a batch of photos."""

    size: int


class QueueLengthChanged(NamedTuple):
    """The number of photos that wait for inference."""

    length: int


class RequestRejected(NamedTuple):
    """A request was rejected."""

    reason: str
    """overload, deadline, limit, auth, upload, country or origin."""


class CacheRequested(NamedTuple):
    """A result was looked up in the cache."""

    outcome: str
    """hit, miss, or unavailable if the store did not respond."""


class CorruptValueFound(NamedTuple):
    """A value in Redis was corrupt, and treated as missing."""

    store: str
    """cache, limits or nonces."""


class RequestLogStatus(NamedTuple):
    """The state of the request log in this process."""

    backlog: int
    """Records not yet written."""
    dropped: int
    """Records dropped since the start."""


class DependencyStatus(NamedTuple):
    """An external store became available or unavailable; the server continues without it."""

    dependency: str
    """cache, limits or request_log."""
    up: bool


class ModelActivated(NamedTuple):
    """A model is served under a name from now on, replacing the previous one."""

    name: str
    info: BundleInfo


Event = (
    RequestCompleted
    | StageCompleted
    | BatchCompleted
    | QueueLengthChanged
    | RequestRejected
    | CacheRequested
    | CorruptValueFound
    | RequestLogStatus
    | DependencyStatus
    | ModelActivated
)
Handlers = Mapping[type[Any], Callable[[Any], None]]
"""Handler of a listener for each event type."""


class TelemetrySink(Protocol):
    """Receives events: quickly, without raising, from any thread."""

    def emit(self, event: Event) -> None:
        """Pass an event to the listeners."""

    def request_scope(self, request_id: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """Attribute all events and log lines of the block, in the same task or thread, to one request.

        Names in `headers` are in lower case; `traceparent` continues the caller's trace.
        """


class NullTelemetry:
    """A `TelemetrySink` that ignores everything."""

    def emit(self, event: Event) -> None:
        """No-op."""

    def request_scope(self, request_id: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """No-op."""
        del request_id, headers
        return nullcontext()
