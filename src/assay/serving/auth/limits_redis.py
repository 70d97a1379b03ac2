"""Limits counted in Redis, by all workers and machines together; in this process while Redis is away.

Knows nothing of HTTP. One script decides and counts in one step, by Redis's own clock, so machines whose
clocks differ agree. What is being answered is a sorted set of leases that end by themselves: a worker that
dies cannot keep a place. The process counts along what Redis lets through, so that a Redis that goes away
gives nobody a fresh burst in a worker that has just served it.

A key that holds what the script cannot have written (another type, no number, a time that its own expiry
contradicts) counts as missing and is replaced; the script tells how many there were.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from assay.serving.auth.limits import Verdict, rate_of, verdict
from assay.serving.auth.limits_local import LocalLimiter
from assay.serving.auth.settings import Tier

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from assay.serving.auth.redis_link import RedisLink

_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local at_a_time, lease, lasts = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
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
if redis.call('ZCARD', KEYS[2]) >= at_a_time then return {2, ahead, damaged} end
ahead = ahead + interval
redis.call('SET', KEYS[1], whole(now + ahead), 'PX', whole(math.ceil(ahead / 1000) + 1))
redis.call('ZADD', KEYS[2], whole(now + lasts), lease)
redis.call('PEXPIRE', KEYS[2], whole(math.ceil(lasts / 1000)))
return {0, ahead, damaged}
"""
_TAKEN, _BUSY = 0, 2


class RedisCounts:
    """The counts in Redis. Raises redis-py's errors when it is away."""

    def __init__(self, redis: "Redis", lease_seconds: float, on_damaged: Callable[[int], None]) -> None:
        """Prepare the script; it is sent when Redis does not have it.

        Args:
            redis: where to count.
            lease_seconds: after so long a request no longer counts as being answered.
            on_damaged: told how many values had to be replaced.
        """
        self._redis, self._lasts, self._on_damaged = redis, round(lease_seconds * 1_000_000), on_damaged
        self._script = redis.register_script(_TAKE)

    async def take(self, key: str, tier: Tier, lease: str) -> Verdict:
        """Take a request, or not."""
        rate = rate_of(tier)
        arguments: list[int | str] = [rate.interval, rate.burst, tier.at_a_time, lease, self._lasts]
        answer = await self._script(keys=[_rate_key(key), _lease_key(key)], args=arguments)
        state, ahead, damaged = cast("tuple[int, int, int]", tuple(answer))
        if damaged:
            self._on_damaged(damaged)
        return verdict(rate, ahead, taken=state == _TAKEN, busy=state == _BUSY)

    async def give_back(self, key: str, lease: str) -> bool:
        """Take a lease out of what is being answered, and tell whether it was there."""
        return await self._redis.zrem(_lease_key(key), lease) == 1

    async def probe(self) -> None:
        """Do all that a request needs, on a key of its own."""
        tier = Tier(per_minute=600_000, burst=1_000_000, at_a_time=1_000_000)
        await self.take("probe", tier, "probe")
        await self.give_back("probe", "probe")


class SharedLimiter:
    """Counts in Redis, and in this process while Redis is away (`Limiter`)."""

    def __init__(self, link: "RedisLink", local: LocalLimiter, lease_seconds: float) -> None:
        """Join the two; the link's owner closes it."""
        self._link, self._local = link, local
        self._counts = RedisCounts(link.redis, lease_seconds, lambda count: link.damaged("limits", count))
        link.look_with(self._counts.probe)

    async def take(self, key: str, tier: Tier, lease: str) -> Verdict:
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
