"""Authorize requests before their body is read: country, failed attempts, key, scope and rate limit, in this order."""

import hmac
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.serving.auth import ANONYMOUS, AccessDeniedError, Authorization, AuthRequest, Client
from assay.serving.auth.authenticator import Authenticator, AuthThrottle, unauthorized
from assay.serving.auth.client_ip import client_address, client_subnet, parse_address, parse_networks
from assay.serving.auth.country_filter import CountryFilter
from assay.serving.auth.keys import KEYS_FILE, ReloadingFile, read_api_keys
from assay.serving.auth.master_keys import MASTER_KEYS_FILE, read_master_keys
from assay.serving.auth.nonces import NONCES_FILE, FileNonceStore, MemoryNonceStore, NonceStore, RedisNonceStore
from assay.serving.auth.origin_policy import is_from_own_page, is_loopback_host_header
from assay.serving.auth.rate_limits import (
    LocalRateLimiter,
    Rate,
    RateLimiter,
    RedisRateLimiter,
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
    """Stores of rate limits and nonces."""

    limiter: RateLimiter
    nonces: NonceStore
    file: FileNonceStore
    redis: "ReconnectingRedis | None" = None

    async def close(self) -> None:
        """Close all connections."""
        self.file.close()
        if self.redis is not None:
            await self.redis.close()


def open_backends(
    settings: RateLimitSettings,
    telemetry: TelemetrySink,
    *,
    folder: Path,
    nonce_seconds: float,
    monotonic: Callable[[], float],
    wall_clock: Callable[[], float],
) -> AuthBackends:
    """Create the stores, which connect on first use; raise `UsageError` if the URL of Redis is invalid.

    Nonces are stored in `folder` too, for `nonce_seconds`. `monotonic` and `wall_clock` return seconds.
    """
    limiter = LocalRateLimiter(monotonic)
    file = FileNonceStore(folder / NONCES_FILE, MemoryNonceStore(nonce_seconds, monotonic), nonce_seconds, wall_clock)
    if settings.redis is None:
        return AuthBackends(limiter, file, file)
    # Importing redis-py takes 0.25 s and 12 MB.
    from assay.serving.auth.redis_client import ReconnectingRedis  # noqa: PLC0415

    redis = ReconnectingRedis(settings.redis.get_secret_value(), settings, telemetry)
    limiter_redis = RedisRateLimiter(redis, limiter, settings.lease_timeout)
    return AuthBackends(limiter_redis, RedisNonceStore(redis, file, nonce_seconds), file, redis)


_PUBLIC_SCOPES = frozenset({"classify", "metrics"})


@dataclass(frozen=True, slots=True)
class _Authorization:
    client: Client
    address: str
    headers: Mapping[str, str]
    digest: str | None
    failed: Callable[[], None]
    limiter: RateLimiter | None
    lease: tuple[str, str]

    @property
    def signed(self) -> bool:
        return self.digest is not None

    def check_body(self, sha256: str) -> None:
        if self.digest is not None and not hmac.compare_digest(self.digest, sha256):
            self.failed()
            raise unauthorized()

    async def release(self) -> None:
        if self.limiter is not None:
            await self.limiter.release(*self.lease)


class RequestAuthorizer:
    """An `Authorizer` by address, key and rate."""

    def __init__(
        self,
        auth: AuthSettings,
        limits: RateLimitSettings,
        telemetry: TelemetrySink,
        backends: AuthBackends,
        *,
        authenticator: Authenticator | None,
        monotonic: Callable[[], float],
    ) -> None:
        """Without an `authenticator`, no key is required; `monotonic` returns seconds."""
        self._trusted = parse_networks(auth.proxies)
        self._countries = CountryFilter(auth.countries)
        self._throttle = AuthThrottle(Rate.per_minute(auth.max_failures_per_minute, auth.max_failures_burst), monotonic)
        self._authenticator, self._backends, self._limits, self._telemetry = (
            authenticator,
            backends,
            limits,
            telemetry,
        )

    async def authorize(self, request: AuthRequest) -> Authorization:
        """Authenticate a request, then apply its rate limit (`Authorizer.authorize`)."""
        address = client_address(request.peer, request.headers.get("x-forwarded-for"), self._trusted)
        with _CountDenials(self._telemetry, "country"):
            self._countries.check(address)
        with _CountDenials(self._telemetry, "auth"):
            self._throttle.check(address)
            client, digest = await self._identify(request, address)
            if request.scope not in client.scopes:
                raise AccessDeniedError(403, f"This needs the scope {request.scope}", client=client)
        with _CountDenials(self._telemetry, "limit"):
            return await self._limit(client, address, digest)

    async def close(self) -> None:
        """Close all connections."""
        await self._backends.close()

    async def _identify(self, request: AuthRequest, address: str) -> tuple[Client, str | None]:
        if self._authenticator is None:
            local = request.scope not in _PUBLIC_SCOPES and _is_local_request(request, address)
            scopes = _PUBLIC_SCOPES | {"admin"} if local else _PUBLIC_SCOPES
            return Client(ANONYMOUS, None, self._limits.anonymous or ANONYMOUS, scopes), None
        verified = await self._authenticator.check(request)
        if verified is None:
            self._throttle.record_failure(address)
            raise unauthorized()
        key = verified.key
        tier = key.tier if key.tier in self._limits.tiers else strictest_tier(self._limits.tiers)
        client = Client(key.client, key.id, tier, frozenset(key.scopes))
        if verified.denial is not None:
            if verified.denial.status == unauthorized().status:
                self._throttle.record_failure(address)
            verified.denial.client = client
            raise verified.denial
        return client, verified.digest

    async def _limit(self, client: Client, address: str, digest: str | None) -> Authorization:
        def failed() -> None:
            self._throttle.record_failure(address)
            self._telemetry.emit(RequestRejected("auth"))

        tier: Tier | None = self._limits.tiers.get(client.tier)
        if tier is None:
            return _Authorization(client, address, {}, digest, failed, None, ("", ""))
        lease = client.key_id or client_subnet(address), uuid.uuid4().hex
        decision = await self._backends.limiter.acquire(lease[0], tier, lease[1])
        if not decision.allowed:
            raise too_many_requests(client, tier, decision)
        headers = rate_limit_headers(client.tier, tier, decision)
        return _Authorization(client, address, headers, digest, failed, self._backends.limiter, lease)


def make_authorizer(
    auth: AuthSettings,
    limits: RateLimitSettings,
    telemetry: TelemetrySink,
    *,
    wall_clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> RequestAuthorizer:
    """Create the authorizer of a worker, for use in one event loop.

    Raises:
        AssayError: keys are required and their files are missing, malformed or open to others.
    """
    keys = ReloadingFile(auth.folder / KEYS_FILE, read_api_keys, monotonic) if auth.required else None
    master_keys = ReloadingFile(auth.folder / MASTER_KEYS_FILE, read_master_keys, monotonic) if auth.required else None
    skew = auth.max_clock_skew
    backends = open_backends(
        limits,
        telemetry,
        folder=auth.folder,
        nonce_seconds=2 * skew + 1,
        monotonic=monotonic,
        wall_clock=wall_clock,
    )
    authenticator = None
    if keys is not None and master_keys is not None:
        authenticator = Authenticator(
            keys.value, master_keys.value, backends.nonces, max_clock_skew=skew, wall_clock=wall_clock
        )
    return RequestAuthorizer(auth, limits, telemetry, backends, authenticator=authenticator, monotonic=monotonic)


class _CountDenials:
    def __init__(self, telemetry: TelemetrySink, reason: str) -> None:
        self._telemetry, self._reason = telemetry, reason

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, AccessDeniedError):
            self._telemetry.emit(RequestRejected(self._reason))


def _is_local_request(request: AuthRequest, address: str) -> bool:
    """Whether a request without a key comes from this machine, and not from a page of another site."""
    parsed = parse_address(address)
    forwarded = any(name in request.headers for name in ("x-forwarded-for", "forwarded"))
    own_page = is_loopback_host_header(request.headers.get("host") or "localhost") and is_from_own_page(request.headers)
    return parsed is not None and parsed.is_loopback and own_page and not forwarded
