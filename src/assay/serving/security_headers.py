"""Headers that tell a browser what it must not do with an answer: guess its type, frame it, run others' code.

Knows nothing of what is answered. Written against ASGI itself, so that it also covers answers that a
framework makes on its own. A header that the application has set stays.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Answers for programs: a browser that shows one loads nothing for it."""
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""A Gradio page: its scripts and styles stand in the page itself; all else comes from this server."""
_YEAR = 31_536_000


class SecurityHeaders:
    """ASGI middleware that adds the headers to every HTTP answer.

    Source: OWASP HTTP Security Response Headers Cheat Sheet; RFC 6797 (2012) for HSTS.
    """

    def __init__(self, app: App, policies: Mapping[str, str] | None = None, *, tls: bool = False) -> None:
        """Wrap an application.

        Args:
            app: the application.
            policies: Content-Security-Policy by path; the longest path that an address starts with, segment
                by segment, decides, and `API_POLICY` where none does. `{"/": PAGE_POLICY, "/classify":
                API_POLICY}`.
            tls: the server is reached by HTTPS alone; browsers are told to stay with it for a year. False
                behind a proxy that ends TLS: the proxy tells it.
        """
        self._app = app
        self._policies = sorted((policies or {}).items(), key=lambda item: len(item[0]), reverse=True)
        fixed = {
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

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                policy = (b"content-security-policy", self._policy(scope["path"]).encode())
                message["headers"] = given + [item for item in (*self._fixed, policy) if item[0] not in names]
            await send(message)

        await self._app(scope, receive, add)

    def _policy(self, path: str) -> str:
        for prefix, policy in self._policies:
            if path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                return policy
        return API_POLICY
