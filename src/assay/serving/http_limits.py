"""HTTP messages as bytes: strict parsing of header values, response heads and bodies, security headers."""

import asyncio
from collections.abc import Callable, Iterable

from assay.serving.results import json_bytes

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Policy of API responses: a browser that shows one loads nothing. Pages set their own."""
_MAX_DIGITS = 20
_SECONDS_PER_YEAR = 31_536_000
Headers = list[tuple[bytes, bytes]]


def parse_length(text: str) -> int | None:
    """Return a number of 1 to 20 decimal digits, as in `Content-Length`; None for anything else.

    Python refuses to parse thousands of digits.
    """
    return int(text) if len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit() else None


def join_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name, in lower case as ASGI gives them; repeated ones are joined by commas."""
    values: dict[str, str] = {}
    for key, value in headers:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        values[name] = f"{values[name]}, {text}" if name in values else text
    return values


class SecurityHeaders:
    """Headers that prevent browsers from guessing a response's type, framing it, or running others' code in it.

    Source: OWASP HTTP Security Response Headers Cheat Sheet; RFC 6797 (2012) for HSTS.
    """

    def __init__(self, *, tls: bool = False) -> None:
        """With `tls`, browsers use only HTTPS for a year; a proxy that terminates TLS must send that itself."""
        headers = {
            "content-security-policy": API_POLICY,
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        }
        if tls:
            headers["strict-transport-security"] = f"max-age={_SECONDS_PER_YEAR}"
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._names = frozenset(name for name, _ in self._headers)

    def add_to(self, headers: Headers) -> Headers:
        """Add these to a response's headers; headers that the application has set are kept."""
        names = {name.lower() for name, _ in headers}
        if self._names.isdisjoint(names):
            return headers + self._headers
        return headers + [header for header in self._headers if header[0] not in names]


MAX_HEAD = 64 * 1024
"""Bytes of a request's header fields and trailer fields together."""
MAX_FIELDS = 128
"""Header and trailer fields of a request."""
MAX_TARGET = 16 * 1024
"""Bytes of a request's target."""
MAX_FRAMING = 2**20
"""Bytes by which chunk sizes, chunk extensions and trailers may exceed the body itself."""
_MIN_CHUNKED_PIECE = 256
_CONTINUE = b"HTTP/1.1 100 "


class LimitExceededError(Exception):
    """A message exceeds a limit; `status` and `text` are those of the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status, self.text = status, text


class MessageLimits:
    """Counts the bytes and fields of one message.

    A base class of the protocol instead of a separate object, since some of this runs for every header field.
    """

    in_head = True
    """Whether the next bytes belong to the head of a request."""
    began = False
    """Whether a request began in the bytes that were parsed last."""
    _field_bytes = 0
    _fields = 0
    _unfinished = 0
    """Bytes of a head that has not ended; after the head, bytes since the last piece of body or trailer."""
    _content_length_left = 0
    """Bytes of the body that are still to come according to Content-Length."""
    _framing = 0
    """Bytes since the head that are not body."""
    _body = 0

    def begin_message(self) -> None:
        """Reset the counts of the head."""
        self.began = self.in_head = True
        self._field_bytes = self._fields = self._content_length_left = 0

    def end_head(self) -> None:
        """Reset the counts of the body."""
        self.in_head = self.began = False
        self._unfinished = self._body = self._framing = 0

    def end_message(self) -> None:
        """Note that the body, trailers included, has arrived."""
        self.in_head = True
        self._unfinished = 0

    def count_field(self, name: bytes, value: bytes) -> None:
        """Count a header or trailer field; raise `LimitExceededError` if there are too many, or too long ones."""
        self._fields += 1
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > MAX_HEAD:
            raise LimitExceededError(431, "The headers are too large")
        if self._fields > MAX_FIELDS:
            raise LimitExceededError(431, f"There are more than {MAX_FIELDS} headers")

    def count_body(self, size: int) -> None:
        """Count a piece of the body."""
        self._unfinished = 0
        self._body += size
        self._content_length_left -= size

    def count_bytes(self, size: int) -> None:
        """Count bytes before they are parsed."""
        self.began = False
        self._framing += size
        self._unfinished += size

    def check_parsed(self, size: int) -> None:
        """Check what the parser retains, and how much of a body is framing, after `size` bytes were parsed.

        Raises:
            LimitExceededError: it is too much.
        """
        if self.began:
            self._unfinished = size
        if self._unfinished > MAX_HEAD + MAX_TARGET:
            raise LimitExceededError(431, "The headers are too large")
        if not self.in_head and self._framing - self._body > MAX_FRAMING + self._body:
            raise LimitExceededError(400, "The chunks are too small for what stands around them")

    def next_end(self, data: bytes, start: int) -> int:
        """Return the earliest index at which a message may end, and a new one begin."""
        if not self.in_head and self._content_length_left > 0:
            return min(len(data), start + self._content_length_left)
        # Chunked bodies are parsed in pieces that are not shorter: a client could send blank lines alone.
        found = data.find(b"\r\n\r\n", start if self.in_head else start + _MIN_CHUNKED_PIECE)
        return len(data) if found < 0 else found + 4


class CoalescingTransport:
    """Writes the head of a response together with the start of its body, which saves a system call.

    `on_response` is called when the response is complete.
    """

    __slots__ = ("_head", "_on_response", "_started", "_transport")

    def __init__(self, transport: asyncio.Transport, on_response: Callable[[], None]) -> None:
        self._transport, self._on_response = transport, on_response
        self._head, self._started = b"", False

    def write(self, data: bytes) -> None:
        """Keep the head; write anything else, after the head."""
        if self._head:
            data, self._head = self._head + data, b""
        elif not self._started and not data.startswith(_CONTINUE):
            self._head, self._started = data, True
            return
        self._transport.write(data)

    def end(self) -> None:
        """Write a head without a body, and report that the response is complete."""
        self._flush()
        self._on_response()

    def close(self) -> None:
        """Close the connection when everything is sent."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


def error_message(status_line: bytes, text: str) -> bytes:
    """Return a whole error response that closes the connection."""
    body = json_bytes({"error": text})
    lines = [
        status_line,
        b"content-type: application/json\r\n",
        b"content-length: %d\r\n" % len(body),
        b"connection: close\r\n\r\n",
        body,
    ]
    return b"".join(lines)


def head_without_upgrade(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of an upgrade request without the upgrade (RFC 9110, 7.8)."""
    fields = []
    for name, value in headers:
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            fields.append((name, b", ".join(option for option in options if option.lower() != b"upgrade")))
        elif name != b"upgrade":
            fields.append((name, value))
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join(b"%b: %b\r\n" % field for field in fields))
