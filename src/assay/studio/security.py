"""Who may use the studio: pages of its own address, in a browser that opened it with the token."""

import hmac
import json
import re
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.core.files import read_text
from assay.core.tables import write_json
from assay.serving.auth import AccessDeniedError
from assay.serving.auth.origin_policy import OriginPolicy
from assay.serving.http_messages import SecurityHeaders, join_headers

HOST: Final = "127.0.0.1"
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types assay-fragment"
)
"""Scripts and styles of the studio only; HTML is parsed only by the function that fetches fragments from it."""
REPORT_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
"""Of a report, which has its styles inside and no scripts."""

_TOKEN_BYTES: Final = 24
_TOKEN: Final = re.compile(rf"[A-Za-z0-9_-]{{{_TOKEN_BYTES},}}")
_MAX_PORT: Final = 65535
_ADDRESS_FILE: Final = "address.json"
_FORBIDDEN: Final = "Open the address that `assay studio` printed: it contains the token of this session.\n"
_SECURITY: Final = SecurityHeaders(CONTENT_SECURITY_POLICY)


class AccessControl:
    """Middleware: refuses other hosts, pages of other origins and requests without the token; adds headers.

    The token is accepted in the address of the first page, which answers with a cookie that scripts cannot read and
    that browsers do not send with requests of other sites.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._cookie = f"assay-studio-{port}"  # cookies do not depend on the port
        self._policy = OriginPolicy(HOST, (), ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets
        headers = join_headers(scope["headers"])

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _SECURITY.add_to(list(message["headers"]))}
            await send(message)

        await (self._refusal(scope, headers) or self._app)(scope, receive, secured)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        try:
            self._policy.check(scope["method"], headers)
        except AccessDeniedError:
            return PlainTextResponse("This address is for the studio's own pages.\n", 403)
        if not headers.get("host"):
            return PlainTextResponse("A request needs a Host header.\n", 400)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] == "GET" and scope["path"] == "/" and given:
            if not self._is_token(given):
                return PlainTextResponse(_FORBIDDEN, 403)
            # The address without the token: neither the history nor a screenshot contains it.
            response = RedirectResponse("/", 303)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return response
        return None if self._is_token(self._sent(headers)) else PlainTextResponse(_FORBIDDEN, 403)

    def _sent(self, headers: dict[str, str]) -> str:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return "" if cookie is None else cookie.value

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


def new_token() -> str:
    """Return a random token for addresses."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def stored_address(folder: Path) -> tuple[str, int] | None:
    """Return token and port of the last session, so that open pages work again; None without a valid file."""
    try:
        values = json.loads(read_text(folder / _ADDRESS_FILE, 4096))
        token, port = values["token"], values["port"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    is_token = isinstance(token, str) and _TOKEN.fullmatch(token) is not None
    is_port = isinstance(port, int) and not isinstance(port, bool) and 0 < port <= _MAX_PORT
    return (token, port) if is_token and is_port else None


def store_address(folder: Path, token: str, port: int) -> None:
    """Store token and port in a file that only this user can read."""
    write_json(folder / _ADDRESS_FILE, {"token": token, "port": port}, mode=0o600)
