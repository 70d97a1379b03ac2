"""Parse multipart/form-data bodies while they arrive, and find the parts that are images.

Nothing is written to disk or decoded, and reading stops once a limit is exceeded.

Source: RFC 7578 (2015), sections 4.2 to 4.8; RFC 2046 (1996), section 5.1; RFC 2045 (1996), section 6.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Self

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from assay.image import HEAD_BYTES, sniff
from assay.serving.errors import (
    NO_IMAGE,
    NOT_MULTIPART,
    TOO_LARGE,
    WRONG_FIELD,
    UploadError,
    unsupported_encoding,
)

_MULTIPART_FORM = b"multipart/form-data"
_URLENCODED_FORM = b"application/x-www-form-urlencoded"
_COMMON_CONTENT_TYPE = re.compile(r"multipart/form-data; ?boundary=([A-Za-z0-9_.+-]{1,70})")
"""What nearly all clients send; parsing the full syntax takes ten times as long."""
_FORM_OVERHEAD = 64 * 1024
"""Bytes of a body that may be boundaries, headers and other fields."""
_HASH_INLINE_BYTES = 128 * 1024
"""Bytes that take no longer to hash than another thread takes to wake."""
_IMAGE_FIELDS = frozenset({b"image", b"images"})
_EXTENDED_NAME = re.compile(rb";\s*filename\*", re.IGNORECASE)
_IDENTITY_ENCODINGS = frozenset({b"", b"7bit", b"8bit", b"binary"})
"""Content-Transfer-Encodings that leave the bytes unchanged."""
_FILE_TYPES = (b"image/", b"application/octet-stream")
_PADDING = 64
"""Blanks that may follow a boundary; RFC 2046 sets no limit."""


@dataclass(slots=True)
class Upload:
    """One uploaded image file."""

    data: bytes
    """Empty if the file is larger than allowed."""
    too_large: bool
    _hash: "hashlib._Hash"
    _unhashed: bytes

    @classmethod
    def from_bytes(cls, content: bytes, max_bytes: int) -> Self:
        """Return an upload of a file; it is too large if it has more than `max_bytes` bytes."""
        too_large = len(content) > max_bytes
        return cls(b"" if too_large else content, too_large, hashlib.sha256(), content)

    async def sha256(self) -> str:
        """Return the SHA-256 of all bytes received, in hexadecimal; large files are hashed in another thread."""
        remaining, self._unhashed = self._unhashed, b""
        if len(remaining) > _HASH_INLINE_BYTES:
            # In a single call: every update releases the interpreter's lock and has to wait for it.
            await asyncio.get_running_loop().run_in_executor(None, self._hash.update, remaining)
        else:
            self._hash.update(remaining)
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Limits on one multipart request."""

    max_image_bytes: int
    max_images: int = 1
    max_body_bytes: int | None = None
    """None: one image and the form around it."""

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole body, including the form's overhead."""
        return (self.max_body_bytes or self.max_image_bytes) + _FORM_OVERHEAD


def parse_boundary(content_type: str | None) -> bytes:
    """Return the boundary in a Content-Type header; raise `UploadError` if the body is not a form with files."""
    if content_type is not None and (common := _COMMON_CONTENT_TYPE.fullmatch(content_type)):
        return common[1].encode()
    media_type, options = parse_options_header(content_type)
    if media_type in {b"", _URLENCODED_FORM}:
        raise UploadError(NO_IMAGE)
    if media_type != _MULTIPART_FORM:
        raise UploadError(NOT_MULTIPART, status=415)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise UploadError("The Content-Type header must name a boundary of 1 to 70 characters")
    return boundary


class MultipartForm:
    """Parses a body and keeps the images in its fields `image` and `images`; other fields are skipped."""

    def __init__(self, boundary: bytes, limits: UploadLimits) -> None:
        self._limits, self._multiple = limits, limits.max_images > 1
        self._part = FormPart()
        self._uploads: list[Upload] = []
        self._received, self._ended, self._wrong_field = 0, False, False
        self._preamble: PreambleSkipper | None = PreambleSkipper(boundary, _FORM_OVERHEAD)
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse the next chunk of the body; raise `UploadError` if it exceeds a limit or is invalid multipart."""
        self._received += len(chunk)
        if self._received > self._limits.total_bytes:
            raise UploadError(TOO_LARGE)
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
        """Return the images, in order, of the complete body; raise `UploadError` if there are none or it is cut off."""
        if not self._received:
            raise UploadError(NO_IMAGE)
        if self._preamble is not None:
            raise UploadError("The multipart body does not hold the boundary that Content-Type names")
        if not self._ended:
            raise UploadError("The multipart body ends too early")
        if not self._uploads:
            raise UploadError(WRONG_FIELD if self._wrong_field else NO_IMAGE)
        return self._uploads

    def close(self) -> None:
        """Break the reference cycle with the parser, so that memory is freed without garbage collection."""
        self._parser.callbacks = {}

    def _on_part_begin(self) -> None:
        self._part = FormPart()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def _on_header_end(self) -> None:
        self._part.end_header()

    def _on_headers_finished(self) -> None:
        part = self._part
        part.end_headers()
        if not part.is_image_field:
            return
        if part.has_file_name:
            self._check_count()
        if not part.is_identity_encoded:
            raise unsupported_encoding("Content-Transfer-Encoding of the image part")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if not part.has_file_name:
            part.keep_head(data, start, end)
        if not part.is_image_field:
            return
        part.size += end - start
        piece = memoryview(data)[start:end]
        if self._multiple:
            part.hash.update(piece)
        if part.size <= self._limits.max_image_bytes:
            part.chunks.append(piece)
        elif self._multiple:
            part.chunks.clear()
        else:
            raise UploadError(TOO_LARGE)

    def _on_part_end(self) -> None:
        part = self._part
        if not part.is_image_field:
            self._wrong_field = self._wrong_field or part.starts_as_image
            return
        if not part.is_file:
            return
        self._check_count()
        data = b"".join(part.chunks)
        part.chunks.clear()
        # Of multiple images, each is hashed while it arrives; a single one is hashed in one call.
        unhashed = b"" if self._multiple else data
        self._uploads.append(Upload(data, part.size > self._limits.max_image_bytes, part.hash, unhashed))

    def _on_end(self) -> None:
        self._ended = True

    def _check_count(self) -> None:
        most = self._limits.max_images
        if len(self._uploads) == most:
            raise UploadError("Send one image" if most == 1 else f"Send at most {most} images")


@dataclass(slots=True)
class FormPart:
    """A part of a form while it arrives."""

    header: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    value: bytes = b""
    is_image_field: bool = False
    """It is the field `image` or `images`."""
    has_file_name: bool = False
    """It also has a file name, so it is an image whatever its content."""
    head: bytes = b""
    """The first bytes, which identify an image format."""
    chunks: list[memoryview] = field(default_factory=list)
    hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    size: int = 0

    def end_header(self) -> None:
        """Store a complete header."""
        self.headers[self.header.lower()] = self.value
        self.header = self.value = b""

    def end_headers(self) -> None:
        """Determine what the headers say about the part."""
        self.is_image_field, named = parse_disposition(self.headers.get(b"content-disposition", b""))
        self.has_file_name = self.is_image_field and named

    def keep_head(self, data: bytes, start: int, end: int) -> None:
        """Keep the first bytes."""
        missing = HEAD_BYTES - len(self.head)
        if missing > 0:
            self.head += data[start : min(end, start + missing)]

    @property
    def is_identity_encoded(self) -> bool:
        """Whether the bytes are those of the file."""
        encoding = self.headers.get(b"content-transfer-encoding")
        return encoding is None or encoding.strip().lower() in _IDENTITY_ENCODINGS

    @property
    def starts_as_image(self) -> bool:
        """Whether the first bytes are those of an image format."""
        return sniff(self.head) is not None

    @property
    def is_file(self) -> bool:
        """Whether a part of an image field is a file: by its name, its type, or its content."""
        if self.has_file_name:
            return True
        typed = self.headers.get(b"content-type", b"").strip().lower().startswith(_FILE_TYPES)
        return self.size > 0 and (typed or self.starts_as_image)


class PreambleSkipper:
    """Skips what precedes the first boundary, as RFC 2046 requires; `limit` is the maximum number of bytes."""

    def __init__(self, boundary: bytes, limit: int) -> None:
        self._delimiter, self._limit = b"--" + boundary, limit
        self._seen = bytearray()

    def skip(self, chunk: bytes) -> bytes:
        """Return the body from the first boundary on, without blanks behind it; b"" before it has arrived.

        Raises:
            UploadError: it is not found within the limit.
        """
        if not self._seen and chunk.startswith(self._delimiter + b"\r\n"):
            return chunk
        begin = max(0, len(self._seen) - len(self._delimiter) - _PADDING - 4)
        self._seen += chunk
        found = self._boundary_line().search(self._seen, begin)
        if found is not None:
            return self._delimiter + (found[1] or b"") + bytes(self._seen[found.end() :])
        if len(self._seen) > self._limit:
            raise UploadError("The multipart body does not begin with the boundary that Content-Type names")
        return b""

    def _boundary_line(self) -> re.Pattern[bytes]:
        escaped = re.escape(self._delimiter)
        return re.compile(rb"(?:\A|\n)" + escaped + rb"(?:[ \t]{0,%d}(\r\n)|(?=--))" % _PADDING)


class Disposition(NamedTuple):
    """The relevant part of a Content-Disposition header."""

    is_image_field: bool
    """It is the field `image` or `images`."""
    has_file_name: bool
    """RFC 7578 makes the name optional, and browsers send an empty one for no file."""


@lru_cache(maxsize=256)
def parse_disposition(header: bytes) -> Disposition:
    """Parse a Content-Disposition header, whose length the multipart parser bounds.

    `filename*` (RFC 8187), which RFC 7578 forbids in forms, counts as a name: clients send it.
    """
    _, options = parse_options_header(header)
    named = bool(options.get(b"filename")) or _EXTENDED_NAME.search(header) is not None
    return Disposition(options.get(b"name") in _IMAGE_FIELDS, named)
