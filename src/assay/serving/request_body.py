"""Read the body of a request within limits of size, memory and time."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request

from assay.serving.errors import TOO_LARGE, UPLOAD_TIMEOUT, ClientDisconnectedError, UploadError, unsupported_encoding
from assay.serving.http_messages import parse_length
from assay.serving.multipart import MultipartForm, Upload, UploadLimits, parse_boundary
from assay.serving.request_context import request_context
from assay.serving.service import Service


async def read_images(service: Service, request: Request, limits: UploadLimits) -> list[Upload]:
    """Read the images of a multipart body.

    Raises:
        UploadError: there are none, too many, too large ones, or reading takes too long.
        ClientDisconnectedError: the client disconnected.
        OverloadError: all uploads together take too much memory.
    """
    headers = request_context(request).headers
    check_encoding(headers.get("content-encoding"))
    boundary = parse_boundary(headers.get("content-type"))
    check_length(headers.get("content-length"), limits.total_bytes)
    form = MultipartForm(boundary, limits)
    try:
        await _receive_body(service, request, form.feed)
        return form.uploads()
    finally:
        form.close()


async def read_body(
    service: Service, request: Request, max_bytes: int, reserve: Callable[[int], None] = lambda _: None
) -> bytearray:
    """Read a body of at most `max_bytes` bytes.

    `reserve` is called with every chunk's size before the chunk is kept, and may raise to reject the body.

    Raises:
        UploadError: it is larger, encoded, or reading takes too long.
        ClientDisconnectedError: the client disconnected.
        OverloadError: all uploads together take too much memory.
    """
    headers = request_context(request).headers
    check_encoding(headers.get("content-encoding"))
    check_length(headers.get("content-length"), max_bytes)
    body = bytearray()

    def append(chunk: bytes) -> None:
        if len(body) + len(chunk) > max_bytes:
            raise UploadError(TOO_LARGE)
        reserve(len(chunk))
        body.extend(chunk)

    await _receive_body(service, request, append)
    return body


async def _receive_body(service: Service, request: Request, feed: Callable[[bytes], None]) -> None:
    """Pass the chunks of a body to `feed` as they arrive; their memory is reserved until the response."""
    context = request_context(request)
    try:
        with service.admission.incoming():
            async with asyncio.timeout(service.settings.uploads.upload_timeout):
                more = True
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnectedError
                    more = message.get("more_body", False)
                    if chunk := message.get("body", b""):
                        service.upload_memory.reserve(len(chunk))
                        context.reserved_bytes += len(chunk)
                        feed(chunk)
    except TimeoutError:
        raise UploadError(UPLOAD_TIMEOUT, status=408, headers={"Connection": "close"}) from None


def check_encoding(content_encoding: str | None) -> None:
    """Raise `UploadError` (415; RFC 9110, 15.5.16) if Content-Encoding is anything but `identity`."""
    if content_encoding is None:
        return
    if any(coding.strip().lower() not in {"", "identity"} for coding in content_encoding.split(",")):
        raise unsupported_encoding("Content-Encoding", headers={"Accept-Encoding": "identity"})


def check_length(content_length: str | None, max_bytes: int) -> None:
    """Raise `UploadError` if the declared length is larger than `max_bytes` or not a number."""
    if content_length is None:
        return
    length = parse_length(content_length)
    if length is None:
        raise UploadError("The Content-Length header is not a number of at most 20 digits")
    if length > max_bytes:
        raise UploadError(TOO_LARGE)
