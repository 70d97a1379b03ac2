"""Read images from a multipart body while it streams in; bytes are counted before they are kept.

Source: RFC 7578 (2015), "Returning Values from Forms: multipart/form-data"; RFC 2046 (1996), section 5.1.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from assay.serving.errors import (
    NO_IMAGE,
    NOT_MULTIPART,
    TOO_LARGE,
    WRONG_FIELD,
    OverloadError,
    UploadError,
    unsupported_encoding,
)
from assay.serving.http_headers import parse_length
from assay.serving.multipart import FormPart, PreambleSkipper

_MULTIPART_FORM = b"multipart/form-data"
_URLENCODED_FORM = b"application/x-www-form-urlencoded"
_COMMON_CONTENT_TYPE = re.compile(r"multipart/form-data; ?boundary=([A-Za-z0-9_.+-]{1,70})")
"""What nearly all clients send; the full syntax takes ten times as long to read."""
_FORM_OVERHEAD = 64 * 1024
"""Bytes of a body that may be boundaries, headers and other fields."""
_HASH_INLINE_BYTES = 128 * 1024
"""Bytes that take no longer to digest than another thread takes to wake."""


@dataclass(slots=True)
class Upload:
    """One photo as it came."""

    data: bytes
    """Empty if the photo is larger than allowed."""
    too_large: bool
    _digest: "hashlib._Hash"
    _undigested: bytes

    @classmethod
    def of(cls, photo: bytes, most: int) -> Self:
        """Return a photo of at most `most` bytes, or one that is too large."""
        too_large = len(photo) > most
        return cls(b"" if too_large else photo, too_large, hashlib.sha256(), photo)

    async def sha256(self) -> str:
        """Return the digest of all bytes that came, 64 hexadecimal digits.

        Many bytes are digested in another thread, so that other requests need not wait.
        """
        left, self._undigested = self._undigested, b""
        if len(left) > _HASH_INLINE_BYTES:
            # At one go: every update gives the interpreter's lock away and has to wait for it.
            await asyncio.get_running_loop().run_in_executor(None, self._digest.update, left)
        else:
            self._digest.update(left)
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """How much is taken."""

    photo_bytes: int
    """Of one photo."""
    photos: int = 1
    """Of one request."""
    body_bytes: int | None = None
    """Of a whole request; None: one photo and some room for the form around it."""

    @property
    def total(self) -> int:
        """Bytes of a whole body, the form included."""
        return (self.body_bytes or self.photo_bytes) + _FORM_OVERHEAD


class UploadMemoryLimiter:
    """Counts the bytes that all uploads together hold in memory.

    Args:
        limit: in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self._held

    def take(self, count: int) -> None:
        """Count `count` more bytes.

        Raises:
            OverloadError: that would be too many.
        """
        if self._held + count > self._limit:
            raise OverloadError(1)
        self._held += count

    def give_back(self, count: int) -> None:
        """Count `count` bytes less."""
        self._held -= count

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Give a `take` whose bytes are all given back at the end of the block."""
        held = 0

        def take(count: int) -> None:
            nonlocal held
            self.take(count)
            held += count

        try:
            yield take
        finally:
            self.give_back(held)


def parse_boundary(content_type: str | None) -> bytes:
    """Return the boundary that a Content-Type header names.

    Raises:
        UploadError: the body is no form with files.
    """
    if content_type is not None and (usual := _COMMON_CONTENT_TYPE.fullmatch(content_type)):
        return usual[1].encode()
    kind, options = parse_options_header(content_type)
    if kind in {b"", _URLENCODED_FORM}:
        raise UploadError(NO_IMAGE)
    if kind != _MULTIPART_FORM:
        raise UploadError(NOT_MULTIPART, status=415)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise UploadError("The Content-Type header names no boundary of 1 to 70 characters")
    return boundary


def check_encoding(content_encoding: str | None) -> None:
    """Refuse a body that is compressed: 415, as RFC 9110 has it.

    Raises:
        UploadError: Content-Encoding names anything but `identity`.
    """
    if content_encoding is None:
        return
    if any(one.strip().lower() not in {"", "identity"} for one in content_encoding.split(",")):
        raise unsupported_encoding("Content-Encoding", headers={"Accept-Encoding": "identity"})


def check_length(content_length: str | None, most: int) -> None:
    """Refuse a body that says itself that it is too large, before any of it is read.

    Raises:
        UploadError: it is, or its length is no number.
    """
    if content_length is None:
        return
    length = parse_length(content_length)
    if length is None:
        raise UploadError("The Content-Length header is no number of at most 20 digits")
    if length > most:
        raise UploadError(TOO_LARGE)


async def read_uploads(
    chunks: AsyncIterator[bytes], boundary: bytes, limits: UploadLimits, take: Callable[[int], None]
) -> list[Upload]:
    """Read the photos of the fields `image` and `images`, in their order; other fields are passed over.

    Args:
        chunks: the body.
        boundary: as the Content-Type header names it.
        limits: how much is taken.
        take: called with every chunk's size before the chunk is kept; may refuse by raising.

    Raises:
        UploadError: nothing there, too many, too large, cut off, or no multipart body.
    """
    form = _MultipartForm(boundary, limits)
    total = 0
    try:
        async for chunk in chunks:
            total += len(chunk)
            if total > limits.total:
                raise UploadError(TOO_LARGE)
            take(len(chunk))
            form.feed(chunk)
        return form.uploads()
    finally:
        form.let_go()


class _MultipartForm:
    """Collects the photos of a body."""

    def __init__(self, boundary: bytes, limits: UploadLimits) -> None:
        self._limits, self._several = limits, limits.photos > 1
        self._part = FormPart()
        self._uploads: list[Upload] = []
        self._empty, self._ended, self._elsewhere = True, False, False
        self._preamble: PreambleSkipper | None = PreambleSkipper(boundary, _FORM_OVERHEAD)
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, chunk: bytes) -> None:
        self._empty = False
        if self._preamble is not None:
            chunk = self._preamble.skip(chunk)
            if not chunk:
                return
            self._preamble = None
        try:
            self._parser.write(chunk)
        except MultipartParseError:
            raise UploadError(
                "The multipart body cannot be read: it must follow RFC 2046, with CR LF and unfolded headers"
            ) from None

    def uploads(self) -> list[Upload]:
        if self._empty:
            raise UploadError(NO_IMAGE)
        if self._preamble is not None:
            raise UploadError("The multipart body does not hold the boundary that Content-Type names")
        if not self._ended:
            raise UploadError("The multipart body ends too early")
        if not self._uploads:
            raise UploadError(WRONG_FIELD if self._elsewhere else NO_IMAGE)
        return self._uploads

    def let_go(self) -> None:
        """Part with the parser, which knows this form: so nothing waits for the search of cycles."""
        self._parser.callbacks = {}

    def _begin(self) -> None:
        self._part = FormPart()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def _header_end(self) -> None:
        self._part.end_header()

    def _headers_finished(self) -> None:
        part = self._part
        part.end_headers()
        if not part.wanted:
            return
        if part.named:
            self._check_count()
        if not part.plain:
            raise unsupported_encoding("Content-Transfer-Encoding of the image part")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if not part.named:
            part.see(data, start, end)
        if not part.wanted:
            return
        part.size += end - start
        kept = memoryview(data)[start:end]
        if self._several:
            part.digest.update(kept)
        if part.size <= self._limits.photo_bytes:
            part.chunks.append(kept)
        elif self._several:
            part.chunks.clear()
        else:
            raise UploadError(TOO_LARGE)

    def _end(self) -> None:
        part = self._part
        if not part.wanted:
            self._elsewhere = self._elsewhere or part.begins_as_photo
            return
        if not part.is_photo:
            return
        self._check_count()
        data = b"".join(part.chunks)
        part.chunks.clear()
        # Of several, each was digested while it came; a single one is digested at one go.
        left = b"" if self._several else data
        self._uploads.append(Upload(data, part.size > self._limits.photo_bytes, part.digest, left))

    def _check_count(self) -> None:
        most = self._limits.photos
        if len(self._uploads) == most:
            raise UploadError("Send one image" if most == 1 else f"Send at most {most} images")

    def _finish(self) -> None:
        self._ended = True
