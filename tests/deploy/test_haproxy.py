"""HAProxy with its configuration in front of two real servers: one is killed, and no request is lost."""

import http.client
import http.server
import io
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from services import find_program
from waiting import wait_until

_BOUNDARY = "photo-boundary"
_SUBJECT = "/CN=localhost"


@dataclass
class Cluster:
    """Two servers behind HAProxy."""

    bundle: Path
    ports: list[int]
    https: int
    watching: int
    log: Path
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, port: int) -> None:
        environ = {**os.environ, "ASSAY_SERVE_CACHE__ENTRIES": "0", "ASSAY_SERVE_TELEMETRY__LOG_LEVEL": "warning"}
        assay = Path(sys.executable).with_name("assay")
        request_log = self.log.with_name(f"requests-{port}.sqlite")
        options = ["--port", str(port), "--no-auth", "--request-log", request_log]
        result = self.log.with_name(f"server-{port}.log")
        with result.open("ab") as log:
            process = subprocess.Popen([assay, "serve", self.bundle, *options], stdout=log, stderr=log, env=environ)
        self.servers.append(process)

        def ready() -> bool:
            assert process.poll() is None, result.read_text(encoding="utf-8")
            return get(f"http://127.0.0.1:{port}/ready") == 200

        wait_until(ready)

    def end(self) -> None:
        for process in self.servers:
            process.kill()
            process.wait(20)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
            status: int = answer.status
    except OSError:
        return 0
    return status


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A folder with a certificate and its key in one file."""
    folder = tmp_path / "certs"
    folder.mkdir()
    subprocess.run(
        [
            *(
                find_program("openssl"),
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ),
            *(
                "-days",
                "2",
                "-subj",
                _SUBJECT,
                "-keyout",
                tmp_path / "key.pem",
                "-out",
                tmp_path / "cert.pem",
            ),
        ],
        check=True,
        capture_output=True,
    )
    joined = (tmp_path / "cert.pem").read_bytes() + (tmp_path / "key.pem").read_bytes()
    (folder / "assay.pem").write_bytes(joined)
    return folder


def configured(deploy: Path, certificate: Path, one: Cluster) -> Path:
    """Write the configuration with the ports of a test."""
    text = (deploy / "haproxy.cfg").read_text(encoding="utf-8")
    text = text.replace("/usr/local/etc/haproxy/certs/", f"{certificate}/")
    text = text.replace("bind :8443", f"bind 127.0.0.1:{one.https}")
    text = text.replace("bind :8404", f"bind 127.0.0.1:{one.watching}")
    servers = "\n".join(f"    server assay-{port} 127.0.0.1:{port} check" for port in one.ports)
    text, count = re.subn(r" +server-template assay- .*", servers, text)
    assert count == 1
    path = certificate.parent / "haproxy.cfg"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def cluster(deploy: Path, colours_bundle: Path, certificate: Path, free_port: Callable[[], int]) -> Iterator[Cluster]:
    tmp_path = certificate.parent
    haproxy = find_program("haproxy")
    item = Cluster(colours_bundle, [free_port(), free_port()], free_port(), free_port(), tmp_path / "haproxy.log")
    path = configured(deploy, certificate, item)
    with ExitStack() as stack:
        stack.callback(item.end)
        for port in item.ports:
            item.start(port)
        log = stack.enter_context(item.log.open("wb"))
        balancer = subprocess.Popen([haproxy, "-db", "-f", path], stdout=log, stderr=log)
        stack.callback(balancer.wait, 20)
        stack.callback(balancer.terminate)
        wait_until(lambda: get(f"http://127.0.0.1:{item.watching}/health") == 200)
        yield item


def photo() -> bytes:
    """About 0.3 MB, as a camera's."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def body() -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="x.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + photo() + f"\r\n--{_BOUNDARY}--\r\n".encode()


class Clients:
    """Some clients that send photos one after the other and count the answers."""

    def __init__(self, cluster: Cluster, count: int) -> None:
        self._cluster, self._body = cluster, body()
        self._ending = threading.Event()
        self.answers: Counter[int | str] = Counter()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def end(self) -> Counter[int | str]:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        return self.answers

    def _run(self) -> None:
        connection = http.client.HTTPSConnection("127.0.0.1", self._cluster.https, timeout=40, context=trusting())
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        while not self._ending.is_set():
            answer: int | str
            try:
                connection.request("POST", "/classify", self._body, headers)
                response = connection.getresponse()
                fields = json.loads(response.read())
                answer = response.status if response.status != 200 or "label" in fields else "no label"
            except (OSError, http.client.HTTPException) as error:
                answer = repr(error)
                connection.close()
            with self._lock:
                self.answers[answer] += 1
        connection.close()


@pytest.mark.slow
def test_killed_server_loses_no_request_and_returns(cluster: Cluster):
    clients = Clients(cluster, 8)
    wait_until(lambda: clients.answers[200] > 100)
    before = clients.answers[200]
    cluster.servers[0].send_signal(signal.SIGKILL)
    wait_until(lambda: clients.answers[200] > before + 100)
    cluster.start(cluster.ports[0])
    back = len(cluster.lines())
    name = f"assay-{cluster.ports[0]}"
    wait_until(lambda: any(line["server"] == name for line in cluster.lines()[back:]), 15)
    answers = clients.end()
    assert set(answers) == {200}
    lines = [line for line in cluster.lines() if line["server"] != "<NOSRV>"]
    used = Counter(line["server"] for line in lines)
    assert set(used) == {f"assay-{port}" for port in cluster.ports}
    assert any(str(line["retries"]) not in {"0", "+0"} for line in lines)  # a request was not counted


_INSIDE = [
    "/metrics",
    "/%6detrics",
    "/%6D%65%74%72%69%63%73",
    "/m%65trics?x=1",
    "//metrics",
    "/./metrics",
    "/health/../metrics",
    "/%2e/metrics",
    "/health/%2e%2e/metrics",
    "/.%2E//%6detrics",
    "/health/..//./%6detrics",
    "https://localhost/metrics",
    "https://localhost/%6detrics",
    "https://localhost//x/../metrics",
    "/metrics%00",
    "/metrics%0a",
    "/metrics;a=b",
    "/%256detrics",
    "/%2fmetrics",
    "/x%2f..%2fmetrics",
    "/%5cmetrics",
    "/;x/metrics",
    "/..;/metrics",
    "/METRICS",
    "/%c1%adetrics",
    "/%zzmetrics",
    "/metrics%",
    "/metrics\\..",
]


def _ask(port: int, line: str) -> tuple[int, bytes]:
    """Send a request whose target no library would let through."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        trusting().wrap_socket(plain) as connection,
    ):
        connection.sendall(f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return int(answer[9:12]), answer


def test_internal_routes_are_not_published(cluster: Cluster):
    for written in _INSIDE:
        status, answer = _ask(cluster.https, f"GET {written}")
        assert status in {400, 404}, (written, answer)
        admin = written.replace("metrics", "admin/reload").replace("%6detrics", "%61dmin/reload")
        status, answer = _ask(cluster.https, f"POST {admin}")
        assert status in {400, 404}, (admin, answer)
    assert _ask(cluster.https, "GET /he%61lth")[0] == 200
    connection = http.client.HTTPSConnection("127.0.0.1", cluster.https, timeout=10, context=trusting())
    for path in ("/metrics", "/admin/reload", "/ready", "/live"):
        connection.request("GET", path)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())) == (404, {"error": "Not found"}), path
    connection.request("GET", "/health", headers={"X-Request-ID": "mine-1"})
    response = connection.getresponse()
    assert json.loads(response.read())["status"] == "healthy"
    assert response.getheader("X-Request-ID") == "mine-1"
    assert response.getheader("Strict-Transport-Security")
    connection.close()

    old = trusting()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    connection = http.client.HTTPSConnection("127.0.0.1", cluster.https, timeout=10, context=old)
    with pytest.raises(ssl.SSLError):
        connection.request("GET", "/health")
    connection.close()

    cluster.end()
    connection = http.client.HTTPSConnection("127.0.0.1", cluster.https, timeout=30, context=trusting())
    connection.request("GET", "/health")
    response = connection.getresponse()
    assert response.status in {502, 503}
    assert set(json.loads(response.read())) == {"error"}
    connection.close()
    assert all("127.0.0.1" not in str(line) for line in cluster.lines())


class _Recorder(http.server.BaseHTTPRequestHandler):
    """A server that echoes its request."""

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_query_reaches_the_server_unchanged(deploy: Path, certificate: Path, free_port: Callable[[], int]):
    haproxy = find_program("haproxy")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Recorder) as server, ExitStack() as stack:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        port = server.server_address[1]
        item = Cluster(Path(), [port], free_port(), free_port(), certificate.parent / "haproxy.log")
        path = configured(deploy, certificate, item)
        log = stack.enter_context(item.log.open("wb"))
        balancer = subprocess.Popen([haproxy, "-db", "-f", path], stdout=log, stderr=log)
        stack.callback(balancer.wait, 20)
        stack.callback(balancer.terminate)
        wait_until(lambda: get(f"http://127.0.0.1:{item.watching}/health") == 200)
        for written, read in {
            "/classify?model=a%2Db&x=%7e//../.": "/classify?model=a%2Db&x=%7e//../.",
            "/cl%61ssify?": "/classify?",
            "/classify": "/classify",
            "//x/../classify?a=%61": "/classify?a=%61",
        }.items():
            status, answer = _ask(item.https, f"GET {written}")
            assert (status, answer.rpartition(b"\r\n\r\n")[2].decode()) == (200, read)
