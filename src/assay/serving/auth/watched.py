"""A file that is read again when it has changed, looked at no more than once a second.

Knows nothing of what is in the file. Writers replace the file as a whole (`assay.files.replacing`), so a
reader never sees half of one. A file that can no longer be read keeps its last good contents and is
complained about: a slip of the operator must not lock every client out.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from assay.errors import AssayError

T = TypeVar("T")
_log = logging.getLogger(__name__)
_Stamp = tuple[int, int, int] | None


class Watched(Generic[T]):
    """The contents of a file as they are now."""

    def __init__(self, path: Path, load: Callable[[Path], T], clock: Callable[[], float]) -> None:
        """Read the file for the first time.

        Args:
            path: the file.
            load: reads it.
            clock: seconds that never go back.

        Raises:
            AssayError: `load` finds the file wrong, now; later on that is only logged.
        """
        self._path, self._load, self._clock = path, load, clock
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._value = load(path)
        self._looked = clock()

    def value(self) -> T:
        """Return what the file holds; at most a second old."""
        now = self._clock()
        if now - self._looked >= 1 and self._lock.acquire(blocking=False):
            try:
                self._looked = now
                self._refresh()
            finally:
                self._lock.release()
        return self._value

    def _refresh(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._value = self._load(self._path)
        except (AssayError, OSError) as error:
            _log.error("%s; what it held before stays in use", error)

    def _look(self) -> _Stamp:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
