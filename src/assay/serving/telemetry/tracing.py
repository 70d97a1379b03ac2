"""OpenTelemetry traces of requests, configured by the usual `OTEL_*` variables.

One span for each request, with a child span for each of its stages. Spans hold nothing personal but the client's id.

Source: "OpenTelemetry Environment Variable Specification", and "W3C Trace Context" (2021) for `traceparent`.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from assay.core.errors import UsageError
from assay.serving.telemetry import Handlers, RequestCompleted, StageCompleted

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.util.types import AttributeValue

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP_PROTOCOL = "http/protobuf"
_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def tracing_requested(environ: Mapping[str, str]) -> bool:
    """Return whether traces are requested: by an OTLP endpoint or `OTEL_TRACES_EXPORTER=otlp`.

    Raises:
        UsageError: they are requested in a way that is not supported, or OpenTelemetry is not installed.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return False
    if exporter not in {"", "otlp"}:
        raise UsageError(f"OTEL_TRACES_EXPORTER is {exporter}: give otlp, or none for no traces")
    if not exporter and not any(environ.get(name) for name in _ENDPOINTS):
        return False
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), _HTTP_PROTOCOL)
    if protocol != _HTTP_PROTOCOL:
        raise UsageError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: traces are sent by {_HTTP_PROTOCOL} alone")
    try:
        for package in _PACKAGES:
            import_module(package)
    except ModuleNotFoundError:
        raise UsageError(
            "traces are requested by OTEL_* variables, but OpenTelemetry is not installed: "
            'pip install "assay[otel]", or set OTEL_TRACES_EXPORTER=none'
        ) from None
    return True


def make_tracer_provider(environ: Mapping[str, str], exporter: "SpanExporter | None" = None) -> "TracerProvider":
    """Return a provider that sends spans from a background thread, by default by OTLP.

    `environ` determines whether the service is named; the library reads all other variables itself.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "") or environ.get("OTEL_SERVICE_NAME")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "assay"}))
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    return provider


class RequestTracer:
    """Records the spans of this worker's requests."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("assay.serving")
        self._propagator = TraceContextTextMapPropagator()
        self.handlers: Handlers = {StageCompleted: self.on_stage, RequestCompleted: self.on_request}

    @contextmanager
    def request_scope(self, request_id: str, headers: Mapping[str, str]) -> Iterator[None]:
        """Trace the block, in the same task or thread, as one request."""
        caller = self._propagator.extract(headers)
        with self._tracer.start_as_current_span(
            "request",
            context=caller,
            kind=self._trace.SpanKind.SERVER,
            attributes={"assay.request_id": request_id},
        ):
            yield

    def on_stage(self, event: StageCompleted) -> None:
        """Add a child span to the current request, if there is one."""
        if event.stage == "total" or not self._trace.get_current_span().is_recording():
            return
        since = 0.0 if event.ended is None else time.perf_counter() - event.ended
        end = time.time_ns() - round(since * 1e9)
        self._tracer.start_span(event.stage, start_time=end - round(event.seconds * 1e9)).end(end)

    def on_request(self, event: RequestCompleted) -> None:
        """Add the outcome to the span of the current request, if there is one."""
        span, record = self._trace.get_current_span(), event.record
        if not span.is_recording():
            return
        attributes: dict[str, AttributeValue | None] = {
            "http.response.status_code": record.status,
            "assay.client_id": record.client_id,
            "assay.tier": event.tier,
            "assay.model": record.model,
            "assay.model_version": record.model_version,
            "assay.cache_hit": record.cache_hit,
            "assay.result": record.result,
            "assay.confidence": record.confidence,
            "assay.unknown": record.unknown,
        }
        span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        if record.status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)

    def close(self) -> None:
        """Send the remaining spans."""
        self._provider.shutdown()
