"""What limiters promise: a request is taken or told how long to wait, by key.

Knows nothing of where the counts are kept (`limits_local`, `limits_redis`).
"""

from dataclasses import dataclass
from typing import Protocol

from assay.serving.auth.gcra import SECOND, Rate
from assay.serving.auth.settings import Tier


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request."""

    taken: bool
    """Whether it goes on."""
    remaining: int
    """Requests that would be taken at once after it."""
    wait: float
    """Seconds until a request would be taken; 0 where this one was."""
    restored: float
    """Seconds until the whole burst is there again."""


class Limiter(Protocol):
    """Counts requests by key: how many a minute, and how many at a time."""

    async def take(self, key: str, tier: Tier, lease: str) -> Verdict:
        """Take a request, or not.

        Args:
            key: whose request it is.
            tier: what that key is promised.
            lease: names this request; `give_back` is told the same.
        """

    async def give_back(self, key: str, lease: str) -> None:
        """A request that was taken has been answered; told twice, or of one never taken, nothing happens."""


def rate_of(tier: Tier) -> Rate:
    """Return a tier's rate."""
    return Rate.per_minute(tier.per_minute, tier.burst)


def verdict(rate: Rate, ahead: int, *, taken: bool, busy: bool = False) -> Verdict:
    """Return the verdict on a request.

    Args:
        rate: of the key.
        ahead: microseconds from now to the next arrival, this request counted if it is taken.
        taken: whether it is.
        busy: it is refused since too many of the key's requests are being answered; one second is then as
            good a guess as any of when one of them is done.
    """
    wait = 0.0 if taken else max(rate.wait(ahead), 1.0 if busy else 0.0)
    return Verdict(taken, 0 if busy else rate.remaining(ahead), wait, ahead / SECOND)
