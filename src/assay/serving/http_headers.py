"""Strict parsing of header values, and the security headers of every response."""

from collections.abc import Iterable

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Responses for programs: a browser that shows one loads nothing for it. A page sets its own."""
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
    """The headers that keep browsers from guessing a response's type, framing it, or running others' code in it.

    Source: OWASP HTTP Security Response Headers Cheat Sheet; RFC 6797 (2012) for HSTS.
    """

    def __init__(self, *, tls: bool = False) -> None:
        """Create the headers.

        Args:
            tls: the server is reached by HTTPS alone; browsers are told to use nothing else for a year. False
                behind a proxy that terminates TLS: the proxy sends this header.
        """
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
        """Return a response's headers with these; a header that the application has set stays."""
        names = {name.lower() for name, _ in headers}
        if self._names.isdisjoint(names):
            return headers + self._headers
        return headers + [header for header in self._headers if header[0] not in names]
