"""The check of Host and Origin before anything else is done with a request, its body above all."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from assay.serving.auth.base import Refusal
from assay.serving.auth.origins import OriginPolicy
from assay.serving.watching.base import Watcher


class OriginGuard:
    """An ASGI app in front of another, for servers that ask for no keys.

    Args:
        app: answers what passes.
        policy: decides what passes.
        failure: makes an answer of a refusal.
        watcher: told of every refusal.
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: OriginPolicy,
        failure: Callable[[Request, Exception], Response],
        watcher: Watcher,
    ) -> None:
        self._app, self._policy, self._failure, self._watcher = app, policy, failure, watcher

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer a request, as ASGI has it; no coroutine of its own stands between the layers."""
        try:
            self._policy.check(scope["method"], scope["call"].headers)
        except Refusal as refusal:
            self._watcher.rejected("origin")
            return self._failure(Request(scope, receive), refusal)(scope, receive, send)
        return self._app(scope, receive, send)
