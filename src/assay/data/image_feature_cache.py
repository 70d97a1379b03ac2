"""SQLite cache of image features, keyed by the SHA-256 of the file."""

import contextlib
import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from assay.core.files import cache_folder, delete_files, temporary_folder
from assay.data.image_features import FEATURES_VERSION, Features
from assay.data.near_duplicate_candidates import COLOUR_THUMBNAIL_SIDE

_LOG = logging.getLogger("assay.data.image_features")

MAX_RESULTS: Final = 100
"""Maximum number of stored comparisons of whole data sets."""
MAX_ROWS: Final = 2_000_000
"""Maximum number of stored images, about 5 kB each; the least recently used are removed first."""

_SCALARS: Final = tuple(
    item.name for item in fields(Features) if item.name not in {"colour_thumbnail", "gray_thumbnail"}
)
_CHUNK: Final = 500
_SCHEMA: Final = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS photos (
        digest TEXT PRIMARY KEY, numbers TEXT NOT NULL, colour BLOB NOT NULL, gray BLOB NOT NULL,
        used INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_ALL: Final = """
    SELECT digest, numbers, colour, gray FROM photos WHERE digest IN (SELECT value FROM json_each(?))
"""
_GRAY: Final = "SELECT digest, gray FROM photos WHERE digest IN (SELECT value FROM json_each(?))"
_PUT: Final = "INSERT OR REPLACE INTO photos (digest, numbers, colour, gray) VALUES (?, ?, ?, ?)"
_TOUCH: Final = "UPDATE photos SET used = ? WHERE digest IN (SELECT value FROM json_each(?))"
_EVICT_RESULTS: Final = """
    DELETE FROM results WHERE rowid NOT IN (SELECT rowid FROM results ORDER BY rowid DESC LIMIT ?)
"""
_EVICT: Final = "DELETE FROM photos WHERE digest IN (SELECT digest FROM photos ORDER BY used LIMIT ?)"


class FeatureStore:
    """Features by digest, created by `open_feature_store`. Thread-safe.

    What cannot be written, since the disk is full, is kept in memory until the store is closed.
    """

    def __init__(self, path: Path | None) -> None:
        """Open or create a file; None: in memory."""
        self._path = path
        self._db = _connect(path)
        self._memory: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file; stored features are kept."""
        with contextlib.suppress(sqlite3.Error):
            self._db.commit()
        self._db.close()
        if self._memory is not None:
            self._memory.close()

    def put(self, features: Sequence[Features]) -> None:
        """Store features; they replace earlier ones of the same digest."""
        if not features:
            return
        rows = [_row(item) for item in features]
        with self._lock:
            if self._memory is None:
                try:
                    with self._db:
                        self._db.executemany(_PUT, rows)
                except sqlite3.OperationalError as error:
                    _LOG.warning("further features are not kept: %s (%s)", error, self._path)
                    self._memory = _connect(None)
                else:
                    return
            self._memory.executemany(_PUT, rows)

    def get(self, digests: Iterable[str]) -> dict[str, Features]:
        """Return the stored features, by digest."""
        return {
            digest: Features(
                **json.loads(numbers),
                colour_thumbnail=np.frombuffer(colour, np.uint8).reshape(COLOUR_THUMBNAIL_SIDE, -1, 3),
                gray_thumbnail=_thumbnail(gray),
            )
            for digest, numbers, colour, gray in self._rows(_ALL, digests)
        }

    def gray_thumbnails(self, digests: Sequence[str]) -> list[np.ndarray]:
        """Return the gray thumbnails in the order of `digests`; `KeyError` if one is not stored."""
        found = {digest: _thumbnail(gray) for digest, gray in self._rows(_GRAY, digests)}
        return [found[digest] for digest in digests]

    def touch(self, digests: Iterable[str], now: int, most: int = MAX_ROWS) -> None:
        """Mark features as used at `now` (any increasing clock); delete the oldest beyond `most`."""
        with self._lock, self._optional_write():
            for chunk in _chunks(digests):
                self._db.execute(_TOUCH, (now, chunk))
            (rows,) = self._db.execute("SELECT count(*) FROM photos").fetchone()
            if rows > most:
                self._db.execute(_EVICT, (rows - most,))

    def get_result(self, key: str) -> str | None:
        """Return the result stored under a key, or None."""
        with self._lock:
            row = self._db.execute("SELECT value FROM results WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put_result(self, key: str, value: str, most: int = MAX_RESULTS) -> None:
        """Store a result under a key that contains all it depends on; delete the oldest beyond `most`."""
        with self._lock, self._optional_write():
            self._db.execute("INSERT OR REPLACE INTO results (key, value) VALUES (?, ?)", (key, value))
            self._db.execute(_EVICT_RESULTS, (most,))

    def _rows(self, query: str, digests: Iterable[str]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for chunk in _chunks(dict.fromkeys(digests)):
            with self._lock:
                found.extend(self._db.execute(query, (chunk,)))
                if self._memory is not None:
                    found.extend(self._memory.execute(query, (chunk,)))
        return found

    @contextmanager
    def _optional_write(self) -> Iterator[None]:
        """Commit at the end of the block; a write that fails, since the disk is full, is undone and logged."""
        try:
            with self._db:
                yield
        except sqlite3.OperationalError as error:
            _LOG.warning("the feature cache is not updated: %s (%s)", error, self._path)


def _connect(path: Path | None) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:" if path is None else path, timeout=30, check_same_thread=False)
    try:
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


@contextmanager
def open_feature_store(folder: Path | None = None) -> Iterator[FeatureStore]:
    """Open the store in a cache folder (None: the default folder); if that fails, in a temporary one or in memory."""
    path = (folder or cache_folder()) / "features" / f"v{FEATURES_VERSION}.sqlite"
    with contextlib.ExitStack() as cleanup:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            store = FeatureStore(path)
        except (OSError, sqlite3.DatabaseError) as error:
            _LOG.warning("features are not kept: %s (%s)", error, path)
            try:
                temporary = cleanup.enter_context(temporary_folder("assay-features"))
                store = FeatureStore(temporary / "features.sqlite")
            except (OSError, sqlite3.DatabaseError):
                store = FeatureStore(None)
        cleanup.callback(store.close)
        yield store


def clear_features(folder: Path | None = None) -> int:
    """Delete all stored features (of the default folder if None) and return the bytes freed.

    Running processes keep using the files that they have open.
    """
    return delete_files(((folder or cache_folder()) / "features").glob("*.sqlite*"))


def _thumbnail(blob: bytes) -> np.ndarray:
    side = round(len(blob) ** 0.5)
    return np.frombuffer(blob, np.uint8).reshape(side, side)


def _row(features: Features) -> tuple[str, str, bytes, bytes]:
    numbers = json.dumps({name: getattr(features, name) for name in _SCALARS})
    return features.digest, numbers, features.colour_thumbnail.tobytes(), features.gray_thumbnail.tobytes()


def _chunks(digests: Iterable[str]) -> Iterator[str]:
    ordered = list(digests)
    return (json.dumps(ordered[start : start + _CHUNK]) for start in range(0, len(ordered), _CHUNK))
