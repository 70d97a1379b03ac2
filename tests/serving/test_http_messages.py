"""How responses are written to a connection, and their security headers."""

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from assay.serving.http_messages import API_POLICY, CoalescingTransport, SecurityHeaders


class _Written(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.pieces.append(b"closed")


def _answer() -> tuple[_Written, CoalescingTransport]:
    written = _Written()
    return written, CoalescingTransport(written, lambda: written.pieces.append(b"complete"))


def test_headers_and_start_of_the_body_are_one_write():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert written.pieces == []
    answer.write(b"first")
    answer.write(b"second")
    answer.end()
    assert written.pieces == [b"HTTP/1.1 200 OK\r\n\r\nfirst", b"second", b"complete"]


def test_headers_without_body_are_written_at_the_end_of_the_response():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    answer.end()
    assert written.pieces == [b"HTTP/1.1 204 No Content\r\n\r\n", b"complete"]


def test_headers_are_written_before_the_connection_closes():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    answer.close()
    assert written.pieces == [b"HTTP/1.1 500 Internal Server Error\r\n\r\n", b"closed"]


def test_continue_response_is_written_at_once():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert written.pieces == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    answer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    answer.write(b"body")
    assert written.pieces[1:] == [b"HTTP/1.1 200 OK\r\n\r\nbody"]


def _client(**settings: Any) -> TestClient:
    def answer(request: Request) -> Response:
        return PlainTextResponse(request.url.path, headers={"X-Frame-Options": "SAMEORIGIN"})

    paths = ("/", "/classify", "/classify/batch", "/classified")
    app = Starlette(routes=[Route(path, answer) for path in paths])
    security = SecurityHeaders(**settings)

    async def secured(scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": security.add_to(list(message["headers"]))}
            await send(message)

        await app(scope, receive, add)

    return TestClient(secured)


def test_every_response_has_security_headers():
    for path in ("/classify", "/none"):
        headers = _client().get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == API_POLICY
        assert "camera=(self)" in headers["permissions-policy"]
    assert _client().get("/none").headers["x-frame-options"] == "DENY"


def test_headers_of_the_application_are_kept():
    answer = _client().get("/classify")
    assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert answer.text == "/classify"


def test_responses_forbid_loading_resources():
    assert _client().get("/classify").headers["content-security-policy"] == API_POLICY


def test_hsts_only_with_tls():
    assert "strict-transport-security" not in _client().get("/").headers
    assert _client(tls=True).get("/").headers["strict-transport-security"].startswith("max-age=31536000")
