"""What hostile clients cost a server: growth of its memory, and the slowest answer that another client gets.

    python benchmarks/hostile_clients.py model.assay

A fresh `assay serve` for each attack; `GET /live` from another connection is asked every 50 ms meanwhile.
Clients send trailers without end, JSON of many small values, long headers, or never read their answers.
"""

import argparse
import contextlib
import http.client
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from processes import memory

_MIB = 2**20
_SECONDS = 25.0
_HOST = b"Host: localhost\r\n"
_CHUNKED = b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _pour(port: int, start: bytes, piece: bytes, most: int = 200 * _MIB) -> None:
    """Send a start and then pieces, in new connections where one is closed, up to `most` bytes."""
    sent, end = 0, time.monotonic() + _SECONDS
    while sent < most and time.monotonic() < end:
        with contextlib.suppress(OSError), _connect(port) as connection:
            connection.sendall(start)
            while sent < most and time.monotonic() < end:
                connection.sendall(piece)
                sent += len(piece)


def _trailers(port: int, _: str) -> None:
    _pour(port, b"POST /classify HTTP/1.1\r\n" + _HOST + _CHUNKED + b"0\r\n", b"X-A: b\r\n" * 32768)


def _long_trailer(port: int, _: str) -> None:
    _pour(port, b"POST /live HTTP/1.1\r\n" + _HOST + _CHUNKED + b"0\r\nX: ", b"b" * 262144)


def _tiny_chunks(port: int, _: str) -> None:
    _pour(port, b"POST /classify HTTP/1.1\r\n" + _HOST + _CHUNKED, b"1\r\nx\r\n" * 32768)


def _long_header(port: int, _: str) -> None:
    _pour(port, b"GET /live HTTP/1.1\r\nX: ", b"x" * 262144)


def _heads_that_wait(port: int, _: str) -> None:
    """500 connections that each send as much of a head as they may, and wait."""
    connections = []
    for _number in range(500):
        connection = _connect(port)
        connections.append(connection)
        with contextlib.suppress(OSError):
            connection.sendall(b"GET /live HTTP/1.1\r\nX: " + b"x" * 65000)
    time.sleep(5)
    for connection in connections:
        connection.close()


def _json(text: bytes) -> Callable[[int, str], None]:
    def attack(port: int, model: str) -> None:
        def post() -> None:
            with contextlib.suppress(OSError), _connect(port) as connection:
                head = b"POST /v2/models/%s/infer HTTP/1.1\r\n" % model.encode() + _HOST
                connection.sendall(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(text))
                connection.sendall(text)
                connection.settimeout(60)
                connection.recv(300)

        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return attack


def _never_reading(port: int, _: str) -> None:
    """500 connections that ask for much and read nothing, for longer than the write timeout."""
    connections = []
    request = b"GET /openapi.json HTTP/1.1\r\n" + _HOST + b"\r\n"
    for _number in range(500):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        with contextlib.suppress(OSError):
            connection.connect(("127.0.0.1", port))
            connections.append(connection)
            connection.sendall(request * 10)
    time.sleep(10)
    for connection in connections:
        connection.close()


_MANY = 30 * _MIB
_ATTACKS: dict[str, Callable[[int, str], None]] = {
    "200 MB of trailers": _trailers,
    "a trailer of 200 MB": _long_trailer,
    "200 MB of one-byte chunks": _tiny_chunks,
    "a header of 200 MB": _long_header,
    "500 heads of 64 kB that wait": _heads_that_wait,
    "4 x 60 MB of {},": _json(b'{"x":[' + b"{}," * (20 * _MIB) + b"{}]}"),
    "4 x 30 MB of {},": _json(b'{"x":[' + b"{}," * (_MANY // 3) + b"{}]}"),
    "4 x 30 MB of numbers": _json(b'{"inputs":[{"shape":[' + b"1," * (_MANY // 2) + b"1]}]}"),
    "4 x 30 MB of text": _json(b'{"x":"' + b"x" * _MANY + b'"}'),
    "500 clients that never read": _never_reading,
}


class _OtherClient:
    """Asks for /live again and again and remembers the slowest answer."""

    def __init__(self, port: int) -> None:
        self.slowest, self.failures = 0.0, 0
        self._port, self._ending = port, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(0.05):
            start = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            try:
                connection.request("GET", "/live")
                self.failures += connection.getresponse().status != 200
            except OSError:
                self.failures += 1
            connection.close()
            self.slowest = max(self.slowest, time.perf_counter() - start)


def _measure(model: Path, attack: Callable[[int, str], None]) -> tuple[float, float, int]:
    """Return the growth of memory in MB, the slowest answer in seconds, and answers that failed."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "ASSAY_STATE": folder, "ASSAY_SERVE_TELEMETRY__LOG_DIR": f"{folder}/logs"}
        command = [sys.executable, "-m", "assay", "serve", str(model), "--port", "0"]
        process = subprocess.Popen(
            [*command, "--request-log", "none"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environ,
        )
        try:
            if process.stdout is None:
                raise RuntimeError("no pipe")
            select.select([process.stdout], [], [], 120)
            said = process.stdout.readline()
            found = re.search(r"http://[^ ]+:(\d+) answers with (\S+)", said)
            if found is None:
                raise RuntimeError(f"the server did not start: {said}")
            port, name = int(found[1]), found[2]
            before = memory(process.pid, "VmRSS")
            other_client = _OtherClient(port)
            attack(port, name)
            other_client.end()
            growth = (memory(process.pid, "VmHWM") - before) / 1e6
            return growth, other_client.slowest, other_client.failures
        finally:
            process.terminate()
            process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--only", help="attacks whose name holds this")
    arguments = parser.parse_args()
    print("| clients | memory grows by, MB | slowest other client, s | other clients that failed |")
    print("|---|---|---|---|")
    for name, attack in _ATTACKS.items():
        if arguments.only is None or arguments.only in name:
            growth, slowest, failures = _measure(arguments.model, attack)
            print(f"| {name} | {growth:.0f} | {slowest:.2f} | {failures} |", flush=True)


if __name__ == "__main__":
    main()
