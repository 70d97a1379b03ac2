"""A real Prometheus scrapes a real server, and promtool accepts its metrics."""

import json
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from services import find_program

from assay.bundle import BundleInfo
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry import (
    BatchCompleted,
    CacheRequested,
    DependencyStatus,
    QueueLengthChanged,
    RequestCompleted,
    RequestLogStatus,
    RequestRejected,
    StageCompleted,
)
from assay.serving.telemetry.telemetry import Telemetry, make_telemetry


@pytest.fixture
def telemetry(info: BundleInfo, make_record) -> Iterator[Telemetry]:
    made = make_telemetry(TelemetrySettings(log_level="error"), {"bottle": info}, {})
    for number in range(150):
        made.emit(RequestCompleted(make_record(unknown=number == 0), "gold"))
        made.emit(StageCompleted("total", 0.004))
    made.emit(BatchCompleted(2))
    made.emit(QueueLengthChanged(1))
    made.emit(RequestRejected("limit"))
    made.emit(CacheRequested("miss"))
    made.emit(RequestLogStatus(1, 1))
    made.emit(DependencyStatus("cache", up=False))
    yield made
    made.close()


@pytest.fixture
def server(telemetry: Telemetry) -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, kind = telemetry.render_metrics()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as item:
        item.bind(("127.0.0.1", 0))
        port: int = item.getsockname()[1]
    return port


@pytest.fixture
def prometheus(server: ThreadingHTTPServer, tmp_path: Path) -> Iterator[str]:
    path = find_program("prometheus")
    target = f"127.0.0.1:{server.server_port}"
    jobs = [{"job_name": "assay", "scrape_interval": "200ms", "static_configs": [{"targets": [target]}]}]
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                path,
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={address}",
            ],
            stderr=log,
        )
        yield f"http://{address}"
        process.terminate()
        process.wait(20)


def query(address: str, expression: str, seconds: float = 30) -> list[dict[str, Any]]:
    """Ask until there is an answer."""
    url = f"{address}/api/v1/query?query={quote(expression)}"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
                result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except OSError:
            result = []
        if result:
            return result
        time.sleep(0.1)
    pytest.fail(f"Prometheus knows nothing of {expression} after {seconds} s")


def test_promtool_accepts_the_metrics(telemetry: Telemetry):
    text, _ = telemetry.render_metrics()
    run = subprocess.run([find_program("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def test_prometheus_scrapes_the_metrics(prometheus: str):
    (requests,) = query(prometheus, "assay_requests_total")
    assert requests["value"][1] == "150"
    assert requests["metric"].items() >= {"status": "200", "tier": "gold", "model": "bottle"}.items()
    (median,) = query(prometheus, "histogram_quantile(0.5, assay_request_stage_seconds_bucket)")
    assert 0.003 < float(median["value"][1]) <= 0.005
    (drifting,) = query(prometheus, 'assay_drift_psi{subject="class"} > assay_drift_limit')
    assert drifting["metric"]["model"] == "bottle"
