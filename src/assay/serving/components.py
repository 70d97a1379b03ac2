"""The optional components of a server (authorizer, cache, request log, telemetry), their no-op versions.

The factory that creates them from the settings.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from assay.bundle import BundleInfo
from assay.serving.auth.authorizer import make_authorizer
from assay.serving.auth.interfaces import ANONYMOUS, Authorization, Authorizer, AuthRequest, Client
from assay.serving.cache.tiered_cache import Cache, make_cache
from assay.serving.request_log.background_writer import RequestLogWriter
from assay.serving.request_log.settings import state_dir
from assay.serving.request_log.stores import make_store, spool_folder_name
from assay.serving.request_log.uncertain_samples import UncertainSampleStore
from assay.serving.request_record import RequestRecord
from assay.serving.settings import ServeSettings
from assay.serving.telemetry.events import MetricsSink

_ANONYMOUS_CLIENT = Client(ANONYMOUS, None, "anonymous", frozenset({"classify", "admin", "metrics"}))
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class NullAuthorization:
    """Lets anybody in.

    Args:
        address: the client's.
    """

    def __init__(self, address: str) -> None:
        self.client = _ANONYMOUS_CLIENT
        self.address = address
        self.headers = _NO_HEADERS
        self.signed = False

    def check_body(self, sha256: str) -> None:
        """Accept any body."""

    async def release(self) -> None:
        """Give back nothing."""


class NullAuthorizer:
    """A gate without a lock."""

    async def admit(self, asked: AuthRequest) -> Authorization:
        """Let anybody in."""
        return NullAuthorization(asked.peer)

    async def close(self) -> None:
        """Hold nothing."""


class NullMetricsSink:
    """Looks away."""

    def request(self, request_id: str, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """Tie nothing together."""
        del request_id, headers
        return nullcontext()

    def answered(self, record: RequestRecord, tier: str) -> None:
        """Look away."""

    def phase(self, name: str, seconds: float, ended: float | None = None) -> None:
        """Look away."""

    def batch(self, size: int) -> None:
        """Look away."""

    def queue_length(self, length: int) -> None:
        """Look away."""

    def rejected(self, reason: str) -> None:
        """Look away."""

    def cache(self, event: str) -> None:
        """Look away."""

    def damaged(self, part: str) -> None:
        """Look away."""

    def journal(self, backlog: int, dropped: int) -> None:
        """Look away."""

    def degraded(self, part: str, *, down: bool) -> None:
        """Look away."""

    def model(self, name: str, info: BundleInfo) -> None:
        """Look away."""


if TYPE_CHECKING:
    from assay.serving.telemetry.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Components:
    """What a server is joined of."""

    gate: Authorizer = field(default_factory=NullAuthorizer)
    watcher: MetricsSink = field(default_factory=NullMetricsSink)
    cache: Cache | None = None
    journal: RequestLogWriter | None = None
    uncertain: UncertainSampleStore | None = None
    watching: "Telemetry | None" = None
    """The watcher, where it shows what it has seen."""

    async def start(self) -> None:
        """Begin to record.

        Raises:
            AssayError: the journal's address cannot be right.
        """
        if self.journal is not None:
            await self.journal.start()

    async def close(self) -> None:
        """Flush, and let go of connections."""
        if self.uncertain is not None:
            await self.uncertain.close()
        if self.journal is not None:
            await self.journal.close()
        if self.cache is not None:
            await self.cache.close()
        await self.gate.close()


def make_components(settings: ServeSettings, watching: "Telemetry") -> Components:
    """Make gate, cache and journal as the settings say, for the event loop that they will work in.

    Args:
        settings: of the server.
        watching: is told what happens.

    Raises:
        AssayError: keys are asked for and there are none that can be used, or an address is none.
    """
    gate = make_authorizer(settings.auth, settings.limits, watching)
    cache = make_cache(settings.cache, watching)
    folder = settings.uncertain.folder
    uncertain = None if folder is None else UncertainSampleStore(folder, settings.uncertain)
    return Components(gate, watching, cache, _make_request_log(settings, watching), uncertain, watching)


def _make_request_log(settings: ServeSettings, watching: "Telemetry") -> RequestLogWriter | None:
    log = settings.request_log
    database = log.database
    if database is None:
        return None
    if log.spool_dir is None:
        log = log.model_copy(update={"spool_dir": state_dir() / "spool" / spool_folder_name(database)})
    return RequestLogWriter(make_store(database, keep_days=log.keep_days), log, watching)
