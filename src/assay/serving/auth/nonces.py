"""Remember the nonces of signed requests in memory, in SQLite and in Redis.

So that a request cannot be replayed.
"""

import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from assay.serving.auth.interfaces import AccessDeniedError

_MAX_NONCES_PER_KEY = 100_000
"""Nonces of one key that are remembered: the gold tier's within ten minutes, and half as many again."""


class NonceStore(Protocol):
    """Remembers nonces."""

    async def is_new(self, key_id: str, nonce: str) -> bool:
        """Remember a nonce of a key, and tell whether it comes for the first time.

        Raises:
            Refusal: 429, the key has used so many that no more can be remembered.
        """


class MemoryNonceStore:
    """Nonces in this process: other workers do not know them."""

    def __init__(self, seconds: float, clock: Callable[[], float], most: int = _MAX_NONCES_PER_KEY) -> None:
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
            raise AccessDeniedError(429, "Too many signed requests; try again later", {"Retry-After": str(wait)})
        ends[digest] = now + self._seconds
        return True


NONCES_FILE = "nonces.sqlite"
_log = logging.getLogger(__name__)
_CREATE_TABLE_SQL = "CREATE TABLE IF NOT EXISTS nonces (digest BLOB PRIMARY KEY, ends REAL NOT NULL) WITHOUT ROWID"
# One that is known counts as new again when its time is over.
_INSERT_SQL = (
    "INSERT INTO nonces VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET ends = excluded.ends WHERE nonces.ends <= ?"
)
_SWEEP_SECONDS = 60.0
_LOCK_TIMEOUT = 0.05
"""Seconds that a request waits for another worker's write, which takes a tenth of a millisecond."""


class FileNonceStore:
    """Nonces in this process and in a file (`Nonces`)."""

    def __init__(self, path: Path, local: MemoryNonceStore, seconds: float, wall: Callable[[], float]) -> None:
        """Open the file when the first nonce comes.

        Args:
            path: of the file.
            local: this process's nonces, asked first; they also bound how many a key can have.
            seconds: how long a nonce is remembered.
            wall: seconds since 1970, since the file outlives the process.
        """
        self._path, self._local, self._seconds, self._wall = path, local, seconds, wall
        self._database: sqlite3.Connection | None = None
        self._swept = float("-inf")
        self._failed = False

    async def is_new(self, key_id: str, nonce: str) -> bool:
        """Remember a nonce (`Nonces.is_new`)."""
        if not await self._local.is_new(key_id, nonce):
            return False
        try:
            known = not self._add(blake2b(f"{key_id} {nonce}".encode(), digest_size=16).digest())
        except (sqlite3.Error, OSError) as error:
            if not self._failed:
                _log.warning("%s: %s; every worker remembers its own nonces", self._path, error)
            self._failed, known = True, False
        return not known

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _add(self, digest: bytes) -> bool:
        """Add a nonce and tell whether it was new; blocks for about a tenth of a millisecond."""
        database, now = self._database or self._open(), self._wall()
        if now - self._swept >= _SWEEP_SECONDS:
            self._swept = now
            database.execute("DELETE FROM nonces WHERE ends <= ?", (now,))
        return database.execute(_INSERT_SQL, (digest, now + self._seconds, now)).rowcount == 1

    def _open(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        database = sqlite3.connect(self._path, timeout=_LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        # A power cut may lose the last nonces; it takes longer to come back than most of them are good for.
        database.execute("PRAGMA synchronous = OFF")
        database.execute(_CREATE_TABLE_SQL)
        self._database = database
        return database


if TYPE_CHECKING:
    from assay.serving.auth.redis_client import ReconnectingRedis

_ADD_SCRIPT = """
if redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then return 1 end
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GETRANGE', KEYS[1], 0, 1) == '1' then
  return 0
end
redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
return 2
"""
_KNOWN, _DAMAGED = 0, 2


class RedisNonceStore:
    """Nonces in Redis and on this machine (`NonceStore`)."""

    def __init__(self, link: "ReconnectingRedis", near: NonceStore, seconds: float) -> None:
        """Join Redis and this machine's nonces, which are asked first; the link's owner closes it."""
        self._link, self._near, self._seconds = link, near, seconds
        self._script = link.redis.register_script(_ADD_SCRIPT)

    async def is_new(self, key_id: str, nonce: str) -> bool:
        """Remember a nonce (`Nonces.is_new`)."""
        if not await self._near.is_new(key_id, nonce):
            return False
        stored = await self._link.ask(lambda: self._store(key_id, nonce))
        return stored is not False

    async def _store(self, key_id: str, nonce: str) -> bool:
        name, lasts = f"assay:{{{key_id}}}:nonce:{nonce}", int(self._seconds) + 1
        found = cast("int", await self._script(keys=[name], args=[lasts]))
        if found == _DAMAGED:
            self._link.damaged("nonces")
        return found != _KNOWN
