"""Addresses that keep trying wrong keys are told to wait, before anything of theirs is looked at.

Knows nothing of keys. They are answered 429 at once rather than held, since a held socket costs the server
more than the client. The table is bounded: the address whose last failure is longest ago is forgotten first.
"""

import math
from collections import OrderedDict
from collections.abc import Callable

from assay.serving.auth.addresses import group_of
from assay.serving.auth.base import Refusal
from assay.serving.auth.gcra import Rate, micros

_MOST = 10_000


class Penalties:
    """Counts failures by address; IPv6 by /64."""

    def __init__(self, rate: Rate, clock: Callable[[], float], most: int = _MOST) -> None:
        """Start with every address innocent.

        Args:
            rate: failures that an address may go on having.
            clock: seconds that never go back.
            most: addresses that are remembered.
        """
        self._rate, self._clock, self._most = rate, clock, most
        self._arrivals: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arrivals)

    def check(self, address: str) -> None:
        """Let an address pass.

        Raises:
            Refusal: 429, it has failed too often of late.
        """
        if not self._arrivals:
            return
        ahead = self._ahead(group_of(address))
        if not self._rate.takes(ahead):
            wait = max(1, math.ceil(self._rate.wait(ahead)))
            raise Refusal(429, "Too many failed requests; try again later", {"Retry-After": str(wait)})

    def failed(self, address: str) -> None:
        """Count a failure."""
        group = group_of(address)
        self._arrivals[group] = micros(self._clock()) + self._ahead(group) + self._rate.interval
        self._arrivals.move_to_end(group)
        if len(self._arrivals) > self._most:
            self._arrivals.popitem(last=False)

    def _ahead(self, group: str) -> int:
        now = micros(self._clock())
        return self._rate.ahead(self._arrivals.get(group, now), now)
