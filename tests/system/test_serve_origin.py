"""A server without keys rejects requests from other pages in a browser."""

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.serving.auth.keys import KeyManager

_GET = (
    "/",
    "/relabel",
    "/relabel/photos",
    "/web/0/main.js",
    "/web/card",
    "/health",
    "/live",
    "/ready",
    "/models",
    "/metrics",
    "/openapi.json",
    "/v2",
    "/v2/health/ready",
    "/v2/models/colours",
    "/nothing",
)
_POST = ("/classify", "/classify?detail=1", "/classify/batch", "/v2/models/colours/infer", "/admin/reload")
_OTHERS: list[dict[str, str]] = [
    {"Host": "rebound.example"},
    {"Host": "rebound.example:8000", "Origin": "http://rebound.example:8000"},
    {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "null"},
]


@pytest.fixture(scope="module")
def running(serve_colours) -> Any:
    return serve_colours(lifecycle__drain_delay=0)


@pytest.mark.parametrize("headers", _OTHERS, ids=["name", "name and port", "other", "null"])
def test_every_route_rejects_other_origins(running: Any, painted: Callable[..., bytes], headers: dict[str, str]):
    with running.client() as client:
        requested = [("GET", path, {}) for path in _GET]
        requested += [("POST", path, {"files": {"image": painted()}}) for path in _POST]
        for method, path, sent in requested:
            answer = client.request(method, path, headers=headers, **sent)
            assert (answer.status_code, set(answer.json())) == (403, {"error"}), path
        assert client.options("/classify", headers=headers).status_code == 403
        assert client.head("/health", headers=headers).status_code == 403


def test_rejected_before_the_body_is_read(running: Any):
    head = b"POST /classify HTTP/1.1\r\nHost: rebound.example\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("host", [None, "localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "localhost"])
def test_programs_are_not_affected(running: Any, painted: Callable[..., bytes], host: str | None):
    headers = {} if host is None else {"Host": host.format(port=running.port)}
    with running.client() as client:
        for path in _GET[:-1]:
            assert client.get(path, headers=headers).status_code == 200, path
        for path in _POST[:3]:
            answer = client.post(path, headers=headers, files={"image": painted()})
            assert answer.status_code == 200, path


def test_host_names_can_be_allowed(serve, make_bundle: Callable[..., Path]):
    server = serve(
        make_bundle(),
        "--allowed-host",
        "photos.example",
        "--allowed-host",
        "other.example",
        lifecycle__drain_delay=0,
    )
    with server.client() as client:
        status = [
            client.get("/models", headers={"Host": host}).status_code
            for host in ("photos.example", "other.example:80", "localhost", "third.example")
        ]
    assert status == [200, 200, 200, 403]


def test_with_keys_origins_are_not_checked(
    serve, make_bundle: Callable[..., Path], painted: Callable[..., bytes], tmp_path: Path
):
    manager = KeyManager(tmp_path / "keys")
    key = manager.token(manager.create("a client", "gold", ("classify",)))
    with serve(make_bundle(), "--keys", tmp_path / "keys", lifecycle__drain_delay=0).client() as client:
        headers = {"Host": "photos.example", "Authorization": f"Bearer {key}"}
        assert client.post("/classify", files={"image": painted()}, headers=headers).status_code == 200
        assert client.post("/classify", files={"image": painted()}).status_code == 401


_ATTACK = """
async ([url, photo]) => {
    const form = new FormData();
    form.append("image", new File([new Uint8Array(photo)], "a.jpg", {type: "image/jpeg"}));
    await fetch(`${url}/classify`, {method: "POST", body: form, mode: "no-cors"}).catch(() => 0);
    const image = new Image();
    image.src = `${url}/metrics`;
    await image.decode().catch(() => 0);
}
"""


@pytest.fixture(scope="module")
def other_origin() -> Iterator[str]:
    """A page of another origin on this machine."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_cross_origin_requests_in_a_real_browser(
    browser: Any, running: Any, other_origin: str, painted: Callable[..., bytes], eventually: Callable[..., None]
):
    def refused() -> int:
        with running.client() as client:
            text = client.get("/metrics").text
        found = [line for line in text.splitlines() if line.startswith('assay_rejected_total{reason="origin"}')]
        return int(float(found[0].split()[-1])) if found else 0

    page = browser.new_page()
    before = refused()
    page.goto(other_origin)
    page.evaluate(_ATTACK, [running.url, list(painted())])
    eventually(lambda: refused() - before >= 2)
    # The name now resolves to the server's own address: its pages are of that origin.
    response = page.goto(f"http://rebound.example:{running.port}/models")
    assert response.status == 403
    # A link to the page may be followed.
    page.goto(other_origin)
    page.evaluate("url => { location.href = url; }", running.url)
    page.get_by_text("Ready: 3 classes").wait_for()
    page.close()
