"""How a response is written to its connection, and the headers for browsers on every response."""

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


def test_the_head_and_the_start_of_the_body_are_one_piece():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert written.pieces == []
    answer.write(b"first")
    answer.write(b"second")
    answer.end()
    assert written.pieces == [b"HTTP/1.1 200 OK\r\n\r\nfirst", b"second", b"complete"]


def test_a_head_without_a_body_is_written_when_the_answer_is_complete():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    answer.end()
    assert written.pieces == [b"HTTP/1.1 204 No Content\r\n\r\n", b"complete"]


def test_a_head_is_written_before_the_connection_closes():
    written, answer = _answer()
    answer.write(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    answer.close()
    assert written.pieces == [b"HTTP/1.1 500 Internal Server Error\r\n\r\n", b"closed"]


def test_the_go_ahead_for_a_body_does_not_wait():
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


def test_every_answer_has_them_errors_too():
    for path in ("/classify", "/none"):
        headers = _client().get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == API_POLICY
        assert "camera=(self)" in headers["permissions-policy"]
    assert _client().get("/none").headers["x-frame-options"] == "DENY"


def test_what_the_application_sets_stays():
    answer = _client().get("/classify")
    assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert answer.text == "/classify"


def test_answers_load_nothing():
    assert _client().get("/classify").headers["content-security-policy"] == API_POLICY


def test_hsts_with_tls_alone():
    assert "strict-transport-security" not in _client().get("/").headers
    assert _client(tls=True).get("/").headers["strict-transport-security"].startswith("max-age=31536000")
