"""Keep request records on disk while the database is unavailable."""

import errno
import logging
import os
import time
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from typing import Final

from assay.core.locks import open_locked
from assay.serving.request_log.serialization import from_json_line, to_json_line
from assay.serving.request_record import RequestRecord

_log = logging.getLogger("assay.serving.request_log")
_SEGMENT_BYTES: Final = 2**20  # bytes of a file after which the next one is begun
_SYNC_SECONDS: Final = 1.0  # seconds between two flushes to disk; records of this time may be lost in a power cut
_SUFFIX: Final = ".jsonl"
_MAX_WORKERS: Final = 10_000


class Spool:
    """A bounded queue of records on disk. Blocks while it writes; for one thread at a time."""

    def __init__(self, folder: Path, *, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit` is in bytes; files left by dead workers may exceed it. All workers share `folder`."""
        self._shared, self._limit, self._clock = folder, limit, clock
        self._lock: int | None = None
        self._folder = folder
        self._waiting: dict[Path, tuple[int, int]] = {}  # records and bytes of each file, oldest first
        self._number = 0
        self._stream: FileIO | None = None
        self._synced = clock()
        self._troubled = False

    def __len__(self) -> int:
        return sum(count for count, _ in self._waiting.values())

    def open(self) -> None:
        """Lock an unused subfolder, and take over the files of dead workers; raise `OSError` if that fails."""
        if self._lock is not None:
            return
        for number in range(_MAX_WORKERS):
            folder = self._shared / f"{number:04}"
            lock = _try_lock(folder)
            if lock is not None:
                self._lock, self._folder = lock, folder
                break
        else:
            raise OSError(errno.EBUSY, "all places are taken", str(self._shared))
        self._count(self._segments(self._folder))
        for folder in sorted(self._shared.glob("[0-9]" * 4)):
            self._adopt(folder)

    def put(self, records: Sequence[RequestRecord]) -> int:
        """Append records; return how many of them, from the first on, could be stored."""
        lines = [to_json_line(record).encode() + b"\n" for record in records]
        room = self._limit - sum(size for _, size in self._waiting.values())
        count = 0
        while count < len(lines) and len(lines[count]) <= room:
            room -= len(lines[count])
            count += 1
        try:
            self.open()
            if count:
                self._append(b"".join(lines[:count]), count)
        except OSError as error:
            self._log_problem(str(error))
            return 0
        self._log_problem("it is full" if count < len(lines) else None)
        return count

    def oldest(self) -> list[RequestRecord]:
        """Return the records of the oldest file; none if there is no file.

        A line that is incomplete after a crash or power failure is skipped.

        Raises:
            OSError: the file cannot be read.
        """
        path = next(iter(self._waiting), None)
        if path is None:
            return []
        if self._stream is not None and Path(str(self._stream.name)) == path:
            self._finish()
        data = path.read_bytes() if path.exists() else b""
        return [record for line in data.splitlines() if (record := _parse_line(line, path))]

    def remove_oldest(self) -> None:
        """Remove the oldest file after its records are stored; raise `OSError` if that fails."""
        path = next(iter(self._waiting))
        path.unlink(missing_ok=True)
        del self._waiting[path]

    def close(self) -> None:
        """Flush, and unlock the folder for the next worker."""
        self._finish()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _log_problem(self, trouble: str | None) -> None:
        """Log why records cannot be spooled, once until they can again."""
        if trouble is not None and not self._troubled:
            _log.warning("request log: records cannot be spooled in %s: %s", self._shared, trouble)
        self._troubled = trouble is not None

    def _append(self, data: bytes, count: int) -> None:
        stream = self._stream or self._begin()
        path = Path(str(stream.name))
        records, size = self._waiting[path]
        try:
            _write_all(stream, data)
        except OSError:
            # Remove the incomplete record, so that the next one starts on a line of its own.
            os.ftruncate(stream.fileno(), size)
            raise
        self._waiting[path] = (records + count, size + len(data))
        if self._clock() - self._synced >= _SYNC_SECONDS:
            os.fsync(stream.fileno())
            self._synced = self._clock()
        if size + len(data) >= _SEGMENT_BYTES:
            self._finish()

    def _begin(self) -> FileIO:
        path = self._folder / f"{self._number:012}{_SUFFIX}"
        # "a": appends, also after the file was truncated.
        self._stream = FileIO(str(path), "ab")
        self._number += 1
        self._waiting[path] = (0, 0)
        return self._stream

    def _finish(self) -> None:
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        try:
            os.fsync(stream.fileno())
        except OSError as error:
            _log.warning("request log: %s may be lost in a power cut: %s", stream.name, error)
        stream.close()
        path = Path(str(stream.name))
        if self._waiting[path][0] == 0:
            del self._waiting[path]
            path.unlink()

    def _adopt(self, folder: Path) -> None:
        lock = _try_lock(folder)
        if lock is None:
            return
        try:
            moved = []
            for path in self._segments(folder):
                moved.append(path.rename(self._folder / f"{self._number:012}{_SUFFIX}"))
                self._number += 1
            self._count(moved)
        finally:
            os.close(lock)

    def _count(self, paths: Sequence[Path]) -> None:
        for path in paths:
            data = path.read_bytes()
            self._waiting[path] = (data.count(b"\n"), len(data))
            self._number = max(self._number, int(path.stem) + 1)

    @staticmethod
    def _segments(folder: Path) -> list[Path]:
        return sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def _try_lock(folder: Path) -> int | None:
    """Lock a folder for this process; None if another process (or this one) has locked it."""
    folder.mkdir(parents=True, exist_ok=True)
    return open_locked(folder / "lock")


def _write_all(stream: FileIO, data: bytes) -> None:
    if stream.write(data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(stream.name))


def _parse_line(line: bytes, path: Path) -> RequestRecord | None:
    try:
        return from_json_line(line)
    except (KeyError, TypeError, ValueError):
        _log.warning("request log: %s has an incomplete line; it was skipped", path)
        return None
