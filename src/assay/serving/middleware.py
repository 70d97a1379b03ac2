"""ASGI middleware: request context and logging, the check of Host and Origin, and a fast path around the router.

Plain ASGI, since a framework's middleware would cost more than the rest of a response from the cache.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.serving.auth import AccessDeniedError
from assay.serving.auth.origin_policy import OriginPolicy
from assay.serving.errors import CLIENT_CLOSED_REQUEST
from assay.serving.http_messages import Headers, SecurityHeaders, join_headers, parse_length
from assay.serving.request_context import RequestContext, accept_request_id, is_classification
from assay.serving.service import Service
from assay.serving.telemetry import RequestRejected, TelemetrySink
from assay.serving.uvicorn_overrides import PROTOCOL_ERROR

Endpoint = Callable[[Request], Awaitable[Response]]
ErrorHandler = Callable[[Request, Exception], Response]

_LOG = logging.getLogger("assay.serving")
_UNKNOWN_LENGTH = 2**62
_MAX_UNREAD = 2**20
"""Bytes of an unread body that the HTTP server may skip, so that the connection can be reused."""
_MAX_DRAINED = 2**26
_DRAIN_TIMEOUT = 1.0
"""Seconds in which the client of a longer body may still read its response."""


class RequestContextMiddleware:
    """Creates the id and context of every request, adds headers to its response, and records its end.

    `app` finds the `RequestContext` in the scope, under "context".
    """

    def __init__(self, app: ASGIApp, service: Service, security: SecurityHeaders) -> None:
        self._app, self._service, self._security = app, service, security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = join_headers(scope["headers"])
        inner = strip_root_path(scope, self._service.settings.listen.root_path)
        method = inner["method"]
        context = RequestContext(
            accept_request_id(headers.get("x-request-id")),
            headers,
            method=method,
            is_classification=is_classification(method, inner["path"]),
        )
        inner["context"] = context
        if method == "HEAD":
            # Handled as GET; the HTTP server, which has the original scope, omits the body.
            inner["method"] = "GET"
        body = RequestBody(headers, receive)
        sender = _ResponseSender(send, body, context, self._service, self._security)
        with self._service.components.telemetry.request_scope(context.request_id, headers):
            try:
                await self._app(inner, body.receive, sender)
                await asyncio.sleep(0)  # the event loop sends the response before it is recorded
            except Exception:  # noqa: BLE001 - it is logged, and a response was sent
                # uvicorn would log it without the request's id.
                _LOG.exception("the request failed")
            finally:
                status = sender.status
                if status == CLIENT_CLOSED_REQUEST and PROTOCOL_ERROR in scope:
                    status, context.error = scope[PROTOCOL_ERROR]
                self._service.finish(context, status)
                if context.authorization is not None:
                    await context.authorization.release()


class RequestBody:
    """The body of a request, and how much of it is still to come."""

    def __init__(self, headers: Mapping[str, str], receive: Receive) -> None:
        self._receive = receive
        length = parse_length(headers.get("content-length", ""))
        self._remaining = _UNKNOWN_LENGTH * ("transfer-encoding" in headers) if length is None else length
        self._expects_continue = "expect" in headers
        """The client sends nothing before a 100 Continue response."""

    async def receive(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        self._expects_continue = False
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._remaining = 0
        else:
            self._remaining -= len(message.get("body", b""))
        return message

    @property
    def may_be_skipped(self) -> bool:
        """Whether the HTTP server may skip the rest of the body and reuse the connection."""
        return self._remaining <= _MAX_UNREAD

    async def drain(self) -> None:
        """Read and discard the body for a short time.

        A connection that is closed while bytes arrive is reset, and the client may never see its response.
        """
        if self._expects_continue:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                drained = 0
                while self._remaining > 0 and drained < _MAX_DRAINED:
                    drained += len((await self.receive()).get("body", b""))


class _ResponseSender:
    """Sends a response with the common headers."""

    def __init__(
        self, send: Send, body: RequestBody, context: RequestContext, service: Service, security: SecurityHeaders
    ) -> None:
        self._send, self._body, self._context = send, body, context
        self._service, self._security = service, security
        self._closing = False
        self.status = CLIENT_CLOSED_REQUEST

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._service.release_upload(self._context)
            self._closing = not self._body.may_be_skipped
            headers = self._security.add_to([*message.get("headers", ()), *self._headers()])
            message = {**message, "headers": headers}
        elif self._closing and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.drain()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    def _headers(self) -> Headers:
        headers = [(b"x-request-id", self._context.request_id.encode())]
        if self._context.authorization is not None:
            extra = self._context.authorization.headers
            headers += [(name.lower().encode(), value.encode()) for name, value in extra.items()]
        if self._closing or self._service.lifecycle.draining:
            headers.append((b"connection", b"close"))
        return headers


class OriginMiddleware:
    """Checks Host and Origin before anything else, for servers without API keys."""

    def __init__(
        self, app: ASGIApp, policy: OriginPolicy, handle_error: ErrorHandler, telemetry: TelemetrySink
    ) -> None:
        self._app, self._policy, self._handle_error, self._telemetry = app, policy, handle_error, telemetry

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request. Not a coroutine function: it returns the next layer's coroutine."""
        try:
            self._policy.check(scope["method"], scope["context"].headers)
        except AccessDeniedError as error:
            self._telemetry.emit(RequestRejected("origin"))
            return self._handle_error(Request(scope, receive), error)(scope, receive, send)
        return self._app(scope, receive, send)


class FastPathMiddleware:
    """Calls the most frequent endpoint without the framework's router.

    Router, parameters and exit stacks take a fifth of the time of a response from the cache. Requests with a query,
    and all other paths, pass through the framework and get the same responses.

    Args:
        endpoints: by method and path; for requests without a query.
        handle_error: converts their exceptions to responses.
        expected_errors: exceptions that are not raised further; others are, after the response was sent.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[tuple[str, str], Endpoint],
        handle_error: ErrorHandler,
        expected_errors: tuple[type[Exception], ...],
    ) -> None:
        self._app, self._endpoints = app, endpoints
        self._handle_error, self._expected_errors = handle_error, expected_errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        plain = scope["type"] == "http" and not scope["query_string"]
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if plain else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except Exception as error:
            await self._handle_error(request, error)(scope, receive, send)
            if not isinstance(error, self._expected_errors):
                raise
        else:
            await response(scope, receive, send)


def strip_root_path(scope: Scope, root_path: str) -> dict[str, Any]:
    """Return a copy of a scope whose path lacks the prefix, which a proxy may have removed already."""
    inner = dict(scope)
    if root_path:
        prefix = root_path.encode()
        if f"{scope['path']}/".startswith(f"{root_path}/"):
            inner["path"] = scope["path"].removeprefix(root_path) or "/"
        if (scope["raw_path"] + b"/").startswith(prefix + b"/"):
            inner["raw_path"] = scope["raw_path"].removeprefix(prefix) or b"/"
    return inner
