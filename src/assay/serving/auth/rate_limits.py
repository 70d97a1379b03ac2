"""Rate and concurrency limits per client (GCRA), counted in memory or in Redis.

The RateLimit response headers.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from assay.serving.auth.interfaces import AccessDeniedError, Client
from assay.serving.auth.settings import Tier

MICROSECONDS = 1_000_000
"""Microseconds in a second."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate and the burst that is taken at once."""

    interval: int
    """Microseconds between requests that may go on forever."""
    burst: int
    """Requests that may come at once after a rest."""

    @classmethod
    def per_minute(cls, requests: float, burst: int) -> "Rate":
        """Return the rate of so many requests a minute; the interval is rounded up, to promise no more."""
        return cls(-int(-60 * MICROSECONDS // requests), burst)

    @property
    def tolerance(self) -> int:
        """How far ahead of now the next arrival may be for a request to be taken, in microseconds."""
        return self.interval * (self.burst - 1)

    def ahead(self, arrival: int, now: int) -> int:
        """Return how far a stored arrival lies ahead of now, in microseconds.

        It is never more than a whole burst: a clock that was set back, or a client whose tier has been
        raised, must not wait for what the old number says.
        """
        return min(max(arrival - now, 0), self.interval * self.burst)

    def takes(self, ahead: int) -> bool:
        """Tell whether one more request is taken when the next arrival is `ahead` microseconds away."""
        return ahead <= self.tolerance

    def remaining(self, ahead: int) -> int:
        """Return how many requests would be taken at once now."""
        return max((self.tolerance - ahead) // self.interval + 1, 0)

    def wait(self, ahead: int) -> float:
        """Return the seconds until a request is taken; 0: now."""
        return max(ahead - self.tolerance, 0) / MICROSECONDS


def to_microseconds(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return int(seconds * MICROSECONDS)


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """What becomes of a request."""

    taken: bool
    """Whether it goes on."""
    remaining: int
    """Requests that would be taken at once after it."""
    wait: float
    """Seconds until a request would be taken; 0 where this one was."""
    restored: float
    """Seconds until the whole burst is there again."""


class RateLimiter(Protocol):
    """Counts requests by key: how many a minute, and how many at a time."""

    async def take(self, key: str, tier: Tier, lease: str) -> RateLimitDecision:
        """Take a request, or not.

        Args:
            key: whose request it is.
            tier: what that key is promised.
            lease: names this request; `give_back` is told the same.
        """

    async def give_back(self, key: str, lease: str) -> None:
        """A request that was taken has been answered; told twice, or of one never taken, nothing happens."""


def tier_rate(tier: Tier) -> Rate:
    """Return a tier's rate."""
    return Rate.per_minute(tier.per_minute, tier.burst)


def make_decision(rate: Rate, ahead: int, *, taken: bool, busy: bool = False) -> RateLimitDecision:
    """Return the verdict on a request.

    Args:
        rate: of the key.
        ahead: microseconds from now to the next arrival, this request counted if it is taken.
        taken: whether it is.
        busy: it is refused since too many of the key's requests are being answered; one second is then as
            good a guess as any of when one of them is done.
    """
    wait = 0.0 if taken else max(rate.wait(ahead), 1.0 if busy else 0.0)
    return RateLimitDecision(taken, 0 if busy else rate.remaining(ahead), wait, ahead / MICROSECONDS)


_MAX_CLIENTS = 100_000


class LocalRateLimiter:
    """Counts in memory; the least recently seen keys are forgotten beyond `most`."""

    def __init__(self, clock: Callable[[], float], most: int = _MAX_CLIENTS) -> None:
        """Start with every key rested.

        Args:
            clock: seconds that never go back.
            most: keys that are remembered.
        """
        self._clock, self._most = clock, most
        self._arrivals: OrderedDict[str, int] = OrderedDict()
        self._leases: dict[str, set[str]] = {}

    async def take(self, key: str, tier: Tier, lease: str) -> RateLimitDecision:
        """Take a request, or not (`Limiter.take`)."""
        rate, now = tier_rate(tier), to_microseconds(self._clock())
        ahead = rate.ahead(self._arrivals.get(key, now), now)
        if not rate.takes(ahead):
            return make_decision(rate, ahead, taken=False)
        if len(self._leases.get(key, ())) >= tier.max_concurrent:
            return make_decision(rate, ahead, taken=False, busy=True)
        self.note(key, tier, lease)
        return make_decision(rate, ahead + rate.interval, taken=True)

    def note(self, key: str, tier: Tier, lease: str) -> None:
        """Count a request that others have decided on."""
        rate, now = tier_rate(tier), to_microseconds(self._clock())
        self._arrivals[key] = now + rate.ahead(self._arrivals.get(key, now), now) + rate.interval
        self._arrivals.move_to_end(key)
        if len(self._arrivals) > self._most:
            self._arrivals.popitem(last=False)
        self._leases.setdefault(key, set()).add(lease)

    async def give_back(self, key: str, lease: str) -> None:
        """A request has been answered (`Limiter.give_back`)."""
        leases = self._leases.get(key, set())
        leases.discard(lease)
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
-- The whole microseconds of a date fit a double; Lua's own way to write a number would round them.
local function whole(number) return string.format('%.0f', number) end
local damaged = 0
local function drop(key)
  redis.call('UNLINK', key)
  damaged = damaged + 1
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
-- A key of ours ends with its time: one that is long past, or is far off and would stay longer, is none.
local far = arrival - now > interval * burst
  and redis.call('PTTL', KEYS[1]) * 1000 < arrival - now - 1000000
if known and (arrival < now - 1000000 or far) then
  drop(KEYS[1])
  arrival = 0
end
local ahead = math.min(math.max(arrival - now, 0), interval * burst)
if ahead > interval * (burst - 1) then return {1, ahead, damaged} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', whole(now))
damaged = damaged + redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. whole(now + 10 * lasts), '+inf')
if redis.call('ZCARD', KEYS[2]) >= max_concurrent then return {2, ahead, damaged} end
ahead = ahead + interval
redis.call('SET', KEYS[1], whole(now + ahead), 'PX', whole(math.ceil(ahead / 1000) + 1))
redis.call('ZADD', KEYS[2], whole(now + lasts), lease)
redis.call('PEXPIRE', KEYS[2], whole(math.ceil(lasts / 1000)))
return {0, ahead, damaged}
"""
_ACQUIRED, _BUSY = 0, 2


class RedisRateCounter:
    """The counts in Redis. Raises redis-py's errors when it is away."""

    def __init__(self, redis: "Redis", lease_timeout: float, on_damaged: Callable[[int], None]) -> None:
        """Prepare the script; it is sent when Redis does not have it.

        Args:
            redis: where to count.
            lease_timeout: after so long a request no longer counts as being answered.
            on_damaged: told how many values had to be replaced.
        """
        self._redis, self._lasts, self._on_damaged = redis, round(lease_timeout * 1_000_000), on_damaged
        self._script = redis.register_script(_ACQUIRE_SCRIPT)

    async def take(self, key: str, tier: Tier, lease: str) -> RateLimitDecision:
        """Take a request, or not."""
        rate = tier_rate(tier)
        arguments: list[int | str] = [rate.interval, rate.burst, tier.max_concurrent, lease, self._lasts]
        answer = await self._script(keys=[_rate_key(key), _lease_key(key)], args=arguments)
        state, ahead, damaged = cast("tuple[int, int, int]", tuple(answer))
        if damaged:
            self._on_damaged(damaged)
        return make_decision(rate, ahead, taken=state == _ACQUIRED, busy=state == _BUSY)

    async def give_back(self, key: str, lease: str) -> bool:
        """Take a lease out of what is being answered, and tell whether it was there."""
        return await self._redis.zrem(_lease_key(key), lease) == 1

    async def probe(self) -> None:
        """Do all that a request needs, on a key of its own."""
        tier = Tier(per_minute=600_000, burst=1_000_000, max_concurrent=1_000_000)
        await self.take("probe", tier, "probe")
        await self.give_back("probe", "probe")


class RedisRateLimiter:
    """Counts in Redis, and in this process while Redis is away (`Limiter`)."""

    def __init__(self, link: "ReconnectingRedis", local: LocalRateLimiter, lease_timeout: float) -> None:
        """Join the two; the link's owner closes it."""
        self._link, self._local = link, local
        self._counts = RedisRateCounter(link.redis, lease_timeout, lambda count: link.damaged("limits", count))
        link.look_with(self._counts.probe)

    async def take(self, key: str, tier: Tier, lease: str) -> RateLimitDecision:
        """Take a request, or not (`Limiter.take`)."""
        answer = await self._link.ask(lambda: self._counts.take(key, tier, lease))
        if answer is None:
            return await self._local.take(key, tier, lease)
        if answer.taken:
            self._local.note(key, tier, lease)
        return answer

    async def give_back(self, key: str, lease: str) -> None:
        """A request has been answered (`Limiter.give_back`); what Redis is not told of ends by itself."""
        await self._local.give_back(key, lease)
        await self._link.ask(lambda: self._counts.give_back(key, lease))


# The braces keep both of a client's keys on one node of a cluster, which a script needs.
def _rate_key(key: str) -> str:
    return f"assay:{{{key}}}:rate"


def _lease_key(key: str) -> str:
    return f"assay:{{{key}}}:open"


_WINDOW_SECONDS = 60


def strictest_tier(tiers: Mapping[str, Tier]) -> str:
    """Return the tier with the fewest requests a minute: for a key whose own tier is not known."""
    return min(tiers, key=lambda name: tiers[name].per_minute)


def rate_limit_headers(name: str, tier: Tier, verdict: RateLimitDecision) -> dict[str, str]:
    """Return RateLimit-Policy and RateLimit for an answer."""
    return {
        "RateLimit-Policy": f'"{name}";q={tier.per_minute};w={_WINDOW_SECONDS};assay-burst={tier.burst}',
        "RateLimit": f'"{name}";r={verdict.remaining};t={math.ceil(verdict.restored)}',
    }


def too_many_requests(client: Client, tier: Tier, verdict: RateLimitDecision) -> AccessDeniedError:
    """Return the answer to a request that is one too many."""
    wait = str(max(1, math.ceil(verdict.wait)))
    headers = {**rate_limit_headers(client.tier, tier, verdict), "Retry-After": wait}
    return AccessDeniedError(429, "Too many requests; try again later", headers, client)
