"""What the operator does with keys: make, list, rotate, revoke. The one place that writes store and ring.

Knows nothing of terminals or servers.
"""

import time
from collections.abc import Callable
from pathlib import Path

from assay.errors import UsageError
from assay.serving.auth.keys import STORE_FILE, Key, changing_keys, find_key, make_key, read_keys
from assay.serving.auth.ring import RING_FILE, Ring, has_ring, read_ring, renew_ring
from assay.serving.auth.settings import keys_folder


class Desk:
    """A folder of keys."""

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """Take the folder; none: `keys_folder()`.

        Args:
            folder: where `keys.json` and `master.ring` are, or will be.
            clock: seconds since 1970.
        """
        folder = folder or keys_folder()
        self._store, self._ring, self._clock = folder / STORE_FILE, folder / RING_FILE, clock

    def all_keys(self) -> list[Key]:
        """Return all keys, oldest first."""
        return list(read_keys(self._store).values())

    def state(self, key: Key) -> str:
        """Tell whether a key is valid, revoked or expired now."""
        return key.state(self._clock())

    def token(self, key: Key) -> str:
        """Return what a client shows: the key's id and its secret, joined by a point."""
        return f"{key.id}.{read_ring(self._ring).secret(key.version, key.id)}"

    def create(self, client: str, tier: str, scopes: tuple[str, ...], seconds: float | None = None) -> Key:
        """Make a key, and the master ring with the first.

        Args:
            client: whom it is for.
            tier: how often the client may ask.
            scopes: what it opens.
            seconds: how long it is valid; none: until it is revoked.

        Raises:
            UsageError: a value cannot be.
        """
        with changing_keys(self._store) as keys:
            version = self._ring_or_first().newest
            key = make_key(client, tier, scopes, version=version, clock=self._clock, seconds=seconds)
            keys[key.id] = key
        return key

    def rotate(self, key_id: str, grace: float) -> Key:
        """Replace a key by a new one for the same client; the old one ends after `grace` seconds.

        The new key is valid for as long as the old one was made for. An expired key can be replaced
        too, and stays what it is.

        Raises:
            UsageError: there is no such key, or it was revoked.
        """
        with changing_keys(self._store) as keys:
            old, now = find_key(keys, key_id), self._clock()
            if old.revoked is not None:
                raise UsageError(f"key {key_id} was revoked: make a new one with `assay keys create`")
            seconds = None if old.expires is None else old.expires - old.created
            version = self._ring_or_first().newest
            new = make_key(
                old.client, old.tier, old.scopes, version=version, clock=self._clock, seconds=seconds
            )
            end = int(now + grace)
            keys[old.id] = old.model_copy(update={"expires": min(end, old.expires or end)})
            keys[new.id] = new
        return new

    def revoke(self, key_id: str) -> Key:
        """Revoke a key; once more changes nothing.

        Raises:
            UsageError: there is no such key.
        """
        with changing_keys(self._store) as keys:
            key = find_key(keys, key_id)
            if key.revoked is None:
                keys[key_id] = key = key.model_copy(update={"revoked": int(self._clock())})
        return key

    def renew_master(self) -> int:
        """Add a master to the ring and return its version; keys made before go on until they are rotated.

        Raises:
            UsageError: the ring is in the environment.
        """
        with changing_keys(self._store):
            return renew_ring(self._ring).newest

    def _ring_or_first(self) -> Ring:
        return read_ring(self._ring) if has_ring(self._ring) else renew_ring(self._ring)
