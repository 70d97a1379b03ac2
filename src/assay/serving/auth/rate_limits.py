"""Rate and concurrency limits per client (GCRA), counted in memory or in Redis, and the RateLimit response headers.

Sources: ITU-T Recommendation I.371 (2004), Annex A, GCRA(T, τ), virtual scheduling: T is `interval`, τ is
`interval * (burst - 1)`, so that any window of t microseconds has at most burst + t / interval requests. IETF
draft-ietf-httpapi-ratelimit-headers-10 (2025), "RateLimit header fields for HTTP".
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from assay.serving.auth import AccessDeniedError, Client
from assay.serving.auth.settings import Tier

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A sustained rate and a burst; times are whole microseconds, as in the Redis script."""

    interval: int
    """Microseconds between requests at the sustained rate."""
    burst: int
    """Requests allowed at once after an idle period."""

    @classmethod
    def per_minute(cls, requests: float, burst: int) -> "Rate":
        """Return a rate of requests per minute; the interval is rounded up."""
        return cls(-int(-60 * MICROSECONDS // requests), burst)

    @property
    def tolerance(self) -> int:
        """Microseconds that the next arrival may lie in the future for a request to be allowed."""
        return self.interval * (self.burst - 1)

    def ahead(self, arrival: int, now: int) -> int:
        """Return how many microseconds a stored arrival lies in the future, at most a whole burst.

        The limit matters after the clock was set back or the client's tier was raised.
        """
        return min(max(arrival - now, 0), self.interval * self.burst)

    def allows(self, ahead: int) -> bool:
        """Whether a request is allowed when the next arrival is `ahead` microseconds away."""
        return ahead <= self.tolerance

    def remaining(self, ahead: int) -> int:
        """Return how many requests would be allowed at once now."""
        return max((self.tolerance - ahead) // self.interval + 1, 0)

    def wait(self, ahead: int) -> float:
        """Return the seconds until a request is allowed."""
        return max(ahead - self.tolerance, 0) / MICROSECONDS


def to_microseconds(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return int(seconds * MICROSECONDS)


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """Whether a request is allowed, and the state of the client's limit."""

    allowed: bool
    remaining: int
    """Further requests that would be allowed at once."""
    retry_after: float
    """Seconds until a request would be allowed; 0 if this one is."""
    reset_after: float
    """Seconds until the whole burst is available again."""


class RateLimiter(Protocol):
    """Limits the rate and the number of concurrent requests of each client."""

    async def acquire(self, key: str, tier: Tier, request_id: str) -> RateLimitDecision:
        """Count a request if it is allowed; `request_id` identifies it in `release`."""

    async def release(self, key: str, request_id: str) -> None:
        """Count a request as finished; no-op if it was released before or not allowed."""


def tier_rate(tier: Tier) -> Rate:
    """Return a tier's rate."""
    return Rate.per_minute(tier.per_minute, tier.burst)


def make_decision(rate: Rate, ahead: int, *, allowed: bool, busy: bool = False) -> RateLimitDecision:
    """Return the decision on a request.

    `ahead` is in microseconds and includes this request if it is allowed. `busy`: too many requests of the client
    are in progress; Retry-After is then 1 s.
    """
    wait = 0.0 if allowed else max(rate.wait(ahead), 1.0 if busy else 0.0)
    return RateLimitDecision(allowed, 0 if busy else rate.remaining(ahead), wait, ahead / MICROSECONDS)


_MAX_CLIENTS = 100_000


class LocalRateLimiter:
    """Counts in memory; the least recently seen clients are evicted."""

    def __init__(self, clock: Callable[[], float], max_clients: int = _MAX_CLIENTS) -> None:
        self._clock, self._max_clients = clock, max_clients
        self._arrivals: OrderedDict[str, int] = OrderedDict()
        self._leases: dict[str, set[str]] = {}

    async def acquire(self, key: str, tier: Tier, request_id: str) -> RateLimitDecision:
        """Count a request if it is allowed."""
        rate, now = tier_rate(tier), to_microseconds(self._clock())
        ahead = rate.ahead(self._arrivals.get(key, now), now)
        if not rate.allows(ahead):
            return make_decision(rate, ahead, allowed=False)
        if len(self._leases.get(key, ())) >= tier.max_concurrent:
            return make_decision(rate, ahead, allowed=False, busy=True)
        self.record(key, tier, request_id)
        return make_decision(rate, ahead + rate.interval, allowed=True)

    def record(self, key: str, tier: Tier, request_id: str) -> None:
        """Count a request that Redis has allowed, so that an outage of Redis gives no client a fresh burst."""
        rate, now = tier_rate(tier), to_microseconds(self._clock())
        self._arrivals[key] = now + rate.ahead(self._arrivals.get(key, now), now) + rate.interval
        self._arrivals.move_to_end(key)
        if len(self._arrivals) > self._max_clients:
            self._arrivals.popitem(last=False)
        self._leases.setdefault(key, set()).add(request_id)

    async def release(self, key: str, request_id: str) -> None:
        """Count a request as finished."""
        leases = self._leases.get(key, set())
        leases.discard(request_id)
        if not leases:
            self._leases.pop(key, None)


if TYPE_CHECKING:
    from redis.asyncio import Redis

    from assay.serving.auth.redis_client import ReconnectingRedis

_ACQUIRE_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local max_concurrent, lease, lasts = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
-- Microseconds since 1970 fit a double exactly; Lua's default number format would round them.
local function whole(number) return string.format('%.0f', number) end
local corrupt = 0
local function drop(key)
  redis.call('UNLINK', key)
  corrupt = corrupt + 1
end
local function holds(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then drop(key) end
  return found == kind
end
holds(KEYS[2], 'zset')
local known = holds(KEYS[1], 'string')
local text = known and redis.call('GETRANGE', KEYS[1], 0, 31) or '0'
local arrival = string.match(text, '^%d+$') and tonumber(text) or -1
-- Our keys expire with their time: one that is long past, or is far off and would stay longer, is corrupt.
local far = arrival - now > interval * burst
  and redis.call('PTTL', KEYS[1]) * 1000 < arrival - now - 1000000
if known and (arrival < now - 1000000 or far) then
  drop(KEYS[1])
  arrival = 0
end
local ahead = math.min(math.max(arrival - now, 0), interval * burst)
if ahead > interval * (burst - 1) then return {1, ahead, corrupt} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now))
corrupt = corrupt + redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. whole(now + 10 * lasts), '+inf')
if redis.call('ZCARD', KEYS[2]) >= max_concurrent then return {2, ahead, corrupt} end
ahead = ahead + interval
redis.call('SET', KEYS[1], whole(now + ahead), 'PX', whole(math.ceil(ahead / 1000) + 1))
redis.call('ZADD', KEYS[2], whole(now + lasts), lease)
redis.call('PEXPIRE', KEYS[2], whole(math.ceil(lasts / 1000)))
return {0, ahead, corrupt}
"""
_ACQUIRED, _BUSY = 0, 2


class RedisRateCounter:
    """Counts in Redis with one atomic script, by the clock of Redis. Raises the errors of redis-py.

    Requests in progress are a sorted set of leases that expire, so that a crashed worker's requests are freed. A key
    whose value the script cannot have written is corrupt: it is treated as missing and replaced.
    """

    def __init__(self, redis: "Redis", lease_timeout: float, on_corrupt: Callable[[int], None]) -> None:
        """`lease_timeout` is in seconds; `on_corrupt` is called with the number of corrupt values."""
        self._redis, self._lasts, self._on_corrupt = redis, round(lease_timeout * 1_000_000), on_corrupt
        self._script = redis.register_script(_ACQUIRE_SCRIPT)

    async def acquire(self, key: str, tier: Tier, request_id: str) -> RateLimitDecision:
        """Count a request if it is allowed."""
        rate = tier_rate(tier)
        arguments: list[int | str] = [rate.interval, rate.burst, tier.max_concurrent, request_id, self._lasts]
        answer = await self._script(keys=[_rate_key(key), _lease_key(key)], args=arguments)
        state, ahead, corrupt = cast("tuple[int, int, int]", tuple(answer))
        if corrupt:
            self._on_corrupt(corrupt)
        return make_decision(rate, ahead, allowed=state == _ACQUIRED, busy=state == _BUSY)

    async def release(self, key: str, request_id: str) -> bool:
        """Count a request as finished; return whether it was in progress."""
        return await self._redis.zrem(_lease_key(key), request_id) == 1

    async def probe(self) -> None:
        """Acquire and release with a key of its own."""
        tier = Tier(per_minute=600_000, burst=1_000_000, max_concurrent=1_000_000)
        await self.acquire("probe", tier, "probe")
        await self.release("probe", "probe")


class RedisRateLimiter:
    """Counts in Redis, and in this process while Redis is unavailable."""

    def __init__(self, client: "ReconnectingRedis", local: LocalRateLimiter, lease_timeout: float) -> None:
        self._client, self._local = client, local
        self._counter = RedisRateCounter(
            client.redis, lease_timeout, lambda count: client.report_corrupt("limits", count)
        )
        client.set_probe(self._counter.probe)

    async def acquire(self, key: str, tier: Tier, request_id: str) -> RateLimitDecision:
        """Count a request if it is allowed."""
        answer = await self._client.run(lambda: self._counter.acquire(key, tier, request_id))
        if answer is None:
            return await self._local.acquire(key, tier, request_id)
        if answer.allowed:
            self._local.record(key, tier, request_id)
        return answer

    async def release(self, key: str, request_id: str) -> None:
        """Count a request as finished; without Redis its lease expires."""
        await self._local.release(key, request_id)
        await self._client.run(lambda: self._counter.release(key, request_id))


# The braces keep both keys of a client on one node of a cluster, as a script requires.
def _rate_key(key: str) -> str:
    return f"assay:{{{key}}}:rate"


def _lease_key(key: str) -> str:
    return f"assay:{{{key}}}:open"


_WINDOW_SECONDS = 60


def strictest_tier(tiers: Mapping[str, Tier]) -> str:
    """Return the tier with the fewest requests per minute, for keys of an unknown tier."""
    return min(tiers, key=lambda name: tiers[name].per_minute)


def rate_limit_headers(name: str, tier: Tier, decision: RateLimitDecision) -> dict[str, str]:
    """Return the headers RateLimit-Policy and RateLimit."""
    return {
        "RateLimit-Policy": f'"{name}";q={tier.per_minute};w={_WINDOW_SECONDS};assay-burst={tier.burst}',
        "RateLimit": f'"{name}";r={decision.remaining};t={math.ceil(decision.reset_after)}',
    }


def too_many_requests(client: Client, tier: Tier, decision: RateLimitDecision) -> AccessDeniedError:
    """Return the error for a request above the limit."""
    wait = str(max(1, math.ceil(decision.retry_after)))
    headers = {**rate_limit_headers(client.tier, tier, decision), "Retry-After": wait}
    return AccessDeniedError(429, "Too many requests; try again later", headers, client)
