"""All telemetry of one worker process: metrics, drift, logs and traces."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from assay.bundle import BundleInfo
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry import Event, ModelActivated
from assay.serving.telemetry.drift import DriftMonitor
from assay.serving.telemetry.logs import ServerLogs, log_request_id
from assay.serving.telemetry.metrics import PrometheusMetrics, render_metrics
from assay.serving.telemetry.tracing import RequestTracer, make_tracer_provider, tracing_requested


class Telemetry:
    """A `TelemetrySink` that passes every event to metrics, drift detection, logs and traces. Thread-safe."""

    def __init__(self, settings: TelemetrySettings, tracer: RequestTracer | None = None) -> None:
        """Set up logging and metrics; raise `UsageError` if the log folder is not writable."""
        self._metrics = PrometheusMetrics()
        self._drift = DriftMonitor(self._metrics.registry, settings.drift_window)
        self._logs = ServerLogs(settings, self._metrics.count_dropped_lines)
        self._tracer = tracer
        self._handlers: dict[type[Any], list[Callable[[Any], None]]] = {}
        for listener in (self._metrics, self._drift, self._logs, tracer):
            for kind, handle in {} if listener is None else listener.handlers.items():
                self._handlers.setdefault(kind, []).append(handle)

    def emit(self, event: Event) -> None:
        """Pass an event to its listeners."""
        for handle in self._handlers.get(type(event), ()):
            handle(event)

    @contextmanager
    def request_scope(self, request_id: str, headers: Mapping[str, str]) -> Iterator[None]:
        """Attribute all events and log lines of the block to one request."""
        with log_request_id(request_id):
            if self._tracer is None:
                yield
                return
            with self._tracer.request_scope(request_id, headers):
                yield

    def render_metrics(self) -> tuple[bytes, str]:
        """Return body and content type of `GET /metrics`, over all workers."""
        collected = self._metrics.collect()
        return render_metrics([*collected, *self._drift.collect(collected)])

    def drift(self, model: str) -> dict[str, Any] | None:
        """Return the drift of a model over all workers, for `GET /models`; None without validation metrics.

        By subject (`class`, `confidence`): `psi`, `limit`, `answers`, `drifted` and `shares`.
        """
        return self._drift.report(model, self._metrics.collect())

    def close(self) -> None:
        """Flush and close traces and logs."""
        if self._tracer is not None:
            self._tracer.close()
        self._logs.close()


def make_telemetry(
    settings: TelemetrySettings, models: Mapping[str, BundleInfo], environ: Mapping[str, str] = os.environ
) -> Telemetry:
    """Create the telemetry of a worker, in the worker's own process; `OTEL_*` in `environ` configures traces.

    Several workers are counted together if their parent process starts them within `multiprocess_metrics()`.

    Raises:
        UsageError: the folder of the logs is not writable, or the traces cannot be sent as configured.
    """
    tracer = RequestTracer(make_tracer_provider(environ)) if tracing_requested(environ) else None
    telemetry = Telemetry(settings, tracer)
    for name, info in models.items():
        telemetry.emit(ModelActivated(name, info))
    return telemetry
