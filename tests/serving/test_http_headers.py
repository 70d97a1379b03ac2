"""Headers for browsers, on every answer."""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from assay.serving.http_limits import API_POLICY, SecurityHeaders


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
