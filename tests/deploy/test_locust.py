"""The load test distinguishes responses from errors."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason='locust is absent: pip install "assay[load]"')


class Server(ThreadingHTTPServer):
    """Answers photos with one label, and those without a key with an error."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        good = self.path == "/classify" and b'name="image"' in body and b"a photo" in body
        known = self.headers["Authorization"] == "Bearer ak_1.secret"
        self._answer(200 if good and known else 401, {"label": "open"} if good and known else {"error": "no"})

    def do_GET(self) -> None:
        self._answer(200, {"status": "healthy"})

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


def run(deploy: Path, address: str, folder: Path, **environ: str) -> tuple[int, list[dict[str, object]]]:
    made = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", deploy / "locustfile.py", "--host", address),
            *("--headless", "--users", "2", "--spawn-rate", "10", "--run-time", "2s", "--json"),
        ],
        env={**os.environ, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return made.returncode, json.loads(made.stdout) if made.stdout.strip() else []


@pytest.mark.parametrize(("key", "code"), [("ak_1.secret", 0), ("ak_1.wrong", 1)])
def test_responses_are_distinguished_from_errors(deploy: Path, address: str, tmp_path: Path, key: str, code: int):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.jpg").write_bytes(b"a photo")
    found, rows = run(deploy, address, tmp_path, ASSAY_PHOTOS=str(photos), ASSAY_KEY=key, ASSAY_UNCACHED="1")
    (classify,) = [row for row in rows if row["name"] == "/classify"]
    assert found == code
    assert classify["num_requests"] != 0
    assert classify["num_failures"] == (classify["num_requests"] if code else 0)


def test_load_test_without_photos_raises(deploy: Path, address: str, tmp_path: Path):
    code, rows = run(deploy, address, tmp_path, ASSAY_PHOTOS=str(tmp_path))
    assert (code, rows) == (1, [])
