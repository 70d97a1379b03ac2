"""A telemetry sink that records events, and the asyncio backend."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import pytest

from assay.serving.telemetry import (
    CacheRequested,
    CorruptValueFound,
    DependencyStatus,
    Event,
    RequestLogStatus,
    RequestRejected,
)


class RecordingTelemetry:
    """A `TelemetrySink` that records events."""

    def __init__(self) -> None:
        self.caches: list[str] = []
        self.request_logs: list[tuple[int, int]] = []
        self.outages: list[tuple[str, bool]] = []
        self.rejections: list[str] = []
        self.corrupt: list[str] = []

    def request_scope(self, request_id: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        del request_id, headers
        return nullcontext()

    def emit(self, event: Event) -> None:
        match event:
            case CacheRequested(outcome):
                self.caches.append(outcome)
            case RequestLogStatus(backlog, dropped):
                self.request_logs.append((backlog, dropped))
            case DependencyStatus(dependency, up):
                self.outages.append((dependency, not up))
            case RequestRejected(reason):
                self.rejections.append(reason)
            case CorruptValueFound(store):
                self.corrupt.append(store)
            case _:
                pass


@pytest.fixture
def telemetry() -> RecordingTelemetry:
    """A telemetry sink that records events."""
    return RecordingTelemetry()


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the service does."""
    return "asyncio"
