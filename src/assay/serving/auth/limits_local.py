"""Limits counted in this process. Knows nothing of other workers: each of them counts by itself."""

from collections import OrderedDict
from collections.abc import Callable

from assay.serving.auth.gcra import micros
from assay.serving.auth.limits import Verdict, rate_of, verdict
from assay.serving.auth.settings import Tier

_MOST = 100_000


class LocalLimiter:
    """Counts in memory; the least recently seen keys are forgotten beyond `most`."""

    def __init__(self, clock: Callable[[], float], most: int = _MOST) -> None:
        """Start with every key rested.

        Args:
            clock: seconds that never go back.
            most: keys that are remembered.
        """
        self._clock, self._most = clock, most
        self._arrivals: OrderedDict[str, int] = OrderedDict()
        self._leases: dict[str, set[str]] = {}

    async def take(self, key: str, tier: Tier, lease: str) -> Verdict:
        """Take a request, or not (`Limiter.take`)."""
        rate, now = rate_of(tier), micros(self._clock())
        ahead = rate.ahead(self._arrivals.get(key, now), now)
        if not rate.takes(ahead):
            return verdict(rate, ahead, taken=False)
        if len(self._leases.get(key, ())) >= tier.at_a_time:
            return verdict(rate, ahead, taken=False, busy=True)
        self.note(key, tier, lease)
        return verdict(rate, ahead + rate.interval, taken=True)

    def note(self, key: str, tier: Tier, lease: str) -> None:
        """Count a request that others have decided on."""
        rate, now = rate_of(tier), micros(self._clock())
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
