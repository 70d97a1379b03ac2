"""Authorize a request and read its body within limits of size, memory and time.

Cancel work when the client disconnects.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from assay.serving.auth.interfaces import AccessDeniedError, AuthRequest
from assay.serving.errors import TOO_LARGE, UPLOAD_TIMEOUT, ClientDisconnectedError, UploadError
from assay.serving.request_context import RequestContext
from assay.serving.service import Service
from assay.serving.uploads import Upload, UploadLimits, check_encoding, check_length, parse_boundary, read_uploads

_T = TypeVar("_T")


def request_context(request: Request) -> RequestContext:
    """Return the call that a request belongs to."""
    call = request.scope["call"]
    if not isinstance(call, RequestContext):
        raise TypeError("the app is not in its envelope")
    return call


async def authorize(service: Service, request: Request, scope: str) -> RequestContext:
    """Have the gate judge the headers.

    Raises:
        Refusal: the client is turned away.
    """
    call = request_context(request)
    peer = request.client.host if request.client is not None else ""
    query = request.scope.get("query_string", b"").decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    # Clients sign the path that they see, whichever part of it a proxy has taken away.
    path = service.settings.listen.root_path + path
    target = f"{path}?{query}" if query else path
    try:
        call.admission = await service.parts.gate.admit(AuthRequest(call.method, target, call.headers, peer, scope))
    except AccessDeniedError as refusal:
        call.client = refusal.client
        raise
    call.client = call.admission.client
    return call


async def read_body(
    service: Service, request: Request, most: int, take: Callable[[int], None] = lambda _: None
) -> bytearray:
    """Read a whole body of at most `most` bytes.

    Args:
        service: counts the body among all uploads.
        request: has the body.
        most: bytes.
        take: called with every chunk's size besides, before the chunk is kept; may refuse by raising.

    Raises:
        UploadError: it is larger, encoded, or takes too long.
        GoneError: the client hangs up.
        OverloadError: all uploads together take too much memory.
    """
    call = request_context(request)
    check_encoding(call.headers.get("content-encoding"))
    check_length(call.headers.get("content-length"), most)

    async def read() -> bytearray:
        body = bytearray()
        async for chunk in body_chunks(request):
            if len(body) + len(chunk) > most:
                raise UploadError(TOO_LARGE)
            reserve_memory(service, call, len(chunk))
            take(len(chunk))
            body += chunk
        return body

    return await with_timeout(service, read())


async def read_images(service: Service, request: Request, limits: UploadLimits) -> list[Upload]:
    """Read the photos of a multipart body.

    Raises:
        UploadError: there are none, too many, too large ones, or it takes too long.
        GoneError: the client hangs up.
        OverloadError: all uploads together take too much memory.
    """
    call = request_context(request)
    headers = call.headers
    check_encoding(headers.get("content-encoding"))
    boundary = parse_boundary(headers.get("content-type"))
    check_length(headers.get("content-length"), limits.total)
    chunks = body_chunks(request)
    return await with_timeout(
        service, read_uploads(chunks, boundary, limits, lambda count: reserve_memory(service, call, count))
    )


def reserve_memory(service: Service, call: RequestContext, count: int) -> None:
    """Count bytes that a call keeps in memory until it ends."""
    service.memory.take(count)
    call.bytes_held += count


async def with_timeout(service: Service, reading: Coroutine[Any, Any, _T]) -> _T:
    """Read a body, which counts among those that are coming, within the time it may take.

    Raises:
        UploadError: it takes longer.
    """
    try:
        with service.places.coming():
            async with asyncio.timeout(service.settings.uploads.upload_timeout):
                return await reading
    except TimeoutError:
        raise UploadError(UPLOAD_TIMEOUT, status=408, headers={"Connection": "close"}) from None


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """Give the body as it comes.

    Raises:
        GoneError: the client hangs up.
    """
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Do some work, and stop it when the client hangs up. The body must have been read.

    Raises:
        GoneError: the client hung up.
    """
    working, gone = asyncio.current_task(), False

    def hung_up(_: asyncio.Task[None]) -> None:
        nonlocal gone
        gone = True
        if working is not None:
            working.cancel()

    watching = asyncio.create_task(_wait_for_disconnect(request))
    watching.add_done_callback(hung_up)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and working is not None and not working.uncancel():
            raise ClientDisconnectedError from None
        raise
    finally:
        watching.remove_done_callback(hung_up)
        watching.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
