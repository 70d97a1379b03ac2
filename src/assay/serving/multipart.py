"""Parse multipart/form-data bodies and find the parts that are images.

Source: RFC 7578 (2015), sections 4.2 to 4.8; RFC 2046 (1996), section 5.1.1; RFC 2045 (1996), section 6.
"""

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from python_multipart.multipart import parse_options_header

from assay.image import HEAD_BYTES, sniff
from assay.serving.errors import UploadError

_IMAGE_FIELDS = frozenset({b"image", b"images"})
_EXTENDED_NAME = re.compile(rb";\s*filename\*", re.IGNORECASE)
_IDENTITY_ENCODINGS = frozenset({b"", b"7bit", b"8bit", b"binary"})
"""Content-Transfer-Encodings that leave the bytes as they are."""
_FILE_TYPES = (b"image/", b"application/octet-stream")
_PADDING = 64
"""Blanks that may stand behind a boundary; RFC 2046 sets no limit."""


class Disposition(NamedTuple):
    """What a part's Content-Disposition says."""

    wanted: bool
    """It is the field `image` or `images`."""
    named: bool
    """It has a file name. RFC 7578 makes the name optional, and browsers send an empty one for no file."""


@dataclass(slots=True)
class FormPart:
    """A part while it comes in."""

    header: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    value: bytes = b""
    wanted: bool = False
    """It is the field `image` or `images`."""
    named: bool = False
    """And it has a file name, so that it is a photo whatever it holds."""
    head: bytes = b""
    """The first bytes, from which an image format is known."""
    chunks: list[memoryview] = field(default_factory=list)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    size: int = 0

    def end_header(self) -> None:
        """Take note of a header that is complete."""
        self.headers[self.header.lower()] = self.value
        self.header = self.value = b""

    def end_headers(self) -> None:
        """Decide what the part is, as far as its headers tell."""
        self.wanted, named = parse_disposition(self.headers.get(b"content-disposition", b""))
        self.named = self.wanted and named

    def see(self, data: bytes, start: int, end: int) -> None:
        """Keep the first bytes."""
        missing = HEAD_BYTES - len(self.head)
        if missing > 0:
            self.head += data[start : min(end, start + missing)]

    @property
    def plain(self) -> bool:
        """Whether the bytes are those of the file."""
        encoding = self.headers.get(b"content-transfer-encoding")
        return encoding is None or encoding.strip().lower() in _IDENTITY_ENCODINGS

    @property
    def begins_as_photo(self) -> bool:
        """Whether the first bytes are those of an image format."""
        return sniff(self.head) is not None

    @property
    def is_photo(self) -> bool:
        """Whether a part of the right field is a file: by its name, its type, or its content."""
        if self.named:
            return True
        typed = self.headers.get(b"content-type", b"").strip().lower().startswith(_FILE_TYPES)
        return self.size > 0 and (typed or self.begins_as_photo)


class PreambleSkipper:
    """Skips what stands before the first boundary, which RFC 2046 has receivers ignore.

    Args:
        boundary: as the Content-Type header names it.
        limit: bytes of a preamble at most.
    """

    def __init__(self, boundary: bytes, limit: int) -> None:
        self._delimiter, self._limit = b"--" + boundary, limit
        self._seen = bytearray()

    def skip(self, chunk: bytes) -> bytes:
        """Return the body from the first boundary on, without blanks behind it; nothing where it is to come.

        Raises:
            UploadError: it does not come within the limit.
        """
        if not self._seen and chunk.startswith(self._delimiter + b"\r\n"):
            return chunk
        begin = max(0, len(self._seen) - len(self._delimiter) - _PADDING - 4)
        self._seen += chunk
        found = self._line().search(self._seen, begin)
        if found is not None:
            return self._delimiter + (found[1] or b"") + bytes(self._seen[found.end() :])
        if len(self._seen) > self._limit:
            raise UploadError("The multipart body does not begin with the boundary that Content-Type names")
        return b""

    def _line(self) -> re.Pattern[bytes]:
        escaped = re.escape(self._delimiter)
        return re.compile(rb"(?:\A|\n)" + escaped + rb"(?:[ \t]{0,%d}(\r\n)|(?=--))" % _PADDING)


@lru_cache(maxsize=256)
def parse_disposition(header: bytes) -> Disposition:
    """Read a Content-Disposition header; the parser bounds its length.

    `filename*` (RFC 8187), which RFC 7578 forbids in forms, counts as a name: clients send it.
    """
    _, options = parse_options_header(header)
    named = bool(options.get(b"filename")) or _EXTENDED_NAME.search(header) is not None
    return Disposition(options.get(b"name") in _IMAGE_FIELDS, named)
