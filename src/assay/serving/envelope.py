"""What every request gets, whatever it asks: an id, its end noted, and an error as JSON instead of none.

The outermost layer, plain ASGI: a framework's middleware would cost more than the rest of an answer from the
cache.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.serving.calls import Call, request_id, sends_photos
from assay.serving.errors import GONE
from assay.serving.header_values import whole_number
from assay.serving.protocol import REFUSED
from assay.serving.service import Service

_LOG = logging.getLogger("assay.serving")
_ENDLESS = 2**62
_SKIPPED = 2**20
"""Bytes of an unread body that the HTTP server may skip, so that the connection can go on."""
_SKIPPED_AT_MOST = 2**26
_PATIENCE = 1.0
"""Seconds in which the client of a longer one may still read its answer."""


class Envelope:
    """An ASGI app around an ASGI app.

    Args:
        app: answers requests; finds its `Call` in the scope, under "call".
        service: is told of every call that ends.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = joined(scope["headers"])
        inner = below(scope, self._service.settings.listen.root_path)
        method = inner["method"]
        call = Call(
            request_id(headers.get("x-request-id")),
            headers,
            method=method,
            recorded=sends_photos(method, inner["path"]),
        )
        inner["call"] = call
        if method == "HEAD":
            # Answered as GET; the HTTP server, which has the scope as it was, leaves the body out.
            inner["method"] = "GET"
        body = Body(headers, receive)
        answer = _Answer(send, body, call, self._service)
        with self._service.parts.watcher.request(call.request_id, headers):
            try:
                await self._app(inner, body.receive, answer)
                await asyncio.sleep(0)  # the loop sends the answer before it records it
            except Exception:  # noqa: BLE001 - it is logged, and has been answered
                # uvicorn would log it without the request's id.
                _LOG.exception("the request failed")
            finally:
                status = answer.status
                if status == GONE and REFUSED in scope:
                    status, call.error = scope[REFUSED]
                self._service.finish(call, status)
                if call.admission is not None:
                    await call.admission.release()


class Body:
    """The body of a request, and how much of it is still to come.

    Args:
        headers: of the request.
        receive: gives the body.
    """

    def __init__(self, headers: Mapping[str, str], receive: Receive) -> None:
        self._receive = receive
        length = headers.get("content-length", "")
        known = whole_number(length)
        self._left = _ENDLESS * ("transfer-encoding" in headers) if known is None else known
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
        return self._left <= _SKIPPED

    async def skip(self) -> None:
        """Read on for a moment and keep nothing.

        A connection that is closed while bytes come in is reset, and the client may never see its answer.
        """
        if self._silent:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                read = 0
                while self._left > 0 and read < _SKIPPED_AT_MOST:
                    read += len((await self.receive()).get("body", b""))


class _Answer:
    """Sends on, with the headers that all answers have."""

    def __init__(self, send: Send, body: Body, call: Call, service: Service) -> None:
        self._send, self._body, self._call, self._service = send, body, call, service
        self._closing = False
        self.status = GONE

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


def below(scope: Scope, root_path: str) -> dict[str, Any]:
    """Return a copy of a scope with a path without the prefix; a proxy may have taken it away already."""
    inner = dict(scope)
    if root_path:
        prefix = root_path.encode()
        if f"{scope['path']}/".startswith(f"{root_path}/"):
            inner["path"] = scope["path"].removeprefix(root_path) or "/"
        if (scope["raw_path"] + b"/").startswith(prefix + b"/"):
            inner["raw_path"] = scope["raw_path"].removeprefix(prefix) or b"/"
    return inner


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name; one that came several times is one, joined by commas."""
    values: dict[str, str] = {}
    for key, value in headers:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        values[name] = f"{values[name]}, {text}" if name in values else text
    return values
