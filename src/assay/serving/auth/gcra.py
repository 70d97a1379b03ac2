"""The generic cell rate algorithm: how often is too often, from one number a client.

Knows nothing of clients, keys or stores: the number is handed in and given back. Time is counted in whole
microseconds, as the Redis script does it, so that both decide alike.

Source: ITU-T Recommendation I.371 (2004), Annex A, GCRA(T, τ), virtual scheduling; T is `interval`, τ is
`interval * (burst - 1)`. Any window of t microseconds then sees at most burst + t / interval requests, and a
client that keeps `interval` between its requests is never refused.
"""

from dataclasses import dataclass

SECOND = 1_000_000
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
        return cls(-int(-60 * SECOND // requests), burst)

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
        return max(ahead - self.tolerance, 0) / SECOND


def micros(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return int(seconds * SECOND)
