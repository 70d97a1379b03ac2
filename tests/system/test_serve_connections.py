"""Limits on connections, headers, chunks and pipelining, and clients that do not read."""

import contextlib
import http.client
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from process_memory import peak_memory

from assay.serving.http_limits import MAX_FIELDS, MAX_HEAD, MAX_TARGET
from assay.serving.supervisor import WorkerConfig

_GROWTH = 40 * 2**20
_WRITE_TIMEOUT = 2.0


@pytest.fixture(scope="module")
def running(serve_colours):
    return serve_colours(
        uploads__upload_timeout=2,
        listen__header_timeout=2,
        listen__keep_alive=2,
        listen__write_timeout=_WRITE_TIMEOUT,
    )


@pytest.fixture(scope="module")
def photo() -> bytes:
    """Noise of some 200 kB, that came without a line feed for long stretches."""
    stream = io.BytesIO()
    Image.effect_noise((500, 400), 80).convert("RGB").save(stream, "JPEG", quality=95)
    return stream.getvalue()


def _form(photo: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + photo + b"\r\n--b--\r\n"


def _post(body: bytes, *fields: bytes, path: bytes = b"/classify", length: bytes | None = None) -> bytes:
    length = b"Content-Length: %d" % len(body) if length is None else length
    lines = [b"Host: localhost", b"Content-Type: multipart/form-data; boundary=b", length, *fields]
    return b"POST %s HTTP/1.1\r\n" % path + b"\r\n".join(lines) + b"\r\n\r\n" + body


def _chunked(body: bytes, size: int, extension: bytes = b"") -> bytes:
    pieces = [body[place : place + size] for place in range(0, len(body), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)


_CHUNKED = b"Transfer-Encoding: chunked"
_LIVE = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _talk(port: int, *parts: bytes, answers: int = 1, seconds: float = 10) -> list[int]:
    """Send parts with pauses; return the statuses of the answers, with 0 behind them where it was closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
                time.sleep(0.1 * (len(parts) > 1))
        statuses: list[int] = []
        while len(statuses) < answers:
            try:
                more = connection.recv(65536)
            except OSError:
                more = b""
            received += more
            statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]
            if not more:
                return [*statuses, 0]
    return statuses


_ENDLESS = {
    "many trailers": (b"0\r\n", b"X-A: b\r\n" * 4096),
    "a long trailer": (b"0\r\nX-A: ", b"b" * 32768),
    "a trailer in folds": (b"0\r\nX-A: b\r\n", b" b\r\n" * 8192),
    "trailers without values": (b"0\r\n", b"X:\r\n" * 8192),
    "a long extension": (b"1;a=", b"b" * 32768),
    "many extensions": (b"", b"1;" + b"b" * 8000 + b"\r\nx\r\n"),
    "a long size": (b"", b"0" * 32768),
    "tiny chunks": (b"", b"1\r\nx\r\n" * 8192),
}


@pytest.mark.parametrize("path", [b"/classify", b"/live", b"/nowhere", b"/v2/models/colours/infer"])
@pytest.mark.parametrize(("start", "piece"), _ENDLESS.values(), ids=_ENDLESS.keys())
def test_chunk_framing_is_bounded(running, start: bytes, piece: bytes, path: bytes):
    before, sent = peak_memory(running.process.pid), 0
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        head = _post(b"", path=path, length=_CHUNKED)
        with contextlib.suppress(ConnectionError, TimeoutError):
            connection.sendall(head + start)
            while sent < 200 * 2**20:
                connection.sendall(piece)
                sent += len(piece)
    assert sent < 100 * 2**20
    assert peak_memory(running.process.pid) - before < _GROWTH


def test_trailers_are_accepted_and_dropped(running, photo: bytes):
    body = _chunked(_form(photo), 1000, b";a=b")
    request = _post(body + b"0\r\nX-Sum: 1\r\nAuthorization: x\r\n\r\n", length=_CHUNKED)
    assert _talk(running.port, request + _LIVE, answers=2) == [200, 200]


def test_slow_trailers_time_out(running, photo: bytes):
    body = _chunked(_form(photo), 50_000) + b"0\r\n"
    drops = [b"X-A: b\r\n"] * 60
    start = time.monotonic()
    assert _talk(running.port, _post(body, length=_CHUNKED), *drops)[0] == 408
    assert time.monotonic() - start < 8


@pytest.mark.parametrize("path", [b"/classify", b"/v2/models/colours/infer", b"/nowhere"])
def test_oversized_upload_still_gets_its_response(running, path: bytes):
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(_post(bytes(60 * 10**6), path=path))  # a reset would fail here
        status = connection.recv(12)
    assert status == b"HTTP/1.1 " + (b"404" if path == b"/nowhere" else b"400")


@pytest.mark.parametrize("size", [1, 7, 100, 65536])
def test_photo_in_small_chunks_is_accepted(running, photo: bytes, size: int):
    small = photo if size > 1 else photo[:0] + _small()
    body = _chunked(_form(small), size) + b"0\r\n\r\n"
    assert _talk(running.port, _post(body, length=_CHUNKED)) == [200]


def _small() -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((200, 150), 80).convert("RGB").save(stream, "JPEG")
    return stream.getvalue()


_HEADS = {
    "a long field": (b"X: " + b"x" * MAX_HEAD, 431),
    "a long name": (b"x" * MAX_HEAD + b": x", 431),
    "many fields": (b"\r\n".join([b"x: y"] * (MAX_FIELDS + 1)), 431),
    "fields of some length": (b"\r\n".join([b"x: " + b"y" * 6000] * 12), 431),
    "an empty name": (b": x", 400),
    "a blank in a name": (b"x y: z", 400),
    "no colon": (b"x", 400),
    "NUL": (b"x: \0", 400),
    "a carriage return": (b"x: a\rb", 400),
    "as much as is allowed": (b"\r\n".join([b"x: " + b"y" * 630] * 100), 200),
    "an empty value": (b"x:", 200),
    "bytes that are no ASCII": (b"x-request-id: \xff\xfe\xe4", 200),
}


@pytest.mark.parametrize(("fields", "status"), _HEADS.values(), ids=_HEADS.keys())
def test_headers_are_bounded(running, fields: bytes, status: int):
    request = b"GET /live HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n\r\n"
    assert _talk(running.port, request)[0] == status
    if len(request) > 200:
        assert _talk(running.port, request[:-100], request[-100:])[0] == status
        middle = len(request) // 2
        assert _talk(running.port, request[:middle], request[middle:-1], request[-1:])[0] == status


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/live?" + b"a" * (MAX_TARGET - 10), 200),
        (b"/live?" + b"a" * MAX_TARGET, 414),
        (b"/live?" + b"a" * 10 * MAX_TARGET, 414),
        (b"/live%00", 404),
        (b"/v2/models/%00/ready", 404),
        (b"/v2/models/%ff%fe/ready", 404),
        (b"/v2/models/%zz/ready", 404),
        (b"/v2/models/%ed%a0%80/ready", 404),
        (b"/v2/models/%2e%2e/versions/" + b"9" * 5000, 404),
        (b"/web/card?model=%ed%a0%80", 404),
        (b"/web/card?model=" + b"9" * 5000, 404),
        (b"/live?%=%zz&&==&a=%00", 200),
        (b"/\xe4", 400),
        (b"http://localhost/live", 200),
        (b"*", 400),
    ],
    ids=lambda value: str(value)[:30],
)
def test_unusual_targets_get_a_response(running, target: bytes, status: int):
    assert _talk(running.port, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] in {status, 404}


_NAMES = [
    "Content-Type",
    "Content-Encoding",
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Cookie",
    "Expect",
    "Forwarded",
    "Host",
    "If-None-Match",
    "Inference-Header-Content-Length",
    "Origin",
    "Range",
    "Sec-Fetch-Site",
    "Traceparent",
    "Tracestate",
    "Upgrade",
    "X-Assay-Key",
    "X-Assay-Timestamp",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Request-ID",
]
_VALUES = [
    b"9" * 5000,
    b"0" * 5000,
    b"-1",
    b"1e999",
    b"NaN",
    b"\xb2\xb3",
    b"\xff\xfe\xed\xa0\x80",
    b"%ff%zz",
    b'"\\',
    b";;;=;,",
    b"",
    b"\t",
    b"[::1",
    b"[::ffff:1.2.3.4%25]:99999999",
]


@pytest.mark.parametrize("name", _NAMES)
def test_no_header_causes_a_server_error(running, name: str):
    requests = {
        b"GET /live HTTP/1.1\r\nHost: localhost\r\n": b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n": b"",
        b"GET /models HTTP/1.1\r\nHost: localhost\r\n": b"",
        b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n": b"",
        b"POST /v2/models/colours/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n": b"{}",
    }
    for value in _VALUES:
        for head, body in requests.items():
            sent = head + name.encode() + b": " + value + b"\r\nConnection: close\r\n\r\n" + body
            (status, *_) = _talk(running.port, sent)
            assert 200 <= status < 500, (name, value, head)


@pytest.mark.parametrize("blanks", [(b"", b" "), (b" ", b"\t "), (b"", b"   ")])
def test_whitespace_around_content_length_is_stripped(running, photo: bytes, blanks: tuple[bytes, bytes]):
    body = _form(photo)
    length = b"Content-Length:" + blanks[0] + b"%d" % len(body) + blanks[1]
    assert _talk(running.port, _post(body, length=length)) == [200]


@pytest.mark.parametrize("size", [1, 5, 20, 30])
@pytest.mark.parametrize("zeros", [False, True])
def test_next_request_can_arrive_in_pieces(running, photo: bytes, size: int, *, zeros: bool):
    body = _form(photo + b"\0" * 200_000 if zeros else photo)
    first = _post(body)
    assert _talk(running.port, first + _LIVE[:size], _LIVE[size:], answers=2) == [200, 200]


@pytest.mark.parametrize("rest", [b"\0\0garbage\r\n\r\n", b"GET /li", b"GET / HTTP/1.1\r\nx: " + b"x" * 99_999])
def test_response_is_sent_before_a_following_error(running, photo: bytes, rest: bytes):
    statuses = _talk(running.port, _post(_form(photo)) + rest, answers=2)
    assert statuses[0] == 200
    assert statuses[1] in {400, 408, 431}


def test_upgrade_requests_are_ignored(running, photo: bytes):
    wish = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ")
    assert _talk(running.port, _post(_form(photo), *wish) + _LIVE, answers=2) == [200, 200]
    assert _talk(running.port, b"CONNECT a:80 HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 400


def test_blank_lines_do_not_keep_a_connection_open(running):
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(_LIVE)
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - start < 8:
                connection.sendall(b"\r\n")
                time.sleep(0.2)
    assert time.monotonic() - start < 6


def test_pipelined_requests_are_parsed_one_at_a_time(running, photo: bytes):
    before = peak_memory(running.process.pid)
    assert _talk(running.port, _LIVE * 3000, answers=3000, seconds=30) == [200] * 3000
    mixed = (_post(_form(photo)) + _LIVE) * 10
    assert _talk(running.port, mixed, answers=20) == [200] * 20
    cut = [mixed[place : place + 100_003] for place in range(0, len(mixed), 100_003)]
    assert _talk(running.port, *cut, answers=20) == [200] * 20
    small = _post(_chunked(_form(_small()), 500) + b"0\r\n\r\n", length=_CHUNKED)
    assert _talk(running.port, small * 50, answers=50) == [200] * 50
    assert peak_memory(running.process.pid) - before < _GROWTH


@pytest.mark.parametrize("cut", range(1, len(_LIVE)))
def test_requests_split_anywhere_are_parsed_equally(running, cut: int):
    both = _LIVE * 2
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(both[:cut])
        time.sleep(0.005)
        connection.sendall(both[cut:])
        received = b""
        while received.count(b"HTTP/1.1 200") < 2:
            more = connection.recv(65536)
            assert more
            received += more


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@contextlib.contextmanager
def _deaf(port: int, count: int, request: bytes, rounds: int = 1) -> Iterator[list[socket.socket]]:
    """Open connections that ask for something again and again, and read nothing."""
    connections = []
    try:
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(5)
            connection.connect(("127.0.0.1", port))
            connections.append(connection)
        for _ in range(rounds):
            for connection in connections:
                connection.sendall(request)
            time.sleep(0.1)
        yield connections
    finally:
        for connection in connections:
            connection.close()


_LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 16
_ROUNDS = 12
"""Requested so often that the responses exceed the socket buffers, some 3 MB."""


def test_clients_that_do_not_read_are_disconnected(running, eventually, photo: bytes):
    pid = running.process.pid
    files, before = _files(pid), peak_memory(pid)
    with _deaf(running.port, 6, _LARGE, _ROUNDS):
        with running.client() as client:
            assert client.post("/classify", files={"image": ("a", photo)}).status_code == 200
        assert _files(pid) >= files + 6
        eventually(lambda: _files(pid) <= files + 1, 20)
    assert peak_memory(pid) - before < _GROWTH


def test_slow_reader_gets_the_whole_response(running):
    size, received = len(_get(running.port, "/openapi.json")), 0
    with _deaf(running.port, 1, _LARGE, _ROUNDS) as (connection,):
        start = time.monotonic()
        while time.monotonic() - start < 2.5 * _WRITE_TIMEOUT:
            received += len(connection.recv(4096))
            time.sleep(0.2)
        while received < 16 * _ROUNDS * size:
            more = connection.recv(65536)
            assert more
            received += len(more)


def _get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


def test_shutdown_in_time_with_clients_that_do_not_read(serve_colours):
    running = serve_colours(lifecycle__shutdown_timeout=2)
    with _deaf(running.port, 4, _LARGE, _ROUNDS):
        start = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(20)
        assert time.monotonic() - start < 8


def test_idle_connections_are_replaced_by_new_ones(serve_colours):
    running = serve_colours(
        listen__max_connections=20,
        listen__max_connections_per_address=10,
        listen__keep_alive=60,
        listen__header_timeout=60,
    )
    for sent in (b"", b"GET /li", _LIVE):
        with _deaf(running.port, 15, sent):
            time.sleep(0.2)
            for _ in range(3):
                assert _get(running.port, "/live") == b'{"status":"live"}'


def test_busy_address_leaves_connections_for_others(serve_colours, photo: bytes):
    running = serve_colours(
        *("--host", "0.0.0.0", "--no-auth"),  # noqa: S104 - another loopback address
        listen__max_connections=20,
        listen__max_connections_per_address=10,
        uploads__upload_timeout=60,
    )
    busy = _post(_form(photo))[:-10]  # each is under way, so none is quiet
    with _deaf(running.port, 10, busy):
        time.sleep(0.5)
        assert _talk(running.port, _LIVE) == [503]
        with socket.create_connection(
            ("127.0.0.1", running.port), timeout=10, source_address=("127.0.0.2", 0)
        ) as connection:
            connection.sendall(_LIVE)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_worker_completes_accepted_requests_after_its_parent_is_killed(
    make_bundle, photo: bytes, tmp_path: Path, eventually
):
    """The parent dies while its worker starts: it hears no more that the worker is ready."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = listening.getsockname()[1]
    received, sent = os.pipe()
    settings = {"request_log": {"url": "none"}, "auth": {"required": False}}
    config = WorkerConfig(settings, [str(make_bundle())], listening.fileno(), sent)
    environ = {
        **os.environ,
        "ASSAY_STATE": str(tmp_path),
        "ASSAY_SERVE_TELEMETRY__LOG_DIR": str(tmp_path / "logs"),
    }
    worker = subprocess.Popen(
        [sys.executable, "-m", "assay.serving.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[listening.fileno(), sent],
        env=environ,
    )
    assert worker.stdin is not None
    worker.stdin.write(config.to_line().encode())
    worker.stdin.flush()
    os.close(sent)
    os.close(received)
    listening.close()
    seen: list[list[int]] = []
    clients = [
        threading.Thread(target=lambda: seen.append(_talk(port, _post(_form(photo)), seconds=60))) for _ in range(20)
    ]
    for client in clients:
        client.start()
    time.sleep(0.2)
    worker.stdin.close()
    for client in clients:
        client.join()
    eventually(lambda: worker.poll() is not None, 20)
    assert worker.stderr is not None
    assert b"Traceback" not in worker.stderr.read()
    worker.stderr.close()
    assert seen == [[200]] * 20
    assert worker.returncode == 0


@pytest.mark.parametrize("target", [b"/openapi.json", b"/metrics"])
def test_pipelining_clients_do_not_delay_others(serve_colours, target: bytes):
    running = serve_colours()
    flood = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connections, slowest = [], 0.0
    for _ in range(300):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", running.port))
        connection.sendall(flood * 20)
        connections.append(connection)
    for _ in range(10):
        start = time.monotonic()
        assert _talk(running.port, _LIVE) == [200]
        slowest = max(slowest, time.monotonic() - start)
    for connection in connections:
        connection.close()
    assert slowest < 3


def test_pipelined_requests_of_many_connections_are_all_answered(running):
    connections = [socket.create_connection(("127.0.0.1", running.port), timeout=20) for _ in range(60)]
    for connection in connections:
        connection.sendall(_LIVE * 30)
    for connection in connections:
        received = b""
        while received.count(b"HTTP/1.1 200") < 30:
            more = connection.recv(65536)
            assert more
            received += more
        connection.close()


def test_waiting_requests_are_answered_before_shutdown(serve_colours):
    running = serve_colours(lifecycle__drain_delay=0)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connections = [socket.create_connection(("127.0.0.1", running.port), timeout=20) for _ in range(100)]
    time.sleep(0.5)
    for connection in connections:
        connection.sendall(request)
    running.process.send_signal(signal.SIGINT)
    for connection in connections:
        assert connection.recv(12) == b"HTTP/1.1 200"
        connection.close()
