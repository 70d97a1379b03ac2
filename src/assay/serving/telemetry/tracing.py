"""OpenTelemetry traces of requests, configured by the usual OTEL_* variables."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from assay.core.errors import UsageError
from assay.serving.request_record import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.util.types import AttributeValue

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP_PROTOCOL = "http/protobuf"
_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def tracing_requested(environ: Mapping[str, str]) -> bool:
    """Tell whether traces are asked for: by an OTLP endpoint or `OTEL_TRACES_EXPORTER=otlp`.

    Raises:
        UsageError: they are asked for in a way that Assay does not know.
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
            "traces are asked for by OTEL_* variables and OpenTelemetry is not installed: "
            'pip install "assay[otel]", or set OTEL_TRACES_EXPORTER=none'
        ) from None
    return True


def make_tracer_provider(environ: Mapping[str, str], exporter: "SpanExporter | None" = None) -> "TracerProvider":
    """Make what collects spans and sends them from a thread of its own.

    Args:
        environ: `OTEL_SERVICE_NAME` is looked at; all others the library reads itself.
        exporter: where the spans go; None: by OTLP to where the variables say.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "") or environ.get("OTEL_SERVICE_NAME")
    made = TracerProvider(resource=Resource.create({} if named else {"service.name": "assay"}))
    made.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    return made


class RequestTracer:
    """The spans of this worker's requests."""

    def __init__(self, made: "TracerProvider") -> None:
        """Use what `make_tracer_provider` made."""
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._trace = trace
        self._provider = made
        self._tracer = made.get_tracer("assay.serving")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, request_id: str, headers: Mapping[str, str]) -> Iterator[None]:
        """Trace what happens within the block, in the same task or thread, as one request."""
        caller = self._propagator.extract(headers)
        with self._tracer.start_as_current_span(
            "request",
            context=caller,
            kind=self._trace.SpanKind.SERVER,
            attributes={"assay.request_id": request_id},
        ):
            yield

    def phase(self, name: str, seconds: float, ended: float | None) -> None:
        """Add a phase to the request that is traced here, if one is."""
        if name == "total" or not self._trace.get_current_span().is_recording():
            return
        since = 0.0 if ended is None else time.perf_counter() - ended
        end = time.time_ns() - round(since * 1e9)
        self._tracer.start_span(name, start_time=end - round(seconds * 1e9)).end(end)

    def answered(self, record: RequestRecord, tier: str) -> None:
        """Tell the request's span how it ended."""
        span = self._trace.get_current_span()
        if not span.is_recording():
            return
        told: dict[str, AttributeValue | None] = {
            "http.response.status_code": record.status,
            "assay.client_id": record.client_id,
            "assay.tier": tier,
            "assay.model": record.model,
            "assay.model_version": record.model_version,
            "assay.cache_hit": record.cache_hit,
            "assay.result": record.result,
            "assay.confidence": record.confidence,
            "assay.unknown": record.unknown,
        }
        span.set_attributes({name: value for name, value in told.items() if value is not None})
        if record.status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()
