"""HTTP messages: parsing of header values, security headers, and writing of heads and errors as bytes."""

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
    """Headers for every response: no cache stores it, no browser guesses its type, frames it or runs other code in it.

    Source: OWASP HTTP Security Response Headers Cheat Sheet; RFC 9111 (2022) for caches, RFC 6797 (2012) for HSTS.
    """

    def __init__(self, policy: str = API_POLICY, *, tls: bool = False) -> None:
        """With `tls`, browsers use only HTTPS for a year; a proxy that terminates TLS must send that itself.

        `policy` is the content security policy of responses that do not set their own.
        """
        headers = {
            "cache-control": "no-store",
            "content-security-policy": policy,
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


_CONTINUE = b"HTTP/1.1 100 "


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
