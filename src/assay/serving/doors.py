"""The way of a request into the service: let in, its body read within limits, dropped if the client goes.

Knows Starlette's requests; nothing of photos.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from assay.serving.auth.base import Asked, Refusal
from assay.serving.calls import Call
from assay.serving.errors import TOO_LARGE, TOO_SLOW, GoneError, UploadError
from assay.serving.service import Service
from assay.serving.uploads import (
    Upload,
    UploadLimits,
    boundary_of,
    check_encoding,
    check_length,
    read_uploads,
)

_T = TypeVar("_T")


def call_of(request: Request) -> Call:
    """Return the call that a request belongs to."""
    call = request.scope["call"]
    if not isinstance(call, Call):
        raise TypeError("the app is not in its envelope")
    return call


async def admit(service: Service, request: Request, scope: str) -> Call:
    """Have the gate judge the headers.

    Raises:
        Refusal: the client is turned away.
    """
    call = call_of(request)
    peer = request.client.host if request.client is not None else ""
    query = request.scope.get("query_string", b"").decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    # Clients sign the path that they see, whichever part of it a proxy has taken away.
    path = service.settings.listen.root_path + path
    target = f"{path}?{query}" if query else path
    try:
        call.admission = await service.parts.gate.admit(Asked(call.method, target, call.headers, peer, scope))
    except Refusal as refusal:
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
    call = call_of(request)
    check_encoding(call.headers.get("content-encoding"))
    check_length(call.headers.get("content-length"), most)

    async def read() -> bytearray:
        body = bytearray()
        async for chunk in body_chunks(request):
            if len(body) + len(chunk) > most:
                raise UploadError(TOO_LARGE)
            hold(service, call, len(chunk))
            take(len(chunk))
            body += chunk
        return body

    return await in_time(service, read())


async def read_photos(service: Service, request: Request, limits: UploadLimits) -> list[Upload]:
    """Read the photos of a multipart body.

    Raises:
        UploadError: there are none, too many, too large ones, or it takes too long.
        GoneError: the client hangs up.
        OverloadError: all uploads together take too much memory.
    """
    call = call_of(request)
    headers = call.headers
    check_encoding(headers.get("content-encoding"))
    boundary = boundary_of(headers.get("content-type"))
    check_length(headers.get("content-length"), limits.total)
    chunks = body_chunks(request)
    return await in_time(
        service, read_uploads(chunks, boundary, limits, lambda count: hold(service, call, count))
    )


def hold(service: Service, call: Call, count: int) -> None:
    """Count bytes that a call keeps in memory until it ends."""
    service.memory.take(count)
    call.bytes_held += count


async def in_time(service: Service, reading: Coroutine[Any, Any, _T]) -> _T:
    """Read a body, which counts among those that are coming, within the time it may take.

    Raises:
        UploadError: it takes longer.
    """
    try:
        with service.places.coming():
            async with asyncio.timeout(service.settings.uploads.upload_seconds):
                return await reading
    except TimeoutError:
        raise UploadError(TOO_SLOW, status=408, headers={"Connection": "close"}) from None


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """Give the body as it comes.

    Raises:
        GoneError: the client hangs up.
    """
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk


async def unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
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

    watching = asyncio.create_task(_disconnect(request))
    watching.add_done_callback(hung_up)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and working is not None and not working.uncancel():
            raise GoneError from None
        raise
    finally:
        watching.remove_done_callback(hung_up)
        watching.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
