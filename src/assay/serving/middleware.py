"""ASGI middleware: request context and logging, the check of Host and Origin.

The fast path past the framework's router.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.serving.auth.interfaces import AccessDeniedError
from assay.serving.auth.origins import OriginPolicy
from assay.serving.errors import CLIENT_CLOSED_REQUEST
from assay.serving.http_headers import parse_length
from assay.serving.http_protocol import PROTOCOL_ERROR
from assay.serving.request_context import RequestContext, accept_request_id, is_classification
from assay.serving.service import Service
from assay.serving.telemetry import RequestRejected, TelemetrySink

_LOG = logging.getLogger("assay.serving")
_UNKNOWN_LENGTH = 2**62
_MAX_UNREAD = 2**20
"""Bytes of an unread body that the HTTP server may skip, so that the connection can go on."""
_MAX_DRAINED = 2**26
_DRAIN_TIMEOUT = 1.0
"""Seconds in which the client of a longer one may still read its answer."""


class RequestContextMiddleware:
    """An ASGI app around an ASGI app.

    Args:
        app: answers requests; finds its `RequestContext` in the scope, under "call".
        service: is told of every call that ends.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = join_headers(scope["headers"])
        inner = strip_root_path(scope, self._service.settings.listen.root_path)
        method = inner["method"]
        call = RequestContext(
            accept_request_id(headers.get("x-request-id")),
            headers,
            method=method,
            recorded=is_classification(method, inner["path"]),
        )
        inner["call"] = call
        if method == "HEAD":
            # Answered as GET; the HTTP server, which has the scope as it was, leaves the body out.
            inner["method"] = "GET"
        body = RequestBody(headers, receive)
        answer = _ResponseSender(send, body, call, self._service)
        with self._service.parts.telemetry.request_scope(call.request_id, headers):
            try:
                await self._app(inner, body.receive, answer)
                await asyncio.sleep(0)  # the loop sends the answer before it records it
            except Exception:  # noqa: BLE001 - it is logged, and has been answered
                # uvicorn would log it without the request's id.
                _LOG.exception("the request failed")
            finally:
                status = answer.status
                if status == CLIENT_CLOSED_REQUEST and PROTOCOL_ERROR in scope:
                    status, call.error = scope[PROTOCOL_ERROR]
                self._service.finish(call, status)
                if call.admission is not None:
                    await call.admission.release()


class RequestBody:
    """The body of a request, and how much of it is still to come.

    Args:
        headers: of the request.
        receive: gives the body.
    """

    def __init__(self, headers: Mapping[str, str], receive: Receive) -> None:
        self._receive = receive
        length = headers.get("content-length", "")
        known = parse_length(length)
        self._left = _UNKNOWN_LENGTH * ("transfer-encoding" in headers) if known is None else known
        self._silent = "expect" in headers
        """The client sends nothing before it is told to go on."""

    async def receive(self) -> Message:
        """Give the next message."""
        message = await self._receive()
        self._silent = False
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._left = 0
        else:
            self._left -= len(message.get("body", b""))
        return message

    @property
    def harmless(self) -> bool:
        """Whether the HTTP server may skip what is still to come, and the connection go on."""
        return self._left <= _MAX_UNREAD

    async def skip(self) -> None:
        """Read on for a moment and keep nothing.

        A connection that is closed while bytes come in is reset, and the client may never see its answer.
        """
        if self._silent:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                read = 0
                while self._left > 0 and read < _MAX_DRAINED:
                    read += len((await self.receive()).get("body", b""))


class _ResponseSender:
    """Sends on, with the headers that all answers have."""

    def __init__(self, send: Send, body: RequestBody, call: RequestContext, service: Service) -> None:
        self._send, self._body, self._call, self._service = send, body, call, service
        self._closing = False
        self.status = CLIENT_CLOSED_REQUEST

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._service.release_upload(self._call)
            self._closing = not self._body.harmless
            message = {**message, "headers": [*message.get("headers", ()), *self._headers()]}
        elif self._closing and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.skip()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", self._call.request_id.encode())]
        if self._call.admission is not None:
            told = self._call.admission.headers
            headers += [(name.lower().encode(), value.encode()) for name, value in told.items()]
        if self._closing or self._service.lifecycle.draining:
            headers.append((b"connection", b"close"))
        return headers


def strip_root_path(scope: Scope, root_path: str) -> dict[str, Any]:
    """Return a copy of a scope with a path without the prefix; a proxy may have taken it away already."""
    inner = dict(scope)
    if root_path:
        prefix = root_path.encode()
        if f"{scope['path']}/".startswith(f"{root_path}/"):
            inner["path"] = scope["path"].removeprefix(root_path) or "/"
        if (scope["raw_path"] + b"/").startswith(prefix + b"/"):
            inner["raw_path"] = scope["raw_path"].removeprefix(prefix) or b"/"
    return inner


def join_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name; one that came several times is one, joined by commas."""
    values: dict[str, str] = {}
    for key, value in headers:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        values[name] = f"{values[name]}, {text}" if name in values else text
    return values


class OriginMiddleware:
    """An ASGI app in front of another, for servers that ask for no keys.

    Args:
        app: answers what passes.
        policy: decides what passes.
        failure: makes an answer of a refusal.
        telemetry: told of every refusal.
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: OriginPolicy,
        failure: Callable[[Request, Exception], Response],
        telemetry: TelemetrySink,
    ) -> None:
        self._app, self._policy, self._failure, self._telemetry = app, policy, failure, telemetry

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer a request, as ASGI has it; no coroutine of its own stands between the layers."""
        try:
            self._policy.check(scope["method"], scope["call"].headers)
        except AccessDeniedError as refusal:
            self._telemetry.emit(RequestRejected("origin"))
            return self._failure(Request(scope, receive), refusal)(scope, receive, send)
        return self._app(scope, receive, send)


Endpoint = Callable[[Request], Awaitable[Response]]


class FastPathMiddleware:
    """An ASGI app in front of another.

    Args:
        app: answers whatever has no short way.
        endpoints: by method and path; they answer requests without a query.
        failure: makes an answer of what they raise.
        foreseen: errors that end with that answer; others are raised when it has gone out.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[tuple[str, str], Endpoint],
        failure: Callable[[Request, Exception], Response],
        foreseen: tuple[type[Exception], ...],
    ) -> None:
        self._app, self._endpoints, self._failure, self._foreseen = app, endpoints, failure, foreseen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        short = scope["type"] == "http" and not scope["query_string"]
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if short else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except Exception as error:
            await self._failure(request, error)(scope, receive, send)
            if not isinstance(error, self._foreseen):
                raise
        else:
            await response(scope, receive, send)
