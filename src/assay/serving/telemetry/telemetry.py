"""All telemetry of one worker process: metrics, drift, logs and traces."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from assay.bundle import BundleInfo
from assay.serving.request_record import RequestRecord
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry.drift import DriftMonitor
from assay.serving.telemetry.logs import ServerLogs, log_request_id
from assay.serving.telemetry.metrics import Metrics, render_metrics
from assay.serving.telemetry.tracing import RequestTracer, make_tracer_provider, tracing_requested


class Telemetry:
    """A `Watcher`. Safe in several threads; one a worker process."""

    def __init__(self, settings: TelemetrySettings, traces: RequestTracer | None = None) -> None:
        """Begin; logging is set up.

        Args:
            settings: what a person has set.
            traces: where spans go; None for no traces.

        Raises:
            UsageError: the folder of the logs cannot be written to.
            RuntimeError: several workers would not count together (`multiprocess_metrics`).
        """
        self._metrics = Metrics()
        self._drift = DriftMonitor(self._metrics.registry, settings.drift_window)
        self._logs = ServerLogs(settings, self._metrics.unlogged)
        self._traces = traces

    @contextmanager
    def request(self, request_id: str, headers: Mapping[str, str]) -> Iterator[None]:
        """Tie what is told and logged within the block to one request."""
        with log_request_id(request_id):
            if self._traces is None:
                yield
                return
            with self._traces.request(request_id, headers):
                yield

    def answered(self, record: RequestRecord, tier: str) -> None:
        """A request to classify has been answered."""
        self._metrics.answered(record, tier)
        self._drift.answered(record)
        self._logs.answered(record, tier)
        if self._traces is not None:
            self._traces.answered(record, tier)

    def phase(self, name: str, seconds: float, ended: float | None = None) -> None:
        """A phase of a request took so long."""
        self._metrics.phase(name, seconds)
        if self._traces is not None:
            self._traces.phase(name, seconds, ended)

    def batch(self, size: int) -> None:
        """A batch of photos went through the model."""
        self._metrics.batch(size)

    def queue_length(self, length: int) -> None:
        """So many photos wait now."""
        self._metrics.queue_length(length)

    def rejected(self, reason: str) -> None:
        """A request was turned away."""
        self._metrics.rejected(reason)

    def cache(self, event: str) -> None:
        """The cache was looked into."""
        self._metrics.cache(event)

    def damaged(self, part: str) -> None:
        """A value in Redis was damaged."""
        self._metrics.damaged(part)

    def journal(self, backlog: int, dropped: int) -> None:
        """So many records wait, and so many were given up since the start."""
        self._metrics.journal(backlog, dropped)

    def degraded(self, part: str, *, down: bool) -> None:
        """A part works without its store, or with it again."""
        self._metrics.degraded(part, down=down)

    def model(self, name: str, info: BundleInfo) -> None:
        """A model is in use from now on."""
        self._metrics.model(name, info)
        self._drift.model(name, info)

    def render_metrics(self) -> tuple[bytes, str]:
        """Return the body and the content type of `GET /metrics`: the figures of all workers."""
        collected = self._metrics.collect()
        return render_metrics([*collected, *self._drift.judge(collected)])

    def drift(self, model: str) -> dict[str, Any] | None:
        """Return the drift of a model over all workers, ready for JSON in `GET /models`.

        Returns:
            By subject (`class`, `confidence`): `psi`, `limit`, `answers`, `drifted` and `shares`; None for a
            bundle that holds no validation figures.
        """
        return self._drift.told(model, self._metrics.collect())

    def close(self) -> None:
        """Write and send what waits, and let go of the logs."""
        if self._traces is not None:
            self._traces.close()
        self._logs.close()


def make_telemetry(
    settings: TelemetrySettings, models: Mapping[str, BundleInfo], environ: Mapping[str, str] = os.environ
) -> Telemetry:
    """Begin to watch a worker, in the worker's own process.

    Several workers count together when the process that starts them does so within `multiprocess_metrics()`.

    Args:
        settings: what a person has set.
        models: what is served from the start, by name.
        environ: the `OTEL_*` variables are looked at.

    Raises:
        UsageError: the logs' folder cannot be written to, or traces are asked for that cannot be sent.
    """
    traces = RequestTracer(make_tracer_provider(environ)) if tracing_requested(environ) else None
    watching = Telemetry(settings, traces)
    for name, info in models.items():
        watching.model(name, info)
    return watching
