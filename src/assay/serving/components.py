"""The optional components of a server: authorizer, telemetry, cache, request log and uncertain samples."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assay.serving.auth import Authorizer, NullAuthorizer
from assay.serving.auth.authorizer import make_authorizer
from assay.serving.cache.result_cache import Cache, make_cache
from assay.serving.request_log import state_dir
from assay.serving.request_log.background_writer import RequestLogWriter
from assay.serving.request_log.stores import make_store, spool_folder_name
from assay.serving.request_log.uncertain_samples import UncertainSampleStore
from assay.serving.settings import ServeSettings
from assay.serving.telemetry import DependencyStatus, NullTelemetry, TelemetrySink

if TYPE_CHECKING:
    from assay.serving.telemetry.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Components:
    """The components of a server besides its models."""

    authorizer: Authorizer = field(default_factory=NullAuthorizer)
    telemetry: TelemetrySink = field(default_factory=NullTelemetry)
    cache: Cache | None = None
    request_log: RequestLogWriter | None = None
    uncertain_samples: UncertainSampleStore | None = None
    metrics_source: "Telemetry | None" = None
    """The telemetry, if metrics and drift can be read."""

    async def start(self) -> None:
        """Start the request log; raise `AssayError` if its address is invalid."""
        if self.request_log is not None:
            await self.request_log.start()

    async def close(self) -> None:
        """Flush the request log, and close connections."""
        if self.uncertain_samples is not None:
            await self.uncertain_samples.close()
        if self.request_log is not None:
            await self.request_log.close()
        if self.cache is not None:
            await self.cache.close()
        await self.authorizer.close()


def make_components(settings: ServeSettings, telemetry: "Telemetry") -> Components:
    """Create the components, for use in the current event loop.

    Raises:
        AssayError: keys are required and there are none that can be used, or an address is invalid.
    """
    stores = (
        ("cache", settings.cache.redis),
        ("limits", settings.limits.redis),
        ("request_log", settings.request_log.database),
    )
    for dependency, address in stores:
        if address is not None:
            telemetry.emit(DependencyStatus(dependency, up=True))
    authorizer = make_authorizer(settings.auth, settings.limits, telemetry)
    cache = make_cache(settings.cache, telemetry)
    folder = settings.uncertain.folder
    uncertain = None if folder is None else UncertainSampleStore(folder, settings.uncertain)
    return Components(authorizer, telemetry, cache, _make_request_log(settings, telemetry), uncertain, telemetry)


def _make_request_log(settings: ServeSettings, telemetry: "Telemetry") -> RequestLogWriter | None:
    log = settings.request_log
    database = log.database
    if database is None:
        return None
    if log.spool_dir is None:
        log = log.model_copy(update={"spool_dir": state_dir() / "spool" / spool_folder_name(database)})
    return RequestLogWriter(make_store(database, keep_days=log.keep_days), log, telemetry)
