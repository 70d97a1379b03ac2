"""Authorize requests: country, failed attempts, key, scope and rate limit, in this order.

Before the body is read.
"""

import hmac
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.serving.auth.authenticator import Authenticator, AuthThrottle, unauthorized
from assay.serving.auth.client_ip import CountryFilter, client_address, client_subnet, parse_address, parse_networks
from assay.serving.auth.interfaces import ANONYMOUS, AccessDeniedError, Authorization, AuthRequest, Client
from assay.serving.auth.keys import KEYS_FILE, ReloadingFile, read_keys
from assay.serving.auth.master_keys import MASTER_KEYS_FILE, read_master_keys
from assay.serving.auth.nonces import NONCES_FILE, FileNonceStore, MemoryNonceStore, NonceStore
from assay.serving.auth.origins import is_from_own_page, is_loopback_host_header
from assay.serving.auth.rate_limits import (
    LocalRateLimiter,
    Rate,
    RateLimiter,
    rate_limit_headers,
    strictest_tier,
    too_many_requests,
)
from assay.serving.auth.settings import AuthSettings, RateLimitSettings, Tier
from assay.serving.telemetry import RequestRejected, TelemetrySink

if TYPE_CHECKING:
    from assay.serving.auth.redis_client import ReconnectingRedis


@dataclass(frozen=True, slots=True)
class AuthBackends:
    """What remembers requests."""

    limiter: RateLimiter
    nonces: NonceStore
    file: FileNonceStore
    link: "ReconnectingRedis | None" = None

    async def close(self) -> None:
        """Let go of connections."""
        self.file.close()
        if self.link is not None:
            await self.link.close()


def open_backends(
    settings: RateLimitSettings,
    telemetry: TelemetrySink,
    *,
    folder: Path,
    nonce_seconds: float,
    steady: Callable[[], float],
    wall: Callable[[], float],
) -> AuthBackends:
    """Open what the settings name; connections are made when they are first needed.

    Args:
        settings: the limits.
        telemetry: told when Redis goes away and when it is back.
        folder: of the keys, where their nonces are kept too.
        nonce_seconds: how long a nonce is remembered.
        steady: seconds that never go back.
        wall: seconds since 1970.

    Raises:
        UsageError: the address of Redis is none.
    """
    limiter = LocalRateLimiter(steady)
    file = FileNonceStore(folder / NONCES_FILE, MemoryNonceStore(nonce_seconds, steady), nonce_seconds, wall)
    if settings.redis is None:
        return AuthBackends(limiter, file, file)
    # redis-py takes a quarter of a second and 12 MB: only where it is used.
    from assay.serving.auth.nonces import RedisNonceStore  # noqa: PLC0415
    from assay.serving.auth.rate_limits import RedisRateLimiter  # noqa: PLC0415
    from assay.serving.auth.redis_client import ReconnectingRedis  # noqa: PLC0415

    link = ReconnectingRedis(settings.redis.get_secret_value(), settings, telemetry)
    shared = RedisRateLimiter(link, limiter, settings.lease_timeout)
    return AuthBackends(shared, RedisNonceStore(link, file, nonce_seconds), file, link)


_PUBLIC_SCOPES = frozenset({"classify", "metrics"})


@dataclass(frozen=True, slots=True)
class _GrantedAuthorization:
    """A request that was let in (`Authorization`)."""

    client: Client
    address: str
    headers: Mapping[str, str]
    digest: str | None
    failed: Callable[[], None]
    limiter: RateLimiter | None
    place: tuple[str, str]

    @property
    def signed(self) -> bool:
        return self.digest is not None

    def check_body(self, sha256: str) -> None:
        if self.digest is not None and not hmac.compare_digest(self.digest, sha256):
            self.failed()
            raise unauthorized()

    async def release(self) -> None:
        if self.limiter is not None:
            await self.limiter.give_back(*self.place)


class RequestAuthorizer:
    """Decides who is let in, by address, key and rate (`Gate`)."""

    def __init__(
        self,
        auth: AuthSettings,
        limits: RateLimitSettings,
        telemetry: TelemetrySink,
        stores: AuthBackends,
        *,
        authenticator: Authenticator | None,
        steady: Callable[[], float],
    ) -> None:
        """Join the parts.

        Args:
            auth: who may ask.
            limits: how often.
            telemetry: told who is turned away.
            stores: where requests are counted.
            authenticator: checks keys; none: no key is needed.
            steady: seconds that never go back.
        """
        self._trusted = parse_networks(auth.proxies)
        self._countries = CountryFilter(auth.countries)
        self._penalties = AuthThrottle(Rate.per_minute(auth.max_failures_per_minute, auth.max_failures_burst), steady)
        self._authenticator, self._stores, self._limits, self._telemetry = (
            authenticator,
            stores,
            limits,
            telemetry,
        )

    async def admit(self, asked: AuthRequest) -> Authorization:
        """Authenticate, then limit (`Gate.admit`)."""
        address = client_address(asked.peer, asked.headers.get("x-forwarded-for"), self._trusted)
        with _CountDenials(self._telemetry, "country"):
            self._countries.check(address)
        with _CountDenials(self._telemetry, "auth"):
            self._penalties.check(address)
            client, digest = await self._identify(asked, address)
            if asked.scope not in client.scopes:
                raise AccessDeniedError(403, f"This needs the scope {asked.scope}", client=client)
        with _CountDenials(self._telemetry, "limit"):
            return await self._limit(client, address, digest)

    async def close(self) -> None:
        """Let go of connections."""
        await self._stores.close()

    async def _identify(self, asked: AuthRequest, address: str) -> tuple[Client, str | None]:
        if self._authenticator is None:
            local = asked.scope not in _PUBLIC_SCOPES and _is_local_request(asked, address)
            scopes = _PUBLIC_SCOPES | {"admin"} if local else _PUBLIC_SCOPES
            return Client(ANONYMOUS, None, self._limits.anonymous or ANONYMOUS, scopes), None
        proof = await self._authenticator.check(asked)
        if proof is None:
            self._penalties.failed(address)
            raise unauthorized()
        key = proof.key
        tier = key.tier if key.tier in self._limits.tiers else strictest_tier(self._limits.tiers)
        client = Client(key.client, key.id, tier, frozenset(key.scopes))
        if proof.refusal is not None:
            if proof.refusal.status == unauthorized().status:
                self._penalties.failed(address)
            proof.refusal.client = client
            raise proof.refusal
        return client, proof.digest

    async def _limit(self, client: Client, address: str, digest: str | None) -> Authorization:
        def failed() -> None:
            self._penalties.failed(address)
            self._telemetry.emit(RequestRejected("auth"))

        tier: Tier | None = self._limits.tiers.get(client.tier)
        if tier is None:
            return _GrantedAuthorization(client, address, {}, digest, failed, None, ("", ""))
        place = client.key_id or client_subnet(address), uuid.uuid4().hex
        found = await self._stores.limiter.take(place[0], tier, place[1])
        if not found.taken:
            raise too_many_requests(client, tier, found)
        headers = rate_limit_headers(client.tier, tier, found)
        return _GrantedAuthorization(client, address, headers, digest, failed, self._stores.limiter, place)


def make_authorizer(
    auth: AuthSettings,
    limits: RateLimitSettings,
    telemetry: TelemetrySink,
    *,
    wall: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
) -> RequestAuthorizer:
    """Build the gate from its settings. It is used and closed in one event loop.

    Args:
        auth: who may ask.
        limits: how often.
        telemetry: told who is turned away, and when Redis is away.
        wall: seconds since 1970.
        steady: seconds that never go back.

    Raises:
        AssayError: keys are required and their files are missing, malformed or open to others.
    """
    keys = ReloadingFile(auth.folder / KEYS_FILE, read_keys, steady) if auth.required else None
    ring = ReloadingFile(auth.folder / MASTER_KEYS_FILE, read_master_keys, steady) if auth.required else None
    remember = 2 * auth.max_clock_skew + 1
    stores = open_backends(limits, telemetry, folder=auth.folder, nonce_seconds=remember, steady=steady, wall=wall)
    authenticator = None
    if keys is not None and ring is not None:
        skew = auth.max_clock_skew
        authenticator = Authenticator(keys.value, ring.value, stores.nonces, max_clock_skew=skew, wall=wall)
    return RequestAuthorizer(auth, limits, telemetry, stores, authenticator=authenticator, steady=steady)


class _CountDenials:
    """Tells the watcher of a refusal within the block."""

    def __init__(self, telemetry: TelemetrySink, reason: str) -> None:
        self._telemetry, self._reason = telemetry, reason

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, AccessDeniedError):
            self._telemetry.emit(RequestRejected(self._reason))


def _is_local_request(asked: AuthRequest, address: str) -> bool:
    """Tell whether a request without a key comes from this machine, and from no page but the server's own."""
    parsed = parse_address(address)
    passed_on = any(name in asked.headers for name in ("x-forwarded-for", "forwarded"))
    here = is_loopback_host_header(asked.headers.get("host") or "localhost") and is_from_own_page(asked.headers)
    return parsed is not None and parsed.is_loopback and here and not passed_on
