"""Strict parsing of header values, and the security headers of every response."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MAX_DIGITS = 20


def parse_length(text: str) -> int | None:
    """Return a number of 1 to 20 decimal digits, as in `Content-Length`; None for anything else.

    Longer ones are no length of anything, and Python refuses to read thousands of digits.
    """
    return int(text) if len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit() else None


API_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Answers for programs: a browser that shows one loads nothing for it. A page sets its own."""
_YEAR = 31_536_000


class SecurityHeadersMiddleware:
    """ASGI middleware that adds the headers to every HTTP answer.

    Source: OWASP HTTP Security Response Headers Cheat Sheet; RFC 6797 (2012) for HSTS.
    """

    def __init__(self, app: ASGIApp, *, tls: bool = False) -> None:
        """Wrap an application.

        Args:
            app: the application.
            tls: the server is reached by HTTPS alone; browsers are told to stay with it for a year. False
                behind a proxy that ends TLS: the proxy tells it.
        """
        self._app = app
        fixed = {
            "content-security-policy": API_POLICY,
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        }
        if tls:
            fixed["strict-transport-security"] = f"max-age={_YEAR}"
        self._fixed = [(name.encode(), value.encode()) for name, value in fixed.items()]
        self._names = frozenset(name for name, _ in self._fixed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                fixed = self._fixed
                if not self._names.isdisjoint(names):
                    fixed = [item for item in fixed if item[0] not in names]
                message["headers"] = given + fixed
            await send(message)

        await self._app(scope, receive, add)
