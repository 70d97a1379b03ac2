"""What the parts of the service tell, written down."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import pytest

from assay.bundle import BundleInfo
from assay.serving.request_record import RequestRecord


class Heard:
    """A `Watcher` that remembers what the stores told it."""

    def __init__(self) -> None:
        self.caches: list[str] = []
        self.journals: list[tuple[int, int]] = []
        self.outages: list[tuple[str, bool]] = []
        self.rejections: list[str] = []
        self.damages: list[str] = []

    def request(self, request_id: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        del request_id, headers
        return nullcontext()

    def answered(self, record: RequestRecord, tier: str) -> None: ...

    def phase(self, name: str, seconds: float, ended: float | None = None) -> None: ...

    def batch(self, size: int) -> None: ...

    def queue_length(self, length: int) -> None: ...

    def rejected(self, reason: str) -> None:
        self.rejections.append(reason)

    def cache(self, event: str) -> None:
        self.caches.append(event)

    def damaged(self, part: str) -> None:
        self.damages.append(part)

    def journal(self, backlog: int, dropped: int) -> None:
        self.journals.append((backlog, dropped))

    def degraded(self, part: str, *, down: bool) -> None:
        self.outages.append((part, down))

    def model(self, name: str, info: BundleInfo) -> None: ...


@pytest.fixture
def heard() -> Heard:
    """A watcher, and what it was told."""
    return Heard()


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the service does."""
    return "asyncio"
