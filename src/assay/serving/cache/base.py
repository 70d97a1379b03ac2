"""Answers kept for photos that come again: what every store of them must do.

Knows nothing of photos and models: keys are text, values are bytes.
"""

from typing import Protocol


class Cache(Protocol):
    """A bounded store of answers. No method raises because a store is away: a miss is the answer then."""

    async def get(self, key: str) -> bytes | None:
        """Return what was put under `key`, or None."""

    async def put(self, key: str, value: bytes) -> None:
        """Keep `value`; another one under the same key is replaced."""

    async def close(self) -> None:
        """Let go of connections."""
