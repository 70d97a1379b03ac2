"""Authentication and rate limits of requests: the types that the server and its authorizer share."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks."""

    id: str
    """Name of the client that the key was made for; `ANONYMOUS` where keys are off."""
    key_id: str | None
    tier: str
    scopes: frozenset[str]
    """Of classify, admin, metrics."""


class AccessDeniedError(Exception):
    """A request that is turned away; the app answers `{"error": text}` with this status and these headers."""

    def __init__(
        self,
        status: int,
        text: str,
        headers: Mapping[str, str] | None = None,
        client: Client | None = None,
    ) -> None:
        """Set what is answered, and to whom.

        Args:
            status: HTTP status.
            text: one sentence for the client.
            headers: such as Retry-After.
            client: whose key the request proves, for the request log; None where it proves none.
        """
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})
        self.client = client


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """What the gate may look at: the request without its body."""

    method: str
    target: str
    """Path and query as they were sent, `/classify?detail=1`, nothing decoded."""
    headers: Mapping[str, str]
    """Names in lower case; a header that came several times is one, joined by commas. (A proxy may add an
    X-Forwarded-For below the one that a client made up: who saw the first alone would believe the client.)"""
    peer: str
    """Address of the socket's other end."""
    scope: str
    """What is asked for: classify, admin or metrics."""


class Authorization(Protocol):
    """A request that was let in. Released when its answer has gone out, whatever it is."""

    @property
    def client(self) -> Client:
        """Who asks."""

    @property
    def address(self) -> str:
        """The client's address, through trusted proxies only."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What the answer carries: RateLimit, RateLimit-Policy."""

    @property
    def signed(self) -> bool:
        """Whether the body's digest was signed."""

    def check_body(self, sha256: str) -> None:
        """Compare the body's digest (`digest_of` its images) with the signed one, where there is one.

        Raises:
            AccessDeniedError: they differ.
        """

    async def release(self) -> None:
        """Give back the place among the client's requests at a time; may be called more than once."""


class Authorizer(Protocol):
    """Decides who is let in."""

    async def authorize(self, request: AuthRequest) -> Authorization:
        """Authenticate, then limit.

        Raises:
            AccessDeniedError: 401, 403, 429.
        """

    async def close(self) -> None:
        """Let go of connections."""


_ANONYMOUS_CLIENT = Client(ANONYMOUS, None, ANONYMOUS, frozenset({"classify", "admin", "metrics"}))
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class NullAuthorization:
    """The `Authorization` of a `NullAuthorizer`: every scope, no limits."""

    def __init__(self, address: str) -> None:
        self.client = _ANONYMOUS_CLIENT
        self.address = address
        self.headers = _NO_HEADERS
        self.signed = False

    def check_body(self, sha256: str) -> None:
        """No-op."""

    async def release(self) -> None:
        """No-op."""


class NullAuthorizer:
    """An `Authorizer` that allows every request."""

    async def authorize(self, request: AuthRequest) -> Authorization:
        """Allow the request."""
        return NullAuthorization(request.peer)

    async def close(self) -> None:
        """No-op."""
