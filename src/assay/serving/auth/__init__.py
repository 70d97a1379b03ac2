"""Authentication and rate limits of requests: the types that the server and its authorizer share."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request."""

    id: str
    """Name of the client that the key was created for; `ANONYMOUS` if keys are disabled."""
    key_id: str | None
    tier: str
    scopes: frozenset[str]
    """Some of classify, admin, metrics."""


class AccessDeniedError(Exception):
    """A request is rejected; the app responds with `{"error": text}`, this status and these headers."""

    def __init__(
        self,
        status: int,
        text: str,
        headers: Mapping[str, str] | None = None,
        client: Client | None = None,
    ) -> None:
        """`client` is the owner of the verified key, for the request log; None if no key was verified."""
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})
        self.client = client


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """The parts of a request that authorization uses: everything but the body."""

    method: str
    target: str
    """Path and query as sent, not decoded: `/classify?detail=1`."""
    headers: Mapping[str, str]
    """Names in lower case; repeated headers are joined by commas. (A proxy may append a second X-Forwarded-For to one
    that the client has forged; using only the first would trust the client.)
    """
    peer: str
    """Address of the other end of the socket."""
    scope: str
    """Requested scope: classify, admin or metrics."""


class Authorization(Protocol):
    """An authorized request; must be released after its response, whatever the outcome."""

    @property
    def client(self) -> Client:
        """The client of the request."""

    @property
    def address(self) -> str:
        """The client's address, through trusted proxies only."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers: RateLimit, RateLimit-Policy."""

    @property
    def signed(self) -> bool:
        """Whether the body's digest was signed."""

    def check_body(self, sha256: str) -> None:
        """Raise `AccessDeniedError` if the digest of the images (`content_digest`) is not the signed one, if any."""

    async def release(self) -> None:
        """Stop counting the request as concurrent; may be called more than once."""


class Authorizer(Protocol):
    """Decides which requests are allowed."""

    async def authorize(self, request: AuthRequest) -> Authorization:
        """Authenticate a request and apply the limits; raise `AccessDeniedError` (401, 403, 429) to reject it."""

    async def close(self) -> None:
        """Close all connections."""


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
