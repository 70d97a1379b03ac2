"""Nonces: a signed request is good for one time.

Knows nothing of signatures; it is only told nonces of requests whose signature was right, so a stranger can
neither fill it nor use up a client's nonces. A nonce is kept as long as its timestamp could be accepted:
twice the allowed skew, since it may lie ahead by that much when it comes.
"""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

from assay.serving.auth.base import Refusal

_MOST = 100_000
"""Nonces of one key that are remembered: the gold tier's within ten minutes, and half as many again."""


class Nonces(Protocol):
    """Remembers nonces."""

    async def is_new(self, key_id: str, nonce: str) -> bool:
        """Remember a nonce of a key, and tell whether it comes for the first time.

        Raises:
            Refusal: 429, the key has used so many that no more can be remembered.
        """


class LocalNonces:
    """Nonces in this process: other workers do not know them."""

    def __init__(self, seconds: float, clock: Callable[[], float], most: int = _MOST) -> None:
        """Start empty.

        Args:
            seconds: how long a nonce is remembered.
            clock: seconds that never go back.
            most: nonces of one key that are remembered at a time.
        """
        self._seconds, self._clock, self._most = seconds, clock, most
        self._ends: dict[str, OrderedDict[bytes, float]] = {}

    async def is_new(self, key_id: str, nonce: str) -> bool:
        """Remember a nonce (`Nonces.is_new`)."""
        now, ends = self._clock(), self._ends.setdefault(key_id, OrderedDict())
        # All are kept equally long, so the oldest stand in front.
        while ends and next(iter(ends.values())) <= now:
            ends.popitem(last=False)
        digest = blake2b(nonce.encode(), digest_size=16).digest()
        if digest in ends:
            return False
        if len(ends) >= self._most:
            # To forget one early would let it be used again.
            wait = int(next(iter(ends.values())) - now) + 1
            raise Refusal(429, "Too many signed requests; try again later", {"Retry-After": str(wait)})
        ends[digest] = now + self._seconds
        return True
