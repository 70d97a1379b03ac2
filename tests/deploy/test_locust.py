"""The load test distinguishes responses from errors."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason='locust is absent: pip install "assay[load]"')


class Server(ThreadingHTTPServer):
    """Answers photos with one label, and those without a key with an error."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    delay = 0.0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        good = self.path == "/classify" and b'name="image"' in body and b"a photo" in body
        key = self.headers["Authorization"].removeprefix("Bearer ")
        status = {"ak_1.secret": 200, "ak_3.limited": 429}.get(key, 401) if good else 400
        time.sleep(self.delay)
        self._answer(status, {"label": "open"} if status == 200 else {"error": "no"})

    def _answer(self, status: int, fields: dict[str, str]) -> None:
        text = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def photos(tmp_path: Path) -> str:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(b"a photo")
    return str(folder)


def run(deploy: Path, address: str, folder: Path, **environ: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the load test for some seconds; return its exit code and its rows by name."""
    made = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", deploy / "locustfile.py", "--host", address),
            *("--headless", "--users", "2", "--spawn-rate", "10", "--run-time", "6s", "--stop-timeout", "10", "--json"),
        ],
        env={**os.environ, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = json.loads(made.stdout) if made.stdout.strip() else []
    return made.returncode, {row["name"]: row for row in rows}


def clients(**keys_and_rates: tuple[str, float]) -> str:
    return json.dumps({name: {"key": key, "rate": rate} for name, (key, rate) in keys_and_rates.items()})


def test_responses_are_distinguished_from_errors(deploy: Path, address: str, tmp_path: Path, photos: str):
    wanted = clients(gold=("ak_1.secret", 20), bronze=("ak_2.wrong", 5))
    code, rows = run(deploy, address, tmp_path, ASSAY_PHOTOS=photos, ASSAY_CLIENTS=wanted, ASSAY_UNCACHED="1")
    assert code == 1
    assert (rows["gold"]["num_failures"], rows["bronze"]["num_failures"]) == (0, rows["bronze"]["num_requests"])
    assert 20 < rows["gold"]["num_requests"] < 180  # 120 are expected, fewer on a busy machine
    assert rows["bronze"]["num_requests"] < rows["gold"]["num_requests"]


def test_rate_does_not_depend_on_the_response_time(
    deploy: Path, address: str, tmp_path: Path, photos: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_Handler, "delay", 1.0)
    wanted = clients(gold=("ak_1.secret", 20))
    code, rows = run(deploy, address, tmp_path, ASSAY_PHOTOS=photos, ASSAY_CLIENTS=wanted)
    assert code == 0
    assert rows["gold"]["num_requests"] > 20  # one after the other, six would fit
    assert rows["gold"]["min_response_time"] >= 1000


def test_limited_requests_are_a_row_of_their_own(deploy: Path, address: str, tmp_path: Path, photos: str):
    wanted = clients(gold=("ak_1.secret", 10), bronze=("ak_3.limited", 10))
    code, rows = run(deploy, address, tmp_path, ASSAY_PHOTOS=photos, ASSAY_CLIENTS=wanted)
    assert code == 0
    assert rows["bronze (429)"]["num_requests"] > 5
    assert "bronze" not in rows


def test_request_is_repeated_at_the_next_address(deploy: Path, address: str, tmp_path: Path, photos: str):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        addresses = f"http://127.0.0.1:{closed.getsockname()[1]},{address}"
        wanted = clients(gold=("ak_1.secret", 10))
        code, rows = run(deploy, addresses, tmp_path, ASSAY_PHOTOS=photos, ASSAY_CLIENTS=wanted)
    assert code == 0
    assert rows["gold"]["num_failures"] == 0
    assert 0 < rows["gold (repeated)"]["num_requests"] <= rows["gold"]["num_requests"]


@pytest.mark.parametrize("wanted", ["", "{}", "[]", '{"gold": {"key": "a"}}', '{"gold": {"key": "a", "rate": 0}}'])
def test_load_test_without_photos_or_clients_raises(
    deploy: Path, address: str, tmp_path: Path, photos: str, wanted: str
):
    code, rows = run(deploy, address, tmp_path, ASSAY_PHOTOS=photos, ASSAY_CLIENTS=wanted)
    assert (code, rows) == (1, {})
    code, rows = run(deploy, address, tmp_path, ASSAY_PHOTOS="", ASSAY_CLIENTS=clients(gold=("", 1)))
    assert (code, rows) == (1, {})
