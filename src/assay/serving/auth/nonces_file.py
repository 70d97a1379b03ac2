"""Nonces that all workers on this machine know, and that a restart does not forget, in a small SQLite file.

Knows nothing of signatures. It lies beside the keys that the nonces belong to. Where it cannot be written (a
folder mounted read-only, a full disk) each process knows its own nonces; requests go on.
"""

import logging
import sqlite3
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from assay.serving.auth.nonces import LocalNonces

NONCES_FILE = "nonces.sqlite"
_log = logging.getLogger(__name__)
_TABLE = "CREATE TABLE IF NOT EXISTS nonces (digest BLOB PRIMARY KEY, ends REAL NOT NULL) WITHOUT ROWID"
# One that is known counts as new again when its time is over.
_ADD = (
    "INSERT INTO nonces VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET ends = excluded.ends "
    "WHERE nonces.ends <= ?"
)
_SWEEP_SECONDS = 60.0
_PATIENCE = 0.05
"""Seconds that a request waits for another worker's write, which takes a tenth of a millisecond."""


class FileNonces:
    """Nonces in this process and in a file (`Nonces`)."""

    def __init__(self, path: Path, local: LocalNonces, seconds: float, wall: Callable[[], float]) -> None:
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
        return database.execute(_ADD, (digest, now + self._seconds, now)).rowcount == 1

    def _open(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        database = sqlite3.connect(
            self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        database.execute("PRAGMA journal_mode = WAL")
        # A power cut may lose the last nonces; it takes longer to come back than most of them are good for.
        database.execute("PRAGMA synchronous = OFF")
        database.execute(_TABLE)
        self._database = database
        return database
