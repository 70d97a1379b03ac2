"""Traces: one span per request with a child span per stage, sent by OTLP, enabled by the usual variables."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from assay.bundle import BundleInfo
from assay.core.errors import UsageError
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry import RequestCompleted, StageCompleted
from assay.serving.telemetry.telemetry import make_telemetry
from assay.serving.telemetry.tracing import RequestTracer, make_tracer_provider, tracing_requested

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LOOPBACK = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Received(HTTPServer):
    """An OTLP collector that remembers what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []


class _Handler(BaseHTTPRequestHandler):
    server: Received

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Received]:
    server = Received()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_request_span_has_stage_spans(make_record):
    exporter = InMemorySpanExporter()
    made = make_tracer_provider({}, exporter)
    tracer = RequestTracer(made)
    with tracer.request_scope("r1", {"traceparent": CALLER}):
        tracer.on_stage(StageCompleted("decode", 0.25))
        tracer.on_stage(StageCompleted("total", 0.5))
        tracer.on_request(RequestCompleted(make_record(status=500), "gold"))
    tracer.on_stage(StageCompleted("decode", 0.1))  # of no request
    made.force_flush()
    decode, request = exporter.get_finished_spans()
    assert (decode.name, request.name) == ("decode", "request")
    assert decode.parent is not None
    assert decode.parent.span_id == request.context.span_id
    assert decode.end_time is not None
    assert decode.start_time is not None
    assert decode.end_time - decode.start_time == 250_000_000
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert f"{request.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert request.attributes is not None
    assert request.attributes["assay.request_id"] == "r1"
    assert request.attributes["http.response.status_code"] == 500
    assert request.status.status_code == StatusCode.ERROR
    assert request.resource.attributes["service.name"] == "assay"
    tracer.close()


def test_stage_span_ends_at_the_given_time():
    exporter = InMemorySpanExporter()
    made = make_tracer_provider({}, exporter)
    tracer = RequestTracer(made)
    with tracer.request_scope("r1", {}):
        tracer.on_stage(StageCompleted("inference", 1.0, ended=-1e6))
        tracer.on_stage(StageCompleted("queue", 1.0, ended=-1e6 - 1))
    made.force_flush()
    inference, queue, _ = exporter.get_finished_spans()
    assert inference.start_time is not None
    assert queue.end_time is not None
    assert abs(inference.start_time - queue.end_time) < 100_000_000
    tracer.close()


def test_spans_arrive_at_an_otlp_collector(
    collector: Received,
    info: BundleInfo,
    make_record,
    monkeypatch: pytest.MonkeyPatch,
):
    environ = {LOOPBACK: f"http://127.0.0.1:{collector.server_port}", "OTEL_SERVICE_NAME": "line-3"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    telemetry = make_telemetry(TelemetrySettings(), {"bottle": info}, environ)
    with telemetry.request_scope("r1", {}):
        telemetry.emit(StageCompleted("decode", 0.004))
        telemetry.emit(RequestCompleted(make_record(), "gold"))
    telemetry.close()
    (body,) = collector.bodies
    (spans,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert {item.key: item.value.string_value for item in spans.resource.attributes}["service.name"] == "line-3"
    assert [span.name for span in spans.scope_spans[0].spans] == ["decode", "request"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({LOOPBACK: "http://127.0.0.1:4318"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({LOOPBACK: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({LOOPBACK: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
    ids=["nothing", "endpoint", "exporter", "none", "disabled"],
)
def test_tracing_is_enabled_by_environment_variables(environ: dict[str, str], expected: bool):
    assert tracing_requested(environ) is expected


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is zipkin: give otlp"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "is grpc: .* http/protobuf",
        ),
    ],
    ids=["exporter", "protocol"],
)
def test_unsupported_tracing_settings_raise(environ: dict[str, str], sentence: str):
    with pytest.raises(UsageError, match=sentence):
        tracing_requested(environ)


def test_missing_opentelemetry_raises(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UsageError, match=r'not installed: pip install "assay\[otel\]"'):
        tracing_requested({"OTEL_TRACES_EXPORTER": "otlp"})
