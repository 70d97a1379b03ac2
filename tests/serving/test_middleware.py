"""The fast path of the middleware: only for plain requests, with the error responses of the framework."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from assay.serving.middleware import FastPathMiddleware


async def _framework(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("the long way")(scope, receive, send)


async def _endpoint(request: Request) -> Response:
    if "fail" in request.headers:
        raise KeyError if request.headers["fail"] == "foreseen" else ValueError
    return PlainTextResponse("the short way")


def _failure(_: Request, error: Exception) -> Response:
    return PlainTextResponse(type(error).__name__, 400)


def _ask(**values: Any) -> tuple[int, bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/it", "query_string": b"", "headers": []} | values
    app = FastPathMiddleware(_framework, {("POST", "/it"): _endpoint}, _failure, (KeyError,))
    try:
        asyncio.run(app(scope, receive, send))
    except ValueError:
        sent.append({"body": b" and raised"})
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(
    ("values", "way"),
    [
        ({}, b"short"),
        ({"method": "GET"}, b"long"),
        ({"path": "/it/"}, b"long"),
        ({"query_string": b"a=1"}, b"long"),
    ],
    ids=["plain", "method", "path", "query"],
)
def test_only_plain_requests_take_the_fast_path(values: dict[str, Any], way: bytes):
    assert _ask(**values) == (200, b"the " + way + b" way")


def test_errors_are_answered_and_unexpected_ones_also_raised():
    assert _ask(headers=[(b"fail", b"foreseen")]) == (400, b"KeyError")
    assert _ask(headers=[(b"fail", b"other")]) == (400, b"ValueError and raised")
