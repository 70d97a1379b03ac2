"""The access log and the error log: JSON lines with the id of the request and nothing personal."""

import json
import logging
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from assay.core.errors import UsageError
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry import RequestCompleted
from assay.serving.telemetry.logs import ServerLogs, log_request_id, redact_addresses

OpenLogs = Callable[..., ServerLogs]
UVICORN = logging.getLogger("uvicorn.error")


@pytest.fixture
def open_logs(tmp_path: Path) -> Iterator[OpenLogs]:
    """Open logs that are closed at the end."""
    opened: list[ServerLogs] = []

    def begin(**settings: Any) -> ServerLogs:
        opened.append(ServerLogs(TelemetrySettings(**{"log_dir": tmp_path, **settings})))
        return opened[-1]

    yield begin
    for logs in opened:
        logs.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_response_is_one_line(tmp_path: Path, make_record):
    logs = ServerLogs(TelemetrySettings(log_dir=tmp_path))
    logs.log_request(RequestCompleted(make_record(), "gold"))
    logs.log_request(
        RequestCompleted(make_record(request_id="r2", status=400, image=None, result=None, confidence=None), "gold")
    )
    logs.close()
    first, second = lines(tmp_path / "access.log")
    assert first == {
        "timestamp": "2026-01-02T03:04:05.000+00:00",
        "level": "info",
        "event": "answered",
        "request_id": "r1",
        "client_id": "line-3",
        "tier": "gold",
        "status": 200,
        "model": "bottle",
        "model_version": "v1",
        "result": "open",
        "confidence": 0.9,
        "unknown": False,
        "cache_hit": False,
        "milliseconds": 12.3,
        "error": None,
        "image_metadata": {"size": 12345, "format": "jpeg", "dimensions": [1080, 1920]},
    }
    assert (second["level"], second["status"], second["image_metadata"]) == ("warning", 400, None)


def test_log_level_applies_to_requests(tmp_path: Path, make_record):
    logs = ServerLogs(TelemetrySettings(log_dir=tmp_path, log_level="warning"))
    for status in (200, 404, 500):
        logs.log_request(RequestCompleted(make_record(status=status), "gold"))
    logs.close()
    assert [line["status"] for line in lines(tmp_path / "access.log")] == [404, 500]


def test_uvicorn_errors_are_logged_with_the_request_id(
    tmp_path: Path, open_logs: OpenLogs, capfd: pytest.CaptureFixture[str]
):
    open_logs()
    with log_request_id("r7"):
        try:
            int("no luck with 192.168.7.13")
        except ValueError:
            UVICORN.exception("Exception in ASGI application for %s:%d", "10.0.0.7", 4711)
    UVICORN.info("Application startup complete.")
    UVICORN.warning("Invalid HTTP request received.")
    first, second = lines(tmp_path / "error.log")
    assert (first["level"], first["logger"], first["request_id"]) == ("error", "uvicorn.error", "r7")
    assert first["event"] == "Exception in ASGI application for [address]:4711"
    assert "no luck with [address]" in first["exception"]
    assert "request_id" not in second
    result = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert result[1] == "Application startup complete."
    assert len(result) == 3


def test_uvicorn_access_log_is_disabled(tmp_path: Path, open_logs: OpenLogs, capfd: pytest.CaptureFixture[str]):
    open_logs(log_level="debug")
    logging.getLogger("uvicorn.access").info('%s - "GET /classify?name=me"', "10.0.0.7:4711")
    assert capfd.readouterr().err == ""
    assert (tmp_path / "error.log").read_text(encoding="utf-8") == ""


def test_without_a_folder_logs_go_to_standard_streams(capfd: pytest.CaptureFixture[str], make_record):
    logs = ServerLogs(TelemetrySettings())
    logs.log_request(RequestCompleted(make_record(), "gold"))
    UVICORN.error("oh")
    logs.close()
    printed = capfd.readouterr()
    assert json.loads(printed.out)["request_id"] == "r1"
    assert json.loads(printed.err)["event"] == "oh"


def test_root_logger_is_restored(tmp_path: Path):
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    ServerLogs(TelemetrySettings(log_dir=tmp_path, log_level="error")).close()
    assert (root.level, list(root.handlers)) == before


def test_each_worker_has_its_own_files_and_reuses_those_of_dead_workers(
    tmp_path: Path, open_logs: OpenLogs, make_record
):
    first, second = ServerLogs(TelemetrySettings(log_dir=tmp_path)), open_logs()
    first.log_request(RequestCompleted(make_record(request_id="a"), "gold"))
    first.close()
    third = ServerLogs(TelemetrySettings(log_dir=tmp_path))
    third.log_request(RequestCompleted(make_record(request_id="c"), "gold"))
    third.close()
    second.log_request(RequestCompleted(make_record(request_id="b"), "gold"))
    assert [line["request_id"] for line in lines(tmp_path / "access.log")] == ["a", "c"]
    assert sorted(path.name for path in tmp_path.glob("access*")) == ["access-2.log", "access.log"]


def test_invalid_log_folder_raises(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"logs cannot be written to .*file/logs .*--log-dir"):
        ServerLogs(TelemetrySettings(log_dir=tmp_path / "file" / "logs"))


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.7",
        "255.255.255.255",
        "::1",
        "2001:db8::ff00:42:8329",
        "fe80::",
        "::ffff:10.1.2.3",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    ],
)
def test_ip_addresses_are_redacted(address: str):
    for text in ("{}", "from {}", "({}, 80)", "{}:443 closed", "[{}]:80", "at {}."):
        if "{}:4" in text and ":" in address:
            continue  # an IPv6 address with a port is written in brackets
        assert redact_addresses(text.format(address)) == text.format("[address]")


@pytest.mark.parametrize(
    "text",
    ["at 12:34:56", "2026-01-02T03:04:05.000Z", "std::vector", "opencv 5.0.0", "3.14", "a:b", "1.2.3.4.5"],
)
def test_other_text_is_not_redacted(text: str):
    assert redact_addresses(text) == text


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_no_ip_address_passes_redaction(address: IPv4Address | IPv6Address):
    assume(not address.is_unspecified)
    assert str(address) not in redact_addresses(f"lost {address} again")
