"""The way of a request into the service: let in, its body read within limits, dropped if the client goes.

Knows Starlette's requests; nothing of photos.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import Request

from assay.serving.auth.base import Asked
from assay.serving.calls import Call
from assay.serving.errors import TOO_LARGE, TOO_SLOW, GoneError, UploadError
from assay.serving.service import Service
from assay.serving.uploads import Upload, UploadLimits, boundary_of, check_length, digested, read_files

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
    path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1")
    target = f"{path}?{query}" if query else path
    call.admission = await service.parts.gate.admit(Asked(request.method, target, call.headers, peer, scope))
    return call


async def read_body(service: Service, request: Request, most: int) -> bytes:
    """Read a whole body of at most `most` bytes.

    Raises:
        UploadError: it is larger, or takes too long.
        GoneError: the client hangs up.
        OverloadError: all uploads together take too much memory.
    """
    call, chunks, size = call_of(request), [], 0
    async with in_time(service):
        with service.places.coming():
            async for chunk in body_chunks(request):
                size += len(chunk)
                if size > most:
                    raise UploadError(TOO_LARGE)
                hold(service, call, len(chunk))
                chunks.append(chunk)
    return b"".join(chunks)


async def read_photos(service: Service, request: Request, limits: UploadLimits) -> list[Upload]:
    """Read the photos of a multipart body.

    Raises:
        UploadError: there are none, too many, too large ones, or it takes too long.
        GoneError: the client hangs up.
        OverloadError: all uploads together take too much memory.
    """
    call = call_of(request)
    headers = call.headers
    boundary = boundary_of(headers.get("content-type"))
    check_length(headers.get("content-length"), limits)
    async with in_time(service):
        with service.places.coming():
            files = await read_files(
                body_chunks(request), boundary, limits, lambda count: hold(service, call, count)
            )
    return await digested(files)


def hold(service: Service, call: Call, count: int) -> None:
    """Count bytes that a call keeps in memory until it ends."""
    service.memory.take(count)
    call.bytes_held += count


@asynccontextmanager
async def in_time(service: Service) -> AsyncIterator[None]:
    """Bound the time in which a body arrives.

    Raises:
        UploadError: it takes longer.
    """
    try:
        async with asyncio.timeout(service.settings.uploads.upload_seconds):
            yield
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
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise GoneError
    finally:
        for task in (working, watching):
            task.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
